//! How much of a tree to lay out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;

use super::tree::{Kind, Tree};

/// A tree with no more files than this, and no more bytes than the next, is evaluated as a whole at once.
const SMALL_TREE_FILES: usize = 5_000;
const SMALL_TREE_BYTES: u64 = 64 * 1024 * 1024;

/// How often a part may grow by what was missed before everything is laid out.
const GROWTHS: u32 = 24;

pub(super) fn merge(into: &mut BTreeMap<PathBuf, Keep>, more: BTreeMap<PathBuf, Keep>) {
    for (path, keep) in more {
        let kept = into.entry(path).or_insert(keep);
        *kept = keep.max(*kept);
    }
}

/// Every path of the tree that is there, with its content.
pub(super) fn everything(tree: &Tree) -> BTreeMap<PathBuf, Keep> {
    let there = tree.paths().filter(|path| tree.kind(path).is_some());
    there
        .map(|path| {
            (path.to_owned(), if tree.kind(path) == Some(Kind::Directory) { Keep::Name } else { Keep::Content })
        })
        .collect()
}

pub(super) fn is_small(tree: &Tree) -> bool {
    let mut bytes = 0;
    tree.paths().take(SMALL_TREE_FILES + 1).enumerate().all(|(number, path)| {
        bytes += tree.root().join(path).symlink_metadata().map_or(0, |metadata| metadata.len());
        number < SMALL_TREE_FILES && bytes <= SMALL_TREE_BYTES
    })
}

/// What was missed and, ever more generously the more `times` that has happened, what lies beside it: an evaluation ends at the
/// first file that it misses.
pub(super) fn generously(tree: &Tree, missed: &BTreeMap<PathBuf, Keep>, times: u32) -> BTreeMap<PathBuf, Keep> {
    let mut wanted = if times > GROWTHS { everything(tree) } else { BTreeMap::new() };
    let mut room = 1_u64 << (16 + times).min(30);
    let size = |path: &Path| tree.root().join(path).symlink_metadata().map_or(0, |metadata| metadata.len());
    for path in missed.keys() {
        for beside in tree.below(path.parent().unwrap_or(Path::new(""))) {
            match room.checked_sub(size(beside)) {
                Some(left) => room = left,
                None => break,
            }
            wanted.insert(beside.to_owned(), Keep::Content);
        }
    }
    merge(&mut wanted, missed.clone());
    wanted
}
