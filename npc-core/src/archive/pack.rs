//! Packing a tree.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};
use thiserror::Error;

use super::links::{self, EscapingLink};
use super::members::safe;
use crate::digest::Hashing;
use crate::document::Archive;
use crate::limits;

/// The most that tar adds to a member, padding and a usual long name included: unpacking counts that as well.
const HEADER_BYTES: u64 = 4096;

/// A tree that could not be packed.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file of the tree could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file, relative to the tree's root.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive could not be written: a full disk, mostly.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// A file became longer or shorter while it was read.
    #[error("`{}` changed while it was packed", .0.display())]
    Changed(PathBuf),
    /// A socket, a device, a pipe.
    #[error("`{}` is neither file, directory nor symbolic link", .0.display())]
    Special(PathBuf),
    /// Something below a link, which an archive cannot hold beside the link.
    #[error("`{}` lies behind a symbolic link", .0.display())]
    BehindLink(PathBuf),
    /// A path too long or too deep for an agent.
    #[error("`{}` is too long or too deep for an archive", .0.display())]
    IllegalPath(PathBuf),
    /// A link that an agent would refuse.
    #[error(transparent)]
    EscapingLink(#[from] EscapingLink),
    /// More than an agent would unpack.
    #[error("the flake has more than the {limit} {what} that an archive may hold")]
    TooLarge {
        /// Bytes or files.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
}

/// What an archive keeps of a file, a link or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keep {
    /// That it is there, and whether it is a file, a link or a directory: a file is packed empty.
    Name,
    /// Everything.
    Content,
}

/// One path of the tree to be packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Where it is, relative to the tree's root.
    pub path: PathBuf,
    /// What is kept of it.
    pub keep: Keep,
}

impl From<PathBuf> for Selected {
    fn from(path: PathBuf) -> Self {
        Self { path, keep: Keep::Content }
    }
}

/// Where a link points that is kept by name and led out of the tree.
const LEFT_OUT: &str = "left-out-by-npc";

/// What packing has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

/// A finished archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Its digest and length.
    pub archive: Archive,
    /// What went into it.
    pub content: Progress,
}

/// Packs the files, links and empty directories that `members` names below `root` into `output`; the directories above them
/// come along by themselves. `progress` is told after each member.
pub fn pack<W: Write>(
    root: &Path,
    members: impl IntoIterator<Item = impl Into<Selected>>,
    output: W,
    mut progress: impl FnMut(Progress),
) -> Result<(W, Packed), PackError> {
    let members = with_parents(members);
    if members.len() as u64 > limits::ARCHIVE_ENTRIES {
        return Err(PackError::TooLarge { what: "files", limit: limits::ARCHIVE_ENTRIES });
    }
    let gzip = GzBuilder::new().write(Hashing::new(io::BufWriter::new(output)), Compression::default());
    let mut writer = Writer { tar: tar::Builder::new(gzip), links: BTreeMap::new(), done: Progress::default() };
    for (path, keep) in &members {
        writer.append(root, path, *keep)?;
        progress(writer.done);
    }
    links::check(&writer.links)?;
    let content = writer.done;
    let hashing = writer.tar.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(PackError::Write)?;
    let (buffered, sha256, size) = hashing.finish();
    let output = buffered.into_inner().map_err(|error| PackError::Write(error.into_error()))?;
    if size > limits::ARCHIVE_BYTES {
        return Err(PackError::TooLarge { what: "compressed bytes", limit: limits::ARCHIVE_BYTES });
    }
    Ok((output, Packed { archive: Archive { sha256, size }, content }))
}

/// Sorted, so that the order in which a file system lists its files does not matter; a directory sorts before what it holds.
fn with_parents(members: impl IntoIterator<Item = impl Into<Selected>>) -> BTreeMap<PathBuf, Keep> {
    let mut all = BTreeMap::new();
    for member in members {
        let Selected { path, keep } = member.into();
        let parents = path.ancestors().skip(1).take_while(|parent| !parent.as_os_str().is_empty());
        for parent in parents {
            all.entry(parent.to_owned()).or_insert(Keep::Name);
        }
        let kept = all.entry(path).or_insert(keep);
        *kept = keep.max(*kept);
    }
    all
}

