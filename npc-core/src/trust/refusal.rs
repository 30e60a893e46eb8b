//! The reasons for not believing something.

use thiserror::Error;

use crate::Timestamp;
use crate::digest::Digest;
use crate::document::{RoleError, Serial};
use crate::envelope::EnvelopeError;

/// Why something from the store was not acted upon. [`Refusal::kind`] is stable: logs, metrics, reports and tests share it.
#[derive(Debug, Error)]
pub enum Refusal {
    /// Longer than its limit, or than it says it is.
    #[error("it is larger than the {limit} bytes allowed")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not an envelope.
    #[error("it cannot be read")]
    Envelope(#[from] EnvelopeError),
    /// Not a document of its kind, though properly signed.
    #[error("its payload cannot be read")]
    Payload(#[source] serde_json::Error),
    /// Not signed by enough of the keys that may say this.
    #[error("{found} of the {needed} keys needed to {power} signed it")]
    BadSignature {
        /// What the signature had to have the power to say.
        power: String,
        /// Distinct valid signers.
        found: usize,
        /// The role's threshold.
        needed: usize,
    },
    /// No key may say this at all.
    #[error("the trust gives no key the power to {power}")]
    NoRole {
        /// What the signature had to have the power to say.
        power: String,
    },
    /// Another fleet's, another kind's, or another name's document.
    #[error("its {what} is `{found}`, not `{expected}`")]
    WrongSubject {
        /// What differs.
        what: &'static str,
        /// What it says.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// It needs a newer reader.
    #[error("it requires `{0}`, which this version does not know")]
    Unsupported(String),
    /// Made under a version of the trust that is nowhere to be found.
    #[error("it was made under trust version {named}, and the newest that could be verified is {newest}")]
    UnknownTrust {
        /// The version it names.
        named: Serial,
        /// The newest verified version.
        newest: Serial,
    },
    /// Older than what has been seen under this name.
    #[error("its serial is {found} (trust {found_trust}), but {seen} (trust {seen_trust}) has been seen already")]
    Rollback {
        /// Its serial.
        found: Serial,
        /// The trust version it was made under.
        found_trust: Serial,
        /// The highest serial seen.
        seen: Serial,
        /// The trust version that one was made under.
        seen_trust: Serial,
    },
    /// Another document had the same serial.
    #[error("another document with serial {serial} has been seen already")]
    Equivocation {
        /// The serial that both have.
        serial: Serial,
    },
    /// Too old to be a reason to change anything.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// Made in the future, so this host's clock cannot judge whether it has expired.
    #[error("it was made at {created}, which is in the future of this host's clock ({now})")]
    ClockSkew {
        /// When it was made, by its maker's clock.
        created: Timestamp,
        /// This host's time.
        now: Timestamp,
    },
    /// The content is not what was signed for.
    #[error("it has {found_size} bytes and digest {found}, not {expected_size} bytes and digest {expected}")]
    DigestMismatch {
        /// The digest found.
        found: Box<Digest>,
        /// The length found, in bytes.
        found_size: u64,
        /// The digest signed for.
        expected: Box<Digest>,
        /// The length signed for, in bytes.
        expected_size: u64,
    },
    /// A version of the trust that contradicts itself.
    #[error("it is not a trust that could work")]
    BrokenTrust(#[source] RoleError),
    /// A version of the trust out of its turn.
    #[error("it is trust version {found}, where version {expected} was asked for")]
    TrustOutOfTurn {
        /// The version it is.
        found: Serial,
        /// The version asked for.
        expected: Serial,
    },
}

impl Refusal {
    /// The stable word for this reason.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Envelope(_) | Self::Payload(_) => "unreadable",
            Self::BadSignature { .. } | Self::NoRole { .. } => "bad-signature",
            Self::WrongSubject { .. } => "wrong-subject",
            Self::Unsupported(_) => "unsupported",
            Self::UnknownTrust { .. } => "unknown-trust",
            Self::Rollback { .. } => "rollback",
            Self::Equivocation { .. } => "equivocation",
            Self::Expired(_) => "expired",
            Self::ClockSkew { .. } => "clock-skew",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::BrokenTrust(_) => "broken-trust",
            Self::TrustOutOfTurn { .. } => "trust-out-of-turn",
        }
    }
}
