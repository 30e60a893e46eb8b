//! Holding the journal against what is so: at the start, in between, and when the dead-man timer goes off.

use std::path::PathBuf;

use npc_core::document::OutcomeKind;

use super::prepare::boots_next;
use super::{BOOTED_OLD_SYSTEM, CHANGED_BY_HAND, DEADLINE_PASSED, NEEDS_REBOOT, Turn, interrupted};
use crate::machine::{
    Activation, Attempt, ByHand, Errand, Failed, Found, GoodBoot, HandPolicy, Mode, Phase, RebootWanted, Unproven,
};

/// A system that is booted so often without ever proving itself is given up.
const BOOTS: u32 = 3;

impl Turn<'_> {
    /// Picks up where the journal ends, if that is still what is so.
    pub(super) fn started(&mut self, found: &Found) {
        if let Some(unproven) = self.journal.unproven.clone().filter(|unproven| unproven.boot_id != found.boot_id) {
            self.booted(unproven, found);
        }
        let phase = std::mem::take(&mut self.journal.phase);
        self.journal.phase = match phase {
            Phase::Activating(attempt) => self.resumed_activation(attempt, found),
            Phase::Probation(attempt) => self.resumed(attempt, found, false, "before the system had proved itself"),
            Phase::Committing(attempt) if attempt.mode == Mode::Boot => self.resumed_boot_default(attempt, found),
            // It was booted meanwhile, which proves nothing by itself: it may fail as booted, and be the boot default already.
            Phase::Committing(attempt) if attempt.mode == Mode::Switch && attempt.was_booted(found) => {
                self.resumed_boot_default(attempt, found)
            }
            Phase::Committing(attempt) => {
                let during = "while the system became the boot default";
                match self.resumed(attempt, found, true, during) {
                    Phase::Probation(attempt) => Phase::Committing(attempt),
                    phase => phase,
                }
            }
            Phase::RollingBack { attempt, reason, boot, rescued } => {
                if attempt.owns_running(found) {
                    Phase::RollingBack { attempt, reason, boot, rescued }
                } else {
                    self.give_way(&attempt, found, true)
                }
            }
            phase => phase,
        };
        self.look_at_obstacles_again();
        self.looked(found);
    }

    /// An agent begins with settings anew, or after a boot: what stood in the way then may do so no more.
    fn look_at_obstacles_again(&mut self) {
        let last = self.journal.outcomes.first().and_then(|outcome| outcome.error.as_deref());
        if matches!(self.journal.phase, Phase::Built { .. }) && last == Some(NEEDS_REBOOT) {
            self.journal.back_off = None;
        }
    }

    fn resumed_activation(&mut self, attempt: Attempt, found: &Found) -> Phase {
        let during = "while the system was being activated";
        match &found.activation {
            _ if !attempt.owns_running(found) => self.give_way(&attempt, found, false),
            // What ended in another boot says nothing about this one.
            _ if attempt.before.boot_id != found.boot_id => {
                Phase::RollingBack { attempt, reason: interrupted(during), boot: false, rescued: false }
            }
            Activation::Running => Phase::Activating(attempt),
            Activation::Ended(ended) => self.activated(attempt, ended.clone()),
            // Nobody saw how it ended: half a system is not given the chance to prove itself.
            Activation::Absent => {
                Phase::RollingBack { attempt, reason: interrupted(during), boot: false, rescued: false }
            }
        }
    }

    /// The commit may have got as far as the boot loader, and the host have booted since.
    pub(super) fn resumed_boot_default(&mut self, attempt: Attempt, found: &Found) -> Phase {
        if found.running.as_ref() != Some(&attempt.system) {
            return Phase::Committing(attempt);
        }
        let unproven = Unproven { boots: 1, ..self.never_booted(attempt, found, self.journal.committed.clone()) };
        let attempt = self.first_boot(unproven.attempt.clone());
        self.journal.unproven = Some(unproven);
        Phase::Probation(attempt)
    }

    /// The attempt as its system is booted for the first time. It is held against the last good boot as well: since then,
    /// activations may have made systemd forget what had failed.
    fn first_boot(&self, mut attempt: Attempt) -> Attempt {
        attempt.mode = Mode::FirstBoot;
        let failed = self.journal.good_boot.iter().flat_map(|boot| boot.failed.iter().cloned());
        attempt.before.units.failed.extend(failed);
        attempt
    }

    /// Goes on if the new system runs. If another one does, as after a power cut, this one has not proved itself.
    fn resumed(&mut self, attempt: Attempt, found: &Found, boot: bool, during: &str) -> Phase {
        if found.running.as_ref() == Some(&attempt.system) {
            Phase::Probation(attempt)
        } else if attempt.owns_running(found) {
            let boot = (boot || attempt.mode == Mode::FirstBoot) && attempt.owns_boot_default(found);
            Phase::RollingBack { attempt, reason: interrupted(during), boot, rescued: false }
        } else {
            self.give_way(&attempt, found, false)
        }
    }

    /// The host has booted, for the first time since a system became the boot default that had never been booted.
    fn booted(&mut self, mut unproven: Unproven, found: &Found) {
        let booted = found.booted.as_ref().or(found.running.as_ref());
        let is_booted = booted == Some(&unproven.attempt.system);
        let current = self.journal.phase.attempt().filter(|current| current.mode != Mode::FirstBoot).cloned();
        unproven.boot_id.clone_from(&found.boot_id);
        // An agent that could take no notes may have gone back from the unproven system, which nobody knows of.
        let before = unproven.attempt.before.running.as_ref();
        let went_back = |current: &Attempt| booted == before && booted != Some(&current.system);
        if current.as_ref().is_some_and(|current| !is_booted && !went_back(current)) {
            // Another attempt had come so far that its own system may have been booted: it goes on from there.
            self.journal.unproven = Some(unproven);
            return;
        }
        unproven.boots += 1;
        self.journal.reboot = None;
        let boots = unproven.boots;
        let attempt = self.first_boot(unproven.attempt.clone());
        self.journal.unproven = Some(unproven);
        // Whatever was being attempted beside it ended with the boot before.
        if let Some(current) = current {
            self.disarm(&current);
            let reason = interrupted("in the middle of the attempt");
            self.record_failure(&current.target, OutcomeKind::Failed, reason);
        }
        let reason = if !is_booted {
            let message = "the host was to boot the new system and came back in the old one";
            Failed::new(BOOTED_OLD_SYSTEM, message)
        } else if boots > BOOTS {
            Failed::new("boot-loop", format!("it was booted {boots} times and never proved itself"))
        } else {
            self.journal.phase = Phase::Probation(attempt);
            return;
        };
        self.journal.phase = if attempt.owns(found) {
            Phase::RollingBack { attempt, reason, boot: true, rescued: false }
        } else {
            self.give_way(&attempt, found, true)
        };
    }

    /// Nothing of ours is under way, so what runs ought to be what was committed.
    pub(super) fn looked(&mut self, found: &Found) {
        if self.journal.phase.must_finish() {
            return;
        }
        self.note_reboot(found);
        self.note_boot(found);
        let Some(committed) = self.journal.committed.clone() else { return };
        if boots_next(&self.journal).is_some_and(|unproven| unproven.attempt.is_awaited(found)) {
            // What runs until the next boot is what ran before.
            return;
        }
        let Some(other) = self.other_system(found) else {
            self.journal.by_hand = None;
            return;
        };
        if self.journal.by_hand.as_ref().is_none_or(|known| known.system != *other) {
            let verb = if found.running.as_ref() == Some(other) { "activated" } else { "made the boot default" };
            let message = format!("{} was {verb} by hand", other.display());
            self.record_failure(&committed.target, OutcomeKind::Failed, Failed::new(CHANGED_BY_HAND, message));
            self.journal.by_hand = Some(ByHand { system: other.clone(), since: self.context.now });
            if self.context.policy.by_hand == HandPolicy::Enforce && self.journal.phase == Phase::Steady {
                self.journal.phase = Phase::Fetched { target: committed.target };
            }
        }
    }

    /// What runs, or else would be booted, in place of what was committed.
    fn other_system<'a>(&self, found: &'a Found) -> Option<&'a PathBuf> {
        let committed = self.journal.committed.as_ref().map(|committed| &committed.system);
        let awaited = self.journal.unproven.as_ref().map(|unproven| &unproven.attempt.system);
        let runs = found.running.as_ref().filter(|running| Some(*running) != committed);
        let boots = || found.profile.as_ref().filter(|profile| ![committed, awaited].contains(&Some(*profile)));
        runs.or_else(boots)
    }

    fn note_boot(&mut self, found: &Found) {
        if let (Some(boot_id), Some(failed)) = (&found.boot_id, &found.failed_at_boot)
            && self.journal.knows_too_little_of_boot(found)
        {
            self.journal.good_boot = Some(GoodBoot { boot_id: boot_id.clone(), failed: failed.clone() });
        }
    }

    fn note_reboot(&mut self, found: &Found) {
        if let Some(RebootWanted { stranded_in: Some(boot_id), .. }) = &self.journal.reboot {
            if found.boot_id.as_ref() == Some(boot_id) {
                return;
            }
            self.journal.reboot = None;
        }
        let is_awaited = self.journal.unproven.as_ref().is_some_and(|unproven| unproven.attempt.mode == Mode::Boot);
        if !(found.reboot_needed || is_awaited) {
            self.journal.reboot = None;
        } else if self.journal.reboot.is_none() {
            self.journal.reboot = Some(RebootWanted { since: self.context.now, not_before: None, stranded_in: None });
        }
    }

    /// Somebody has activated another system in the middle of an attempt.
    pub(super) fn overtaken(&mut self, found: &Found) {
        let phase = std::mem::take(&mut self.journal.phase);
        self.journal.phase = match phase.attempt() {
            Some(attempt) => {
                let has_failed = matches!(phase, Phase::RollingBack { .. });
                self.give_way(attempt, found, has_failed)
            }
            None => phase,
        };
    }

    /// The new system had its time. If what runs is still ours, the system before comes back.
    pub(super) fn deadline_passed(&mut self, found: &Found) {
        let phase = std::mem::take(&mut self.journal.phase);
        let was_changing_boot = match &phase {
            Phase::Committing(_) => true,
            Phase::RollingBack { boot, .. } => *boot,
            phase => phase.attempt().is_some_and(|attempt| attempt.mode == Mode::FirstBoot),
        };
        self.journal.phase = match phase.attempt().cloned() {
            None => phase,
            Some(attempt) if !attempt.owns_running(found) => {
                let has_failed = matches!(phase, Phase::RollingBack { .. });
                self.give_way(&attempt, found, has_failed)
            }
            Some(attempt) => {
                let during = phase.word();
                let message = format!("nobody had ended the attempt in time; it was {during}");
                let reason = match phase {
                    Phase::RollingBack { reason, .. } => reason,
                    _ => Failed::new(DEADLINE_PASSED, message),
                };
                let boot = attempt.takes_back_boot_default(was_changing_boot, found);
                Phase::RollingBack { attempt, reason, boot, rescued: false }
            }
        };
    }

    /// A human's word is the last, unless the operator says that npc's is.
    pub(super) fn give_way(&mut self, attempt: &Attempt, found: &Found, has_failed: bool) -> Phase {
        let shown = |system: &Option<PathBuf>| system.clone().unwrap_or_default().display().to_string();
        let message = if attempt.owns_running(found) {
            let (boots, runs) = (shown(&found.profile), shown(&found.running));
            format!("{boots} was made the boot default by hand in the middle of the attempt, and stays; {runs} runs")
        } else {
            format!("{} was activated by hand in the middle of the attempt, and stays", shown(&found.running))
        };
        self.record_failure(&attempt.target, OutcomeKind::Failed, Failed::new(CHANGED_BY_HAND, message));
        if attempt.mode == Mode::FirstBoot {
            self.journal.unproven = None;
        }
        let system = self.other_system(found).cloned().unwrap_or_default();
        self.journal.by_hand = Some(ByHand { system, since: self.context.now });
        self.disarm(attempt);
        self.send(Errand::TidyUp);
        self.send(Errand::HandOver);
        if self.context.policy.by_hand == HandPolicy::Respect {
            return Phase::Steady;
        }
        let committed = self.journal.committed.as_ref().map(|committed| &committed.target);
        let wanted = if has_failed { committed } else { Some(&attempt.target) };
        wanted.map_or(Phase::Steady, |target| Phase::Fetched { target: target.clone() })
    }
}
