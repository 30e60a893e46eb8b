//! `npc-agent run --once`: one poll, and what that leads to.

use tokio::time::Instant;

use super::words::{judge, poll_failure, stays_failure};
use super::{Driver, Flow, Polled, Signals};
use crate::activation::Platform;
use crate::failure::{Exit, Failure};
use crate::machine::{Event, Failed};
use crate::poll::{News, Ruler, Stays};

impl<P: Platform> Driver<P> {
    /// Asks once, does what that leads to, and says how it ended. After the initial configuration, all over for what comes then.
    pub async fn run_once(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        if self.begin(signals).await == Flow::Stop {
            return Ok(());
        }
        self.parts.poller.goes_on(&self.parts.journal);
        loop {
            let flow = self.ask_once(signals).await?;
            if flow == Flow::Stop || !self.parts.poller.goes_on(&self.parts.journal) {
                return Ok(());
            }
        }
    }

    async fn ask_once(&mut self, signals: &mut Signals) -> Result<Flow, Failure> {
        let polled = loop {
            let polled = tokio::select! {
                () = signals.stop() => return Ok(Flow::Stop),
                polled = Self::poll_at(&mut self.parts, Instant::now()) => polled,
            };
            let Ok(News::Assignment { repointed }) = polled else { break polled };
            let event = if repointed { Event::Repointed } else { Event::Woke };
            let events = [self.ordered_retry(), Some(event)].into_iter().flatten();
            if self.handle_all(events, signals).await == Flow::Stop {
                return Ok(Flow::Stop);
            }
        };
        if let Some(stays) = self.stays() {
            self.handle(stays, signals).await;
        }
        let taken_in = self.take_in_once(polled, signals).await;
        // Whatever the place holds with which it stays: it is not where it was told to be.
        match (self.parts.poller.stays(), self.parts.poller.reason_to_stay()) {
            (Stays::Yes(staying), Some(why)) => Err(stays_failure(&staying.reason, why)),
            _ => taken_in,
        }
    }

    async fn take_in_once(&mut self, polled: Polled, signals: &mut Signals) -> Result<Flow, Failure> {
        let target = match polled {
            Ok(News::Release(target)) => target,
            Ok(News::Nothing | News::Assignment { .. }) => return Ok(Flow::GoOn),
            Err(error) => {
                self.handle(Event::PollFailed(Failed::from(&error)), signals).await;
                return Err(poll_failure(error));
            }
        };
        let wanted = target.digest;
        if self.handle(Event::Release(*target), signals).await == Flow::Stop {
            return Ok(Flow::Stop);
        }
        if let Some(error) = self.unwritten.take() {
            return Err(error.into());
        }
        let runs = self.parts.journal.committed.as_ref().is_some_and(|committed| committed.target.digest == wanted);
        match self.parts.journal.outcomes.first() {
            _ if runs => Ok(Flow::GoOn),
            _ if self.context().paused => {
                Err(Failure::new(Exit::Failed, "the host is paused").hint(self.way_out_of_a_pause()))
            }
            _ if self.parts.journal.unproven.is_some() => Ok(Flow::GoOn),
            Some(outcome) => judge(outcome).map(|()| Flow::GoOn),
            None => Err(Failure::new(Exit::Failed, "the release was not activated")),
        }
    }

    fn way_out_of_a_pause(&self) -> &'static str {
        match self.parts.poller.instructions().by {
            _ if self.parts.local.is_paused(self.parts.clock.now()) => "npc-agent resume",
            Ruler::Lost => "its assignment is lost: see `npc-agent status`",
            Ruler::Host | Ruler::Assignment(_) => "its assignment says so: see `npc-publish hosts`",
        }
    }
}
