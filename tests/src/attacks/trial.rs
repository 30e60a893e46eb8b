//! What happens to a host that meets an attack.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::corpus::Folder;
use super::expectation::{Before, Expected, Judge};
use super::fleet::FIRST;
use super::host::{AgentHost, Disk};
use super::layer::Layer;
use super::server::HostileServer;
use super::snapshot::Found;
use super::verification::Verifier;

/// No single question makes a server send more than this, in bytes, large archives aside: documents have a limit of 4 MiB,
/// and the rest is what was on its way when the reader hung up.
const TAKEN: u64 = 24 * 1024 * 1024;

/// The honest store: what lies there at first, and what is added to it later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Honest {
    /// What a running host has met.
    pub first: Layer,
    /// What is laid over it after most attacks.
    pub later: Layer,
}

/// What came of asking the store once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// What lies there is followed.
    Followed,
    /// It is not, for a reason of this kind.
    Refused(String),
}

/// Whoever reads the store.
pub(super) trait Reader {
    /// Asks the store once, and does what that leads to.
    fn ask(&mut self) -> Asked;

    /// The serials of all that was followed so far.
    fn followed(&self) -> Vec<u64>;

    /// Everything that asking must not change, whatever it leads to.
    fn surroundings(&self) -> BTreeMap<PathBuf, Found>;
}

/// Has a host, or a reader, meet an attack.
///
/// # Panics
///
/// Where the attack does more or less than its folder claims.
pub fn run(folder: &Folder, honest: &Honest, before: Before) {
    let server = Arc::new(HostileServer::start().expect("a server"));
    let attack = &folder.attack;
    let mut reader: Box<dyn Reader> = match &attack.judge {
        Judge::Agent => Box::new(AgentHost::new(&server, attack.minimum_serial, disk_for(folder))),
        Judge::Report(host) => Box::new(Verifier::new(host, &server.url())),
    };
    if before == Before::Running {
        server.hold(honest.first.clone());
        expect(&mut *reader, &Expected::Follows(FIRST), "before the attack");
    }
    for step in &attack.steps {
        server.hold(honest.first.clone().under(&folder.layers[&step.layer]));
        let sent = server.sent();
        expect(&mut *reader, &step.expect, &step.layer);
        let layer = &folder.layers[&step.layer];
        assert!(layer.is_large() || server.sent() - sent < TAKEN, "`{}`: it took in all that it was sent", step.layer);
    }
    let afterwards = attack.afterwards.layer.as_ref().map_or(&honest.later, |layer| &folder.layers[layer]);
    server.hold(honest.first.clone().under(afterwards));
    expect(&mut *reader, &Expected::Follows(attack.afterwards.follows), "afterwards");
}

/// Has a host that runs a good release meet `layer`. It may do what it likes, but must come to an end.
///
/// # Panics
///
/// Where it does not.
pub fn ends(layer: &Layer, honest: &Honest) {
    let server = Arc::new(HostileServer::start().expect("a server"));
    let mut host = AgentHost::new(&server, None, Disk::Quick);
    server.hold(honest.first.clone());
    expect(&mut host, &Expected::Follows(FIRST), "before the attack");
    server.hold(honest.first.clone().under(layer));
    host.ask();
}

fn disk_for(folder: &Folder) -> Disk {
    if folder.layers.values().any(Layer::has_a_large_file) { Disk::Large } else { Disk::Quick }
}

/// Asks once, and holds what comes of it against what must.
fn expect(reader: &mut dyn Reader, expected: &Expected, when: &str) {
    let (mut followed, surroundings) = (reader.followed(), reader.surroundings());
    let expected = match expected {
        Expected::Follows(serial) => {
            followed.push(*serial);
            Asked::Followed
        }
        Expected::Refusal(kind) => Asked::Refused(kind.clone()),
    };
    assert_eq!(reader.ask(), expected, "`{when}`");
    assert_eq!(reader.followed(), followed, "`{when}`: what is followed");
    assert_eq!(reader.surroundings(), surroundings, "`{when}`: nothing has changed around it");
}
