//! Programs that change the host, run so that neither the agent's end nor its upgrade stops them.
//!
//! With systemd each is a transient unit of its own, without a pipe to the agent: its output goes to the journal. Without,
//! it is a process in a session of its own, below a small process of ours that waits for it. Either way the *unit itself*
//! writes to the disk how it ended, since systemd forgets a unit that is gone and a collected unit looks like success.

mod detached;
mod ending;
mod systemd;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use detached::perform;
pub use ending::{Ending, Standing};
pub(crate) use systemd::{ask, end, is_shutting_down, tell};
pub use systemd::{is_booted, own_unit, show};

use crate::machine::Failed;
use crate::state::StateDirectory;

/// What of the agent's own environment its units are given. Nothing in it is secret: anyone may ask systemd for it.
const INHERITED: [&str; 11] = [
    "PATH",
    "LOCALE_ARCHIVE",
    "TZDIR",
    "NIX_REMOTE",
    "NIX_STORE_DIR",
    "NIX_STATE_DIR",
    "NIX_LOG_DIR",
    "NIX_CONF_DIR",
    "NIX_SSL_CERT_FILE",
    "NIXOS_INSTALL_BOOTLOADER",
    "NPC_LOG",
];

/// A program to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The name of its unit, under which its end is found again.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What it finds in its environment, beside what every unit does.
    pub environment: Vec<(&'static str, OsString)>,
    /// Where it runs.
    pub directory: PathBuf,
    /// How long it may take.
    pub timeout: Duration,
    /// What a shutdown does to it, where systemd runs it.
    pub in_shutdown: InShutdown,
}

/// What becomes of a program that runs when the host shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InShutdown {
    /// It is ended like any other: the next boot undoes what it did.
    Ended,
    /// The shutdown waits for it, since half of what it does would be in the next boot's way.
    Awaited,
}

/// How units are run on this host.
#[derive(Debug, Clone)]
pub struct Units {
    state: StateDirectory,
    /// The agent that writes down how units ended.
    agent: PathBuf,
    manager: Manager,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Systemd,
    None,
}

impl Units {
    /// The way of the host that this runs on, with `agent` to look after units.
    pub fn detect(state: StateDirectory, agent: PathBuf) -> Self {
        let manager = if is_booted() { Manager::Systemd } else { Manager::None };
        Self { state, agent, manager }
    }

    /// The same, with another agent to look after units.
    #[must_use]
    pub fn looked_after_by(&self, agent: Option<&PathBuf>) -> Self {
        Self { agent: agent.cloned().unwrap_or_else(|| self.agent.clone()), ..self.clone() }
    }

    /// Whether systemd runs them.
    pub fn has_systemd(&self) -> bool {
        self.manager == Manager::Systemd
    }

    /// The agent that looks after units.
    pub fn agent(&self) -> &Path {
        &self.agent
    }

    /// How far a unit got.
    pub async fn standing(&self, name: &str) -> Standing {
        if let Some(ending) = Ending::read(&self.state, name) {
            return Standing::Ended(ending);
        }
        let runs = match self.manager {
            Manager::Systemd => systemd::runs(name).await,
            Manager::None => detached::runs(&self.state, name),
        };
        if runs {
            return Standing::Running;
        }
        // It may have ended between the two looks.
        Ending::read(&self.state, name).map_or(Standing::Absent, Standing::Ended)
    }

    /// Runs a job to its end, whoever began it. One that has ended before is not run again.
    ///
    /// Dropping the future leaves the job alone.
    pub async fn finish(&self, job: &Job) -> Result<Ending, Failed> {
        match self.standing(&job.name).await {
            Standing::Ended(ending) => return Ok(ending),
            Standing::Running => {}
            Standing::Absent => match self.manager {
                Manager::Systemd => systemd::start(&self.state, &self.agent, job).await?,
                Manager::None => detached::start(&self.state, &self.agent, job).await?,
            },
        }
        let ended = match self.manager {
            Manager::Systemd => systemd::ended(&self.state, &job.name).await,
            Manager::None => detached::ended(&self.state, &job.name).await,
        };
        ended.ok_or_else(|| Failed::new("interrupted", format!("{} ended without saying how", job.name)))
    }

    /// Runs a job to its end, and anew if it has ended before.
    pub async fn repeat(&self, job: &Job) -> Result<Ending, Failed> {
        if matches!(self.standing(&job.name).await, Standing::Ended(_)) {
            self.clear_away(&job.name).await;
            Ending::forget(&self.state, &job.name);
        }
        self.finish(job).await
    }

    /// Waits until what is left of a unit that ended is gone, so that there can be another of its name.
    async fn clear_away(&self, name: &str) {
        match self.manager {
            Manager::Systemd => systemd::clear_away(name).await,
            Manager::None => drop(detached::ended(&self.state, name).await),
        }
    }

    /// Ends a unit that still runs, with everything that it started.
    pub async fn stop(&self, name: &str) {
        match self.manager {
            Manager::Systemd => systemd::stop(name).await,
            Manager::None => detached::stop(&self.state, name).await,
        }
    }

    /// The end of what a unit wrote.
    pub async fn log(&self, name: &str) -> Option<String> {
        let text = match self.manager {
            Manager::Systemd => systemd::log(name).await,
            Manager::None => super::process::tail(&detached::log(&self.state, name)).ok(),
        };
        text.filter(|text| !text.is_empty())
    }
}

/// What units are given of the agent's environment.
pub(crate) fn inherited() -> impl Iterator<Item = (&'static str, OsString)> {
    INHERITED.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}
