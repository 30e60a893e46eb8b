//! A part of a tree, laid out in a directory of its own for Nix to evaluate.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;

use super::tree::{Kind, Tree};

/// A name that no flake looks for.
pub(super) const MARK: &str = ".npc-tells-this-tree-from-its-archive";

/// The part that is laid out.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    tree: &'a Tree,
    place: PathBuf,
    holds: BTreeMap<PathBuf, Keep>,
}

/// A path that could not be laid out.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy `{}` to a temporary directory", path.display())]
pub(super) struct StageError {
    path: PathBuf,
    source: io::Error,
}

impl<'a> Stage<'a> {
    /// A stage at `place`, with nothing on it.
    pub(super) fn new(tree: &'a Tree, place: PathBuf) -> Result<Self, StageError> {
        fs::create_dir(&place).map_err(|source| StageError { path: place.clone(), source })?;
        Ok(Self { tree, place, holds: BTreeMap::new() })
    }

    /// Lays out a file that is not in the tree: the part is then another tree than any archive of it.
    pub(super) fn mark(&self) -> Result<(), StageError> {
        let path = PathBuf::from(MARK);
        fs::write(self.place.join(&path), "").map_err(|source| StageError { path, source })
    }

    /// Takes that file away again.
    pub(super) fn unmark(&self) -> Result<(), StageError> {
        let path = PathBuf::from(MARK);
        match fs::remove_file(self.place.join(&path)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StageError { path, source }),
            _ => Ok(()),
        }
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// What is needed and not there.
    pub(super) fn lacks(&self, needed: &BTreeMap<PathBuf, Keep>) -> BTreeMap<PathBuf, Keep> {
        lacking(&self.holds, needed)
    }

    /// Lays out one more path.
    pub(super) fn add(&mut self, path: &Path, keep: Keep) -> Result<(), StageError> {
        if self.holds.get(path).is_some_and(|held| *held >= keep) {
            return Ok(());
        }
        let failed = |source| StageError { path: path.to_owned(), source };
        let target = self.place.join(path);
        let Some(kind) = self.tree.kind(path) else { return Ok(()) };
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match kind {
            Kind::Directory => fs::create_dir_all(&target).map_err(failed)?,
            Kind::Link if target.is_symlink() => {}
            Kind::Link => {
                let to = self.tree.link_target(path).unwrap_or_default();
                symlink(to, &target).map_err(failed)?;
            }
            Kind::File { .. } if keep == Keep::Name => fs::write(&target, "").map_err(failed)?,
            // With its permissions, of which Nix keeps whether it is executable.
            Kind::File { .. } => fs::copy(self.tree.root().join(path), &target).map(drop).map_err(failed)?,
        }
        self.holds.insert(path.to_owned(), keep);
        Ok(())
    }

    /// Everything that was asked to be laid out.
    pub(super) fn add_all(&mut self, wanted: &BTreeMap<PathBuf, Keep>) -> Result<(), StageError> {
        wanted.iter().try_for_each(|(path, keep)| self.add(path, *keep))
    }
}

/// What of `needed` is not in `held`; a directory is there with anything below it.
pub(super) fn lacking(held: &BTreeMap<PathBuf, Keep>, needed: &BTreeMap<PathBuf, Keep>) -> BTreeMap<PathBuf, Keep> {
    let is_above = |path: &Path| {
        let mut after = held.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        after.next().is_some_and(|(held, _)| held.starts_with(path))
    };
    let lacks = |path: &Path, keep: Keep| match held.get(path) {
        Some(held) => *held < keep,
        None => !is_above(path),
    };
    needed.iter().filter(|(path, keep)| lacks(path, **keep)).map(|(path, keep)| (path.clone(), *keep)).collect()
}
