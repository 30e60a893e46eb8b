//! A machine that comes up with the disk of another.

use std::fs;

use npc_core::document::{Document, Report};
use npc_core::envelope::Envelope;
use npc_tests::parts::Nix;
use npc_tests::world::{Agent, Kind, World};

/// Has the agent's machine be the one with this UUID.
fn on_machine(agent: &Agent<'_>, uuid: &str) {
    let directory = agent.path("root/sys/class/dmi/id");
    fs::create_dir_all(&directory).expect("created");
    fs::write(directory.join("product_uuid"), format!("{uuid}\n")).expect("written");
}

/// The report in the store, which must be signed with the key that it names.
fn report(world: &World) -> Report {
    let bytes = fs::read(world.path("store/reports/web-1.json")).expect("a report");
    let envelope = Envelope::parse(&bytes).expect("an envelope");
    let report: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
    let key = report.body.report_key.clone().expect("a key");
    assert_eq!(envelope.signers([&key]).len(), 1, "it is signed with that key");
    report.body
}

#[test]
fn a_copy_of_a_host_is_another_installation_with_a_key_of_its_own_and_goes_on_from_what_the_disk_holds() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.publish();
    world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    let agent = world.agent("web-1", &nix);
    on_machine(&agent, "91267c52-9f02-4cfe-b1f4-a4da7ebac2cd");
    agent.once().works();
    let (first, activations) = (report(&world), agent.activations());
    on_machine(&agent, "03000200-0400-0500-0006-000700080009");
    agent.once().works();
    assert_eq!(report(&world).instance, first.instance, "a firmware that forgot makes no new machine");
    let assigned = fs::read(world.path("store/assignments/web-1.json")).expect("assigned");
    on_machine(&agent, "0d3b1c6e-55aa-4e0f-9c1d-2f7b8a6c5d4e");
    let said = agent.once();
    assert!(said.words.contains("comes from another machine"), "{said:?}");
    said.works();
    let second = report(&world);
    assert_ne!(second.instance, first.instance);
    assert_ne!(second.report_key, first.report_key);
    assert_eq!((second.obeys, second.runs), (first.obeys, first.runs), "the fleet's word and the disk's systems hold");
    assert_eq!(agent.activations(), activations, "nothing is activated anew");
    // What the fleet has seen taken back cannot be replayed to the copy either.
    world.in_fleet(&["hosts", "remove", "web-1"]).works();
    agent.once().works();
    fs::write(world.path("store/assignments/web-1.json"), assigned).expect("written");
    agent.once().fails(4, &["rollback"]);
    assert_eq!(report(&world).instance, second.instance, "it is a new one once");
}
