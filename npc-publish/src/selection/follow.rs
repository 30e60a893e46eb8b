//! The `static` strategy: from `flake.nix` on, every file that the syntax mentions.
//!
//! Sound before small: what cannot be followed widens the set to a directory or, failing that, to the whole tree, and the
//! line that made it do so is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;

use super::mentions::{Mention, Usage, What, mentions};
use super::tree::{Kind, Last, Tree};

/// A file larger than this is no Nix expression, in bytes.
const EXPRESSION_BYTES: u64 = 4 * 1024 * 1024;

/// Something that could not be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Widening {
    /// The file that it stands in.
    pub(crate) file: PathBuf,
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The expression.
    pub(crate) text: String,
    /// What was taken instead: a directory; the tree, where it is empty.
    pub(crate) taken: PathBuf,
}

/// What following found.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// What to pack, each with where it was first mentioned.
    pub(super) members: BTreeMap<PathBuf, (Keep, String)>,
    /// What widened the set.
    pub(super) widened: Vec<Widening>,
}

/// What the files of a flake mention, without what could not be followed: a good guess at what evaluation reads.
pub(super) fn closure(tree: &Tree) -> BTreeMap<PathBuf, Keep> {
    let mut walk = Walk::new(tree, Widen::No);
    walk.flake(Path::new(""), "the flake");
    walk.run();
    walk.found.members.into_iter().map(|(path, (keep, _))| (path, keep)).collect()
}

/// Everything that evaluating the flake may read.
pub(super) fn follow(tree: &Tree) -> Followed {
    let mut walk = Walk::new(tree, Widen::Yes);
    walk.flake(Path::new(""), "the flake");
    walk.run();
    walk.found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Widen {
    Yes,
    No,
}

struct Walk<'a> {
    tree: &'a Tree,
    widen: Widen,
    found: Followed,
    /// Nix files to be read, each with the flake it belongs to.
    ahead: Vec<(PathBuf, PathBuf)>,
    seen: BTreeSet<(PathBuf, PathBuf)>,
    /// Directories that were taken whole, likewise.
    whole: BTreeSet<(PathBuf, PathBuf)>,
}

impl<'a> Walk<'a> {
    fn new(tree: &'a Tree, widen: Widen) -> Self {
        Self {
            tree,
            widen,
            found: Followed::default(),
            ahead: Vec::new(),
            seen: BTreeSet::new(),
            whole: BTreeSet::new(),
        }
    }

    fn run(&mut self) {
        while let Some((file, root)) = self.ahead.pop() {
            self.read(&file, &root);
        }
    }

    /// A flake's entry points.
    fn flake(&mut self, directory: &Path, reason: &str) {
        for name in ["flake.nix", "flake.lock"] {
            self.take(&directory.join(name), directory, Usage::Import, reason);
        }
    }

    fn read(&mut self, file: &Path, root: &Path) {
        let full = self.tree.root().join(file);
        let is_nix = file.extension().is_some_and(|extension| extension == "nix");
        let is_short = full.metadata().is_ok_and(|metadata| metadata.len() <= EXPRESSION_BYTES);
        let bytes = if is_short { std::fs::read(&full).ok() } else { None };
        let Some(bytes) = bytes else {
            if is_nix {
                let text = "a file that is too long, or cannot be read".to_owned();
                self.mentioned(file, root, &Mention { what: What::All, line: 1, text });
            }
            return;
        };
        match mentions(&String::from_utf8_lossy(&bytes), file, root) {
            Ok(found) => {
                for mention in found {
                    self.mentioned(file, root, &mention);
                }
            }
            Err(unparsed) if is_nix => {
                let mention = Mention { what: What::All, line: unparsed.line, text: unparsed.text };
                self.mentioned(file, root, &mention);
            }
            // Without the extension, it need not be an expression at all.
            Err(_) => {}
        }
    }

