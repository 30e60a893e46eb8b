//! Evaluating an archive whose files were not chosen by evaluation, and comparing it with the whole tree.
//!
//! Nobody watches, so there are no facts: what an archive evaluates to is remembered under the archive's digest. The whole
//! tree is compared as the archive that it makes, where that is small enough to make.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use npc_core::document::{Proof, System};
use npc_core::name::ConfigurationName;
use serde_json::Value;

use super::archived::Archived;
use super::evaluated::Evaluator;
use super::extent::{everything, is_small};
use super::facts::{Facts, Sight, Sights};
use super::identity;
use super::nix::{Nix, StoreCopy, Watch};
use super::records::{Record, Records};
use super::refusals;
use super::subject::{Scope, Subject, key, system};
use super::tree::Tree;
use crate::failure::Failure;
use crate::voice;

/// What evaluating the archive gave.
#[derive(Debug, Default)]
pub(super) struct Proved {
    /// What each configuration evaluates to.
    pub(super) systems: BTreeMap<ConfigurationName, System>,
    /// How many were evaluated now.
    pub(super) evaluated: usize,
    /// What evaluates to something else than in the whole tree although it does not depend on the tree's identity: the
    /// archive lacks something.
    pub(super) lacking: Vec<String>,
}

/// Evaluates `wanted` configurations, or all, from an archive.
pub(super) fn prove(
    tree: &Tree,
    nix: &Nix,
    records: &Records,
    archived: &Archived,
    wanted: &[ConfigurationName],
) -> Result<Proved, Failure> {
    let mut evaluator = Evaluator::new(tree, nix, records);
    let mut laid_out = Laid { archived, copy: None };
    let names = evaluator.names_in(&mut laid_out, wanted)?;
    let subjects: Vec<_> = names.iter().cloned().map(Subject::System).collect();
    let values = evaluator.values_in(&mut laid_out, &subjects)?;
    let mut proved = Proved::default();
    let compared = if archived.is_whole(tree) {
        subjects.iter().map(|subject| (subject.clone(), Compared::Same)).collect()
    } else if is_small(tree) {
        evaluator.compare(&mut laid_out, &values, wanted)?
    } else {
        voice::say("the tree is too large to evaluate it as a whole as well: the archive is not compared with it");
        BTreeMap::new()
    };
    proved.lacking = compared
        .iter()
        .filter(|(_, compared)| **compared == Compared::Lacking)
        .map(|(subject, _)| subject.describe())
        .collect();
    for (subject, value) in values {
        let Subject::System(name) = &subject else { continue };
        let proof = match compared.get(&subject) {
            None | Some(Compared::Lacking) => None,
            Some(Compared::Same) => Some(Proof::WholeTree),
            Some(Compared::Differs(reason)) => {
                voice::say(format_args!(
                    "`{name}` has another derivation than in the whole tree: {reason}; it changes with every archive"
                ));
                Some(Proof::Archive)
            }
        };
        proved.systems.insert(name.clone(), system(name, value, proof)?);
    }
    proved.evaluated = evaluator.evaluated.len();
    Ok(proved)
}

/// How what the archive gives compares with what the whole tree gives.
#[derive(Debug, PartialEq, Eq)]
enum Compared {
    Same,
    /// It depends on the tree's identity, for this reason.
    Differs(String),
    /// It does not, so that something else is missing.
    Lacking,
}

/// An archive, and its store copy once it is needed.
struct Laid<'a> {
    archived: &'a Archived,
    copy: Option<StoreCopy>,
}

impl Laid<'_> {
    fn copy(&mut self, nix: &Nix) -> Result<&StoreCopy, Failure> {
        if self.copy.is_none() {
            let place = self.archived.unpack(nix)?;
            self.copy = Some(nix.store_copy(&place).map_err(|complaint| refusals::unlocked(&complaint))?);
        }
        Ok(self.copy.as_ref().expect("it was just laid out"))
    }
}

