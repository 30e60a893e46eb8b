//! Reading an archive member by member, refusing every member that the packer would not write. What lies behind the end of
//! the tar, or of the gzip stream, counts towards the archive's digest and length and is otherwise of no account.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::EntryType;
use thiserror::Error;

use super::links::{self, EscapingLink};
use crate::digest::{Digest, Hashing};
use crate::limits;

/// What an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after decompression, headers included.
    pub bytes: u64,
    /// Members.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: limits::UNPACKED_BYTES, entries: limits::ARCHIVE_ENTRIES }
    }
}

/// An archive that is not read any further.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Damaged gzip or tar, or no more of it.
    #[error("the archive is damaged")]
    Damaged(#[source] io::Error),
    /// More bytes or members than allowed.
    #[error("the archive holds more than the {limit} {what} allowed")]
    TooLarge {
        /// Bytes or members.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// An absolute path, one with `..`, an empty, overlong or overdeep one.
    #[error("the archive holds the illegal path `{}`", .0.display())]
    IllegalPath(PathBuf),
    /// A path that occurs twice, or lies below something that is not a directory.
    #[error("the archive holds `{}` twice, or below something that is not a directory", .0.display())]
    Duplicate(PathBuf),
    /// A device, a hard link, a sparse file, a PAX header: nothing that the packer writes.
    #[error("the archive holds `{}`, which is neither file, directory nor symbolic link (tar type {kind:?})", path.display())]
    IllegalKind {
        /// The member.
        path: PathBuf,
        /// Tar's letter for it.
        kind: char,
    },
    /// A link that leads out of the tree.
    #[error(transparent)]
    EscapingLink(#[from] EscapingLink),
}

impl ArchiveError {
    /// The stable word for this refusal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "archive-damaged",
            Self::TooLarge { .. } => "too-large",
            Self::IllegalPath(_) | Self::Duplicate(_) => "archive-illegal-path",
            Self::IllegalKind { .. } => "archive-illegal-entry",
            Self::EscapingLink(_) => "archive-escaping-link",
        }
    }
}

/// One member, with a path that is safe to join to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Relative, without `.` and `..`.
    pub path: PathBuf,
    /// What it is.
    pub kind: MemberKind,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Whether it may be executed.
        executable: bool,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Link {
        /// Where it points, unchanged.
        target: PathBuf,
    },
}

/// Calls `visit` for each member, with its content to read, and checks where its links lead at the end.
///
/// `visit` sees a member only after every directory above it; what it returns as error ends the walk.
pub(super) fn walk<E: From<ArchiveError>>(
    archive: impl Read,
    allowed: Limits,
    mut visit: impl FnMut(&Member, &mut dyn Read) -> Result<(), E>,
) -> Result<(), E> {
    let bounded = Bounded { inner: GzDecoder::new(archive), left: allowed.bytes, limit: allowed.bytes };
    let mut archive = tar::Archive::new(bounded);
    let mut seen = Seen::default();
    let mut long = LongNames::default();
    let mut count = 0;
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        if long.take(&mut entry)? {
            continue;
        }
        count += 1;
        if count > allowed.entries {
            return Err(ArchiveError::TooLarge { what: "members", limit: allowed.entries }.into());
        }
        let member = member(&entry, &mut long)?;
        if matches!(member.kind, MemberKind::File { size, .. } if size > allowed.bytes) {
            return Err(ArchiveError::TooLarge { what: "bytes", limit: allowed.bytes }.into());
        }
        seen.add(&member)?;
        visit(&member, &mut entry)?;
    }
    // Tar ends before gzip's checksum does: read on, or a cut-off end would go unnoticed.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    links::check(&seen.links).map_err(ArchiveError::from)?;
    Ok(())
}

/// Tells a limit that was hit inside a reader from damage.
pub(super) fn damaged(error: io::Error) -> ArchiveError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<LimitHit>()) {
        Some(LimitHit(limit)) => ArchiveError::TooLarge { what: "bytes", limit: *limit },
        None => ArchiveError::Damaged(error),
    }
}

#[derive(Debug, Error)]
#[error("more than {0} bytes")]
struct LimitHit(u64);

/// A reader that fails, rather than ends, when it has given all it may.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(LimitHit(self.limit)))?;
        Ok(read)
    }
}

/// The paths so far.
#[derive(Default)]
struct Seen {
    directories: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
    links: BTreeMap<PathBuf, PathBuf>,
}

