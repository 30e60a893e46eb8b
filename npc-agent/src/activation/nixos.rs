//! NixOS: `nix build`, `switch-to-configuration`, and the system profile.
//!
//! The order of the NixOS manual's `nixos-rebuild switch` is turned around: `test` first, which changes nothing about the
//! next boot; profile and boot loader only once the host has proved itself. A power cut in between boots the old system.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::process::Command;

use super::Platform;
use super::process::Program;
use crate::failure::Failure;
use crate::machine::{Attempt, Built, Failed, Target};
use crate::state::StateDirectory;

/// `nix build --json` for one installable is short.
const BUILD_JSON_BYTES: u64 = 1024 * 1024;

/// What Nix 2.8 says of an attribute path that begins with a dot.
const UNKNOWN_DOT: &str = "..nixosConfigurations";

/// The flake registry that Nix is given: none, so that a flake without a lock cannot reach outside.
const EMPTY_REGISTRY: &str = r#"{"flakes":[],"version":2}"#;

/// How long making the profile point elsewhere may take.
const PROFILE_TIMEOUT: Duration = Duration::from_mins(5);

/// A NixOS host.
#[derive(Debug)]
pub struct NixOs {
    root: PathBuf,
    profile: PathBuf,
    state: StateDirectory,
    activation_timeout: Duration,
    build_timeout: Duration,
}

/// One element of `nix build --json`.
#[derive(Debug, Deserialize)]
struct BuildResult {
    #[serde(rename = "drvPath")]
    drv_path: PathBuf,
    outputs: Outputs,
}

#[derive(Debug, Deserialize)]
struct Outputs {
    out: PathBuf,
}