    fn mentioned(&mut self, file: &Path, root: &Path, mention: &Mention) {
        let reason = format!("{}:{}: {}", file.display(), mention.line, mention.text);
        match &mention.what {
            What::Path(path, usage) => {
                if path == root && *usage == Usage::Value {
                    self.widened(file, mention, path);
                    if self.widen == Widen::No {
                        return;
                    }
                }
                self.take(path, root, *usage, &reason);
            }
            What::Below(directory) => {
                self.widened(file, mention, directory);
                if self.widen == Widen::Yes || directory != root {
                    self.take(directory, root, Usage::Value, &reason);
                }
            }
            What::Names(directory) => self.names(directory, &reason),
            What::Flake(directory) => {
                self.take(directory, directory, Usage::Value, &reason);
                self.flake(directory, &reason);
            }
            What::All => {
                self.widened(file, mention, Path::new(""));
                if self.widen == Widen::Yes {
                    self.take(Path::new(""), root, Usage::Value, &reason);
                }
            }
        }
    }

    fn widened(&mut self, file: &Path, mention: &Mention, taken: &Path) {
        let (file, taken) = (file.to_owned(), taken.to_owned());
        self.found.widened.push(Widening { file, line: mention.line, text: mention.text.clone(), taken });
    }

    fn keep(&mut self, path: &Path, keep: Keep, reason: &str) {
        if path.as_os_str().is_empty() {
            return;
        }
        let kept = self.found.members.entry(path.to_owned()).or_insert_with(|| (keep, reason.to_owned()));
        if kept.0 < keep {
            *kept = (keep, reason.to_owned());
        }
    }

    fn take(&mut self, path: &Path, root: &Path, usage: Usage, reason: &str) {
        let resolved = self.tree.resolve(path, Last::Follow);
        for link in &resolved.links {
            self.keep(link, Keep::Content, reason);
        }
        let Some(end) = resolved.end else { return };
        match self.tree.kind(&end) {
            None => {}
            Some(Kind::Link) => self.keep(&end, Keep::Content, reason),
            Some(Kind::File { .. }) => self.file(&end, root, usage, reason),
            Some(Kind::Directory) => {
                self.keep(&end, Keep::Name, reason);
                let has_default = self.tree.kind(&end.join("default.nix")).is_some();
                if usage == Usage::Import && has_default {
                    self.take(&end.join("default.nix"), root, Usage::Import, reason);
                } else {
                    self.directory(&end, root, reason);
                }
            }
        }
    }

    /// Everything in a directory, at any depth. Links in it may lead elsewhere.
    fn directory(&mut self, directory: &Path, root: &Path, reason: &str) {
        if !self.whole.insert((directory.to_owned(), root.to_owned())) {
            return;
        }
        let below: Vec<_> = self.tree.below(directory).map(Path::to_owned).collect();
        for path in below {
            match self.tree.kind(&path) {
                Some(Kind::File { .. }) => self.file(&path, root, Usage::Value, reason),
                Some(Kind::Directory) => self.keep(&path, Keep::Name, reason),
                Some(Kind::Link) => {
                    self.keep(&path, Keep::Content, reason);
                    self.take(&path, root, Usage::Value, reason);
                }
                None => {}
            }
        }
    }

    fn names(&mut self, directory: &Path, reason: &str) {
        let below: Vec<_> = self.tree.below(directory).map(Path::to_owned).collect();
        for path in below.iter().filter(|path| self.tree.kind(path).is_some()) {
            self.keep(path, Keep::Name, reason);
        }
    }

    fn file(&mut self, path: &Path, root: &Path, usage: Usage, reason: &str) {
        self.keep(path, Keep::Content, reason);
        let may_be_nix = match path.extension() {
            Some(extension) => extension == "nix",
            None => true,
        };
        if (may_be_nix || usage == Usage::Import) && self.seen.insert((path.to_owned(), root.to_owned())) {
            self.ahead.push((path.to_owned(), root.to_owned()));
        }
    }
}
