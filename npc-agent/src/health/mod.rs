//! Whether a host is well: its units, its own health checks, and whether the store can be reached.
//!
//! Health is relative. Before an activation a [`Baseline`](crate::machine::Baseline) is taken, since activating a system
//! resets the states of failed units, and since what was broken before is not the new system's fault. Probation then watches
//! for the settle time, and what is judged is how the host is at its end: a unit may stumble and catch itself.
//!
//! | what | fails probation when |
//! |---|---|
//! | the store | it answered before and is silent for longer than `probation.store` |
//! | units | one has failed that had not, or one is restarted again and again that was not, at the end of the settle time |
//! | health checks, of the *new* system | one does not pass at the end of the settle time, or fails more often in a row than its `retries` allow after its start period; unless the same check failed before as well |
//! | time | all that is not decided within `probation.limit` |

mod check;
mod file;
mod units;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures_util::future::join_all;

pub use check::{Check, Kind};
pub use file::{HostFile, HostFileError};
pub use units::{Observed, UnitState};
pub use watch::{Probation, UNITS_FAILED, UNITS_RESTARTING, Watch};

use crate::machine::{CheckBefore, Failed, UnitsBefore};

/// Whether the host has not finished booting.
pub(crate) async fn is_starting() -> bool {
    units::is_starting().await
}

/// The units of systemd's that have failed.
pub(crate) async fn failed_units() -> Result<BTreeSet<String>, Failed> {
    units::failed().await
}

/// How the host is before an activation, as far as its units and its own checks go. Units that cannot be seen before could
/// not be compared with afterwards.
pub async fn baseline(
    host_file: Option<&Path>,
    has_systemd: bool,
) -> Result<(UnitsBefore, BTreeMap<String, CheckBefore>), Failed> {
    let units = if has_systemd { units::observe().await?.baseline() } else { UnitsBefore::default() };
    let checks = match host_file.map(HostFile::read) {
        Some(Ok(file)) => file.health_checks,
        Some(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the running system's checks cannot be read");
            BTreeMap::new()
        }
        None => BTreeMap::new(),
    };
    let results = join_all(checks.iter().map(async |(name, check)| {
        let passed = check.run(name).await.is_ok();
        (name.clone(), CheckBefore { definition: check.definition(), passed })
    }));
    Ok((units, results.await.into_iter().collect()))
}

/// The units that have failed, once the host has booted. `None` as long as that cannot be told.
pub async fn failed_at_boot() -> Option<BTreeSet<String>> {
    if units::is_starting().await {
        return None;
    }
    let observed = units::observe().await;
    Some(observed.ok()?.baseline().failed)
}
