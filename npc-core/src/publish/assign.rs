//! Assigning hosts: which remote and which configuration each of them follows.
//!
//! An assignment has no history beside it, and the one that stands there may be gone, forged, or an old one that the store
//! shows again. So its serial is the time in seconds, or one above what stands there if that is higher: hosts then obey what was
//! said last, whatever has become of what was said before.

use thiserror::Error;

use super::{Unauthorised, authorise};
use crate::Timestamp;
use crate::document::{Assignment, Document, GREATEST_SERIAL, Header, Power, Serial};
use crate::envelope::Envelope;
use crate::fleet::{Assigned, Fleet};
use crate::key::SecretKey;
use crate::layout;
use crate::name::AssignmentName;
use crate::store::{ConditionalWrites, Fault, Precondition, StoreError, write_document};

/// An assignment that was not written. What stood there stands.
#[derive(Debug, Error)]
pub enum AssignError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys at hand cannot sign this.
    #[error(transparent)]
    Unauthorised(#[from] Unauthorised),
    /// Someone else assigned the same host at the same time.
    #[error("another operator assigned `{name}` at the same time")]
    Raced {
        /// The assignment.
        name: AssignmentName,
        /// What was found.
        source: StoreError,
    },
    /// The serials are used up.
    #[error("assignment `{0}` has used up its serials")]
    NoSerialLeft(AssignmentName),
}

/// Writes an assignment over what `stands` there, and gives its serial.
pub async fn assign(
    fleet: &Fleet,
    name: &AssignmentName,
    stands: Option<Assigned>,
    says: Assignment,
    keys: &[&SecretKey],
    writes: ConditionalWrites,
    now: Timestamp,
) -> Result<Serial, AssignError> {
    authorise(fleet.trusted.trust(), Power::Assignment, keys)?;
    let above = match &stands {
        None => Serial::FIRST,
        Some(assigned) => above(assigned).ok_or_else(|| AssignError::NoSerialLeft(name.clone()))?,
    };
    let serial = u64::try_from(now.as_second()).ok().and_then(Serial::new).map_or(above, |seconds| seconds.max(above));
    let header = Header {
        fleet: fleet.trusted.fleet().clone(),
        name: name.to_string(),
        serial,
        created: now,
        trust: fleet.trusted.version(),
        requires: Vec::new(),
        expires: None,
    };
    let document = Document { header, body: says }.sign(keys);
    let over = match stands {
        None => Precondition::Absent,
        Some(assigned) => assigned.etag.map_or(Precondition::None, Precondition::Version),
    };
    let key = layout::assignment(name);
    match write_document(&*fleet.store, &key, &document.bytes, over, writes).await {
        Ok(()) => Ok(serial),
        Err(source) if source.fault == Fault::Conflict => Err(AssignError::Raced { name: name.clone(), source }),
        Err(error) => Err(error.into()),
    }
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
