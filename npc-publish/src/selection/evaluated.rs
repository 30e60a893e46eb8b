//! The files that evaluation reads, and the proof that they are enough.
//!
//! Two rounds, both under strace. The first evaluates every wanted configuration in the tree, or, where the tree is large, in
//! a part of it that grows until nothing is missed: whatever was looked for and is in the tree but was not laid out makes
//! the round be repeated with it. The second evaluates them again in the finished archive, unpacked, under the same rule.
//! So in the end each configuration was evaluated in exactly the files that hosts get, and asked for no other: by
//! induction over what it asked, it went the way it goes in the whole tree.
//!
//! A configuration whose derivation is the same in both rounds does not depend on which tree it lies in, and its derivation
//! is the whole tree's: the first round's tree is marked with a file of its own, which nobody looks at, so that it is never
//! the archive's. One whose derivation differs uses the flake's identity (`"${self}"`, `self.narHash`); its result
//! holds for that archive alone.
//!
//! What was seen is recorded as facts. A configuration whose facts all hold is not evaluated again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use npc_core::archive::Keep;
use npc_core::document::{Proof, System};
use npc_core::name::ConfigurationName;
use serde_json::Value;

use super::archived::Archived;
use super::built::add_what_builds_read;
use super::extent;
use super::facts::{self, Facts, Sights, Witness};
use super::follow;
use super::hashed::add_what_is_fetched_by_hash;
use super::identity;
use super::nix::{Complaint, Evaluated, Nix, StoreCopy, Watch};
use super::records::{Record, Records};
use super::refusals;
use super::stage::{Stage, StageError, lacking};
use super::subject::{Scope, Subject, key, system};
use super::tree::Tree;
use crate::console::{self, Progress};
use crate::failure::{Exit, Failure};

/// What an evaluation may take, in bytes of memory: a NixOS system takes about a gibibyte.
const EVALUATION_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// What is known of a subject.
#[derive(Debug, Clone)]
struct Known {
    record: Record,
    /// What the record was made of; none where it comes from the cache and still holds.
    fresh: Option<Fresh>,
}

impl Known {
    /// The value in another tree than the one at `copy`: in the first round, or in the archive that the record is bound to.
    fn elsewhere(&self, copy: &Path) -> Option<&Value> {
        match &self.fresh {
            Some(fresh) => (fresh.copy != copy).then_some(&fresh.value),
            None => Some(&self.record.value),
        }
    }
}

#[derive(Debug, Clone)]
struct Fresh {
    sights: Sights,
    value: Value,
    copy: PathBuf,
}

/// What evaluation found.
#[derive(Debug)]
pub(super) struct Found {
    /// The archive of what is needed.
    pub(super) archived: Archived,
    /// What each configuration evaluates to.
    pub(super) systems: BTreeMap<ConfigurationName, System>,
    /// What it needs of the tree.
    pub(super) needs: BTreeMap<ConfigurationName, BTreeMap<PathBuf, Keep>>,
    /// How many configurations were evaluated now; the others were proved by their records.
    pub(super) evaluated: usize,
    /// Configurations whose derivation depends on the flake's identity, and why.
    pub(super) bound: BTreeMap<ConfigurationName, String>,
}

