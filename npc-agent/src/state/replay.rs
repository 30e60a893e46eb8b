//! The memory against replay: the newest trust and the floors. It outlives every roll-back.
//!
//! It is kept twice, each copy with a digest of its own, and each written whole and fsynced before the other: a crash or a
//! bad sector leaves one. If neither can be read, an attacker may have seen to it, and the agent believes nothing any more.

use npc_core::digest::Digest;
use npc_core::document::{Assignment, Kind};
use npc_core::trust::{Floors, Refusal, Trusted, Verified};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::instance::Instance;
use super::tree::{StateDirectory, StateError};
use crate::settings::Settings;

const COPIES: [&str; 2] = ["replay.json", "replay.copy.json"];

/// A memory that cannot be relied on.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// Both copies are gone or damaged, though this host has had them.
    #[error("state-lost: neither copy of the memory against replay can be read")]
    Lost,
    /// The disk failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// The kept trust is not this fleet's.
    #[error("the kept trust is not to be believed")]
    Trust(#[from] Refusal),
}

/// One copy as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Copy {
    /// Raised with every write, so that the newer copy is known.
    generation: u64,
    /// The newest trust's envelope; none before the first contact.
    trust: Option<String>,
    floors: Floors,
    /// Over the fields above.
    digest: Option<Digest>,
}

impl Copy {
    fn sealed(mut self) -> Self {
        self.digest = None;
        self.digest = Some(Digest::of(&serde_json::to_vec(&self).expect("structures with text keys")));
        self
    }

    fn is_whole(&self) -> bool {
        self.clone().sealed().digest == self.digest
    }
}

/// The memory against replay.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The newest trust; none before the first contact.
    pub trusted: Option<Trusted>,
    /// The highest serials seen.
    pub floors: Floors,
    generation: u64,
}

impl Replay {
    /// What tells the newest trust from any other.
    pub fn trust_digest(&self) -> Option<Digest> {
        self.trusted.as_ref().map(|trusted| Digest::of(trusted.bytes()))
    }

    /// Reads the memory; at the very first start, makes it, with the floors that the host was told at bootstrap.
    pub fn open(state: &StateDirectory, settings: &Settings) -> Result<(Self, Instance), ReplayError> {
        let instance = Instance::read(state);
        let newest = newest_copy(state);
        if let Some(copy) = newest {
            let instance = match instance {
                Ok(Some(instance)) => instance,
                Ok(None) | Err(_) => Instance::create(state)?,
            };
            let mut replay = Self::restore(copy, settings)?;
            replay.hear(settings);
            // A crash may have left it: the next loss must have a name of its own.
            Instance::forget_loss(state)?;
            return Ok((replay, instance));
        }
        let traces = COPIES.iter().any(|name| state.path(name).exists());
        if traces || !matches!(instance, Ok(None)) {
            return Err(ReplayError::Lost);
        }
        let mut fresh = Self { trusted: None, floors: Floors::default(), generation: 0 };
        fresh.hear(settings);
        fresh.write(state)?;
        Ok((fresh, Instance::create(state)?))
    }

    /// The memory of a host that has lost its own, and whose installation an assignment names.
    pub fn after_a_loss(
        state: &StateDirectory,
        settings: &Settings,
        trusted: Trusted,
        assignment: &Verified<Assignment>,
    ) -> Result<Self, StateError> {
        let mut begun = Self { trusted: Some(trusted), floors: Floors::default(), generation: 0 };
        begun.hear(settings);
        begun.floors.raise(Kind::Assignment, assignment.header(), assignment.digest());
        begun.write(state)?;
        Instance::forget_loss(state)?;
        Ok(begun)
    }

    /// The highest serials seen, for a look that changes nothing.
    pub fn floors_in(state: &StateDirectory) -> Floors {
        newest_copy(state).map(|copy| copy.floors).unwrap_or_default()
    }

