//! NixOS: `nix build`, `switch-to-configuration`, and the system profile.
//!
//! The order of the NixOS manual's `nixos-rebuild switch` is turned around: `test` first, which changes nothing about the
//! next boot; profile and boot loader only once the host has proved itself. A power cut in between boots the old system.

mod access;
mod build;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;

pub use self::access::{Access, Ssh};
pub use self::build::Build;

use super::agent::{AGENT_UNFIT, Agent};
use super::process::Program;
use super::system::Host;
use super::unit::{Ending, InShutdown, Job, Standing, Units};
use super::{Platform, PlatformSettings, reboot};
use crate::dead_man::DeadMan;
use crate::failpoint;
use crate::failure::Failure;
use crate::machine::{
    Activation, Attempt, Baseline, Built, Ended, Failed, Found, Mode, NEEDS_REBOOT, NO_WAY_BACK, Target,
};
use crate::state::StateDirectory;

/// The flake registry that Nix is given: none, so that a flake without a lock cannot reach outside.
const EMPTY_REGISTRY: &str = r#"{"flakes":[],"version":2}"#;

/// How long making the profile point elsewhere may take.
const PROFILE_TIMEOUT: Duration = Duration::from_mins(5);

/// The exit code of `switch-to-configuration` when some units did not start.
const SOME_UNITS_FAILED: i32 = 4;

/// Its exit code when only a reboot leads into the system.
const ASKS_FOR_REBOOT: i32 = 100;

/// Its exit code when somebody else is switching: `EAGAIN`, as it comes.
const BEING_SWITCHED: i32 = 11;

/// How often to look whether somebody else's switch is over.
const LOCK_PAUSE: Duration = Duration::from_secs(2);

/// A NixOS host.
#[derive(Debug)]
pub struct NixOs {
    host: Host,
    state: StateDirectory,
    units: Units,
    dead_man: DeadMan,
    settings: PlatformSettings,
}

impl NixOs {
    /// The host whose file system begins at `root`.
    pub fn new(
        root: PathBuf,
        profile: PathBuf,
        dead_man: DeadMan,
        settings: PlatformSettings,
    ) -> Result<Self, Failure> {
        let (state, units) = (dead_man.state.clone(), dead_man.units.clone());
        let platform = Self { host: Host { root, profile }, state, units, dead_man, settings };
        // It never changes, so a full disk is no reason to write it again, and least of all not to go back.
        if fs::read_to_string(platform.registry()).is_ok_and(|text| text == EMPTY_REGISTRY) {
            return Ok(platform);
        }
        fs::write(platform.registry(), EMPTY_REGISTRY).map_err(Failure::other)?;
        Ok(platform)
    }

    fn registry(&self) -> PathBuf {
        self.state.path("home/registry.json")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.state.path("logs").join(name)
    }

