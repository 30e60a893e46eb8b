//! `npc-publish promote FROM TO` and `npc-publish rollback R`: a new release that holds exactly the bytes of an older one.
//!
//! The archive is read back, held against its signed digest, and written again, so that nothing can age out of the store between
//! the decision and the release that names it.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use jiff::Timestamp;
use npc_core::document::{Origin, Power, Release, RemoteState, Serial};
use npc_core::key::SecretKey;
use npc_core::name::{ConfigurationName, RemoteName};
use npc_core::publish::{Over, Publication, Published, Record, authorise, holds, publish};
use npc_core::trust::Verified;
use npc_operator::archives;
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::trusting::check_followers;
use npc_operator::held::{believable, unknown};
use npc_operator::session::Session;
use serde_json::json;

use crate::cli;
use crate::console;

use super::diff::{self, Change};

/// What is to be done.
pub(super) struct Repetition {
    /// The remote that it is done to.
    pub(super) to: RemoteName,
    /// What that holds now, if anything to be believed.
    pub(super) before: Option<(Serial, Release)>,
    /// Which release is repeated.
    pub(super) origin: Origin,
    /// What that holds.
    pub(super) release: Release,
}

/// How a configuration fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its hosts will not do anything.
    Unchanged,
    /// Its hosts get another system.
    Changes,
    /// There was no such configuration before.
    Appears,
    /// There is none any more: its hosts stay as they are.
    Disappears,
    /// Nobody has evaluated it.
    NotEvaluated,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changes => "changes",
            Self::Appears => "appears",
            Self::Disappears => "disappears",
            Self::NotEvaluated => "not evaluated",
        }
    }
}

pub(crate) async fn promote(arguments: cli::Promote) -> Result<(), Failure> {
    let cli::Promote { from, to, serial, repeating } = arguments;
    let session = Session::open(&repeating.writing.signing.place).await?;
    let (origin, release) = match serial {
        Some(serial) => (serial, release_at(&session, &from, serial).await?),
        None => current(&session, &from).await?.ok_or_else(|| unknown(&from))?,
    };
    let before = current(&session, &to).await?;
    let origin = Origin { remote: from, serial: origin };
    repeat(&session, Repetition { to, before, origin, release }, &repeating, async || Ok(())).await
}

pub(crate) async fn rollback(arguments: cli::Rollback) -> Result<(), Failure> {
    let cli::Rollback { remote, to, repeating } = arguments;
    let session = Session::open(&repeating.writing.signing.place).await?;
    let (serial, held) = current(&session, &remote).await?.ok_or_else(|| unknown(&remote))?;
    let (wanted, release) = match to {
        Some(wanted) => (wanted, release_at(&session, &remote, wanted).await?),
        None => one_before(&session, &remote, serial, &held).await?,
    };
    let origin = Origin { remote: remote.clone(), serial: wanted };
    let repetition = Repetition { to: remote, before: Some((serial, held)), origin, release };
    repeat(&session, repetition, &repeating, async || Ok(())).await
}

/// What a remote holds; none where there is no such remote, or it was removed.
pub(super) async fn current(session: &Session, remote: &RemoteName) -> Result<Option<(Serial, Release)>, Failure> {
    let Some(pointer) = session.fleet.remote(remote).await? else { return Ok(None) };
    let document = pointer.state?;
    Ok(content(&document))
}

fn content(document: &Verified<RemoteState>) -> Option<(Serial, Release)> {
    believable(document).map(|release| (document.header().serial, release.clone()))
}

async fn release_at(session: &Session, remote: &RemoteName, serial: Serial) -> Result<Release, Failure> {
    let missing = || {
        Failure::usage(format!("there is no release {remote}@{serial}"))
            .hint(format!("`npc-publish log {remote}` lists them"))
    };
    let document = session.fleet.release(remote, serial).await?.ok_or_else(missing)?.state?;
    let removed = || Failure::usage(format!("{remote}@{serial} is the remote's removal"));
    content(&document).map(|(_, release)| release).ok_or_else(removed)
}

