//! Which files of a repository are published, why, and the proof that they are enough.
//!
//! | strategy | what it takes | what it needs |
//! |---|---|---|
//! | `evaluated` | what evaluating the wanted configurations reads, lists and looks for (`evaluated`) | Nix, strace |
//! | `static` | what the syntax of the flake's files mentions (`follow`) | nothing |
//! | `tracked` | everything that git tracks | nothing |
//!
//! `auto` takes the first that can be had. On top of each, `include` adds files and `exclude` takes them away; what is
//! excluded is not there for the evaluation either. Where there is Nix, every wanted configuration is evaluated from the
//! finished archive, whichever strategy chose its files, and the release says what each evaluates to.

mod archived;
mod built;
mod enough;
mod evaluated;
mod extent;
mod facts;
mod follow;
mod growth;
mod handed;
mod hashed;
mod identity;
mod lock;
mod mentions;
mod nix;
mod proof;
mod records;
mod refusals;
mod secrets;
mod stage;
mod subject;
mod syntax;
mod trace;
mod tree;
mod workers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::GlobSet;
use npc_core::archive::Keep;
use npc_core::document::System;
use npc_core::name::ConfigurationName;
use serde::{Deserialize, Serialize};

pub use archived::Archived;
pub use nix::NixChoice;
pub use tree::{Tree, normalize};

use evaluated::{Bound, Evaluator};
use extent::everything;
use nix::Nix;
use records::Records;

use crate::failure::Failure;
use crate::interrupt;
use crate::voice;

/// How many places that could not be followed are told.
const WIDENINGS_TOLD: usize = 8;

/// How the files to publish are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// `evaluated` with Nix and strace, otherwise `static`
    #[default]
    Auto,
    /// What evaluating the configurations reads
    Evaluated,
    /// What the syntax of the flake's files mentions
    Static,
    /// Everything that git tracks
    Tracked,
}

/// What to choose, and with what.
#[derive(Debug)]
pub struct Choice {
    /// How.
    pub strategy: Strategy,
    /// The Nix to evaluate with.
    pub nix: NixChoice,
    /// The configurations to publish; all where none is named.
    pub configurations: Vec<ConfigurationName>,
    /// Files to take in any case.
    pub include: GlobSet,
    /// Where what evaluations gave is remembered.
    pub cache: Option<PathBuf>,
}

/// Why a file is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// Whether its content is, or its name alone.
    #[serde(serialize_with = "keep_word")]
    pub keep: Keep,
    /// In words: `read by web-1, web-2`.
    pub reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn keep_word<S: serde::Serializer>(keep: &Keep, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match keep {
        Keep::Content => "content",
        Keep::Name => "name",
    })
}

/// What was chosen.
#[derive(Debug)]
pub struct Selection {
    /// The archive.
    pub archived: Archived,
    /// Each path in it, and why.
    pub chosen: BTreeMap<PathBuf, Chosen>,
    /// What each configuration evaluates to from the archive.
    pub configurations: BTreeMap<ConfigurationName, System>,
    /// The strategy that was used.
    pub strategy: Strategy,
    /// How many configurations were evaluated now; the others, their records prove.
    pub evaluated: usize,
}

