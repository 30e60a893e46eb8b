//! Going on with an attempt when the journal is lost: how far it got, only the host can tell.

use super::{Turn, interrupted};
use crate::machine::{Activation, Attempt, Found, Mode, Phase, Unproven};

impl Turn<'_> {
    /// The journal is lost, but this attempt was under way.
    pub(super) fn recovered(&mut self, attempt: Attempt, found: &Found) {
        self.journal.attempts = self.journal.attempts.max(attempt.number);
        if attempt.mode == Mode::FirstBoot {
            // If this boot ends before it has proved itself, the next one has to know.
            let made_default = Attempt { mode: Mode::Switch, ..attempt.clone() };
            let boot_id = found.boot_id.clone();
            self.journal.unproven = Some(Unproven { attempt: made_default, boot_id, previous: None, boots: 1 });
        }
        self.journal.phase = self.reconciled(attempt, found);
        self.looked(found);
    }

    fn reconciled(&mut self, attempt: Attempt, found: &Found) -> Phase {
        let is_same_boot = attempt.before.boot_id == found.boot_id;
        if !attempt.owns_running(found) {
            return self.give_way(&attempt, found, false);
        }
        if is_same_boot && found.activation == Activation::Running {
            return Phase::Activating(attempt);
        }
        let runs = found.running.as_ref() == Some(&attempt.system);
        match &found.activation {
            _ if runs && attempt.mode == Mode::FirstBoot => Phase::Probation(attempt),
            // Only a commit can have made it the one that was booted.
            _ if runs && !is_same_boot => self.resumed_boot_default(attempt, found),
            Activation::Ended(ended) if runs => match self.activated(attempt, ended.clone()) {
                Phase::RollingBack { attempt, reason, rescued, .. } => {
                    let boot = attempt.has_become_boot_default(found);
                    Phase::RollingBack { attempt, reason, boot, rescued }
                }
                phase => phase,
            },
            _ => {
                let boot = attempt.has_become_boot_default(found);
                let reason = interrupted("in the middle of the attempt, and the journal was lost");
                Phase::RollingBack { attempt, reason, boot, rescued: false }
            }
        }
    }
}
