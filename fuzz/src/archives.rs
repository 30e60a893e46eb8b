//! Archives: what is unpacked stays in its directory and within its limits, and what is refused leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use npc_core::archive::{Limits, Manifest, MemberKind, UnpackError, manifest, pack, unpack};
use tempfile::TempDir;

use crate::Verdict;

/// Small, so that they are met.
const LIMITS: Limits = Limits { bytes: 1024 * 1024, entries: 64 };

/// Tar's unit.
const BLOCK: usize = 512;

/// A `.tar.gz` as it comes from a store.
pub(crate) fn archive(bytes: &[u8]) -> Verdict {
    let folder = folder();
    let beside = folder.path().join("beside");
    fs::write(&beside, "untouched").expect("written");
    let target = folder.path().join("target");
    let listed = manifest(bytes, LIMITS);
    let unpacked = unpack(bytes, &target, LIMITS);
    assert_eq!(fs::read_to_string(&beside).ok().as_deref(), Some("untouched"), "a file outside was changed");
    let names: BTreeSet<_> = names(folder.path()).collect();
    match &unpacked {
        Ok(()) => {
            assert_eq!(names, BTreeSet::from(["beside".into(), "target".into()]), "something lies outside");
            is_as_listed(&target, &listed.expect("what can be unpacked can be listed"));
        }
        Err(UnpackError::Archive(_)) => {
            assert_eq!(names, BTreeSet::from(["beside".into()]), "something is left of what was refused");
            assert!(listed.is_err(), "what is listed without complaint can be unpacked");
        }
        Err(UnpackError::Write { path, source }) => {
            assert_eq!(names, BTreeSet::from(["beside".into()]), "something is left of what was refused");
            // The longest legal path does not fit below another.
            assert_eq!(source.kind(), ErrorKind::InvalidFilename, "{source} writing `{}`", path.display());
        }
    }
    Verdict::of(&unpacked)
}

/// A tar that is put right in what only stops a fuzzer: the checksums of its headers, and the compression around it.
pub(crate) fn tar(bytes: &[u8]) -> Verdict {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
    gzip.write_all(&with_checksums(bytes)).expect("written to memory");
    archive(&gzip.finish().expect("written to memory"))
}

/// Sets the checksum of every header that a reader comes by.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = bytes.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        let size = header.entry_size().ok().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        at = at.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK)).min(bytes.len());
    }
    bytes
}

/// In memory where that can be had: unpacking brings a whole file system to its disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

fn names(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").file_name().into())
}

/// Whether the tree is exactly what the listing says, within the limits, and what packing it again would give.
fn is_as_listed(target: &Path, listed: &Manifest) {
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    let mut ahead = vec![target.to_owned()];
    while let Some(directory) = ahead.pop() {
        for name in names(&directory) {
            let path = directory.join(name);
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            let kind = kind_of(&path, &metadata, target);
            if kind == MemberKind::Directory {
                ahead.push(path.clone());
            }
            if let MemberKind::File { size, .. } = kind {
                bytes += size;
            }
            let relative = path.strip_prefix(target).expect("below the target").to_owned();
            assert_eq!(listed.get(&relative).map(|(kind, _)| kind), Some(&kind), "`{}`", relative.display());
            found.insert(relative);
        }
    }
    assert_eq!(found.len(), listed.len(), "something that is listed is missing");
    assert!(found.len() as u64 <= LIMITS.entries && bytes <= LIMITS.bytes, "{} entries, {bytes} bytes", found.len());
    let (again, _) = pack(target, found, Vec::new(), |_| {}).expect("what was unpacked can be packed");
    assert_eq!(*listed, manifest(&again[..], LIMITS_OF_AGAIN).expect("what is packed can be listed"));
}

/// Packing adds headers that a reader counts: of directories, and of long names.
const LIMITS_OF_AGAIN: Limits = Limits { bytes: 4 * LIMITS.bytes, entries: LIMITS.entries };

fn kind_of(path: &Path, metadata: &fs::Metadata, target: &Path) -> MemberKind {
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_symlink() {
        if let Ok(end) = fs::canonicalize(path) {
            let target = fs::canonicalize(target).expect("it is there");
            assert!(end.starts_with(target), "`{}` leads to `{}`", path.display(), end.display());
        }
        MemberKind::Link { target: fs::read_link(path).expect("a link") }
    } else if metadata.is_dir() {
        assert_eq!(mode, 0o755);
        MemberKind::Directory
    } else {
        assert!(metadata.is_file(), "`{}` is something special", path.display());
        assert!(mode == 0o644 || mode == 0o755, "{mode:o}");
        MemberKind::File { executable: mode == 0o755, size: metadata.len() }
    }
}
