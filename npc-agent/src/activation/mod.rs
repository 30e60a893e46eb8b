//! Building a system and switching to it: on NixOS, or by an operator's command.

mod agent;
mod command;
mod nixos;
mod process;
mod reboot;
mod room;
mod system;
pub mod unit;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

pub use command::CommandPlatform;
pub use nixos::{Access, Build, NixOs, Ssh};
pub use room::Room;

pub(crate) use process::Program;
pub(crate) use reboot::USERS;

use crate::dead_man::DeadMan;
use crate::machine::{Attempt, Baseline, Built, Ended, Failed, Found, Target};

/// The boot that lasts (random(4)).
pub(crate) fn boot_id() -> Option<String> {
    system::Host::boot_id()
}

/// What a platform is told about the host.
#[derive(Debug, Clone)]
pub struct PlatformSettings {
    /// How long activating, or installing a boot loader, may take.
    pub timeout: Duration,
    /// What must be free.
    pub room: Room,
    /// What a build is given.
    pub build: Build,
    /// The program that reboots, and its arguments.
    pub reboot: Vec<String>,
    /// Where the host is described, if not in the running system.
    pub host_file: Option<PathBuf>,
}

/// What a host is made of, to the driver. Whatever changes the host is run in units of its own, and can be begun again.
#[async_trait(?Send)]
pub trait Platform {
    /// How the host is, and how far this attempt's activation got.
    async fn look(&self, attempt: Option<&Attempt>) -> Found;

    /// Whether there is room to build, and to make a system the boot default.
    fn check_room(&self) -> Result<(), Failed>;

    /// Builds the target's configuration out of the unpacked `flake`, and keeps it from garbage collection. It may be
    /// broken off at any time.
    async fn build(&self, target: &Target, flake: &Path) -> Result<Built, Failed>;

    /// Makes sure that the system that runs can be gone back to, says which it is, and what speaks against activating
    /// `system` while the host runs.
    async fn survey(&self, system: &Path) -> Result<Baseline, Failed>;

    /// Whether the agent that a system brings would start there with its settings. One that brings none has none to check.
    async fn check_agent(&self, _system: &Path) -> Result<(), Failed> {
        Ok(())
    }

    /// Activates a system for this boot, or waits for the end of its activation. Dropping the future leaves it to itself.
    async fn activate(&self, attempt: &Attempt) -> Ended;

    /// Makes the attempt's system the boot default.
    async fn commit(&self, attempt: &Attempt) -> Result<(), Failed>;

    /// Ends the activation if it still goes on, and activates the system before again; with `boot`, also makes it the boot
    /// default again. Gives what is wrong with the boot default, if something is, although the system before runs.
    async fn roll_back(&self, attempt: &Attempt, boot: bool) -> Result<Option<Failed>, Failed>;

    /// Reboots the host; fails where somebody is logged in and `insist` is not said.
    async fn reboot(&self, insist: bool) -> Result<(), Failed>;

    /// What has the system before come back unless a commit forestalls it; none where activating is only pretended.
    fn dead_man(&self) -> Option<&DeadMan>;

    /// Where the running system describes its host.
    fn host_file(&self) -> Option<PathBuf>;
}
