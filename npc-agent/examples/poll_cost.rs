//! Runs the agent's own loop and store client without pauses between polls, and prints what they cost.
//!
//! `cargo xtask bench poll` runs it, optimised, once per store; by hand:
//! `poll_cost CONFIG STATE POLLS`, with the configuration of an agent. What it prints are the seconds of CPU and the process's
//! memory in KiB, as Linux accounts for them in `/proc/self`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use npc_agent::activation::Platform;
use npc_agent::clock::SystemClock;
use npc_agent::dead_man::DeadMan;
use npc_agent::driver::{Driver, Parts, Signals};
use npc_agent::health::Probation;
use npc_agent::machine::{Attempt, Baseline, Built, Ended, Failed, Found, Policy, Target};
use npc_agent::poll::{Initial, Names, Pace, Poller, Told};
use npc_agent::settings::{Hooks, Settings};
use npc_agent::state::{Local, Replay, StateDirectory};
use npc_agent::supervisor::Supervisor;
use npc_core::layout::ObjectKey;
use npc_core::store::{
    Answer, Content, ETag, Listed, Opened, Options, Precondition, Read, Store, StoreError, StoreUrl, open,
};
use rustix::process::{Signal, getpid, kill_process};

/// Polls before the counting begins: connecting, walking the trust, adopting the release.
const WARM_UP: u64 = 20;

/// A store that counts its reads, and ends the agent after so many.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Store>,
    reads: AtomicU64,
    polls: u64,
    begun: std::sync::OnceLock<f64>,
}

#[async_trait]
impl Store for Counting {
    fn url(&self) -> &StoreUrl {
        self.inner.url()
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        let answer = self.inner.read(key, read).await;
        // A poll asks for the assignment first, and ends with this.
        if !key.as_str().starts_with("remotes/") {
            return answer;
        }
        match self.reads.fetch_add(1, Ordering::Relaxed) + 1 {
            WARM_UP => drop(self.begun.set(cpu_seconds())),
            reads if reads == WARM_UP + self.polls => kill_process(getpid(), Signal::TERM).expect("it is there"),
            _ => {}
        }
        answer
    }

    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        self.inner.open(key, start, version).await
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        self.inner.write(key, content, precondition).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix).await
    }
}

/// A host on which every activation succeeds at once.
struct Pretend;

#[async_trait(?Send)]
impl Platform for Pretend {
    async fn look(&self, _: Option<&Attempt>) -> Found {
        Found::default()
    }

    fn check_room(&self) -> Result<(), Failed> {
        Ok(())
    }

    async fn build(&self, _: &Target, flake: &Path) -> Result<Built, Failed> {
        Ok(flake.to_owned().into())
    }

    async fn survey(&self, _: &Path) -> Result<Baseline, Failed> {
        Ok(Baseline::default())
    }

    async fn activate(&self, _: &Attempt) -> Ended {
        Ended::Well
    }

    async fn commit(&self, _: &Attempt) -> Result<(), Failed> {
        Ok(())
    }

    async fn roll_back(&self, _: &Attempt, _: bool) -> Result<Option<Failed>, Failed> {
        Ok(None)
    }

    async fn reboot(&self, _: bool) -> Result<(), Failed> {
        Ok(())
    }

    fn dead_man(&self) -> Option<&DeadMan> {
        None
    }

    fn host_file(&self) -> Option<PathBuf> {
        None
    }
}

/// User and system time so far, of all threads: the sum of `/proc/self/task/*/schedstat`, in nanoseconds there.
fn cpu_seconds() -> f64 {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let text = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    let nanoseconds: u64 = text.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum();
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// A line of `/proc/self/status`, in KiB.
fn memory(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()).unwrap_or("0").to_owned()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, config, state, polls] = &arguments[..] else { panic!("usage: poll_cost CONFIG STATE POLLS") };
    let settings = Settings::read(Path::new(config), "web-1").expect("a configuration");
    let state = StateDirectory::create(Path::new(state)).expect("a state directory");
    let (replay, _) = Replay::open(&state, &settings).expect("a memory");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(2).thread_keep_alive(Duration::from_secs(1)).build();
    runtime.expect("a runtime").block_on(async {
        let inner = open(&settings.store, Options::default()).await.expect("a store");
        let (reads, begun, polls) = (AtomicU64::new(0), std::sync::OnceLock::new(), polls.parse().expect("a number"));
        let store = Arc::new(Counting { inner, reads, polls, begun });
        let pace = Pace { interval: Duration::ZERO, shortest: Duration::ZERO };
        let configured = settings.following.clone();
        let told = Told::open(&state, &replay.floors, settings.assignment.clone(), configured.clone(), Initial::None);
        let poller = Poller::new(store.clone(), settings.anchor.clone(), told, Names::Anything, pace);
        let journal = state.recover_journal().expect("a journal");
        let parts = Parts {
            state,
            replay,
            recovered: None,
            journal: journal.unwrap_or_default(),
            instance: String::new(),
            local: Local::default(),
            configured,
            policy: Policy::default(),
            poller,
            platform: Pretend,
            probation: Probation { settle: Duration::ZERO, ..settings.probation },
            keep: settings.keep,
            hooks: Hooks::default(),
            metrics: Rc::default(),
            clock: Box::new(SystemClock),
            supervisor: Supervisor::default(),
            reporter: None,
        };
        let mut signals = Signals::listen().expect("signals");
        Driver::new(parts).run(&mut signals).await.expect("the agent runs");
        let cpu = cpu_seconds() - store.begun.get().expect("more polls than the warm-up takes");
        println!("cpu {cpu:.6}");
        println!("peak {}", memory("VmHWM"));
        println!("resident {}", memory("VmRSS"));
        println!("anonymous {}", memory("RssAnon"));
    });
}
