//! Telling whether a file is still the same without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// What no two contents of a file have in common: a renamed file has a change time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file that has this metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { inode: metadata.ino(), size: metadata.len(), changed: (metadata.ctime(), metadata.ctime_nsec()) }
    }
}
