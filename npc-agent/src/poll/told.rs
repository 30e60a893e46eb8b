//! What the host is told to follow: by its assignment where there is one, else by its own settings.
//!
//! "An assignment once seen holds until a higher-serial one replaces or removes it": neither deleting the object nor a
//! credential that fails repoints a host. Only of an assignment that was never seen do absence and denial mean that there is
//! none.

use std::time::Duration;

use npc_core::digest::Digest;
use npc_core::document::{Assignment, Kind, Orders, Serial, Standing};
use npc_core::envelope::Envelope;
use npc_core::name::{AssignmentName, ConfigurationName};
use npc_core::trust::{Floors, Verified};

use super::initial::Initial;
use super::watched::Watched;
use crate::settings::Following;
use crate::state::{HeldAssignment, Place, StateDirectory};

/// The shortest and the longest poll interval that an assignment can ask for.
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(1));

/// The shortest and the longest time between two reports that a rollout can ask for.
const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(30));

/// What the host is to follow, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    /// Where it is to get its releases.
    pub place: Place,
    /// The configuration that it is to build in the end: another one than there, as long as an initial one comes first.
    pub configuration: ConfigurationName,
    /// Whether to change nothing.
    pub paused: bool,
    /// How long between two polls, where the assignment says.
    pub poll_interval: Option<Duration>,
    /// How long between two reports, as long as a rollout waits for the host.
    pub heartbeat: Option<Duration>,
    /// What it is to do once, if it is the installation that is meant.
    pub orders: Option<Orders>,
    /// Who says so.
    pub by: Ruler,
}

/// Whose word the host goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruler {
    /// Its own settings'.
    Host,
    /// This assignment's.
    Assignment(Serial),
    /// That of an assignment which was believed, and whose words are lost: nothing is changed until there is one again.
    Lost,
}

impl Instructions {
    /// What an assignment says, or else what the host's `own` settings say, but for the configuration that comes before all.
    pub fn new(
        state: &StateDirectory,
        floors: &Floors,
        name: &AssignmentName,
        own: &Following,
        initial: &Initial,
    ) -> Self {
        Self::of(HeldAssignment::read(state, floors, name).as_ref(), was_seen(floors, name), own, initial)
    }

    fn of(held: Option<&HeldAssignment>, was_seen: bool, own: &Following, initial: &Initial) -> Self {
        let mut instructions = Self::said(held, was_seen, own);
        if let Initial::Due(name) = initial {
            instructions.place.configuration = name.clone();
        }
        instructions
    }

    fn said(held: Option<&HeldAssignment>, was_seen: bool, own: &Following) -> Self {
        let Some(HeldAssignment { serial, says, .. }) = held else {
            let by = if was_seen { Ruler::Lost } else { Ruler::Host };
            return Self { paused: was_seen, ..Self::by_itself(own, by) };
        };
        let Standing::Present(said) = says else { return Self::by_itself(own, Ruler::Host) };
        let within = |seconds, (least, most)| Duration::from_secs(seconds).clamp(least, most);
        let heartbeat = said.rollout.as_ref().and_then(|rollout| rollout.heartbeat);
        Self {
            place: Place { remote: said.remote.clone(), configuration: said.configuration.clone(), pin: said.pin },
            configuration: said.configuration.clone(),
            paused: said.paused,
            poll_interval: said.poll_interval.map(|seconds| within(seconds, POLL_INTERVAL)),
            heartbeat: heartbeat.map(|seconds| within(seconds, HEARTBEAT)),
            orders: said.orders.clone(),
            by: Ruler::Assignment(*serial),
        }
    }

    fn by_itself(own: &Following, by: Ruler) -> Self {
        let (place, configuration) = (Place::from(own), own.configuration.clone());
        Self { place, configuration, paused: false, poll_interval: None, heartbeat: None, orders: None, by }
    }

    /// What this installation is to do once.
    pub fn orders_for(&self, instance: &str) -> Option<&Orders> {
        let is_meant = |orders: &&Orders| orders.instance.as_deref().is_none_or(|meant| meant == instance);
        self.orders.as_ref().filter(is_meant)
    }

    /// The assignment that says so, where one does.
    pub fn assignment(&self) -> Option<Serial> {
        match self.by {
            Ruler::Assignment(serial) => Some(serial),
            Ruler::Host | Ruler::Lost => None,
        }
    }
}

/// Whether an assignment of this name was ever believed.
fn was_seen(floors: &Floors, name: &AssignmentName) -> bool {
    floors.get(Kind::Assignment, name.as_str()).is_some()
}

/// The host's assignment, as far as it is known, and its own settings.
#[derive(Debug)]
pub struct Told {
    pub(super) name: AssignmentName,
    pub(super) watched: Watched,
    own: Following,
    initial: Initial,
    held: Option<HeldAssignment>,
    /// Whether the store was told of already that does not show what is obeyed.
    pub(super) has_wondered: bool,
    instructions: Instructions,
}

impl Told {
    /// What is known at the start.
    pub fn open(
        state: &StateDirectory,
        floors: &Floors,
        name: AssignmentName,
        own: Following,
        initial: Initial,
    ) -> Self {
        let held = HeldAssignment::read(state, floors, &name);
        let instructions = Instructions::of(held.as_ref(), was_seen(floors, &name), &own, &initial);
        Self { name, watched: Watched::default(), own, initial, held, has_wondered: false, instructions }
    }

    /// What the host is to follow.
    pub fn instructions(&self) -> &Instructions {
        &self.instructions
    }

    /// Whether an assignment is obeyed, or a tombstone in its place.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether these are the very words that are obeyed already.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        let held = self.held.as_ref().map(|held| held.digest);
        held.is_some() && Envelope::parse(bytes).is_ok_and(|envelope| Some(Digest::of(envelope.payload())) == held)
    }

    /// Obeys this assignment from now on.
    pub(super) fn obey(&mut self, verified: &Verified<Assignment>) {
        let (serial, digest, says) = (verified.header().serial, verified.digest(), verified.body().clone());
        self.held = Some(HeldAssignment { serial, digest, says });
        self.instructions = Instructions::of(self.held.as_ref(), true, &self.own, &self.initial);
    }

    /// Takes in what the host's own settings say from now on.
    pub(super) fn set_own(&mut self, own: Following) {
        self.own = own;
        self.reconsider();
    }

    /// Has the host follow what it is told from now on. Returns whether that was another configuration's turn until now.
    pub(super) fn end_initial(&mut self) -> bool {
        let ends = self.initial.ends();
        if ends {
            self.reconsider();
        }
        ends
    }

    fn reconsider(&mut self) {
        let is_lost = self.instructions.by == Ruler::Lost;
        self.instructions = Instructions::of(self.held.as_ref(), is_lost, &self.own, &self.initial);
    }

    /// The configuration that a host is told to build which follows this one: the initial one is nobody's word.
    pub(super) fn in_the_end<'a>(&'a self, followed: &'a ConfigurationName) -> &'a ConfigurationName {
        if self.initial.is(followed) { &self.instructions.configuration } else { followed }
    }
}
