//! Ctrl-C and SIGTERM while npc waits for other programs: they are ended, so that what waits for them cleans up behind itself.
//!
//! Strace keeps the signals of a terminal from ending it, and what it watches outlives it: both are ended by name. At any
//! other time, and at the second signal, npc ends at once.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

static WAITING: Mutex<Waiting> = Mutex::new(Waiting { for_these: BTreeSet::new(), ended_by: None });

struct Waiting {
    for_these: BTreeSet<u32>,
    ended_by: Option<SignalKind>,
}

fn waiting() -> std::sync::MutexGuard<'static, Waiting> {
    // A set and a flag are whole whoever panicked with them.
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a shell expects of a program that a signal ended.
fn code(signal: SignalKind) -> u8 {
    u8::try_from(128 + signal.as_raw_value()).unwrap_or(u8::MAX)
}

/// The exit code, once npc was told to end.
pub(crate) fn exit_code() -> Option<u8> {
    waiting().ended_by.map(code)
}

/// Begins to listen, on a thread of its own.
pub(crate) fn listen() -> io::Result<()> {
    static LISTENS: OnceLock<()> = OnceLock::new();
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
    let mut waiting = waiting();
    if waiting.ended_by.is_some() || waiting.for_these.is_empty() {
        std::process::exit(code(signal).into());
    }
    waiting.ended_by = Some(signal);
    for process in &waiting.for_these {
        end_with_all_below(*process);
    }
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
pub(crate) fn output(command: &mut Command) -> io::Result<Output> {
    let interrupted = || io::Error::new(io::ErrorKind::Interrupted, "npc-publish was interrupted");
    let child = {
        let mut waiting = waiting();
        if waiting.ended_by.is_some() {
            return Err(interrupted());
        }
        let child = command.stdout(Stdio::piped()).spawn()?;
        waiting.for_these.insert(child.id());
        child
    };
    let id = child.id();
    let output = child.wait_with_output();
    let mut waiting = waiting();
    waiting.for_these.remove(&id);
    if waiting.ended_by.is_some() { Err(interrupted()) } else { output }
}
