//! Twenty real agents in one process, on pretended hosts: what they ask of the store, and when.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use npc_tests::agents::{Agents, Answered, Class, Figures, Served, Verb, name};
use npc_tests::parts::program;
use npc_tests::process::for_a_while;
use npc_tests::world::{Kind, World};

const HOSTS: usize = 20;

/// The host on which nothing new can be activated.
const FAILING: usize = 7;

/// What the agents poll in, in seconds: the shortest that an assignment may ask for.
const INTERVAL: u64 = 10;

/// A world whose hosts are assigned, with one release.
fn world() -> World {
    let world = World::new(&Kind::Directory);
    world.publish();
    let names: Vec<_> = (1..=HOSTS).map(name).collect();
    let mut repoint = vec!["repoint", "--remote", "prod", "--configuration", "web-1"];
    repoint.extend(names.iter().map(String::as_str));
    world.in_fleet(&repoint).works();
    world
}

fn program_of_agents() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_fleet-of-agents"))
}

/// Agents that have all begun in the same moment, and run the first release.
fn begin(world: &World, served: &Served) -> Agents {
    let settings = format!(
        "{}\nremote = \"prod\"\nconfiguration = \"web-1\"\npoll_interval = {INTERVAL}\n[probation]\nsettle = 0\n",
        served.settings(world)
    );
    fs::write(world.path("agents.toml"), settings).expect("written");
    fs::create_dir(world.path("agents")).expect("created");
    let mut command = Command::new(program_of_agents());
    command.arg(world.path("agents.toml")).arg(world.path("agents")).arg(HOSTS.to_string());
    command.args(["--activating", "10", "--failing", &name(FAILING), "--at-most", "100"]);
    let mut agents = Agents::start(&mut command, &world.path("agents.log"));
    assert_eq!(agents.settle(1).run, HOSTS);
    agents
}

/// Publishes another release, and waits until it runs everywhere but where it fails.
fn follow_another(world: &World, agents: &mut Agents) -> f64 {
    world.edit("Welcome to the second release.\n");
    world.publish();
    let settled = agents.settle(2);
    assert_eq!((settled.run, settled.failed.iter().copied().collect::<Vec<_>>()), (HOSTS - 1, vec![FAILING]));
    settled.seconds
}

/// Nobody asked twice within a second, and nobody was left out, nor ended badly.
fn ends_well(agents: Agents, figures: &[&Figures]) {
    for figures in figures {
        assert_eq!((figures.polls.hosts, figures.polls.failed), (HOSTS, 0), "{figures:?}");
        assert!(figures.polls.shortest_pause.is_none_or(|pause| pause >= 1000.0), "{figures:?}");
        let failed = figures.requests.iter().filter(|requests| requests.answered == Answered::Failed);
        assert_eq!(failed.count(), 0, "{figures:?}");
    }
    let (_, status) = agents.end();
    assert!(status.success(), "{status}");
}

#[test]
fn agents_that_begin_together_poll_apart_with_two_requests_each() {
    let world = world();
    let served = Served::start(&program("npc-publish"), &world, HOSTS, &["--longest-wait", "0"]);
    let mut agents = begin(&world, &served);
    let begun = agents.phase("apart");
    assert_eq!(begun.polls.hosts, HOSTS, "they begin at once: {begun:?}");
    assert_eq!(begun.count(Verb::Write, Some(Class::Archive)), 0);
    follow_another(&world, &mut agents);
    let apart = agents.phase("unchanged");
    // An interval's polls lie in ten seconds: twelve of twenty in one would be chance once in two million times.
    assert!(apart.polls.spread.busiest < 12, "{apart:?}");
    // Longer than the longest pause, of one and a half intervals; some hosts ask twice meanwhile.
    for_a_while(Duration::from_secs(INTERVAL * 3 / 2 + 3));
    let unchanged = agents.phase("end");
    assert_eq!(unchanged.polls.most_requests_of_unchanged, Some(2), "{unchanged:?}");
    assert!(unchanged.polls.spread.busiest < 12, "{unchanged:?}");
    let reads = [Class::Assignment, Class::Remote].map(|class| unchanged.count(Verb::Read, Some(class)));
    assert_eq!(reads.iter().sum::<usize>(), unchanged.count(Verb::Read, None), "nothing else is read: {unchanged:?}");
    ends_well(agents, &[&apart, &unchanged]);
}

#[test]
fn agents_that_a_release_wakes_together_wait_apart_with_three_requests_each() {
    let world = world();
    let served = Served::start(&program("npc-publish"), &world, HOSTS, &[]);
    let mut agents = begin(&world, &served);
    let seconds = follow_another(&world, &mut agents);
    assert!(seconds < 7.0, "every host was woken, and did not take its interval: {seconds} s");
    // Once it runs, all ask together once more, and then wait.
    for_a_while(Duration::from_secs(4));
    agents.phase("apart");
    // Two waits, each at most as long as the interval, and the pause behind them.
    for_a_while(Duration::from_secs(2 * INTERVAL + 3));
    let apart = agents.phase("end");
    assert_eq!(apart.polls.most_requests_of_unchanged, Some(3), "{apart:?}");
    assert!(apart.polls.spread.busiest < 17, "they ask in step: {apart:?}");
    ends_well(agents, &[&apart]);
}
