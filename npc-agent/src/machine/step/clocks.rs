//! Clocks that jump: what is to last for a while must neither last for ever nor be over at once.

use jiff::SignedDuration;
use npc_core::Timestamp;

use super::Turn;

impl Turn<'_> {
    /// The clock was set, and whatever it counts is counted on from there.
    pub(super) fn clock_jumped(&mut self, by: SignedDuration) {
        let moved = |time: &mut Timestamp| *time = time.saturating_add(by).unwrap_or(*time);
        let journal = &mut self.journal;
        if let Some(wanted) = &mut journal.reboot {
            moved(&mut wanted.since);
            wanted.not_before.as_mut().map(moved);
        }
        if let Some(ordered) = &mut journal.reboot_ordered {
            moved(&mut ordered.since);
            ordered.not_before.as_mut().map(moved);
        }
        if let Some(back_off) = &mut journal.back_off {
            moved(&mut back_off.until);
        }
        if let Some(trouble) = &mut journal.trouble {
            moved(&mut trouble.since);
        }
        if let Some(stays) = &mut journal.stays {
            moved(&mut stays.since);
        }
    }

    /// What is said to have begun later than now begins now: the clock was set back while nobody looked.
    pub(super) fn nothing_begins_later(&mut self) {
        let now = self.context.now;
        if let Some(wanted) = &mut self.journal.reboot {
            wanted.since = wanted.since.min(now);
        }
        if let Some(ordered) = &mut self.journal.reboot_ordered {
            ordered.since = ordered.since.min(now);
        }
        if let Some(trouble) = &mut self.journal.trouble {
            trouble.since = trouble.since.min(now);
        }
        if let Some(stays) = &mut self.journal.stays {
            stays.since = stays.since.min(now);
        }
    }
}
