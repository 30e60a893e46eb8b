//! What an evaluation saw of its flake, and what that was: while the facts hold, the evaluation would go the same way.
//!
//! Flake evaluation is pure (nix.conf(5), `pure-eval`): its result depends on the flake's files alone, as far as it looked at
//! them, and on its locked inputs. So the facts are a proof that a result still holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;
use npc_core::digest::{Digest, Hashing};
use serde::{Deserialize, Serialize};

use super::trace::{Access, Use};
use super::tree::{Kind, Last, Tree};

/// How an evaluation used a path of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sight {
    /// It looked for it, and there was nothing.
    Absent,
    /// It saw what is there: a file, a link, a directory.
    Name,
    /// It saw the names in it, or read the file or the link.
    Inside,
}

/// The paths that an evaluation used, as they are in the tree, links walked.
pub(super) type Sights = BTreeMap<PathBuf, Sight>;

/// What the accesses of an evaluation amount to in `tree`, whichever part of it the evaluation was given.
pub(super) fn sights(tree: &Tree, accesses: &[Access]) -> Sights {
    let mut sights = Sights::new();
    let mut see = |path: PathBuf, sight: Sight| {
        let seen = sights.entry(path).or_insert(sight);
        *seen = sight.max(*seen);
    };
    let mut known = std::collections::HashSet::new();
    // Before it evaluates, Nix reads these by other ways than the store copy's.
    let entry_points = ["flake.nix", "flake.lock"].map(|name| Access { path: name.into(), how: Use::Open });
    for access in entry_points.iter().chain(accesses) {
        if !known.insert(access) {
            continue;
        }
        let last = if access.how == Use::Look { Last::Keep } else { Last::Follow };
        let resolved = tree.resolve(&access.path, last);
        for link in resolved.links {
            see(link, Sight::Inside);
        }
        let Some(end) = resolved.end else { continue };
        let sight = match (tree.kind(&end), access.how) {
            (None, _) => Sight::Absent,
            (Some(Kind::Link), _) | (Some(Kind::Directory), Use::List) | (Some(Kind::File { .. }), Use::Open) => {
                Sight::Inside
            }
            (Some(_), _) => Sight::Name,
        };
        see(end, sight);
    }
    sights
}

/// Adds to `sights` that `path` is read with everything below it, wherever links there lead.
pub(super) fn see_all_of(tree: &Tree, path: &Path, sights: &mut Sights) {
    let mut ahead = vec![path.to_owned()];
    let mut ends = BTreeSet::new();
    while let Some(path) = ahead.pop() {
        let resolved = tree.resolve(&path, Last::Follow);
        sights.extend(resolved.links.into_iter().map(|link| (link, Sight::Inside)));
        let Some(end) = resolved.end.filter(|end| ends.insert(end.clone())) else { continue };
        if tree.kind(&end).is_none() {
            // Something above it may come to be a link.
            let absent = end.ancestors().filter(|above| tree.kind(above).is_none());
            sights.extend(absent.map(|path| (path.to_owned(), Sight::Absent)));
            continue;
        }
        let below = tree.below(&end).map(Path::to_owned);
        for path in std::iter::once(end.clone()).chain(below).filter(|path| tree.kind(path).is_some()) {
            // The directories in between as well: a new name in one is a change.
            for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&end)) {
                sights.insert(above.to_owned(), Sight::Inside);
            }
            if tree.kind(&path) == Some(Kind::Link) {
                ahead.push(path.clone());
            }
            sights.insert(path, Sight::Inside);
        }
    }
}

/// What has to be in an archive for an evaluation to see the same.
pub(super) fn needed(tree: &Tree, sights: &Sights) -> BTreeMap<PathBuf, Keep> {
    let mut needed = BTreeMap::new();
    let mut need = |path: PathBuf, keep: Keep| {
        if !path.as_os_str().is_empty() {
            let kept = needed.entry(path).or_insert(keep);
            *kept = keep.max(*kept);
        }
    };
    for (path, sight) in sights {
        match (sight, tree.kind(path)) {
            (Sight::Absent, _) | (_, None) => {}
            (Sight::Inside, Some(Kind::Directory)) => {
                for name in tree.children(path).keys() {
                    need(path.join(name), Keep::Name);
                }
                need(path.clone(), Keep::Name);
            }
            (Sight::Inside, Some(_)) => need(path.clone(), Keep::Content),
            (Sight::Name, Some(_)) => need(path.clone(), Keep::Name),
        }
    }
    needed
}

/// What was the case at one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fact {
    /// There was nothing.
    Absent,
    /// There was a regular file, a symlink or a directory.
    There(String),
    /// A file with this content.
    File {
        /// The content's digest.
        sha256: Digest,
        /// Whether its owner may execute it, which Nix hashes along with it.
        #[serde(default)]
        executable: bool,
    },
    /// A link to there.
    Link(PathBuf),
    /// A directory with these names, each with its kind.
    Names(Digest),
}

/// Facts by path.
pub(super) type Facts = BTreeMap<PathBuf, Fact>;

/// States facts about a tree, reading each file once.
#[derive(Debug)]
pub(super) struct Witness<'a> {
    tree: &'a Tree,
    content: PathBuf,
    digests: BTreeMap<PathBuf, Option<Digest>>,
}

impl<'a> Witness<'a> {
    pub(super) fn of(tree: &'a Tree) -> Self {
        Self::reading(tree, tree.root())
    }

    /// A witness that reads files below `content`, a copy of the tree: what was evaluated, should somebody edit meanwhile.
    pub(super) fn reading(tree: &'a Tree, content: &Path) -> Self {
        Self { tree, content: content.to_owned(), digests: BTreeMap::new() }
    }

