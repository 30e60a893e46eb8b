//! Hosts that go by other keys than the store shows: operators are told before they sign what would be refused.

use std::collections::BTreeSet;
use std::fs;

use npc_core::digest::Digest;
use npc_tests::absent::{Absent, serial};
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};

/// A fleet with releases at `prod` and at `next`.
fn world(kind: &Kind) -> World {
    let world = World::new(kind);
    world.publish();
    world.edit("the next\n");
    world.in_fleet(&["--remote", "next"]).works();
    world
}

/// A host that follows `prod`, and knows this version of the trust.
fn follower(name: &str, trust: u64) -> Absent {
    Absent { trust: serial(trust), ..Absent::following(name, "prod") }
}

fn publish(world: &World, words: &str) -> Ended {
    world.edit(words);
    world.in_fleet(&["--remote", "prod"])
}

#[test]
fn a_follower_is_heard_however_many_hosts_come_before_it_by_name() {
    let world = world(&Kind::Served);
    for number in 0..300 {
        Absent::following(&format!("a-{number:03}"), "next").reports(&world);
    }
    follower("z-1", 2).reports(&world);
    let before = fs::read(world.path("store/remotes/prod.json")).expect("a release");
    publish(&world, "which nobody would believe\n")
        .fails(4, &["z-1 trust version 2 of the trust, and the newest in this store is 1", "hint: "]);
    assert_eq!(fs::read(world.path("store/remotes/prod.json")).expect("a release"), before, "nothing was published");
    world.in_fleet(&["--remote", "next"]).works();
}

/// The hosts whose reports or assignments are read while this is published, and how often folders are listed for that.
fn read_for(world: &World, words: &str) -> (BTreeSet<String>, usize) {
    let before = world.served().len();
    publish(world, words).works();
    let log = world.served();
    let asked = log[before..].lines().filter_map(|line| line.split_once(" GET /")?.1.split_once(' '));
    let asked = asked.map(|(path, _)| path.trim_start_matches("reports/").trim_start_matches("assignments/"));
    let asked: Vec<_> = asked.filter(|path| path.starts_with("w-") || path.is_empty()).collect();
    let named = asked.iter().filter(|path| !path.is_empty()).map(|path| (*path).to_owned()).collect();
    (named, asked.iter().filter(|path| path.is_empty()).count())
}

#[test]
fn whoever_publishes_reads_what_has_been_reported_since_they_last_did_and_nothing_else() {
    let world = world(&Kind::Served);
    let names: BTreeSet<_> = (0..20).map(|number| format!("w-{number:02}.json")).collect();
    for name in &names {
        follower(name.trim_end_matches(".json"), 1).reports(&world);
    }
    assert_eq!(read_for(&world, "one\n"), (names, 2));
    assert_eq!(read_for(&world, "two\n"), (BTreeSet::new(), 2));
    follower("w-07", 1).reports(&world);
    assert_eq!(read_for(&world, "three\n"), (BTreeSet::from(["w-07.json".to_owned()]), 2));
}

#[test]
fn a_host_that_is_behind_is_no_reason_for_doubt_and_some_that_are_elsewhere_are_one_for_a_warning() {
    let world = world(&Kind::Directory);
    let (new_file, root_file) = (world.path("npc-publish-2.secret"), world.key_file("npc-root-1"));
    let (new_file, root_file) = (new_file.to_str().expect("plain"), root_file.to_str().expect("plain").to_owned());
    let public = world.npc_publish(&["key", "generate", "npc-publish-2", "--output", new_file]).works();
    let replace = format!("npc-publish-1={}", public.trim());
    world.in_fleet(&["trust", "rotate", "--root-key", &root_file, "--replace", &replace]).works();
    let publish = |words: &str| {
        world.edit(words);
        let ended = world.in_fleet(&["--remote", "prod", "--key", new_file]);
        (ended.words.clone().contains("hosts would refuse this"), ended)
    };
    follower("w-1", 1).reports(&world);
    let (warned, ended) = publish("for one that is behind\n");
    assert!(!warned, "{ended:?}");
    ended.works();
    follower("w-2", 3).reports(&world);
    let (_, ended) = publish("for one that is ahead as well\n");
    let words = "warning: hosts would refuse this: w-2 trust version 3 of the trust, and the newest in this store is 2";
    assert!(ended.words.contains(words), "{ended:?}");
    ended.works();
    let mut other = follower("w-2", 2);
    other.report.trust_digest = Some(Digest::of(b"another document"));
    other.reports(&world);
    let (_, ended) = publish("for one that was told something else\n");
    let words = "hosts would refuse this: w-2 trust another version 2 of the trust than the one in this store";
    assert!(ended.words.contains(words), "{ended:?}");
    ended.works();
    let shown = fs::read(world.path("store/trust/2.json")).expect("a trust");
    other.report.trust_digest = Some(Digest::of(&shown));
    other.reports(&world);
    let (warned, ended) = publish("for one that was told the same\n");
    assert!(!warned, "{ended:?}");
    ended.works();
}

#[test]
fn hosts_are_led_nowhere_by_keys_that_they_do_not_trust() {
    let world = world(&Kind::Directory);
    follower("w-1", 2).reports(&world);
    follower("w-2", 2).reports(&world);
    let words = ["w-1, w-2 trust version 2 of the trust, and the newest in this store is 1", "hint: "];
    world.in_fleet(&["repoint", "all", "--remote", "next"]).fails(4, &words);
    for what in ["plan", "start"] {
        world.in_fleet(&["rollout", what, "--to", "next", "--hosts", "all"]).fails(4, &words);
    }
    for folder in ["assignments", "rollouts"] {
        assert!(!world.path("store").join(folder).exists(), "nothing was written to {folder}");
    }
}

#[test]
fn what_somebody_else_says_in_a_hosts_name_keeps_nobody_from_publishing() {
    let world = world(&Kind::Directory);
    follower("w-1", 1).reports(&world);
    world.in_fleet(&["repoint", "w-1", "--remote", "prod"]).works();
    let mut forged = follower("w-1", 2);
    forged.key = Absent::following("w-2", "prod").key;
    forged.report.report_key = Some(forged.key.public());
    forged.reports(&world);
    let ended = publish(&world, "in spite of that\n");
    assert!(!ended.words.contains("would refuse"), "{ended:?}");
    ended.works();
    follower("w-1", 2).reports(&world);
    publish(&world, "if the host itself says so, not\n").fails(4, &["w-1 trust version 2 of the trust"]);
}
