//! Without systemd: a process in a session of its own, below a small process of ours that outlives the agent.
//!
//! That process holds a lock for as long as it lives, writes down how the program ended, and ends it when told to.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::{Ending, Job};
use crate::activation::process::Program;
use crate::failure::Failure;
use crate::machine::Failed;
use crate::state::{Held, StateDirectory};

/// How often to look whether a process of an earlier agent has ended.
const LOOK: Duration = Duration::from_millis(100);

/// How often to look whether a process of ours has begun.
const START: Duration = Duration::from_millis(2);

pub(super) fn log(state: &StateDirectory, name: &str) -> PathBuf {
    state.path("logs").join(format!("{name}.log"))
}

fn lock(state: &StateDirectory, name: &str) -> PathBuf {
    state.path("units").join(format!("{name}.lock"))
}

pub(super) fn runs(state: &StateDirectory, name: &str) -> bool {
    Held::by(&lock(state, name)).is_some()
}

/// Starts `agent perform`, and returns once that has the lock or has ended.
pub(super) async fn start(state: &StateDirectory, agent: &Path, job: &Job) -> Result<(), Failed> {
    let failed = |reason: &dyn std::fmt::Display| {
        Failed::new("activation-failed", format!("`{}` cannot be run: {reason}", agent.display()))
    };
    let mut command = Command::new(agent);
    command
        .arg("--state")
        .arg(state.path(""))
        .args(["perform", &job.name, "--timeout", &job.timeout.as_secs().to_string(), "--"])
        .args(&job.command)
        .envs(job.environment.iter().cloned())
        .current_dir(&job.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Whoever signals the agent's group does not mean this.
        .process_group(0);
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    while !runs(state, &job.name) && Ending::read(state, &job.name).is_none() {
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            return Ending::read(state, &job.name).map(drop).ok_or_else(|| failed(&status));
        }
        tokio::time::sleep(START).await;
    }
    Ok(())
}

pub(super) async fn ended(state: &StateDirectory, name: &str) -> Option<Ending> {
    while runs(state, name) {
        tokio::time::sleep(LOOK).await;
    }
    Ending::read(state, name)
}

pub(super) async fn stop(state: &StateDirectory, name: &str) {
    let Some(holder) = Held::by(&lock(state, name)) else { return };
    if let Some(pid) = i32::try_from(holder).ok().and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, Signal::TERM);
    }
    ended(state, name).await;
}

/// Runs a program, and writes down how it ended: what `agent perform` does.
pub fn perform(state: &StateDirectory, name: &str, timeout: Duration, command: &[OsString]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    let terminate = {
        let _entered = runtime.enter();
        signal(SignalKind::terminate()).map_err(Failure::other)?
    };
    // Whoever ends what holds the lock finds that it listens.
    let _held = Held::take(&lock(state, name)).map_err(Failure::other)?;
    let ending = runtime.block_on(run(state, name, timeout, command, terminate)).map_err(Failure::other)?;
    ending.write(state, name)?;
    Ok(())
}

async fn run(
    state: &StateDirectory,
    name: &str,
    timeout: Duration,
    command: &[OsString],
    mut terminate: Signals,
) -> io::Result<Ending> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments);
    let log = log(state, name);
    let program = Program { purpose: "run it", kind: "activation-failed", command, log: &log, timeout };
    let told = async {
        terminate.recv().await;
    };
    Ok(match program.run_until(told).await {
        Ok(ending) => ending,
        Err(failed) => {
            // The reason belongs where the program's own words would be; without room for it, the code must do.
            let _ = fs::write(&log, failed.message);
            Ending::exited(127)
        }
    })
}
