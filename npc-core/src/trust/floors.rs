//! The highest serials seen: the memory against replay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::digest::Digest;
use crate::document::{Header, Kind, Serial};

/// The newest document seen under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The version of the trust it was made under.
    pub trust: Serial,
    /// Its serial.
    pub serial: Serial,
    /// The digest of its payload; none where a bootstrap only told the serial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A [`Floor`] per document that a host has believed.
///
/// Documents are ordered by trust version first and serial second. So a new version of the trust resets the serials, which
/// is the way out after a stolen key raised them, and yet nothing made under the old version can be replayed: to be made
/// under the new version takes a key that the new version trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floors(BTreeMap<String, Floor>);

fn subject(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind.word())
}

impl Floors {
    /// Whether a document may follow what has been seen under its name.
    pub fn check(&self, kind: Kind, header: &Header, digest: Digest) -> Result<(), Refusal> {
        let Some(floor) = self.0.get(&subject(kind, &header.name)) else { return Ok(()) };
        let (found, seen) = ((header.trust, header.serial), (floor.trust, floor.serial));
        // What a bootstrap told is a serial alone: under which trust it was made, nobody said.
        let below = if floor.digest.is_none() { found.1 < seen.1 } else { found < seen };
        if below {
            return Err(Refusal::Rollback { found: found.1, found_trust: found.0, seen: seen.1, seen_trust: seen.0 });
        }
        if found == seen && floor.digest.is_some_and(|seen| seen != digest) {
            return Err(Refusal::Equivocation { serial: header.serial });
        }
        Ok(())
    }

    /// Remembers a document that passed every check. Returns whether that was news.
    pub fn raise(&mut self, kind: Kind, header: &Header, digest: Digest) -> bool {
        let floor = Floor { trust: header.trust, serial: header.serial, digest: Some(digest) };
        self.0.insert(subject(kind, &header.name), floor) != Some(floor)
    }

    /// Raises a floor to a serial told by the host's operator, so that the first contact cannot be fed an old document. What
    /// has been seen already is kept if it is higher.
    pub fn tell(&mut self, kind: Kind, name: &str, trust: Serial, serial: Serial) {
        let seen = self.0.entry(subject(kind, name)).or_insert(Floor { trust, serial, digest: None });
        if seen.serial < serial {
            *seen = Floor { trust: seen.trust, serial, digest: None };
        }
    }

    /// The newest document seen under a name.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Floor> {
        self.0.get(&subject(kind, name))
    }
}
