//! Putting an agent together out of its settings and what it remembers.

use std::rc::Rc;
use std::sync::Arc;

use npc_core::store::Store;
use npc_core::{Timestamp, explain};

use crate::activation::Platform;
use crate::clock::SystemClock;
use crate::driver::Parts;
use crate::failure::Failure;
use crate::machine::Journal;
use crate::metrics::Metrics;
use crate::poll::{Initial, Names, Pace, Poller, Told};
use crate::report::{Account, Identity, Machine, Reporter, Signer};
use crate::settings::{Activation, Settings};
use crate::state::{Instance, Local, Place, Replay, StateDirectory};
use crate::supervisor::Supervisor;

/// An agent in the making.
pub struct Assembly<'a> {
    /// What it was told on the spot.
    pub settings: &'a Settings,
    /// Where it remembers.
    pub state: &'a StateDirectory,
    /// Its memory against replay.
    pub replay: Replay,
    /// The installation that it serves.
    pub instance: &'a Instance,
    /// The store that it follows.
    pub store: Arc<dyn Store>,
    /// The machine that it reports on.
    pub machine: Box<dyn Machine>,
    /// Whom it tells.
    pub supervisor: Supervisor,
}

impl Assembly<'_> {
    /// The agent's parts, on this platform. It begins to report.
    pub fn on<P: Platform>(self, platform: P) -> Result<Parts<P>, Failure> {
        let Self { settings, state, replay, instance, store, machine, supervisor } = self;
        let local = Local::read(state)?;
        let own = local.following(&settings.following);
        let names = match settings.activation {
            Activation::NixOs { .. } => Names::Configuration,
            Activation::Command(_) => Names::Anything,
        };
        let pace = Pace::every(settings.poll_interval);
        let kept = state.recover_journal()?;
        let recovered = if kept.is_none() { state.newest_attempt() } else { None };
        let journal = kept.unwrap_or_default();
        let initial = Initial::of_host(state, settings.initial_configuration.as_ref(), &journal);
        let told = Told::open(state, &replay.floors, settings.assignment.clone(), own, initial);
        let it_was = Place::of_host(state, &told.instructions().place, &journal);
        let poller = Poller::new(Arc::clone(&store), settings.anchor.clone(), told, names, pace);
        let poller = poller.from_where(it_was, state);
        let (id, follows) = (instance.id(), poller.followed());
        tracing::info!(instance = id, store = %settings.store, %follows, "npc-agent begins");
        let account = first_account(&journal, &local, &poller, &replay);
        Ok(Parts {
            reporter: reporter(settings, state, instance, store, machine, account),
            recovered,
            journal,
            instance: instance.id().to_owned(),
            replay,
            local,
            configured: settings.following.clone(),
            policy: settings.policy.clone(),
            poller,
            platform,
            probation: settings.probation,
            keep: settings.keep,
            hooks: settings.hooks.clone(),
            metrics: Rc::new(Metrics::default()),
            clock: Box::new(SystemClock),
            supervisor,
            state: state.clone(),
        })
    }
}

/// How things stand before the agent has begun.
fn first_account(journal: &Journal, local: &Local, poller: &Poller, replay: &Replay) -> Account {
    Account {
        journal: journal.clone(),
        paused: local.is_paused(Timestamp::now()) || poller.instructions().paused,
        heartbeat: poller.instructions().heartbeat,
        obeyed: poller.obeyed(),
        running: None,
        trust: poller.trust(replay),
        trust_digest: replay.trust_digest(),
    }
}

/// Begins to report, if the settings say so.
pub(crate) fn reporter(
    settings: &Settings,
    state: &StateDirectory,
    instance: &Instance,
    store: Arc<dyn Store>,
    machine: Box<dyn Machine>,
    account: Account,
) -> Option<Reporter> {
    let reporting = settings.report?;
    let (fleet, host) = (settings.anchor.fleet.clone(), settings.host.clone());
    let signer = match Signer::open(state, &host) {
        Ok(signer) => signer,
        Err(error) => {
            tracing::error!(kind = "state", "cannot report to the store: {}", explain::in_one_line(&error));
            return None;
        }
    };
    let assignment = settings.assignment.clone();
    let identity = Identity { fleet, host, assignment, instance: instance.id().to_owned() };
    Some(Reporter::begin(store, signer, identity, machine, reporting, account))
}
