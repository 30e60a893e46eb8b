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

/// What becomes of a journal in the middle of an attempt.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Damaged,
    Gone,
}

impl Lost {
    fn befalls(self, agent: &Agent<'_>) {
        let journal = agent.path("state/journal.json");
        match self {
            Self::Damaged => fs::write(journal, "{").expect("written"),
            Self::Gone => fs::remove_file(journal).expect("removed"),
        }
    }
}

#[test]
fn a_probation_goes_on_though_the_journal_is_lost() {
    let Some(nix) = Nix::find() else { return };
    for lost in [Lost::Damaged, Lost::Gone] {
        let world = World::new(&Kind::Served);
        let agent = host(&world, &nix, "");
        is_in_probation(&world, &agent).kill();
        let activations = agent.activations();
        lost.befalls(&agent);
        let _running = agent.start();
        eventually("a new journal", || {
            let text = fs::read_to_string(agent.path("state/journal.json")).ok()?;
            (text != "{").then_some(())
        });
        agent.commits(2);
        let journal = agent.journal().expect("a journal");
        assert_eq!(agent.running().expect("a system").to_str(), journal["committed"]["system"].as_str());
        assert_eq!(agent.activations()[..activations.len()], activations);
        let again = agent.activations()[activations.len()..].iter().any(|line| line.starts_with("test"));
        assert!(!again, "{lost:?}: it was not activated again: {:?}", agent.activations());
    }
}

#[test]
fn the_timer_brings_the_system_before_back_though_the_journal_is_lost() {
    let Some(nix) = Nix::find() else { return };
    for lost in [Lost::Damaged, Lost::Gone] {
        let world = World::new(&Kind::Served);
        let agent = host(&world, &nix, "");
        let path = agent.path("agent.toml");
        let settings = fs::read_to_string(&path).expect("read").replace("store = 10", "store = 10\nlimit = 6");
        assert!(settings.contains("limit"), "{settings}");
        fs::write(path, settings + "[activation]\ntimeout = 10\n").expect("written");
        let first = agent.running();
        is_in_probation(&world, &agent).kill();
        assert_ne!(agent.running(), first);
        lost.befalls(&agent);
        eventually(&format!("{lost:?}: the old system runs"), || (agent.running() == first).then_some(()));
    }
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
        assert_eq!(command.output().expect("it ran").status.signal(), Some(Signal::KILL.as_raw()), "{place}");
        agent.once().works();
        assert_eq!(fs::read_to_string(&told).expect("told"), "committed 1\n".repeat(runs), "{place}");
        agent.once().works();
        assert_eq!(fs::read_to_string(&told).expect("told"), "committed 1\n".repeat(runs), "and not again");
    }
}
