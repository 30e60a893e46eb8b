//! The assignment that the host obeys, kept so that it holds whatever becomes of the object in the store.
//!
//! The memory against replay has the digest of the newest assignment that was believed, twice over; the assignment itself
//! lies in a file of its own. It was verified before it was kept, and kept before it was remembered: so it counts if it is the
//! one that is remembered, or newer.

use npc_core::digest::Digest;
use npc_core::document::{Assignment, Document, Header, Kind, Serial};
use npc_core::envelope::Envelope;
use npc_core::name::AssignmentName;
use npc_core::trust::Floors;

use super::tree::{StateDirectory, StateError};

const FILE: &str = "assignment.json";

/// An assignment that was believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldAssignment {
    /// Its serial.
    pub serial: Serial,
    /// The digest of its payload.
    pub digest: Digest,
    /// What it says.
    pub says: Assignment,
}

/// What lies in the file.
struct Kept {
    header: Header,
    held: HeldAssignment,
}

impl Kept {
    fn open(bytes: &[u8]) -> Option<Self> {
        let envelope = Envelope::parse(bytes).ok()?;
        let digest = Digest::of(envelope.payload());
        let Document { header, body: says } = Document::from_payload(envelope.payload()).ok()?;
        let held = HeldAssignment { serial: header.serial, digest, says };
        Some(Self { header, held })
    }
}

impl HeldAssignment {
    /// The assignment that is kept, if it is of this name and nothing newer was ever believed.
    pub fn read(state: &StateDirectory, floors: &Floors, name: &AssignmentName) -> Option<Self> {
        let kept = Self::kept(state).filter(|kept| kept.header.name == name.as_str())?;
        floors.check(Kind::Assignment, &kept.header, kept.held.digest).is_ok().then_some(kept.held)
    }

    /// The assignment that is kept, whatever its name.
    pub fn of_any_name(state: &StateDirectory) -> Option<Self> {
        Self::kept(state).map(|kept| kept.held)
    }

    fn kept(state: &StateDirectory) -> Option<Kept> {
        let bytes = match state.read_bytes(FILE) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the assignment that is kept");
                return None;
            }
        };
        let kept = Kept::open(&bytes);
        if kept.is_none() {
            tracing::error!(kind = "state", "the assignment that is kept is damaged");
        }
        kept
    }

    /// Keeps a signed assignment, durably.
    pub fn keep(state: &StateDirectory, envelope: &[u8]) -> Result<(), StateError> {
        state.write_bytes(FILE, envelope, 0o644)
    }
}
