//! `rollout finish`: what must be so before a release is passed on, and where its hosts go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use npc_tests::absent::Absent;
use npc_tests::eventually;
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Agent, Kind, World};
use serde_json::Value;

/// Notes what it is told to run; fails at the second release where a file says so.
const APPLY: &str = "here=$(dirname \"$0\")\n\
    echo \"$NPC_REMOTE@$NPC_SERIAL\" >> \"$here/trace\"\n\
    test ! -e \"$here/fails\" || grep -q first modules/motd.txt || exit 3\n";

/// A fleet with the first release at `prod`.
fn world() -> World {
    let world = World::new(&Kind::Directory);
    world.edit("the first\n");
    world.publish();
    world
}

/// Hosts at work that have reported the first release, after which the second lies at `next`.
fn begun<'world>(world: &'world World, names: &[&str]) -> Vec<(Agent<'world>, Background)> {
    let agents = names.iter().map(|name| world.command_agent(name, APPLY));
    let running: Vec<_> = agents.map(|agent| (agent.start(), agent)).map(|(running, agent)| (agent, running)).collect();
    for (agent, _) in &running {
        agent.commits(1);
    }
    eventually("all have reported", || {
        let summary = format!("{} current", names.len());
        world.in_fleet(&[&["status"], names].concat()).words.contains(&summary).then_some(())
    });
    world.edit("the second\n");
    world.in_fleet(&["--remote", "next"]).works();
    running
}

/// Brings these hosts to `next`, in these waves.
fn start(world: &World, hosts: &[&str], waves: &str, more: &[&str]) -> Ended {
    let (begin, waves) = (["rollout", "start", "--to", "next", "--hosts"], ["--waves", waves, "--soak", "0s"]);
    world.in_fleet(&[&begin, hosts, &waves, more].concat())
}

fn finish(world: &World, more: &[&str]) -> Ended {
    world.in_fleet(&[&["rollout", "finish"], more].concat())
}

fn state(world: &World) -> String {
    let ended = world.in_fleet(&["rollout", "status", "next-1", "--json"]);
    let status: Value = serde_json::from_str(&ended.data).expect("JSON");
    status["state"].as_str().expect("a word").to_owned()
}

/// The newest release of a remote.
fn newest(world: &World, remote: &str) -> u64 {
    let log: Value = serde_json::from_str(&world.in_fleet(&["log", remote, "--json"]).works()).expect("JSON");
    log[0]["serial"].as_u64().expect("a serial")
}

fn comes_to_follow(agent: &Agent<'_>, remote: &str) {
    eventually(&format!("it follows {remote}"), || (agent.status()["follows"]["remote"] == remote).then_some(()));
}

