//! Remotes that do not hold what hosts are to build: nobody is led there.

use std::fs;

use npc_core::document::{Document, RemoteState, Standing, System};
use npc_core::envelope::Envelope;
use npc_tests::absent::{Absent, put};
use npc_tests::world::{Kind, World};

/// Two hosts that follow `prod`; `next` holds another release, of which nobody has evaluated what it holds.
fn world() -> World {
    let world = World::new(&Kind::Directory);
    world.publish();
    world.edit("the next\n");
    world.in_fleet(&["--remote", "next"]).works();
    for name in ["web-1", "db-1"] {
        Absent::following(name, "prod").reports(&world);
    }
    world
}

/// Has the newest release at `next` hold the configuration of `web-1` alone.
fn holds_web_1_alone(world: &World) {
    let pointer = fs::read(world.path("store/remotes/next.json")).expect("a release");
    let envelope = Envelope::parse(&pointer).expect("an envelope");
    let mut document: Document<RemoteState> = Document::from_payload(envelope.payload()).expect("a release");
    let Standing::Present(release) = &mut document.body else { panic!("a release") };
    let system = System {
        system: "x86_64-linux".to_owned(),
        drv_path: "/nix/store/00000000000000000000000000000000-web-1.drv".to_owned(),
        out_path: None,
        proof: None,
        host: None,
    };
    release.configurations.insert("web-1".parse().expect("a configuration"), system);
    let bytes = document.sign(&[&world.key("npc-publish-1")]).bytes;
    for object in ["remotes/next.json".to_owned(), format!("releases/next/{}.json", document.header.serial)] {
        assert!(world.path("store").join(&object).exists(), "{object} is where releases are");
        put(world, &object, &bytes);
    }
}

/// Refuses it in plain words, and writes nothing.
#[track_caller]
fn refuses(world: &World, arguments: &[&str]) {
    world
        .in_fleet(arguments)
        .fails(2, &["next@1 holds no configuration `db-1`\n", "hint: ", "repoint --configuration"]);
    for folder in ["assignments", "rollouts"] {
        assert!(!world.path("store").join(folder).exists(), "{arguments:?} wrote to {folder}");
    }
}

#[test]
fn nobody_is_repointed_to_a_remote_that_does_not_hold_their_configuration() {
    let world = world();
    holds_web_1_alone(&world);
    refuses(&world, &["repoint", "db-1", "--remote", "next"]);
    refuses(&world, &["repoint", "all", "--remote", "next"]);
    refuses(&world, &["repoint", "web-1", "--remote", "next", "--configuration", "db-1"]);
    let said = world.in_fleet(&["repoint", "all", "--remote", "next", "--configuration", "web-1"]).works();
    assert_eq!(said, "db-1: its own settings -> next web-1\nweb-1: its own settings -> next web-1\n");
}

#[test]
fn no_rollout_begins_to_a_release_that_does_not_hold_everybodys_configuration() {
    let world = world();
    holds_web_1_alone(&world);
    for what in ["plan", "start"] {
        refuses(&world, &["rollout", what, "--to", "next", "--hosts", "all"]);
        refuses(&world, &["rollout", what, "--to", "next", "--hosts", "db-1", "--force"]);
    }
    let planned = world.in_fleet(&["rollout", "plan", "--to", "next", "--hosts", "web-1"]).works();
    assert_eq!(planned, "wave 1  1 of 1  web-1\n");
}

#[test]
fn a_rollout_is_not_resumed_with_a_newer_release_that_lacks_what_its_hosts_build() {
    let world = world();
    let bounds = ["--waves", "100%", "--soak", "1s", "--timeout", "1s"];
    let start = ["rollout", "start", "--to", "next", "--hosts", "all"];
    world.in_fleet(&[&start[..], &bounds].concat()).fails(7, &["rollout `next-1` is halted"]);
    world.edit("the one after\n");
    world.in_fleet(&["--remote", "next"]).works();
    holds_web_1_alone(&world);
    let before = fs::read(world.path("store/rollouts/next-1.json")).expect("an intent");
    world.in_fleet(&["rollout", "resume"]).fails(2, &["next@2 holds no configuration `db-1`\n", "hint: "]);
    assert_eq!(fs::read(world.path("store/rollouts/next-1.json")).expect("an intent"), before, "nothing was written");
}