/// Evaluates.
pub(super) struct Evaluator<'a> {
    pub(super) tree: &'a Tree,
    pub(super) nix: &'a Nix,
    pub(super) records: &'a Records,
    stage: Option<Stage<'a>>,
    /// Whether a file lies at the root of the stage that is not in the tree.
    is_marked: bool,
    /// Whether a build takes the whole flake, as `src = self` does.
    whole: bool,
    laid_out: u32,
    pub(super) evaluated: BTreeSet<ConfigurationName>,
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Self::new(Exit::Flake, error).hint("make it readable, or make room where TMPDIR points")
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(tree: &'a Tree, nix: &'a Nix, records: &'a Records) -> Self {
        Self { tree, nix, records, stage: None, is_marked: true, whole: false, laid_out: 0, evaluated: BTreeSet::new() }
    }

    /// Finds what `wanted` configurations need, all where none is named, together with `more` files. A flake without
    /// configurations has nothing to evaluate.
    pub(super) fn find(
        mut self,
        wanted: &[ConfigurationName],
        more: &BTreeMap<PathBuf, Keep>,
    ) -> Result<Option<Found>, Failure> {
        let mut known = BTreeMap::new();
        let subjects: Vec<_> = if wanted.is_empty() {
            known.extend(self.look_up(&[Subject::Names])?);
            let names = known.values().next().map(|known| known.record.value.clone()).unwrap_or_default();
            if names.is_null() {
                return Ok(None);
            }
            let names: Vec<ConfigurationName> = serde_json::from_value(names).map_err(Failure::other)?;
            names.into_iter().map(Subject::System).collect()
        } else {
            wanted.iter().cloned().map(Subject::System).collect()
        };
        known.extend(self.look_up(&subjects)?);
        self.prove(known, more).map(Some)
    }

    /// What records prove of the subjects, and what evaluating the others in the tree gives.
    fn look_up(&mut self, subjects: &[Subject]) -> Result<BTreeMap<Subject, Known>, Failure> {
        let mut witness = Witness::of(self.tree);
        let mut known = BTreeMap::new();
        let mut others = Vec::new();
        for subject in subjects {
            let records = self.records.read(&key(self.tree, self.nix, subject, Scope::Tree));
            match records.into_iter().find(|record| witness.hold(&record.facts)) {
                Some(record) => {
                    known.insert(subject.clone(), Known { record, fresh: None });
                }
                None => others.push(subject.clone()),
            }
        }
        for (subject, fresh) in self.in_the_tree(others)? {
            let record = Record {
                facts: Witness::of(self.tree).facts(&fresh.sights),
                archive: None,
                reason: None,
                value: fresh.value.clone(),
            };
            known.insert(subject, Known { record, fresh: Some(fresh) });
        }
        Ok(known)
    }

    /// The first round.
    fn in_the_tree(&mut self, subjects: Vec<Subject>) -> Result<BTreeMap<Subject, Fresh>, Failure> {
        let mut found = BTreeMap::new();
        let mut ahead = subjects;
        while !ahead.is_empty() {
            let place = self.stage(&ahead)?.place().to_owned();
            let copy = self.nix.store_copy(&place).map_err(|complaint| refusals::unlocked(&complaint))?;
            let mut missed = BTreeMap::new();
            let mut again = Vec::new();
            let mut saw_the_mark = false;
            for (subject, evaluated) in self.evaluate(&ahead, &copy, Watch::Yes)? {
                let mut sights = facts::sights(self.tree, &evaluated.trace.accesses);
                add_what_is_fetched_by_hash(self.tree, &mut sights);
                let needed = facts::needed(self.tree, &sights);
                let lacks = self.stage(&[])?.lacks(&needed);
                let lists_the_root = sights.get(Path::new("")) == Some(&facts::Sight::Inside);
                if !lacks.is_empty() || (lists_the_root && self.is_marked) {
                    saw_the_mark |= lists_the_root;
                    missed.extend(lacks);
                    again.push(subject);
                    continue;
                }
                let value = self.value(&subject, evaluated.outcome, &copy)?;
                found.insert(subject, Fresh { sights, value, copy: copy.path.clone() });
            }
            if saw_the_mark {
                self.is_marked = false;
                self.stage(&[])?.unmark()?;
            }
            self.grow(&missed)?;
            ahead = again;
        }
        Ok(found)
    }

    /// The part of the tree that is laid out; at first, what is likely to be needed.
    fn stage(&mut self, subjects: &[Subject]) -> Result<&mut Stage<'a>, Failure> {
        if self.stage.is_none() {
            let mut stage = Stage::new(self.tree, self.nix.place("tree")?)?;
            stage.add_all(&self.likely(subjects))?;
            stage.mark()?;
            self.stage = Some(stage);
        }
        Ok(self.stage.as_mut().expect("it was just laid out"))
    }

    fn likely(&self, subjects: &[Subject]) -> BTreeMap<PathBuf, Keep> {
        if extent::is_small(self.tree) {
            return extent::everything(self.tree);
        }
        let mut likely = BTreeMap::new();
        let mut all_known = true;
        for subject in subjects {
            let records = self.records.read(&key(self.tree, self.nix, subject, Scope::Tree));
            all_known &= !records.is_empty();
            for record in records {
                extent::merge(&mut likely, facts::needed_by(self.tree, &record.facts));
            }
        }
        if !all_known {
            extent::merge(&mut likely, follow::closure(self.tree));
        }
        likely
    }

    /// Lays out what was missed and, ever more generously, what lies beside it.
    fn grow(&mut self, missed: &BTreeMap<PathBuf, Keep>) -> Result<(), Failure> {
        if missed.is_empty() {
            return Ok(());
        }
        self.laid_out += 1;
        let wanted = extent::generously(self.tree, missed, self.laid_out);
        Ok(self.stage(&[])?.add_all(&wanted)?)
    }

    /// Evaluates several subjects at once, as many as there are processors and memory for.
    pub(super) fn evaluate(
        &mut self,
        subjects: &[Subject],
        copy: &StoreCopy,
        watch: Watch,
    ) -> Result<Vec<(Subject, Evaluated)>, Failure> {
        self.evaluated.extend(subjects.iter().filter_map(|subject| match subject {
            Subject::Names => None,
            Subject::System(name) => Some(name.clone()),
        }));
        let ahead = Mutex::new(subjects.iter());
        let done = Mutex::new(Vec::new());
        let progress = Mutex::new(Progress::begin("evaluating"));
        let work = || {
            loop {
                let Some(subject) = ahead.lock().expect("nobody panics with it").next() else { return };
                let evaluated = self.nix.evaluate(copy, "nixosConfigurations", &subject.function(), watch);
                let mut done = done.lock().expect("nobody panics with it");
                done.push((subject.clone(), evaluated));
                let words = format!("{} of {}: {}", done.len(), subjects.len(), subject.describe());
                progress.lock().expect("nobody panics with it").tell(words);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..workers().min(subjects.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut done = done.into_inner().expect("nobody panics with it");
        done.sort_by(|one, two| one.0.cmp(&two.0));
        done.into_iter().map(|(subject, evaluated)| Ok((subject, evaluated?))).collect()
    }

    /// The second round: the archive of everything needed, and what is fresh or bound to another archive evaluated in it.
    fn prove(mut self, mut known: BTreeMap<Subject, Known>, more: &BTreeMap<PathBuf, Keep>) -> Result<Found, Failure> {
        let mut members = more.clone();
        loop {
            for known in known.values() {
                extent::merge(&mut members, facts::needed_by(self.tree, &known.record.facts));
            }
            let archived = Archived::pack(self.tree, &members)?;
            let digest = archived.packed.archive.sha256;
            let is_open =
                |known: &Known| known.fresh.is_some() || known.record.archive.is_some_and(|archive| archive != digest);
            let open: Vec<_> = known.iter().filter(|(_, known)| is_open(known)).map(|(key, _)| key.clone()).collect();
            if open.is_empty() || self.prove_in(&archived, &open, &mut known, &members)? {
                return self.finish(archived, &known);
            }
        }
    }

    /// Evaluates the subjects in the archive. Returns false where one of them asked for more than is in it.
    fn prove_in(
        &mut self,
        archived: &Archived,
        open: &[Subject],
        known: &mut BTreeMap<Subject, Known>,
        members: &BTreeMap<PathBuf, Keep>,
    ) -> Result<bool, Failure> {
        let place = archived.unpack(self.nix)?;
        let copy = self.nix.store_copy(&place).map_err(|complaint| refusals::unlocked(&complaint))?;
        let mut enough = true;
        let mut proved = Vec::new();
        for (subject, evaluated) in self.evaluate(open, &copy, Watch::Yes)? {
            let entry = known.get_mut(&subject).expect("only what is known is open");
            let mut sights = facts::sights(self.tree, &evaluated.trace.accesses);
            add_what_is_fetched_by_hash(self.tree, &mut sights);
            if let Some(fresh) = &mut entry.fresh {
                for (path, sight) in &fresh.sights {
                    let seen = sights.entry(path.clone()).or_insert(*sight);
                    *seen = (*sight).max(*seen);
                }
            }
            let elsewhere = entry.elsewhere(&copy.path);
            if let Ok(value) = &evaluated.outcome
                && elsewhere != Some(value)
                && let Some(derivation) = value.get("drv_path").and_then(Value::as_str)
            {
                // It holds the flake's own path, perhaps: what its builds read there has to be there.
                self.whole |= add_what_builds_read(self.tree, self.nix, derivation, &copy.path, &mut sights)?;
            }
            if let Some(fresh) = &mut entry.fresh {
                fresh.sights.clone_from(&sights);
            }
            if !lacking(members, &facts::needed(self.tree, &sights)).is_empty() {
                entry.record.facts = Witness::of(self.tree).facts(&sights);
                enough = false;
                continue;
            }
            let value = self.value(&subject, evaluated.outcome, &copy)?;
            proved.push((subject, sights, value, evaluated.trace.walked_before));
        }
        if !enough {
            return Ok(false);
        }
        let digest = archived.packed.archive.sha256;
        for (subject, sights, value, walked_before) in proved {
            let entry = known.get_mut(&subject).expect("only what is known is open");
            let elsewhere = entry.elsewhere(&copy.path);
            let reason = match elsewhere {
                Some(other) if *other == value => None,
                Some(_) => Some(self.why_bound(&sights)),
                None => entry.record.reason.clone(),
            };
            let archive = (elsewhere != Some(&value)).then_some(digest);
            let facts: Facts = Witness::reading(self.tree, &place).facts(&sights);
            entry.record = Record { facts, archive, reason, value };
            // It may have looked for files without asking for them again: what it saw is not all that it depends on.
            if !walked_before {
                self.records.keep(&key(self.tree, self.nix, &subject, Scope::Tree), entry.record.clone());
            }
        }
        self.records.prune();
        Ok(true)
    }

    /// Why a derivation is another in another tree.
    fn why_bound(&self, sights: &Sights) -> String {
        match identity::first_use(self.tree, sights) {
            Some(place) => place,
            None => "it depends on what tells one tree from another".to_owned(),
        }
    }

    fn finish(self, archived: Archived, known: &BTreeMap<Subject, Known>) -> Result<Found, Failure> {
        if self.whole {
            console::say("a build takes the whole flake (`src = self`, or the like): every tracked file is packed");
        }
        let whole = archived.is_whole(self.tree);
        let mut found = Found {
            archived,
            systems: BTreeMap::new(),
            needs: BTreeMap::new(),
            evaluated: self.evaluated.len(),
            bound: BTreeMap::new(),
        };
        for (subject, known) in known {
            let Subject::System(name) = subject else { continue };
            let same = whole || known.record.archive.is_none();
            let proof = if same { Proof::WholeTree } else { Proof::Archive };
            found.systems.insert(name.clone(), system(known.record.value.clone(), Some(proof))?);
            found.needs.insert(name.clone(), facts::needed_by(self.tree, &known.record.facts));
            if let Some(reason) = known.record.reason.as_ref().filter(|_| !same) {
                found.bound.insert(name.clone(), reason.clone());
            }
        }
        Ok(found)
    }

    /// The value, or the failure to show. A flake without configurations has none to name.
    pub(super) fn value(
        &self,
        subject: &Subject,
        outcome: Result<Value, Complaint>,
        copy: &StoreCopy,
    ) -> Result<Value, Failure> {
        match outcome {
            Ok(value) => Ok(value),
            Err(complaint) if *subject == Subject::Names && complaint.lacks_the_output() => Ok(Value::Null),
            Err(complaint) => Err(refusals::refused(self.tree, subject, &complaint, &copy.path)),
        }
    }
}

/// One per processor, as far as memory goes.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|words| words.split_whitespace().next()?.parse::<u64>().ok());
    let fit = kilobytes.map_or(1, |kilobytes| kilobytes * 1024 / EVALUATION_BYTES);
    processors.min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1)
}
