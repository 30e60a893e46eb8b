//! What an agent shows, whom it tells, what it asks of a host before and after a change, and what becomes of failing disks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use npc_tests::eventually;
use npc_tests::parts::tool;
use npc_tests::process::Ended;
use npc_tests::world::{Agent, Kind, World};

/// An agent whose command leaves a trace, with these settings besides.
fn agent<'world>(world: &'world World, settings: &str) -> Agent<'world> {
    let agent = world.command_agent("web-1", "echo \"$NPC_ACTION $NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n");
    let path = agent.path("agent.toml");
    let text = fs::read_to_string(&path).expect("read");
    fs::write(path, format!("{text}{settings}\n")).expect("written");
    agent
}

fn trace(agent: &Agent<'_>) -> String {
    fs::read_to_string(agent.path("trace")).unwrap_or_default()
}

/// A second release, which every host has to apply.
fn publish_another(world: &World) {
    world.edit("another release\n");
    world.publish();
}

fn figures(socket: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: npc\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Some(answer)
}

#[test]
fn figures_are_served_on_a_socket() {
    let mut world = World::new(&Kind::Served);
    world.publish();
    let socket = world.path("figures.sock");
    let home = {
        let agent = agent(&world, &format!("[metrics]\nlisten = \"unix:{}\"", socket.display()));
        agent.path("")
    };
    let has = |line: &str| figures(&socket).is_some_and(|page| page.lines().any(|found| found.starts_with(line)));
    let settings = home.join("agent.toml");
    let mut command = world.command("npc-agent");
    command.args(["run", "--config"]).arg(settings).arg("--state").arg(home.join("state"));
    let _running = npc_tests::process::Background::start(&mut command, &home.join("agent.log"));
    eventually("the release is committed", || has("npc_serial{remote=\"prod\"} 1").then_some(()));
    for line in [
        "npc_phase{phase=\"steady\"} 1",
        "npc_polls_total{result=\"answered\"} ",
        "npc_outcomes_total{outcome=\"committed\",error=\"\"} 1",
        "npc_quarantined_systems 0",
        "npc_reboot_needed 0",
        "npc_last_poll_timestamp_seconds 1",
        "npc_last_change_timestamp_seconds 1",
        "npc_poll_seconds_count ",
    ] {
        assert!(has(line), "{line}: {:?}", figures(&socket));
    }
    world.server().take().expect("a server").kill();
    eventually("the outage is counted", || has("npc_polls_total{result=\"unavailable\"} ").then_some(()));
}

#[test]
fn the_operators_own_programs_are_told() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let told = world.path("told");
    let hook = |line: &str| format!("[\"sh\", \"-c\", \"echo {line} >> {}\"]", told.display());
    let hooks = format!(
        "[hooks]\ncommitted = {}\nrolled_back = {}",
        hook("$NPC_OUTCOME $NPC_REMOTE $NPC_SERIAL $NPC_CONFIGURATION"),
        hook("$NPC_OUTCOME $NPC_SERIAL $NPC_ERROR")
    );
    let agent = agent(&world, &hooks);
    agent.once().works();
    fs::write(agent.path("apply"), "[ \"$NPC_ACTION\" = roll-back ]\n").expect("written");
    publish_another(&world);
    agent.once().fails(5, &["could not apply"]);
    assert_eq!(fs::read_to_string(told).expect("told"), "committed prod 1 web-1\nrolled-back 2 activation-failed\n");
}

