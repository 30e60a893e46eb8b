//! Attempts in the middle of which something happens that nobody had in mind.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use npc_tests::eventually;
use npc_tests::parts::Nix;
use npc_tests::process::Background;
use npc_tests::world::{Agent, Kind, World};
use rustix::process::Signal;

/// A NixOS host that runs the first release, with these settings; probations take a while.
fn host<'world>(world: &'world World, nix: &Nix, settings: &str) -> Agent<'world> {
    world.publish();
    let agent = world.agent("web-2", nix);
    agent.once().works();
    let path = agent.path("agent.toml");
    let text = fs::read_to_string(&path).expect("read").replace("settle = 0", "settle = 3");
    fs::write(path, format!("{text}{settings}\n")).expect("written");
    agent
}

/// Publishes another release, and starts an agent that gets as far as its probation.
fn is_in_probation(world: &World, agent: &Agent<'_>) -> Background {
    world.edit("another release\n");
    world.publish();
    let running = agent.start();
    eventually("probation", || (agent.journal()?["phase"] == "probation").then_some(()));
    running
}

/// Has the profile name a system of somebody else's.
fn set_profile_by_hand(world: &World, agent: &Agent<'_>) -> PathBuf {
    let system = world.path("by-hand");
    fs::create_dir(&system).expect("created");
    fs::remove_file(agent.profile()).expect("removed");
    symlink(&system, agent.profile()).expect("linked");
    fs::canonicalize(system).expect("a path")
}

#[test]
fn a_boot_default_that_is_set_by_hand_in_probation_stays_and_so_does_what_proved_itself() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    let agent = host(&world, &nix, "");
    let first = agent.running();
    let running = is_in_probation(&world, &agent);
    let by_hand = set_profile_by_hand(&world, &agent);
    running.stop();
    let _running = agent.start();
    eventually("the human wins", || (agent.outcome()? == "failed changed-by-hand").then_some(()));
    assert_ne!(agent.running(), first, "it proved itself");
    assert_eq!(fs::canonicalize(agent.profile()).expect("a profile"), by_hand);
    assert_eq!(agent.journal().expect("a journal").get("quarantine"), None);
}

#[test]
fn what_fails_probation_is_rolled_back_though_the_boot_default_was_set_by_hand() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    let host_file = world.path("host.json");
    let agent = host(&world, &nix, &format!("[activation]\nhost_file = \"{}\"", host_file.display()));
    let first = agent.running();
    let running = is_in_probation(&world, &agent);
    let by_hand = set_profile_by_hand(&world, &agent);
    running.stop();
    let check = r#"{"healthChecks": {"web": {"type": "command", "command": ["false"], "retries": 0}}}"#;
    fs::write(host_file, check).expect("written");
    let _running = agent.start();
    eventually("a verdict", || (agent.outcome()? == "failed changed-by-hand").then_some(()));
    let journal = agent.journal().expect("a journal");
    assert_eq!(journal["outcomes"][1]["error"], "health-check-failed", "{journal:#}");
    assert_eq!(agent.running(), first);
    assert_eq!(fs::canonicalize(agent.profile()).expect("a profile"), by_hand);
}

/// An agent that is killed before it has told the operator's program anything, or before it has noted that it did.
#[test]
fn a_hook_is_run_by_the_next_agent_where_the_one_before_may_not_have() {
    for (place, runs) in [("before-run-hook", 1), ("after-run-hook", 2)] {
        let world = World::new(&Kind::Directory);
        world.publish();
        let agent = world.command_agent("web-1", "true");
        let told = agent.path("told");
        let path = agent.path("agent.toml");
        let script = format!("echo \"$NPC_OUTCOME $NPC_SERIAL\" >> {}", told.display());
        let hooks = format!("\n[hooks]\ncommitted = [\"sh\", \"-c\", {script:?}]\n");
        fs::write(&path, fs::read_to_string(&path).expect("read") + &hooks).expect("written");
        let mut command = agent.command();
        command.args(["run", "--once"]).env("NPC_FAIL_AT", place);
        assert_eq!(command.status().expect("it ran").signal(), Some(Signal::KILL.as_raw()), "{place}");
        agent.once().works();
        assert_eq!(fs::read_to_string(&told).expect("told"), "committed 1\n".repeat(runs), "{place}");
        agent.once().works();
        assert_eq!(fs::read_to_string(&told).expect("told"), "committed 1\n".repeat(runs), "and not again");
    }
}
