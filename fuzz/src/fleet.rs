//! The fleet that every input is judged by: fixed keys, a fixed time, and the first version of its trust.

use std::sync::LazyLock;

use npc_core::Timestamp;
use npc_core::document::Serial;
use npc_core::key::SecretKey;
use npc_core::name::{AssignmentName, FleetId, HostName, RemoteName, RolloutName};
use npc_core::publish::trust::first;
use npc_core::trust::{Anchor, Trusted};
use zeroize::Zeroizing;

/// Its keys, names and trust.
#[derive(Debug)]
pub struct Fleet {
    /// May change the trust.
    pub root: SecretKey,
    /// May publish and assign.
    pub publishing: SecretKey,
    /// Signs the reports of [`Self::host`].
    pub host_key: SecretKey,
    /// Nobody's key, under the name of the publishing key.
    pub stranger: SecretKey,
    /// The remote that is asked about.
    pub remote: RemoteName,
    /// The assignment that is asked about.
    pub assignment: AssignmentName,
    /// The host that is asked about.
    pub host: HostName,
    /// The rollout that is asked about.
    pub rollout: RolloutName,
    /// The first version of the trust, signed.
    pub first: Vec<u8>,
    /// The same, believed.
    pub trusted: Trusted,
}

/// The one fleet.
pub static FLEET: LazyLock<Fleet> = LazyLock::new(Fleet::new);

fn key(name: &str, seed: u8) -> SecretKey {
    SecretKey::from_seed(name.parse().expect("a key's name"), &Zeroizing::new([seed; 32]))
}

/// The time at which everything is judged.
pub fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

/// The fleet's id.
pub fn id() -> FleetId {
    FleetId::from_random([7; 16])
}

/// What a host of the fleet believes without a signature.
pub fn anchor(root: &SecretKey) -> Anchor {
    Anchor { fleet: id(), root_keys: vec![root.public()], root_threshold: 1, version: Serial::FIRST }
}

impl Fleet {
    fn new() -> Self {
        let (root, publishing) = (key("npc-root-1", 1), key("npc-publish-1", 2));
        let first = first(id(), &root, &publishing, now()).bytes;
        let trusted = Trusted::anchored(&anchor(&root), &first).expect("it is signed by the root key");
        Self {
            root,
            publishing,
            host_key: key("npc-host-1", 3),
            stranger: key("npc-publish-1", 4),
            remote: "prod".parse().expect("a name"),
            assignment: "web-1".parse().expect("a name"),
            host: "web-1".parse().expect("a name"),
            rollout: "next-1".parse().expect("a name"),
            first,
            trusted,
        }
    }
}
