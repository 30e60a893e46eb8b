//! One installation of a host.

use npc_core::digest::Digest;
use serde::{Deserialize, Serialize};

use super::tree::{StateDirectory, StateError};

/// One installation of a host: a new one when the machine is re-created, so that orders meant for the old one pass it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    id: String,
}

impl Instance {
    const FILE: &'static str = "instance";

    /// Has the id that was made when the loss was noticed.
    const LOST: &'static str = "lost";

    /// Reads the id.
    pub fn read(state: &StateDirectory) -> Result<Option<Self>, StateError> {
        state.read_json(Self::FILE)
    }

    /// Makes and keeps a new id.
    pub fn create(state: &StateDirectory) -> Result<Self, StateError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StateError {
            action: "create",
            path: state.path(Self::FILE),
            source: std::io::Error::other(error),
        })?;
        let instance = Self { id: Digest::of(&random).to_string()[..32].to_owned() };
        state.write_json(Self::FILE, &instance)?;
        Ok(instance)
    }

    /// A new id for a host that has lost its memory against replay: the same one until it has another memory.
    pub fn after_a_loss(state: &StateDirectory) -> Result<Self, StateError> {
        if let Some(instance) = Self::of_a_loss(state) {
            return Ok(instance);
        }
        let instance = Self::create(state)?;
        state.write_json(Self::LOST, &instance)?;
        Ok(instance)
    }

    /// The id of a host that has lost its memory against replay, and has no other yet.
    pub fn of_a_loss(state: &StateDirectory) -> Option<Self> {
        state.read_json(Self::LOST).ok()?
    }

    /// The memory is another one from now on.
    pub(super) fn forget_loss(state: &StateDirectory) -> Result<(), StateError> {
        state.remove(Self::LOST)
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }
}
