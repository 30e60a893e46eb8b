//! Agents whose releases, stores, builds or own processes fail, and what becomes of the host.

use std::fs;
use std::process::Command;
use std::time::Duration;

use npc_tests::eventually;
use npc_tests::parts::Nix;
use npc_tests::process::{Ended, for_a_while};
use npc_tests::proxy::Proxy;
use npc_tests::world::{Agent, Kind, World, socket_of};
use rustix::process::Signal;

#[test]
fn a_failed_activation_re_activates_the_system_before_and_is_not_tried_again() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    let (agent, _running) = world.first_release("web-2", &nix);
    let good = agent.running().expect("a system runs");
    let boot = agent.boot_default();
    world.break_activation("web-2");
    world.publish();
    eventually("the agent gives up", || (agent.outcome()? == "rolled-back activation-failed").then_some(()));
    assert_eq!(agent.running(), Some(good), "the system before runs");
    assert_eq!(agent.boot_default(), boot, "the boot default was never touched");
    let status = agent.run(&["status"]).works();
    assert!(status.contains("activation.fail"), "the end of the log is shown: {status}");
    let activations = agent.activations();
    world.in_fleet(&["--remote", "prod", "--record"]).works();
    eventually("the agent sees the third release", || (agent.outcome()? == "refused quarantined").then_some(()));
    assert_eq!(agent.activations(), activations, "the broken system is not activated again");
    assert!(agent.run(&["run", "--once"]).words.contains("another agent"), "one agent at a time");
}

#[test]
fn run_once_says_how_it_ended() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    let agent = world.agent("web-2", &nix);
    agent.once().fails(3, &["remotes/prod.json"]);
    world.publish();
    agent.once().works();
    assert_eq!(agent.committed(), Some(1));
    agent.once().works();
    world.break_activation("web-2");
    world.publish();
    agent.once().fails(5, &["could not activate", "hint: `npc-agent status`"]);
    fs::write(world.path("fleet/hosts/web-2.nix"), "not Nix").expect("written");
    world.publish();
    agent.once().fails(5, &["could not build"]);
}

#[test]
fn a_paused_host_waits_and_a_resumed_one_catches_up() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    let (agent, _running) = world.first_release("web-1", &nix);
    assert!(agent.run(&["pause", "--for", "1h"]).works().contains("at once"));
    world.edit("while paused\n");
    world.publish();
    eventually("the release is seen", || (agent.journal()?["phase"] == "fetched").then_some(()));
    for_a_while(Duration::from_secs(2));
    assert_eq!(agent.committed(), Some(1));
    assert_eq!(agent.status()["paused"], true);
    agent.run(&["resume"]).works();
    agent.commits(2);
    agent.run(&["pause", "--for", "1s"]).works();
    world.edit("while paused for a second\n");
    world.publish();
    agent.commits(3);
    agent.run(&["pause", "--for", "0s"]).fails(2, &["above zero"]);
}

/// An agent whose command waits in the middle for as long as there is a file called `hold`, and leaves a trace.
fn held_up(world: &World) -> Agent<'_> {
    let script = "cd \"$(dirname \"$0\")\"\necho \"$NPC_ACTION $NPC_SERIAL begins\" >> trace\n\
                  while [ -e hold ]; do sleep 0.02; done\necho \"$NPC_ACTION $NPC_SERIAL ends\" >> trace\n";
    world.command_agent("web-1", script)
}

/// Publishes a second release, and ends the agent in the middle of its activation.
fn end_in_the_middle(world: &World, agent: &Agent<'_>, signal: Signal) {
    agent.once().works();
    fs::write(agent.path("hold"), "").expect("written");
    world.edit("the second release\n");
    world.publish();
    let mut running = agent.start();
    let trace = || fs::read_to_string(agent.path("trace")).unwrap_or_default();
    eventually("the activation begins", || trace().contains("activate 2 begins").then_some(()));
    running.signal(signal);
    running.wait();
    assert_eq!(agent.journal().expect("a journal")["phase"], "activating");
}

