//! Trying again what may pass by itself.

use std::time::Duration;

use super::StoreError;

/// How often and how patiently to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// The upper bound of the first pause; each further one doubles it.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(5) }
    }
}

impl Retries {
    /// Never tries again.
    pub const NEVER: Self = Self { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };

    /// The pause after failed attempt number `failed`, counted from 1: anything up to the doubled bound, so that a thousand
    /// hosts which failed together do not come back together.
    pub(super) fn pause(&self, failed: u32) -> Duration {
        let bound = self.first_pause.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
        bound.min(self.longest_pause).mul_f64(random_fraction())
    }

    /// Runs `attempt` until it succeeds, fails for good, or has failed too often.
    pub(super) async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut failed = 0;
        loop {
            match attempt().await {
                Err(error) if error.fault.may_pass() && failed + 1 < self.attempts => {
                    failed += 1;
                    tracing::debug!(failed, error = &error as &dyn std::error::Error, "trying again");
                    tokio::time::sleep(self.pause(failed)).await;
                }
                other => return other,
            }
        }
    }
}

/// A number between 0 and 1. Without randomness to be had, the middle.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Fault, Operation};

    fn failure(fault: Fault) -> StoreError {
        let (object, store) = (String::new(), String::new());
        StoreError { fault, operation: Operation::Read, object, store, source: "a fault".into() }
    }

    const QUICK: Retries =
        Retries { attempts: 3, first_pause: Duration::from_millis(1), longest_pause: Duration::from_millis(1) };

    #[tokio::test]
    async fn what_may_pass_is_tried_so_often_and_no_more() {
        let mut tries = 0;
        let result: Result<(), _> = QUICK
            .run(|| {
                tries += 1;
                async { Err(failure(Fault::Unavailable)) }
            })
            .await;
        assert!(result.is_err());
        assert_eq!(tries, 3);
    }

    #[tokio::test]
    async fn what_cannot_be_mended_is_tried_once() {
        for fault in [Fault::NotFound, Fault::Denied, Fault::Conflict, Fault::TooLarge, Fault::NoCredentials] {
            let mut tries = 0;
            let result: Result<(), _> = QUICK
                .run(|| {
                    tries += 1;
                    async { Err(failure(fault)) }
                })
                .await;
            assert!(result.is_err());
            assert_eq!(tries, 1, "{fault:?}");
        }
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let retries = Retries::default();
        for failed in 1..100 {
            assert!(retries.pause(failed) <= retries.longest_pause);
        }
        assert!(retries.pause(1) <= retries.first_pause);
    }
}
