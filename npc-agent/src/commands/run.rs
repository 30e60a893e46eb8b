//! `npc-agent run`: follows the remote.

use std::path::Path;

use npc_core::store::{self, Options};

use crate::activation::{CommandPlatform, NixOs, Platform};
use crate::clock::SystemClock;
use crate::driver::{Driver, Parts, Signals};
use crate::failure::Failure;
use crate::machine::Journal;
use crate::poll::{Names, Pace, Poller};
use crate::settings::{Activation, Settings};
use crate::state::{Instance, Local, Lock, Replay, StateDirectory};
use crate::supervisor::Supervisor;

pub(super) fn run(config: &Path, state: &Path, once: bool) -> Result<(), Failure> {
    let settings = Settings::read(config)?;
    let state = StateDirectory::create(state)?;
    let _lock = Lock::take(&state)?;
    state.remove_leftovers();
    let (replay, instance) = Replay::open(&state, &settings)?;
    let journal = state.recover_journal()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // File work is rare and short: two threads, gone soon after, keep the agent small.
        .max_blocking_threads(2)
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .build()
        .map_err(Failure::other)?;
    let (timeout, committed) = (settings.activation_timeout, journal.committed.clone());
    match settings.activation.clone() {
        Activation::NixOs { root, profile } => {
            let platform = NixOs::new(root, profile, state.clone(), timeout, settings.build_timeout)?;
            runtime.block_on(drive(&settings, state, replay, &instance, journal, platform, once))
        }
        Activation::Command(command) => {
            let platform = CommandPlatform::new(command, state.clone(), timeout, committed);
            runtime.block_on(drive(&settings, state, replay, &instance, journal, platform, once))
        }
    }
}

async fn drive<P: Platform>(
    settings: &Settings,
    state: StateDirectory,
    replay: Replay,
    instance: &Instance,
    journal: Journal,
    platform: P,
    once: bool,
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::other)?;
    let local = Local::read(&state)?;
    let store = store::open(&settings.store, Options::default()).await.map_err(Failure::usage)?;
    let following = local.following(&settings.following);
    tracing::info!(instance = instance.id(), store = %settings.store, remote = %following.remote, "npc-agent begins");
    let names = match settings.activation {
        Activation::NixOs { .. } => Names::Configuration,
        Activation::Command(_) => Names::Anything,
    };
    let pace = Pace::every(settings.poll_interval);
    let poller = Poller::new(store, settings.anchor.clone(), following, names, pace);
    let (configured, clock) = (settings.following.clone(), Box::new(SystemClock));
    let supervisor = Supervisor::default();
    if let Some(interval) = Supervisor::watchdog_interval() {
        tokio::spawn(give_signs_of_life(interval));
    }
    let probation = settings.probation;
    let parts = Parts { state, replay, journal, local, configured, poller, platform, probation, clock, supervisor };
    let mut driver = Driver::new(parts);
    if once { driver.run_once(&mut signals).await } else { driver.run(&mut signals).await }
}

/// Runs on the agent's only thread: a reactor that hangs gives no signs of life.
async fn give_signs_of_life(interval: std::time::Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        Supervisor::alive();
    }
}
