//! The one function that decides.

use std::path::PathBuf;

use jiff::SignedDuration;
use npc_core::Timestamp;
use npc_core::document::{Outcome, OutcomeKind};

use super::{Attempt, BackOff, Baseline, Built, Committed, Failed, Journal, Phase, Target, Trouble};

/// The bound of the first pause after a failure; each further failure doubles it.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// The kind of a probation that failed because the store could not be reached any more.
pub const STORE_UNREACHABLE: &str = "store-unreachable";

/// The kind of an attempt whose end nobody saw.
const INTERRUPTED: &str = "interrupted";

/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent began to run, and found this system running.
    Started {
        /// The system, if there is a way to know.
        running: Option<PathBuf>,
    },
    /// The host was told to follow something else.
    Repointed,
    /// A release passed every check.
    Release(Target),
    /// Asking the store failed, or gave something that cannot be acted upon.
    PollFailed(Failed),
    /// The store answered, and nothing is new.
    PollAnswered,
    /// Time has passed, or the host was resumed.
    Woke,
    /// The archive lies unpacked.
    Unpacked,
    /// The system is built.
    Built(Built),
    /// This is how the host is before anything is changed.
    Surveyed(Baseline),
    /// Fetching or building failed.
    PreparationFailed(Failed),
    /// The system runs.
    Activated,
    /// Activating, probation or committing failed.
    AttemptFailed(Failed),
    /// The system proved itself.
    Proved,
    /// The system is the boot default.
    Committed,
    /// The system before runs again.
    RolledBack {
        /// Whether the store answers now.
        store_answers: bool,
    },
    /// Not even that worked.
    RollBackFailed(Failed),
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Download the archive, check its digest, unpack it.
    Fetch(Target),
    /// Build the system and keep it from garbage collection.
    Build(Target),
    /// Note how the host is, to compare with and to go back to.
    Survey,
    /// Activate the system, for this boot alone.
    Activate(Attempt),
    /// Find out whether the host is still well.
    Prove(Attempt),
    /// Make the system the boot default.
    Commit(Attempt),
    /// Activate the system before; with `boot`, also make it the boot default again.
    RollBack {
        /// What failed.
        attempt: Attempt,
        /// Whether the boot default may have been changed.
        boot: bool,
    },
}

/// What a decision depends on, beside the journal.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The time.
    pub now: Timestamp,
    /// A number from 0 to 1 that differs between hosts and times.
    pub jitter: f64,
    /// Whether the operator said to change nothing.
    pub paused: bool,
}

/// Decides: the journal to write now, and then what to do, if anything.
pub fn step(mut journal: Journal, event: Event, context: &Context) -> (Journal, Option<Effect>) {
    match event {
        Event::Started { running } => started(&mut journal, running.as_ref()),
        Event::Woke => {}
        Event::PollFailed(reason) => trouble(&mut journal, reason, context),
        Event::PollAnswered => journal.trouble = None,
        Event::Repointed if journal.phase.must_finish() => {}
        Event::Repointed => {
            journal.phase = Phase::Steady;
            journal.back_off = None;
        }
        Event::Release(target) => consider(&mut journal, target, context),
        event => advance(&mut journal, event, context),
    }
    let effect = next_effect(&journal, context);
    (journal, effect)
}

/// Picks up where the journal ends, if that is still what is so.
fn started(journal: &mut Journal, running: Option<&PathBuf>) {
    let interrupted = |during: &str| Failed::new(INTERRUPTED, format!("the agent or the host ended {during}"));
    journal.phase = match std::mem::take(&mut journal.phase) {
        // Nobody saw how it ended: half a system is not given the chance to prove itself.
        Phase::Activating(attempt) => {
            Phase::RollingBack { attempt, reason: interrupted("while the system was being activated"), boot: false }
        }
        // Another system runs, as after a power cut, which boots the old one: this one has not proved itself.
        Phase::Probation(attempt) if running != Some(&attempt.system) => {
            Phase::RollingBack { attempt, reason: interrupted("before the system had proved itself"), boot: false }
        }
        Phase::Committing(attempt) if running != Some(&attempt.system) => {
            Phase::RollingBack { attempt, reason: interrupted("while the system became the boot default"), boot: true }
        }
        phase => phase,
    };
}

/// Trouble is dated from when it began, and noted once as long as it is of one kind.
fn trouble(journal: &mut Journal, reason: Failed, context: &Context) {
    if journal.trouble.as_ref().is_none_or(|known| known.reason.kind != reason.kind) {
        journal.trouble = Some(Trouble { since: context.now, reason });
    }
}

