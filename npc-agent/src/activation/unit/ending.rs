//! How a unit ended, as it wrote down itself.

use serde::{Deserialize, Serialize};

use crate::state::{StateDirectory, StateError};

/// How far a unit got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is no trace of it.
    Absent,
    /// It goes on.
    Running,
    /// It ended.
    Ended(Ending),
}

/// How a unit ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// systemd's word for it (`$SERVICE_RESULT` in systemd.exec(5)): `success`, `exit-code`, `signal`, `timeout`, ….
    pub result: String,
    /// The exit code, or the name of the signal.
    pub status: String,
}

impl Ending {
    /// An end of the program's own, with this exit code.
    pub fn exited(code: i32) -> Self {
        let result = if code == 0 { "success" } else { "exit-code" };
        Self { result: result.to_owned(), status: code.to_string() }
    }

    /// Another end.
    pub fn other(result: &str, status: impl Into<String>) -> Self {
        Self { result: result.to_owned(), status: status.into() }
    }

    /// The exit code, where the program ended by itself.
    pub fn code(&self) -> Option<i32> {
        match self.result.as_str() {
            "success" | "exit-code" => self.status.parse().ok(),
            _ => None,
        }
    }

    fn file(name: &str) -> String {
        format!("units/{name}.json")
    }

    /// Reads what a unit wrote down. What cannot be read is as good as nothing.
    pub fn read(state: &StateDirectory, name: &str) -> Option<Self> {
        state.read_json(&Self::file(name)).unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot read how a unit ended");
            None
        })
    }

    /// Writes it down, durably.
    pub fn write(&self, state: &StateDirectory, name: &str) -> Result<(), StateError> {
        state.write_json(&Self::file(name), self)
    }

    /// Has the unit run anew.
    pub(super) fn forget(state: &StateDirectory, name: &str) {
        let path = state.path(&Self::file(name));
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot tidy up");
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.result.as_str() {
            // To systemd, SIGTERM is a clean end.
            "success" if self.code().is_none() => write!(formatter, "it was ended by SIG{}", self.status),
            "success" => formatter.write_str("it succeeded"),
            "exit-code" => write!(formatter, "exit status: {}", self.status),
            "timeout" => formatter.write_str("it took too long"),
            "stopped" => formatter.write_str("it was stopped"),
            result => write!(formatter, "{result}: {}", self.status),
        }
    }
}
