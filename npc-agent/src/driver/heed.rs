//! What operators say, on the host and from afar: heard between two effects, and before anything is activated.

use npc_core::Timestamp;

use super::Driver;
use crate::activation::Platform;
use crate::machine::{Event, Phase, Target, step};
use crate::poll::Stays;
use crate::state::Local;

impl<P: Platform> Driver<P> {
    /// Whether the operator said to change nothing, here or from afar.
    pub(super) fn is_paused(&self, now: Timestamp) -> bool {
        self.parts.local.is_paused(now) || self.parts.poller.instructions().paused
    }

    /// The boot that lasts, if the assignment orders this installation to end it. A boot that cannot be told from others is
    /// not ended.
    pub(super) fn boot_to_end(&self) -> Option<&str> {
        let ordered = self.parts.poller.instructions().orders_for(&self.parts.instance)?.reboot.as_ref()?;
        self.boot_id.as_deref().filter(|boot_id| *boot_id == ordered.boot_id)
    }

    /// The assignment's order to try again what failed, if it has not been heeded. Then the next poll brings anew what is
    /// followed.
    pub(super) fn ordered_retry(&mut self) -> Option<Event> {
        let at = self.parts.poller.instructions().orders_for(&self.parts.instance)?.retry?;
        if self.parts.journal.retry_ordered == Some(at) {
            return None;
        }
        tracing::info!(%at, "the assignment orders another try of what failed");
        self.parts.poller.forget();
        Some(Event::RetryOrdered { at })
    }

    /// Takes in what the operator has said on the host meanwhile.
    pub(super) fn reload(&mut self) -> Vec<Event> {
        let local = match Local::read(&self.parts.state) {
            Ok(local) => local,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the local settings");
                return vec![Event::Woke];
            }
        };
        let before = std::mem::replace(&mut self.parts.local, local);
        let mut events = Vec::new();
        if self.parts.local.retried != before.retried {
            events.extend(self.parts.local.retried.map(|at| Event::Retried { at }));
        }
        let repointed = self.parts.poller.set_own(self.parts.local.following(&self.parts.configured));
        events.push(if repointed { Event::Repointed } else { Event::Woke });
        events
    }

    /// What was being prepared when the last agent ended is gone on with if that is still what the host is to follow.
    pub(super) async fn drop_what_is_not_followed(&mut self) {
        let parts = &mut self.parts;
        if parts.journal.phase.must_finish() || parts.journal.phase == Phase::Steady {
            return;
        }
        parts.poller.leaves_meanwhile(&mut parts.replay, &parts.state, &*parts.clock).await;
        let (followed, journal) = (self.parts.poller.followed(), &self.parts.journal);
        // What was committed may be on its way back, in place of what somebody activated by hand.
        let is_committed =
            |target: &Target| journal.committed.as_ref().is_some_and(|committed| committed.target == *target);
        let may_go_on = |target: &Target| followed.may_lead_to(target) || is_committed(target);
        if !journal.phase.target().is_some_and(may_go_on) {
            let (journal, _) = step(self.parts.journal.clone(), Event::Repointed, &self.context());
            self.remember(journal, false);
        }
    }

    /// It took a while: what was said meanwhile counts before anything is activated.
    pub(super) async fn unless_repointed(&mut self, event: Event) -> Event {
        if self.parts.journal.phase.must_finish() || matches!(event, Event::ErrandDone(_)) {
            return event;
        }
        let before = self.parts.poller.stays();
        for said in self.reload() {
            if said == Event::Repointed {
                return said;
            }
            let (journal, _) = step(self.parts.journal.clone(), said, &self.context());
            self.remember(journal, false);
        }
        let is_told = self.parts.poller.stays() != before;
        let parts = &mut self.parts;
        if (is_told || matches!(event, Event::Built(_)))
            && parts.poller.leaves_meanwhile(&mut parts.replay, &parts.state, &*parts.clock).await
        {
            return Event::Repointed;
        }
        event
    }

    /// Whether the host has gone where it was told to go, where that is not what the journal says.
    pub(super) fn stays(&self) -> Option<Event> {
        let known = self.parts.journal.stays.as_ref();
        match self.parts.poller.stays() {
            Stays::No => known.map(|_| Event::Stays(None)),
            Stays::Unknown => None,
            Stays::Yes(staying) if known.is_some_and(|known| known.is_about(&staying)) => None,
            Stays::Yes(staying) => {
                tracing::warn!(kind = staying.reason.kind, "{}", staying.reason.message);
                Some(Event::Stays(Some(staying)))
            }
        }
    }
}
