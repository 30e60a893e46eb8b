//! Rebooting: by the host's own policy, and because an assignment orders it.

use npc_core::Timestamp;
use npc_core::document::OutcomeKind;

use super::{LONGEST_PAUSE, Turn};
use crate::machine::{Context, Effect, Failed, Journal, RebootOrdered};

impl Turn<'_> {
    /// The assignment says it as long as it lasts, and the order is about one boot: so what is noted is what the context says,
    /// and nothing of it outlives that boot.
    pub(super) fn heed_order_to_reboot(&mut self) {
        let known = self.journal.reboot_ordered.take();
        self.journal.reboot_ordered = self.context.to_end.map(|boot_id| {
            known.filter(|known| known.boot_id == boot_id).unwrap_or_else(|| {
                let (boot_id, since) = (boot_id.to_owned(), self.context.now);
                RebootOrdered { boot_id, since, not_before: None }
            })
        });
    }

    pub(super) fn reboot_put_off(&mut self, until: Timestamp, failed: Option<Failed>) {
        if let Some(wanted) = &mut self.journal.reboot {
            wanted.not_before = Some(until);
        }
        if let Some(ordered) = &mut self.journal.reboot_ordered {
            ordered.not_before = Some(until);
        }
        let target = self.journal.committed.as_ref().map(|committed| committed.target.clone());
        if let (Some(failed), Some(target)) = (failed, target) {
            self.record_failure(&target, OutcomeKind::Failed, failed);
        }
    }
}

/// The reboot that an assignment orders, whatever policy says of reboots. Users who are logged in have the time that policy
/// gives them, from when the order was heard: it says that the host shall reboot, not that nobody is to be asked.
pub(super) fn ordered(journal: &Journal, context: &Context<'_>) -> Option<Effect> {
    let ordered = journal.reboot_ordered.as_ref()?;
    let begins = !context.paused && !is_put_off(ordered.not_before, context.now);
    let waited = context.now.duration_since(ordered.since);
    begins.then(|| Effect::Reboot { insist: waited >= context.policy.reboot.grace })
}

/// The reboot that is needed, if policy has it begin now.
pub(super) fn by_policy(journal: &Journal, context: &Context<'_>) -> Option<Effect> {
    let wanted = journal.reboot.as_ref()?;
    let (policy, now) = (&context.policy.reboot, context.now);
    let put_off = is_put_off(wanted.not_before, now);
    if wanted.stranded_in.is_some() {
        let begins = context.policy.reboot_when_stranded && !put_off;
        return begins.then_some(Effect::Reboot { insist: true });
    }
    let begins = !context.paused && !put_off && journal.by_hand.is_none() && policy.is_due(wanted.since, now);
    begins.then(|| Effect::Reboot { insist: policy.insists(wanted.since, now) })
}

/// Whether a reboot has to wait. A pause longer than the longest is the work of a clock that jumped.
fn is_put_off(not_before: Option<Timestamp>, now: Timestamp) -> bool {
    not_before.is_some_and(|time| now < time && time.duration_since(now) <= LONGEST_PAUSE)
}
