//! What the fuzzer throws at the readers of everything that comes from outside, and what must hold whatever it throws.
//!
//! A target takes bytes and panics where a promise is broken. Two programs run them: the fuzzer (`cargo xtask fuzz`), and
//! the test that replays the kept inputs of `corpus/` without one, which is part of `cargo test`.

mod archives;
mod documents;
mod doubled;
mod envelopes;
pub mod fleet;
mod settings;

use std::path::{Path, PathBuf};

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken for what it claims to be.
    Accepted,
    /// It was refused.
    Refused,
}

impl Verdict {
    fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Accepted } else { Self::Refused }
    }
}

/// Something that reads what comes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its directory in the corpus.
    pub name: &'static str,
    /// Reads an input. A broken promise is a panic.
    pub read: fn(&[u8]) -> Verdict,
}

/// Everything that is fuzzed.
pub const TARGETS: [Target; 9] = [
    Target { name: "envelope", read: envelopes::envelope },
    Target { name: "release", read: documents::release },
    Target { name: "assignment", read: documents::assignment },
    Target { name: "report", read: documents::report },
    Target { name: "rollout", read: documents::rollout },
    Target { name: "trust", read: documents::trust },
    Target { name: "archive", read: archives::archive },
    Target { name: "tar", read: archives::tar },
    Target { name: "settings", read: settings::settings },
];

/// The environment variable that names the target to the fuzzer's program.
pub const TARGET: &str = "NPC_FUZZ_TARGET";

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Where its kept inputs lie.
    pub fn corpus(&self) -> PathBuf {
        corpus().join(self.name)
    }
}

/// Where the kept inputs of all targets lie.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}