impl Seen {
    fn add(&mut self, member: &Member) -> Result<(), ArchiveError> {
        let path = &member.path;
        let taken = self.directories.contains(path) || self.files.contains(path) || self.links.contains_key(path);
        let parent = path.parent().unwrap_or(Path::new(""));
        let orphan = !parent.as_os_str().is_empty() && !self.directories.contains(parent);
        if taken || orphan {
            return Err(ArchiveError::Duplicate(path.clone()));
        }
        match &member.kind {
            MemberKind::Directory => drop(self.directories.insert(path.clone())),
            MemberKind::File { .. } => drop(self.files.insert(path.clone())),
            MemberKind::Link { target } => drop(self.links.insert(path.clone(), target.clone())),
        }
        Ok(())
    }
}

/// GNU's long names: a member of type `L` (or `K`) holds the name (or link target) of the member behind it.
#[derive(Default)]
struct LongNames {
    name: Option<PathBuf>,
    target: Option<PathBuf>,
}

impl LongNames {
    /// Takes in a long-name member. Returns whether `entry` was one.
    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, ArchiveError> {
        let slot = match entry.header().entry_type() {
            EntryType::GNULongName => &mut self.name,
            EntryType::GNULongLink => &mut self.target,
            _ => return Ok(false),
        };
        let mut text = Vec::new();
        entry.take(limits::PATH_BYTES as u64 + 2).read_to_end(&mut text).map_err(damaged)?;
        if text.last() == Some(&0) {
            text.pop();
        }
        let path = PathBuf::from(OsStr::from_bytes(&text));
        if text.len() > limits::PATH_BYTES || slot.replace(path.clone()).is_some() {
            return Err(ArchiveError::IllegalPath(path));
        }
        Ok(true)
    }
}

fn member(entry: &tar::Entry<'_, impl Read>, long: &mut LongNames) -> Result<Member, ArchiveError> {
    let header = entry.header();
    let path = match long.name.take() {
        Some(path) => path,
        None => header.path().map_err(ArchiveError::Damaged)?.into_owned(),
    };
    let path = safe(&path)?;
    let long_target = long.target.take();
    let kind = match header.entry_type() {
        EntryType::Directory => MemberKind::Directory,
        EntryType::Regular => MemberKind::File {
            executable: header.mode().map_err(ArchiveError::Damaged)? & 0o100 != 0,
            size: header.entry_size().map_err(ArchiveError::Damaged)?,
        },
        EntryType::Symlink => {
            let short = || header.link_name().map(|target| target.map(std::borrow::Cow::into_owned));
            let target = match long_target {
                Some(target) => Some(target),
                None => short().map_err(ArchiveError::Damaged)?,
            };
            let is_usable =
                |target: &PathBuf| !target.as_os_str().is_empty() && !target.as_os_str().as_bytes().contains(&0);
            let target = target.filter(is_usable);
            MemberKind::Link { target: target.ok_or_else(|| ArchiveError::IllegalPath(path.clone()))? }
        }
        other => return Err(ArchiveError::IllegalKind { path, kind: other.as_byte().into() }),
    };
    Ok(Member { path, kind })
}

/// The path, if joining it to a directory stays below that directory.
pub(super) fn safe(path: &Path) -> Result<PathBuf, ArchiveError> {
    let refuse = || ArchiveError::IllegalPath(path.to_owned());
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > limits::PATH_BYTES || bytes.contains(&0) {
        return Err(refuse());
    }
    let mut clean = PathBuf::new();
    for (depth, component) in path.components().enumerate() {
        match component {
            Component::Normal(name) if depth < limits::PATH_DEPTH && name.len() <= 255 => clean.push(name),
            _ => return Err(refuse()),
        }
    }
    if clean.as_os_str().is_empty() { Err(refuse()) } else { Ok(clean) }
}

/// What an archive holds, by path: enough to tell two archives apart file by file.
pub type Manifest = BTreeMap<PathBuf, (MemberKind, Option<Digest>)>;

/// Lists an archive, with the digest of each file.
pub fn manifest(archive: impl Read, allowed: Limits) -> Result<Manifest, ArchiveError> {
    let mut manifest = Manifest::new();
    walk(archive, allowed, |member, content| {
        let digest = match member.kind {
            MemberKind::File { .. } => {
                let mut hashing = Hashing::new(io::sink());
                io::copy(content, &mut hashing).map_err(damaged)?;
                Some(hashing.finish().1)
            }
            _ => None,
        };
        manifest.insert(member.path.clone(), (member.kind.clone(), digest));
        Ok::<_, ArchiveError>(())
    })?;
    Ok(manifest)
}
