//! From activating a system to committing to it, or back.

use npc_core::document::OutcomeKind;

use super::{DEAD_MAN, INTERRUPTED, NO_WAY_BACK, STORE_UNREACHABLE, Turn};
use crate::machine::{
    Attempt, Built, Committed, Effect, Ended, Errand, Event, Failed, Found, Hook, Mode, Obstacle, Phase, Quarantined,
    RebootWanted, SystemKey, Unproven,
};

impl Turn<'_> {
    /// An effect ended.
    pub(super) fn advance(&mut self, event: Event) {
        let phase = std::mem::take(&mut self.journal.phase);
        self.journal.phase = match (phase, event) {
            (Phase::Activating(attempt), Event::Activated(ended)) => self.activated(attempt, ended),
            (Phase::Probation(mut attempt), Event::Proved(remarks)) => {
                attempt.remarks.extend(remarks);
                Phase::Committing(attempt)
            }
            (Phase::Committing(attempt), Event::Committed(found)) => self.committed(attempt, found),
            (Phase::Activating(attempt) | Phase::Probation(attempt), Event::AttemptFailed(reason)) => {
                let boot = attempt.mode == Mode::FirstBoot;
                Phase::RollingBack { attempt, reason, boot, rescued: false }
            }
            (Phase::Committing(attempt), Event::AttemptFailed(reason)) => {
                Phase::RollingBack { attempt, reason, boot: true, rescued: false }
            }
            (Phase::RollingBack { attempt, reason, boot, .. }, Event::RolledBack { store_answers, unwell }) => {
                self.rolled_back(attempt, reason, boot, store_answers, unwell)
            }
            (Phase::RollingBack { attempt, reason, .. }, Event::RollBackFailed { failed, boot_id }) => {
                self.stranded(&attempt, reason, &failed, boot_id)
            }
            (phase, event) => self.prepared(phase, event),
        };
    }

    pub(super) fn activated(&mut self, mut attempt: Attempt, ended: Ended) -> Phase {
        match ended {
            Ended::Well => Phase::Probation(attempt),
            Ended::SomeUnitsFailed(failed) => {
                attempt.remarks.push(failed.message);
                Phase::Probation(attempt)
            }
            Ended::NeverBegan(failed) => self.never_began(attempt, failed),
            Ended::NeedsReboot(said) => self.needs_reboot(attempt, said),
            Ended::Failed(reason) => Phase::RollingBack { attempt, reason, boot: false, rescued: false },
        }
    }

    fn needs_reboot(&mut self, mut attempt: Attempt, said: Failed) -> Phase {
        attempt.before.obstacles.insert(Obstacle::InitInterface);
        match self.context.policy.mode_for(&attempt.before.obstacles) {
            Err(failed) => self.never_began(attempt, Failed { log: said.log, ..failed }),
            Ok(mode) => {
                self.disarm(&attempt);
                attempt.mode = mode;
                attempt.remarks.push(Obstacle::InitInterface.words().to_owned());
                Phase::Committing(attempt)
            }
        }
    }

    /// Nothing was changed, so nobody is to blame; it is tried again.
    fn never_began(&mut self, attempt: Attempt, failed: Failed) -> Phase {
        self.disarm(&attempt);
        let built = Built { system: attempt.system, unexpected: attempt.unexpected };
        let phase = Phase::Built { target: attempt.target, built };
        self.back_off(&phase, OutcomeKind::Failed, failed);
        phase
    }

    fn committed(&mut self, attempt: Attempt, found: Found) -> Phase {
        self.disarm(&attempt);
        self.journal.interrupted = None;
        self.journal.by_hand = None;
        self.journal.reboot.take_if(|wanted| wanted.stranded_in.is_some());
        match attempt.mode {
            Mode::Boot => self.boots_next(attempt, found),
            Mode::FirstBoot => {
                self.journal.unproven = None;
                self.settle(&attempt);
            }
            Mode::Switch => {
                let previous = self.journal.committed.clone();
                self.settle(&attempt);
                self.journal.unproven = found.reboot_needed.then(|| self.never_booted(attempt, &found, previous));
            }
        }
        self.send(Errand::TidyUp);
        self.send(Errand::HandOver);
        Phase::Steady
    }

    /// The system proves itself in its first boot; until then what was committed stays so.
    fn boots_next(&mut self, attempt: Attempt, found: Found) {
        self.journal.reboot = Some(RebootWanted { since: self.context.now, not_before: None, stranded_in: None });
        let previous = self.journal.committed.clone();
        self.journal.unproven = Some(Unproven { attempt, boot_id: found.boot_id, previous, boots: 0 });
    }

    /// What to fall back to is what was booted last, and not another system that never was.
    pub(super) fn never_booted(
        &self,
        mut attempt: Attempt,
        found: &Found,
        mut previous: Option<Committed>,
    ) -> Unproven {
        if let Some(earlier) = self.journal.unproven.as_ref().filter(|earlier| earlier.attempt.mode == Mode::Switch) {
            previous.clone_from(&earlier.previous);
            attempt.before.running.clone_from(&earlier.attempt.before.running);
            attempt.before.agent.clone_from(&earlier.attempt.before.agent);
        }
        Unproven { attempt, boot_id: found.boot_id.clone(), previous, boots: 0 }
    }

    fn settle(&mut self, attempt: &Attempt) {
        let target = attempt.target.clone();
        let mut message = format!("{}@{} runs", target.remote, target.serial);
        if attempt.mode == Mode::FirstBoot {
            message.push_str(", booted");
        }
        for remark in attempt.unexpected.iter().map(|failed| &failed.message).chain(&attempt.remarks) {
            message = format!("{message}; {remark}");
        }
        self.record(&target, OutcomeKind::Committed, attempt.unexpected.clone(), message);
        let holds = |_: &SystemKey, entry: &mut Quarantined| entry.system.as_ref() != Some(&attempt.system);
        self.journal.quarantine.remove(&target.key());
        self.journal.quarantine.retain(holds);
        self.tell(Hook::Committed(target.clone()));
        self.journal.committed = Some(Committed { target, system: attempt.system.clone(), since: self.context.now });
    }

    fn rolled_back(
        &mut self,
        attempt: Attempt,
        mut reason: Failed,
        boot: bool,
        store_answers: bool,
        unwell: Option<Failed>,
    ) -> Phase {
        self.disarm(&attempt);
        if let Some(unwell) = unwell {
            reason.message = format!("{}; the host is back, but not as it was before: {unwell}", reason.message);
        }
        if boot {
            self.forget_boot_default(&attempt);
        }
        self.tell(Hook::RolledBack(attempt.target.clone(), reason.clone()));
        self.send(Errand::TidyUp);
        self.send(Errand::HandOver);
        if self.deserves_another_try(&attempt, &reason, store_answers) {
            let phase = Phase::Verified { target: attempt.target };
            self.back_off(&phase, OutcomeKind::RolledBack, reason);
            phase
        } else {
            self.give_up(&attempt, OutcomeKind::RolledBack, reason);
            Phase::Steady
        }
    }

    /// The boot default is the system before again.
    fn forget_boot_default(&mut self, attempt: &Attempt) {
        // What it goes back to may have yet to prove itself in a boot, too.
        let comes_back = |unproven: &Unproven| attempt.before.running.as_ref() == Some(&unproven.attempt.system);
        let Some(unproven) = self.journal.unproven.take_if(|unproven| !comes_back(unproven)) else { return };
        self.journal.reboot = None;
        let is_committed = |committed: &Committed| committed.system == attempt.system;
        if unproven.attempt.system == attempt.system && self.journal.committed.as_ref().is_some_and(is_committed) {
            self.journal.committed = unproven.previous;
        }
    }

    fn stranded(&mut self, attempt: &Attempt, mut reason: Failed, failed: &Failed, boot_id: Option<String>) -> Phase {
        reason.message = format!("{}; and going back failed: {failed}", reason.message);
        self.disarm(attempt);
        self.tell(Hook::RolledBack(attempt.target.clone(), reason.clone()));
        self.send(Errand::TidyUp);
        self.give_up(attempt, OutcomeKind::Stranded, reason);
        // Nobody knows what runs: the next release is activated, whatever it holds.
        self.journal.committed = None;
        self.journal.unproven = None;
        match boot_id {
            // A reboot would lead into the system that failed.
            _ if !self.context.policy.reboot_when_stranded || failed.kind == NO_WAY_BACK => {}
            Some(boot_id) => {
                let since = self.context.now;
                self.journal.reboot = Some(RebootWanted { since, not_before: None, stranded_in: Some(boot_id) });
            }
            // Where boots cannot be told apart, nobody would know that it was done.
            None => self.once.push(Effect::Reboot { insist: true }),
        }
        Phase::Steady
    }

    /// Whether the system was not at fault, as far as one can tell.
    fn deserves_another_try(&mut self, attempt: &Attempt, reason: &Failed, store_answers: bool) -> bool {
        match reason.kind.as_str() {
            // The store stays silent under the old system too.
            STORE_UNREACHABLE => !store_answers,
            // Once it may have been anything; twice it looks as if the system took the host, or its timer, down.
            INTERRUPTED | DEAD_MAN => {
                let key = attempt.target.key();
                let again = self.journal.interrupted.as_ref() == Some(&key);
                self.journal.interrupted = if again { None } else { Some(key) };
                !again
            }
            _ => false,
        }
    }
}