/// A release was believed. Nothing to do is decided first.
fn consider(journal: &mut Journal, target: Target, context: &Context) {
    journal.trouble = None;
    if journal.phase.must_finish() {
        return;
    }
    if let Some(committed) = journal.committed.as_mut().filter(|committed| committed.is_already(&target)) {
        if committed.target != target {
            let message = format!("{}@{} changes nothing here", target.remote, target.serial);
            let outcome = outcome(context, &target, OutcomeKind::Adopted, None, message);
            committed.target = target;
            journal.record(outcome);
        }
        journal.phase = Phase::Steady;
        journal.back_off = None;
        return;
    }
    if let Some(quarantined) = journal.quarantine.get(&target.key()) {
        if quarantined.attempt >= target.attempt {
            let known = journal.outcomes.first().is_some_and(|last| last.serial == Some(target.serial));
            if !known {
                let failed =
                    Failed::new("quarantined", format!("this system failed here before: {}", quarantined.reason));
                let outcome = failure(context, &target, OutcomeKind::Refused, failed);
                journal.record(outcome);
            }
            journal.phase = Phase::Steady;
            journal.back_off = None;
            return;
        }
        journal.quarantine.remove(&target.key());
    }
    let under_way = journal.phase.target().is_some_and(|current| current.digest == target.digest);
    let same_configuration =
        journal.phase.target().is_some_and(|current| current.configuration == target.configuration);
    if !(under_way && same_configuration) {
        journal.phase = Phase::Fetched { target };
        journal.back_off = None;
    }
}

/// An effect ended.
fn advance(journal: &mut Journal, event: Event, context: &Context) {
    let phase = std::mem::take(&mut journal.phase);
    journal.phase = match (phase, event) {
        (Phase::Fetched { target }, Event::Unpacked) => Phase::Verified { target },
        (Phase::Verified { target }, Event::Built(built)) => {
            journal.back_off = None;
            Phase::Built { target, built }
        }
        (Phase::Built { target, built }, Event::Surveyed(baseline)) => {
            surveyed(journal, target, built, baseline, context)
        }
        (
            phase @ (Phase::Fetched { .. } | Phase::Verified { .. } | Phase::Built { .. }),
            Event::PreparationFailed(failed),
        ) => {
            back_off(journal, &phase, OutcomeKind::Failed, failed, context);
            phase
        }
        (Phase::Activating(attempt), Event::Activated) => Phase::Probation(attempt),
        (Phase::Probation(attempt), Event::Proved) => Phase::Committing(attempt),
        (Phase::Committing(attempt), Event::Committed) => {
            commit(journal, attempt, context);
            Phase::Steady
        }
        (Phase::Activating(attempt) | Phase::Probation(attempt), Event::AttemptFailed(reason)) => {
            Phase::RollingBack { attempt, reason, boot: false }
        }
        (Phase::Committing(attempt), Event::AttemptFailed(reason)) => {
            Phase::RollingBack { attempt, reason, boot: true }
        }
        (Phase::RollingBack { attempt, reason, .. }, Event::RolledBack { store_answers })
            if deserves_another_try(journal, &attempt, &reason, store_answers) =>
        {
            let phase = Phase::Verified { target: attempt.target };
            back_off(journal, &phase, OutcomeKind::RolledBack, reason, context);
            phase
        }
        (Phase::RollingBack { attempt, reason, .. }, Event::RolledBack { .. }) => {
            give_up(journal, &attempt, OutcomeKind::RolledBack, reason, context);
            Phase::Steady
        }
        (Phase::RollingBack { attempt, mut reason, .. }, Event::RollBackFailed(failed)) => {
            reason.message = format!("{}; and going back failed: {failed}", reason.message);
            give_up(journal, &attempt, OutcomeKind::Stranded, reason, context);
            // Nobody knows what runs: the next release is activated, whatever it holds.
            journal.committed = None;
            Phase::Steady
        }
        // What an effect reports after it was superseded concerns nobody any more.
        (phase, _) => phase,
    };
}

fn surveyed(journal: &mut Journal, target: Target, built: Built, before: Baseline, context: &Context) -> Phase {
    if journal.committed.as_ref().is_some_and(|committed| committed.system == built.system)
        && before.running.as_ref() == Some(&built.system)
    {
        let message = format!("{}@{} builds the system that runs already", target.remote, target.serial);
        let adopted = outcome(context, &target, OutcomeKind::Adopted, None, message);
        if let Some(committed) = &mut journal.committed {
            committed.target = target;
        }
        journal.record(adopted);
        return Phase::Steady;
    }
    if let Some(expires) = target.expires.filter(|expires| *expires <= context.now) {
        let failed = Failed::new("expired", format!("the release expired at {expires}, before it could be activated"));
        let refused = failure(context, &target, OutcomeKind::Refused, failed);
        journal.record(refused);
        return Phase::Steady;
    }
    if context.paused {
        return Phase::Built { target, built };
    }
    journal.attempts += 1;
    let Built { system, unexpected } = built;
    Phase::Activating(Attempt { number: journal.attempts, target, system, since: context.now, before, unexpected })
}