/// The newest release below the current one that held something else. What a roll-back brought counts as what it repeats, so
/// that rolling back twice does not lead to where one came from.
async fn one_before(
    session: &Session,
    remote: &RemoteName,
    serial: Serial,
    held: &Release,
) -> Result<(Serial, Release), Failure> {
    let repeats = held.origin.as_ref().filter(|origin| origin.remote == *remote).map(|origin| origin.serial);
    let below = repeats.unwrap_or(serial);
    for older in session.fleet.serials(remote).await?.into_iter().filter(|older| *older < below) {
        let entry = session.fleet.release(remote, older).await?;
        let document = entry.and_then(|entry| entry.state.ok());
        match document.as_ref().and_then(content) {
            // A roll-back among them leads where it led.
            Some((_, release)) if release.origin.as_ref().is_some_and(|origin| origin.remote == *remote) => {}
            Some((serial, release)) if !release.same_content(held) => return Ok((serial, release)),
            _ => {}
        }
    }
    Err(Failure::usage(format!("{remote} has never held anything else before {remote}@{below}"))
        .hint(format!("`npc-publish log {remote}` lists its releases; name one with --to")))
}

/// Has a remote hold the same bytes again. What comes before it is done once that is decided.
pub(super) async fn repeat(
    session: &Session,
    repetition: Repetition,
    how: &cli::Repeating,
    before_it: impl AsyncFnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let keys = session.keys(&how.writing.signing.key)?;
    let keys: Vec<&SecretKey> = keys.iter().collect();
    authorise(session.fleet.trusted.trust(), Power::Release(&repetition.to), &keys)?;
    check_followers(session, &repetition.to).await?;
    let Repetition { to, before, origin, release } = &repetition;
    let held = before.as_ref().map(|(serial, release)| (*serial, RemoteState::Present(Box::new(release.clone()))));
    if let Some((serial, _)) = held.filter(|(_, state)| holds(state, release)) {
        console::say(format_args!(
            "unchanged: {to}@{serial} holds exactly what {}@{} holds",
            origin.remote, origin.serial
        ));
        if !how.writing.dry_run {
            before_it().await?;
        }
        return show(how, &repetition, serial, false);
    }
    let folder = tempfile::tempdir().map_err(Failure::scratch)?;
    let file = folder.path().join("archive");
    archives::fetch(&session.fleet, &release.archive, &file).await?;
    tell(session, &repetition, &file, folder.path()).await?;
    if how.writing.dry_run {
        return Ok(());
    }
    confirm(how.yes)?;
    before_it().await?;
    let writes = session.conditional_writes().await?;
    let release = Release { origin: Some(origin.clone()), ..release.clone() };
    let publication =
        Publication { remote: to, release, file: &file, expires: None, record: Record::Changes, over: Over::Anything };
    let published = publish(&session.fleet, publication, &keys, writes, Timestamp::now()).await?;
    let (Published::Unchanged(serial) | Published::Released { serial, .. }) = published;
    console::say(format_args!("{to}@{serial} holds what {}@{} holds", origin.remote, origin.serial));
    show(how, &repetition, serial, true)
}

/// What will change: files, source, and which hosts have something to do.
async fn tell(session: &Session, repetition: &Repetition, file: &Path, folder: &Path) -> Result<(), Failure> {
    let Repetition { to, before, origin, release } = repetition;
    let shown = |remote: &RemoteName, serial: Serial, release: &Release| {
        let rev =
            release.source.rev.as_ref().map_or("no commit known".to_owned(), |rev| rev.chars().take(12).collect());
        let dirty = if release.source.dirty { "+" } else { "" };
        format!("{remote}@{serial} ({rev}{dirty})")
    };
    let now = before.as_ref().map_or("nothing".to_owned(), |(serial, held)| shown(to, *serial, held));
    console::say(format_args!("{to} holds {now}, and is to hold {}", shown(&origin.remote, origin.serial, release)));
    if let Some((_, held)) = before {
        let old = folder.join("before");
        archives::fetch(&session.fleet, &held.archive, &old).await?;
        for (path, change) in diff::compare(&archives::manifest_of(&old)?, &archives::manifest_of(file)?) {
            console::say(format_args!("  {} {path}", Change::letter(change)));
        }
    }
    for (name, fate) in fates(before.as_ref().map(|(_, held)| held), release) {
        console::say(format_args!("  {name}: {}", fate.word()));
    }
    Ok(())
}

