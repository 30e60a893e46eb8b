//! What can happen, and what can be done about it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::SignedDuration;
use npc_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Attempt, Baseline, Built, Failed, Policy, Staying, Target};

/// What the host is found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The system that runs, if there is a way to know.
    pub running: Option<PathBuf>,
    /// The system that was booted.
    pub booted: Option<PathBuf>,
    /// What the boot loader's profile names.
    pub profile: Option<PathBuf>,
    /// The boot that lasts.
    pub boot_id: Option<String>,
    /// Whether the boot default brings another kernel, initrd or parameters than run.
    pub reboot_needed: bool,
    /// How the activation that the journal tells of stands.
    pub activation: Activation,
    /// The units that had failed when the host had booted. It is asked only where the journal wants to know.
    pub failed_at_boot: Option<BTreeSet<String>>,
}

/// How far an activation got, as the unit itself left it behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Activation {
    /// There is no trace of it.
    #[default]
    Absent,
    /// It goes on.
    Running,
    /// It ended.
    Ended(Ended),
}

/// How an activation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Well,
    /// The system runs, but some of its units did not start (exit code 4).
    SomeUnitsFailed(Failed),
    /// Nothing was changed, since only a reboot leads into that system (exit code 100).
    NeedsReboot(Failed),
    /// Nothing was changed, since somebody else is switching.
    NeverBegan(Failed),
    /// Somewhere in between.
    Failed(Failed),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent began to run, and found the host like this.
    Started(Found),
    /// The agent began to run without a journal, with this attempt under way, and found the host like this.
    Recovered(Box<Attempt>, Found),
    /// Nothing of ours was under way, and the host was like this.
    Looked(Found),
    /// The host follows something else from now on.
    Repointed,
    /// The host was told to follow something else and stays with what it follows, for this reason; or does so no more.
    Stays(Option<Staying>),
    /// The operator wants what failed before this time to be tried again.
    Retried {
        /// When that was said.
        at: Timestamp,
    },
    /// An assignment orders that what failed before this time be tried again.
    RetryOrdered {
        /// The time.
        at: Timestamp,
    },
    /// A release passed every check.
    Release(Target),
    /// Asking the store failed, or gave something that cannot be acted upon.
    PollFailed(Failed),
    /// The store answered, and nothing is new.
    PollAnswered,
    /// The clock was set, by so much.
    ClockJumped(SignedDuration),
    /// Time has passed, or the host was resumed.
    Woke,
    /// The archive lies unpacked.
    Unpacked,
    /// The system is built.
    Built(Built),
    /// This is how the host is before anything is changed.
    Surveyed(Baseline),
    /// Fetching, building or looking around failed.
    PreparationFailed(Failed),
    /// The activation ended.
    Activated(Ended),
    /// Probation or committing failed.
    AttemptFailed(Failed),
    /// The system proved itself, with these remarks.
    Proved(Vec<String>),
    /// The system is the boot default; the host is found like this.
    Committed(Found),
    /// Somebody has activated another system meanwhile.
    Overtaken(Found),
    /// The system before runs again.
    RolledBack {
        /// Whether the store answers now.
        store_answers: bool,
        /// In what the host is not as it was before.
        unwell: Option<Failed>,
    },
    /// Not even that worked.
    RollBackFailed {
        /// Why.
        failed: Failed,
        /// The boot in which it did not.
        boot_id: Option<String>,
    },
    /// The dead-man timer went off.
    DeadlinePassed(Found),
    /// This was done.
    ErrandDone(Errand),
    /// Rebooting has to wait, or did not work.
    RebootPutOff {
        /// Until when.
        until: Timestamp,
        /// What is wrong, where something is.
        failed: Option<Failed>,
    },
}

/// What to do next. All of it can be begun again from the start after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Download the archive, check its digest, unpack it.
    Fetch(Target),
    /// Find out whether there is room to build and to activate.
    CheckRoom,
    /// Build the system and keep it from garbage collection.
    Build(Target),
    /// Note how the host is, to compare with and to go back to.
    Survey {
        /// The system that is to be activated.
        system: PathBuf,
    },
    /// Have the system before come back unless a commit forestalls it.
    Arm {
        /// What may fail.
        attempt: Attempt,
        /// For what time the timer is set.
        stage: Stage,
    },
    /// Activate the system, for this boot alone.
    Activate(Attempt),
    /// Let the agent of the system that runs now take over, where there is one.
    HandOver,
    /// Find out whether the host is still well.
    Prove(Attempt),
    /// Make the system the boot default.
    Commit(Attempt),
    /// Activate the system before.
    RollBack {
        /// What failed.
        attempt: Attempt,
        /// Whether the boot default may have been changed and must be put back.
        boot: bool,
        /// Whether it has been activated already.
        rescued: bool,
    },
    /// The timer has no purpose any more.
    Disarm(Attempt),
    /// Do what the journal has as pending.
    Errand(Errand),
    /// Reboot.
    Reboot {
        /// Whether nobody is asked any more.
        insist: bool,
    },
}

impl Event {
    /// How the host was found, where that is part of what happened.
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Started(found)
            | Self::Looked(found)
            | Self::Overtaken(found)
            | Self::DeadlinePassed(found)
            | Self::Committed(found)
            | Self::Recovered(_, found) => Some(found),
            _ => None,
        }
    }
}

/// What is to be done beside the way. The journal has it as pending until it is done, so that no crash loses it; one at the wrong
/// moment has it done twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Errand {
    /// Tell the operator's own program.
    Tell(Box<Hook>),
    /// Remove what is kept for no purpose any more.
    TidyUp,
    /// Let the agent of the system that runs now take over, where there is one.
    HandOver,
}

/// What a timer is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Activating and all that follows.
    Activation,
    /// Probation and commit.
    Probation,
}

/// When the operator wants to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// A system was committed.
    Committed(Target),
    /// A system was rolled back, or could not be.
    RolledBack(Target, Failed),
}

/// What a decision depends on, beside the journal.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The time.
    pub now: Timestamp,
    /// A number from 0 to 1 that differs between hosts and times.
    pub jitter: f64,
    /// A number that tells attempts apart even where the journal was lost.
    pub nonce: u32,
    /// Whether the operator said to change nothing.
    pub paused: bool,
    /// The boot that lasts, where an assignment orders that it end.
    pub to_end: Option<&'a str>,
    /// What the operator decided beforehand.
    pub policy: &'a Policy,
}
