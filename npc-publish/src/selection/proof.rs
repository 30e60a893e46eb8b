//! Evaluating an archive whose files were not chosen by evaluation.

use std::collections::BTreeMap;

use npc_core::document::{Proof, System};
use npc_core::name::ConfigurationName;
use serde_json::Value;

use super::archived::Archived;
use super::evaluated::Evaluator;
use super::facts::Facts;
use super::nix::{Nix, StoreCopy, Watch};
use super::records::{Record, Records};
use super::refusals;
use super::subject::{Scope, Subject, key, system};
use super::tree::Tree;
use crate::failure::Failure;

/// What evaluating the archive gave.
#[derive(Debug, Default)]
pub(super) struct Proved {
    /// What each configuration evaluates to.
    pub(super) systems: BTreeMap<ConfigurationName, System>,
    /// How many were evaluated now.
    pub(super) evaluated: usize,
}

/// Evaluates `wanted` configurations, or all, from an archive.
pub(super) fn prove(
    tree: &Tree,
    nix: &Nix,
    records: &Records,
    archived: &Archived,
    wanted: &[ConfigurationName],
) -> Result<Proved, Failure> {
    let (systems, evaluated) = Evaluator::new(tree, nix, records).in_archive(archived, wanted)?;
    let proof = if archived.is_whole(tree) { Proof::WholeTree } else { Proof::Archive };
    let systems = systems.into_iter().map(|(name, system)| (name, System { proof: Some(proof), ..system })).collect();
    Ok(Proved { systems, evaluated })
}

impl Evaluator<'_> {
    /// What `wanted` configurations, or all, evaluate to in an archive that was made by other means, and how many had to be
    /// evaluated for that. Nobody watches: what they read is not asked for.
    pub(super) fn in_archive(
        mut self,
        archived: &Archived,
        wanted: &[ConfigurationName],
    ) -> Result<(BTreeMap<ConfigurationName, System>, usize), Failure> {
        let mut laid_out = None;
        let names = if wanted.is_empty() {
            let value = self.value_in(archived, vec![Subject::Names], &mut laid_out)?.remove(&Subject::Names);
            match value {
                None | Some(Value::Null) => Vec::new(),
                Some(names) => serde_json::from_value(names).map_err(Failure::other)?,
            }
        } else {
            wanted.to_vec()
        };
        let subjects = names.into_iter().map(Subject::System).collect();
        let mut systems = BTreeMap::new();
        for (subject, value) in self.value_in(archived, subjects, &mut laid_out)? {
            if let Subject::System(name) = subject {
                systems.insert(name, system(value, None)?);
            }
        }
        Ok((systems, self.evaluated.len()))
    }

    fn value_in(
        &mut self,
        archived: &Archived,
        subjects: Vec<Subject>,
        laid_out: &mut Option<StoreCopy>,
    ) -> Result<BTreeMap<Subject, Value>, Failure> {
        let digest = archived.packed.archive.sha256;
        let mut values = BTreeMap::new();
        let mut others = Vec::new();
        for subject in subjects {
            let mut records = self.records.read(&key(self.tree, self.nix, &subject, Scope::Archive)).into_iter();
            match records.find(|record| record.archive == Some(digest)) {
                Some(record) => {
                    values.insert(subject, record.value);
                }
                None => others.push(subject),
            }
        }
        if others.is_empty() {
            return Ok(values);
        }
        if laid_out.is_none() {
            let place = archived.unpack(self.nix)?;
            *laid_out = Some(self.nix.store_copy(&place).map_err(|complaint| refusals::unlocked(&complaint))?);
        }
        let copy = laid_out.as_ref().expect("it was just laid out");
        for (subject, evaluated) in self.evaluate(&others, copy, Watch::No)? {
            let value = self.value(&subject, evaluated.outcome, copy)?;
            let record = Record { facts: Facts::new(), archive: Some(digest), reason: None, value: value.clone() };
            self.records.keep(&key(self.tree, self.nix, &subject, Scope::Archive), record);
            values.insert(subject, value);
        }
        Ok(values)
    }
}
