//! Agents that are killed everywhere: before and after each effect, between the steps of one, twice in a row, in the rescuer.
//!
//! Where that is, the agent itself lists, off its effects: one that no trial here comes by fails the test.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use npc_agent::failpoint;
use npc_tests::eventually;
use npc_tests::parts::Nix;
use npc_tests::process::Background;
use npc_tests::world::{Agent, Kind, World};
use rustix::process::Signal;

/// What a host that runs a good system is told to follow next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    /// A good one with another kernel, after which a reboot is due.
    Good,
    /// One that cannot be activated.
    Broken,
    /// A good one, while the boot loader cannot be installed.
    BootFails,
}

impl Release {
    fn remote(self) -> &'static str {
        match self {
            Self::Good | Self::BootFails => "good",
            Self::Broken => "broken",
        }
    }
}

/// What leads past a place.
fn release_for(place: &str) -> Release {
    let undoes = ["roll-back", "activation-stopped", "previous-activated"];
    if undoes.iter().any(|word| place.ends_with(word)) { Release::Broken } else { Release::Good }
}

/// How long it may take to come by a place that an agent must come by.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long to wait at a place that an agent may never come by.
const LESS_PATIENCE: Duration = Duration::from_secs(4);

/// The limit of a probation whose timer is not to go off, in seconds.
const UNHURRIED: u32 = 300;

/// The limit of one whose timer is.
const HURRIED: u32 = 2;

/// So many trials at a time; they mostly wait.
const AT_ONCE: usize = 3;

/// A world with three releases: `prod`, `good` and `broken`.
fn world(nix: &Nix) -> World {
    let world = World::new(&Kind::Served);
    world.publish();
    world.edit("the next release\n");
    let base = world.path("fleet/modules/base.nix");
    let text = fs::read_to_string(&base).expect("read");
    let other = text.replace("6.6.52", "6.12.1");
    assert_ne!(text, other, "the example names its kernel");
    fs::write(&base, other).expect("written");
    world.in_fleet(&["--remote", "good"]).works();
    world.break_activation("web-2");
    world.in_fleet(&["--remote", "broken"]).works();
    // What all of them begin with is built once.
    world.agent_called("first", "web-2", nix).once().works();
    world
}

/// A host that runs the release of `prod` and is told to follow `release`.
///
/// `limit` is what the timer goes by, in seconds: without systemd, nobody starts an agent again that it has ended.
fn host<'world>(world: &'world World, name: &str, nix: &Nix, release: Release, limit: u32) -> Agent<'world> {
    let agent = world.agent_called(name, "web-2", nix);
    let path = agent.path("agent.toml");
    let settings = fs::read_to_string(&path).expect("read");
    let settings = settings
        + "[activation]\ntimeout = 30\n[reboot]\nwhen = \"when-needed\"\ncommand = [\"false\"]\n\
           [hooks]\ncommitted = [\"true\"]\nrolled_back = [\"true\"]\n";
    fs::write(&path, &settings).expect("written");
    agent.once().works();
    let limited = settings.replace("settle = 0", &format!("settle = 0\nlimit = {limit}"));
    assert_ne!(limited, settings, "the settle time is in the settings");
    fs::write(path, limited).expect("written");
    symlink(agent.running().expect("a system"), agent.path("root/run/booted-system")).expect("linked");
    if release == Release::BootFails {
        let entries = agent.path("root/boot/loader/entries");
        fs::rename(&entries, agent.path("root/boot/loader/kept")).expect("moved");
        fs::write(entries, "in the way").expect("written");
    }
    agent.run(&["set", "--remote", release.remote()]).works();
    agent
}

