//! What the host is told to follow: by its assignment where there is one, else by its own settings.
//!
//! "An assignment once seen holds until a higher-serial one replaces or removes it": neither deleting the object nor a
//! credential that fails repoints a host. Only of an assignment that was never seen do absence and denial mean that there is
//! none.

use std::time::Duration;

use npc_core::document::{self, Assignment, Kind, Pin, Serial, Standing};
use npc_core::name::AssignmentName;
use npc_core::trust::{Floors, Verified};

use super::watched::Watched;
use crate::settings::Following;
use crate::state::{HeldAssignment, StateDirectory};

/// The shortest and the longest poll interval that an assignment can ask for.
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(1));

/// What the host is to follow, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    /// Remote and configuration.
    pub following: Following,
    /// Exactly this release instead of the remote's current one.
    pub pin: Option<Pin>,
    /// Whether to change nothing.
    pub paused: bool,
    /// How long between two polls, where the assignment says.
    pub poll_interval: Option<Duration>,
    /// The assignment that says so; none where the host's own settings rule.
    pub assignment: Option<Serial>,
}

impl Instructions {
    /// What an assignment says, or else what the host's `own` settings say.
    pub fn new(held: Option<&HeldAssignment>, own: &Following) -> Self {
        let Some(HeldAssignment { serial, says: Standing::Present(said), .. }) = held else {
            let following = own.clone();
            return Self { following, pin: None, paused: false, poll_interval: None, assignment: None };
        };
        let document::Following { remote, configuration, .. } = &**said;
        let clamped = |seconds| Duration::from_secs(seconds).clamp(POLL_INTERVAL.0, POLL_INTERVAL.1);
        Self {
            following: Following { remote: remote.clone(), configuration: configuration.clone() },
            pin: said.pin,
            paused: said.paused,
            poll_interval: said.poll_interval.map(clamped),
            assignment: Some(*serial),
        }
    }

    /// Whether `other` leads to the same releases.
    pub fn leads_where(&self, other: &Self) -> bool {
        self.following == other.following && self.pin == other.pin
    }
}

/// The host's assignment, as far as it is known, and its own settings.
#[derive(Debug)]
pub struct Told {
    pub(super) name: AssignmentName,
    pub(super) watched: Watched,
    own: Following,
    held: Option<HeldAssignment>,
    /// Whether the store was told of already that does not show what is obeyed.
    pub(super) has_wondered: bool,
    instructions: Instructions,
}

impl Told {
    /// What is known at the start.
    pub fn open(state: &StateDirectory, floors: &Floors, name: AssignmentName, own: Following) -> Self {
        let held = HeldAssignment::read(state, floors, &name);
        let instructions = Instructions::new(held.as_ref(), &own);
        Self { name, watched: Watched::default(), own, held, has_wondered: false, instructions }
    }

    /// What the host is to follow.
    pub fn instructions(&self) -> &Instructions {
        &self.instructions
    }

    /// Whether an assignment was believed whose words are not kept any more.
    pub(super) fn is_lost(&self, floors: &Floors) -> bool {
        self.held.is_none() && self.was_seen(floors)
    }

    /// Whether an assignment was ever believed.
    pub(super) fn was_seen(&self, floors: &Floors) -> bool {
        floors.get(Kind::Assignment, self.name.as_str()).is_some()
    }

    /// Whether these are the very words that are obeyed already.
    pub(super) fn holds(&self, payload: &[u8]) -> bool {
        self.held.as_ref().is_some_and(|held| held.digest == npc_core::digest::Digest::of(payload))
    }

    /// Obeys this assignment from now on.
    pub(super) fn obey(&mut self, verified: &Verified<Assignment>) {
        let (serial, digest, says) = (verified.header().serial, verified.digest(), verified.body().clone());
        self.held = Some(HeldAssignment { serial, digest, says });
        self.instructions = Instructions::new(self.held.as_ref(), &self.own);
    }

    /// Takes in what the host's own settings say from now on.
    pub(super) fn set_own(&mut self, own: Following) {
        self.own = own;
        self.instructions = Instructions::new(self.held.as_ref(), &self.own);
    }
}