const BOTH: &str = "activate 1 begins\nactivate 1 ends\nactivate 2 begins\nactivate 2 ends\n";

/// Whatever ends the agent does not end what it has begun, and the next agent waits for that and goes on.
#[test]
fn an_activation_survives_the_agents_end_and_the_next_agent_goes_on() {
    for signal in [Signal::TERM, Signal::KILL] {
        let world = World::new(&Kind::Served);
        world.publish();
        let agent = held_up(&world);
        end_in_the_middle(&world, &agent, signal);
        let running = agent.start();
        for_a_while(Duration::from_millis(500));
        assert_eq!(agent.journal().expect("a journal")["phase"], "activating", "it is waited for");
        fs::remove_file(agent.path("hold")).expect("removed");
        agent.commits(2);
        assert_eq!(fs::read_to_string(agent.path("trace")).expect("a trace"), BOTH, "it ran once");
        running.stop();
    }
}

#[test]
fn an_activation_that_ended_while_no_agent_ran_is_judged_by_what_it_left_behind() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = held_up(&world);
    end_in_the_middle(&world, &agent, Signal::KILL);
    fs::remove_file(agent.path("hold")).expect("removed");
    let trace = || fs::read_to_string(agent.path("trace")).unwrap_or_default();
    eventually("it ends by itself", || (trace() == BOTH).then_some(()));
    agent.once().works();
    assert_eq!(agent.committed(), Some(2));
    assert_eq!(trace(), BOTH, "it ran once");
}

/// An agent whose store can be cut off, and whose command waits where it is told to.
fn behind_a_proxy<'world>(world: &'world World, proxy: &Proxy) -> Agent<'world> {
    let script = "cd \"$(dirname \"$0\")\"\ntouch \"began-$NPC_ACTION\"\n\
                  while [ -e \"hold-$NPC_ACTION\" ]; do sleep 0.02; done\n";
    let agent = world.command_agent("web-1", script);
    let settings = fs::read_to_string(agent.path("agent.toml")).expect("read");
    let through = settings.replace(&world.url().to_string(), &format!("http://{}/", proxy.address()));
    let impatient = through.replace("store = 10", "store = 1");
    assert_ne!(impatient, through, "the patience is in the settings");
    fs::write(agent.path("agent.toml"), impatient).expect("written");
    agent
}

fn proxy_to(world: &World) -> Proxy {
    let url = world.url().to_string();
    Proxy::start(socket_of(url.trim_end_matches('/'))).expect("a proxy")
}

/// Publishes a second release, and cuts the store off while it is being activated.
fn cut_off_while_activating(world: &World, agent: &Agent<'_>, proxy: &Proxy) {
    fs::remove_file(agent.path("began-activate")).expect("it ran");
    fs::write(agent.path("hold-activate"), "").expect("written");
    world.edit("the second release\n");
    world.publish();
    eventually("it is being activated", || agent.path("began-activate").exists().then_some(()));
    proxy.go_down();
    fs::remove_file(agent.path("hold-activate")).expect("removed");
}

#[test]
fn a_release_that_cuts_the_host_off_is_rolled_back_and_quarantined() {
    let world = World::new(&Kind::Served);
    let proxy = proxy_to(&world);
    world.publish();
    let agent = behind_a_proxy(&world, &proxy);
    let _running = agent.start();
    agent.commits(1);
    fs::write(agent.path("hold-roll-back"), "").expect("written");
    cut_off_while_activating(&world, &agent, &proxy);
    eventually("it is rolled back", || agent.path("began-roll-back").exists().then_some(()));
    // Under the system before, the store answers again.
    proxy.come_back();
    fs::remove_file(agent.path("hold-roll-back")).expect("removed");
    eventually("the verdict", || (agent.outcome()? == "rolled-back store-unreachable").then_some(()));
    assert_eq!(agent.committed(), Some(1));
    assert_eq!(agent.journal().expect("a journal")["quarantine"].as_object().map(serde_json::Map::len), Some(1));
}