impl Evaluator<'_> {
    fn names_in(
        &mut self,
        laid_out: &mut Laid<'_>,
        wanted: &[ConfigurationName],
    ) -> Result<Vec<ConfigurationName>, Failure> {
        if !wanted.is_empty() {
            return Ok(wanted.to_vec());
        }
        match self.values_in(laid_out, &[Subject::Names])?.remove(&Subject::Names) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(names) => serde_json::from_value(names).map_err(Failure::other),
        }
    }

    /// What the subjects evaluate to, now or when this archive was last evaluated.
    fn values_in(
        &mut self,
        laid_out: &mut Laid<'_>,
        subjects: &[Subject],
    ) -> Result<BTreeMap<Subject, Value>, Failure> {
        let digest = laid_out.archived.packed.archive.sha256;
        let mut values = BTreeMap::new();
        let mut others = Vec::new();
        for subject in subjects {
            match self.recorded(subject, laid_out.archived) {
                Some(record) => {
                    values.insert(subject.clone(), record.value);
                }
                None => others.push(subject.clone()),
            }
        }
        if others.is_empty() {
            return Ok(values);
        }
        let nix = self.nix;
        let copy = laid_out.copy(nix)?;
        for (subject, evaluated) in self.evaluate(&others, copy, Watch::No)? {
            let value = self.value(&subject, evaluated.outcome, copy)?;
            let record = Record { facts: Facts::new(), archive: Some(digest), reason: None, value: value.clone() };
            self.records.keep(&key(self.tree, self.nix, &subject, Scope::Archive), record);
            values.insert(subject, value);
        }
        Ok(values)
    }

    fn recorded(&self, subject: &Subject, archived: &Archived) -> Option<Record> {
        let records = self.records.read(&key(self.tree, self.nix, subject, Scope::Archive));
        records.into_iter().find(|record| record.archive == Some(archived.packed.archive.sha256))
    }

    /// Compares what the archive gives with what the whole tree gives.
    fn compare(
        &mut self,
        laid_out: &mut Laid<'_>,
        values: &BTreeMap<Subject, Value>,
        wanted: &[ConfigurationName],
    ) -> Result<BTreeMap<Subject, Compared>, Failure> {
        let whole = Archived::pack(self.tree, &everything(self.tree))?;
        let mut whole = Laid { archived: &whole, copy: None };
        let mut compared = BTreeMap::new();
        if wanted.is_empty() {
            let there = self.names_in(&mut whole, wanted)?;
            if there.len() != values.len() {
                compared.insert(Subject::Names, Compared::Lacking);
            }
        }
        let subjects: Vec<_> = values.keys().cloned().collect();
        let there = self.values_in(&mut whole, &subjects)?;
        let (tree, read) = (self.tree, read_by_all(laid_out.archived));
        let uses_its_hash = LazyCell::new(|| identity::uses_its_hash(tree, &read));
        let reason = LazyCell::new(|| identity::first_use(tree, &read).unwrap_or_else(identity::unnamed));
        let mut open = Vec::new();
        for subject in subjects {
            if there.get(&subject) != values.get(&subject) {
                open.push(subject);
            } else if *uses_its_hash {
                // Two trees may agree by chance.
                compared.insert(subject, Compared::Differs(reason.clone()));
            } else {
                compared.insert(subject, Compared::Same);
            }
        }
        for (subject, depends) in self.depends_on_its_identity(laid_out.archived, values, &open)? {
            compared.insert(subject, if depends { Compared::Differs(reason.clone()) } else { Compared::Lacking });
        }
        Ok(compared)
    }

    /// Which subjects evaluate to something else where the same files lie in yet another tree.
    fn depends_on_its_identity(
        &mut self,
        archived: &Archived,
        values: &BTreeMap<Subject, Value>,
        subjects: &[Subject],
    ) -> Result<Vec<(Subject, bool)>, Failure> {
        let known = |subject: &Subject| self.recorded(subject, archived).is_some_and(|record| record.reason.is_some());
        let (known, open): (Vec<_>, Vec<_>) = subjects.iter().cloned().partition(known);
        let mut found: Vec<_> = known.into_iter().map(|subject| (subject, true)).collect();
        if open.is_empty() {
            return Ok(found);
        }
        let place = archived.unpack_with_a_mark(self.nix)?;
        let copy = self.nix.store_copy(&place).map_err(|complaint| refusals::unlocked(&complaint))?;
        for (subject, evaluated) in self.evaluate(&open, &copy, Watch::No)? {
            let depends = evaluated.outcome.ok().as_ref() != values.get(&subject);
            if depends && let Some(record) = self.recorded(&subject, archived) {
                let record = Record { reason: Some(identity::unnamed()), ..record };
                self.records.keep(&key(self.tree, self.nix, &subject, Scope::Archive), record);
            }
            found.push((subject, depends));
        }
        Ok(found)
    }
}

/// Every file of the archive, as if it had been read.
fn read_by_all(archived: &Archived) -> Sights {
    archived.members.keys().map(|path| (path.clone(), Sight::Inside)).collect()
}
