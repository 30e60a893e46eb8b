//! Noticing that the machine itself has changed, without asking it much.
//!
//! How it is found is asked for about as often as the agent polls: a few system calls. Units are systemd's to tell, which
//! takes a process, so they are asked for seldom. And an address that comes and goes is not worth a report each time.

use std::time::Duration;

use tokio::time::Instant;

use super::{Facts, Machine};

/// How often to look how the machine is found.
pub(super) const LOOK: Duration = Duration::from_mins(1);

/// How often to ask for units, and to report for no other reason than that the machine has changed.
pub(super) const SELDOM: Duration = Duration::from_mins(5);

/// Whoever keeps an eye on the machine.
#[derive(Debug)]
pub(super) struct Observer {
    machine: Box<dyn Machine>,
    /// What was seen last, and when units were asked for.
    seen: Option<(Facts, Instant)>,
    /// When the machine last was what there was to say.
    news: Option<Instant>,
}

impl Observer {
    /// Nothing has been seen yet.
    pub(super) fn of(machine: Box<dyn Machine>) -> Self {
        Self { machine, seen: None, news: None }
    }

    /// What there is to say of the machine now.
    pub(super) async fn facts(&mut self) -> Facts {
        let (machine, at) = (&self.machine, Instant::now());
        // A systemd that does not answer is no sign that all is well again.
        let known = || self.seen.as_ref().map(|(seen, _)| seen.failed_units.clone());
        let failed_units = machine.failed_units().await.or_else(known).unwrap_or_default();
        let facts = Facts { boot_id: machine.boot_id(), failed_units, contact: machine.contact() };
        self.seen = Some((facts.clone(), at));
        facts
    }

    /// Ends when the machine is not what was seen last, at the earliest [`SELDOM`] after this has ended before.
    pub(super) async fn changes(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let is_soon = self.news.is_some_and(|news| news.elapsed() < SELDOM);
            if !is_soon && self.has_changed().await {
                self.news = Some(Instant::now());
                return;
            }
        }
    }

    async fn has_changed(&mut self) -> bool {
        let Some((seen, asked)) = &mut self.seen else { return true };
        if self.machine.contact() != seen.contact {
            return true;
        }
        if asked.elapsed() < SELDOM {
            return false;
        }
        *asked = Instant::now();
        self.machine.failed_units().await.is_some_and(|units| units != seen.failed_units)
    }
}
