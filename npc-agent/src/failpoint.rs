//! Places at which tests end the agent, as a power cut or a killer would: before and after each effect, and between the
//! steps of one. Debug builds alone look for them, in `NPC_FAIL_AT`: one name or more, with commas between.

use std::fmt;

use crate::machine::{Effect, Errand};

/// Gives each pattern of a type its word, and a list of all words: what compiles has a word and is in the list.
macro_rules! words {
    ($all:ident, $word:ident($type:ty): $($pattern:pat => $text:literal,)+) => {
        const $all: &[&str] = &[$($text),+];

        fn $word(value: &$type) -> &'static str {
            match value {
                $($pattern => $text,)+
            }
        }
    };
}

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

words! { STEPS, step_word(Step):
    Step::TimerArmed => "timer-armed",
    Step::ProfileSet => "profile-set",
    Step::BootLoaderInstalled => "boot-loader-installed",
    Step::ActivationStopped => "activation-stopped",
    Step::PreviousActivated => "previous-activated",
    Step::RescueBegun => "rescue-begun",
    Step::RescueEnded => "rescue-ended",
}

words! { EFFECTS, effect_word(Effect):
    Effect::Fetch(_) => "fetch",
    Effect::CheckRoom => "check-room",
    Effect::Build(_) => "build",
    Effect::Survey { .. } => "survey",
    Effect::Arm { .. } => "arm",
    Effect::Activate(_) => "activate",
    Effect::HandOver | Effect::Errand(Errand::HandOver) => "hand-over",
    Effect::Prove(_) => "prove",
    Effect::Commit(_) => "commit",
    Effect::RollBack { .. } => "roll-back",
    Effect::Disarm(_) => "disarm",
    Effect::Errand(Errand::TidyUp) => "tidy-up",
    Effect::Errand(Errand::Tell(_)) => "run-hook",
    Effect::Reboot { .. } => "reboot",
}

/// Every place there is, by the name that `NPC_FAIL_AT` takes.
pub fn all() -> Vec<String> {
    let effects = EFFECTS.iter().flat_map(|effect| [format!("before-{effect}"), format!("after-{effect}")]);
    effects.chain(STEPS.iter().map(|step| format!("step-{step}"))).collect()
}

/// An effect that is under way.
pub(crate) struct UnderWay(&'static str);

impl UnderWay {
    /// It is about to begin; the journal says so.
    pub(crate) fn begins(effect: &Effect) -> Self {
        let word = effect_word(effect);
        reach(format_args!("before-{word}"));
        Self(word)
    }

    /// It has ended; nothing says so yet.
    pub(crate) fn ends(self) {
        reach(format_args!("after-{}", self.0));
    }
}

/// A step within an effect has ended.
pub(crate) fn passed(step: Step) {
    reach(format_args!("step-{}", step_word(&step)));
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
