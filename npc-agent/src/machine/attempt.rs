//! An attempt to activate a system, and how the host was before it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use npc_core::Timestamp;
use npc_core::digest::Digest;
use serde::{Deserialize, Serialize};

use super::{Failed, Found, Target};

/// One attempt to activate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number on this host.
    pub number: u64,
    /// The release.
    pub target: Target,
    /// The new system.
    pub system: PathBuf,
    /// When it began.
    pub since: Timestamp,
    /// How the host was before, to compare with and to go back to.
    pub before: Baseline,
    /// In what the system differs from what the publisher got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unexpected: Option<Failed>,
    /// The name of the unit that activates it, and of everything else that belongs to this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How the host gets into the system.
    #[serde(default, skip_serializing_if = "Mode::is_switch")]
    pub mode: Mode,
    /// What is not as it should be, and was not before either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

impl Attempt {
    /// Whether what runs, and what would be booted, are this attempt's doing or were there before it.
    pub fn owns(&self, found: &Found) -> bool {
        self.owns_running(found) && self.owns_boot_default(found)
    }

    /// Whether what runs is this attempt's doing or ran before it.
    pub fn owns_running(&self, found: &Found) -> bool {
        found.running.as_ref().is_none_or(|running| self.is_ours(running))
    }

    /// Whether what would be booted is this attempt's doing or would have been before it.
    pub fn owns_boot_default(&self, found: &Found) -> bool {
        let boots = |profile: &PathBuf| self.is_ours(profile) || Some(profile) == self.before.profile.as_ref();
        found.profile.as_ref().is_none_or(boots)
    }

    /// Whether its system is what would be booted, and was not before: a commit has begun.
    pub fn has_become_boot_default(&self, found: &Found) -> bool {
        found.profile.as_ref() == Some(&self.system) && self.before.profile.as_ref() != Some(&self.system)
    }

    /// Whether going back on it includes the boot default: its system must not be booted again, however it came to be, and what a
    /// human has set meanwhile stays.
    pub fn takes_back_boot_default(&self, was_changing_it: bool, found: &Found) -> bool {
        (was_changing_it || self.has_become_boot_default(found)) && self.owns_boot_default(found)
    }

    /// Whether its system is what another boot than the attempt's own brought.
    pub fn was_booted(&self, found: &Found) -> bool {
        found.running.as_ref() == Some(&self.system) && self.before.boot_id != found.boot_id
    }

    fn is_ours(&self, system: &PathBuf) -> bool {
        *system == self.system || Some(system) == self.before.running.as_ref()
    }

    /// Whether the host is what a commit takes for granted.
    pub fn may_commit(&self, found: &Found) -> bool {
        let expected = if self.mode == Mode::Boot { self.before.running.as_ref() } else { Some(&self.system) };
        let runs = found.running.is_none() || found.running.as_ref() == expected;
        runs && self.owns(found)
    }

    /// Whether the host still runs what it ran before, and would boot this attempt's system.
    pub fn is_awaited(&self, found: &Found) -> bool {
        found.running == self.before.running && found.profile.as_ref().is_none_or(|profile| *profile == self.system)
    }

    /// The name that this attempt's units and files bear.
    pub fn name(&self) -> String {
        self.unit.clone().unwrap_or_else(|| format!("npc-activation-{}", self.number))
    }
}

/// How a host gets into a new system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By activating it while the host runs; it becomes the boot default once it has proved itself.
    #[default]
    Switch,
    /// By booting it: it becomes the boot default first, since it cannot be activated while the host runs.
    Boot,
    /// It is booted for the first time: what it brings is only proved now.
    FirstBoot,
}

impl Mode {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    fn is_switch(&self) -> bool {
        *self == Self::Switch
    }
}

/// How a host is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The system that runs.
    pub running: Option<PathBuf>,
    /// Whether the store answers: one that did not before cannot speak against the new system.
    pub store_answers: bool,
    /// What the boot loader's profile names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<PathBuf>,
    /// The boot that lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The agent that runs, by its own path: what rescues the host if the new system's agent does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<PathBuf>,
    /// Whether the host had not finished booting: one that never does must not be waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starting: bool,
    /// Its systemd units.
    #[serde(default)]
    pub units: UnitsBefore,
    /// Its health checks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, CheckBefore>,
    /// The first of `obstacles`, for agents that know of one alone. Nothing is decided by it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    /// What speaks against activating the new system while the host runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub obstacles: BTreeSet<Obstacle>,
}

impl Baseline {
    /// The same, with these obstacles.
    #[must_use]
    pub fn with_obstacles(self, obstacles: impl IntoIterator<Item = Obstacle>) -> Self {
        let obstacles: BTreeSet<_> = obstacles.into_iter().collect();
        Self { obstacle: obstacles.first().copied(), obstacles, ..self }
    }
}

/// The units that were not well before an activation: activating a system resets their states.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsBefore {
    /// Units that had failed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed: BTreeSet<String>,
    /// How often systemd had restarted units, as far as it had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<String, u64>,
    /// Units that waited for their next restart.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub restarting: BTreeSet<String>,
}

/// A health check before an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckBefore {
    /// The digest of its definition: the same name may mean something else afterwards.
    pub definition: Digest,
    /// Whether it passed.
    pub passed: bool,
}

/// Why a system is better booted than activated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// NixOS itself would refuse to activate it: something critical, such as systemd or the message bus, changes.
    Inhibited,
    /// Its kernel, initrd or parameters are not the running ones.
    Kernel,
    /// Its `switch-to-configuration` asks for a reboot (exit code 100), since its init has another interface.
    InitInterface,
}

impl Obstacle {
    /// Whether it makes activating the system impossible, rather than only leaving a part of it to the next boot.
    pub fn forbids_switching(self) -> bool {
        match self {
            Self::Inhibited | Self::InitInterface => true,
            Self::Kernel => false,
        }
    }

    /// The word that settings have for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inhibited => "inhibited",
            Self::Kernel => "kernel",
            Self::InitInterface => "init-interface",
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Inhibited => "it changes what cannot be changed while the host runs",
            Self::Kernel => "its kernel, initrd or kernel parameters are others",
            Self::InitInterface => "its init can only be changed by a reboot",
        }
    }
}
