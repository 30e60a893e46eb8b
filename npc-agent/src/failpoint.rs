//! Places at which tests end the agent, as a power cut or a killer would: before and after each effect, and between the
//! steps of one. Debug builds alone look for them, in `NPC_FAIL_AT`: one name or more, with commas between.

use std::fmt;

use crate::machine::Effect;

/// A step within an effect that leaves its mark on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The timer is set, or the rescuer started.
    TimerArmed,
    /// The profile names another system.
    ProfileSet,
    /// The boot loader knows of it.
    BootLoaderInstalled,
    /// What hung, or might have, was ended.
    ActivationStopped,
    /// The system before runs again.
    PreviousActivated,
    /// The rescuer has noted what it is about to do.
    RescueBegun,
    /// The rescuer has brought the system before back.
    RescueEnded,
}

impl Step {
    /// All of them; the match keeps the list whole.
    const ALL: [Self; 7] = [
        Self::TimerArmed,
        Self::ProfileSet,
        Self::BootLoaderInstalled,
        Self::ActivationStopped,
        Self::PreviousActivated,
        Self::RescueBegun,
        Self::RescueEnded,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::TimerArmed => "timer-armed",
            Self::ProfileSet => "profile-set",
            Self::BootLoaderInstalled => "boot-loader-installed",
            Self::ActivationStopped => "activation-stopped",
            Self::PreviousActivated => "previous-activated",
            Self::RescueBegun => "rescue-begun",
            Self::RescueEnded => "rescue-ended",
        }
    }
}

/// The words for effects. `word` has no default case, so a new effect does not compile without one, and a test holds the
/// list against `word`'s own source of truth: what a run passes must be in it.
pub const EFFECTS: [&str; 14] = [
    "fetch",
    "check-room",
    "build",
    "survey",
    "arm",
    "activate",
    "hand-over",
    "prove",
    "commit",
    "roll-back",
    "disarm",
    "tidy-up",
    "run-hook",
    "reboot",
];

/// An effect's word.
pub fn word(effect: &Effect) -> &'static str {
    match effect {
        Effect::Fetch(_) => EFFECTS[0],
        Effect::CheckRoom => EFFECTS[1],
        Effect::Build(_) => EFFECTS[2],
        Effect::Survey { .. } => EFFECTS[3],
        Effect::Arm { .. } => EFFECTS[4],
        Effect::Activate(_) => EFFECTS[5],
        Effect::HandOver => EFFECTS[6],
        Effect::Prove(_) => EFFECTS[7],
        Effect::Commit(_) => EFFECTS[8],
        Effect::RollBack { .. } => EFFECTS[9],
        Effect::Disarm(_) => EFFECTS[10],
        Effect::TidyUp => EFFECTS[11],
        Effect::RunHook(_) => EFFECTS[12],
        Effect::Reboot { .. } => EFFECTS[13],
    }
}

/// Every place there is, by the name that `NPC_FAIL_AT` takes.
pub fn all() -> Vec<String> {
    let effects = EFFECTS.iter().flat_map(|effect| [format!("before-{effect}"), format!("after-{effect}")]);
    effects.chain(Step::ALL.iter().map(|step| format!("step-{}", step.word()))).collect()
}

/// An effect is about to begin; the journal says so.
pub(crate) fn before(effect: &Effect) {
    reach(format_args!("before-{}", word(effect)));
}

/// An effect has ended; nothing says so yet.
pub(crate) fn after(effect: &str) {
    reach(format_args!("after-{effect}"));
}

/// A step within an effect has ended.
pub(crate) fn passed(step: Step) {
    reach(format_args!("step-{}", step.word()));
}

#[cfg(debug_assertions)]
fn reach(place: fmt::Arguments<'_>) {
    use rustix::process::{Signal, getpid, kill_process};
    let wanted = std::env::var("NPC_FAIL_AT").unwrap_or_default();
    if wanted.split(',').any(|wanted| wanted == place.to_string()) {
        kill_process(getpid(), Signal::KILL).expect("a process may end itself");
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(debug_assertions))]
fn reach(_place: fmt::Arguments<'_>) {}
