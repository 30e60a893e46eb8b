//! What the operator said on the host itself: `npc-agent set`, `pause` and `resume`.

use npc_core::Timestamp;
use npc_core::name::{ConfigurationName, RemoteName};
use serde::{Deserialize, Serialize};

use super::tree::{StateDirectory, StateError};
use crate::settings::Following;

/// The operator's word, over the configuration file's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// The remote to follow instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteName>,
    /// The configuration to build instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationName>,
    /// Whether to change nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// When the operator last asked for another try of what had failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<Timestamp>,
}

/// Change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Until when; without end, until told to resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Local {
    const FILE: &'static str = "local.json";

    /// Reads it.
    pub fn read(state: &StateDirectory) -> Result<Self, StateError> {
        Ok(state.read_json(Self::FILE)?.unwrap_or_default())
    }

    /// Writes it, durably.
    pub fn write(&self, state: &StateDirectory) -> Result<(), StateError> {
        state.write_json(Self::FILE, self)
    }

    /// What to follow, given what the configuration file says.
    pub fn following(&self, configured: &Following) -> Following {
        Following {
            remote: self.remote.clone().unwrap_or_else(|| configured.remote.clone()),
            configuration: self.configuration.clone().unwrap_or_else(|| configured.configuration.clone()),
        }
    }

    /// Whether the host is paused at `now`.
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.pause.is_some_and(|pause| pause.until.is_none_or(|until| now < until))
    }
}
