//! What a host was told and has not done yet: to go elsewhere, and to reboot.

use npc_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::Failed;

/// Where a host was told to go, and why it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staying {
    /// Where it was told to go, in words.
    pub place: String,
    /// A sentence that says with what it stays, and why.
    pub reason: Failed,
}

/// That a host stays with what it follows although it was told to go elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stays {
    /// Where it was told to go, in words.
    pub place: String,
    /// Since when.
    pub since: Timestamp,
    /// A sentence that says with what it stays, and why.
    pub reason: Failed,
}

impl Stays {
    /// Whether this is known already: trouble is noted once as long as it is of one kind and with one place.
    pub(crate) fn is_about(&self, staying: &Staying) -> bool {
        self.place == staying.place && self.reason.kind == staying.reason.kind
    }
}

/// A reboot that is needed, or has been asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootWanted {
    /// Since when.
    pub since: Timestamp,
    /// When to try at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The boot in which going back failed, where that is why: it is to end, whatever else is said about reboots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stranded_in: Option<String>,
}

/// A reboot that an assignment orders. It is about one boot, and over with that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootOrdered {
    /// The boot that is to end.
    pub boot_id: String,
    /// When the order was heard first.
    pub since: Timestamp,
    /// When to try at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}