fn trace(agent: &Agent<'_>) -> Vec<String> {
    fs::read_to_string(agent.path("trace")).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn no_release_is_passed_on_to_hosts_that_it_was_not_tried_on_unless_they_may_have_it() {
    let world = world();
    let running = begun(&world, &["a-1"]);
    let (agent, _) = &running[0];
    Absent::following("b-1", "prod").reports(&world);
    start(&world, &["a-1"], "100%", &[]).works();
    let refused = ["hosts that the rollout has not told follow `prod` too: b-1", "--force"];
    finish(&world, &["--yes"]).fails(2, &refused);
    finish(&world, &["--yes", "--to", "prod"]).fails(2, &refused);
    assert_eq!((state(&world).as_str(), newest(&world, "prod")), ("running", 1));
    finish(&world, &["--yes", "--force"]).works();
    assert_eq!((state(&world).as_str(), newest(&world, "prod")), ("finished", 2));
    comes_to_follow(agent, "prod");
    let again = finish(&world, &["next-1", "--yes"]);
    assert!(again.words.contains("rollout `next-1` is finished already"), "{again:?}");
    again.works();
    assert_eq!(newest(&world, "prod"), 2);
}

#[test]
fn hosts_go_to_the_remote_that_is_named_where_nobody_else_follows_it() {
    let world = world();
    let running = begun(&world, &["a-1"]);
    let (agent, _) = &running[0];
    Absent::following("b-1", "prod").reports(&world);
    start(&world, &["a-1"], "100%", &[]).works();
    world.in_fleet(&["rollout", "pause"]).works();
    finish(&world, &["--yes", "--to", "canary"]).fails(2, &["rollout `next-1` is paused", "rollout resume"]);
    assert!(!world.path("store/remotes/canary.json").exists(), "nothing was published");
    world.in_fleet(&["rollout", "resume"]).works();
    let finished = finish(&world, &["--yes", "--to", "canary"]);
    assert!(finished.words.contains("rollout `next-1` is finished: its hosts follow canary"), "{finished:?}");
    finished.works();
    comes_to_follow(agent, "canary");
    assert_eq!((newest(&world, "canary"), newest(&world, "prod")), (1, 1));
    assert_eq!(trace(agent), ["prod@1", "next@1"], "nothing was built anew");
}

#[test]
fn no_release_is_passed_on_while_a_wave_is_not_done() {
    let world = world();
    let running = begun(&world, &["a-1", "a-2"]);
    let mut command = world.command("npc-publish");
    let begin = ["rollout", "start", "--to", "next", "--hosts", "all", "--waves", "1,100%", "--soak", "1h"];
    command.args(begin).current_dir(world.path("fleet")).stdin(Stdio::null());
    let driver = Background::start(&mut command, &world.path("driver.log"));
    eventually("the first is told", || (trace(&running[0].0).len() == 2).then_some(()));
    let refused = ["wave 1 of 2 of `next-1` is not done yet", "rollout watch"];
    finish(&world, &["--yes"]).fails(2, &refused);
    drop(driver);
    finish(&world, &["--yes", "--to", "canary"]).fails(2, &refused);
    assert_eq!((state(&world).as_str(), newest(&world, "prod")), ("running", 1));
    assert!(!world.path("store/remotes/canary.json").exists(), "nothing was published");
}

#[test]
fn no_release_is_passed_on_that_failed_on_too_many() {
    let world = world();
    let running = begun(&world, &["a-1"]);
    fs::write(running[0].0.path("fails"), "").expect("written");
    start(&world, &["a-1"], "100%", &[]).fails(7, &["is halted: a-1: activation-failed"]);
    let refused = ["too many hosts of `next-1` have failed: a-1: activation-failed", "rollout abort"];
    finish(&world, &["--yes"]).fails(7, &refused);
    assert_eq!((state(&world).as_str(), newest(&world, "prod")), ("halted", 1));
    world.in_fleet(&["rollout", "abort"]).works();
    finish(&world, &["next-1", "--yes"]).fails(2, &["rollout `next-1` is aborted"]);
    assert_eq!(newest(&world, "prod"), 1);
}

#[test]
fn hosts_that_came_from_several_remotes_go_to_the_one_that_is_named() {
    let world = world();
    world.in_fleet(&["--remote", "staging"]).works();
    let running = begun(&world, &["a-1", "a-2"]);
    world.in_fleet(&["repoint", "a-2", "--remote", "staging"]).works();
    comes_to_follow(&running[1].0, "staging");
    start(&world, &["all"], "100%", &[]).works();
    finish(&world, &["--yes"]).fails(2, &["the hosts came from several remotes: prod, staging", "--to"]);
    assert_eq!((newest(&world, "prod"), newest(&world, "staging")), (1, 1));
    finish(&world, &["--yes", "--to", "staging"]).works();
    for (agent, _) in &running {
        comes_to_follow(agent, "staging");
    }
    assert_eq!((newest(&world, "prod"), newest(&world, "staging")), (1, 2));
}

/// Everything in a folder, and when it was last changed.
fn everything(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let mut found = vec![(folder.to_owned(), fs::metadata(folder).expect("there").modified().expect("a time"))];
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            found.extend(everything(&path));
        } else {
            let modified = fs::metadata(&path).expect("there").modified().expect("a time");
            found.push((path, modified));
        }
    }
    found.sort();
    found
}

#[test]
fn a_dry_run_says_what_would_be_passed_on_and_writes_nothing_at_all() {
    let world = world();
    let running = begun(&world, &["a-1"]);
    start(&world, &["a-1"], "100%", &[]).works();
    drop(running);
    let note = world.path("home/.cache/npc/conditional-writes");
    fs::remove_dir_all(&note).expect("it was found out before");
    let before = everything(&world.path("store"));
    let shown = finish(&world, &["--dry-run"]);
    assert!(shown.words.contains("prod holds prod@1") && shown.words.contains("M modules/motd.txt"), "{shown:?}");
    assert!(!shown.words.contains("conditional writes"), "nothing is tried out: {shown:?}");
    shown.works();
    let root = world.key_file("npc-root-1");
    finish(&world, &["--dry-run", "--key", root.to_str().expect("plain")]).fails(4, &["to order rollouts takes"]);
    assert_eq!(everything(&world.path("store")), before);
    assert!(!note.exists(), "nothing was found out");
    assert_eq!(state(&world), "running");
}
