//! The room of test support: real parts to run scenarios on, in temp folders and on free ports, ended with their test.
//!
//! What must be installed is found by `cargo xtask test` and passed on in the environment ([`parts`]). Without it a test that
//! needs the part says loudly that it skips; with `CI=true` it fails instead, unless it is a part that nothing can install.

#![expect(clippy::print_stderr, reason = "a skipped test must be heard")]

pub mod absent;
pub mod agents;
pub mod attacks;
pub mod behaviour;
pub mod fault_proxy;
pub mod flakes;
pub mod gate;
pub mod host;
pub mod http;
pub mod infrastructure;
pub mod journal;
pub mod machine;
pub mod metadata;
pub mod modules;
pub mod moto;
pub mod parts;
pub mod process;
pub mod proxy;
pub mod readme;
pub mod reaper;
pub mod terminal;
pub mod terraform;
pub mod world;

use std::time::{Duration, Instant};

/// Bytes that do not compress, the same for the same seed.
pub fn noise(length: usize, seed: u32) -> Vec<u8> {
    let words = (seed..).map(|number| number.wrapping_mul(2_654_435_761).rotate_left(number % 31));
    words.flat_map(u32::to_be_bytes).take(length).collect()
}

/// How long anything that is awaited may take.
const PATIENCE: Duration = Duration::from_mins(4);

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