/// How every configuration fares.
fn fates(before: Option<&Release>, after: &Release) -> Vec<(ConfigurationName, Fate)> {
    let names: BTreeSet<_> =
        before.into_iter().chain([after]).flat_map(|release| release.configurations.keys()).cloned().collect();
    let is_evaluated = |release: &Release| !release.configurations.is_empty();
    let fate = |name: &ConfigurationName| match (
        before.and_then(|before| derivation(before, name)),
        derivation(after, name),
    ) {
        (Some(old), Some(new)) if old == new => Fate::Unchanged,
        (Some(_), Some(_)) => Fate::Changes,
        (None, Some(_)) if before.is_none_or(is_evaluated) => Fate::Appears,
        (Some(_), None) if is_evaluated(after) => Fate::Disappears,
        _ => Fate::NotEvaluated,
    };
    names.into_iter().map(|name| (name.clone(), fate(&name))).collect()
}

fn derivation<'a>(release: &'a Release, name: &ConfigurationName) -> Option<&'a str> {
    release.configurations.get(name).map(|system| &*system.drv_path)
}

/// Asks whoever sits at the terminal; elsewhere it has to be said beforehand.
fn confirm(yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to be asked").hint("look at it with --dry-run, then say --yes"));
    }
    let mut stderr = io::stderr();
    write!(stderr, "go on? [y/N] ").and_then(|()| stderr.flush()).map_err(Failure::other)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::other)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Other, "nothing was changed")),
    }
}

fn show(how: &cli::Repeating, repetition: &Repetition, serial: Serial, changed: bool) -> Result<(), Failure> {
    let Repetition { to, before, origin, release } = repetition;
    if !how.json {
        return console::data(format_args!("{to}@{serial}"));
    }
    let fates = fates(before.as_ref().map(|(_, held)| held), release);
    let fates: serde_json::Map<_, _> =
        fates.into_iter().map(|(name, fate)| (name.to_string(), fate.word().into())).collect();
    console::json(&json!({
        "remote": to,
        "serial": serial,
        "changed": changed,
        "origin": origin,
        "archive": release.archive,
        "configurations": fates,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use npc_core::digest::Digest;
    use npc_core::document::{Archive, Source, System};
    use std::collections::BTreeMap;

    fn release(systems: &[(&str, &str)]) -> Release {
        let archive = Archive { sha256: Digest::of(b"archive"), size: 7 };
        let system = |drv_path: &str| System {
            system: "x86_64-linux".to_owned(),
            drv_path: drv_path.to_owned(),
            out_path: None,
            proof: None,
            host: None,
        };
        let configurations: BTreeMap<_, _> =
            systems.iter().map(|(name, drv)| (name.parse().expect("a name"), system(drv))).collect();
        Release::new(archive, Source::default(), configurations)
    }

    fn words(before: Option<&Release>, after: &Release) -> Vec<(String, &'static str)> {
        fates(before, after).into_iter().map(|(name, fate)| (name.to_string(), fate.word())).collect()
    }

    #[test]
    fn it_is_told_which_hosts_will_do_nothing() {
        let (old, new) =
            (release(&[("a", "1"), ("b", "1"), ("c", "1")]), release(&[("a", "1"), ("b", "2"), ("d", "1")]));
        let expected = [("a", "unchanged"), ("b", "changes"), ("c", "disappears"), ("d", "appears")];
        assert_eq!(words(Some(&old), &new), expected.map(|(name, word)| (name.to_owned(), word)));
        assert_eq!(words(None, &release(&[("a", "1")])), [("a".to_owned(), "appears")]);
        assert_eq!(words(Some(&release(&[])), &release(&[("a", "1")])), [("a".to_owned(), "not evaluated")]);
        assert_eq!(words(Some(&release(&[("a", "1")])), &release(&[])), [("a".to_owned(), "not evaluated")]);
    }
}
