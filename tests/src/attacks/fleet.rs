//! The fleet under attack: keys that grow from fixed seeds and guard nothing, and fixed times.

use npc_core::digest::Digest;
use npc_core::key::{PublicKey, SecretKey};
use npc_core::name::FleetId;
use npc_core::trust::Anchor;
use zeroize::Zeroizing;

/// The fleet's id.
pub(super) const FLEET: &str = "a77ac4ed000000000000000000000000";

/// Another fleet's id.
pub(super) const ANOTHER_FLEET: &str = "07e4f1ee700000000000000000000000";

/// When everything was made that was made honestly.
pub(super) const CREATED: &str = "2026-01-01T00:00:00Z";

/// The serial of the release of `prod`, of the assignment and of the report in the honest store.
pub(super) const FIRST: u64 = 10;

/// The serial of the good documents that come after most attacks.
pub(super) const LATER: u64 = 1000;

/// The host under attack, and its configuration.
pub(super) const HOST: &str = "web-1";

/// Two of these change the trust.
pub(super) const ROOT: [&str; 2] = ["npc-root-1", "npc-root-2"];

/// Those that replace them.
pub(super) const NEW_ROOT: [&str; 2] = ["npc-root-3", "npc-root-4"];

/// Two of these publish to `prod`.
pub(super) const PROD: [&str; 2] = ["npc-prod-1", "npc-prod-2"];

/// Those that replace them.
pub(super) const NEW_PROD: [&str; 2] = ["npc-prod-3", "npc-prod-4"];

/// This one publishes to every other remote.
pub(super) const OTHERS: [&str; 1] = ["npc-others-1"];

/// This one assigns hosts.
pub(super) const ASSIGN: [&str; 1] = ["npc-assign-1"];

/// This one orders rollouts.
pub(super) const ROLLOUT: [&str; 1] = ["npc-rollout-1"];

/// This one signs the reports of the host under attack.
pub(super) const REPORT: [&str; 1] = ["npc-report-web-1"];

fn grow(name: &str, salt: &str) -> SecretKey {
    let digest = Digest::of(format!("npc attack corpus, {salt}: {name}").as_bytes()).to_string();
    let seed = digest.as_bytes().first_chunk().expect("a digest has 64 digits");
    SecretKey::from_seed(name.parse().expect("a key's name"), &Zeroizing::new(*seed))
}

/// The fleet's key of this name.
pub(super) fn key(name: &str) -> SecretKey {
    grow(name, "the fleet's")
}

/// A key of the same name in someone else's hands.
pub(super) fn strangers(name: &str) -> SecretKey {
    grow(name, "a stranger's")
}

/// The public halves of these keys.
pub(super) fn public(names: &[&str]) -> Vec<PublicKey> {
    names.iter().map(|name| key(name).public()).collect()
}

/// What a host of the fleet is told.
pub(super) fn anchor() -> Anchor {
    Anchor {
        fleet: FLEET.parse::<FleetId>().expect("an id"),
        root_keys: public(&ROOT),
        root_threshold: ROOT.len(),
        version: npc_core::document::Serial::FIRST,
    }
}
