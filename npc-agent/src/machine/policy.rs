//! What the operator decided beforehand.

use std::collections::BTreeSet;

use super::Obstacle;
use super::reboot::RebootPolicy;

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

/// What becomes of a system that was activated by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HandPolicy {
    /// It stays until the host is told something new.
    #[default]
    Respect,
    /// The committed system is activated again at once.
    Enforce,
}
