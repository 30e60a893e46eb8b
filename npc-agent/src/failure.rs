//! How a command of the agent fails: a chain of reasons, what to do about it, and a documented exit code.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use npc_core::explain;

/// Exit codes, listed in the long help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Anything without a code of its own.
    Other = 1,
    /// The command line or the configuration is wrong. Clap uses the same code.
    Usage = 2,
    /// The store cannot be reached or does not allow it.
    Store = 3,
    /// What lies in the store is not to be believed.
    Refused = 4,
    /// A release could not be built or activated; the host runs what it ran.
    Failed = 5,
    /// Another agent is at work.
    Locked = 6,
    /// The memory against replay is lost.
    StateLost = 7,
}

/// The exit codes for the long help.
pub const EXIT_CODES: &str = "Exit codes:
  0  done, or nothing to do
  1  failed for a reason without a code of its own
  2  wrong usage: the command line or the configuration
  3  the store cannot be reached or does not allow it
  4  what lies in the store is not to be believed
  5  a release could not be built or activated; the host runs what it ran
  6  another agent is at work
  7  the memory against replay is lost: the host must be enrolled again";

/// A failed command.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&explain::in_one_line(&*self.error))
    }
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), hint: None }
    }

    /// A failure without a code of its own.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Other, error)
    }

    /// A mistake in what the operator gave.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the chain of reasons and the hint, and gives the exit code.
    pub fn report(self) -> ExitCode {
        let text = explain::at_length("npc-agent", &*self.error, self.hint.as_deref());
        // With stderr gone there is nobody left to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.exit as u8)
    }
}
