//! What an attack claims: its `attack.toml`. A field or a word that is not known here is an error, never a default.

use std::collections::BTreeSet;

use npc_core::name::HostName;
use serde::{Deserialize, Serialize};

/// One attack and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// What is claimed, in a sentence.
    pub claim: String,
    /// Who meets the attack.
    pub judge: Judge,
    /// The hosts that meet it, each in a trial of its own.
    pub hosts: BTreeSet<Before>,
    /// A serial that the hosts were told at bootstrap, below which they believe no release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_serial: Option<u64>,
    /// What the store holds, one state after another.
    pub steps: Vec<Step>,
    /// What comes after the attack.
    pub afterwards: Afterwards,
}

/// Who meets an attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Judge {
    /// The agent's program, which is assigned to `prod` and would follow `nowhere` by its own settings.
    Agent,
    /// npc-core's verification of a report with a reader's floors.
    Report(HostName),
}

/// What has happened to a host, or a reader, before it meets the attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// Nothing: it is its first contact.
    Fresh,
    /// It met the honest store, and runs or believes what lies there.
    Running,
}

/// One state of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The folder that is laid over the honest store.
    pub layer: String,
    /// What must come of it.
    pub expect: Expected,
}

/// What must come of asking the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Expected {
    /// A refusal or failure of this kind: the host stays as it is.
    Refusal(String),
    /// The release, assignment or report with this serial is followed or believed.
    Follows(u64),
}

/// What comes after the attack: a good document, which must be followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Afterwards {
    /// The folder that is laid over the honest store; none where what `tests/honest/later` adds to it will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// The serial that is followed then.
    pub follows: u64,
}

impl Attack {
    /// The layers that its folder must have, and no others.
    pub fn layers(&self) -> BTreeSet<&str> {
        self.steps.iter().map(|step| step.layer.as_str()).chain(self.afterwards.layer.as_deref()).collect()
    }
}
