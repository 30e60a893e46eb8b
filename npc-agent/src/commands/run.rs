//! `npc-agent run`: follows the remote.

use std::path::Path;
use std::rc::Rc;

use npc_core::store::{self, Options};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::activation::unit::Units;
use crate::activation::{CommandPlatform, NixOs, Platform};
use crate::clock::SystemClock;
use crate::dead_man::DeadMan;
use crate::driver::{Driver, Parts, Signals};
use crate::failure::Failure;
use crate::metrics::{self, Metrics};
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
    let following = Following { settings: &settings, state: &state, replay, instance: &instance, once };
    runtime()?.block_on(LocalSet::new().run_until(on_platform(&settings, config, &state, following)))
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

struct Following<'a> {
    settings: &'a Settings,
    state: &'a StateDirectory,
    replay: Replay,
    instance: &'a Instance,
    once: bool,
}

impl PlatformUse for Following<'_> {
    async fn with(self, platform: impl Platform) -> Result<(), Failure> {
        let (settings, state) = (self.settings, self.state.clone());
        let mut signals = Signals::listen().map_err(Failure::other)?;
        let local = Local::read(&state)?;
        let store = store::open(&settings.store, Options::default()).await.map_err(Failure::usage)?;
        let following = local.following(&settings.following);
        let (instance, remote) = (self.instance.id(), &following.remote);
        tracing::info!(instance, store = %settings.store, %remote, "npc-agent begins");
        let names = match settings.activation {
            Activation::NixOs { .. } => Names::Configuration,
            Activation::Command(_) => Names::Anything,
        };
        let pace = Pace::every(settings.poll_interval);
        let metrics = Rc::new(Metrics::default());
        let parts = Parts {
            journal: state.recover_journal()?,
            replay: self.replay,
            local,
            configured: settings.following.clone(),
            policy: settings.policy.clone(),
            poller: Poller::new(store, settings.anchor.clone(), following, names, pace),
            platform,
            probation: settings.probation,
            keep: settings.keep,
            hooks: settings.hooks.clone(),
            metrics: Rc::clone(&metrics),
            clock: Box::new(SystemClock),
            supervisor: if self.once { Supervisor::default() } else { Supervisor::of_this_process().await },
            state,
        };
        if let Some(interval) = Supervisor::watchdog_interval() {
            tokio::spawn(give_signs_of_life(interval));
        }
        let mut driver = Driver::new(parts);
        if self.once {
            return driver.run_once(&mut signals).await;
        }
        if let Some(listen) = settings.metrics.clone() {
            tokio::task::spawn_local(async move {
                let Err(error) = metrics::serve(metrics, &listen).await;
                tracing::error!(kind = "metrics", %error, "the figures cannot be served");
            });
        }
        driver.run(&mut signals).await
    }
}

/// Runs on the agent's only thread: a reactor that hangs gives no signs of life.
async fn give_signs_of_life(interval: std::time::Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        Supervisor::alive();
    }
}
