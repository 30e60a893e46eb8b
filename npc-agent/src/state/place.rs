//! Where a host's releases come from, and the note of which place that really is.
//!
//! What a host is told to follow and what it follows are two things: it goes to another place only once a release of that
//! place was read and believed. So what it follows is written down, beside the assignment that it obeys.

use std::fmt;

use npc_core::document::{Pin, Serial};
use npc_core::layout::{self, ObjectKey};
use npc_core::name::{ConfigurationName, RemoteName};
use serde::{Deserialize, Serialize};

use super::tree::{StateDirectory, StateError};
use crate::machine::{Journal, Target};
use crate::settings::Following;

const FILE: &str = "followed.json";

/// A remote, or one release of it, and the configuration to build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The remote.
    pub remote: RemoteName,
    /// The configuration in its flake.
    pub configuration: ConfigurationName,
    /// Exactly this release instead of the remote's current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

impl From<&Following> for Place {
    fn from(following: &Following) -> Self {
        let Following { remote, configuration } = following.clone();
        Self { remote, configuration, pin: None }
    }
}

impl Place {
    /// Where a host begins that is `told` to follow this: where it was, if there is a release of another place to stay with.
    ///
    /// Without the note, which older agents did not write and which may be damaged, what is prepared or committed tells. If that
    /// is of another place, the host stays with exactly that release: whether it followed the remote or was pinned, nobody
    /// knows any more.
    pub fn of_host(state: &StateDirectory, told: &Self, journal: &Journal) -> Option<Self> {
        let committed = journal.committed.as_ref().map(|committed| &committed.target);
        let unproven = journal.unproven.as_ref().map(|unproven| &unproven.attempt.target);
        let mut believed = [journal.phase.target(), unproven, committed].into_iter().flatten();
        Self::kept(state)
            .or_else(|| believed.any(|target| told.may_lead_to(target)).then(|| told.clone()))
            .or_else(|| committed.map(Self::exactly))
    }

    fn exactly(target: &Target) -> Self {
        let pin = Some(Pin { serial: target.serial, archive: target.archive.sha256 });
        Self { remote: target.remote.clone(), configuration: target.configuration.clone(), pin }
    }

    /// The place that is noted.
    pub(crate) fn kept(state: &StateDirectory) -> Option<Self> {
        state.read_json(FILE).unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(kind = "state", error, "the note of what is followed is damaged");
            None
        })
    }

    /// Notes that this is followed, durably.
    pub fn keep(&self, state: &StateDirectory) -> Result<(), StateError> {
        state.write_json(FILE, self)
    }

    /// Whether this is what is noted.
    pub fn is_kept(&self, state: &StateDirectory) -> bool {
        Self::kept(state).as_ref() == Some(self)
    }

    /// Forgets what was followed.
    pub fn forget(state: &StateDirectory) -> Result<(), StateError> {
        state.remove(FILE)
    }

    /// Whether this release may be what lies there.
    pub fn may_lead_to(&self, target: &Target) -> bool {
        let is_pinned = |pin: Pin| pin.serial == target.serial && pin.archive == target.archive.sha256;
        self.remote == target.remote && self.configuration == target.configuration && self.pin.is_none_or(is_pinned)
    }

    /// The object that says what to run.
    pub fn release_key(&self) -> ObjectKey {
        match self.pin {
            Some(pin) => layout::release(&self.remote, pin.serial),
            None => layout::remote(&self.remote),
        }
    }

    /// The place in words, to somebody who knows that the host follows `other`.
    pub fn beside(&self, other: &Self) -> String {
        if self.configuration == other.configuration {
            return format!("`{self}`");
        }
        format!("configuration `{}` of `{self}`", self.configuration)
    }
}

/// The remote, or the one release of it.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serial: Option<Serial> = self.pin.map(|pin| pin.serial);
        match serial {
            Some(serial) => write!(formatter, "{}@{serial}", self.remote),
            None => self.remote.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Phase;
    use crate::machine::tests::{committed, target};

    fn place(remote: &str) -> Place {
        Place { remote: remote.parse().expect("a name"), configuration: "web-1".parse().expect("a name"), pin: None }
    }

    fn release(remote: &str) -> Target {
        Target { remote: place(remote).remote, ..target(1, "a") }
    }

    fn with_committed(remote: &str) -> Journal {
        let mut journal = committed("a");
        journal.committed.as_mut().expect("a release").target.remote = place(remote).remote;
        journal
    }

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        (folder, state)
    }

    #[test]
    fn a_host_begins_where_it_was() {
        let (_folder, state) = state();
        place("old").keep(&state).expect("kept");
        assert_eq!(Place::of_host(&state, &place("new"), &Journal::default()), Some(place("old")));
        assert!(place("old").is_kept(&state) && !place("new").is_kept(&state));
    }

    #[test]
    fn without_a_note_what_the_host_runs_or_prepares_tells_where_it_was() {
        for note in [None, Some("{ damaged")] {
            let (_folder, state) = state();
            if let Some(text) = note {
                state.write_bytes(FILE, text.as_bytes(), 0o644).expect("written");
            }
            let begins = |journal: &Journal| Place::of_host(&state, &place("new"), journal);
            assert_eq!(begins(&Journal::default()), None, "there is nothing to stay with");
            assert_eq!(begins(&with_committed("new")), Some(place("new")));
            let stays = begins(&with_committed("old")).expect("a release to stay with");
            assert_eq!((stays.to_string().as_str(), stays.may_lead_to(&release("old"))), ("old@1", true));
            let prepares = Journal { phase: Phase::Fetched { target: release("new") }, ..with_committed("old") };
            assert_eq!(begins(&prepares), Some(place("new")));
        }
    }
}
