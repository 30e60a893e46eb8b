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
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::unit::{Ending, InShutdown, Job, Standing, Units};
use super::{Platform, PlatformSettings, reboot};
use crate::dead_man::DeadMan;
use crate::failpoint;
use crate::machine::{Activation, Attempt, Baseline, Built, Committed, Ended, Failed, Found, Target};

/// A host that a command configures.
#[derive(Debug)]
pub struct CommandPlatform {
    command: Vec<String>,
    units: Units,
    dead_man: DeadMan,
    settings: PlatformSettings,
    committed: RefCell<Option<Committed>>,
}

impl CommandPlatform {
    /// Runs `command`, which names a program and its arguments. `committed` is what was applied last.
    pub fn new(
        command: Vec<String>,
        dead_man: DeadMan,
        settings: PlatformSettings,
        committed: Option<Committed>,
    ) -> Self {
        let units = dead_man.units.clone();
        Self { command, units, dead_man, settings, committed: RefCell::new(committed) }
    }

    fn apply(&self, name: String, target: &Target, flake: &Path, action: &str) -> Job {
        Job {
            name,
            command: self.command.iter().map(OsString::from).collect(),
            environment: vec![
                ("NPC_ACTION", action.into()),
                ("NPC_FLAKE", flake.into()),
                ("NPC_CONFIGURATION", target.configuration.as_str().into()),
                ("NPC_REMOTE", target.remote.as_str().into()),
                ("NPC_SERIAL", target.serial.to_string().into()),
                ("NPC_ARCHIVE", target.archive.sha256.to_string().into()),
            ],
            directory: flake.to_owned(),
            timeout: self.settings.timeout,
            in_shutdown: InShutdown::Ended,
        }
    }

    async fn judge(&self, name: &str, ending: &Ending) -> Result<(), Failed> {
        if ending.code() == Some(0) {
            return Ok(());
        }
        let message = format!("could not apply the flake: {ending}");
        Err(Failed { kind: "activation-failed".to_owned(), message, log: self.units.log(name).await })
    }

    fn previous(&self) -> Option<PathBuf> {
        self.committed.borrow().as_ref().map(|committed| committed.system.clone())
    }

    /// Nothing on the host says what it runs, so what was applied last counts.
    async fn applied(&self, attempt: &Attempt) -> Option<PathBuf> {
        let well = async |name: String| matches!(self.units.standing(&name).await, Standing::Ended(ending) if ending.code() == Some(0));
        let is_back = well(back(attempt)).await;
        let is_there = well(attempt.name()).await;
        if is_there && !is_back { Some(attempt.system.clone()) } else { self.previous() }
    }
}

/// The name of the unit that goes back on an attempt.
fn back(attempt: &Attempt) -> String {
    format!("{}-back", attempt.name())
}

#[async_trait(?Send)]
impl Platform for CommandPlatform {
    async fn look(&self, attempt: Option<&Attempt>) -> Found {
        let Some(attempt) = attempt else { return Found { running: self.previous(), ..Found::default() } };
        let activation = match self.units.standing(&attempt.name()).await {
            Standing::Absent => Activation::Absent,
            Standing::Running => Activation::Running,
            Standing::Ended(ending) => Activation::Ended(match self.judge(&attempt.name(), &ending).await {
                Ok(()) => Ended::Well,
                Err(failed) => Ended::Failed(failed),
            }),
        };
        Found { running: self.applied(attempt).await, activation, ..Found::default() }
    }

    fn check_room(&self) -> Result<(), Failed> {
        // What the command writes where, nobody knows.
        self.settings.room.check(&self.dead_man.state.path(""), Path::new("/"))
    }

    async fn build(&self, _target: &Target, flake: &Path) -> Result<Built, Failed> {
        Ok(flake.to_owned().into())
    }

    async fn survey(&self, _system: &Path) -> Result<Baseline, Failed> {
        let agent = Some(self.units.agent().to_owned());
        Ok(Baseline { running: self.previous(), agent, ..Baseline::default() })
    }

    async fn activate(&self, attempt: &Attempt) -> Ended {
        let job = self.apply(attempt.name(), &attempt.target, &attempt.system, "activate");
        match self.units.finish(&job).await {
            Ok(ending) => self.judge(&job.name, &ending).await.map_or_else(Ended::Failed, |()| Ended::Well),
            Err(failed) => Ended::Failed(failed),
        }
    }

    async fn commit(&self, attempt: &Attempt) -> Result<(), Failed> {
        let (target, system) = (attempt.target.clone(), attempt.system.clone());
        self.committed.replace(Some(Committed { target, system, since: attempt.since }));
        Ok(())
    }

    async fn roll_back(&self, attempt: &Attempt, _boot: bool) -> Result<Option<Failed>, Failed> {
        self.units.stop(&attempt.name()).await;
        failpoint::passed(failpoint::Step::ActivationStopped);
        let committed = self.committed.borrow().clone();
        let Some(Committed { target, system, .. }) = committed else {
            let message = "nothing was applied before, so there is nothing to go back to";
            return Err(Failed::new("no-previous-system", message));
        };
        let job = self.apply(back(attempt), &target, &system, "roll-back");
        let ending = self.units.repeat(&job).await?;
        failpoint::passed(failpoint::Step::PreviousActivated);
        self.judge(&job.name, &ending).await.map(|()| None)
    }

    async fn reboot(&self, insist: bool) -> Result<(), Failed> {
        reboot::begin(&self.settings.reboot, insist).await
    }

    fn dead_man(&self) -> Option<&DeadMan> {
        Some(&self.dead_man)
    }

    fn host_file(&self) -> Option<PathBuf> {
        self.settings.host_file.clone()
    }
}
