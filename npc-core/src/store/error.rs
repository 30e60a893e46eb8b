//! What can go wrong with a store, sorted by what can be done about it.

use std::error::Error;
use std::fmt;

use thiserror::Error;

use super::StoreUrl;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no such object.
    NotFound,
    /// The credentials, or their absence, do not allow it.
    Denied,
    /// The credentials themselves are not accepted: wrong, expired, or not yet known.
    BadCredentials,
    /// The precondition of a write did not hold: someone else wrote first.
    Conflict,
    /// The object is larger than the reader allows.
    TooLarge,
    /// No credentials could be found.
    NoCredentials,
    /// The bucket or the directory does not exist, or no store answers at that address.
    NoSuchStore,
    /// The bucket lies in another region, or no region is known.
    WrongRegion,
    /// The store cannot be reached or is overloaded: it may pass.
    Unavailable,
    /// The store can be reached, but what it sends only drips: asking at once again would cost as long again.
    TooSlow,
    /// Someone else is writing the same object at this moment: it may pass.
    Contended,
    /// There is no space left to write to.
    Full,
    /// The store cannot do this at all, as a plain web server cannot list.
    Unsupported,
    /// The store's answer makes no sense, or the local machine failed.
    Broken,
}

impl Fault {
    /// The stable word for this fault.
    pub fn kind(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::BadCredentials => "bad-credentials",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::NoCredentials => "no-credentials",
            Self::NoSuchStore => "no-such-store",
            Self::WrongRegion => "wrong-region",
            Self::Unavailable | Self::TooSlow => "unavailable",
            Self::Contended => "contended",
            Self::Full => "disk-full",
            Self::Unsupported => "unsupported-by-store",
            Self::Broken => "broken",
        }
    }

    /// Whether trying again in a moment can help.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Unavailable | Self::Contended)
    }

    /// What a person can do about it.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Denied => Some("check what these credentials or this token may do with the store"),
            Self::BadCredentials => Some(
                "the store does not accept these credentials: check or renew them; for an HTTP store, the token in \
                 NPC_STORE_TOKEN, or in the file that a host's `store_token_file` names",
            ),
            Self::NoCredentials => Some(
                "give AWS credentials by environment, profile (AWS_PROFILE), container or instance role (an instance \
                 whose metadata service answers 404 has none); for an HTTP store, a token in NPC_STORE_TOKEN",
            ),
            Self::NoSuchStore => Some("check the store's address; npc creates no buckets"),
            Self::WrongRegion => Some("name the bucket's region in the store's address: s3://bucket?region=eu-west-1"),
            Self::Unavailable | Self::TooSlow => Some("check the network and the store's address, then try again"),
            Self::Full => Some("make room on the disk, then try again"),
            Self::Unsupported => {
                Some("write through `npc-publish serve`, S3 or a directory; a plain web server can only be read")
            }
            Self::NotFound | Self::Conflict | Self::Contended | Self::TooLarge | Self::Broken => None,
        }
    }
}

/// What was asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reading an object.
    Read,
    /// Writing an object.
    Write,
    /// Removing an object.
    Remove,
    /// Listing objects.
    List,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Remove => "remove",
            Self::List => "list",
        })
    }
}

/// A store that did not do what it was asked.
#[derive(Debug, Error)]
#[error("cannot {operation} `{object}` in {store}")]
pub struct StoreError {
    /// What kind of failure it is.
    pub fault: Fault,
    /// What was asked.
    pub operation: Operation,
    /// About which object, or which prefix.
    pub object: String,
    /// Of which store.
    pub store: String,
    /// Why, in the words of whoever knew.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// What a back end knows about its own request, to make errors of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) operation: Operation,
    pub(super) object: &'a str,
    pub(super) store: &'a StoreUrl,
}

impl Asked<'_> {
    pub(super) fn failed(&self, fault: Fault, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
        StoreError {
            fault,
            operation: self.operation,
            object: self.object.to_owned(),
            store: self.store.to_string(),
            source: source.into(),
        }
    }
}
