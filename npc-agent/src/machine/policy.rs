//! What the operator decided beforehand.

use std::collections::BTreeSet;

use super::reboot::RebootPolicy;
use super::{Failed, Mode, NEEDS_REBOOT, Obstacle};

/// How to decide where more than one decision is right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Obstacles at which a system is made the boot default unproved, and proves itself once it is booted.
    pub boot_instead: BTreeSet<Obstacle>,
    /// What becomes of a system that was activated by hand.
    pub by_hand: HandPolicy,
    /// When to reboot.
    pub reboot: RebootPolicy,
    /// Whether to reboot into the old system, which is still the boot default, when rolling back has failed.
    pub reboot_when_stranded: bool,
}

impl Policy {
    /// How to get into a system in whose way these obstacles are. Booting it takes a word for each of them.
    pub fn mode_for(&self, obstacles: &BTreeSet<Obstacle>) -> Result<Mode, Failed> {
        let missing: Vec<_> = obstacles.difference(&self.boot_instead).map(|obstacle| obstacle.word()).collect();
        if !obstacles.is_empty() && missing.is_empty() {
            return Ok(Mode::Boot);
        }
        let reasons: Vec<_> =
            obstacles.iter().filter(|obstacle| obstacle.forbids_switching()).map(|obstacle| obstacle.words()).collect();
        if reasons.is_empty() {
            return Ok(Mode::Switch);
        }
        let (reasons, missing) = (reasons.join(", and "), missing.join(", "));
        let message = format!("it can only be booted, which policy does not allow at: {missing}; {reasons}");
        Err(Failed::new(NEEDS_REBOOT, message))
    }
}

/// What becomes of a system that was activated by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HandPolicy {
    /// It stays until the host is told something new.
    #[default]
    Respect,
    /// The committed system is activated again at once.
    Enforce,
}
