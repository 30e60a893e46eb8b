//! Saying how things stand: to the service manager, and to the store.

use super::Driver;
use super::words::sentence;
use crate::activation::Platform;
use crate::machine::{Failed, Phase};
use crate::report::Account;

impl<P: Platform> Driver<P> {
    /// Lets the agent's last words be heard.
    pub async fn end(self) {
        if let Some(reporter) = self.parts.reporter {
            reporter.end().await;
        }
    }

    fn tell_store(&self) {
        let parts = &self.parts;
        let Some(reporter) = &parts.reporter else { return };
        let (journal, paused) = (parts.journal.clone(), self.is_paused(parts.clock.now()));
        let (obeyed, running) = (parts.poller.obeyed(), self.running.clone());
        let (trust, trust_digest) = (parts.poller.trust(&parts.replay), parts.replay.trust_digest());
        let heartbeat = parts.poller.instructions().heartbeat;
        reporter.tell(Account { journal, paused, heartbeat, obeyed, running, trust, trust_digest });
    }

    /// Says how things stand, to whoever wants to know.
    pub(super) fn tell_status(&mut self, trouble: Option<&Failed>) {
        self.tell_store();
        let sentence = sentence(
            &self.parts.journal,
            self.parts.poller.followed(),
            self.is_paused(self.parts.clock.now()),
            trouble,
        );
        // Trouble stays in the status until a poll brings something else.
        if trouble.is_some() || self.parts.journal.phase != Phase::Steady || !self.parts.poller.is_in_trouble() {
            self.parts.supervisor.status(sentence);
        }
    }
}
