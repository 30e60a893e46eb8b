//! The tree that a flake is to Nix: the files that git tracks, less what `npc.toml` excludes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::Bound;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use npc_core::files;

/// The kernel gives up after 40 links (`path_resolution(7)`), and so does Nix.
const MOST_LINKS: usize = 40;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    File { executable: bool },
    Link,
    Directory,
}

impl Kind {
    /// What `builtins.readDir` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::File { .. } => "regular",
            Self::Link => "symlink",
            Self::Directory => "directory",
        }
    }
}

/// The files, links and (where there is no git) directories of a flake, as they lie in the working tree.
///
/// What is there is looked at once: whoever edits the tree meanwhile does not change the picture.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    paths: BTreeSet<PathBuf>,
    seen: RefCell<HashMap<PathBuf, Option<Found>>>,
}

/// What was found at a listed path.
#[derive(Debug, Clone)]
enum Found {
    Kind(Kind),
    Link(PathBuf),
}

/// Where a path leads.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The links on the way.
    pub links: Vec<PathBuf>,
    /// The place in the end; none where the way leads out of the tree or in a circle.
    pub end: Option<PathBuf>,
}

/// Whether a link in the last place is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    Follow,
    Keep,
}

impl Tree {
    /// The tree of `paths`, relative to `root`.
    pub fn new(root: PathBuf, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { root, paths: paths.into_iter().collect(), seen: RefCell::default() }
    }

    /// The directory that the tree lies in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every file, link and listed directory.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }

    /// Whether the flake has something of that name, be it there or not.
    pub fn lists(&self, path: &Path) -> bool {
        self.paths.contains(path) || self.below(path).next().is_some()
    }

    /// What lies at `path`, without following it. What git tracks and is not there any more is not there.
    pub fn kind(&self, path: &Path) -> Option<Kind> {
        if self.paths.contains(path) {
            return self.found(path).map(|found| match found {
                Found::Kind(kind) => kind,
                Found::Link(_) => Kind::Link,
            });
        }
        let exists = path.as_os_str().is_empty() || self.below(path).any(|below| self.found(below).is_some());
        exists.then_some(Kind::Directory)
    }

    /// What stands in a file, if that is no longer than `limit` bytes.
    pub fn text(&self, path: &Path, limit: u64) -> Option<String> {
        let bytes = files::read_limited(&self.root.join(path), limit).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn found(&self, path: &Path) -> Option<Found> {
        if let Some(seen) = self.seen.borrow().get(path) {
            return seen.clone();
        }
        let full = self.root.join(path);
        let look = |metadata: fs::Metadata| {
            if metadata.is_symlink() {
                return fs::read_link(&full).ok().map(Found::Link);
            }
            let executable = metadata.permissions().mode() & 0o100 != 0;
            match metadata.file_type() {
                kind if kind.is_dir() => Some(Found::Kind(Kind::Directory)),
                kind if kind.is_file() => Some(Found::Kind(Kind::File { executable })),
                // A pipe or a socket belongs to no flake.
                _ => None,
            }
        };
        let found = fs::symlink_metadata(&full).ok().and_then(look);
        self.seen.borrow_mut().insert(path.to_owned(), found.clone());
        found
    }

    /// Everything below a directory, at any depth.
    pub fn below<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = &'a Path> {
        let range = self.paths.range::<Path, _>((Bound::Included(directory), Bound::Unbounded));
        range.map(PathBuf::as_path).take_while(move |path| path.starts_with(directory)).filter(move |path| {
            // The directory itself may be listed.
            *path != directory
        })
    }

    /// What lies beside `path` under a longer name that begins like its own.
    pub fn beginning_like(&self, path: &Path) -> Vec<PathBuf> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
        let name = name.as_encoded_bytes();
        let mut found = Vec::new();
        let mut from = path.to_owned();
        while let Some(next) = self.paths.range(from.clone()..).next() {
            let Some(Component::Normal(beside)) =
                next.strip_prefix(directory).ok().and_then(|path| path.components().next())
            else {
                break;
            };
            if !beside.as_encoded_bytes().starts_with(name) {
                break;
            }
            from = successor(&directory.join(beside));
            if beside.len() > name.len() {
                found.push(directory.join(beside));
            }
        }
        found
    }

    /// The names in a directory, with what they stand for.
    pub fn children(&self, directory: &Path) -> BTreeMap<OsString, Kind> {
        let mut children = BTreeMap::new();
        let mut from = directory.to_owned();
        while let Some(next) = self.paths.range(from.clone()..).find(|path| *path != directory) {
            let Some(name) = next.strip_prefix(directory).ok().and_then(|below| below.components().next()) else {
                break;
            };
            let child = directory.join(name);
            if let Some(kind) = self.kind(&child) {
                children.insert(name.as_os_str().to_owned(), kind);
            }
            from = successor(&child);
        }
        children
    }

    /// Walks `path` through the tree's links.
    pub fn resolve(&self, path: &Path, last: Last) -> Resolved {
        let mut resolved = Resolved::default();
        let mut place = PathBuf::new();
        let mut ahead = vec![path.to_owned()];
        while let Some(path) = ahead.pop() {
            let mut components = path.components();
            let Some(component) = components.next() else { continue };
            let rest = components.as_path();
            if !rest.as_os_str().is_empty() {
                ahead.push(rest.to_owned());
            }
            match component {
                Component::RootDir | Component::Prefix(_) => return resolved,
                Component::CurDir => {}
                Component::ParentDir => {
                    if !place.pop() {
                        return resolved;
                    }
                }
                Component::Normal(name) => {
                    place.push(name);
                    let is_last = ahead.is_empty();
                    if let Some(target) = self.link_target(&place).filter(|_| !is_last || last == Last::Follow) {
                        resolved.links.push(place.clone());
                        if resolved.links.len() > MOST_LINKS {
                            return resolved;
                        }
                        place.pop();
                        ahead.push(target);
                    }
                }
            }
        }
        resolved.end = Some(place);
        resolved
    }

    /// Where the link at `path` points.
    pub fn link_target(&self, path: &Path) -> Option<PathBuf> {
        if !self.paths.contains(path) {
            return None;
        }
        match self.found(path)? {
            Found::Link(target) => Some(target),
            Found::Kind(_) => None,
        }
    }
}

