//! `npc-agent run`: follows the remote.

use std::path::Path;
use std::rc::Rc;

use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::{copied, lost, machine_name};
use crate::activation::unit::Units;
use crate::activation::{CommandPlatform, NixOs, Platform};
use crate::assembly::Assembly;
use crate::dead_man::DeadMan;
use crate::driver::{Driver, Signals};
use crate::failure::Failure;
use crate::metrics;
use crate::report::ThisMachine;
use crate::settings::{Activation, Settings};
use crate::stand_in;
use crate::state::{Instance, Lock, Marks, Replay, ReplayError, StateDirectory};
use crate::store;
use crate::supervisor::Supervisor;

pub(super) fn run(config: &Path, state: &Path, once: bool) -> Result<(), Failure> {
    let mut settings = Settings::of_host(config, state, &machine_name(state))?;
    let state = StateDirectory::create(state)?;
    let _lock = Lock::take(&state)?;
    let machine = Marks::of(settings.root());
    if copied::begins_anew(&state, &machine)? {
        settings = Settings::of_host(config, &state.path(""), &state.machine_name())?;
    }
    // For want of room it is kept the next time; whatever is under way goes on.
    if let Err(error) = state.keep_machine_name() {
        tracing::warn!(kind = "state", error = &error as &dyn std::error::Error, "cannot keep the machine's name");
    }
    state.remove_leftovers();
    let opened = Replay::open(&state, &settings);
    Instance::note_machine(&state, &machine);
    runtime()?.block_on(LocalSet::new().run_until(async {
        let opened = match opened {
            Err(ReplayError::Lost) => lost::begin_anew(&settings, &state, once).await?,
            opened => Some(opened?),
        };
        let Some((replay, instance)) = opened else { return Ok(()) };
        let agent = Agent { settings: &settings, state: &state, replay, instance: &instance, once };
        Box::pin(on_platform(&settings, config, &state, agent)).await
    }))
}

/// Everything waits on one thread.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // File work is rare and short: two threads, gone soon after, keep the agent small.
        .max_blocking_threads(2)
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .build()
        .map_err(Failure::other)
}

/// What is done with the host's platform, whichever it is.
pub(super) trait PlatformUse {
    /// Does it.
    async fn with(self, platform: impl Platform) -> Result<(), Failure>;
}

/// Does something with the platform that the settings name.
pub(super) async fn on_platform(
    settings: &Settings,
    config: &Path,
    state: &StateDirectory,
    what: impl PlatformUse,
) -> Result<(), Failure> {
    let agent = std::env::current_exe().map_err(Failure::other)?;
    let dead_man = DeadMan {
        state: state.clone(),
        units: Units::detect(state.clone(), agent),
        config: config.to_owned(),
        activation: settings.longest_attempt(),
        probation: settings.longest_probation(),
    };
    let platform = settings.platform.clone();
    match settings.activation.clone() {
        Activation::NixOs { root, profile } => what.with(NixOs::new(root, profile, dead_man, platform)?).await,
        Activation::Command(command) => {
            // Only the agent itself puts a journal aside that it cannot read.
            let committed = state.read_journal().ok().and_then(|journal| journal.committed);
            what.with(CommandPlatform::new(command, dead_man, platform, committed)).await
        }
    }
}

/// The agent itself, but for the platform that it works on.
struct Agent<'a> {
    settings: &'a Settings,
    state: &'a StateDirectory,
    replay: Replay,
    instance: &'a Instance,
    once: bool,
}

impl PlatformUse for Agent<'_> {
    async fn with(self, platform: impl Platform) -> Result<(), Failure> {
        let settings = self.settings;
        let mut signals = Signals::listen().map_err(Failure::other)?;
        let assembly = Assembly {
            settings,
            state: self.state,
            replay: self.replay,
            instance: self.instance,
            store: store::open(settings).await?,
            machine: Box::new(ThisMachine { root: settings.root().to_owned() }),
            supervisor: if self.once { Supervisor::default() } else { Supervisor::of_this_process().await },
        };
        let parts = assembly.on(platform)?;
        let metrics = Rc::clone(&parts.metrics);
        if let Some(interval) = Supervisor::watchdog_interval() {
            tokio::spawn(give_signs_of_life(interval));
        }
        let mut driver = Driver::new(parts);
        if self.once {
            let ended = driver.run_once(&mut signals).await;
            driver.end().await;
            return ended;
        }
        if let Some(listen) = settings.metrics.clone() {
            tokio::task::spawn_local(async move {
                let Err(error) = metrics::serve(metrics, &listen).await;
                tracing::error!(kind = "metrics", %error, "the figures cannot be served");
            });
        }
        let ended = driver.run(&mut signals).await;
        driver.end().await;
        // A first system that was gone back on has taken the unit of this agent along.
        stand_in::follows_this_process().await;
        ended
    }
}

/// Runs on the agent's only thread: a reactor that hangs gives no signs of life.
pub(super) async fn give_signs_of_life(interval: std::time::Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        Supervisor::alive();
    }
}
