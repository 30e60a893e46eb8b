//! The finished archive, and unpacking it again where Nix can read it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::PathBuf;

use npc_core::archive::{Keep, Limits, PackError, Packed, Selected, pack, unpack};
use tempfile::NamedTempFile;

use super::nix::Nix;
use super::stage::MARK;
use super::tree::{Kind, Tree};
use crate::failure::Failure;
use crate::interrupt::Litter;
use crate::voice::Progress;
use crate::words;

/// An archive in a temporary file.
#[derive(Debug)]
pub struct Archived {
    /// The file.
    pub file: NamedTempFile,
    /// Its digest and content.
    pub packed: Packed,
    /// What was put in.
    pub members: BTreeMap<PathBuf, Keep>,
    _litter: Litter,
}

impl Archived {
    /// Packs part of a tree.
    pub(super) fn pack(tree: &Tree, members: &BTreeMap<PathBuf, Keep>) -> Result<Self, Failure> {
        let failed = |error| Failure::from(PackError::Write(error));
        let file = NamedTempFile::new().map_err(failed)?;
        let litter = Litter::at(file.path());
        let mut progress = Progress::begin("packing");
        let selected = members.iter().map(|(path, keep)| Selected { path: path.clone(), keep: *keep });
        let (_, packed) = pack(tree.root(), selected, file.as_file(), |done| {
            progress.tell(format!("{} files, {}", done.entries, words::bytes(done.bytes)));
        })?;
        Ok(Self { file, packed, members: members.clone(), _litter: litter })
    }

    /// The archive, to be read from its beginning.
    pub fn reader(&self) -> io::Result<File> {
        let mut file = self.file.reopen()?;
        file.rewind()?;
        Ok(file)
    }

    /// Whether nothing of the tree is left out.
    pub(super) fn is_whole(&self, tree: &Tree) -> bool {
        tree.paths().all(|path| match self.members.get(path) {
            Some(Keep::Content) => true,
            Some(Keep::Name) => tree.kind(path) == Some(Kind::Directory),
            None => tree.kind(path).is_none(),
        })
    }

    /// Unpacks it where Nix can read it, as a host would.
    pub(super) fn unpack(&self, nix: &Nix) -> Result<PathBuf, Failure> {
        self.unpack_as(nix, "archive")
    }

    /// Unpacks it, and lays a file beside that is not in it: another tree in which the same is read.
    pub(super) fn unpack_with_a_mark(&self, nix: &Nix) -> Result<PathBuf, Failure> {
        let place = self.unpack_as(nix, "marked")?;
        fs::write(place.join(MARK), "").map_err(Failure::scratch)?;
        Ok(place)
    }

    fn unpack_as(&self, nix: &Nix, name: &str) -> Result<PathBuf, Failure> {
        let place = nix.place(&format!("{name}-{}", self.packed.archive.sha256.short()))?;
        if place.exists() {
            fs::remove_dir_all(&place).map_err(Failure::scratch)?;
        }
        unpack(self.reader().map_err(Failure::scratch)?, &place, Limits::default()).map_err(Failure::scratch)?;
        Ok(place)
    }
}
