//! Replacing a document that has no history beside it: over exactly what was read, so that of two operators at once, one is told.

use thiserror::Error;

use super::Unauthorised;
use crate::Timestamp;
use crate::document::{Body, Document, Header, Serial};
use crate::fleet::Fleet;
use crate::key::SecretKey;
use crate::layout::ObjectKey;
use crate::limits;
use crate::store::{ConditionalWrites, Fault, Precondition, StoreError, write_document};

/// A document that was not replaced. What stood there stands.
#[derive(Debug, Error)]
pub enum ReplaceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys at hand cannot sign this.
    #[error(transparent)]
    Unauthorised(#[from] Unauthorised),
    /// Someone else replaced it at the same time.
    #[error("another operator changed `{key}` at the same time")]
    Raced {
        /// Where it lies.
        key: ObjectKey,
        /// What was found.
        source: StoreError,
    },
    /// The serials are used up.
    #[error("`{0}` has used up its serials")]
    NoSerialLeft(ObjectKey),
    /// Nobody would read so much.
    #[error("`{key}` would have {bytes} bytes, and more than {} are not read", limits::DOCUMENT_BYTES)]
    TooLarge {
        /// Where it was to lie.
        key: ObjectKey,
        /// How many bytes it would have.
        bytes: u64,
    },
}

impl ReplaceError {
    /// Whether it would not have failed a moment earlier or later.
    pub fn is_race(&self) -> bool {
        matches!(self, Self::Raced { .. })
    }
}

/// What is to stand somewhere.
pub(super) struct Replacement<'a, B> {
    /// Where.
    pub(super) key: ObjectKey,
    /// The subject's name.
    pub(super) name: &'a str,
    /// The number that puts it above what stands there.
    pub(super) serial: Serial,
    /// When it is said.
    pub(super) now: Timestamp,
    /// What.
    pub(super) says: B,
    /// Over what.
    pub(super) over: Precondition,
}

impl<B: Body> Replacement<'_, B> {
    /// Signs and writes it.
    pub(super) async fn write(
        self,
        fleet: &Fleet,
        keys: &[&SecretKey],
        writes: ConditionalWrites,
    ) -> Result<Serial, ReplaceError> {
        let Self { key, name, serial, now, says, over } = self;
        let header = Header {
            fleet: fleet.trusted.fleet().clone(),
            name: name.to_owned(),
            serial,
            created: now,
            trust: fleet.trusted.version(),
            requires: Vec::new(),
            expires: None,
        };
        let bytes = Document { header, body: says }.sign(keys).bytes;
        if bytes.len() as u64 > limits::DOCUMENT_BYTES {
            return Err(ReplaceError::TooLarge { key, bytes: bytes.len() as u64 });
        }
        match write_document(&*fleet.store, &key, &bytes, over, writes).await {
            Ok(()) => Ok(serial),
            Err(source) if source.fault == Fault::Conflict => Err(ReplaceError::Raced { key, source }),
            Err(error) => Err(error.into()),
        }
    }
}
