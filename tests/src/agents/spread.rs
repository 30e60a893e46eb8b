//! Whether something that many hosts do is spread over time, or done by all at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A chance below which something is not put down to chance.
const UNLIKELY: f64 = 0.001;

/// How what happened is spread over seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many whole seconds were looked at.
    pub seconds: usize,
    /// How much happened in a second, on the average.
    pub mean: f64,
    /// How much happened in the busiest second.
    pub busiest: usize,
    /// Which second that was.
    pub busiest_second: usize,
    /// What the busiest second exceeds in one run out of a thousand if all is independent of each other (a Poisson process).
    pub by_chance: usize,
}

impl Spread {
    /// How `moments`, counted from 0, are spread over so long. What is left of a last second counts as one.
    pub fn of(moments: impl IntoIterator<Item = Duration>, over: Duration) -> Self {
        let seconds = usize::try_from(over.as_secs() + u64::from(over.subsec_nanos() > 0)).unwrap_or(usize::MAX).max(1);
        let mut counts = vec![0_usize; seconds];
        for moment in moments {
            if let Some(count) = usize::try_from(moment.as_secs()).ok().and_then(|second| counts.get_mut(second)) {
                *count += 1;
            }
        }
        let total: usize = counts.iter().sum();
        let (busiest_second, busiest) = counts
            .iter()
            .copied()
            .enumerate()
            .max_by_key(|(second, count)| (*count, usize::MAX - second))
            .unwrap_or((0, 0));
        let mean = number(total) / over.as_secs_f64().max(1.0);
        Self { seconds, mean, busiest, busiest_second, by_chance: most_by_chance(mean, seconds) }
    }

    /// Whether the busiest second is busier than chance would have it.
    pub fn is_a_herd(&self) -> bool {
        self.busiest > self.by_chance
    }
}

/// What the busiest of so many seconds exceeds hardly ever, with so much in each on the average.
fn most_by_chance(mean: f64, seconds: usize) -> usize {
    // The chance of exactly `count` in a second, and of more than that; logarithms, since the first terms are tiny.
    let mut logarithm = -mean;
    let mut up_to = logarithm.exp();
    let mut count = 0;
    while number(seconds) * (1.0 - up_to) > UNLIKELY && count < 1_000_000 {
        count += 1;
        logarithm += mean.ln() - number(count).ln();
        up_to += logarithm.exp();
    }
    count
}

/// Counts here stay far below what a double cannot tell apart.
#[expect(clippy::cast_precision_loss, reason = "counts of requests fit a double")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_in_one_second_is_a_herd_and_an_even_one_is_none() {
        let even = (0..600).map(|tenth| Duration::from_millis(tenth * 100));
        let spread = Spread::of(even.clone(), Duration::from_mins(1));
        assert_eq!((spread.seconds, spread.busiest, spread.is_a_herd()), (60, 10, false));
        let crowd = [Duration::from_millis(30_500); 40];
        let spread = Spread::of(even.chain(crowd), Duration::from_mins(1));
        assert_eq!((spread.busiest, spread.busiest_second, spread.is_a_herd()), (50, 30, true));
    }

    #[test]
    fn chance_is_counted_as_poisson_has_it() {
        // With 10 a second, a second has more than 21 once in about 1,400 times, and more than 27 once in a million.
        assert_eq!(most_by_chance(10.0, 1), 21);
        assert_eq!(most_by_chance(0.0, 60), 0);
        assert!((27..32).contains(&most_by_chance(10.0, 1000)));
    }
}
