//! From a believed release to a built system: nothing on the host changes.

use std::path::Path;

use npc_core::document::OutcomeKind;

use super::Turn;
use super::records::UNAVAILABLE;
use crate::machine::{
    Attempt, Baseline, Believed, Built, Errand, Event, Failed, Journal, Mode, Phase, Quarantined, SystemKey, Target,
    Unproven,
};

impl Turn<'_> {
    /// A release was believed. Nothing to do is decided first.
    pub(super) fn consider(&mut self, target: Target) {
        self.answered();
        let believed = Some(Believed::of(&target));
        let is_news = self.journal.believed != believed;
        self.journal.believed = believed;
        if self.journal.phase.must_finish() {
            return;
        }
        if !is_news && self.journal.by_hand.is_some() && self.journal.phase == Phase::Steady {
            return;
        }
        if self.awaits_its_first_boot(&target) {
            return self.rest();
        }
        if self.journal.would_adopt(&target) {
            self.adopt(&target);
            return self.rest();
        }
        if self.is_quarantined(&target, None) {
            return self.rest();
        }
        let under_way = self.journal.phase.target().is_some_and(|current| current.digest == target.digest);
        let same_configuration =
            self.journal.phase.target().is_some_and(|current| current.configuration == target.configuration);
        if !(under_way && same_configuration) {
            self.journal.phase = Phase::Fetched { target };
            self.journal.back_off = None;
        }
    }

    fn rest(&mut self) {
        self.journal.phase = Phase::Steady;
        self.journal.back_off = None;
    }

    /// Whether the release is the one that the next boot brings.
    fn awaits_its_first_boot(&self, target: &Target) -> bool {
        boots_next(&self.journal).is_some_and(|unproven| Believed::of(&unproven.attempt.target) == Believed::of(target))
    }

    /// Notes that the release leads to what is committed.
    fn adopt(&mut self, target: &Target) {
        let Some(committed) = self.journal.committed.as_mut().filter(|committed| committed.target != *target) else {
            return;
        };
        committed.target = target.clone();
        let message = format!("{}@{} changes nothing here", target.remote, target.serial);
        self.record(target, OutcomeKind::Adopted, None, message);
        self.send(Errand::TidyUp);
    }

    /// Whether the system failed here before: by what the release says of it, or by what was built. A release that asks for
    /// another try lifts that.
    fn is_quarantined(&mut self, target: &Target, built: Option<&Path>) -> bool {
        let is_it = |key: &SystemKey, entry: &Quarantined| match built {
            None => *key == target.key(),
            Some(built) => entry.system.as_deref() == Some(built),
        };
        let found = self.journal.quarantine.iter().find(|(key, entry)| is_it(key, entry));
        let Some((key, entry)) = found.map(|(key, entry)| (key.clone(), entry.clone())) else { return false };
        if entry.attempt < target.attempt {
            self.journal.quarantine.remove(&key);
            return false;
        }
        let message = format!("this system failed here before: {}", entry.reason);
        let is_known = self.journal.outcomes.first().is_some_and(|last| last.is_about(&target.remote, target.serial));
        if !is_known {
            self.record_failure(target, OutcomeKind::Refused, Failed::new("quarantined", message));
        }
        true
    }

    pub(super) fn prepared(&mut self, phase: Phase, event: Event) -> Phase {
        match (phase, event) {
            (Phase::Fetched { target }, Event::Unpacked) => Phase::Verified { target },
            (Phase::Verified { target }, Event::Built(built)) => {
                self.journal.back_off = None;
                Phase::Built { target, built }
            }
            (Phase::Built { target, built }, Event::Surveyed(baseline)) => self.surveyed(target, built, baseline),
            (
                phase @ (Phase::Fetched { .. } | Phase::Verified { .. } | Phase::Built { .. }),
                Event::PreparationFailed(failed),
            ) => {
                if failed.kind == UNAVAILABLE && matches!(phase, Phase::Fetched { .. }) {
                    self.trouble(failed.clone());
                }
                self.back_off(&phase, OutcomeKind::Failed, failed);
                phase
            }
            // What an effect reports after it was superseded concerns nobody any more.
            (phase, _) => phase,
        }
    }

    fn surveyed(&mut self, target: Target, built: Built, before: Baseline) -> Phase {
        if self.is_there_already(&built, &before) {
            let message = format!("{}@{} builds the system that runs already", target.remote, target.serial);
            self.record(&target, OutcomeKind::Adopted, None, message);
            if let Some(committed) = &mut self.journal.committed {
                committed.target = target;
            }
            self.send(Errand::TidyUp);
            return Phase::Steady;
        }
        if self.is_quarantined(&target, Some(&built.system)) {
            self.send(Errand::TidyUp);
            return Phase::Steady;
        }
        if let Some(expires) = target.expires.filter(|expires| *expires <= self.context.now) {
            let message = format!("the release expired at {expires}, before it could be activated");
            self.record_failure(&target, OutcomeKind::Refused, Failed::new("expired", message));
            self.send(Errand::TidyUp);
            return Phase::Steady;
        }
        if self.context.paused {
            return Phase::Built { target, built };
        }
        match self.context.policy.mode_for(&before.obstacles) {
            Ok(mode) => self.begin(target, built, before, mode),
            Err(failed) => {
                let phase = Phase::Built { target, built };
                self.back_off(&phase, OutcomeKind::Failed, failed);
                phase
            }
        }
    }

    fn is_there_already(&self, built: &Built, before: &Baseline) -> bool {
        let is_committed = self.journal.committed.as_ref().is_some_and(|committed| committed.system == built.system);
        let runs = before.running.as_ref() == Some(&built.system);
        let boots = before.profile.as_ref().is_none_or(|profile| *profile == built.system);
        is_committed && runs && boots && boots_next(&self.journal).is_none()
    }

    fn begin(&mut self, target: Target, built: Built, before: Baseline, mode: Mode) -> Phase {
        self.journal.attempts += 1;
        let number = self.journal.attempts;
        let is_booted = mode == Mode::Boot;
        let reasons = before.obstacles.iter().filter(|_| is_booted).map(|obstacle| obstacle.words().to_owned());
        let attempt = Attempt {
            number,
            target,
            system: built.system,
            since: self.context.now,
            remarks: reasons.collect(),
            before,
            unexpected: built.unexpected,
            unit: Some(format!("npc-activation-{number}-{:08x}", self.context.nonce)),
            mode,
        };
        if is_booted { Phase::Committing(attempt) } else { Phase::Activating(attempt) }
    }
}

impl Journal {
    /// Whether the release leads to what is committed, so that nothing is fetched or built for it.
    pub(crate) fn would_adopt(&self, target: &Target) -> bool {
        let is_committed = || self.committed.as_ref().is_some_and(|committed| committed.is_already(target));
        self.by_hand.is_none() && boots_next(self).is_none() && is_committed()
    }
}

/// The boot default, where it is a system that was never activated.
pub(super) fn boots_next(journal: &Journal) -> Option<&Unproven> {
    journal.unproven.as_ref().filter(|unproven| unproven.attempt.mode == Mode::Boot)
}
