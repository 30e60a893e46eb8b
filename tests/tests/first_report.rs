//! What a host says of itself before it has done anything.

use std::fs;

use npc_core::document::{Document, Report};
use npc_core::envelope::Envelope;
use npc_tests::parts::Nix;
use npc_tests::world::{Kind, World};

/// Fails the activation of every system as long as there is nothing in that place, and keeps a copy of what is there at the first.
fn activate_only_if_there_is(world: &World, place: &str, copy: &str) {
    let path = world.path("fleet/lib/scripts/activate.sh");
    let script = fs::read_to_string(&path).expect("a script");
    let (place, copy) = (world.path(place), world.path(copy));
    let keep = format!("test -e '{1}' || cp '{0}' '{1}' || exit 1\n", place.display(), copy.display());
    fs::write(path, keep + &script).expect("written");
}

/// Secrets can be encrypted to a host only once its keys are known, and a system that needs them cannot be activated before.
#[test]
fn a_new_host_names_its_ssh_host_keys_before_it_activates_anything() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    activate_only_if_there_is(&world, "store/reports/web-1.json", "first.json");
    world.publish();
    let agent = world.agent("web-1", &nix);
    let keys = agent.path("root/etc/ssh");
    fs::create_dir_all(&keys).expect("created");
    fs::write(keys.join("ssh_host_ed25519_key.pub"), "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 root@web-1\n").expect("written");
    let _running = agent.start();
    // At the first try.
    agent.commits(1);
    let bytes = fs::read(world.path("first.json")).expect("a report");
    let envelope = Envelope::parse(&bytes).expect("an envelope");
    let first: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
    assert_eq!(first.body.ssh_host_keys, ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]);
    assert!(first.body.outcomes.is_empty() && first.body.runs.is_none(), "nothing was activated: {:?}", first.body);
    assert_eq!(agent.activations().len(), 2, "tried, and made the boot default: {:?}", agent.activations());
}
