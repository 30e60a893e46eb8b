//! The second round: the archive of everything needed, and the proof that it is enough.
//!
//! A derivation that differs from the first round's does so because of the flake's identity, or because something was read that
//! nobody saw, and is not in the archive. The archive with a mark beside tells the two apart: there the identity is yet another,
//! and what is read is the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;
use npc_core::digest::Digest;
use npc_core::document::Proof;
use serde_json::Value;

use super::archived::Archived;
use super::built::add_what_builds_read;
use super::evaluated::{Bound, Evaluator, Found, Fresh, Known};
use super::extent;
use super::facts::{self, Fact, Facts, Sights, Witness};
use super::identity;
use super::nix::{Evaluated, StoreCopy, Watch};
use super::records::Record;
use super::refusals;
use super::stage::lacking;
use super::subject::{Scope, Subject, key, system};
use crate::failure::{Exit, Failure};
use crate::voice;
use crate::words;

/// What evaluating in the archive showed of it.
enum Verdict {
    Enough,
    /// More was asked for than is in it.
    Lacking,
    /// What these read was not all seen.
    Blind(Vec<Subject>),
}

/// What evaluating a subject in the archive gave, where the archive is enough for it.
struct Proved {
    subject: Subject,
    sights: Sights,
    value: Value,
    walked_before: bool,
}

impl Known {
    /// The value in another tree than the one at `copy`: in the first round, or in the archive that the record is bound to.
    fn elsewhere(&self, copy: &Path) -> Option<&Value> {
        match &self.fresh {
            Some(fresh) => (fresh.copy != copy).then_some(&fresh.value),
            None => Some(&self.record.value),
        }
    }

    /// Takes the record that was made for this archive, if one was.
    fn prefer(&mut self, archive: Digest) {
        let is_for_it = |record: &Record| record.archive == Some(archive);
        if self.record.archive.is_some()
            && !is_for_it(&self.record)
            && let Some(other) = self.others.iter_mut().find(|other| is_for_it(other))
        {
            std::mem::swap(&mut self.record, other);
        }
    }

    fn is_open(&self, archive: Digest) -> bool {
        self.fresh.is_some() || self.record.archive.is_some_and(|bound| bound != archive)
    }
}

