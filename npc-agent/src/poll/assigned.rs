//! Asking for the host's assignment.

use npc_core::document::Assignment;
use npc_core::layout;
use npc_core::limits;
use npc_core::store::{Answer, Fault, Read, StoreError};
use npc_core::trust::{Subject, Verified, verify};

use super::bench::Bench;
use super::{News, PollError, Poller, Ruler};
use crate::state::HeldAssignment;

impl Poller {
    pub(super) async fn ask_for_assignment(&mut self, bench: &mut Bench<'_>) -> Result<News, PollError> {
        let key = layout::assignment(&self.told.name);
        let read = Read { unless: self.told.watched.etag(), wait: None, limit: limits::DOCUMENT_BYTES };
        let (bytes, etag) = match self.store.read(&key, read).await {
            Ok(Answer::Unchanged { .. }) => return Ok(News::Nothing),
            Ok(Answer::Found { bytes, etag, .. }) => (bytes, etag),
            Err(error) if matches!(error.fault, Fault::NotFound | Fault::Denied) => {
                return self.without_assignment(&error);
            }
            Err(error) => return Err(error.into()),
        };
        let judged = self.judge_assignment(&bytes, bench).await;
        match &judged {
            Err(error) if error.came_before_judgement() => {}
            Err(error) => self.told.watched.refuse(error, &bytes, etag),
            Ok(_) => {
                self.told.watched.believe(etag);
                self.told.has_wondered = false;
            }
        }
        judged
    }

    /// The store shows no assignment: there is none, or it is withheld.
    fn without_assignment(&mut self, error: &StoreError) -> Result<News, PollError> {
        self.told.watched.forget();
        if self.instructions().by == Ruler::Lost {
            return Err(PollError::AssignmentLost(self.told.name.to_string()));
        }
        if self.told.is_held() && !self.told.has_wondered {
            let (kind, name) = (error.fault.kind(), &self.told.name);
            tracing::warn!(kind, "the store does not show the assignment `{name}` any more; it holds all the same");
            self.told.has_wondered = true;
        }
        Ok(News::Nothing)
    }

    async fn judge_assignment(&mut self, bytes: &[u8], bench: &mut Bench<'_>) -> Result<News, PollError> {
        // What is obeyed holds, whoever has lost the right to say it since.
        if self.told.holds(bytes) {
            return Ok(News::Nothing);
        }
        let trusted = self.walk(&self.followed, bench).await?;
        let name = &self.told.name;
        let subject = Subject::Assignment(name);
        let verified: Verified<Assignment> = verify(bytes, subject, &trusted, &bench.replay.floors, bench.clock.now())
            .map_err(|source| PollError::Refused { document: format!("the assignment `{name}`"), source })?;
        HeldAssignment::keep(bench.state, bytes)?;
        bench.raise(&verified)?;
        self.told.obey(&verified);
        tracing::info!(serial = verified.header().serial.get(), "the assignment is new");
        Ok(News::Assignment { repointed: self.heed() })
    }

    /// Ends when a store that has its clients wait has another assignment: the next poll reads it.
    pub(super) async fn assignment_changes(&self) {
        if let Some(etag) = self.told.watched.etag().filter(|_| self.store_waits) {
            let key = layout::assignment(&self.told.name);
            let read = Read { unless: Some(etag), wait: Some(self.shorter_wait()), limit: limits::DOCUMENT_BYTES };
            match self.store.read(&key, read).await {
                // Something on the way may not know what a condition is.
                Ok(Answer::Found { bytes, .. }) if !self.told.holds(&bytes) => return,
                _ => {}
            }
        }
        std::future::pending::<()>().await;
    }
}