/// Chooses the files of `tree`, and packs and proves them.
pub fn select(tree: &Tree, choice: &Choice) -> Result<Selection, Failure> {
    interrupt::listen().map_err(Failure::other)?;
    let nix = Nix::find(&choice.nix)?;
    if nix.is_none() && !choice.configurations.is_empty() {
        voice::warn("nothing is evaluated without Nix, so --configuration does not leave anything out");
    }
    let strategy = decide(choice.strategy, nix.as_ref())?;
    let records = Records::open(choice.cache.clone());
    let mut included = BTreeMap::new();
    for path in tree.paths().filter(|path| choice.include.is_match(path)) {
        included.insert(path.to_owned(), "asked for by `include`");
    }
    if included.is_empty() && !choice.include.is_empty() {
        voice::warn("`include` in npc.toml matches no file of the flake");
    }
    for directory in lock::hashed_directories(tree) {
        for path in tree.below(&directory) {
            included.insert(path.to_owned(), "part of an input that flake.lock locks by its hash");
        }
    }
    included.retain(|path, _| tree.kind(path).is_some());
    let mut selection = None;
    if let (Strategy::Evaluated, Some(nix)) = (strategy, &nix) {
        selection = evaluated(tree, nix, &records, choice, &included)?;
        if selection.is_none() && choice.strategy == Strategy::Evaluated {
            return Err(Failure::usage("the flake has no `nixosConfigurations` to evaluate")
                .hint("use --selection static, or tracked"));
        }
    }
    let selection = match selection {
        Some(selection) => selection,
        None => unevaluated(tree, strategy, nix.as_ref(), &records, choice, included)?,
    };
    lock::warn_of(tree);
    secrets::warn_of(tree, &selection.chosen);
    warn_of_twins(&selection.chosen);
    Ok(selection)
}

/// Chooses without evaluating, and proves what can be proved.
fn unevaluated(
    tree: &Tree,
    strategy: Strategy,
    nix: Option<&Nix>,
    records: &Records,
    choice: &Choice,
    included: BTreeMap<PathBuf, &'static str>,
) -> Result<Selection, Failure> {
    let strategy = if strategy == Strategy::Evaluated {
        voice::say("the flake has no `nixosConfigurations`: files are chosen by what its syntax mentions");
        Strategy::Static
    } else {
        strategy
    };
    let mut chosen = if strategy == Strategy::Tracked { tracked(tree) } else { mentioned(tree) };
    for (path, reason) in included {
        let chosen = chosen.entry(path).or_insert(Chosen { keep: Keep::Name, reason: reason.to_owned() });
        chosen.keep = Keep::Content;
    }
    let pack = |chosen: &BTreeMap<PathBuf, Chosen>| {
        Archived::pack(tree, &chosen.iter().map(|(path, chosen)| (path.clone(), chosen.keep)).collect())
    };
    let mut archived = pack(&chosen)?;
    let prove = |archived: &Archived| match nix {
        Some(nix) => proof::prove(tree, nix, records, archived, &choice.configurations),
        None => Ok(proof::Proved::default()),
    };
    let mut proved = prove(&archived)?;
    if !proved.lacking.is_empty() {
        voice::warn(format_args!(
            "{}: the syntax does not mention all that is read, and every tracked file is taken",
            proved.lacking.join(", ")
        ));
        chosen = tracked(tree);
        archived = pack(&chosen)?;
        proved = prove(&archived)?;
    }
    let (configurations, evaluated) = (proved.systems, proved.evaluated);
    Ok(Selection { archived, chosen, configurations, strategy, evaluated })
}

/// The strategy to use with what there is.
fn decide(wanted: Strategy, nix: Option<&Nix>) -> Result<Strategy, Failure> {
    let watched = || Nix::can_be_watched();
    match (wanted, nix) {
        (Strategy::Auto, Some(_)) if watched() => Ok(Strategy::Evaluated),
        (Strategy::Auto, Some(_)) => {
            voice::say("without a working strace, files are chosen by what the flake's syntax mentions");
            Ok(Strategy::Static)
        }
        (Strategy::Auto, None) => {
            voice::say("without Nix, files are chosen by what the flake's syntax mentions, and nothing is evaluated");
            Ok(Strategy::Static)
        }
        (Strategy::Evaluated, None) => {
            Err(Failure::usage("there is no Nix to evaluate with").hint("install it, or use --selection static"))
        }
        (Strategy::Evaluated, Some(_)) if !watched() => {
            Err(Failure::usage("strace is missing, or may not watch other programs here")
                .hint("install strace, or use --selection static"))
        }
        (strategy, _) => Ok(strategy),
    }
}

