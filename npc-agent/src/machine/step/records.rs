//! What is written down for people and for later: outcomes, pauses, trouble, quarantine.

use jiff::SignedDuration;
use npc_core::Timestamp;
use npc_core::document::{Outcome, OutcomeKind};

use super::{FIRST_PAUSE, LONGEST_PAUSE, Turn};
use crate::machine::{Attempt, BackOff, Failed, Phase, Staying, Stays, Target, Trouble};

/// The kind of a store's fault that passes by itself.
pub(super) const UNAVAILABLE: &str = "unavailable";

impl Turn<'_> {
    /// Trouble is dated from when it began, and noted once as long as it is of one kind.
    pub(super) fn trouble(&mut self, reason: Failed) {
        if self.journal.trouble.as_ref().is_none_or(|known| known.reason.kind != reason.kind) {
            self.journal.trouble = Some(Trouble { since: self.context.now, reason });
        }
    }

    /// Whether the host stays with what it follows, or has gone where it was told to go.
    pub(super) fn stays(&mut self, staying: Option<Staying>) {
        let Some(staying) = staying else { return self.journal.stays = None };
        if self.journal.stays.as_ref().is_none_or(|known| !known.is_about(&staying)) {
            let Staying { place, reason } = staying;
            self.journal.stays = Some(Stays { place, since: self.context.now, reason });
        }
    }

    /// The store is well again. A download that it had failed need not wait any longer.
    pub(super) fn answered(&mut self) {
        let was_away = self.journal.trouble.take().is_some_and(|trouble| trouble.reason.kind == UNAVAILABLE);
        if was_away && matches!(self.journal.phase, Phase::Fetched { .. }) {
            self.journal.back_off = None;
        }
    }

    /// The operator said so on the host.
    pub(super) fn retried(&mut self, at: Timestamp) {
        // Said once, it is heeded once, whatever the clock does and however often the agent starts.
        if self.journal.retried != Some(at) {
            self.journal.retried = Some(at);
            self.retry(at);
        }
    }

    /// An assignment says so, as long as it lasts: it is remembered by itself, for either word is heeded once.
    pub(super) fn retry_ordered(&mut self, at: Timestamp) {
        if self.journal.retry_ordered != Some(at) {
            self.journal.retry_ordered = Some(at);
            self.retry(at);
        }
    }

    /// The operator takes the responsibility for another try of what failed before that was said.
    fn retry(&mut self, at: Timestamp) {
        let quarantined = self.journal.quarantine.len();
        // What is dated later than now was dated by a clock that has been set back since.
        let is_later = |time: Timestamp| time > at && time <= self.context.now;
        self.journal.quarantine.retain(|_, entry| is_later(entry.at));
        let failed_since = self.journal.outcomes.first().is_some_and(|last| is_later(last.at));
        if self.journal.quarantine.len() < quarantined || !failed_since {
            self.journal.interrupted = None;
            self.journal.back_off = None;
        }
    }

    pub(super) fn back_off(&mut self, phase: &Phase, kind: OutcomeKind, failed: Failed) {
        let context = self.context;
        let failures = self.journal.back_off.map_or(0, |back_off| back_off.failures).saturating_add(1);
        let bound = FIRST_PAUSE.saturating_mul(1_i32 << failures.saturating_sub(1).min(20)).min(LONGEST_PAUSE);
        let pause = scaled(bound, 0.5 + context.jitter / 2.0);
        let until = context.now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        self.journal.back_off = Some(BackOff { failures, until });
        if let Some(target) = phase.target() {
            self.record_failure(target, kind, failed);
        }
    }

    pub(super) fn give_up(&mut self, attempt: &Attempt, kind: OutcomeKind, reason: Failed) {
        self.journal.quarantine(attempt, self.context.now, &reason);
        self.record_failure(&attempt.target, kind, reason);
    }

    pub(super) fn record(&mut self, target: &Target, kind: OutcomeKind, failed: Option<Failed>, message: String) {
        let (error, log) = failed.map_or((None, None), |failed| (Some(failed.kind), failed.log));
        let (remote, serial) = (Some(target.remote.clone()), Some(target.serial));
        self.journal.record(Outcome { at: self.context.now, remote, serial, kind, error, message, log });
    }

    pub(super) fn record_failure(&mut self, target: &Target, kind: OutcomeKind, failed: Failed) {
        let message = format!("{}@{}: {}", target.remote, target.serial, failed.message);
        self.record(target, kind, Some(failed), message);
    }
}

/// Times a factor from 0 to 1.
fn scaled(duration: SignedDuration, factor: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(duration.as_secs_f64() * factor.clamp(0.0, 1.0)).unwrap_or(duration)
}
