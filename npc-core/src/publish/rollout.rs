//! Writing a rollout's intent: each time over exactly what was read, so that of two operators at once, one is told.

use thiserror::Error;

use super::{Unauthorised, authorise};
use crate::Timestamp;
use crate::document::{Document, Header, Power, Rollout, Serial};
use crate::fleet::{Fleet, Intended};
use crate::key::SecretKey;
use crate::layout;
use crate::name::RolloutName;
use crate::store::{ConditionalWrites, Fault, Precondition, StoreError, write_document};

/// An intent that was not written. What stood there stands.
#[derive(Debug, Error)]
pub enum IntendError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys at hand cannot sign this.
    #[error(transparent)]
    Unauthorised(#[from] Unauthorised),
    /// Someone else changed the rollout at the same time.
    #[error("another operator changed rollout `{id}` at the same time")]
    Raced {
        /// The rollout.
        id: RolloutName,
        /// What was found.
        source: StoreError,
    },
    /// The serials are used up.
    #[error("rollout `{0}` has used up its serials")]
    NoSerialLeft(RolloutName),
}

impl IntendError {
    /// Whether it would not have failed a moment earlier or later.
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Raced { .. })
    }
}

/// Writes an intent over what `stands` there, and gives its serial.
pub async fn intend(
    fleet: &Fleet,
    id: &RolloutName,
    stands: Option<&Intended>,
    says: Rollout,
    keys: &[&SecretKey],
    writes: ConditionalWrites,
    now: Timestamp,
) -> Result<Serial, IntendError> {
    authorise(fleet.trusted.trust(), Power::Rollout, keys)?;
    let believed = stands.and_then(|stands| stands.state.as_ref().ok());
    let above = believed.map_or(Some(Serial::FIRST), |document| document.header().serial.next());
    let serial = above.ok_or_else(|| IntendError::NoSerialLeft(id.clone()))?;
    let header = Header {
        fleet: fleet.trusted.fleet().clone(),
        name: id.to_string(),
        serial,
        created: now,
        trust: fleet.trusted.version(),
        requires: Vec::new(),
        expires: None,
    };
    let document = Document { header, body: says }.sign(keys);
    let over = match stands {
        None => Precondition::Absent,
        Some(stands) => stands.etag.clone().map_or(Precondition::None, Precondition::Version),
    };
    match write_document(&*fleet.store, &layout::rollout(id), &document.bytes, over, writes).await {
        Ok(()) => Ok(serial),
        Err(source) if source.fault == Fault::Conflict => Err(IntendError::Raced { id: id.clone(), source }),
        Err(error) => Err(error.into()),
    }
}
