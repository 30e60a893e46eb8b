//! The journal: where the agent is, in a form that the version before can still read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{Archive, Outcome, Serial};
use npc_core::name::{ConfigurationName, RemoteName};
use serde::{Deserialize, Serialize};

use super::{Attempt, Errand, Failed, Found, RebootOrdered, RebootWanted, Stays};

/// How many outcomes are remembered.
const OUTCOMES: usize = 10;

/// How many quarantined systems are remembered; the oldest is forgotten first.
const QUARANTINED: usize = 50;

/// A verified release, as far as this host is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The remote it is the release of.
    pub remote: RemoteName,
    /// Its serial.
    pub serial: Serial,
    /// The digest of its signed payload.
    pub digest: Digest,
    /// The flake's files.
    pub archive: Archive,
    /// The configuration in that flake.
    pub configuration: ConfigurationName,
    /// The derivation that the publisher got for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drv_path: Option<String>,
    /// The system that the publisher expects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_path: Option<String>,
    /// The commit it was published from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// When it stops being a reason to change anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Raised by the publisher to have quarantined systems tried again.
    #[serde(default)]
    pub attempt: u32,
}

impl Target {
    /// What a failure of this release is remembered under.
    pub fn key(&self) -> SystemKey {
        let archive = || format!("{}#{}", self.archive.sha256, self.configuration);
        SystemKey(self.out_path.clone().or_else(|| self.drv_path.clone()).unwrap_or_else(archive))
    }
}

/// A system's identity: its store path, else its derivation, else archive and configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SystemKey(String);

impl std::fmt::Display for SystemKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What passed probation and is the boot default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The release that says so; renewed when a later one changes nothing here.
    pub target: Target,
    /// The system: a store path, or a flake's directory where a command activates.
    pub system: PathBuf,
    /// Since when it runs.
    pub since: Timestamp,
}

impl Committed {
    /// Whether `target` would lead to this very system.
    pub fn is_already(&self, target: &Target) -> bool {
        let mine = &self.target;
        if mine.configuration != target.configuration {
            return false;
        }
        let same_out = target.out_path.as_ref().is_some_and(|out| self.system.as_os_str() == out.as_str());
        let same_drv = target.drv_path.is_some() && target.drv_path == mine.drv_path;
        same_out || same_drv || mine.archive == target.archive
    }
}

/// What building a target gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// The system: a store path, or a flake's directory where a command activates.
    pub system: PathBuf,
    /// In what it differs from what the publisher got: another Nix, another system, or tampering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexpected: Option<Failed>,
}

impl From<PathBuf> for Built {
    fn from(system: PathBuf) -> Self {
        Self { system, unexpected: None }
    }
}

/// Where the agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is under way.
    #[default]
    Steady,
    /// A release was believed; its archive is to be fetched.
    Fetched {
        /// The release.
        target: Target,
    },
    /// Its archive has the signed digest and lies unpacked; it is to be built.
    Verified {
        /// The release.
        target: Target,
    },
    /// Its system is in the Nix store, kept from garbage collection; it is to be activated.
    Built {
        /// The release.
        target: Target,
        /// What building gave.
        #[serde(flatten)]
        built: Built,
    },
    /// The system is being activated. The next boot is still the old one.
    Activating(Attempt),
    /// The system runs and must prove itself.
    Probation(Attempt),
    /// The system is being made the boot default.
    Committing(Attempt),
    /// The system before is being activated again.
    RollingBack {
        /// What failed.
        attempt: Attempt,
        /// Why.
        reason: Failed,
        /// Whether the boot default may have been changed and must be put back.
        boot: bool,
        /// Whether the dead-man timer has activated the system before already: what is left is to look how the host is.
        #[serde(default, skip_serializing_if = "is_false")]
        rescued: bool,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Phase {
    /// The phase's stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Fetched { .. } => "fetched",
            Self::Verified { .. } => "verified",
            Self::Built { .. } => "built",
            Self::Activating(_) => "activating",
            Self::Probation(_) => "probation",
            Self::Committing(_) => "committing",
            Self::RollingBack { .. } => "rolling-back",
        }
    }

    /// Whether breaking off here would leave half a step behind.
    pub fn must_finish(&self) -> bool {
        matches!(self, Self::Activating(_) | Self::Probation(_) | Self::Committing(_) | Self::RollingBack { .. })
    }

    /// The attempt that is under way.
    pub fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Activating(attempt)
            | Self::Probation(attempt)
            | Self::Committing(attempt)
            | Self::RollingBack { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    /// The release that is under way.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Steady => None,
            Self::Fetched { target } | Self::Verified { target } | Self::Built { target, .. } => Some(target),
            _ => self.attempt().map(|attempt| &attempt.target),
        }
    }
}

