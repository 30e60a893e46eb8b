//! A rollout: the signed intent to bring hosts to one release, wave after wave.
//!
//! It says who belongs to which wave, what they are to run, and where they came from. How far it has got is not in it: that the
//! assignments and the reports of its members say.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Believed, Body, Following, Kind, Pin, Serial};
use crate::Timestamp;
use crate::digest::Digest;
use crate::name::{AssignmentName, ConfigurationName, HostName, RemoteName};

/// The intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// The remote that its hosts follow meanwhile.
    pub remote: RemoteName,
    /// The release that they are brought to.
    pub release: Believed,
    /// The archive of that release.
    pub archive: Digest,
    /// How far it is to have got at the end of each wave, as its operator said it.
    pub extents: Vec<Extent>,
    /// Its members, in the order in which they are told.
    pub waves: Vec<Vec<Member>>,
    /// When a wave is done, and when the rollout has failed.
    pub gates: Gates,
    /// What is to be done now.
    pub state: RolloutState,
    /// Why, where somebody would want to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Body for Rollout {
    const KIND: Kind = Kind::Rollout;
}

/// How far a rollout is to have got: `3` hosts, or `10%` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Extent {
    /// So many hosts.
    Hosts(NonZeroU32),
    /// So many of a hundred, rounded up: 1 to 100.
    Percent(u8),
}

impl Extent {
    /// Everybody.
    pub const ALL: Self = Self::Percent(100);

    /// How many hosts that is of `total`.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Hosts(number) => usize::try_from(number.get()).unwrap_or(usize::MAX).min(total),
            Self::Percent(part) => total.saturating_mul(usize::from(part)).div_ceil(100),
        }
    }
}

impl FromStr for Extent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = match text.strip_suffix('%') {
            Some(digits) => digits.parse().ok().filter(|part| (1..=100).contains(part)).map(Self::Percent),
            None => text.parse().ok().map(Self::Hosts),
        };
        read.ok_or_else(|| format!("`{text}` is neither a number of hosts, such as 3, nor a part of them, such as 10%"))
    }
}

impl TryFrom<String> for Extent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Extent> for String {
    fn from(extent: Extent) -> Self {
        extent.to_string()
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(number) => number.fmt(formatter),
            Self::Percent(part) => write!(formatter, "{part}%"),
        }
    }
}

/// An assignment that a rollout has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The assignment.
    pub assignment: AssignmentName,
    /// The hosts that ask for it.
    pub hosts: Vec<HostName>,
    /// The configuration that they build.
    pub configuration: ConfigurationName,
    /// What they followed before, by an assignment or else by their own account; none where neither is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// The serial of what stood in the assignment's place when the rollout was planned, be it its removal; none where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Serial>,
    /// Units that had failed on them before, and are not held against the release.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed_units: BTreeSet<String>,
}

impl Member {
    /// Whether `following` is what it did when the rollout was planned. Where nothing is said, nobody has led it elsewhere.
    pub fn is_before(&self, following: Option<&Following>) -> bool {
        let Some(following) = following else { return true };
        self.before.as_ref().is_some_and(|before| {
            let same_place = following.remote == before.remote && following.configuration == before.configuration;
            same_place && following.pin == before.pin
        })
    }
}

/// What hosts followed before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The remote.
    pub remote: RemoteName,
    /// The configuration.
    pub configuration: ConfigurationName,
    /// The release that they were held at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// When a wave is done, and when the rollout has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// Seconds for which every host of a wave must be well before the next wave begins.
    pub soak: u64,
    /// Seconds after which a host that was told, and is not well by then, counts as failed.
    pub timeout: u64,
    /// How many hosts may fail.
    pub max_failed: u32,
    /// What becomes of the rollout when more do.
    pub on_failure: OnFailure,
    /// Whether hosts are told to reboot that the release has need a reboot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboot: bool,
}

/// What becomes of a rollout when too many hosts fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Nobody else is told.
    Halt,
    /// All are pointed back to where they came from.
    Revert,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutState {
    /// Wave after wave is told.
    Running,
    /// Nobody else is told until an operator says so.
    Paused,
    /// Likewise, since too many hosts have failed.
    Halted,
    /// All are pointed back.
    Reverting,
    /// All have been.
    Reverted,
    /// It was ended; its hosts stay where they were.
    Aborted,
    /// The release becomes another remote's, and the hosts are pointed there.
    Finishing(RemoteName),
    /// It has become that, and they have been.
    Finished,
}

impl RolloutState {
    /// Whether its hosts are still its own.
    pub fn is_active(&self) -> bool {
        !matches!(self, Self::Reverted | Self::Aborted | Self::Finished)
    }
}

/// Who drives a rollout, until others may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// A name for people.
    pub name: String,
    /// A name of its own for each run.
    pub id: String,
    /// Until when.
    pub until: Timestamp,
}