struct Writer<W: Write> {
    tar: tar::Builder<W>,
    links: BTreeMap<PathBuf, PathBuf>,
    done: Progress,
}

impl<W: Write> Writer<W> {
    fn append(&mut self, root: &Path, path: &Path, keep: Keep) -> Result<(), PackError> {
        if safe(path).is_err() {
            return Err(PackError::IllegalPath(path.to_owned()));
        }
        if path.ancestors().skip(1).any(|above| self.links.contains_key(above)) {
            return Err(PackError::BehindLink(path.to_owned()));
        }
        let full = root.join(path);
        let read = |source| PackError::Read { path: path.to_owned(), source };
        let metadata = fs::symlink_metadata(&full).map_err(read)?;
        if metadata.is_dir() {
            let mut header = header(EntryType::Directory, 0o755, 0);
            self.tar.append_data(&mut header, path, io::empty()).map_err(PackError::Write)?;
        } else if metadata.is_symlink() {
            let mut target = fs::read_link(&full).map_err(read)?;
            if keep == Keep::Name && links::leads_out(path, &target) {
                target = LEFT_OUT.into();
            }
            self.append_link(path, &target)?;
            self.links.insert(path.to_owned(), target);
        } else if metadata.is_file() && keep == Keep::Name {
            let mut header = header(EntryType::Regular, 0o644, 0);
            self.tar.append_data(&mut header, path, io::empty()).map_err(PackError::Write)?;
        } else if metadata.is_file() {
            self.append_file(path, File::open(&full).map_err(read)?)?;
        } else {
            return Err(PackError::Special(path.to_owned()));
        }
        self.done.entries += 1;
        Ok(())
    }

    /// `Builder::append_link` would write a short target as a path, dropping a `./` in front; a link is kept as it is.
    fn append_link(&mut self, path: &Path, target: &Path) -> Result<(), PackError> {
        let mut header = header(EntryType::Symlink, 0o755, 0);
        if header.set_link_name_literal(target.as_os_str().as_bytes()).is_err() {
            self.tar.append_link(&mut header, path, target).map_err(PackError::Write)
        } else {
            self.tar.append_data(&mut header, path, io::empty()).map_err(PackError::Write)
        }
    }

    fn append_file(&mut self, path: &Path, file: File) -> Result<(), PackError> {
        let metadata = file.metadata().map_err(|source| PackError::Read { path: path.to_owned(), source })?;
        let size = metadata.len();
        let headers = self.done.entries * HEADER_BYTES;
        if self.done.bytes.saturating_add(size).saturating_add(headers) > limits::UNPACKED_BYTES {
            return Err(PackError::TooLarge { what: "bytes", limit: limits::UNPACKED_BYTES });
        }
        let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        let mut content = Exactly { file, left: size, failure: None };
        let appended = self.tar.append_data(&mut header(EntryType::Regular, mode, size), path, &mut content);
        if let Some(source) = content.failure {
            return Err(PackError::Read { path: path.to_owned(), source });
        }
        appended.map_err(PackError::Write)?;
        if !content.is_at_end(path)? {
            return Err(PackError::Changed(path.to_owned()));
        }
        self.done.bytes += size;
        Ok(())
    }
}

/// All fields that could differ between machines are fixed here.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A file read to the length it had when it was opened, keeping its own errors apart from those of the output.
struct Exactly {
    file: File,
    left: u64,
    failure: Option<io::Error>,
}

impl Exactly {
    fn is_at_end(&mut self, path: &Path) -> Result<bool, PackError> {
        let more = self.file.read(&mut [0]).map_err(|source| PackError::Read { path: path.to_owned(), source })?;
        Ok(self.left == 0 && more == 0)
    }
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        match self.file.read(&mut buffer[..most]) {
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}
