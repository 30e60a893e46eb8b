//! Rollouts: hosts are brought to a release in waves, each once the one before is well.

use std::fs;
use std::process::Stdio;

use npc_tests::eventually;
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Agent, Kind, World};
use rustix::process::Signal;
use serde_json::Value;

const HOSTS: [&str; 4] = ["a-1", "a-2", "b-1", "b-2"];

/// Says what it is told to run; fails where a file says so, unless the release says that it is mended.
const APPLY: &str = "here=$(dirname \"$0\")\n\
    echo \"$NPC_REMOTE@$NPC_SERIAL\" >> \"$here/trace\"\n\
    test ! -e \"$here/fails\" || grep -q -e mended -e first modules/motd.txt || exit 3\n";

/// Hosts that follow `prod`, and have reported.
struct Story {
    world: World,
}

impl Story {
    fn new(kind: &Kind) -> Self {
        let world = World::new(kind);
        world.edit("the first\n");
        world.publish();
        Self { world }
    }

    fn agents(&self) -> [Agent<'_>; 4] {
        HOSTS.map(|name| self.world.command_agent(name, APPLY))
    }

    /// Agents at work, all of which have been assigned and run the first release.
    fn begun(&self) -> ([Agent<'_>; 4], [Background; 4]) {
        let agents = self.agents();
        let running = agents.each_ref().map(Agent::start);
        for agent in &agents {
            agent.commits(1);
        }
        eventually("all have reported", || {
            (self.world.in_fleet(&["status"]).words.contains("4 hosts: 4 current")).then_some(())
        });
        (agents, running)
    }

    fn publish(&self, remote: &str, words: &str) {
        self.world.edit(words);
        self.world.in_fleet(&["--remote", remote]).works();
    }

    fn start(&self, more: &[&str]) -> Ended {
        let start = ["rollout", "start", "--to", "next", "--hosts", "all", "--waves", "1,50%,100%", "--soak", "1s"];
        self.world.in_fleet(&[&start, more].concat())
    }

    /// Begins a rollout in the background.
    fn starts(&self, more: &[&str]) -> Background {
        let start = ["rollout", "start", "--to", "next", "--hosts", "all", "--waves", "1,50%,100%"];
        self.operator(&[&start, more].concat())
    }

    fn operator(&self, arguments: &[&str]) -> Background {
        let mut command = self.world.command("npc-publish");
        command.args(arguments).current_dir(self.world.path("fleet")).stdin(Stdio::null());
        Background::start(&mut command, &self.world.path(&format!("{}.log", arguments[1])))
    }

    fn status(&self) -> Value {
        let ended = self.world.in_fleet(&["rollout", "status", "next-1", "--json"]);
        assert!([Some(0), Some(7)].contains(&ended.code), "{ended:?}");
        serde_json::from_str(&ended.data).expect("JSON")
    }

    /// How far a host has got.
    fn reached(&self, host: &str) -> String {
        let status = self.status();
        let mut members =
            status["waves"].as_array().expect("waves").iter().flat_map(|wave| wave.as_array().expect("members"));
        let member = members.find(|member| member["assignment"] == host).expect("a member");
        member["reached"].as_str().expect("a word").to_owned()
    }
}

fn trace(agent: &Agent<'_>) -> Vec<String> {
    fs::read_to_string(agent.path("trace")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The remote that each host obeys by its assignment.
fn follows(agent: &Agent<'_>) -> String {
    agent.status()["follows"]["remote"].as_str().expect("a remote").to_owned()
}

#[test]
fn a_rollout_goes_wave_by_wave_and_is_finished_without_anybody_building_anew() {
    let story = Story::new(&Kind::Directory);
    let (agents, _running) = story.begun();
    story.publish("next", "the second\n");
    let planned =
        story.world.in_fleet(&["rollout", "plan", "--to", "next", "--hosts", "all", "--waves", "1,50%,100%"]).works();
    assert_eq!(planned, "wave 1  1 of 4  a-1\nwave 2  2 of 4  a-2\nwave 3  4 of 4  b-1 b-2\n");
    assert!(!story.world.path("store/rollouts").exists(), "nothing was written");
    let said = story.start(&[]).works();
    let lines: Vec<_> = said.lines().collect();
    let place = |line: &str| {
        lines.iter().position(|said| said.starts_with(line)).unwrap_or_else(|| panic!("no `{line}` in {said}"))
    };
    let order = [
        "a-1: its own settings -> next@1 a-1, wave 1 of next-1",
        "wave 1/3: a-1 done",
        "wave 1/3 of next-1 is done",
        "a-2: its own settings -> next@1 a-2, wave 2 of next-1",
        "wave 2/3: a-2 done",
        "b-1: its own settings -> next@1 b-1, wave 3 of next-1",
        "wave 3/3 of next-1 is done",
    ];
    assert!(order.map(place).is_sorted(), "{said}");
    for agent in &agents {
        assert_eq!(trace(agent), ["prod@1", "next@1"]);
    }
    let status = story.status();
    assert_eq!(
        (&status["state"], &status["complete"], &status["driver"]),
        (&"running".into(), &true.into(), &Value::Null)
    );
    story
        .world
        .in_fleet(&["repoint", "b-2", "--remote", "prod"])
        .fails(2, &["`b-2` is in wave 3 of rollout `next-1`", "--force"]);
    story.world.in_fleet(&["rollout", "finish"]).fails(2, &["nobody is there to be asked", "--yes"]);
    let finished = story.world.in_fleet(&["rollout", "finish", "--yes"]);
    assert!(finished.words.contains("rollout `next-1` is finished: its hosts follow prod"), "{finished:?}");
    for agent in &agents {
        eventually("it follows prod again", || (follows(agent) == "prod").then_some(()));
        agent.commits(2);
        assert_eq!(trace(agent), ["prod@1", "next@1"], "nobody built anything anew");
    }
    assert_eq!(story.status()["state"], "finished");
    story.world.in_fleet(&["rollout", "resume", "next-1"]).fails(2, &["is finished"]);
    story.world.in_fleet(&["rollout", "status"]).fails(2, &["no rollout is under way"]);
    story.world.in_fleet(&["repoint", "b-2", "--remote", "prod"]).works();
}

#[test]
fn a_host_that_fails_halts_the_rollout_and_a_mended_release_begins_at_the_first_wave() {
    let story = Story::new(&Kind::Directory);
    let (agents, _running) = story.begun();
    fs::write(agents[1].path("fails"), "").expect("written");
    story.publish("next", "the second\n");
    story.start(&[]).fails(7, &["rollout `next-1` is halted: a-2: activation-failed", "rollout resume"]);
    for agent in &agents[2..] {
        assert_eq!(trace(agent), ["prod@1"], "the rest is left alone");
    }
    assert_eq!(agents[1].committed(), Some(1), "it went back");
    assert_eq!(story.status()["state"], "halted");
    story.world.in_fleet(&["rollout", "resume"]).fails(7, &["is halted: a-2: activation-failed"]);
    story.publish("next", "the second, mended\n");
    for agent in &agents[..1] {
        assert_eq!(trace(agent), ["prod@1", "next@1"], "a later release reaches nobody by itself");
    }
    let said = story.world.in_fleet(&["rollout", "resume"]);
    assert!(said.words.contains("next@2 is new: from the first wave on"), "{said:?}");
    assert!(said.works().contains("a-1: next@1 a-1, wave 1 of next-1 -> next@2 a-1, wave 1 of next-1"));
    assert_eq!(trace(&agents[0]), ["prod@1", "next@1", "next@2"]);
    assert_eq!(trace(&agents[3]), ["prod@1", "next@2"]);
    story.world.in_fleet(&["rollout", "finish", "--yes"]).works();
    for agent in &agents {
        eventually("it follows prod again", || (follows(agent) == "prod").then_some(()));
    }
}

#[test]
fn a_host_that_fails_takes_all_back_where_that_was_asked_for() {
    let story = Story::new(&Kind::Directory);
    let (agents, _running) = story.begun();
    fs::write(agents[1].path("fails"), "").expect("written");
    story.publish("next", "the second\n");
    story.start(&["--on-failure", "revert"]).fails(7, &["rollout `next-1` is reverted: a-2: activation-failed"]);
    eventually("the first is back", || (trace(&agents[0]) == ["prod@1", "next@1", "prod@1"]).then_some(()));
    for agent in &agents[2..] {
        assert_eq!(trace(agent), ["prod@1"]);
    }
    story.world.in_fleet(&["rollout", "status"]).fails(2, &["no rollout is under way"]);
}

#[test]
fn a_host_may_fail_where_so_many_may() {
    let story = Story::new(&Kind::Directory);
    let (agents, _running) = story.begun();
    fs::write(agents[1].path("fails"), "").expect("written");
    story.publish("next", "the second\n");
    story.start(&["--max-failed", "1"]).works();
    assert_eq!(story.reached("a-2"), "failed");
    assert_eq!(trace(&agents[3]), ["prod@1", "next@1"]);
    assert_eq!(story.world.in_fleet(&["rollout", "status"]).code, Some(7), "somebody has to see to it");
}

#[test]
fn a_rollout_is_paused_and_resumed_from_elsewhere_and_only_one_drives_it() {
    let story = Story::new(&Kind::Directory);
    let (agents, _running) = story.begun();
    story.publish("next", "the second\n");
    let mut driver = story.starts(&["--soak", "15s"]);
    eventually("the first is told", || (trace(&agents[0]).len() == 2).then_some(()));
    story.world.in_fleet(&["rollout", "resume"]).fails(5, &["drives rollout `next-1`", "rollout watch"]);
    story.world.in_fleet(&["rollout", "pause"]).works();
    assert_eq!(driver.wait().code(), Some(5), "{}", driver.words());
    assert!(driver.words().contains("rollout `next-1` is paused: another operator has said so"), "{}", driver.words());
    assert_eq!(trace(&agents[1]), ["prod@1"]);
    story.world.in_fleet(&["rollout", "watch"]).fails(5, &["rollout `next-1` is paused"]);
    let _driver = story.operator(&["rollout", "resume"]);
    eventually("the second is told", || (trace(&agents[1]).len() == 2).then_some(()));
    let watched = story.world.in_fleet(&["rollout", "watch"]).works();
    assert!(watched.contains("wave 3/3 of next-1 is done"), "{watched}");
}

#[test]
fn a_driver_that_is_interrupted_says_that_it_is_gone_and_a_newer_release_waits_for_those_who_want_the_pinned_one() {
    let story = Story::new(&Kind::Directory);
    let (agents, _running) = story.begun();
    story.publish("next", "the second\n");
    let mut driver = story.starts(&["--soak", "2s"]);
    eventually("the first is told", || (trace(&agents[0]).len() == 2).then_some(()));
    driver.signal(Signal::INT);
    assert_eq!(driver.wait().code(), Some(130), "{}", driver.words());
    assert!(driver.words().contains("`npc-publish rollout resume next-1` goes on with it"), "{}", driver.words());
    assert_eq!(story.status()["driver"], Value::Null);
    story.publish("next", "the third\n");
    let mut watching = story.operator(&["rollout", "watch"]);
    let alone = "nobody drives it: `npc-publish rollout resume next-1` goes on with it";
    eventually("whoever watches knows it", || watching.data().contains(alone).then_some(()));
    story.world.in_fleet(&["rollout", "resume", "--same-release"]).works();
    assert!(watching.wait().success(), "{}", watching.words());
    for agent in &agents {
        assert_eq!(trace(agent), ["prod@1", "next@1"]);
    }
}

#[test]
fn a_rollout_is_aborted_with_its_hosts_where_they_are_or_where_they_were() {
    let story = Story::new(&Kind::Directory);
    let (agents, _running) = story.begun();
    story.publish("next", "the second\n");
    let mut driver = story.starts(&["--soak", "1h"]);
    eventually("the first is told", || (trace(&agents[0]).len() == 2).then_some(()));
    story.world.in_fleet(&["repoint", "b-2", "--remote", "next"]).fails(2, &["`b-2` is in wave 3 of rollout `next-1`"]);
    let another = ["rollout", "start", "--to", "next", "--hosts", "b-*"];
    story.world.in_fleet(&another).fails(2, &["`b-1` is in wave 3 of rollout `next-1`"]);
    let forced = ["repoint", "b-2", "--remote", "prod", "--force"];
    assert!(story.world.in_fleet(&forced).works().contains("b-2: "));
    assert_eq!(story.reached("b-2"), "left", "the driver does not take it back");
    story.world.in_fleet(&["--remote", "canary"]).works();
    for remote in ["canary", "prod"] {
        story.world.in_fleet(&["repoint", "b-2", "--remote", remote]).works();
        assert_eq!(story.reached("b-2"), "left", "wherever it is led next");
    }
    story.world.in_fleet(&["rollout", "abort"]).works();
    assert_eq!(driver.wait().code(), Some(5), "{}", driver.words());
    let assigned = story.world.in_fleet(&["hosts", "--json"]).works();
    let assigned: Value = serde_json::from_str(&assigned).expect("JSON");
    let says = &assigned[0]["assignment"];
    assert_eq!((&says["remote"], &says["pin"]["serial"], &says["rollout"]), (&"next".into(), &1.into(), &Value::Null));
    story.world.in_fleet(&["repoint", "a-1", "--remote", "prod"]).works();
    eventually("the first is back", || (trace(&agents[0]).len() == 3).then_some(()));
    let mut driver = story.starts(&["--soak", "1h"]);
    eventually("the first is told again", || (trace(&agents[0]).len() == 4).then_some(()));
    story.world.in_fleet(&["rollout", "abort", "--revert"]).works();
    assert_eq!(driver.wait().code(), Some(5), "{}", driver.words());
    eventually("the first is back", || (follows(&agents[0]) == "prod").then_some(()));
    assert_eq!(trace(&agents[1]), ["prod@1"]);
}

#[test]
fn mistakes_are_told_before_anybody_is() {
    let story = Story::new(&Kind::Directory);
    let (_agents, _running) = story.begun();
    let start = |more: &[&str]| story.world.in_fleet(&[&["rollout", "start", "--to"], more].concat());
    start(&["next", "--hosts", "all"]).fails(2, &["there is no remote `next`"]);
    start(&["prod", "--hosts", "all"]).fails(2, &["all of them follow `prod` already"]);
    story.publish("next", "the second\n");
    start(&["next", "--hosts", "c-*"]).fails(2, &["`c-*` matches no host"]);
    start(&["next", "--hosts", "all", "--waves", "1,50%"]).fails(2, &["the last of --waves is not 100%"]);
    start(&["next", "--hosts", "all", "--waves", "0,100%"]).fails(2, &["neither a number of hosts"]);
    story.world.in_fleet(&["repoint", "b-1", "--remote", "next"]).works();
    eventually("it has gone there", || {
        story.world.in_fleet(&["status", "remote:next"]).words.contains("1 current").then_some(())
    });
    start(&["next", "--hosts", "all"]).fails(2, &["1 of 4 follow `next` already: b-1", "--except remote:next"]);
    story.world.in_fleet(&["repoint", "b-1", "--remote", "prod"]).works();
    story.world.in_fleet(&["hosts", "pause", "b-1"]).works();
    start(&["next", "--hosts", "all"]).fails(2, &["`b-1` is paused", "hosts resume b-1"]);
    story.world.in_fleet(&["rollout", "finish"]).fails(2, &["no rollout is under way"]);
    story.world.in_fleet(&["rollout", "status", "spring"]).fails(2, &["there is no rollout `spring`"]);
    assert!(!story.world.path("store/rollouts").exists(), "nothing was written");
}
