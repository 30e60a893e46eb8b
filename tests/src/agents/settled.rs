//! Whether agents are done with a release.

use std::collections::BTreeSet;
use std::path::Path;

use npc_agent::machine::{Journal, Phase};
use npc_agent::state::StateDirectory;
use serde::{Deserialize, Serialize};

/// How far the agents are with a release.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settled {
    /// Its serial.
    pub serial: u64,
    /// How many hosts run it.
    pub run: usize,
    /// The numbers of the hosts on which it failed, and which run what they ran before.
    pub failed: BTreeSet<usize>,
    /// How long that took since it was asked for, in seconds.
    pub seconds: f64,
}

impl Settled {
    /// How many hosts are done with it, for good or ill.
    pub fn hosts(&self) -> usize {
        self.run + self.failed.len()
    }
}

/// How far the agents with these state directories, by number, are with a release, as their journals have it.
pub fn settled<'a>(states: impl IntoIterator<Item = (usize, &'a Path)>, serial: u64) -> Settled {
    let mut settled = Settled { serial, ..Settled::default() };
    for (number, state) in states {
        let journal = StateDirectory::open(state).ok().and_then(|state| state.find_journal().ok()?);
        let Some(journal) = journal.filter(|journal| journal.phase == Phase::Steady) else { continue };
        if runs(&journal, serial) {
            settled.run += 1;
        } else if has_failed(&journal, serial) {
            settled.failed.insert(number);
        }
    }
    settled
}

fn runs(journal: &Journal, serial: u64) -> bool {
    journal.committed.as_ref().is_some_and(|committed| committed.target.serial.get() == serial)
}

fn has_failed(journal: &Journal, serial: u64) -> bool {
    let newest = journal.outcomes.first();
    newest.is_some_and(|outcome| outcome.error.is_some() && outcome.serial.is_some_and(|of| of.get() == serial))
}
