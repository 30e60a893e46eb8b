//! The time, passed in.

use std::time::Duration;

use jiff::SignedDuration;
use npc_core::Timestamp;

/// A clock that goes wrong by no more than this between two looks was slewed, or is read coarsely.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// What time it is.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;

    /// How long the machine has been up, asleep or not: time that nobody can set.
    fn uptime(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn uptime(&self) -> Duration {
        Duration::from_secs(rustix::system::sysinfo().uptime.try_into().unwrap_or_default())
    }
}

/// Notices when the clock was set.
#[derive(Debug, Default)]
pub struct Jumps {
    last: Option<(Timestamp, Duration)>,
}

impl Jumps {
    /// By how much the clock has jumped since it was asked last.
    pub fn since_last(&mut self, clock: &dyn Clock) -> Option<SignedDuration> {
        let (now, uptime) = (clock.now(), clock.uptime());
        let (before, earlier) = self.last.replace((now, uptime))?;
        let passed = SignedDuration::try_from(uptime.saturating_sub(earlier)).unwrap_or(SignedDuration::MAX);
        let jump = now.duration_since(before).saturating_sub(passed);
        (jump.abs() > TOLERANCE).then_some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pretended(i64, u64);

    impl Clock for Pretended {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0).expect("a time")
        }

        fn uptime(&self) -> Duration {
            Duration::from_secs(self.1)
        }
    }

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_goes() {
        let mut jumps = Jumps::default();
        let mut seconds = |now, uptime| jumps.since_last(&Pretended(now, uptime)).map(|jump| jump.as_secs());
        assert_eq!(seconds(1_000, 10), None, "there is nothing to hold it against");
        assert_eq!(seconds(4_600, 3_610), None, "an hour passed");
        assert_eq!(seconds(4_650, 3_610), None, "it was slewed");
        assert_eq!(seconds(1_000_000_010, 3_620), Some(999_995_350));
        assert_eq!(seconds(1_000_000_020, 3_630), None, "it is told once");
        assert_eq!(seconds(30, 3_640), Some(-1_000_000_000));
    }

    #[test]
    fn the_machines_own_clock_does_not_jump() {
        let mut jumps = Jumps::default();
        for _ in 0..2 {
            assert_eq!(jumps.since_last(&SystemClock), None);
        }
        assert!(SystemClock.uptime() > Duration::ZERO);
    }
}
