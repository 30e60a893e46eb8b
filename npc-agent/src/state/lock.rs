//! Locks that say who holds them: one agent at a time, one commit or rescue at a time.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use super::tree::StateDirectory;

/// How often to try again for the lock.
const TRIES: u32 = 5;

/// How long to wait before each.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A lock that could not be had.
#[derive(Debug, Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("another agent is at work (process {0})")]
    Held(String),
    /// The file failed.
    #[error("cannot lock the state directory")]
    Io(#[from] io::Error),
}

/// A locked file with its holder's process id in it; given back by the kernel however the process ends.
#[derive(Debug)]
pub struct Held {
    _file: File,
}

impl Held {
    /// Takes the lock, or says who has it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // Whoever asks for the holder has the lock for a moment.
                Err(TryLockError::WouldBlock) if tries < TRIES => tries += 1,
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file)?)),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        // A full disk takes the number away, not the lock.
        let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::warn!(path = %path.display(), %error, "cannot note who holds a lock");
        }
        Ok(Self { _file: file })
    }

    /// The process id of the holder; none where the lock is free, or not there.
    pub fn by(path: &Path) -> Option<u32> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => holder(&mut file).ok()?.parse().ok(),
            _ => None,
        }
    }
}

fn holder(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// The right to work on the state directory.
#[derive(Debug)]
pub struct Lock {
    _held: Held,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(state: &StateDirectory) -> Result<Self, LockError> {
        Held::take(&state.path("lock")).map(|held| Self { _held: held })
    }

    /// The process id of the agent that runs, if one does.
    pub fn holder(state: &StateDirectory) -> Option<u32> {
        Held::by(&state.path("lock"))
    }

    /// Has the agent that runs read its local settings anew. Returns whether one runs.
    pub fn poke(state: &StateDirectory) -> io::Result<bool> {
        Self::signal(state, Signal::HUP)
    }

    /// Ends the agent that runs, whatever it is doing. Returns whether one ran.
    pub fn kill(state: &StateDirectory) -> io::Result<bool> {
        Self::signal(state, Signal::KILL)
    }

    fn signal(state: &StateDirectory, signal: Signal) -> io::Result<bool> {
        match Self::holder(state).and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            Some(pid) => kill_process(pid, signal).map(|()| true).map_err(io::Error::from),
            None => Ok(false),
        }
    }
}

/// The right to commit, or to go back on an attempt: whoever has it reads the journal anew before it acts.
#[derive(Debug)]
pub struct CommitLock {
    _held: Held,
}

impl CommitLock {
    /// Takes the lock, or says who has it.
    pub fn take(state: &StateDirectory) -> Result<Self, LockError> {
        Held::take(&state.path("commit.lock")).map(|held| Self { _held: held })
    }
}
