//! Whether there is room for what is to be done: a build that runs out of it fails late, a boot loader half way.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machine::Failed;

/// The least that must be free, in bytes. Zero asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Where the Nix store is.
    pub store: u64,
    /// Where the boot loader keeps kernels.
    pub boot: u64,
    /// Memory that programs can have (`MemAvailable` in proc(5)), and swap.
    pub memory: u64,
}

impl Room {
    /// Says what is missing.
    pub(super) fn check(&self, store: &Path, boot: &Path) -> Result<(), Failed> {
        for (kind, directory, least) in
            [("no-space-in-store", store, self.store), ("no-space-in-boot", boot, self.boot)]
        {
            let Some(free) = free_bytes(directory).filter(|free| *free < least) else { continue };
            let directory = directory.display();
            let message =
                format!("{} are free in {directory}, and {} are asked for", mebibytes(free), mebibytes(least));
            return Err(Failed::new(kind, message));
        }
        match available_memory().filter(|available| *available < self.memory) {
            None => Ok(()),
            Some(available) => {
                let least = mebibytes(self.memory);
                let message = format!("{} of memory are available, and {least} are asked for", mebibytes(available));
                Err(Failed::new("no-memory", message))
            }
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}

/// What an unprivileged file could still take, in the nearest directory that exists.
fn free_bytes(directory: &Path) -> Option<u64> {
    let mut directory: PathBuf = directory.to_owned();
    while !directory.exists() {
        directory = directory.parent()?.to_owned();
    }
    let found = rustix::fs::statvfs(&directory).ok()?;
    // An EFI system partition has no blocks kept for root, and other file systems count them out.
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    Some((kibibytes("MemAvailable:")? + kibibytes("SwapFree:").unwrap_or(0)) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_has_a_name() {
        let here = Path::new("/");
        let none = Room { store: 0, boot: 0, memory: 0 };
        assert_eq!(none.check(here, here), Ok(()));
        for (room, kind) in [
            (Room { store: u64::MAX, ..none }, "no-space-in-store"),
            (Room { boot: u64::MAX, ..none }, "no-space-in-boot"),
            (Room { memory: u64::MAX, ..none }, "no-memory"),
        ] {
            let failed = room.check(here, Path::new("/no/such/directory")).expect_err(kind);
            assert_eq!(failed.kind, kind);
        }
    }
}
