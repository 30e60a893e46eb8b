//! The one function that decides.

mod attempt;
mod clocks;
mod look;
mod prepare;
mod reboots;
mod records;
mod recover;

use jiff::SignedDuration;
use npc_core::Timestamp;

use super::{Context, Effect, Errand, Event, Failed, Hook, Journal, Phase, Stage};

/// The bound of the first pause after a failure; each further failure doubles it.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// The kind of a probation that failed because the store could not be reached any more.
pub const STORE_UNREACHABLE: &str = "store-unreachable";

/// The kind of an attempt whose end nobody saw.
pub const INTERRUPTED: &str = "interrupted";

/// The kind of an attempt that the dead-man timer ended.
pub const DEADLINE_PASSED: &str = "deadline-passed";

/// The kind of an attempt for which no dead-man timer could be set.
pub const DEAD_MAN: &str = "dead-man";

/// The kind of a roll-back that could neither activate the system before nor make it the boot default.
pub const NO_WAY_BACK: &str = "no-way-back";

/// The kind of a boot that ended in the old system.
pub const BOOTED_OLD_SYSTEM: &str = "booted-old-system";

/// The kind of a system that can only be booted, where policy does not allow that.
pub const NEEDS_REBOOT: &str = "needs-reboot";

/// The kind of what was found to be another system than the agent's doing.
pub const CHANGED_BY_HAND: &str = "changed-by-hand";

/// A decision in the making: the journal, and what is to be done once beside what its phase asks for.
struct Turn<'a> {
    journal: Journal,
    context: &'a Context<'a>,
    once: Vec<Effect>,
}

/// Decides: the journal to write now, and then what to do, in this order. Effects that end with an event end the list.
pub fn step(journal: Journal, event: Event, context: &Context<'_>) -> (Journal, Vec<Effect>) {
    let mut turn = Turn { journal, context, once: Vec::new() };
    turn.take_in(event);
    turn.heed_order_to_reboot();
    turn.nothing_begins_later();
    let mut effects = turn.once;
    effects.extend(asked_for(&turn.journal, context));
    (turn.journal, effects)
}

impl Turn<'_> {
    fn take_in(&mut self, event: Event) {
        match event {
            Event::Started(found) => self.started(&found),
            Event::Recovered(attempt, found) => self.recovered(*attempt, &found),
            Event::Looked(found) => self.looked(&found),
            Event::Overtaken(found) => self.overtaken(&found),
            Event::DeadlinePassed(found) => self.deadline_passed(&found),
            Event::ClockJumped(by) => self.clock_jumped(by),
            Event::Woke => {}
            Event::PollFailed(reason) => self.trouble(reason),
            Event::PollAnswered => self.answered(),
            Event::Stays(staying) => self.stays(staying),
            Event::Retried { at } => self.retried(at),
            Event::RetryOrdered { at } => self.retry_ordered(at),
            Event::Repointed if self.journal.phase.must_finish() => {}
            Event::Repointed => {
                self.journal.phase = Phase::Steady;
                self.journal.back_off = None;
            }
            Event::Release(target) => self.consider(target),
            Event::ErrandDone(errand) => self.journal.pending.retain(|pending| *pending != errand),
            Event::RebootPutOff { until, failed } => self.reboot_put_off(until, failed),
            event => self.advance(event),
        }
    }

    fn disarm(&mut self, attempt: &super::Attempt) {
        self.once.push(Effect::Disarm(attempt.clone()));
    }

    fn tell(&mut self, hook: Hook) {
        self.send(Errand::Tell(Box::new(hook)));
    }

    /// Has it done, after what is pending already.
    fn send(&mut self, errand: Errand) {
        self.journal.pending.retain(|pending| *pending != errand);
        self.journal.pending.push(errand);
    }
}

/// What the journal asks for: errands, unless something must be finished first, and then what its phase does. What has begun is
/// finished even while paused.
fn asked_for(journal: &Journal, context: &Context<'_>) -> Vec<Effect> {
    let ordered = reboots::ordered(journal, context);
    match &journal.phase {
        phase if !phase.must_finish() && !journal.pending.is_empty() => {
            journal.pending.first().cloned().map(Effect::Errand).into_iter().collect()
        }
        // What is being prepared goes on after the boot.
        phase if !phase.must_finish() && ordered.is_some() => ordered.into_iter().collect(),
        Phase::Steady => reboots::by_policy(journal, context).into_iter().collect(),
        Phase::Activating(attempt) => {
            vec![Effect::Arm { attempt: attempt.clone(), stage: Stage::Activation }, Effect::Activate(attempt.clone())]
        }
        Phase::Probation(attempt) => vec![
            Effect::Arm { attempt: attempt.clone(), stage: Stage::Probation },
            Effect::HandOver,
            Effect::Prove(attempt.clone()),
        ],
        Phase::Committing(attempt) => vec![Effect::Commit(attempt.clone())],
        Phase::RollingBack { attempt, boot, rescued, .. } => {
            vec![Effect::RollBack { attempt: attempt.clone(), boot: *boot, rescued: *rescued }]
        }
        _ if context.paused || waits(journal, context.now) => Vec::new(),
        Phase::Fetched { target } => vec![Effect::Fetch(target.clone())],
        Phase::Verified { target } => vec![Effect::CheckRoom, Effect::Build(target.clone())],
        Phase::Built { built, .. } => vec![Effect::Survey { system: built.system.clone() }],
    }
}

/// Whether the pause after a failure still lasts. A pause longer than the longest is the work of a clock that jumped.
pub(crate) fn waits(journal: &Journal, now: Timestamp) -> bool {
    journal.back_off.is_some_and(|back_off| now < back_off.until && back_off.until.duration_since(now) <= LONGEST_PAUSE)
}

/// A reason that nobody saw.
fn interrupted(during: &str) -> Failed {
    Failed::new(INTERRUPTED, format!("the agent or the host ended {during}"))
}