#[test]
fn health_checks_are_those_of_the_host_and_compared_with_before() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let (well, description) = (world.path("well"), world.path("host.json"));
    let check = format!(
        r#"{{"healthChecks": {{"well": {{"type": "command", "command": ["test", "-e", "{}"], "interval": 1, "retries": 0}}}}}}"#,
        well.display()
    );
    fs::write(&description, check).expect("written");
    let agent = agent(&world, &format!("host_file = \"{}\"", description.display()));
    agent.once().works();
    let outcome = |agent: &Agent<'_>| agent.journal().expect("a journal")["outcomes"][0]["message"].to_string();
    assert!(outcome(&agent).contains("`well` fails as before"), "{}", outcome(&agent));
    fs::write(&well, "").expect("written");
    let script = format!("[ \"$NPC_ACTION\" = roll-back ] && touch {0} || rm {0}\n", well.display());
    fs::write(agent.path("apply"), script).expect("written");
    publish_another(&world);
    agent.once().fails(5, &["health check `well`"]);
    assert_eq!(agent.outcome().as_deref(), Some("rolled-back health-check-failed"));
    assert_eq!(agent.committed(), Some(1));
    fs::write(&description, "no description").expect("written");
    fs::write(agent.path("apply"), "true\n").expect("written");
    world.edit("a third release\n");
    world.publish();
    agent.once().fails(5, &["is not in order"]);
    assert_eq!(agent.outcome().as_deref(), Some("rolled-back health-checks-unreadable"));
}

#[test]
fn what_has_no_room_is_not_begun() {
    let world = World::new(&Kind::Directory);
    world.publish();
    for (setting, kind) in
        [("free_in_store", "no-space-in-store"), ("free_in_boot", "no-space-in-boot"), ("free_memory", "no-memory")]
    {
        let agent = agent(&world, &format!("[build]\n{setting} = 1000000000"));
        agent.run(&["retry"]).works();
        agent.once().fails(5, &["are asked for"]);
        assert_eq!(agent.outcome(), Some(format!("failed {kind}")));
        assert_eq!(trace(&agent), "");
    }
}

#[test]
fn what_failed_is_tried_again_when_the_operator_says_so() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = agent(&world, "");
    let _running = agent.start();
    agent.commits(1);
    fs::write(agent.path("apply"), "[ \"$NPC_ACTION\" = roll-back ]\n").expect("written");
    publish_another(&world);
    eventually("it is given up", || (agent.outcome()? == "rolled-back activation-failed").then_some(()));
    fs::write(agent.path("apply"), "true\n").expect("written");
    assert!(agent.run(&["retry"]).works().contains("at once"));
    agent.commits(2);
    assert!(agent.journal().expect("a journal").get("quarantine").is_none());
}

/// The agent, with one of its calls of the kernel failing.
fn once_with_fault(agent: &Agent<'_>, strace: &Path, call: &str, error: &str, number: u32) -> Ended {
    let plain = agent.command();
    let mut command = Command::new(strace);
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
    command.arg(format!("inject={call}:error={error}:when={number}"));
    command.arg(plain.get_program()).args(["run", "--once"]);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ended::of(&mut command)
}

/// Each write of the journal, and of what else the agent remembers, fails once, in both of the ways in which disks do. The host is
/// assigned together with what it is to do, so that its assignment is one of them.
#[test]
fn a_disk_that_fails_at_any_write_leaves_a_host_that_goes_on() {
    let Some(strace) = tool("strace") else { return };
    let mut failures = 0;
    for (call, error) in [("fsync", "EIO"), ("rename", "ENOSPC")] {
        for number in 1..=20 {
            let world = World::new(&Kind::Directory);
            world.publish();
            let agent = agent(&world, "");
            agent.once().works();
            publish_another(&world);
            world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
            let ended = once_with_fault(&agent, &strace, call, error, number);
            failures += u32::from(ended.code != Some(0));
            let committed = agent.committed();
            assert!(committed == Some(1) || committed == Some(2), "{call} {number}: {ended:?}");
            // A write that failed after the file had its name is one that happened: such an attempt is gone back on first.
            let again = [(); 2].map(|()| {
                agent.run(&["retry"]).works();
                agent.once()
            });
            assert_eq!(agent.committed(), Some(2), "{call} {number}: {ended:?} {again:?}");
            let applied = trace(&agent);
            assert!(applied.ends_with("activate 2\n"), "{call} {number}: {applied}");
            assert!(agent.run(&["status"]).works().contains("by assignment web-1@"), "{call} {number}");
        }
    }
    assert!(failures >= 8, "only {failures} of the faults were met");
}
