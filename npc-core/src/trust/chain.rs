//! The chain of trust: version after version, each vouched for by the one before.
//!
//! A version must be exactly one above the last, and be signed by enough root keys of *both*: by the old ones, since only
//! they may change the trust, and by its own, since keys that cannot sign would leave the fleet without a way back. It is
//! the rule of TUF's root role (The Update Framework, specification 1.0, section 5.3).

use super::Refusal;
use super::verify::{about, enough, matches_expectation, of_the_kind, understood, within_limit};
use crate::document::{Body, Document, Power, Role, Serial, Trust};
use crate::envelope::Envelope;
use crate::key::PublicKey;
use crate::name::FleetId;

/// The subject's name in every trust document.
pub const NAME: &str = "trust";

/// What a reader is given out of band, and the only thing that it believes without a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The fleet.
    pub fleet: FleetId,
    /// Root keys of the version below.
    pub root_keys: Vec<PublicKey>,
    /// How many of them must have signed the version below.
    pub root_threshold: usize,
    /// The version at which the walk begins; nothing older is ever believed.
    pub version: Serial,
}

/// A verified version of the trust.
#[derive(Debug, Clone)]
pub struct Trusted {
    document: Document<Trust>,
    bytes: Vec<u8>,
}

impl Trusted {
    /// Believes the first version, on the word of the anchor's keys and its own.
    pub fn anchored(anchor: &Anchor, bytes: &[u8]) -> Result<Self, Refusal> {
        let (envelope, first) = open(bytes)?;
        let signers = envelope.signers(&anchor.root_keys).len();
        enough(signers, anchor.root_threshold.max(1), || "vouch for the first trust".to_owned())?;
        matches_expectation("fleet", first.fleet().as_str(), anchor.fleet.as_str())?;
        first.in_turn(anchor.version)?;
        Ok(first)
    }

    /// Believes the next version, on the word of this one's root keys and its own.
    pub fn followed_by(&self, bytes: &[u8]) -> Result<Self, Refusal> {
        let (envelope, next) = open(bytes)?;
        signed_by_root(&envelope, self.trust())?;
        about(&next.document.header, self, NAME)?;
        next.in_turn(self.version().next().unwrap_or(self.version()))?;
        Ok(next)
    }

    /// Reads back a version that this reader verified before and kept itself.
    pub fn restored(fleet: &FleetId, bytes: &[u8]) -> Result<Self, Refusal> {
        let (_, kept) = open(bytes)?;
        matches_expectation("fleet", kept.fleet().as_str(), fleet.as_str())?;
        Ok(kept)
    }

    fn in_turn(&self, expected: Serial) -> Result<(), Refusal> {
        if self.version() == expected {
            return Ok(());
        }
        Err(Refusal::TrustOutOfTurn { found: self.version(), expected })
    }

    /// The version.
    pub fn version(&self) -> Serial {
        self.document.header.serial
    }

    /// The fleet.
    pub fn fleet(&self) -> &FleetId {
        &self.document.header.fleet
    }

    /// Who may sign what.
    pub fn trust(&self) -> &Trust {
        &self.document.body
    }

    /// When it was made.
    pub fn created(&self) -> crate::Timestamp {
        self.document.header.created
    }

    /// The signed bytes, to be kept for the next start.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn signed_by_root(envelope: &Envelope, trust: &Trust) -> Result<(), Refusal> {
    let Role { threshold, .. } = trust.root;
    enough(envelope.signers(trust.keys_of(&trust.root)).len(), threshold, || Power::Root.to_string())
}

/// Opens a trust document and checks what it must satisfy by itself.
fn open(bytes: &[u8]) -> Result<(Envelope, Trusted), Refusal> {
    within_limit(bytes)?;
    let envelope = Envelope::parse(bytes)?;
    of_the_kind(&envelope, Trust::KIND)?;
    let document: Document<Trust> = Document::from_payload(envelope.payload()).map_err(Refusal::Payload)?;
    document.body.check().map_err(Refusal::BrokenTrust)?;
    signed_by_root(&envelope, &document.body)?;
    matches_expectation("name", &document.header.name, NAME)?;
    understood(&document.header)?;
    Ok((envelope, Trusted { document, bytes: bytes.to_vec() }))
}
