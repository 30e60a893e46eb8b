//! One agent at a time.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
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
    /// Another agent holds it.
    #[error("another agent is at work (process {0})")]
    Held(String),
    /// The file failed.
    #[error("cannot lock the state directory")]
    Io(#[from] io::Error),
}

/// The right to work on the state directory; given back by the kernel however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn open(state: &StateDirectory) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(state.path("lock"))
}

fn holder(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub fn take(state: &StateDirectory) -> Result<Self, LockError> {
        let mut file = open(state)?;
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
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }

    /// The process id of the agent that runs, if one does.
    pub fn holder(state: &StateDirectory) -> io::Result<Option<u32>> {
        let mut file = match File::open(state.path("lock")) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(holder(&mut file)?.parse().ok()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Has the agent that runs read its local settings anew. Returns whether one runs.
    pub fn poke(state: &StateDirectory) -> io::Result<bool> {
        let pid = Self::holder(state)?.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        match pid {
            Some(pid) => kill_process(pid, Signal::HUP).map(|()| true).map_err(io::Error::from),
            None => Ok(false),
        }
    }
}
