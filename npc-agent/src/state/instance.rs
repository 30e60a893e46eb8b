//! One installation of a host.

use npc_core::digest::Digest;
use serde::{Deserialize, Serialize};

use super::marks::Marks;
use super::tree::{StateDirectory, StateError};

/// One installation of a host: a new one when the machine is re-created or its disk copied, so that orders meant for the old one
/// pass it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    id: String,
    /// What its machine is known by.
    #[serde(default)]
    machine: Marks,
}

impl Instance {
    const FILE: &'static str = "instance";

    /// Has the id that was made when the loss was noticed.
    const LOST: &'static str = "lost";

    /// Reads the id.
    pub fn read(state: &StateDirectory) -> Result<Option<Self>, StateError> {
        state.read_json(Self::FILE)
    }

    /// Makes and keeps a new id, on the machine that is known.
    pub fn create(state: &StateDirectory) -> Result<Self, StateError> {
        let machine = Self::read(state).ok().flatten().map(|known| known.machine).unwrap_or_default();
        Self::create_on(state, machine)
    }

    /// Makes and keeps a new id on this machine.
    pub fn create_on(state: &StateDirectory, machine: Marks) -> Result<Self, StateError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StateError {
            action: "create",
            path: state.path(Self::FILE),
            source: std::io::Error::other(error),
        })?;
        let instance = Self { id: Digest::of(&random).to_string()[..32].to_owned(), machine };
        state.write_json(Self::FILE, &instance)?;
        Ok(instance)
    }

    /// Whether the state directory comes from another machine. One that nobody can read tells nothing.
    pub fn is_of_another(state: &StateDirectory, present: &Marks) -> bool {
        Self::read(state).ok().flatten().is_some_and(|known| known.machine.are_not(present))
    }

    /// Notes what the machine is known by now; for want of room, the next time.
    pub fn note_machine(state: &StateDirectory, present: &Marks) {
        let Ok(Some(known)) = Self::read(state) else { return };
        let machine = known.machine.renewed(present);
        if machine == known.machine {
            return;
        }
        if let Err(error) = state.write_json(Self::FILE, &Self { machine, ..known }) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(kind = "state", error, "cannot note what the machine is known by");
        }
    }

    /// A new id for a host that has lost its memory against replay: the same one until it has another memory.
    pub fn after_a_loss(state: &StateDirectory) -> Result<Self, StateError> {
        if let Some(instance) = Self::of_a_loss(state) {
            return Ok(instance);
        }
        let instance = Self::create(state)?;
        state.write_json(Self::LOST, &instance)?;
        Ok(instance)
    }

    /// The id of a host that has lost its memory against replay, and has no other yet.
    pub fn of_a_loss(state: &StateDirectory) -> Option<Self> {
        state.read_json(Self::LOST).ok()?
    }

    /// The memory is another one from now on.
    pub fn forget_loss(state: &StateDirectory) -> Result<(), StateError> {
        state.remove(Self::LOST)
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }
}