#[test]
fn a_store_that_goes_down_by_itself_during_an_activation_is_not_the_releases_fault() {
    let world = World::new(&Kind::Served);
    let proxy = proxy_to(&world);
    world.publish();
    let agent = behind_a_proxy(&world, &proxy);
    let _running = agent.start();
    agent.commits(1);
    cut_off_while_activating(&world, &agent, &proxy);
    eventually("the verdict", || (agent.outcome()? == "rolled-back store-unreachable").then_some(()));
    let journal = agent.journal().expect("a journal");
    assert_eq!(journal.get("quarantine"), None, "it will be tried again");
    assert_eq!(journal["phase"], "verified");
    assert_eq!(agent.committed(), Some(1));
}

#[test]
fn trouble_with_the_store_is_in_the_status_until_it_ends() {
    let mut world = World::new(&Kind::Served);
    world.publish();
    let home = {
        let agent = world.command_agent("web-1", "true");
        agent.once().works();
        agent.path("")
    };
    world.server().take().expect("a server").kill();
    let agent = world.command_agent("web-1", "true");
    agent.once().fails(3, &["cannot read `assignments/web-1.json`"]);
    assert!(agent.run(&["status"]).works().contains("trouble  since"));
    world.serve_again();
    let agent = world.command_agent("web-1", "true");
    agent.once().works();
    assert!(!agent.run(&["status"]).works().contains("trouble"), "{}", home.display());
}

/// What the store holds after a garbage collection.
fn collect_garbage(agent: &Agent<'_>) {
    let mut command = Command::new("nix-store");
    for (name, value) in agent.command().get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ended::of(command.arg("--gc")).works();
}

#[test]
fn the_systems_to_run_and_to_go_back_to_outlive_garbage_collection() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.agent("web-2", &nix);
    agent.once().works();
    let first = agent.running().expect("a system runs");
    world.edit("the second release\n");
    world.publish();
    agent.once().works();
    let second = agent.running().expect("a system runs");
    assert_ne!(first, second);
    collect_garbage(&agent);
    assert!(first.exists(), "the system before can be gone back to");
    assert!(second.exists(), "the system that runs stays");
    world.break_activation("web-2");
    world.publish();
    agent.once().fails(5, &["could not activate"]);
    collect_garbage(&agent);
    assert_eq!(agent.running().as_ref(), Some(&second));
    assert!(second.join("bin/switch-to-configuration").exists());
}

/// A Nix that takes its time, and says that it has begun.
fn slow_nix(world: &World) -> Nix {
    let programs = world.path("slow-nix");
    fs::create_dir_all(&programs).expect("created");
    let script = format!("#!/bin/sh\ntouch {}\nsleep 1000\n", world.path("building").display());
    fs::write(programs.join("nix"), script).expect("written");
    fs::set_permissions(programs.join("nix"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    Nix { programs }
}

#[test]
fn sigterm_ends_building_at_once_and_nothing_is_activated() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = world.agent("web-1", &slow_nix(&world));
    let mut running = agent.start();
    eventually("the build begins", || world.path("building").exists().then_some(()));
    let begun = std::time::Instant::now();
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(agent.journal().expect("a journal")["phase"], "verified");
    assert!(agent.activations().is_empty());
}

/// A Nix that says when it begins to build, and waits until it may.
fn waiting_nix(world: &World, nix: &Nix) -> Nix {
    let wrapper = slow_nix(world);
    let script = format!(
        "#!/bin/sh\ntouch {0}\nwhile [ ! -e {1} ]; do sleep 0.05; done\nexec {2}/nix \"$@\"\n",
        world.path("building").display(),
        world.path("go").display(),
        nix.programs.display()
    );
    fs::write(wrapper.programs.join("nix"), script).expect("written");
    wrapper
}

#[test]
fn a_pause_during_a_build_is_heeded_before_anything_is_activated() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = world.agent("web-1", &waiting_nix(&world, &nix));
    let _running = agent.start();
    eventually("the build begins", || world.path("building").exists().then_some(()));
    agent.run(&["pause"]).works();
    fs::write(world.path("go"), "").expect("written");
    eventually("the build ends", || (agent.journal()?["phase"] == "built").then_some(()));
    for_a_while(Duration::from_secs(1));
    assert!(agent.activations().is_empty());
    agent.run(&["resume"]).works();
    agent.commits(1);
}

