//! How often to ask.

use std::time::Duration;

/// How fast to poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long between two polls, on the average; and how long a store that can is asked to wait.
    pub interval: Duration,
    /// Never ask twice within this time, however eagerly the store answers.
    pub shortest: Duration,
}

impl Pace {
    /// The pace of an agent: never twice within a second.
    pub fn every(interval: Duration) -> Self {
        Self { interval, shortest: Duration::from_secs(1) }
    }

    /// How long to pause after `outages` polls in a row that the store left unanswered. `jitter` is a number from 0 to 1.
    ///
    /// Half to one and a half intervals, so that a fleet spreads out; hardly any time where the store makes the client wait.
    /// While the store is out of order, at least an interval, or pauses that grow up to it where the store makes clients wait:
    /// no longer, so that a host is back within an interval of the store.
    pub(super) fn pause(self, store_waits: bool, outages: u32, jitter: f64) -> Duration {
        if !store_waits {
            let least = if outages == 0 { 0.5 } else { 1.0 };
            return self.interval.mul_f64((0.5 + jitter).max(least)).max(self.shortest);
        }
        if outages == 0 {
            return self.shortest.mul_f64(1.0 + jitter / 4.0);
        }
        let grown = self.shortest.saturating_mul(2_u32.saturating_pow(outages)).min(self.interval);
        grown.mul_f64(0.5 + jitter / 2.0).max(self.shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::every(Duration::from_mins(1))
    }

    #[test]
    fn a_fleet_spreads_over_half_to_one_and_a_half_intervals() {
        assert_eq!(pace().pause(false, 0, 0.0), Duration::from_secs(30));
        assert_eq!(pace().pause(false, 0, 1.0), Duration::from_secs(90));
        assert_eq!(pace().pause(false, 1, 0.0), Duration::from_mins(1), "a store that fails is not asked early");
    }

    #[test]
    fn a_store_that_waits_is_asked_again_at_once_but_never_twice_within_a_second() {
        assert_eq!(pace().pause(true, 0, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn a_store_that_fails_is_asked_less_and_less_often_up_to_the_interval() {
        let pauses: Vec<_> = (1..40).map(|outages| pace().pause(true, outages, 1.0)).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[38]), (Duration::from_secs(2), Duration::from_mins(1)));
    }
}