/// Runs the agent until it is killed at one of these places. Says whether that happened in time.
fn dies_at(agent: &Agent<'_>, places: &str, patience: Duration) -> bool {
    let mut command = agent.command();
    let mut running = Background::start(command.arg("run").env("NPC_FAIL_AT", places), &agent.path("agent.log"));
    let begun = Instant::now();
    while running.runs() {
        if begun.elapsed() > patience {
            running.kill();
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    running.wait().signal() == Some(Signal::KILL.as_raw())
}

/// Nothing is under way any more but waiting: for a pause to end, for a reboot, or for news.
fn is_at_rest(agent: &Agent<'_>) -> bool {
    let Some(journal) = agent.journal() else { return false };
    let has_heard = journal.pointer("/believed/digest") != journal.pointer("/committed/target/digest")
        || journal.pointer("/committed/target/remote").is_some_and(|remote| remote != "prod");
    let is_attempt = journal.get("before").is_some() || journal.get("attempt").is_some();
    has_heard && (journal["phase"] == "steady" || journal.get("back_off").is_some() && !is_attempt)
}

/// Runs the agent until it rests. It is started again whenever it ends, as by any supervisor: it gives way to a rescuer that is
/// at work.
fn comes_to_rest(agent: &Agent<'_>, what: &str) {
    let mut running = agent.start();
    eventually(what, || {
        if !running.runs() {
            running = agent.start();
        }
        is_at_rest(agent).then_some(())
    });
    running.stop();
}

/// The host is in one system, old or new, through and through.
fn assert_whole(agent: &Agent<'_>, release: Release, trial: &str) {
    let journal = agent.journal().expect("a journal");
    let running = agent.running().expect("a system runs");
    let committed =
        journal.pointer("/committed/system").and_then(serde_json::Value::as_str).expect("a committed system");
    assert_eq!(running.to_str(), Some(committed), "{trial}: {journal:#}");
    assert_eq!(fs::canonicalize(agent.profile()).expect("a profile"), running, "{trial}: {journal:#}");
    let entry = match release {
        Release::BootFails => fs::read_to_string(agent.path("root/boot/loader/kept/default")).expect("an entry"),
        _ => agent.boot_default(),
    };
    assert!(entry.contains(committed), "{trial}: {entry} {journal:#}");
    if release != Release::Good {
        let remote = journal.pointer("/committed/target/remote");
        assert!(remote.is_some_and(|remote| remote == "prod"), "{trial}: {journal:#}");
    }
}

/// Kills the agent at each of these places in turn, and has it come to rest. Says whether it came by the first.
fn kill(world: &World, nix: &Nix, name: &str, release: Release, places: &[&str]) -> bool {
    let agent = host(world, name, nix, release, UNHURRIED);
    let (first, others) = places.split_first().expect("a place");
    let died = dies_at(&agent, first, PATIENCE);
    for place in others {
        dies_at(&agent, place, LESS_PATIENCE);
    }
    comes_to_rest(&agent, &format!("{name} comes to rest after {places:?}"));
    assert_whole(&agent, release, &format!("{places:?}"));
    died
}

/// Does something for each item, some at a time.
fn each<T: Sync>(items: &[T], what: impl Fn(usize, &T) + Sync) {
    let next = Mutex::new(0..items.len());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.lock().expect("nobody panics with it").next();
                    let Some(index) = index else { return };
                    what(index, &items[index]);
                }
            });
        }
    });
}

/// Places that only the rescuer comes by.
fn is_the_rescuers(place: &str) -> bool {
    place.starts_with("step-rescue")
}

#[test]
fn an_agent_killed_anywhere_leaves_a_whole_host() {
    let Some(nix) = Nix::find() else { return };
    let world = world(&nix);
    let places: Vec<_> = failpoint::all().into_iter().filter(|place| !is_the_rescuers(place)).collect();
    each(&places, |index, place| {
        let died = kill(&world, &nix, &format!("one-{index}"), release_for(place), &[place]);
        assert!(died, "no trial comes by {place}");
    });
}

/// The second kill is of the agent that picks up after the first.
#[test]
fn an_agent_killed_twice_in_a_row_leaves_a_whole_host() {
    let Some(nix) = Nix::find() else { return };
    let world = world(&nix);
    let first = ["after-arm", "after-activate", "before-prove", "before-commit", "step-profile-set", "after-commit"];
    let second =
        ["before-roll-back", "step-previous-activated", "after-roll-back", "step-profile-set", "before-disarm"];
    let pairs: Vec<_> = first.iter().flat_map(|first| second.map(|second| (*first, second))).collect();
    each(&pairs, |index, (first, second)| {
        let release = if index % 3 == 0 { Release::BootFails } else { Release::Good };
        let died = kill(&world, &nix, &format!("two-{index}"), release, &[first, second]);
        assert!(died, "no trial comes by {first}");
    });
}

/// Nobody starts the agent again, so the timer brings the old system back; and is killed in the middle of that.
#[test]
fn a_rescuer_goes_back_and_one_that_is_killed_leaves_that_to_the_next_agent() {
    let Some(nix) = Nix::find() else { return };
    let world = world(&nix);
    let rescuers: Vec<_> = failpoint::all().into_iter().filter(|place| is_the_rescuers(place)).collect();
    let places: Vec<_> = rescuers.iter().map(String::as_str).chain(["nowhere", "step-previous-activated"]).collect();
    each(&places, |index, place| {
        let agent = host(&world, &format!("rescue-{index}"), &nix, Release::Good, HURRIED);
        let old = agent.running();
        assert!(
            dies_at(&agent, &format!("after-prove,{place}"), PATIENCE),
            "the system is activated, and nobody commits"
        );
        assert_ne!(agent.running(), old);
        let begun = Instant::now();
        eventually(&format!("the rescuer comes by {place}"), || {
            let journal = agent.journal()?;
            let rescued = journal.get("rescued").is_some() || journal.pointer("/phase")? == "rolling-back";
            rescued.then_some(())
        });
        assert!(begun.elapsed() < Duration::from_mins(2), "{:?}", begun.elapsed());
        if *place == "nowhere" {
            eventually("the old system runs", || (agent.running() == old).then_some(()));
        }
        comes_to_rest(&agent, &format!("the next agent ends it after {place}"));
        assert_eq!(agent.running(), old);
        assert_whole(&agent, Release::Broken, place);
        assert_eq!(agent.outcome().as_deref(), Some("rolled-back deadline-passed"), "{place}");
    });
}
