//! Writing a rollout's intent.

use super::authorise;
use super::replace::{ReplaceError, Replacement};
use crate::Timestamp;
use crate::document::{Power, Rollout, Serial};
use crate::fleet::{Fleet, Intended};
use crate::key::SecretKey;
use crate::layout;
use crate::name::RolloutName;
use crate::store::{ConditionalWrites, Precondition};

/// Writes an intent over what `stands` there, and gives its serial.
pub async fn intend(
    fleet: &Fleet,
    id: &RolloutName,
    stands: Option<&Intended>,
    says: Rollout,
    keys: &[&SecretKey],
    writes: ConditionalWrites,
    now: Timestamp,
) -> Result<Serial, ReplaceError> {
    authorise(fleet.trusted.trust(), Power::Rollout, keys)?;
    let key = layout::rollout(id);
    let believed = stands.and_then(|stands| stands.state.as_ref().ok());
    let above = believed.map_or(Some(Serial::FIRST), |document| document.header().serial.next());
    let serial = above.ok_or_else(|| ReplaceError::NoSerialLeft(key.clone()))?;
    let over = stands.map_or(Precondition::Absent, |stands| Precondition::over(stands.etag.clone()));
    Replacement { key, name: id.as_str(), serial, now, says, over }.write(fleet, keys, writes).await
}
