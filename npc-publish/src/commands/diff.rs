//! `npc-publish diff A B`: the files in which two flakes differ.

use std::path::Path;

use npc_core::archive::Manifest;
use npc_core::document::{Archive, Serial, Standing};
use npc_core::fleet::Fleet;
use npc_core::name::RemoteName;
use npc_operator::archives;
use npc_operator::failure::Failure;
use npc_operator::flake::pack_flake;
use npc_operator::held::unknown;
use npc_operator::session::Session;
use npc_operator::words;
use serde::Serialize;

use crate::cli;
use crate::console;

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Change {
    Added,
    Removed,
    Changed,
}

impl Change {
    /// As git has it.
    pub(super) fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Removed => 'D',
            Self::Changed => 'M',
        }
    }
}

#[derive(Debug, Serialize)]
struct Difference {
    path: String,
    change: Change,
}

pub(crate) async fn diff(arguments: cli::Diff) -> Result<(), Failure> {
    let old = Operand::parse(&arguments.old)?;
    let new = Operand::parse(&arguments.new)?;
    let session = Session::open(&arguments.place).await?;
    let picking = &arguments.picking;
    let old = old.manifest(&session.fleet, picking).await?;
    let new = new.manifest(&session.fleet, picking).await?;
    let differences = compare(&old, &new).into_iter().map(|(path, change)| Difference { path, change });
    let differences: Vec<_> = differences.collect();
    if arguments.json {
        return console::json(&differences);
    }
    if differences.is_empty() {
        console::say("no file differs");
    }
    for Difference { path, change } in &differences {
        console::data(format_args!("{} {}", change.letter(), words::printable(path)))?;
    }
    Ok(())
}

/// The paths in which two trees differ, sorted.
pub(super) fn compare(old: &Manifest, new: &Manifest) -> Vec<(String, Change)> {
    let removed = old.keys().filter(|path| !new.contains_key(*path)).map(|path| (path, Change::Removed));
    let others = new.iter().filter_map(|(path, content)| match old.get(path) {
        None => Some((path, Change::Added)),
        Some(before) if before != content => Some((path, Change::Changed)),
        Some(_) => None,
    });
    let mut differences: Vec<_> =
        removed.chain(others).map(|(path, change)| (path.to_string_lossy().into_owned(), change)).collect();
    differences.sort_by(|one, two| one.0.cmp(&two.0));
    differences
}

/// One side of a comparison.
enum Operand<'a> {
    Directory(&'a Path),
    Release(RemoteName, Option<Serial>),
}

impl<'a> Operand<'a> {
    fn parse(text: &'a str) -> Result<Self, Failure> {
        if text.starts_with('.') || text.contains('/') {
            return Ok(Self::Directory(Path::new(text)));
        }
        let (remote, serial) = match text.split_once('@') {
            None => (text, None),
            Some((remote, serial)) => {
                let parsed = serial.parse().ok().and_then(Serial::new);
                let refuse = || Failure::usage(format!("`{serial}` in `{text}` is not a serial"));
                (remote, Some(parsed.ok_or_else(refuse)?))
            }
        };
        let remote = remote.parse().map_err(|error| {
            Failure::usage(error).hint("name a directory with a slash or a dot in front, REMOTE, or REMOTE@SERIAL")
        })?;
        Ok(Self::Release(remote, serial))
    }

    async fn manifest(&self, fleet: &Fleet, picking: &cli::Picking) -> Result<Manifest, Failure> {
        match self {
            Self::Directory(directory) => pack_flake(directory, picking)?.manifest(),
            Self::Release(remote, serial) => {
                let archive = archive_of(fleet, remote, *serial).await?;
                archives::manifest(fleet, &archive).await
            }
        }
    }
}

async fn archive_of(fleet: &Fleet, remote: &RemoteName, serial: Option<Serial>) -> Result<Archive, Failure> {
    let state = match serial {
        None => fleet.remote(remote).await?.ok_or_else(|| unknown(remote))?.state?,
        Some(serial) => {
            let missing = || {
                Failure::usage(format!("there is no release {remote}@{serial}"))
                    .hint(format!("`npc-publish log {remote}` lists them"))
            };
            fleet.release(remote, serial).await?.ok_or_else(missing)?.state?
        }
    };
    match state.body() {
        Standing::Present(release) => Ok(release.archive),
        Standing::Removed => Err(Failure::usage(format!("{remote}@{} is the remote's removal", state.header().serial))),
    }
}
