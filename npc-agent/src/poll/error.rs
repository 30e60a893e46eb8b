//! Why a poll brought nothing to act upon.

use npc_core::explain;
use npc_core::store::{Fault, StoreError};
use npc_core::trust::Refusal;
use npc_core::trust::walk::WalkError;
use thiserror::Error;

use crate::machine::Failed;
use crate::state::StateError;

/// A poll that found nothing to act upon.
#[derive(Debug, Error)]
pub enum PollError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The trust cannot be walked.
    #[error(transparent)]
    Trust(#[from] WalkError),
    /// A document is not to be believed.
    #[error("{document} is refused")]
    Refused {
        /// Which, in words.
        document: String,
        /// Why.
        source: Refusal,
    },
    /// The remote was removed; the host stays as it is.
    #[error("remote `{0}` was removed")]
    Removed(String),
    /// The release has other configurations than this host's.
    #[error("the release of `{remote}` has no configuration `{configuration}`")]
    NoSuchConfiguration {
        /// The remote.
        remote: String,
        /// The host's configuration.
        configuration: String,
    },
    /// The release's archive is not there for this host, or not all of it.
    #[error("the archive of `{release}` cannot be fetched")]
    NoArchive {
        /// The release.
        release: String,
        /// What the store said.
        source: StoreError,
    },
    /// The host obeyed an assignment that it cannot read any more, and the store does not show it either.
    #[error("the assignment `{0}` was followed, but is neither kept here nor to be had from the store")]
    AssignmentLost(String),
    /// What was seen could not be remembered, and so must not be acted upon.
    #[error(transparent)]
    State(#[from] StateError),
}

impl PollError {
    /// The stable word for the failure.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) | Self::Trust(WalkError::Store(error)) => error.fault.kind(),
            Self::Trust(WalkError::Refused { source, .. }) | Self::Refused { source, .. } => source.kind(),
            Self::Trust(WalkError::TooLong) => "broken-trust",
            Self::Removed(_) => "remote-removed",
            Self::NoSuchConfiguration { .. } => "no-such-configuration",
            Self::NoArchive { .. } => "no-archive",
            Self::AssignmentLost(_) => "assignment-lost",
            Self::State(_) => "state",
        }
    }

    /// Whether the store itself did not answer, as opposed to answering something unwelcome.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Store(error) | Self::Trust(WalkError::Store(error)) if error.fault != Fault::NotFound)
    }

    /// Whether what the store holds has not been judged at all: the store, or the disk, failed in between.
    pub(super) fn came_before_judgement(&self) -> bool {
        self.is_outage() || matches!(self, Self::State(_))
    }
}

impl From<&PollError> for Failed {
    fn from(error: &PollError) -> Self {
        Self::new(error.kind(), explain::in_one_line(error))
    }
}
