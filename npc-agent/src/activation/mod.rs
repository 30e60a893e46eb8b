//! Building a system and switching to it: on NixOS, or by an operator's command.

mod command;
mod nixos;
mod process;

use std::path::{Path, PathBuf};

use async_trait::async_trait;

pub use command::CommandPlatform;
pub use nixos::NixOs;

use crate::machine::{Attempt, Built, Failed, Target};

/// What a host is made of, to the driver.
#[async_trait(?Send)]
pub trait Platform {
    /// The system that runs, if there is a way to know.
    fn running(&self) -> Option<PathBuf>;

    /// Builds the target's configuration out of the unpacked `flake`, and keeps it from garbage collection. It may be
    /// broken off at any time.
    async fn build(&self, target: &Target, flake: &Path) -> Result<Built, Failed>;

    /// Makes sure that the system that runs can be gone back to, and says which it is.
    async fn secure_running(&self) -> Result<Option<PathBuf>, Failed>;

    /// Activates a system for this boot. It is never broken off.
    async fn activate(&self, attempt: &Attempt) -> Result<(), Failed>;

    /// Makes the system that was activated the boot default. It is never broken off, and can be repeated.
    async fn commit(&self, attempt: &Attempt) -> Result<(), Failed>;

    /// Activates the system before again; with `boot`, also makes it the boot default again. It is never broken off, and
    /// can be repeated.
    async fn roll_back(&self, attempt: &Attempt, boot: bool) -> Result<(), Failed>;
}