    /// A Nix command that reads no one's settings but the machine's own: closed stdin, a private home, pure evaluation, no
    /// registry, no settings from the flake.
    fn nix(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.state.path("home"));
        for variable in [
            "XDG_CACHE_HOME",
            "XDG_CONFIG_HOME",
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
            "NIX_PATH",
            "NIX_CONFIG",
            "NIX_USER_CONF_FILES",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// The system's own `switch-to-configuration`, as a unit of its own.
    fn switch(&self, name: String, system: &Path, action: Action, check: Check) -> Job {
        let mut environment = Vec::new();
        if check == Check::Skip {
            // Going back must not be refused for what the new system left behind (switch inhibitors).
            environment.push(("NIXOS_NO_CHECK", "1".into()));
        }
        if self.host.root != Path::new("/") {
            environment.push(("NPC_ROOT", self.host.root.clone().into()));
        }
        let program = system.join("bin/switch-to-configuration").into_os_string();
        let (argument, in_shutdown) = match action {
            Action::Test => ("test", InShutdown::Ended),
            // What it leaves half done, the next boot may fail at.
            Action::Boot => ("boot", InShutdown::Awaited),
        };
        let (command, directory) = (vec![program, argument.into()], PathBuf::from("/"));
        Job { name, command, environment, directory, timeout: self.settings.timeout, in_shutdown }
    }

    fn units(&self, attempt: &Attempt) -> Units {
        self.units.looked_after_by(attempt.before.agent.as_ref())
    }

    async fn failed(&self, kind: &str, purpose: &str, name: &str, ending: &Ending) -> Failed {
        let log = self.units.log(name).await;
        Failed { kind: kind.to_owned(), message: format!("could not {purpose}: {ending}"), log }
    }

    /// What an activation came to. A code may be a raw errno, so what runs counts as well.
    async fn judge(&self, attempt: &Attempt, ending: &Ending) -> Ended {
        let name = attempt.name();
        let failed = async |kind| self.failed(kind, "activate the system", &name, ending).await;
        let running = self.host.running();
        let runs = running.as_ref() == Some(&attempt.system);
        let is_unchanged = running == attempt.before.running;
        match ending.code() {
            Some(0) if runs => Ended::Well,
            Some(0) => {
                let running = running.map_or_else(|| "nothing".into(), |running| running.display().to_string());
                let message = format!("the system said that it was activated, but {running} runs");
                Ended::Failed(Failed::new("activation-failed", message))
            }
            Some(SOME_UNITS_FAILED) if runs => {
                let failed = failed("activation-failed").await;
                Ended::SomeUnitsFailed(Failed { message: "some of its units did not start at once".into(), ..failed })
            }
            Some(ASKS_FOR_REBOOT) if is_unchanged => Ended::NeedsReboot(failed(NEEDS_REBOOT).await),
            Some(BEING_SWITCHED) if is_unchanged => Ended::NeverBegan(being_switched()),
            _ => Ended::Failed(failed("activation-failed").await),
        }
    }

    /// Makes `system` the boot default: the profile, then the boot loader. Going back, the one is done without the other.
    async fn make_default(&self, units: &Units, system: &Path, name: String, check: Check) -> Result<(), Failed> {
        let profile = self.set_profile(system).await;
        failpoint::passed(failpoint::Step::ProfileSet);
        if check == Check::Do {
            profile.clone()?;
        }
        let job = self.switch(name, system, Action::Boot, check);
        let ending = self.when_nobody_switches(units, &job).await?;
        failpoint::passed(failpoint::Step::BootLoaderInstalled);
        match ending.code() {
            Some(0) => profile,
            _ => Err(self.failed("boot-failed", "make the system the boot default", &job.name, &ending).await),
        }
    }

    /// Runs a job anew, and again for as long as somebody else's switch keeps it from beginning.
    async fn when_nobody_switches(&self, units: &Units, job: &Job) -> Result<Ending, Failed> {
        let begun = tokio::time::Instant::now();
        loop {
            let ending = units.repeat(job).await?;
            if ending.code() != Some(BEING_SWITCHED) || begun.elapsed() >= self.settings.timeout {
                return Ok(ending);
            }
            tracing::warn!(kind = "switch-in-progress", "waiting for somebody else's switch");
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    async fn set_profile(&self, system: &Path) -> Result<(), Failed> {
        let mut command = self.nix("nix-env");
        command.arg("-p").arg(&self.host.profile).arg("--set").arg(system);
        let (log, purpose) = (self.log("profile.log"), "set the system profile");
        Program { purpose, kind: "profile-failed", command, log: &log, timeout: PROFILE_TIMEOUT }.run().await
    }

    /// A link in our own directory, registered with Nix, for a system that must not be collected.
    async fn keep(&self, system: &Path) -> Result<(), Failed> {
        let root = self.state.path("roots").join(root_name(system));
        let mut command = self.nix("nix-store");
        command.arg("--realise").arg("--add-root").arg(&root).arg("--indirect").arg(system);
        let (log, purpose) = (self.log("root.log"), "keep the running system from garbage collection");
        Program { purpose, kind: "root-failed", command, log: &log, timeout: PROFILE_TIMEOUT }.run().await
    }
}

/// What `switch-to-configuration` is to do.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// Activate the system, for this boot.
    Test,
    /// Make it the boot loader's default.
    Boot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Do,
    Skip,
}

fn root_name(system: &Path) -> OsString {
    system.file_name().map_or_else(|| "system".into(), std::ffi::OsStr::to_owned)
}

fn being_switched() -> Failed {
    Failed::new("switch-in-progress", "somebody else is switching this host to a system at this moment")
}

#[async_trait(?Send)]
impl Platform for NixOs {
    async fn look(&self, attempt: Option<&Attempt>) -> Found {
        let profile = self.host.boot_default();
        let activation = match attempt {
            None => Activation::Absent,
            Some(attempt) => match self.units.standing(&attempt.name()).await {
                Standing::Absent => Activation::Absent,
                Standing::Running => Activation::Running,
                Standing::Ended(ending) => Activation::Ended(self.judge(attempt, &ending).await),
            },
        };
        Found {
            running: self.host.running(),
            booted: self.host.booted(),
            reboot_needed: profile.as_ref().is_some_and(|system| self.host.needs_reboot(system)),
            profile,
            boot_id: Host::boot_id(),
            activation,
            failed_at_boot: None,
        }
    }

    fn check_room(&self) -> Result<(), Failed> {
        let store = std::env::var_os("NIX_STORE_DIR").map_or_else(|| self.host.root.join("nix/store"), PathBuf::from);
        self.settings.room.check(&store, &self.host.root.join("boot"))
    }

    async fn build(&self, target: &Target, flake: &Path) -> Result<Built, Failed> {
        self.build_system(target, flake).await
    }

    async fn survey(&self, system: &Path) -> Result<Baseline, Failed> {
        if self.host.is_being_switched() {
            return Err(being_switched());
        }
        let running = self.host.running();
        if let Some(running) = &running {
            self.keep(running).await?;
        }
        let agent = self.units.agent();
        if let Some(object) = store_object(agent) {
            self.keep(&object).await?;
        }
        let baseline = Baseline {
            running,
            profile: self.host.boot_default(),
            boot_id: Host::boot_id(),
            agent: Some(agent.to_owned()),
            ..Baseline::default()
        };
        Ok(baseline.with_obstacles(self.host.obstacles(system)))
    }

    async fn check_agent(&self, system: &Path) -> Result<(), Failed> {
        let running = self.host.running();
        match (Agent::of(system, running.as_deref()), running.and_then(|running| Agent::of(&running, None))) {
            (Some(agent), _) => agent.check(&self.log("agent-check.log"), &self.state.path("")).await,
            (None, Some(_)) => {
                Err(Failed::new(AGENT_UNFIT, "the system that runs has an agent, and this one brings none"))
            }
            (None, None) => Ok(()),
        }
    }

    async fn activate(&self, attempt: &Attempt) -> Ended {
        let units = self.units(attempt);
        let job = self.switch(attempt.name(), &attempt.system, Action::Test, Check::Do);
        if units.standing(&job.name).await == Standing::Absent && self.host.is_being_switched() {
            return Ended::NeverBegan(being_switched());
        }
        match units.finish(&job).await {
            Ok(ending) => self.judge(attempt, &ending).await,
            Err(failed) => Ended::Failed(failed),
        }
    }

    async fn commit(&self, attempt: &Attempt) -> Result<(), Failed> {
        let name = format!("{}-boot", attempt.name());
        self.make_default(&self.units(attempt), &attempt.system, name, Check::Do).await
    }

    async fn roll_back(&self, attempt: &Attempt, boot: bool) -> Result<Option<Failed>, Failed> {
        let Some(previous) = &attempt.before.running else {
            return Err(Failed::new("no-previous-system", "no system ran before, so there is none to go back to"));
        };
        let (name, units) = (attempt.name(), self.units(attempt));
        // One that hangs holds the lock of `switch-to-configuration`.
        for unit in [name.clone(), format!("{name}-boot")] {
            units.stop(&unit).await;
        }
        failpoint::passed(failpoint::Step::ActivationStopped);
        // The boot default is the next way out, so it comes first, and its failure does not keep the rest from happening.
        let put_back = if boot {
            self.make_default(&units, previous, format!("{name}-boot-back"), Check::Skip).await.err()
        } else {
            None
        };
        if attempt.mode == Mode::Boot {
            return Ok(put_back);
        }
        match (self.reactivate(&units, previous, format!("{name}-back")).await, put_back) {
            (Ok(()), put_back) => Ok(put_back),
            (Err(failed), None) => Err(failed),
            (Err(failed), Some(boot)) => {
                let message = format!("{failed}; nor is the system before the boot default: {boot}");
                Err(Failed { message, ..Failed::new(NO_WAY_BACK, "") })
            }
        }
    }

    async fn reboot(&self, insist: bool) -> Result<(), Failed> {
        reboot::begin(&self.settings.reboot, insist).await
    }

    fn dead_man(&self) -> Option<&DeadMan> {
        Some(&self.dead_man)
    }

    fn host_file(&self) -> Option<PathBuf> {
        let in_system = || self.host.root.join("run/current-system/etc/npc/host.json");
        Some(self.settings.host_file.clone().unwrap_or_else(in_system))
    }
}

impl NixOs {
    async fn reactivate(&self, units: &Units, previous: &Path, name: String) -> Result<(), Failed> {
        let job = self.switch(name, previous, Action::Test, Check::Skip);
        let ending = self.when_nobody_switches(units, &job).await;
        failpoint::passed(failpoint::Step::PreviousActivated);
        let runs = self.host.running().as_deref() == Some(previous);
        let ending = match ending {
            Ok(ending) => ending,
            // On a full disk a unit cannot write down how it ended; what runs is what counts.
            Err(failed) if runs => {
                tracing::warn!(kind = failed.kind, "the system before runs again, but: {failed}");
                return Ok(());
            }
            Err(failed) => return Err(failed),
        };
        match ending.code() {
            Some(0) if runs => Ok(()),
            Some(0) => {
                let message = format!("{} said that it was activated, but does not run", previous.display());
                Err(Failed::new("rollback-failed", message))
            }
            // Some unit that does not start is what it complains of: whether the host is well again is looked at next.
            Some(_) if runs => {
                let failed = self.failed("rollback-failed", "activate the system before", &job.name, &ending).await;
                let log = failed.log.as_deref().unwrap_or("");
                tracing::warn!(kind = failed.kind, log, "the system before runs again, but says: {failed}");
                Ok(())
            }
            _ => Err(self.failed("rollback-failed", "activate the system before", &job.name, &ending).await),
        }
    }
}

/// The object in the Nix store that a path belongs to.
fn store_object(path: &Path) -> Option<PathBuf> {
    let store = std::env::var_os("NIX_STORE_DIR").map_or_else(|| PathBuf::from("/nix/store"), PathBuf::from);
    let name = path.strip_prefix(&store).ok()?.components().next()?;
    Some(store.join(name))
}
