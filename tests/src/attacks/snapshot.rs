//! What lies in a folder, to compare before with after.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use npc_core::digest::Digest;
use walkdir::WalkDir;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A directory with its mode.
    Directory(u32),
    /// A file with its mode, its length and its digest.
    File(u32, u64, Digest),
    /// A symbolic link with its target.
    Link(PathBuf),
    /// Anything else, with its mode: devices, pipes, sockets.
    Special(u32),
}

/// Everything in `folder`, by path, without what lies at or below `without`.
pub(super) fn of(folder: &Path, without: &Path) -> BTreeMap<PathBuf, Found> {
    let entries = WalkDir::new(folder).into_iter().filter_entry(|entry| entry.path() != without);
    entries
        .map(|entry| {
            let entry = entry.expect("listed");
            (entry.path().to_owned(), found(entry.path()))
        })
        .collect()
}

fn found(path: &Path) -> Found {
    let metadata = fs::symlink_metadata(path).expect("it was listed");
    let kind = metadata.file_type();
    let mode = metadata.mode() & 0o7777;
    if kind.is_symlink() {
        Found::Link(fs::read_link(path).expect("a link"))
    } else if kind.is_dir() {
        Found::Directory(mode)
    } else if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        Found::Special(mode)
    } else {
        Found::File(mode, metadata.len(), Digest::of(&fs::read(path).expect("read")))
    }
}
