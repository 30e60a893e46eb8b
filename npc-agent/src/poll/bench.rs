//! Where documents are judged, and what was learned of them is remembered.

use npc_core::document::Body;
use npc_core::trust::Verified;

use super::PollError;
use crate::clock::Clock;
use crate::state::{Replay, StateDirectory};

/// What a judgement goes by, and where it is written down.
pub(super) struct Bench<'a> {
    pub(super) replay: &'a mut Replay,
    pub(super) state: &'a StateDirectory,
    pub(super) clock: &'a dyn Clock,
}

impl Bench<'_> {
    /// Remembers a document that passed every check, before it is acted upon.
    pub(super) fn raise<B: Body>(&mut self, verified: &Verified<B>) -> Result<(), PollError> {
        self.remember(|replay| {
            replay.floors.raise(B::KIND, verified.header(), verified.digest());
        })
    }

    /// What cannot be written down has not been learned.
    pub(super) fn remember(&mut self, learn: impl FnOnce(&mut Replay)) -> Result<(), PollError> {
        let mut learned = self.replay.clone();
        learn(&mut learned);
        if learned.is_newer_than(self.replay) {
            learned.write(self.state)?;
            *self.replay = learned;
        }
        Ok(())
    }
}
