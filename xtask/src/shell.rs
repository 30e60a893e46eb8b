//! Running programs from the workspace's root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_owned()
}

/// A command in the workspace's root.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command, which must succeed.
pub(crate) fn run(mut command: Command) -> Outcome {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown} ended with {status}")),
        Err(error) => Err(format!("{shown} cannot be started: {error}")),
    }
}

/// Says what begins.
pub(crate) fn announce(what: &str) {
    eprintln!("\n== {what}");
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Builds the programs in a profile, and gives the directory that they lie in.
pub(crate) fn build_programs(profile: &str) -> Result<PathBuf, String> {
    run(command(&cargo(), &["build", "--quiet", "--profile", profile, "-p", "npc-publish", "-p", "npc-agent"]))?;
    Ok(target_directory().join(if profile == "dev" { "debug" } else { profile }))
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