/// A path without `.` and `..`; none where it leaves the tree.
pub fn normalize(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

/// The first path after everything below `path`: paths are ordered by their components.
fn successor(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    name.push("\0");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a/b")).expect("made");
        fs::create_dir_all(path("a.b")).expect("made");
        for name in ["a/b/one", "a/two", "a.b/three", "untracked"] {
            fs::write(path(name), name).expect("written");
        }
        symlink("b", path("a/link")).expect("linked");
        symlink("../..", path("a/out")).expect("linked");
        symlink("loop", path("loop")).expect("linked");
        let tracked = ["a/b/one", "a/two", "a/link", "a/out", "a.b/three", "loop", "deleted/four"];
        let tree = Tree::new(folder.path().to_owned(), tracked.map(PathBuf::from));
        (folder, tree)
    }

    #[test]
    fn only_what_is_tracked_and_there_exists() {
        let (_folder, tree) = tree();
        assert_eq!(tree.kind(Path::new("a")), Some(Kind::Directory));
        assert_eq!(tree.kind(Path::new("a/b/one")), Some(Kind::File { executable: false }));
        assert_eq!(tree.kind(Path::new("a/link")), Some(Kind::Link));
        assert_eq!(tree.kind(Path::new("untracked")), None);
        assert_eq!(tree.kind(Path::new("deleted")), None);
        assert_eq!(tree.kind(Path::new("deleted/four")), None);
        assert_eq!(tree.kind(Path::new("")), Some(Kind::Directory));
    }

    #[test]
    fn a_directory_lists_each_name_once() {
        let (_folder, tree) = tree();
        let names = |directory: &str| {
            let children = tree.children(Path::new(directory));
            children.into_iter().map(|(name, kind)| format!("{} {}", name.display(), kind.word())).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["a directory", "a.b directory", "loop symlink"]);
        assert_eq!(names("a"), ["b directory", "link symlink", "out symlink", "two regular"]);
        assert_eq!(names("a/b"), ["one regular"]);
        assert!(names("none").is_empty());
    }

    #[test]
    fn longer_names_are_found() {
        let names = ["a", "a b/x", "a b/y", "a.nix", "ab", "b", "dir/web-1", "dir/web-2/x", "dir/wep"];
        let tree = Tree::new("/nowhere".into(), names.map(PathBuf::from));
        let longer = |path: &str| {
            let found = tree.beginning_like(Path::new(path)).into_iter();
            found.map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(longer("a"), ["a b", "a.nix", "ab"]);
        assert_eq!(longer("dir/web-"), ["dir/web-1", "dir/web-2"]);
        assert!(longer("none").is_empty() && longer("").is_empty() && longer("dir/none").is_empty());
    }

    #[test]
    fn links_are_walked() {
        let (_folder, tree) = tree();
        let resolve = |path: &str, last| {
            let resolved = tree.resolve(Path::new(path), last);
            let shown = |path: &PathBuf| path.display().to_string();
            (resolved.links.iter().map(shown).collect::<Vec<_>>().join(" "), resolved.end.as_ref().map(shown))
        };
        let end = |path: &str| Some(path.to_owned());
        assert_eq!(resolve("a/link/one", Last::Keep), ("a/link".to_owned(), end("a/b/one")));
        assert_eq!(resolve("a/link", Last::Keep), (String::new(), end("a/link")));
        assert_eq!(resolve("a/link", Last::Follow), ("a/link".to_owned(), end("a/b")));
        assert_eq!(resolve("a/../a/./two", Last::Follow), (String::new(), end("a/two")));
        assert_eq!(resolve("a/out/x", Last::Follow).1, None);
        assert_eq!(resolve("loop", Last::Follow).1, None);
    }
}
