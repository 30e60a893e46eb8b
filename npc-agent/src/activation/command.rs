//! Systems that are not NixOS (nix-darwin, home-manager, anything): an operator's command applies the flake.
//!
//! The command runs in the unpacked flake's directory, which is its system as far as npc is concerned; it is told in its
//! environment what to apply:
//!
//! | variable | meaning |
//! |---|---|
//! | `NPC_ACTION` | `activate`, or `roll-back` when the release before is applied again |
//! | `NPC_FLAKE` | the unpacked flake to apply |
//! | `NPC_CONFIGURATION` | the configuration's name |
//! | `NPC_REMOTE`, `NPC_SERIAL` | the release that it is of |
//! | `NPC_ARCHIVE` | its archive's SHA-256 |

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

use super::Platform;
use super::process::Program;
use crate::machine::{Attempt, Built, Committed, Failed, Target};
use crate::state::StateDirectory;

/// A host that a command configures.
#[derive(Debug)]
pub struct CommandPlatform {
    command: Vec<String>,
    state: StateDirectory,
    timeout: Duration,
    committed: RefCell<Option<Committed>>,
}

impl CommandPlatform {
    /// Runs `command`, which names a program and its arguments. `committed` is what was applied last.
    pub fn new(command: Vec<String>, state: StateDirectory, timeout: Duration, committed: Option<Committed>) -> Self {
        Self { command, state, timeout, committed: RefCell::new(committed) }
    }

    async fn apply(&self, target: &Target, flake: &Path, action: &str) -> Result<(), Failed> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failed::new("activation-failed", "the command is empty"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(flake)
            .env("NPC_ACTION", action)
            .env("NPC_FLAKE", flake)
            .env("NPC_CONFIGURATION", target.configuration.as_str())
            .env("NPC_REMOTE", target.remote.as_str())
            .env("NPC_SERIAL", target.serial.to_string())
            .env("NPC_ARCHIVE", target.archive.sha256.to_string());
        let log = self.state.path("logs").join(format!("{action}.log"));
        let (purpose, kind) = ("apply the flake", "activation-failed");
        Program { purpose, kind, command, log: &log, timeout: self.timeout }.run().await
    }
}

#[async_trait(?Send)]
impl Platform for CommandPlatform {
    fn running(&self) -> Option<PathBuf> {
        self.committed.borrow().as_ref().map(|committed| committed.system.clone())
    }

    async fn build(&self, _target: &Target, flake: &Path) -> Result<Built, Failed> {
        Ok(flake.to_owned().into())
    }

    async fn secure_running(&self) -> Result<Option<PathBuf>, Failed> {
        Ok(self.running())
    }

    async fn activate(&self, attempt: &Attempt) -> Result<(), Failed> {
        self.apply(&attempt.target, &attempt.system, "activate").await
    }

    async fn commit(&self, attempt: &Attempt) -> Result<(), Failed> {
        let (target, system) = (attempt.target.clone(), attempt.system.clone());
        self.committed.replace(Some(Committed { target, system, since: attempt.since }));
        Ok(())
    }

    async fn roll_back(&self, _attempt: &Attempt, _boot: bool) -> Result<(), Failed> {
        let committed = self.committed.borrow().clone();
        match committed {
            Some(Committed { target, system, .. }) => self.apply(&target, &system, "roll-back").await,
            None => {
                Err(Failed::new("no-previous-system", "nothing was applied before, so there is nothing to go back to"))
            }
        }
    }
}