    /// What is the case where an evaluation saw something.
    pub(super) fn facts(&mut self, sights: &Sights) -> Facts {
        sights.iter().map(|(path, sight)| (path.clone(), self.fact(path, *sight))).collect()
    }

    fn fact(&mut self, path: &Path, sight: Sight) -> Fact {
        match (self.tree.kind(path), sight) {
            (None, _) => Fact::Absent,
            (Some(Kind::Directory), Sight::Inside) => Fact::Names(self.names(path)),
            (Some(Kind::Link), Sight::Inside) => Fact::Link(self.tree.link_target(path).unwrap_or_default()),
            (Some(Kind::File { executable }), Sight::Inside) => match self.digest(path) {
                Some(sha256) => Fact::File { sha256, executable },
                None => Fact::Absent,
            },
            (Some(kind), _) => Fact::There(kind.word().to_owned()),
        }
    }

    /// Whether every fact still holds.
    pub(super) fn hold(&mut self, facts: &Facts) -> bool {
        self.first_change(facts).is_none()
    }

    /// The first path of which a fact does not hold any more.
    pub(super) fn first_change<'f>(&mut self, facts: &'f Facts) -> Option<&'f Path> {
        let changed = facts.iter().find(|(path, fact)| {
            let sight = match fact {
                Fact::Absent | Fact::There(_) => Sight::Name,
                Fact::File { .. } | Fact::Link(_) | Fact::Names(_) => Sight::Inside,
            };
            self.fact(path, sight) != **fact
        });
        changed.map(|(path, _)| path.as_path())
    }

    fn names(&self, directory: &Path) -> Digest {
        let mut text = Vec::new();
        for (name, kind) in self.tree.children(directory) {
            text.extend_from_slice(name.as_encoded_bytes());
            text.push(0);
            text.extend_from_slice(kind.word().as_bytes());
            text.push(0);
        }
        Digest::of(&text)
    }

    fn digest(&mut self, path: &Path) -> Option<Digest> {
        if let Some(known) = self.digests.get(path) {
            return *known;
        }
        let read = || -> io::Result<Digest> {
            let mut hashing = Hashing::new(io::sink());
            io::copy(&mut File::open(self.content.join(path))?, &mut hashing)?;
            let (_, digest, _) = hashing.finish();
            Ok(digest)
        };
        let digest = read().ok();
        self.digests.insert(path.to_owned(), digest);
        digest
    }
}

/// What facts say has to be in an archive: as [`needed`], but without looking again at what was seen.
pub(super) fn needed_by(tree: &Tree, facts: &Facts) -> BTreeMap<PathBuf, Keep> {
    let sights = facts.iter().map(|(path, fact)| {
        let sight = match fact {
            Fact::Absent => Sight::Absent,
            Fact::There(_) => Sight::Name,
            Fact::File { .. } | Fact::Link(_) | Fact::Names(_) => Sight::Inside,
        };
        (path.clone(), sight)
    });
    needed(tree, &sights.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("hosts")).expect("made");
        for name in ["flake.nix", "hosts/a.nix", "hosts/b.nix", "README.md"] {
            fs::write(path(name), name).expect("written");
        }
        std::os::unix::fs::symlink("hosts", path("link")).expect("linked");
        let tracked = ["flake.nix", "hosts/a.nix", "hosts/b.nix", "README.md", "link"];
        let tree = Tree::new(folder.path().to_owned(), tracked.map(PathBuf::from));
        (folder, tree)
    }

    fn seen(tree: &Tree) -> Sights {
        let access = |path: &str, how| Access { path: path.into(), how };
        let accesses = [
            access("flake.nix", Use::Look),
            access("flake.nix", Use::Open),
            access("flake.lock", Use::Look),
            access("link", Use::List),
            access("link/a.nix", Use::Open),
        ];
        sights(tree, &accesses)
    }

    #[test]
    fn what_was_read_is_needed_and_what_was_listed_is_needed_by_name() {
        let (_folder, tree) = tree();
        let needed = needed(&tree, &seen(&tree));
        let shown: Vec<_> = needed.iter().map(|(path, keep)| format!("{} {keep:?}", path.display())).collect();
        let expected = ["flake.nix Content", "hosts Name", "hosts/a.nix Content", "hosts/b.nix Name", "link Content"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn facts_hold_until_something_that_was_seen_changes() {
        let (folder, first) = tree();
        let facts = Witness::of(&first).facts(&seen(&first));
        let path = |name: &str| folder.path().join(name);
        let holds = |more: &[&str]| {
            let paths = first.paths().map(Path::to_owned).chain(more.iter().map(PathBuf::from));
            Witness::of(&Tree::new(folder.path().to_owned(), paths)).hold(&facts)
        };
        assert!(holds(&[]));
        fs::write(path("README.md"), "not seen").expect("written");
        fs::write(path("hosts/b.nix"), "listed only").expect("written");
        fs::write(path("new.nix"), "not looked for").expect("written");
        assert!(holds(&["new.nix"]));
        fs::write(path("hosts/a.nix"), "changed").expect("written");
        assert!(!holds(&[]));
        fs::write(path("hosts/a.nix"), "hosts/a.nix").expect("written");
        assert!(holds(&[]));
        fs::write(path("hosts/c.nix"), "a new name").expect("written");
        assert!(!holds(&["hosts/c.nix"]));
        fs::write(path("flake.lock"), "{}").expect("written");
        assert!(!holds(&["flake.lock"]), "what was absent is there now");
        fs::remove_file(path("hosts/b.nix")).expect("removed");
        assert!(!holds(&[]));
    }
}