    /// Whether this is news to somebody who remembers `other`.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let version = |replay: &Self| replay.trusted.as_ref().map(Trusted::version);
        self.floors != other.floors || version(self) != version(other)
    }

    /// A memory of nothing.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { trusted: None, floors: Floors::default(), generation: 0 }
    }

    /// Takes in the floors of the configuration.
    fn hear(&mut self, settings: &Settings) {
        for (remote, serial) in &settings.minimum_serials {
            self.floors.tell(Kind::Release, remote.as_str(), settings.anchor.version, *serial);
        }
    }

    fn restore(copy: Copy, settings: &Settings) -> Result<Self, ReplayError> {
        let trusted =
            copy.trust.map(|bytes| Trusted::restored(&settings.anchor.fleet, bytes.as_bytes())).transpose()?;
        Ok(Self { trusted, floors: copy.floors, generation: copy.generation })
    }

    /// Writes both copies, durably, one after the other.
    pub fn write(&mut self, state: &StateDirectory) -> Result<(), StateError> {
        self.generation += 1;
        let trust = self.trusted.as_ref().map(|trusted| String::from_utf8_lossy(trusted.bytes()).into_owned());
        let copy = Copy { generation: self.generation, trust, floors: self.floors.clone(), digest: None }.sealed();
        COPIES.iter().try_for_each(|name| state.write_json(name, &copy))
    }
}

fn newest_copy(state: &StateDirectory) -> Option<Copy> {
    let read = |name: &str| match state.read_json::<Copy>(name) {
        Ok(copy) => copy.filter(Copy::is_whole),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a copy of the memory against replay is damaged");
            None
        }
    };
    COPIES.iter().filter_map(|name| read(name)).max_by_key(|copy| copy.generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings() -> Settings {
        let text = r#"
            fleet = "00000000000000000000000000000000"
            store = "file:///nowhere"
            root_keys = ["npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE="]
            remote = "prod"
            configuration = "web-1"
            minimum_serials = { prod = 7 }
        "#;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.toml");
        fs::write(&path, text).expect("written");
        Settings::read(&path, "web-1").expect("settings")
    }

    fn opened() -> (tempfile::TempDir, StateDirectory, Instance) {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        let (replay, instance) = Replay::open(&state, &settings()).expect("a first start");
        assert_eq!(replay.floors.get(Kind::Release, "prod").map(|floor| floor.serial.get()), Some(7));
        (folder, state, instance)
    }

    #[test]
    fn either_copy_is_enough() {
        for lost in COPIES {
            let (_folder, state, instance) = opened();
            fs::write(state.path(lost), "{ damaged").expect("written");
            let (replay, same) = Replay::open(&state, &settings()).expect("one copy left");
            assert_eq!(same, instance);
            assert!(replay.floors.get(Kind::Release, "prod").is_some());
        }
    }

    #[test]
    fn the_newer_copy_counts() {
        let (_folder, state, _) = opened();
        let old = fs::read(state.path(COPIES[1])).expect("read");
        let (mut replay, _) = Replay::open(&state, &settings()).expect("opened");
        replay.floors = Floors::default();
        replay.write(&state).expect("written");
        fs::write(state.path(COPIES[1]), old).expect("written");
        let (replay, _) = Replay::open(&state, &settings()).expect("opened");
        assert_eq!(replay.generation, 2, "the older copy was not taken");
    }

    #[test]
    fn a_memory_that_was_there_and_is_not_any_more_is_lost() {
        let (_folder, state, _) = opened();
        for copy in COPIES {
            fs::remove_file(state.path(copy)).expect("removed");
        }
        assert!(matches!(Replay::open(&state, &settings()), Err(ReplayError::Lost)));
    }

    #[test]
    fn a_copy_that_was_changed_by_hand_is_not_believed() {
        let (_folder, state, _) = opened();
        for copy in COPIES {
            let text = fs::read_to_string(state.path(copy)).expect("read");
            fs::write(state.path(copy), text.replace("\"serial\": 7", "\"serial\": 1")).expect("written");
        }
        assert!(matches!(Replay::open(&state, &settings()), Err(ReplayError::Lost)));
    }
}
