//! Where releases lie: an S3 bucket, an HTTP server or a directory, behind one trait.
//!
//! Reads are conditional on an `ETag` and writes on a [`Precondition`] (RFC 9110, section 13), since that is what all three
//! have in common. A store is not trusted with anything but availability.

mod clock;
mod directory;
mod download;
mod error;
mod http;
mod retry;
mod s3;
mod transport;
mod url;
mod write;

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

pub use self::clock::clock;
pub use self::directory::DirectoryStore;
pub use self::download::{DownloadError, download};
pub use self::error::{Fault, Operation, StoreError};
pub use self::http::{HttpStore, PREFER, PREFERENCE_APPLIED, Token, TokenError};
pub use self::retry::Retries;
pub use self::s3::S3Store;
pub use self::transport::install_crypto;
pub use self::url::{S3Url, StoreUrl, StoreUrlError};
pub use self::write::{ConditionalWrites, probe, write_document};

use crate::Timestamp;
use crate::layout::ObjectKey;
use crate::limits;

/// An opaque version of an object, as the store words it (RFC 9110, section 8.8.3), quotes included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(String);

impl ETag {
    /// The tag as it stands in a header; none where it could not stand in one.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let legal = text.len() <= 256 && !text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        legal.then_some(Self(text))
    }

    /// The tag as it stands in a header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How to read a small object.
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    /// Answer [`Answer::Unchanged`] if this is still its version.
    pub unless: Option<&'a ETag>,
    /// Answer only when that has changed, or after this long (RFC 7240, `Prefer: wait`). Many stores ignore it.
    pub wait: Option<Duration>,
    /// The most bytes to accept.
    pub limit: u64,
}

impl Read<'_> {
    /// The whole of a signed document, whatever its version.
    pub const DOCUMENT: Self = Self { unless: None, wait: None, limit: limits::DOCUMENT_BYTES };
}

/// What a store answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The object is still the version that the reader has.
    Unchanged {
        /// Whether the store waited for a change, as asked.
        waited: bool,
    },
    /// The object.
    Found {
        /// Its content.
        bytes: Bytes,
        /// Its version, if the store has one.
        etag: Option<ETag>,
        /// Whether the store would wait for a change.
        waited: bool,
    },
}

/// When a write may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// In any case.
    None,
    /// Only if there is no such object: `If-None-Match: *`.
    Absent,
    /// Only over this version: `If-Match`.
    Version(ETag),
}

impl Precondition {
    /// Only over the version that was read, if the store told it.
    pub fn over(read: Option<ETag>) -> Self {
        read.map_or(Self::None, Self::Version)
    }
}

/// What to write.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// Bytes in memory.
    Bytes(&'a [u8]),
    /// A file that does not change meanwhile.
    File(&'a Path),
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written, by the store's own clock, if the store tells.
    pub modified: Option<Timestamp>,
    /// Its version, if the store tells.
    pub etag: Option<ETag>,
}

/// A body as it arrives.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// A large object being read.
pub struct Opened {
    /// The version it has, so that reading can go on later where it broke off.
    pub etag: Option<ETag>,
    /// The first byte in `body`: the one asked for, or 0 from a store that cannot begin in the middle.
    pub start: u64,
    /// The content from there.
    pub body: Body,
}

/// Where releases lie.
///
/// Every method has a deadline for connecting and for silence, retries what may pass by itself a few times, and reports the
/// rest as a [`StoreError`] with a [`Fault`] that says whether trying again later makes sense.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The store's address, for people.
    fn url(&self) -> &StoreUrl;

    /// Reads a small object into memory.
    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError>;

    /// Begins to read a large object at byte `start`. With `version`, only that version will do.
    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError>;

    /// Writes an object whole, if `precondition` holds. Returns its new version.
    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError>;

    /// Removes an object. That it was not there is no error.
    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// Lists the objects whose keys begin with `prefix`, which ends in a slash, sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;
}

/// What opening a store takes beside its address.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What proves to an HTTP store who asks.
    pub token: Option<Token>,
    /// How often and how patiently to try again.
    pub retries: Retries,
    /// How long to put up with silence.
    pub patience: Patience,
    /// How many connections to keep open for later requests.
    pub connections: Connections,
}

/// How many connections to a store are kept open between requests. Requests beyond these at the same time open, and close,
/// one each, which on a network costs more than the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections(pub usize);

impl Default for Connections {
    /// Enough for a host, which asks for one thing at a time.
    fn default() -> Self {
        Self(1)
    }
}

/// How long to put up with silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an answer begins, and between two pieces of a body.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: limits::CONNECT_TIMEOUT, stall: limits::STALL_TIMEOUT }
    }
}

/// Opens the store at `url`. Nothing is sent to it yet.
pub async fn open(url: &StoreUrl, options: Options) -> Result<Arc<dyn Store>, TokenError> {
    Ok(match url {
        StoreUrl::Directory(root) => Arc::new(DirectoryStore::new(root.clone())),
        StoreUrl::Http(base) => Arc::new(HttpStore::new(base.clone(), options)?),
        StoreUrl::S3(address) => Arc::new(S3Store::new(address.clone(), &options).await),
    })
}

/// Reads a document, whatever its version.
pub async fn read_document(store: &dyn Store, key: &ObjectKey) -> Result<(Bytes, Option<ETag>), StoreError> {
    match store.read(key, Read::DOCUMENT).await? {
        Answer::Found { bytes, etag, .. } => Ok((bytes, etag)),
        Answer::Unchanged { .. } => {
            let asked = error::Asked { operation: Operation::Read, object: key.as_str(), store: store.url() };
            Err(transport::unasked(asked))
        }
    }
}

/// Reads an object that may be absent.
pub async fn read_if_present(store: &dyn Store, key: &ObjectKey) -> Result<Option<(Bytes, Option<ETag>)>, StoreError> {
    match read_document(store, key).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.fault == Fault::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
