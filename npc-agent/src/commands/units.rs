//! What units and timers run, rather than people.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::run::{PlatformUse, on_platform};
use crate::activation::Platform;
use crate::activation::unit::{self, Ending};
use crate::cli::DeadMan;
use crate::clock::SystemClock;
use crate::dead_man::{self, Rescue};
use crate::failure::Failure;
use crate::machine::Policy;
use crate::settings::Settings;
use crate::state::StateDirectory;

pub(super) fn perform(state: &Path, name: &str, timeout: u64, command: &[OsString]) -> Result<(), Failure> {
    unit::perform(&StateDirectory::open(state)?, name, Duration::from_secs(timeout), command)
}

/// Reads what systemd tells a unit's `ExecStopPost` (systemd.exec(5)).
pub(super) fn note_end(state: &Path, name: &str) -> Result<(), Failure> {
    let variable = |name: &str| std::env::var(name).map_err(|error| Failure::usage(format!("{name}: {error}")));
    let ending = Ending::other(&variable("SERVICE_RESULT")?, variable("EXIT_STATUS").unwrap_or_default());
    ending.write(&StateDirectory::open(state)?, name)?;
    Ok(())
}

pub(super) fn dead_man(config: &Path, state: &Path, told: &DeadMan) -> Result<(), Failure> {
    let state = StateDirectory::open(state)?;
    let settings = Settings::read(config, &state.machine_name())?;
    let runtime = super::run::runtime()?;
    if let (Some(after), Some(lease)) = (told.after, &told.lease)
        && !runtime.block_on(dead_man::wait(Duration::from_secs(after), lease))?
    {
        return Ok(());
    }
    let rescue =
        Rescuing { told, state: &state, policy: &settings.policy, activation_timeout: settings.platform.timeout };
    runtime.block_on(on_platform(&settings, config, &state, rescue))
}

struct Rescuing<'a> {
    told: &'a DeadMan,
    state: &'a StateDirectory,
    policy: &'a Policy,
    activation_timeout: Duration,
}

impl PlatformUse for Rescuing<'_> {
    async fn with(self, platform: impl Platform) -> Result<(), Failure> {
        let Rescuing { told, state, policy, activation_timeout } = self;
        let (attempt, agent_unit) = (told.attempt.as_str(), told.agent_unit.as_deref());
        let rescue = Rescue { attempt, agent_unit, state, platform, policy, activation_timeout };
        rescue.run(&SystemClock).await
    }
}