/// Whether the system was not at fault, as far as one can tell.
fn deserves_another_try(journal: &mut Journal, attempt: &Attempt, reason: &Failed, store_answers: bool) -> bool {
    match reason.kind.as_str() {
        // The store stays silent under the old system too.
        STORE_UNREACHABLE => !store_answers,
        // Once it may have been anything; twice it looks as if the system took the host down.
        INTERRUPTED => {
            let key = attempt.target.key();
            let again = journal.interrupted.as_ref() == Some(&key);
            journal.interrupted = if again { None } else { Some(key) };
            !again
        }
        _ => false,
    }
}

fn back_off(journal: &mut Journal, phase: &Phase, kind: OutcomeKind, failed: Failed, context: &Context) {
    let failures = journal.back_off.map_or(0, |back_off| back_off.failures).saturating_add(1);
    let bound = FIRST_PAUSE.saturating_mul(1_i32 << failures.saturating_sub(1).min(20)).min(LONGEST_PAUSE);
    let pause = bound.mul_f64_clamped(0.5 + context.jitter / 2.0);
    journal.back_off = Some(BackOff { failures, until: context.now.saturating_add(pause).unwrap_or(Timestamp::MAX) });
    if let Some(target) = phase.target() {
        let failed = failure(context, target, kind, failed);
        journal.record(failed);
    }
}

/// Multiplies by a factor from 0 to 1.
trait Clamped {
    fn mul_f64_clamped(self, factor: f64) -> Self;
}

impl Clamped for SignedDuration {
    fn mul_f64_clamped(self, factor: f64) -> Self {
        Self::try_from_secs_f64(self.as_secs_f64() * factor.clamp(0.0, 1.0)).unwrap_or(self)
    }
}

fn commit(journal: &mut Journal, attempt: Attempt, context: &Context) {
    let target = attempt.target;
    let mut message = format!("{}@{} runs", target.remote, target.serial);
    if let Some(unexpected) = &attempt.unexpected {
        message = format!("{message}, but {}", unexpected.message);
    }
    journal.record(outcome(context, &target, OutcomeKind::Committed, attempt.unexpected, message));
    journal.quarantine.remove(&target.key());
    journal.interrupted = None;
    journal.committed = Some(Committed { target, system: attempt.system, since: context.now });
}

fn give_up(journal: &mut Journal, attempt: &Attempt, kind: OutcomeKind, reason: Failed, context: &Context) {
    journal.quarantine(&attempt.target, context.now, reason.clone());
    journal.record(failure(context, &attempt.target, kind, reason));
}

fn outcome(context: &Context, target: &Target, kind: OutcomeKind, failed: Option<Failed>, message: String) -> Outcome {
    let (error, log) = failed.map_or((None, None), |failed| (Some(failed.kind), failed.log));
    Outcome { at: context.now, serial: Some(target.serial), kind, error, message, log }
}

fn failure(context: &Context, target: &Target, kind: OutcomeKind, failed: Failed) -> Outcome {
    let message = format!("{}@{}: {}", target.remote, target.serial, failed.message);
    outcome(context, target, kind, Some(failed), message)
}

/// What the journal's phase asks for. What has begun is finished even while paused.
fn next_effect(journal: &Journal, context: &Context) -> Option<Effect> {
    match &journal.phase {
        Phase::Steady => None,
        Phase::Activating(attempt) => Some(Effect::Activate(attempt.clone())),
        Phase::Probation(attempt) => Some(Effect::Prove(attempt.clone())),
        Phase::Committing(attempt) => Some(Effect::Commit(attempt.clone())),
        Phase::RollingBack { attempt, boot, .. } => Some(Effect::RollBack { attempt: attempt.clone(), boot: *boot }),
        _ if context.paused || waits(journal, context.now) => None,
        Phase::Fetched { target } => Some(Effect::Fetch(target.clone())),
        Phase::Verified { target } => Some(Effect::Build(target.clone())),
        Phase::Built { .. } => Some(Effect::Survey),
    }
}

/// Whether the pause after a failure still lasts. A pause longer than the longest is the work of a clock that jumped.
pub(crate) fn waits(journal: &Journal, now: Timestamp) -> bool {
    journal.back_off.is_some_and(|back_off| now < back_off.until && back_off.until.duration_since(now) <= LONGEST_PAUSE)
}
