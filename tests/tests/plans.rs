//! What rollouts there were, and what one would do.

use npc_tests::absent::{Absent, put};
use npc_tests::world::{Kind, World};
use serde_json::Value;

/// Two hosts that follow `prod`, and never do anything; `next` holds another release.
fn world() -> World {
    let world = World::new(&Kind::Directory);
    world.publish();
    world.edit("the next\n");
    world.in_fleet(&["--remote", "next"]).works();
    for name in ["web-1", "web-2"] {
        Absent::following(name, "prod").reports(&world);
    }
    world
}

fn list(world: &World) -> Value {
    serde_json::from_str(&world.in_fleet(&["rollout", "list", "--json"]).works()).expect("JSON")
}

#[test]
fn rollouts_are_listed_with_how_they_ended_and_such_that_are_not_believed_as_such() {
    let world = world();
    let none = world.in_fleet(&["rollout", "list"]);
    assert!(none.words.contains("there has never been a rollout"), "{none:?}");
    assert_eq!(none.works(), "");
    assert_eq!(list(&world), Value::Array(Vec::new()));
    let bounds = ["--waves", "1,100%", "--soak", "1s", "--timeout", "1s"];
    let start = ["rollout", "start", "--to", "next", "--hosts", "all"];
    world
        .in_fleet(&[&start[..], &bounds].concat())
        .fails(7, &["rollout `next-1` is halted: web-1: not there after 1 s"]);
    let listed = list(&world);
    let first = &listed[0];
    assert_eq!((&first["rollout"], &first["state"]), (&"next-1".into(), &"halted".into()), "{listed}");
    assert_eq!(first["members"], 2, "{listed}");
    put(&world, "rollouts/an-old-one.json", b"\x1b[31mno intent");
    let said = world.in_fleet(&["rollout", "list"]).works();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("an-old-one ") && lines[0].contains("refused: unreadable"), "{said}");
    for words in ["next-1 ", " halted ", " next@1 ", " 2 in 2 waves"] {
        assert!(lines[1].contains(words), "no `{words}` in {said}");
    }
    assert_eq!(list(&world)[0], serde_json::json!({ "rollout": "an-old-one", "refused": "unreadable" }));
    world.in_fleet(&["rollout", "abort"]).works();
    assert_eq!(list(&world)[1]["state"], "aborted");
}

#[test]
fn a_plan_for_nobody_or_for_hosts_that_are_there_already_is_refused_in_plain_words() {
    let world = world();
    let plan = |more: &[&str]| world.in_fleet(&[&["rollout", "plan", "--to"], more].concat());
    for (arguments, words) in [
        (&["prod", "--hosts", "all"][..], &["all of them follow `prod` already", "--except remote:prod"][..]),
        (&["next", "--hosts", "db-*"], &["`db-*` matches no host", "hint: "]),
        (&["next", "--hosts", "db-1"], &["`db-1` matches no host", "npc-publish status"]),
        (&["next", "--hosts", "remote:canary"], &["`remote:canary` matches no host", "there are: prod"]),
        (&["next", "--hosts", "group:eu"], &["`group:eu` matches no host", "no release that hosts follow records any"]),
        (&["next", "--hosts", "all", "--except", "db-1"], &["`db-1` matches no host"]),
        (&["next", "--hosts", "all", "--except", "web-*"], &["nothing is left that is not excepted"]),
    ] {
        let ended = plan(arguments).fails(2, words);
        assert_eq!(ended.data, "", "{arguments:?}");
    }
    Absent::following("web-3", "next").reports(&world);
    plan(&["next", "--hosts", "all"]).fails(2, &["1 of 3 follow `next` already: web-3", "--except remote:next"]);
    let planned = plan(&["next", "--hosts", "all", "--except", "remote:next", "--waves", "100%"]).works();
    assert_eq!(planned, "wave 1  2 of 2  web-1 web-2\n");
    let planned = plan(&["next", "--hosts", "web-1", "web-2", "--waves", "1,100%", "--json"]).works();
    let planned: Value = serde_json::from_str(&planned).expect("JSON");
    let names = planned["waves"].as_array().expect("waves").iter().map(|wave| &wave[0]["assignment"]);
    assert_eq!(names.collect::<Vec<_>>(), ["web-1", "web-2"]);
    let begun = ["rollout", "start", "--to", "next", "--hosts", "web-1", "--dry-run"];
    assert_eq!(world.in_fleet(&begun).works(), "wave 1  1 of 1  web-1\n");
    for folder in ["assignments", "rollouts"] {
        assert!(!world.path("store").join(folder).exists(), "a plan wrote to {folder}");
    }
}
