//! Assigning hosts: which remote and which configuration each of them follows.
//!
//! An assignment has no history beside it, and the one that stands there may be gone, forged, or an old one that the store
//! shows again. So its serial is the time in seconds, or one above what stands there if that is higher: hosts then obey what was
//! said last, whatever has become of what was said before.

use super::authorise;
use super::replace::{ReplaceError, Replacement};
use crate::Timestamp;
use crate::document::{Assignment, Document, GREATEST_SERIAL, Power, Serial};
use crate::envelope::Envelope;
use crate::fleet::{Assigned, Fleet};
use crate::key::SecretKey;
use crate::layout;
use crate::name::AssignmentName;
use crate::store::{ConditionalWrites, Precondition};

/// Writes an assignment over what `stands` there, and gives its serial.
pub async fn assign(
    fleet: &Fleet,
    name: &AssignmentName,
    stands: Option<Assigned>,
    says: Assignment,
    keys: &[&SecretKey],
    writes: ConditionalWrites,
    now: Timestamp,
) -> Result<Serial, ReplaceError> {
    authorise(fleet.trusted.trust(), Power::Assignment, keys)?;
    let key = layout::assignment(name);
    let above = match &stands {
        None => Serial::FIRST,
        Some(assigned) => above(assigned).ok_or_else(|| ReplaceError::NoSerialLeft(key.clone()))?,
    };
    let serial = u64::try_from(now.as_second()).ok().and_then(Serial::new).map_or(above, |seconds| seconds.max(above));
    let over = stands.map_or(Precondition::Absent, |assigned| Precondition::over(assigned.etag));
    Replacement { key, name: name.as_str(), serial, now, says, over }.write(fleet, keys, writes).await
}

/// A forger who can write to the store must not be able to use the serials up.
const FORGED: u64 = GREATEST_SERIAL / 2;

fn above(assigned: &Assigned) -> Option<Serial> {
    if let Ok(believed) = &assigned.state {
        return believed.header().serial.next();
    }
    let envelope = Envelope::parse(&assigned.bytes).ok();
    let claimed = envelope.and_then(|envelope| Document::<Assignment>::from_payload(envelope.payload()).ok());
    let claimed = claimed.map(|document| document.header.serial).filter(|serial| serial.get() < FORGED);
    claimed.map_or(Some(Serial::FIRST), Serial::next)
}
