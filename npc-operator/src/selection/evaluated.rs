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
use npc_core::document::System;
use npc_core::name::ConfigurationName;
use serde_json::Value;

use super::archived::Archived;
use super::extent;
use super::facts::{self, Facts, Sights, Witness};
use super::follow;
use super::hashed::Hashed;
use super::nix::{Complaint, Evaluated, Nix, StoreCopy, Watch};
use super::records::{Record, Records};
use super::refusals;
use super::stage::{Stage, StageError};
use super::subject::{Scope, Subject, key};
use super::tree::Tree;
use super::workers::workers;
use crate::failure::{Exit, Failure};
use crate::voice::{self, Progress};

/// What is known of a subject.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) record: Record,
    /// Other records that hold as well: what depends on the flake's identity has one for each archive.
    pub(super) others: Vec<Record>,
    /// What the record was made of; none where it comes from the cache and still holds.
    pub(super) fresh: Option<Fresh>,
}

/// What the first round saw.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    pub(super) sights: Sights,
    /// What the sights amount to in the part of the tree that was evaluated.
    pub(super) facts: Facts,
    pub(super) value: Value,
    /// That part, in the Nix store.
    pub(super) copy: PathBuf,
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
    /// Configurations of which it is not known that the whole tree gives the same derivation.
    pub(super) bound: BTreeMap<ConfigurationName, Bound>,
}

/// Why a derivation is taken to hold for one archive alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    /// It is another one in another tree, for this reason.
    Differs(String),
    /// There was no other tree to compare it with: whoever lists the flake's own directory sees what would mark one.
    Uncompared,
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
    pub(super) whole: bool,
    laid_out: u32,
    pub(super) hashed: Hashed,
    /// What reads something that nobody saw.
    pub(super) blind: BTreeSet<Subject>,
    /// Configurations that do not evaluate, in words.
    refused: Vec<Failure>,
    pub(super) evaluated: BTreeSet<ConfigurationName>,
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        Self::new(Exit::Flake, error).hint("make it readable, or make room where TMPDIR points")
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(tree: &'a Tree, nix: &'a Nix, records: &'a Records) -> Self {
        Self {
            tree,
            nix,
            records,
            stage: None,
            is_marked: true,
            whole: false,
            laid_out: 0,
            hashed: Hashed::default(),
            blind: BTreeSet::new(),
            refused: Vec::new(),
            evaluated: BTreeSet::new(),
        }
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
            let names: Vec<ConfigurationName> = serde_json::from_value(names).map_err(|error| {
                Failure::new(Exit::Flake, format!("among the names in `nixosConfigurations`: {error}"))
                    .hint("rename it, or name those to publish with --configuration")
            })?;
            names.into_iter().map(Subject::System).collect()
        } else {
            wanted.iter().cloned().map(Subject::System).collect()
        };
        known.extend(self.look_up(&subjects)?);
        let refused = std::mem::take(&mut self.refused);
        if refused.is_empty() {
            return self.prove(known, more).map(Some);
        }
        if known.keys().any(|subject| *subject != Subject::Names) {
            voice::say("remembering what the other configurations gave; nothing is published");
            self.prove(known, more)?;
        }
        Err(Failure::of_all(refused))
    }

    /// What records prove of the subjects, and what evaluating the others in the tree gives.
    fn look_up(&mut self, subjects: &[Subject]) -> Result<BTreeMap<Subject, Known>, Failure> {
        let mut witness = Witness::of(self.tree);
        let mut known = BTreeMap::new();
        let mut unknown = Vec::new();
        for subject in subjects {
            let records = self.records.read(&key(self.tree, self.nix, subject, Scope::Tree));
            let mut holding = records.into_iter().filter(|record| witness.hold(&record.facts));
            match holding.next() {
                Some(record) => {
                    known.insert(subject.clone(), Known { record, others: holding.collect(), fresh: None });
                }
                None => unknown.push(subject.clone()),
            }
        }
        for (subject, fresh) in self.in_the_tree(unknown)? {
            let record = Record { facts: fresh.facts.clone(), archive: None, reason: None, value: fresh.value.clone() };
            known.insert(subject, Known { record, others: Vec::new(), fresh: Some(fresh) });
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
                self.hashed.add(self.tree, &mut sights);
                let needed = facts::needed(self.tree, &sights);
                let lacks = self.stage(&[])?.lacks(&needed);
                let lists_the_root = sights.get(Path::new("")) == Some(&facts::Sight::Inside);
                if !lacks.is_empty() || (lists_the_root && self.is_marked) {
                    saw_the_mark |= lists_the_root;
                    missed.extend(lacks);
                    again.push(subject);
                    continue;
                }
                let value = match self.value(&subject, evaluated.outcome, &copy) {
                    Ok(value) => value,
                    Err(refused) if subject == Subject::Names => return Err(refused),
                    Err(refused) => {
                        self.refused.push(refused);
                        continue;
                    }
                };
                let facts = Witness::reading(self.tree, &place).facts(&sights);
                found.insert(subject, Fresh { sights, facts, value, copy: copy.path.clone() });
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
