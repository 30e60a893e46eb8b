//! What the machine was called when its first agent began.
//!
//! A name that comes from the network may be another one tomorrow, and whoever gives it away must not be able to say which
//! assignment a host obeys, or which configuration it builds. So the name is kept, and settings alone change it.

use npc_core::name::HostName;

use super::tree::{StateDirectory, StateError};
use crate::settings::is_a_name_of_its_own;

const FILE: &str = "machine";

impl StateDirectory {
    /// The name that was kept, or else what the machine is called now.
    pub fn machine_name(&self) -> String {
        let kept = self.read_bytes(FILE).unwrap_or_else(|error| {
            tracing::error!(kind = "state", error = &error as &dyn std::error::Error, "cannot read the machine's name");
            None
        });
        let kept = kept.and_then(|bytes| String::from_utf8(bytes).ok());
        // One that is damaged is none.
        kept.filter(|name| name.to_lowercase().parse::<HostName>().is_ok()).unwrap_or_else(current)
    }

    /// Forgets the name that was kept.
    pub fn forget_machine_name(&self) -> Result<(), StateError> {
        self.remove(FILE)
    }

    /// Keeps what the machine is called, where nothing is kept yet.
    pub fn keep_machine_name(&self) -> Result<(), StateError> {
        let (kept, name) = (self.machine_name(), current());
        if kept != name {
            tracing::info!("the machine is called `{name}` by now; to npc it is `{kept}`, unless the settings say so");
            return Ok(());
        }
        if is_a_name_of_its_own(&name) && !self.path(FILE).exists() {
            self.write_bytes(FILE, name.as_bytes(), 0o644)?;
        }
        Ok(())
    }
}

/// What the machine is called now.
pub fn current() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_the_name_that_it_had_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        state.keep_machine_name().expect("kept");
        assert_eq!(state.machine_name(), current());
        state.write_bytes(FILE, b"once-upon-a-time", 0o644).expect("written");
        state.keep_machine_name().expect("kept");
        assert_eq!(state.machine_name(), "once-upon-a-time");
    }
}
