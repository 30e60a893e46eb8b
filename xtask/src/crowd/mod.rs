//! `cargo xtask bench crowd`: what very many agents ask of a store, when they ask, and what that costs on S3.

mod costs;
mod store;
mod table;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use npc_tests::agents::{Agents, Figures, Settled, Verb, name};
use npc_tests::parts::{ACCESS_KEY, SECRET_KEY};
use npc_tests::world::World;

use self::costs::print_costs;
use self::store::StoreAtWork;
use self::table::print_tables;
use crate::Outcome;
use crate::shell::{announce, build_programs, cargo, command, run, target_directory};
use crate::tools;

/// How long between two polls of an agent, on the average, in seconds: a quarter of the default, so that the whole takes
/// minutes. What a poll asks does not depend on it.
const INTERVAL: u32 = 15;

/// How long everything is left alone.
const STEADY: Duration = Duration::from_mins(1);

/// How long the store is away.
const AWAY: Duration = Duration::from_secs(20);

/// The waves of the rollout, and how long each must be well.
const WAVES: &str = "1,10%,50%,100%";
const SOAK: &str = "10s";

/// How many names a command line takes without trouble.
const NAMES_AT_ONCE: usize = 1000;

/// What was measured with one store.
struct Measured {
    store: &'static str,
    /// The agents begin, all in the same moment, and take in the first release.
    begin: Figures,
    first_settled: Settled,
    /// Two intervals after that.
    apart: Figures,
    /// Nothing happens.
    steady: Figures,
    /// A release is published and taken in.
    release: Figures,
    next_settled: Settled,
    /// Two intervals after that.
    after_release: Figures,
    /// The store is away.
    away: Figures,
    /// Two intervals after its return.
    back: Figures,
    /// A release goes to all of them in waves.
    rollout: Figures,
    /// The hosts go back to the remote that they came from, which has it now.
    finish: Figures,
}

impl Measured {
    /// What a poll reads that finds nothing new, on the average.
    fn reads_of_a_poll(&self) -> f64 {
        number(self.steady.count(Verb::Read, None)) / number(self.steady.polls.count)
    }

    /// How often a host polls in an interval, on the average.
    fn polls_in_an_interval(&self) -> f64 {
        number(self.steady.polls.count) / number(self.steady.hosts) / self.steady.seconds * f64::from(INTERVAL)
    }

    /// What a host reads because of a release, beside its polls.
    fn reads_of_a_release(&self) -> f64 {
        let beside = |figures: &Figures| {
            number(figures.count(Verb::Read, None)) - number(figures.polls.count) * self.reads_of_a_poll()
        };
        (beside(&self.release) + beside(&self.after_release)) / number(self.release.hosts)
    }

    /// What a host writes because of a release: no heartbeat is due meanwhile.
    fn writes_of_a_release(&self) -> f64 {
        let writes = [&self.release, &self.after_release].map(|figures| figures.count(Verb::Write, None));
        number(writes.iter().sum()) / number(self.release.hosts)
    }
}

/// Runs so many agents against Garage and against the embedded server.
pub(crate) fn crowd(hosts: usize) -> Outcome {
    announce("building the programs, optimised");
    build_programs("dev")?;
    // At once, so that what they have in common is built with the same features, once.
    let packages = ["-p", "npc-publish", "-p", "npc-agent", "-p", "npc-tests"];
    let bins = ["--bin", "npc-publish", "--bin", "fleet-of-agents"];
    run(command(&cargo(), &[&["build", "--quiet", "--release"], &packages[..], &bins].concat()))?;
    let programs = target_directory().join("release");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let garage = StoreAtWork::garage(&tools::garage()?, folder.path())?;
    let garage = measure(garage, &programs, hosts)?;
    let served = measure(StoreAtWork::served(&programs, hosts), &programs, hosts)?;
    print_tables(&[&garage, &served], hosts);
    print_costs(&garage);
    Ok(())
}

