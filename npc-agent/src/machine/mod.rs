//! What the agent decides, without doing any of it.
//!
//! ```text
//! Steady → Fetched → Verified → Built → Activating → Probation → Committing → Steady
//!              failures: back off           └──── failure: RollingBack → Steady, system quarantined
//! ```
//!
//! [`step()`] takes the journal, what happened and the time, and gives the journal as it must be written *before* the effects
//! that it asks for begin. So at every moment the journal on the disk says what may be under way, and [`Event::Started`]
//! picks up from there, after holding it against what runs. Every effect can be begun again from its start.
//!
//! A system that cannot be activated while the host runs takes another way, where the operator allows that: it becomes the
//! boot default first and is proved by its first boot. So is one that was activated, but brings another kernel.
//!
//! ```text
//! Built → Committing → Steady, unproven → (reboot) → Probation → Committing → Steady
//!                                     └── the old system was booted, or probation failed: RollingBack → Steady
//! ```

mod attempt;
mod event;
mod journal;
mod outstanding;
mod policy;
mod reboot;
mod step;

#[cfg(test)]
mod journals;
#[cfg(test)]
mod simulation;
#[cfg(test)]
pub(crate) mod tests;

pub use attempt::{Attempt, Baseline, CheckBefore, Mode, Obstacle, UnitsBefore};
pub use event::{Activation, Context, Effect, Ended, Errand, Event, Found, Hook, Stage};
pub use journal::{
    BackOff, Believed, Built, ByHand, Committed, GoodBoot, Journal, Phase, Quarantined, SystemKey, Target, Trouble,
    Unproven,
};
pub use outstanding::{RebootOrdered, RebootWanted, Staying, Stays};
pub use policy::{HandPolicy, Policy};
pub use reboot::{RebootPolicy, RebootWhen, WindowError, Windows};
pub(crate) use step::waits;
pub use step::{
    BOOTED_OLD_SYSTEM, CHANGED_BY_HAND, DEAD_MAN, DEADLINE_PASSED, INTERRUPTED, NEEDS_REBOOT, NO_WAY_BACK,
    STORE_UNREACHABLE, step,
};

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
