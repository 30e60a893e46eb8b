//! The signed documents of format 1: one header that all share, and a body per kind.
//!
//! A payload is one flat JSON object: the header's fields and the body's beside each other. Fields that this version
//! does not know are kept (a body collects them in `other`) and ignored; what a reader *must* understand is named in
//! [`Header::requires`].

mod assignment;
mod metadata;
mod release;
mod report;
mod rollout;
mod standing;
mod trust;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use assignment::{Assignment, Following, Orders, Pin, Placement, Reboot};
pub use metadata::{CriticalityLevel, DeployStrategy, Metadata, Orchestration};
pub use release::{Archive, Input, Origin, Proof, Release, RemoteState, Source, System};
pub use report::{Believed, Obeyed, Outcome, OutcomeKind, Quarantined, Report, Running, Trouble};
pub use rollout::{Before, Driver, Extent, Gates, Member, OnFailure, Rollout, RolloutState};
pub use standing::{Standing, Statement};
pub use trust::{Power, ReleaseRole, Role, RoleError, Trust};

use crate::Timestamp;
use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::json;
use crate::key::SecretKey;
use crate::name::FleetId;

/// The features that this version understands when a document's `requires` names them. Format 1 starts with none.
pub const KNOWN_FEATURES: &[&str] = &[];

/// The largest serial: integers beyond it do not survive every JSON reader (RFC 8259, section 6).
pub const GREATEST_SERIAL: u64 = (1 << 53) - 1;

/// The running number of a document under one name. Higher replaces lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Serial(u64);

impl Serial {
    /// The first serial of any name.
    pub const FIRST: Self = Self(1);

    /// The serial `number`, unless it is 0 or above [`GREATEST_SERIAL`].
    pub fn new(number: u64) -> Option<Self> {
        (1..=GREATEST_SERIAL).contains(&number).then_some(Self(number))
    }

    /// The serial as a number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The serial above this one, if there is any.
    pub fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl TryFrom<u64> for Serial {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        Self::new(number).ok_or_else(|| format!("a serial lies between 1 and {GREATEST_SERIAL}, not at {number}"))
    }
}

impl From<Serial> for u64 {
    fn from(serial: Serial) -> u64 {
        serial.0
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a document is. Part of what is signed, so that none can be passed off as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who may sign what.
    Trust,
    /// What a remote holds.
    Release,
    /// What a host follows.
    Assignment,
    /// What a host says of itself.
    Report,
    /// Which hosts are brought to which release, and how.
    Rollout,
}

impl Kind {
    /// The kind's stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Release => "release",
            Self::Assignment => "assignment",
            Self::Report => "report",
            Self::Rollout => "rollout",
        }
    }

    /// The DSSE payload type of this kind in format 1.
    pub fn payload_type(self) -> String {
        format!("application/vnd.npc.{}.v1+json", self.word())
    }
}

/// What every payload carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The fleet it was made for.
    pub fleet: FleetId,
    /// Its subject: a remote, an assignment, a host, a rollout; `trust` for the trust.
    pub name: String,
    /// Its place in the order of all documents of this kind and name.
    pub serial: Serial,
    /// When it was made.
    pub created: Timestamp,
    /// The version of the trust under which it was made.
    pub trust: Serial,
    /// Features that a reader must know, or refuse the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// When it stops being a reason to change anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// The fields that belong to the header.
const HEADER_FIELDS: [&str; 7] = ["fleet", "name", "serial", "created", "trust", "requires", "expires"];

/// What tells one kind of document from another.
pub trait Body: Serialize + DeserializeOwned {
    /// The kind of the document.
    const KIND: Kind;
}

/// A document: header and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<B> {
    /// What all documents share.
    pub header: Header,
    /// What this kind says.
    pub body: B,
}

impl<B: Body> Document<B> {
    /// Reads a payload that has been verified.
    pub fn from_payload(payload: &[u8]) -> serde_json::Result<Self> {
        use serde::de::Error as _;
        let Value::Object(mut body) = json::parse(payload)? else {
            return Err(serde_json::Error::custom("a document is a JSON object"));
        };
        let header: Map<_, _> = HEADER_FIELDS.iter().filter_map(|field| body.remove_entry(*field)).collect();
        Ok(Self { header: serde_json::from_value(header.into())?, body: serde_json::from_value(body.into())? })
    }

    /// The payload's bytes.
    pub fn to_payload(&self) -> Vec<u8> {
        let mut fields = Map::new();
        for part in [serde_json::to_value(&self.header), serde_json::to_value(&self.body)] {
            match part {
                Ok(Value::Object(part)) => fields.extend(part),
                other => unreachable!("headers and bodies are structures with text keys, not {other:?}"),
            }
        }
        serde_json::to_vec(&fields).expect("a map of values is valid JSON")
    }

    /// The document in its envelope, signed by each of `keys`.
    pub fn sign(&self, keys: &[&SecretKey]) -> SignedDocument {
        let payload = self.to_payload();
        let digest = Digest::of(&payload);
        let bytes = Envelope::sign(&B::KIND.payload_type(), payload, keys).to_bytes();
        SignedDocument { bytes, digest }
    }
}

/// The bytes of a signed document, ready for a store.
#[derive(Debug, Clone)]
pub struct SignedDocument {
    /// The envelope.
    pub bytes: Vec<u8>,
    /// The digest of the payload inside.
    pub digest: Digest,
}
