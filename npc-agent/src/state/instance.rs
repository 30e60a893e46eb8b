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

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }
}
