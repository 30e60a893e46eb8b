//! Unpacking an archive into a directory of its own.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use thiserror::Error;

use super::members::{ArchiveError, Limits, Member, MemberKind, damaged, walk};

/// The modification time of everything unpacked, in seconds. A flake sees it as `self.lastModified`, which is 0 where the
/// publisher evaluates it as well, in the Nix store.
const MODIFIED: u32 = 0;

/// An archive that was not unpacked.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The archive is at fault.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The disk is: full, mostly.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Unpacks `archive` into `destination`, which must not exist, and brings it to the disk.
///
/// Nothing is ever written through a link or outside `destination`. After an error, what was unpacked so far is removed.
pub fn unpack(archive: impl Read, destination: &Path, allowed: Limits) -> Result<(), UnpackError> {
    fs::DirBuilder::new().mode(0o755).create(destination).map_err(|source| write_error(destination, source))?;
    let unpacked = unpack_into(archive, destination, allowed);
    if unpacked.is_err() {
        // The first error says more than one from cleaning up after it.
        let _ = fs::remove_dir_all(destination);
    }
    unpacked
}

fn write_error(path: &Path, source: io::Error) -> UnpackError {
    UnpackError::Write { path: path.to_owned(), source }
}

fn unpack_into(archive: impl Read, destination: &Path, allowed: Limits) -> Result<(), UnpackError> {
    let mut directories = vec![destination.to_owned()];
    walk(archive, allowed, |member, content| {
        let path = destination.join(&member.path);
        write(member, content, &path)?;
        if member.kind == MemberKind::Directory {
            directories.push(path);
        }
        Ok::<_, UnpackError>(())
    })?;
    // Directories last, deepest first: writing into one changes its time.
    for directory in directories.iter().rev() {
        set_fixed_mode_and_time(&File::open(directory).map_err(|error| write_error(directory, error))?, 0o755)
            .map_err(|error| write_error(directory, error))?;
    }
    File::open(destination)
        .and_then(|directory| rustix::fs::syncfs(directory).map_err(io::Error::from))
        .map_err(|error| write_error(destination, error))
}

fn write(member: &Member, content: &mut dyn Read, path: &Path) -> Result<(), UnpackError> {
    let fail = |source| write_error(path, source);
    match &member.kind {
        MemberKind::Directory => fs::DirBuilder::new().mode(0o755).create(path).map_err(fail),
        MemberKind::Link { target } => {
            symlink(target, path).map_err(fail)?;
            let time = Timespec { tv_sec: MODIFIED.into(), tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| fail(error.into()))
        }
        MemberKind::File { executable, size } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(fail)?;
            copy(content, &file, *size, path)?;
            set_fixed_mode_and_time(&file, mode).map_err(fail)
        }
    }
}

/// Copies by hand, to tell a damaged archive from a full disk.
fn copy(content: &mut dyn Read, mut file: &File, size: u64, path: &Path) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut copied = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error).into()),
        };
        io::Write::write_all(&mut file, &buffer[..read]).map_err(|error| write_error(path, error))?;
        copied += read as u64;
    }
    if copied == size {
        return Ok(());
    }
    Err(ArchiveError::Damaged(io::ErrorKind::UnexpectedEof.into()).into())
}

/// The mode is set on the open file, since the one given at creation is subject to the umask.
fn set_fixed_mode_and_time(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED.into());
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}