fn evaluated(
    tree: &Tree,
    nix: &Nix,
    records: &Records,
    choice: &Choice,
    included: &BTreeMap<PathBuf, &'static str>,
) -> Result<Option<Selection>, Failure> {
    let more = included.keys().map(|path| (path.clone(), Keep::Content)).collect();
    let evaluator = Evaluator::new(tree, nix, records);
    let Some(found) = evaluator.find(&choice.configurations, &more)? else { return Ok(None) };
    for (name, bound) in &found.bound {
        match bound {
            Bound::Differs(reason) => voice::say(format_args!(
                "`{name}` has another derivation than in the whole tree: {reason}; it changes with every archive"
            )),
            Bound::Uncompared => voice::say(format_args!(
                "`{name}` lists the flake's own directory: its derivation was not compared with the whole tree's"
            )),
        }
    }
    let all = found.needs.len();
    let mut readers: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for (name, needs) in &found.needs {
        let whole = needs.iter().filter(|(path, keep)| found.archived.members.get(*path) == Some(*keep));
        whole.for_each(|(path, _)| readers.entry(path).or_default().push(name.as_str()));
    }
    let mut chosen: BTreeMap<PathBuf, Chosen> = BTreeMap::new();
    for (path, keep) in &found.archived.members {
        let reason = match (keep, readers.get(path.as_path())) {
            (_, None) if included.contains_key(path) => included[path].to_owned(),
            (_, None) => "read for the names of the configurations".to_owned(),
            (Keep::Content, Some(names)) => format!("read by {}", shortened(names, all)),
            (Keep::Name, Some(names)) => format!("only its name was seen, by {}", shortened(names, all)),
        };
        chosen.insert(path.clone(), Chosen { keep: *keep, reason });
    }
    Ok(Some(Selection {
        archived: found.archived,
        chosen,
        configurations: found.systems,
        strategy: Strategy::Evaluated,
        evaluated: found.evaluated,
    }))
}

fn shortened(names: &[&str], of: usize) -> String {
    match names {
        names if names.len() == of && of > 1 => format!("all {of} configurations"),
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
        names => names.join(", "),
    }
}

fn tracked(tree: &Tree) -> BTreeMap<PathBuf, Chosen> {
    let reason = || "every tracked file is taken".to_owned();
    everything(tree).into_iter().map(|(path, keep)| (path, Chosen { keep, reason: reason() })).collect()
}

fn mentioned(tree: &Tree) -> BTreeMap<PathBuf, Chosen> {
    let followed = follow::follow(tree);
    for widening in followed.widened.iter().take(WIDENINGS_TOLD) {
        let taken = if widening.taken.as_os_str().is_empty() {
            "every tracked file is taken".to_owned()
        } else {
            format!("everything in `{}` is taken", widening.taken.display())
        };
        voice::say(format_args!(
            "{}:{}: cannot follow `{}`: {taken}",
            widening.file.display(),
            widening.line,
            widening.text
        ));
    }
    if let Some(more @ 1..) = followed.widened.len().checked_sub(WIDENINGS_TOLD) {
        voice::say(format_args!("and {more} more such places"));
    }
    followed.members.into_iter().map(|(path, (keep, reason))| (path, Chosen { keep, reason })).collect()
}

/// Two names that some file systems take for one would overwrite each other on a host that has such a one.
fn warn_of_twins(chosen: &BTreeMap<PathBuf, Chosen>) {
    use unicode_normalization::UnicodeNormalization as _;
    let mut known: BTreeMap<String, &Path> = BTreeMap::new();
    for path in chosen.keys() {
        let folded: String = path.to_string_lossy().nfc().flat_map(char::to_lowercase).collect();
        if let Some(twin) = known.insert(folded, path) {
            voice::warn(format_args!(
                "`{}` and `{}` differ in case or in the form of their letters alone: some file systems take them for one",
                twin.display(),
                path.display()
            ));
        }
    }
}
