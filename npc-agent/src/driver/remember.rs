//! Writing down what was decided, before it is done, and telling whoever follows it.

use npc_core::document::OutcomeKind;

use super::Driver;
use crate::activation::Platform;
use crate::machine::Journal;

impl<P: Platform> Driver<P> {
    /// Takes over the journal that was decided upon, once it is on the disk. Returns whether to go on.
    ///
    /// If it cannot be written, nothing new begins; but what has begun goes on, since the older journal on the disk leads
    /// back to the old system, and stopping half way would not.
    pub(super) fn remember(&mut self, journal: Journal, is_done: bool) -> bool {
        if journal == self.parts.journal && self.unwritten.is_none() {
            return true;
        }
        self.unwritten = self.parts.state.write_journal(&journal).err();
        if let Some(error) = &self.unwritten {
            tracing::error!(kind = "state", error = error as &dyn std::error::Error, "cannot write the journal");
            if !self.parts.journal.phase.must_finish() && !is_done {
                self.parts.poller.forget();
                return false;
            }
        }
        let before = std::mem::replace(&mut self.parts.journal, journal);
        self.report_news(&before);
        self.parts.metrics.reflect(&self.parts.journal, self.context().paused);
        true
    }

    fn report_news(&self, before: &Journal) {
        let journal = &self.parts.journal;
        if journal.outcomes.first() == before.outcomes.first() {
            return;
        }
        let Some(outcome) = journal.outcomes.first() else { return };
        self.parts.metrics.ended(outcome);
        let kind = outcome.error.as_deref().unwrap_or("none");
        match outcome.kind {
            OutcomeKind::Committed if outcome.error.is_some() => tracing::warn!(kind, "{}", outcome.message),
            OutcomeKind::Committed | OutcomeKind::Adopted => tracing::info!("{}", outcome.message),
            _ => tracing::error!(kind, log = outcome.log.as_deref().unwrap_or(""), "{}", outcome.message),
        }
    }
}