impl NixOs {
    /// The host whose file system begins at `root`.
    pub fn new(
        root: PathBuf,
        profile: PathBuf,
        state: StateDirectory,
        activation_timeout: Duration,
        build_timeout: Duration,
    ) -> Result<Self, Failure> {
        let platform = Self { root, profile, state, activation_timeout, build_timeout };
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

    /// A leading dot keeps Nix from looking for the attribute in `packages` first: the publisher, too, evaluates without that,
    /// and the archive may lack what it would read.
    fn build_command(&self, target: &Target, flake: &Path, root: &Path, dot: &str) -> Command {
        let mut installable = OsString::from("path:");
        installable.push(flake);
        installable
            .push(format!("#{dot}nixosConfigurations.{}.config.system.build.toplevel", target.configuration.quoted()));
        let mut command = self.nix("nix");
        command
            .args(["--extra-experimental-features", "nix-command flakes", "build", "--json"])
            // Without `--no-write-lock-file`, beside which Nix takes missing locks for allowed as long as it keeps them in mind.
            .args(["--no-update-lock-file", "--option", "pure-eval", "true"])
            .args(["--option", "accept-flake-config", "false", "--option", "use-registries", "false"])
            .args(["--option", "flake-registry"])
            .arg(self.registry())
            .arg("--out-link")
            .arg(root)
            .arg(installable);
        command
    }

    /// Runs the system's own `switch-to-configuration`.
    async fn switch(&self, system: &Path, action: &'static str, log: &str, check: Check) -> Result<(), Failed> {
        let mut command = Command::new(system.join("bin/switch-to-configuration"));
        command.arg(action).current_dir("/");
        if check == Check::Skip {
            // Going back must not be refused for what the new system left behind (switch inhibitors).
            command.env("NIXOS_NO_CHECK", "1");
        }
        if self.root != Path::new("/") {
            command.env("NPC_ROOT", &self.root);
        }
        let log = self.log(log);
        let (purpose, kind) = match action {
            "boot" => ("make the system the boot default", "boot-failed"),
            _ => ("activate the system", "activation-failed"),
        };
        Program { purpose, kind, command, log: &log, timeout: self.activation_timeout }.run().await
    }

    async fn set_profile(&self, system: &Path) -> Result<(), Failed> {
        let mut command = self.nix("nix-env");
        command.arg("-p").arg(&self.profile).arg("--set").arg(system);
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Do,
    Skip,
}

fn root_name(system: &Path) -> OsString {
    system.file_name().map_or_else(|| "system".into(), std::ffi::OsStr::to_owned)
}

#[async_trait(?Send)]
impl Platform for NixOs {
    fn running(&self) -> Option<PathBuf> {
        fs::read_link(self.root.join("run/current-system")).ok()
    }

    async fn build(&self, target: &Target, flake: &Path) -> Result<Built, Failed> {
        let failed = |error: io::Error| Failed::new("build-failed", format!("could not build the system: {error}"));
        let link = self.state.path("roots").join(format!("built-{}", target.archive.sha256.short()));
        let log = self.log("build.log");
        let nix_build = |dot| {
            let (purpose, kind) = ("build the system", "build-failed");
            let command = self.build_command(target, flake, &link, dot);
            Program { purpose, kind, command, log: &log, timeout: self.build_timeout }.output(BUILD_JSON_BYTES)
        };
        let json = match nix_build(".").await {
            Err(failed) if failed.log.as_deref().is_some_and(|log| log.contains(UNKNOWN_DOT)) => nix_build("").await?,
            done => done?,
        };
        let [built]: [BuildResult; 1] = serde_json::from_slice(&json).map_err(|error| failed(error.into()))?;
        let expected = target.drv_path.as_deref().filter(|expected| built.drv_path != Path::new(expected));
        let unexpected = expected.map(|expected| {
            let found = built.drv_path.display();
            let message = format!(
                "its configuration evaluates to {found} here and to {expected} at the publisher: another Nix, another \
                 system, or tampering"
            );
            Failed::new("derivation-mismatch", message)
        });
        if !built.outputs.out.join("bin/switch-to-configuration").exists() {
            return Err(Failed::new("build-failed", format!("{} is not a NixOS system", built.outputs.out.display())));
        }
        Ok(Built { system: built.outputs.out, unexpected })
    }

    async fn secure_running(&self) -> Result<Option<PathBuf>, Failed> {
        let running = self.running();
        if let Some(running) = &running {
            self.keep(running).await?;
        }
        Ok(running)
    }

    async fn activate(&self, attempt: &Attempt) -> Result<(), Failed> {
        self.switch(&attempt.system, "test", "activation.log", Check::Do).await?;
        match self.running() {
            Some(running) if running == attempt.system => Ok(()),
            running => {
                let running = running.map_or_else(|| "nothing".into(), |running| running.display().to_string());
                let message = format!("the system said that it was activated, but {running} runs");
                Err(Failed::new("activation-failed", message))
            }
        }
    }

    async fn commit(&self, attempt: &Attempt) -> Result<(), Failed> {
        self.set_profile(&attempt.system).await?;
        self.switch(&attempt.system, "boot", "boot.log", Check::Do).await
    }

    async fn roll_back(&self, attempt: &Attempt, boot: bool) -> Result<(), Failed> {
        let Some(previous) = &attempt.before.running else {
            return Err(Failed::new("no-previous-system", "no system ran before, so there is none to go back to"));
        };
        let activated = self.switch(previous, "test", "rollback.log", Check::Skip).await;
        // The boot default is put back in any case: it is the next way out.
        if boot {
            self.set_profile(previous).await?;
            self.switch(previous, "boot", "rollback-boot.log", Check::Skip).await?;
        }
        if self.running().as_ref() == Some(previous) {
            // Some unit that does not start is what `switch-to-configuration` complains of; the system is the old one.
            if let Err(failed) = activated {
                tracing::warn!(
                    log = failed.log.as_deref().unwrap_or(""),
                    "the system before runs again, but says: {failed}"
                );
            }
            return Ok(());
        }
        activated?;
        let message = format!("{} said that it was activated, but does not run", previous.display());
        Err(Failed::new("rollback-failed", message))
    }
}
