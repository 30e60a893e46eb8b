//! Watching a host over its probation, or after it was rolled back.

use std::path::Path;
use std::time::Duration;

use futures_util::future::try_join_all;
use npc_core::explain;
use tokio::time::Instant;

use super::check::Check;
use super::file::HostFile;
use super::units::{self, Observed};
use crate::machine::{Baseline, Failed, STORE_UNREACHABLE};
use crate::poll::PollError;

/// The kind of a probation in which units failed.
pub const UNITS_FAILED: &str = "units-failed";

/// The kind of a probation in which units were restarted again and again.
pub const UNITS_RESTARTING: &str = "units-restarting";

/// How long to wait between two questions to a silent store.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// However long a store was silent already, one that is asked once more has this much time to answer.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait before a manager that is busy is asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The times of a probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probation {
    /// How long a system is watched at least.
    pub settle: Duration,
    /// How long a store that answered before may stay silent.
    pub store: Duration,
    /// When it must be over.
    pub limit: Duration,
    /// Whether units that fail are only remarked upon.
    pub tolerate_failed_units: bool,
}

/// What is watched.
pub struct Watch<'a> {
    /// How the host was before.
    pub before: &'a Baseline,
    /// Where the system that runs describes its host.
    pub host_file: Option<&'a Path>,
    /// Whether there are units to watch.
    pub has_systemd: bool,
    /// The times.
    pub probation: Probation,
}

impl Watch<'_> {
    /// Watches until the host has proved itself, and gives remarks; or says in what it is not well.
    pub async fn prove(&self, store_answers: impl AsyncFn() -> Result<(), PollError>) -> Result<Vec<String>, Failed> {
        let overrun = |_| {
            let message = format!("the host had not proved itself after {} s", self.probation.limit.as_secs());
            Err(Failed::new("probation-overrun", message))
        };
        tokio::time::timeout(self.probation.limit, self.watch(store_answers)).await.unwrap_or_else(overrun)
    }

    async fn watch(&self, store_answers: impl AsyncFn() -> Result<(), PollError>) -> Result<Vec<String>, Failed> {
        self.has_booted().await;
        let begin = self.observe().await;
        let settled = Instant::now() + self.probation.settle;
        let rest = async {
            tokio::time::sleep_until(settled).await;
            Ok(())
        };
        let ((), mut remarks, ()) = tokio::try_join!(self.store(settled, store_answers), self.checks(settled), rest)?;
        remarks.extend(self.units(begin.as_ref()).await?);
        Ok(remarks)
    }

    /// Whether the store still answers at the end of the settle time.
    async fn store(&self, settled: Instant, answers: impl AsyncFn() -> Result<(), PollError>) -> Result<(), Failed> {
        if !self.before.store_answers {
            return Ok(());
        }
        let mut silent_since: Option<Instant> = None;
        loop {
            let patience =
                self.probation.store.saturating_sub(silent_since.map_or(Duration::ZERO, |since| since.elapsed()));
            let asked = Instant::now();
            let reason = match tokio::time::timeout(patience.max(LEAST_PATIENCE), answers()).await {
                Ok(Ok(())) if Instant::now() >= settled => return Ok(()),
                Ok(Ok(())) => {
                    silent_since = None;
                    tokio::time::sleep_until(settled).await;
                    continue;
                }
                Ok(Err(error)) => explain::in_one_line(&error),
                Err(_) => "it does not answer".to_owned(),
            };
            if silent_since.get_or_insert(asked).elapsed() >= self.probation.store {
                return Err(Failed::new(STORE_UNREACHABLE, format!("the store cannot be reached any more: {reason}")));
            }
            tokio::time::sleep(STORE_PAUSE.min(patience)).await;
        }
    }

    /// Looks until there is something to see: a manager that does not tell how its units are proves nothing.
    async fn observe(&self) -> Option<Observed> {
        if !self.has_systemd {
            return None;
        }
        loop {
            match units::observe().await {
                Ok(observed) => return Some(observed),
                Err(failed) => tracing::warn!(kind = failed.kind, "{failed}"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A host that still boots has not settled, unless it was booting all the time.
    async fn has_booted(&self) {
        while self.has_systemd && !self.before.starting && units::is_starting().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn units(&self, begin: Option<&Observed>) -> Result<Vec<String>, Failed> {
        let Some((begin, end)) = begin.zip(self.observe().await) else { return Ok(Vec::new()) };
        let before = &self.before.units;
        let mut remarks = Vec::new();
        let still = end.still_failed(before);
        if !still.is_empty() {
            remarks.push(format!("failed as before: {}", still.join(", ")));
        }
        for (kind, units, verb) in [
            (UNITS_FAILED, end.newly_failed(before), "failed"),
            (UNITS_RESTARTING, end.restarted_again_and_again(begin, before), "restarted again and again"),
        ] {
            if units.is_empty() {
                continue;
            }
            let message = format!("{verb}: {}", units.join(", "));
            if !self.probation.tolerate_failed_units {
                return Err(Failed::new(kind, message));
            }
            remarks.push(format!("tolerated: {message}"));
        }
        Ok(remarks)
    }

    async fn checks(&self, settled: Instant) -> Result<Vec<String>, Failed> {
        let file = match self.host_file.map(HostFile::read) {
            None => return Ok(Vec::new()),
            Some(Ok(file)) => file,
            Some(Err(error)) => return Err(Failed::new("health-checks-unreadable", explain::in_one_line(&error))),
        };
        let results =
            try_join_all(file.health_checks.iter().map(
                async |(name, check)| match passes(name, check, settled).await {
                    Ok(()) => Ok(None),
                    Err(reason) if self.failed_before(name, check) => {
                        Ok(Some(format!("health check `{name}` fails as before: {reason}")))
                    }
                    Err(reason) => Err(Failed::new("health-check-failed", format!("health check `{name}`: {reason}"))),
                },
            ));
        Ok(results.await?.into_iter().flatten().collect())
    }

    fn failed_before(&self, name: &str, check: &Check) -> bool {
        let before = self.before.checks.get(name);
        before.is_some_and(|before| !before.passed && before.definition == check.definition())
    }
}

/// Tries a check until the host has settled, and on until it passes or has failed too often.
async fn passes(name: &str, check: &Check, settled: Instant) -> Result<(), String> {
    let counts_from = Instant::now() + check.start_period();
    let mut failures = 0;
    loop {
        let result = check.run(name).await;
        let now = Instant::now();
        match result {
            Ok(()) if now >= settled => return Ok(()),
            Ok(()) => {
                failures = 0;
                tokio::time::sleep_until(settled.min(now + check.interval())).await;
            }
            Err(reason) => {
                failures += u32::from(now >= counts_from);
                if failures > check.retries {
                    return Err(reason);
                }
                tokio::time::sleep(check.interval()).await;
            }
        }
    }
}
