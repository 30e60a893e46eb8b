//! Ctrl-C and SIGTERM: npc ends, with the programs that it waits for, and leaves no parts of a flake behind.
//!
//! Strace keeps the signals of a terminal from ending it, and what it watches outlives it: both are ended by name, and what
//! waits for them cleans up behind itself. At any other time, and at the second signal, npc removes its temporary files and
//! ends at once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

static AT_WORK: Mutex<AtWork> =
    Mutex::new(AtWork { waits_for: BTreeSet::new(), litter: BTreeSet::new(), ended_by: None });

/// What there is to end and to remove.
struct AtWork {
    /// Processes.
    waits_for: BTreeSet<u32>,
    /// Temporary files and directories.
    litter: BTreeSet<PathBuf>,
    ended_by: Option<SignalKind>,
}

impl AtWork {
    /// Ends what is waited for.
    fn end(&mut self, by: SignalKind) {
        self.ended_by = Some(by);
        for process in &self.waits_for {
            end_with_all_below(*process);
        }
    }
}

fn at_work() -> MutexGuard<'static, AtWork> {
    // Sets and a flag are whole whoever panicked with them.
    AT_WORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file or directory that an interrupt removes as long as this lives; who made it does so otherwise.
#[derive(Debug)]
pub struct Litter(PathBuf);

impl Litter {
    /// What lies at `path` is to be removed.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        at_work().litter.insert(path.clone());
        Self(path)
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        at_work().litter.remove(&self.0);
    }
}

/// What a shell expects of a program that a signal ended.
fn code(signal: SignalKind) -> u8 {
    u8::try_from(128 + signal.as_raw_value()).unwrap_or(u8::MAX)
}

/// The exit code, once npc was told to end.
pub fn exit_code() -> Option<u8> {
    at_work().ended_by.map(code)
}

/// Waits for the signal to end, for work that leaves word of itself before it does; the failure that ends it.
///
/// Until this is awaited, and once it was dropped, a signal ends npc at once.
pub async fn told_to_end() -> Result<std::convert::Infallible, Failure> {
    let failed = |error| Failure::other(format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let told = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    at_work().ended_by = Some(told);
    Err(Failure::other("npc was interrupted"))
}

/// Whether anybody has begun to listen, or never will.
static LISTENS: OnceLock<()> = OnceLock::new();

/// Leaves signals to others, who say with [`end_what_is_waited_for`] when to end.
pub fn leave_to_others() {
    // Whoever listens already goes on.
    let _ = LISTENS.set(());
}

/// Ends the programs that are waited for, and starts no more.
pub fn end_what_is_waited_for() {
    at_work().end(SignalKind::terminate());
}

/// Begins to listen, on a thread of its own.
pub fn listen() -> io::Result<()> {
    if LISTENS.set(()).is_err() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => end(SignalKind::interrupt()),
                    _ = terminate.recv() => end(SignalKind::terminate()),
                }
            }
        });
    })?;
    Ok(())
}

fn end(signal: SignalKind) {
    let mut work = at_work();
    if work.ended_by.is_some() || work.waits_for.is_empty() {
        for path in &work.litter {
            // What is still being written to may outlast it, and nobody is left to tell.
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
        std::process::exit(code(signal).into());
    }
    work.end(signal);
}

/// Whatever a process started is ended first: it would go on without it.
fn end_with_all_below(process: u32) {
    for child in children(process) {
        end_with_all_below(child);
    }
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The children of a process, where the kernel tells them (`proc_pid_task_children(5)`).
fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let listed = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    listed.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Runs a program to its end, and gives what it wrote to stdout, and to stderr where that is a pipe.
///
/// Once npc was interrupted, it fails, and so does every later call.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let interrupted = || io::Error::new(io::ErrorKind::Interrupted, "npc was interrupted");
    let child = {
        let mut work = at_work();
        if work.ended_by.is_some() {
            return Err(interrupted());
        }
        let child = command.stdout(Stdio::piped()).spawn()?;
        work.waits_for.insert(child.id());
        child
    };
    let id = child.id();
    let output = child.wait_with_output();
    let mut work = at_work();
    work.waits_for.remove(&id);
    if work.ended_by.is_some() { Err(interrupted()) } else { output }
}
