//! How often to ask.

use std::time::Duration;

use npc_core::limits;

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
    /// no longer, so that a host is back within an interval of the store. Chance has a part in each of them: hosts that began
    /// together at a store that was away must not stay together.
    pub(super) fn pause(self, store_waits: bool, outages: u32, jitter: f64) -> Duration {
        if !store_waits {
            let intervals = if outages == 0 { 0.5 + jitter } else { 1.0 + jitter / 2.0 };
            return self.interval.mul_f64(intervals).max(self.shortest);
        }
        if outages == 0 {
            return self.shortest.mul_f64(1.0 + jitter / 4.0);
        }
        let grown = self.shortest.saturating_mul(2_u32.saturating_pow(outages)).min(self.interval);
        grown.mul_f64(0.5 + jitter / 2.0).max(self.shortest)
    }

    /// How long a store that can is asked to have a poll wait. `jitter` is a number from 0 to 1.
    ///
    /// Three quarters of an interval to a whole one: a release wakes all who wait in the same moment, and their next waits must
    /// not end in the same moment, again and again.
    pub(super) fn wait(self, jitter: f64) -> Duration {
        self.interval.min(limits::LONGEST_WAIT).mul_f64(0.75 + jitter / 4.0).max(self.shortest)
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
    fn a_fleet_that_found_the_store_away_together_does_not_come_back_together() {
        for store_waits in [false, true] {
            let pauses: Vec<_> =
                (0..=10_u8).map(|tenth| pace().pause(store_waits, 5, f64::from(tenth) / 10.0)).collect();
            assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "{pauses:?}");
        }
    }

    #[test]
    fn waits_that_began_together_do_not_end_together_nor_last_longer_than_an_interval() {
        assert_eq!(pace().wait(0.0), Duration::from_secs(45));
        assert_eq!(pace().wait(1.0), Duration::from_mins(1));
        assert_eq!(Pace::every(Duration::from_hours(1)).wait(1.0), limits::LONGEST_WAIT);
        assert_eq!(Pace::every(Duration::from_secs(1)).wait(0.0), Duration::from_secs(1), "less would be no wait");
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