/// Has the host be repointed while it builds, or while it is off in the middle of that.
fn repoint_during_a_build(is_off: bool) {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    world.publish();
    world.edit("for canaries\n");
    world.in_fleet(&["--remote", "canary"]).works();
    let agent = world.agent("web-1", &waiting_nix(&world, &nix));
    let mut running = Some(agent.start());
    eventually("the build begins", || world.path("building").exists().then_some(()));
    if is_off {
        running.take().expect("it runs").kill();
    }
    world.in_fleet(&["repoint", "web-1", "--remote", "canary"]).works();
    fs::write(world.path("go"), "").expect("written");
    let _running = running.unwrap_or_else(|| agent.start());
    agent.commits(1);
    let journal = agent.journal().expect("a journal");
    assert_eq!(journal["committed"]["target"]["remote"], "canary");
    assert_eq!(agent.message(), "for canaries\n");
    assert_eq!(
        journal["outcomes"].as_array().expect("outcomes").len(),
        1,
        "nothing else was ever activated: {journal:#}"
    );
}

#[test]
fn a_host_that_is_repointed_during_a_build_does_not_activate_what_it_left() {
    repoint_during_a_build(false);
}

#[test]
fn a_host_that_is_repointed_while_it_is_off_does_not_go_on_with_what_it_left() {
    repoint_during_a_build(true);
}

#[test]
fn sigterm_ends_waiting_at_once() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let mut running = agent.start();
    agent.commits(1);
    let begun = std::time::Instant::now();
    running.signal(Signal::TERM);
    assert!(running.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_second_agent_is_refused() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let running = agent.start();
    agent.commits(1);
    agent.once().fails(6, &["another agent is at work", "hint:"]);
    running.stop();
}

#[test]
fn a_host_that_lost_its_memory_against_replay_believes_nothing_until_it_is_assigned_by_its_new_installation() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    agent.once().works();
    let installation = |agent: &Agent<'_>| agent.status()["instance"].as_str().expect("an id").to_owned();
    let before = installation(&agent);
    for copy in ["replay.json", "replay.copy.json"] {
        fs::write(agent.path("state").join(copy), "damaged").expect("written");
    }
    world.edit("after the loss\n");
    world.publish();
    agent.once().fails(7, &["state-lost", "hint:"]);
    let now = installation(&agent);
    assert_ne!(now, before, "what was said to the old installation is not said to this one");
    let running = agent.start();
    let report = world.path("store/reports/web-1.json");
    eventually("it is reported", || {
        let bytes = fs::read(&report).ok()?;
        let envelope = npc_core::envelope::Envelope::parse(&bytes).expect("an envelope");
        let payload: serde_json::Value = serde_json::from_slice(envelope.payload()).expect("JSON");
        (payload["trouble"]["kind"] == "state-lost" && payload["instance"] == now).then_some(())
    });
    assert!(agent.run(&["status"]).works().contains(&now));
    world.in_fleet(&["repoint", "web-1", "--remote", "prod", "--instance", &before]).works();
    for_a_while(Duration::from_secs(3));
    assert_eq!(agent.committed(), Some(1), "that was the old one's");
    world.in_fleet(&["repoint", "web-1", "--remote", "prod", "--instance", &now]).works();
    agent.commits(2);
    running.stop();
    assert_eq!(installation(&agent), now);
    agent.once().works();
    assert!(!agent.run(&["status"]).works().contains("state-lost"));
}

#[test]
fn a_damaged_journal_does_not_stop_the_agent() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    agent.once().works();
    fs::write(agent.path("state/journal.json"), "{").expect("written");
    agent.once().works();
    assert_eq!(agent.committed(), Some(1));
}
