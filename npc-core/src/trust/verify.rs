//! The whole order of checks before a document is acted upon.

use jiff::SignedDuration;

use super::{Floors, Refusal, Trusted};
use crate::Timestamp;
use crate::digest::Digest;
use crate::document::{Body, Document, Header, KNOWN_FEATURES, Kind, Power};
use crate::envelope::Envelope;
use crate::key::PublicKey;
use crate::limits;
use crate::name::{AssignmentName, HostName, RemoteName, RolloutName};

/// How far ahead a maker's clock may be of the reader's.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// Whom a document was asked about, which decides who must have signed it.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// What this remote holds.
    Remote(&'a RemoteName),
    /// What this assignment says.
    Assignment(&'a AssignmentName),
    /// What this host says of itself, under the key that it is known by.
    Report(&'a HostName, &'a PublicKey),
    /// What this rollout is to do.
    Rollout(&'a RolloutName),
}

impl Subject<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Remote(_) => Kind::Release,
            Self::Assignment(_) => Kind::Assignment,
            Self::Report(..) => Kind::Report,
            Self::Rollout(_) => Kind::Rollout,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Remote(name) => name.as_str(),
            Self::Assignment(name) => name.as_str(),
            Self::Report(name, _) => name.as_str(),
            Self::Rollout(name) => name.as_str(),
        }
    }
}

/// A document that passed every check. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Verified<B> {
    document: Document<B>,
    digest: Digest,
}

impl<B> Verified<B> {
    /// What all documents share.
    pub fn header(&self) -> &Header {
        &self.document.header
    }

    /// What this kind says.
    pub fn body(&self) -> &B {
        &self.document.body
    }

    /// The digest of the payload's exact bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The document itself.
    pub fn into_document(self) -> Document<B> {
        self.document
    }
}

/// Reads the document that was asked for out of `bytes`, or says why not to believe it.
///
/// It must be within the byte limit; enough distinct keys with the right role must have signed exactly these bytes; fleet,
/// kind and name must be the ones asked for; every required feature must be known; its serial must not be lower than the
/// highest seen for that name, and an equal serial must have the same payload; and it must not have expired. The trust must
/// have been walked to its newest version before: a document made under a version that nobody has seen is refused.
///
/// What is left of the order of checks is the length and the SHA-256 of the archive that a release names, which are checked
/// while it streams in ([`download`](crate::store::download)).
///
/// # Errors
///
/// The first check that fails, as a [`Refusal`].
pub fn verify<B: Body>(
    bytes: &[u8],
    subject: Subject<'_>,
    trusted: &Trusted,
    floors: &Floors,
    now: Timestamp,
) -> Result<Verified<B>, Refusal> {
    within_limit(bytes)?;
    let envelope = Envelope::parse(bytes)?;
    signed_by_the_right_keys(&envelope, subject, trusted)?;
    of_the_kind(&envelope, subject.kind())?;
    let document: Document<B> = Document::from_payload(envelope.payload()).map_err(Refusal::Payload)?;
    let digest = Digest::of(envelope.payload());
    about(&document.header, trusted, subject.name())?;
    understood(&document.header)?;
    // A host may have seen a newer trust than whoever reads what it says of itself; that is worth reading.
    if !matches!(subject, Subject::Report(..)) {
        under_known_trust(&document.header, trusted)?;
    }
    floors.check(subject.kind(), &document.header, digest)?;
    still_good(&document.header, now)?;
    Ok(Verified { document, digest })
}

pub(super) fn within_limit(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() as u64 > limits::DOCUMENT_BYTES {
        return Err(Refusal::TooLarge { limit: limits::DOCUMENT_BYTES });
    }
    Ok(())
}

fn signed_by_the_right_keys(envelope: &Envelope, subject: Subject<'_>, trusted: &Trusted) -> Result<(), Refusal> {
    let power = match subject {
        Subject::Remote(remote) => Power::Release(remote),
        Subject::Assignment(_) => Power::Assignment,
        Subject::Rollout(_) => Power::Rollout,
        Subject::Report(host, key) => {
            return enough(envelope.signers([key]).len(), 1, || format!("report for `{host}`"));
        }
    };
    let trust = trusted.trust();
    let role = trust.role(power).ok_or_else(|| Refusal::NoRole { power: power.to_string() })?;
    enough(envelope.signers(trust.keys_of(role)).len(), role.threshold, || power.to_string())
}

pub(super) fn enough(found: usize, needed: usize, power: impl FnOnce() -> String) -> Result<(), Refusal> {
    if found < needed {
        return Err(Refusal::BadSignature { power: power(), found, needed });
    }
    Ok(())
}

pub(super) fn of_the_kind(envelope: &Envelope, kind: Kind) -> Result<(), Refusal> {
    matches_expectation("kind", envelope.payload_type(), &kind.payload_type())
}

pub(super) fn about(header: &Header, trusted: &Trusted, name: &str) -> Result<(), Refusal> {
    matches_expectation("fleet", header.fleet.as_str(), trusted.fleet().as_str())?;
    matches_expectation("name", &header.name, name)
}

pub(super) fn matches_expectation(what: &'static str, found: &str, expected: &str) -> Result<(), Refusal> {
    if found == expected {
        return Ok(());
    }
    Err(Refusal::WrongSubject { what, found: found.chars().take(128).collect(), expected: expected.to_owned() })
}

pub(super) fn understood(header: &Header) -> Result<(), Refusal> {
    match header.requires.iter().find(|feature| !KNOWN_FEATURES.contains(&feature.as_str())) {
        Some(unknown) => Err(Refusal::Unsupported(unknown.clone())),
        None => Ok(()),
    }
}

fn under_known_trust(header: &Header, trusted: &Trusted) -> Result<(), Refusal> {
    if header.trust > trusted.version() {
        return Err(Refusal::UnknownTrust { named: header.trust, newest: trusted.version() });
    }
    Ok(())
}

/// A document without an end needs no clock, so that a host whose clock is wrong can still be mended.
fn still_good(header: &Header, now: Timestamp) -> Result<(), Refusal> {
    let Some(expires) = header.expires else { return Ok(()) };
    if header.created > now.saturating_add(CLOCK_TOLERANCE).unwrap_or(Timestamp::MAX) {
        return Err(Refusal::ClockSkew { created: header.created, now });
    }
    if expires <= now {
        return Err(Refusal::Expired(expires));
    }
    Ok(())
}