/// A pause after failures, before anything was activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOff {
    /// Failures in a row.
    pub failures: u32,
    /// When to try again.
    pub until: Timestamp,
}

/// A system that failed on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Failed,
    /// The release's `attempt` at that time: a higher one lifts the quarantine.
    pub attempt: u32,
    /// What was built: an unrelated release may have another key and build the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<PathBuf>,
}

/// Why the store has brought nothing that could be acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Failed,
}

/// A release that was believed, for this configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Believed {
    /// The digest of its signed payload.
    pub digest: Digest,
    /// The configuration.
    pub configuration: ConfigurationName,
}

impl Believed {
    pub(super) fn of(target: &Target) -> Self {
        Self { digest: target.digest, configuration: target.configuration.clone() }
    }
}

/// A system that somebody activated by hand. It is not fought over until the host is told something new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// The system.
    pub system: PathBuf,
    /// When it was seen first.
    pub since: Timestamp,
}

/// A boot default that has never been booted with the kernel, initrd or parameters that it brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproven {
    /// The attempt that made it the boot default.
    pub attempt: Attempt,
    /// The boot in which that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// What was committed before, to fall back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Committed>,
    /// Boots of it that ended before it had proved itself.
    #[serde(default)]
    pub boots: u32,
}

/// A boot into a system that was committed already, and how that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoodBoot {
    /// The boot.
    pub boot_id: String,
    /// The units that had failed by its end: whatever fails at every boot is no fault of a system that is booted first.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed: BTreeSet<String>,
}

/// Everything the agent must remember to go on after a crash.
///
/// Another version of the agent reads what this one writes, and the other way round: the dead-man timer runs the old
/// system's agent on the new one's journal. So fields are only ever added, each with a default, and a phase or an outcome of
/// a new kind may be written after a commit at the earliest. `journals/` keeps samples of every version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Where it is.
    #[serde(flatten)]
    pub phase: Phase,
    /// What passed probation last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Committed>,
    /// The pause before the next try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_off: Option<BackOff>,
    /// What is not tried again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantine: BTreeMap<SystemKey, Quarantined>,
    /// The system whose activation was interrupted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<SystemKey>,
    /// What is wrong with the store, or with what it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Why the host has not gone where it was told to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<Stays>,
    /// A system that was activated by hand in place of the committed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<ByHand>,
    /// A boot default that has not been booted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<Unproven>,
    /// The last boot into a committed system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_boot: Option<GoodBoot>,
    /// A reboot that is due, or will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<RebootWanted>,
    /// A reboot that was ordered from afar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_ordered: Option<RebootOrdered>,
    /// What is still to be done beside the way, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Errand>,
    /// The release that was believed last: another one is something new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub believed: Option<Believed>,
    /// When the operator last asked for another try, as far as that was heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried: Option<Timestamp>,
    /// Before what time an assignment last ordered that failures be tried again, as far as that was heeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ordered: Option<Timestamp>,
    /// How many activations this host has seen.
    #[serde(default)]
    pub attempts: u64,
    /// How the last attempts ended, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
}

impl Journal {
    /// Whether the host lives through a boot into its committed system about which nothing has been noted yet.
    pub fn knows_too_little_of_boot(&self, found: &Found) -> bool {
        let is_known = self.good_boot.as_ref().map(|boot| &boot.boot_id) == found.boot_id.as_ref();
        let booted = found.booted.as_ref().or(found.running.as_ref());
        let is_committed = booted.is_some() && booted == self.committed.as_ref().map(|committed| &committed.system);
        !is_known && is_committed && !self.phase.must_finish()
    }

    pub(super) fn record(&mut self, outcome: Outcome) {
        self.outcomes.insert(0, outcome);
        self.outcomes.truncate(OUTCOMES);
    }

    pub(super) fn quarantine(&mut self, attempt: &Attempt, at: Timestamp, reason: &Failed) {
        let (target, system) = (&attempt.target, Some(attempt.system.clone()));
        let entry = Quarantined { at, reason: reason.clone(), attempt: target.attempt, system };
        self.quarantine.insert(target.key(), entry);
        while self.quarantine.len() > QUARANTINED {
            let oldest = self.quarantine.iter().min_by_key(|(_, entry)| entry.at).map(|(key, _)| key.clone());
            if let Some(key) = oldest {
                self.quarantine.remove(&key);
            }
        }
    }
}
