//! Building a system with `nix build`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use npc_core::digest::Digest;
use serde::Deserialize;
use tokio::process::Command;

use super::NixOs;
use super::access::Access;
use crate::activation::process::Program;
use crate::activation::unit::end;
use crate::machine::{Built, Failed, Target};

/// `nix build --json` for one installable is short.
const BUILD_JSON_BYTES: u64 = 1024 * 1024;

/// What Nix 2.8 says of an attribute path that begins with a dot.
const UNKNOWN_DOT: &str = "..nixosConfigurations";

/// What a build is given.
#[derive(Debug, Clone)]
pub struct Build {
    /// How long it may take.
    pub timeout: Duration,
    /// How much memory it may take, as systemd's `MemoryMax` has it; without systemd, there is no bound.
    pub memory_max: Option<String>,
    /// What it takes to fetch private inputs.
    pub access: Access,
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
    pub(super) async fn build_system(&self, target: &Target, flake: &Path) -> Result<Built, Failed> {
        self.settings.build.access.check()?;
        let failed = |error: io::Error| Failed::new("build-failed", format!("could not build the system: {error}"));
        let link = self.state.path("roots").join(format!("built-{}", target.archive.sha256.short()));
        let json = match self.nix_build(target, flake, &link, ".").await {
            Err(failed) if failed.log.as_deref().is_some_and(|log| log.contains(UNKNOWN_DOT)) => {
                self.nix_build(target, flake, &link, "").await?
            }
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

    async fn nix_build(&self, target: &Target, flake: &Path, link: &Path, dot: &str) -> Result<Vec<u8>, Failed> {
        if self.units.has_systemd() {
            // It outlives an agent that is killed, and would take its share of the memory beside the next one's.
            end(&self.build_scope()).await;
        }
        let (purpose, kind, log) = ("build the system", "build-failed", self.log("build.log"));
        let command = self.build_command(target, flake, link, dot);
        let program = Program { purpose, kind, command, log: &log, timeout: self.settings.build.timeout };
        program.output(BUILD_JSON_BYTES).await
    }

    /// A name under which an agent finds the builds of the one before, and no other agent's.
    fn build_scope(&self) -> String {
        let state = self.state.path("");
        format!("npc-build-{}.scope", Digest::of(state.as_os_str().as_encoded_bytes()).short())
    }

    /// A leading dot keeps Nix from looking for the attribute in `packages` first: the publisher, too, evaluates without that,
    /// and the archive may lack what it would read.
    fn build_command(&self, target: &Target, flake: &Path, link: &Path, dot: &str) -> Command {
        let mut installable = OsString::from("path:");
        installable.push(flake);
        installable
            .push(format!("#{dot}nixosConfigurations.{}.config.system.build.toplevel", target.configuration.quoted()));
        let mut command = match &self.settings.build.memory_max {
            Some(limit) if self.units.has_systemd() => {
                let mut scope = self.nix("systemd-run");
                let (unit, bound) = (format!("--unit={}", self.build_scope()), format!("--property=MemoryMax={limit}"));
                scope.args(["--scope", "--quiet", "--collect", &unit, &bound, "--", "nix"]);
                scope
            }
            _ => self.nix("nix"),
        };
        command
            .args(["--extra-experimental-features", "nix-command flakes", "build", "--json"])
            // Without `--no-write-lock-file`, beside which Nix takes missing locks for allowed as long as it keeps them in mind.
            .args(["--no-update-lock-file", "--option", "pure-eval", "true"])
            .args(["--option", "accept-flake-config", "false", "--option", "use-registries", "false"])
            .args(["--option", "flake-registry"])
            .arg(self.registry());
        self.settings.build.access.give(&mut command);
        command.arg("--out-link").arg(link).arg(installable);
        command
    }
}