impl Evaluator<'_> {
    /// Packs what is needed, and evaluates in it what is fresh or bound to another archive.
    pub(super) fn prove(
        mut self,
        mut known: BTreeMap<Subject, Known>,
        more: &BTreeMap<PathBuf, Keep>,
    ) -> Result<Found, Failure> {
        let mut members = more.clone();
        loop {
            for known in known.values() {
                extent::merge(&mut members, facts::needed_by(self.tree, &known.record.facts));
            }
            let archived = Archived::pack(self.tree, &members)?;
            self.refuse_edits_of_what_was_recorded(&known)?;
            let digest = archived.packed.archive.sha256;
            for known in known.values_mut() {
                known.prefer(digest);
            }
            let open: Vec<_> =
                known.iter().filter(|(_, known)| known.is_open(digest)).map(|(subject, _)| subject.clone()).collect();
            let verdict = if open.is_empty() { Verdict::Enough } else { self.prove_in(&archived, &open, &mut known)? };
            match verdict {
                Verdict::Enough => return self.finish(archived, &known),
                Verdict::Lacking => {}
                Verdict::Blind(subjects) => {
                    for subject in subjects {
                        let what = subject.describe();
                        voice::warn(format_args!(
                            "not all that {what} reads can be seen: every tracked file is packed"
                        ));
                        self.blind.insert(subject);
                    }
                    extent::merge(&mut members, extent::everything(self.tree));
                }
            }
        }
    }

    /// Evaluates the subjects in the archive.
    fn prove_in(
        &mut self,
        archived: &Archived,
        open: &[Subject],
        known: &mut BTreeMap<Subject, Known>,
    ) -> Result<Verdict, Failure> {
        let place = archived.unpack(self.nix)?;
        let copy = self.nix.store_copy(&place).map_err(|complaint| refusals::unlocked(&complaint))?;
        let mut enough = true;
        let mut all = Vec::new();
        for (subject, evaluated) in self.evaluate(open, &copy, Watch::Yes)? {
            let entry = known.get_mut(&subject).expect("only what is known is open");
            let sights = self.seen_in_both(entry, &evaluated, &copy)?;
            if !lacking(&archived.members, &facts::needed(self.tree, &sights)).is_empty() {
                entry.record.facts = Witness::of(self.tree).facts(&sights);
                enough = false;
                continue;
            }
            let value = self.value(&subject, evaluated.outcome, &copy)?;
            all.push(Proved { subject, sights, value, walked_before: evaluated.trace.walked_before });
        }
        if !enough {
            return Ok(Verdict::Lacking);
        }
        let blind = self.blind(archived, &all, known, &copy)?;
        if !blind.is_empty() {
            return Ok(Verdict::Blind(blind));
        }
        for proved in all {
            let entry = known.get_mut(&proved.subject).expect("only what is known is open");
            self.record(entry, proved, archived, &place, &copy)?;
        }
        self.records.prune();
        Ok(Verdict::Enough)
    }

    /// The subjects whose derivation is the same wherever the archive's files lie, and another where more of the tree does.
    fn blind(
        &mut self,
        archived: &Archived,
        all: &[Proved],
        known: &BTreeMap<Subject, Known>,
        copy: &StoreCopy,
    ) -> Result<Vec<Subject>, Failure> {
        let differs = |proved: &&Proved| {
            let known = &known[&proved.subject];
            known.fresh.is_some() && known.elsewhere(&copy.path).is_some_and(|elsewhere| *elsewhere != proved.value)
        };
        let values: BTreeMap<_, _> =
            all.iter().filter(differs).map(|proved| (proved.subject.clone(), &proved.value)).collect();
        if values.is_empty() || archived.is_whole(self.tree) {
            return Ok(Vec::new());
        }
        let marked = archived.unpack_with_a_mark(self.nix)?;
        let marked = self.nix.store_copy(&marked).map_err(|complaint| refusals::unlocked(&complaint))?;
        let subjects: Vec<_> = values.keys().cloned().collect();
        let evaluated = self.evaluate(&subjects, &marked, Watch::No)?.into_iter();
        let same = evaluated.filter(|(subject, evaluated)| evaluated.outcome.as_ref().ok() == Some(values[subject]));
        Ok(same.map(|(subject, _)| subject).collect())
    }

    /// What was seen in the archive and in the first round.
    fn seen_in_both(&mut self, entry: &mut Known, evaluated: &Evaluated, copy: &StoreCopy) -> Result<Sights, Failure> {
        let mut sights = facts::sights(self.tree, &evaluated.trace.accesses);
        self.hashed.add(self.tree, &mut sights);
        if let Some(fresh) = &entry.fresh {
            for (path, sight) in &fresh.sights {
                let seen = sights.entry(path.clone()).or_insert(*sight);
                *seen = (*sight).max(*seen);
            }
        }
        if let Ok(value) = &evaluated.outcome
            && entry.elsewhere(&copy.path) != Some(value)
            && let Some(derivation) = value.get("drv_path").and_then(Value::as_str)
        {
            // It holds the flake's own path, perhaps: what its builds read there has to be there.
            self.whole |= add_what_builds_read(self.tree, self.nix, derivation, &copy.path, &mut sights)?;
        }
        if let Some(fresh) = &mut entry.fresh {
            fresh.sights.clone_from(&sights);
        }
        Ok(sights)
    }

    /// Remembers what was proved, with what it follows from.
    fn record(
        &self,
        entry: &mut Known,
        proved: Proved,
        archived: &Archived,
        place: &Path,
        copy: &StoreCopy,
    ) -> Result<(), Failure> {
        let Proved { subject, sights, value, walked_before } = proved;
        let facts = Witness::reading(self.tree, place).facts(&sights);
        if let Some(Fresh { facts: before, .. }) = &entry.fresh
            && let Some(path) = edited(before, &facts)
        {
            return Err(changed(path));
        }
        let elsewhere = entry.elsewhere(&copy.path);
        // What differed once may agree by chance.
        let is_free =
            entry.fresh.is_some() && elsewhere == Some(&value) && !identity::uses_its_hash(self.tree, &sights);
        let (archive, reason) = match elsewhere {
            _ if is_free => (None, None),
            Some(_) => (Some(archived.packed.archive.sha256), Some(self.why_bound(&sights))),
            None => (Some(archived.packed.archive.sha256), entry.record.reason.clone()),
        };
        entry.record = Record { facts, archive, reason, value };
        // Else it depends on more than it was seen to ask for.
        if !walked_before && !self.blind.contains(&subject) {
            self.records.keep(&key(self.tree, self.nix, &subject, Scope::Tree), entry.record.clone());
        }
        Ok(())
    }

    /// Records were compared with the tree before it was packed.
    fn refuse_edits_of_what_was_recorded(&self, known: &BTreeMap<Subject, Known>) -> Result<(), Failure> {
        let mut witness = Witness::of(self.tree);
        let mut recorded = known.values().filter(|known| known.fresh.is_none());
        match recorded.find_map(|known| witness.first_change(&known.record.facts)) {
            Some(path) => Err(changed(path)),
            None => Ok(()),
        }
    }

    /// Why a derivation is another in another tree.
    fn why_bound(&self, sights: &Sights) -> String {
        identity::first_use(self.tree, sights).unwrap_or_else(identity::unnamed)
    }

    fn finish(self, archived: Archived, known: &BTreeMap<Subject, Known>) -> Result<Found, Failure> {
        if self.whole {
            voice::say("a build takes the whole flake (`src = self`, or the like): every tracked file is packed");
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
            let proof = match &known.record.reason {
                _ if same => Some(Proof::WholeTree),
                Some(_) => Some(Proof::Archive),
                None => None,
            };
            found.systems.insert(name.clone(), system(name, known.record.value.clone(), proof)?);
            found.needs.insert(name.clone(), facts::needed_by(self.tree, &known.record.facts));
            if !same {
                let bound = known.record.reason.clone().map_or(Bound::Uncompared, Bound::Differs);
                found.bound.insert(name.clone(), bound);
            }
        }
        Ok(found)
    }
}

/// A file whose content was another in the first round than in the archive.
fn edited<'a>(before: &'a Facts, after: &Facts) -> Option<&'a Path> {
    before.iter().find_map(|(path, fact)| match (fact, after.get(path)) {
        (Fact::File { .. }, Some(now @ Fact::File { .. })) if fact != now => Some(path.as_path()),
        _ => None,
    })
}

fn changed(path: &Path) -> Failure {
    let path = words::printable(&path.to_string_lossy());
    Failure::new(Exit::Flake, format!("`{path}` changed while it was being packed"))
        .hint("nothing was published; run it again once nothing writes to the flake any more")
}
