//! A fleet of agents, and each of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use npc_agent::assembly::Assembly;
use npc_agent::driver::{Driver, Signals};
use npc_agent::failure::Failure;
use npc_agent::settings::Settings;
use npc_agent::state::{Lock, Replay, StateDirectory};
use npc_agent::store;
use npc_agent::supervisor::Supervisor;

use super::counted::CountedStore;
use super::host::{PretendedHost, PretendedMachine};
use super::ledger::Ledger;

/// The name of the host with this number, counted from 1.
pub fn name(number: usize) -> String {
    format!("host-{number:04}")
}

/// What all agents have in common.
#[derive(Debug)]
pub struct Fleet {
    /// The settings of each agent, with `{host}` in place of its host's name.
    pub settings: String,
    /// Where each agent has a state directory.
    pub folder: PathBuf,
    /// How long activating takes on every host.
    pub activating: Duration,
    /// The hosts on which no second system can be activated.
    pub failing: BTreeSet<String>,
    /// Where requests are entered.
    pub ledger: Arc<Ledger>,
}

impl Fleet {
    /// The state directory of the host with this number.
    pub fn state(&self, number: usize) -> PathBuf {
        self.folder.join(name(number))
    }

    /// Makes the agent of the host with this number. Nothing is asked of the store yet.
    pub async fn open(&self, number: usize) -> Result<Agent, Failure> {
        let name = name(number);
        let settings = Settings::parse(&self.settings.replace("{host}", &name), &name).map_err(Failure::usage)?;
        let state = self.state(number);
        fs::create_dir_all(&state).map_err(Failure::other)?;
        let state = StateDirectory::create(&state)?;
        let lock = Lock::take(&state)?;
        let inner = store::open(&settings).await?;
        let store = CountedStore::new(inner, Arc::clone(&self.ledger), number);
        let running = state.read_journal().ok().and_then(|journal| Some(journal.committed?.system));
        let host = PretendedHost::new(self.activating, self.failing.contains(&name), running);
        Ok(Agent { number, settings, state, store, host, _lock: lock })
    }
}

/// One agent, before it begins.
#[derive(Debug)]
pub struct Agent {
    number: usize,
    settings: Settings,
    state: StateDirectory,
    store: CountedStore,
    host: PretendedHost,
    _lock: Lock,
}

impl Agent {
    /// Follows what the host is told to, until a signal ends the process's agents.
    pub async fn run(self, mut signals: Signals) -> Result<(), Failure> {
        let (replay, instance) = Replay::open(&self.state, &self.settings)?;
        let assembly = Assembly {
            settings: &self.settings,
            state: &self.state,
            replay,
            instance: &instance,
            store: Arc::new(self.store),
            machine: Box::new(PretendedMachine { number: self.number }),
            supervisor: Supervisor::default(),
        };
        let mut driver = Driver::new(assembly.on(self.host)?);
        let ended = driver.run(&mut signals).await;
        driver.end().await;
        ended
    }
}
