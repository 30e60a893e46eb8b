//! Runs very many agents on pretended hosts in one process, and tells what they ask of the store.
//!
//! `fleet-of-agents SETTINGS FOLDER HOSTS`, where SETTINGS is the configuration file of an agent, with `{host}` in place of its
//! host's name, and FOLDER takes the state directories. What it is told on stdin and says on stdout is
//! [`npc_tests::agents::Order`] and [`npc_tests::agents::Said`], one a line as JSON. It ends with its stdin, at SIGTERM, or
//! after `--at-most` seconds.

#![expect(clippy::print_stderr, reason = "a program that fails says why")]

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use npc_agent::driver::Signals;
use npc_agent::failure::Failure;
use npc_tests::agents::{Figures, Fleet, Ledger, Order, Said, Settled, settled};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
use tokio::task::LocalSet;

/// How often to look how far the agents are.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Parser)]
struct Arguments {
    /// The settings of each agent
    settings: PathBuf,
    /// Where each agent has its state directory
    folder: PathBuf,
    /// How many hosts
    hosts: usize,
    /// How long activating takes, in milliseconds
    #[arg(long, default_value_t = 100)]
    activating: u64,
    /// Hosts on which no second system can be activated, with commas between
    #[arg(long, value_delimiter = ',')]
    failing: Vec<String>,
    /// How many threads share the agents
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// End after so many seconds in any case
    #[arg(long, default_value_t = 600)]
    at_most: u64,
}

/// The agents at work.
struct AtWork {
    fleet: Arc<Fleet>,
    hosts: usize,
    /// What happens now, and since when.
    phase: (String, Duration),
    deadline: Instant,
}

impl AtWork {
    /// Does what it is told until nobody tells it anything any more.
    fn obey(&mut self, orders: impl Iterator<Item = io::Result<String>>) -> Result<(), String> {
        for line in orders {
            let line = line.map_err(|error| error.to_string())?;
            match serde_json::from_str(&line).map_err(|error| format!("`{line}`: {error}"))? {
                Order::Phase(next) => say(&Said::Figures(Box::new(self.begin_phase(next))))?,
                Order::Await(serial) => say(&Said::Settled(self.settle(serial)?))?,
            }
        }
        Ok(())
    }

    /// Begins another phase, and gives the figures of the one before.
    fn begin_phase(&mut self, next: String) -> Figures {
        let now = self.fleet.ledger.now();
        let (phase, since) = std::mem::replace(&mut self.phase, (next, now));
        Figures::of(&phase, self.hosts, &self.fleet.ledger, since, now)
    }

    fn settle(&self, serial: u64) -> Result<Settled, String> {
        let begun = Instant::now();
        let states: Vec<_> = (1..=self.hosts).map(|number| (number, self.fleet.state(number))).collect();
        loop {
            let found = settled(states.iter().map(|(number, state)| (*number, state.as_path())), serial);
            if found.hosts() == self.hosts {
                return Ok(Settled { seconds: begun.elapsed().as_secs_f64(), ..found });
            }
            if Instant::now() > self.deadline {
                return Err(format!("only {} of {} agents are done with release {serial}", found.hosts(), self.hosts));
            }
            thread::sleep(LOOK);
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("fleet-of-agents: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    allow_many_files().map_err(|error| format!("cannot open many files: {error}"))?;
    let settings = std::fs::read_to_string(&arguments.settings).map_err(|error| error.to_string())?;
    let fleet = Arc::new(Fleet {
        settings,
        folder: arguments.folder.clone(),
        activating: Duration::from_millis(arguments.activating),
        failing: BTreeSet::from_iter(arguments.failing.clone()),
        ledger: Arc::new(Ledger::default()),
    });
    let threads = arguments.threads.clamp(1, arguments.hosts.max(1));
    // The agents begin together, when the last of them is made.
    let start = Arc::new(Barrier::new(threads + 1));
    let at_work: Vec<_> = (0..threads)
        .map(|first| {
            let numbers: Vec<_> = (1..=arguments.hosts).skip(first).step_by(threads).collect();
            let (fleet, start) = (Arc::clone(&fleet), Arc::clone(&start));
            thread::spawn(move || run_agents(&fleet, &numbers, &start))
        })
        .collect();
    start.wait();
    say(&Said::Begun(arguments.hosts))?;
    end_after(Duration::from_secs(arguments.at_most));
    let phase = ("begin".to_owned(), fleet.ledger.now());
    let deadline = Instant::now() + Duration::from_secs(arguments.at_most);
    let told = AtWork { fleet, hosts: arguments.hosts, phase, deadline };
    // It may wait for orders for ever, when a signal has ended the agents.
    thread::spawn(|| obey_and_end(told));
    at_work.into_iter().map(join).fold(Ok(()), Result::and)
}

fn obey_and_end(mut told: AtWork) {
    let obeyed = told.obey(io::stdin().lock().lines());
    let last = Said::Figures(Box::new(told.begin_phase("end".to_owned())));
    if let Err(reason) = obeyed.and_then(|()| say(&last)).and_then(|()| end_agents()) {
        eprintln!("fleet-of-agents: {reason}");
        std::process::exit(1);
    }
}

/// Tells every agent what a service manager would.
fn end_agents() -> Result<(), String> {
    kill_process(getpid(), Signal::TERM).map_err(|error| error.to_string())
}

/// Runs the agents of these hosts on one thread, until a signal ends them.
fn run_agents(fleet: &Fleet, numbers: &[usize], start: &Barrier) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string());
    let agents = runtime.and_then(|runtime| {
        let opened = runtime.block_on(open_all(fleet, numbers)).map_err(reason)?;
        Ok((runtime, opened))
    });
    start.wait();
    let (runtime, agents) = agents?;
    let ended = runtime.block_on(LocalSet::new().run_until(async {
        let running: Vec<_> = agents.into_iter().map(tokio::task::spawn_local).collect();
        for agent in running {
            agent.await.map_err(|error| error.to_string())?.map_err(reason)?;
        }
        Ok(())
    }));
    // Figures of fewer agents than there should be are none.
    ended.or_else(|reason: String| end_agents().and(Err(reason)))
}

async fn open_all(
    fleet: &Fleet,
    numbers: &[usize],
) -> Result<Vec<impl Future<Output = Result<(), Failure>> + use<>>, Failure> {
    let mut agents = Vec::with_capacity(numbers.len());
    for number in numbers {
        let signals = Signals::listen().map_err(Failure::other)?;
        agents.push(fleet.open(*number).await?.run(signals));
    }
    Ok(agents)
}

/// An agent says by itself what is wrong.
fn reason(failure: Failure) -> String {
    failure.report();
    "an agent has failed".to_owned()
}

fn join(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    thread.join().unwrap_or_else(|_| Err("a thread of agents has panicked".to_owned()))
}

/// A thousand agents have a connection each, or two, and a lock.
fn allow_many_files() -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
}

/// Ends the process in any case, whoever still waits for it.
fn end_after(time: Duration) {
    thread::spawn(move || {
        thread::sleep(time);
        eprintln!("fleet-of-agents: the time is over");
        std::process::exit(1);
    });
}

fn say(what: &Said) -> Result<(), String> {
    let line = serde_json::to_string(what).expect("JSON");
    writeln!(io::stdout(), "{line}").map_err(|error| error.to_string())
}