fn measure((world, mut store): (World, StoreAtWork), programs: &Path, hosts: usize) -> Result<Measured, String> {
    announce(&format!("{hosts} agents and {}", store.name()));
    publish(&world, programs, "Welcome.\n")?;
    assign(&world, programs, hosts)?;
    let two_intervals = Duration::from_secs(2 * u64::from(INTERVAL));
    let mut agents = start(&world, &store, programs, hosts)?;
    agents.phase("begin");
    let first_settled = agents.settle(1);
    let begin = agents.phase("apart");
    let apart = lasting(&mut agents, two_intervals, "steady");
    let steady = lasting(&mut agents, STEADY, "release");
    publish(&world, programs, "Welcome to the second release.\n")?;
    let next_settled = agents.settle(2);
    let release = agents.phase("after the release");
    let after_release = lasting(&mut agents, two_intervals, "away");
    store.stop();
    let away = lasting(&mut agents, AWAY, "back");
    store.start_again();
    let back = lasting(&mut agents, two_intervals, "rollout");
    roll_out(&world, programs)?;
    let rollout = agents.phase("finish");
    operate(&world, programs, &["rollout", "finish", "--yes"])?;
    let finish = agents.phase("end");
    let (_, status) = agents.end();
    if !status.success() {
        return Err(format!("the agents ended with {status}"));
    }
    Ok(Measured {
        store: store.name(),
        begin,
        first_settled,
        apart,
        steady,
        release,
        next_settled,
        after_release,
        away,
        back,
        rollout,
        finish,
    })
}

/// Leaves the agents alone for so long. Gives the figures of that, and begins what comes `next`.
fn lasting(agents: &mut Agents, time: Duration, next: &str) -> Figures {
    thread::sleep(time);
    agents.phase(next)
}

fn start(world: &World, store: &StoreAtWork, programs: &Path, hosts: usize) -> Result<Agents, String> {
    let settings = format!(
        "{}\nremote = \"prod\"\nconfiguration = \"web-1\"\npoll_interval = {INTERVAL}\n[probation]\nsettle = 5\n",
        store.settings(world)
    );
    let (file, states) = (world.path("agents.toml"), world.path("agents"));
    std::fs::write(&file, settings).and_then(|()| std::fs::create_dir(&states)).map_err(|error| error.to_string())?;
    let mut program = Command::new(programs.join("fleet-of-agents"));
    program.arg(file).arg(states).arg(hosts.to_string());
    program.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    program.env("HOME", world.path("home"));
    Ok(Agents::start(&mut program, &world.path("agents.log")))
}

fn publish(world: &World, programs: &Path, words: &str) -> Outcome {
    world.edit(words);
    operate(world, programs, &["--remote", "prod"])
}

/// Brings another release to all hosts in waves. It fails unless every one of them is well for long enough.
fn roll_out(world: &World, programs: &Path) -> Outcome {
    world.edit("Welcome to the third release.\n");
    operate(world, programs, &["--remote", "next"])?;
    let start = ["rollout", "start", "--to", "next", "--hosts", "all", "--waves", WAVES, "--soak", SOAK];
    operate(world, programs, &start)
}

/// Assigns every host to the remote that it follows.
fn assign(world: &World, programs: &Path, hosts: usize) -> Outcome {
    let names: Vec<_> = (1..=hosts).map(name).collect();
    names.chunks(NAMES_AT_ONCE).try_for_each(|names| {
        let mut repoint = vec!["repoint", "--remote", "prod", "--configuration", "web-1"];
        repoint.extend(names.iter().map(String::as_str));
        operate(world, programs, &repoint)
    })
}

/// Runs the optimised `npc-publish`, as the world's operator.
fn operate(world: &World, programs: &Path, arguments: &[&str]) -> Outcome {
    let named = world.command("npc-publish");
    let mut command = Command::new(programs.join("npc-publish"));
    command.envs(named.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = command.args(arguments).current_dir(world.path("fleet")).output().map_err(|error| error.to_string())?;
    if ended.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ended.stderr).into_owned()) }
}

/// Counts here stay far below 4 thousand million.
fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
