//! The assignment that the host obeys, kept so that it holds whatever becomes of the object in the store.
//!
//! The memory against replay has the digest of the newest assignment that was believed, twice over; the assignment itself
//! lies in a file of its own and counts only if it has that digest.

use npc_core::digest::Digest;
use npc_core::document::{Assignment, Document, Kind, Serial};
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

impl HeldAssignment {
    /// The assignment that is kept, if it is the newest one of this name that was believed.
    pub fn read(state: &StateDirectory, floors: &Floors, name: &AssignmentName) -> Option<Self> {
        let believed = floors.get(Kind::Assignment, name.as_str())?.digest;
        Self::kept(state).filter(|held| Some(held.digest) == believed)
    }

    /// The assignment that is kept, whatever its name.
    pub fn kept(state: &StateDirectory) -> Option<Self> {
        let bytes = match state.read_bytes(FILE) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the assignment that is kept");
                return None;
            }
        };
        let held = Self::opened(&bytes);
        if held.is_none() {
            tracing::error!(kind = "state", "the assignment that is kept is damaged");
        }
        held
    }

    fn opened(bytes: &[u8]) -> Option<Self> {
        let envelope = Envelope::parse(bytes).ok()?;
        let digest = Digest::of(envelope.payload());
        let Document { header, body: says } = Document::from_payload(envelope.payload()).ok()?;
        Some(Self { serial: header.serial, digest, says })
    }

    /// Keeps a signed assignment, durably.
    pub fn keep(state: &StateDirectory, envelope: &[u8]) -> Result<(), StateError> {
        state.write_bytes(FILE, envelope, 0o644)
    }
}
