//! What the agent decides, without doing any of it.
//!
//! ```text
//! Steady → Fetched → Verified → Built → Activating → Probation → Committing → Steady
//!              failures: back off           └──── failure: RollingBack → Steady, system quarantined
//! ```
//!
//! [`step()`] takes the journal, what happened and the time, and gives the journal as it must be written *before* the effects
//! that it asks for begin. So at every moment the journal on the disk says what may be under way, and [`Event::Started`]
//! picks up from there.

mod journal;
mod step;

#[cfg(test)]
mod tests;

pub use journal::{
    Attempt, BackOff, Baseline, Built, Committed, Journal, Phase, Quarantined, SystemKey, Target, Trouble,
};
pub(crate) use step::waits;
pub use step::{Context, Effect, Event, STORE_UNREACHABLE, step};

use serde::{Deserialize, Serialize};

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The stable word for the reason, shared by logs and reports.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// The end of the failing command's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl Failed {
    /// A failure without output.
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into(), log: None }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.message, self.kind)
    }
}
