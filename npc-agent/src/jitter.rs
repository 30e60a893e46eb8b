//! Chance, so that what happens to many hosts at once does not have them all do something at once.

/// A number from 0 to 1. Without randomness to be had, the middle.
pub(crate) fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
