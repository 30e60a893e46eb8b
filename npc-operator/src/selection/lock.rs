//! What a lock file asks of the Nix on the hosts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::tree::{Last, Tree};
use crate::voice;

/// A longer lock file is not read, in bytes.
const LOCK_BYTES: u64 = 16 * 1024 * 1024;

/// A lock file, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(default)]
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    /// Of an input that lies in the flake itself: which flake that is. Written since Nix 2.26, which then leaves out the
    /// hash that older versions ask for (release notes of 2.26).
    #[serde(default)]
    parent: Option<Value>,
    #[serde(default)]
    locked: Option<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: Option<PathBuf>,
    #[serde(rename = "narHash", default)]
    nar_hash: Option<String>,
}

/// The directories of the flake that it locks as inputs by their hash: hosts need all that is in them, whether or not the
/// evaluation here read any of it, since it may have found them in the Nix store.
pub(super) fn hashed_directories(tree: &Tree) -> Vec<PathBuf> {
    let locked = read(tree).map(|lock| lock.nodes).unwrap_or_default().into_values().filter_map(|node| node.locked);
    let relative = locked.filter(|locked| locked.kind == "path" && locked.nar_hash.is_some());
    let paths = relative.filter_map(|locked| locked.path).filter(|path| path.is_relative());
    paths.filter_map(|path| tree.resolve(&path, Last::Follow).end).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// What a lock file says of the inputs that lie in the flake itself.
#[derive(Debug, Default)]
pub(super) struct OwnInputs {
    /// Their directories.
    pub(super) directories: Vec<PathBuf>,
    /// Whether one lies in a directory that is not known.
    pub(super) lead_anywhere: bool,
}

/// The inputs that lie in the flake itself.
pub(super) fn own_inputs(tree: &Tree) -> OwnInputs {
    let mut own = OwnInputs::default();
    for node in read(tree).map(|lock| lock.nodes).unwrap_or_default().into_values() {
        let Some(path) = node.locked.filter(|locked| locked.kind == "path").and_then(|locked| locked.path) else {
            continue;
        };
        if path.is_relative() {
            // Relative to the input that names it.
            own.lead_anywhere |= node.parent.is_some_and(|parent| parent.as_array().is_none_or(|way| !way.is_empty()));
            own.directories.push(path);
        }
    }
    own
}

/// Warns of inputs that older versions of Nix cannot read.
pub(super) fn warn_of(tree: &Tree) {
    let Some(lock) = read(tree) else { return };
    let names: Vec<_> = lock.nodes.iter().filter(|(_, node)| node.parent.is_some()).map(|(name, _)| name).collect();
    let hashed = |node: &Node| {
        let relative = |locked: &Locked| locked.path.as_ref().is_some_and(|path| path.is_relative());
        node.locked
            .as_ref()
            .is_some_and(|locked| locked.kind == "path" && locked.nar_hash.is_some() && relative(locked))
    };
    if let Some((first, _)) = lock.nodes.iter().find(|(_, node)| hashed(node)) {
        voice::warn(format_args!(
            "flake.lock locks `{first}`, which lies in the flake itself, in the way of Nix before 2.26: a host that does not \
             have it in its store yet cannot fetch it; lock it with a newer Nix, or import it by its path"
        ));
    }
    if let Some(first) = names.first() {
        voice::warn(format_args!(
            "flake.lock locks `{first}` in the way of Nix 2.26: hosts with an older Nix will refuse the flake"
        ));
    }
}

/// What cannot be read is for Nix to complain of.
fn read(tree: &Tree) -> Option<Lock> {
    tree.kind(Path::new("flake.lock"))?;
    serde_json::from_str(&tree.text(Path::new("flake.lock"), LOCK_BYTES)?).ok()
}
