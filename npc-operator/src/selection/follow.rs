//! The `static` strategy: from `flake.nix` on, every file that the syntax mentions.
//!
//! Sound before small: what cannot be followed widens the set to a directory or, failing that, to the whole tree, and the
//! line that made it do so is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;

use super::built::ENDS;
use super::lock;
use super::mentions::{EXPRESSION_BYTES, Mention, Usage, What, mentions};
use super::tree::{Kind, Last, Tree, normalize};

/// A file that is not called `*.nix` is no Nix expression if it is larger than this, in bytes.
const UNNAMED_BYTES: u64 = 256 * 1024;

/// A way through links that is longer than this, in names, leads in a circle.
const LONGEST_WAY: usize = 64;

/// Something that could not be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Widening {
    /// The file that it stands in.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The expression.
    pub text: String,
    /// What was taken instead: a directory; the tree, where it is empty.
    pub taken: PathBuf,
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
    walk.inputs();
    walk.run();
    walk.found.members.into_iter().map(|(path, (keep, _))| (path, keep)).collect()
}

/// Everything that evaluating the flake may read.
pub(super) fn follow(tree: &Tree) -> Followed {
    let mut walk = Walk::new(tree, Widen::Yes);
    walk.flake(Path::new(""), "the flake");
    walk.inputs();
    walk.run();
    walk.found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Widen {
    Yes,
    No,
}

/// A Nix file to be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    file: PathBuf,
    /// The way that it was come by: since 2.26, Nix takes what the file names as relative to that, links and all.
    way: PathBuf,
    /// The flake that it belongs to, or that gave it its `self`.
    root: PathBuf,
}

struct Walk<'a> {
    tree: &'a Tree,
    widen: Widen,
    found: Followed,
    ahead: Vec<Reading>,
    seen: BTreeSet<Reading>,
    /// Directories that were taken whole, each by the way that it was come by and the flake that it was taken for.
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
        while let Some(reading) = self.ahead.pop() {
            self.read(&reading);
        }
    }

    /// A flake's entry points.
    fn flake(&mut self, directory: &Path, reason: &str) {
        for name in ["flake.nix", "flake.lock"] {
            self.take(&directory.join(name), directory, Usage::Import, reason);
        }
    }

    /// The inputs that the lock file places in the flake.
    fn inputs(&mut self) {
        let inputs = lock::own_inputs(self.tree);
        let lock = Path::new("flake.lock");
        for directory in inputs.directories.iter().filter_map(|path| normalize(path)) {
            let text = format!("an input in `{}`", directory.display());
            self.mentioned(lock, Path::new(""), &Mention { what: What::Flake(directory), line: 1, text });
        }
        if inputs.lead_anywhere {
            let text = "an input of an input, somewhere in this flake".to_owned();
            self.mentioned(lock, Path::new(""), &Mention { what: What::All, line: 1, text });
        }
    }

    fn read(&mut self, reading: &Reading) {
        let Reading { file, way, root } = reading;
        let is_nix = file.extension().is_some_and(|extension| extension == "nix");
        let limit = if is_nix { EXPRESSION_BYTES } else { UNNAMED_BYTES };
        let Some(text) = self.tree.text(file, limit) else {
            if is_nix {
                let text = "a file that is too long, or cannot be read".to_owned();
                self.mentioned(file, root, &Mention { what: What::All, line: 1, text });
            }
            return;
        };
        match mentions(&text, way, root) {
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
                    self.take_one(directory, root, Usage::Value, &reason);
                }
            }
            What::Names(directory) => self.names(directory, &reason),
            What::Flake(directory) => {
                self.take_one(directory, directory, Usage::Value, &reason);
                self.flake(directory, &reason);
            }
            What::All => {
                self.widened(file, mention, Path::new(""));
                if self.widen == Widen::Yes {
                    self.take_one(Path::new(""), root, Usage::Value, &reason);
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
        self.take_one(path, root, usage, reason);
        let length = path.as_os_str().len();
        let is_there = self.tree.resolve(path, Last::Follow).end.is_some_and(|end| self.tree.kind(&end).is_some());
        for longer in self.tree.beginning_like(path) {
            // What ends a path in a script may belong to the name all the same: a blank.
            let goes_on = longer.as_os_str().as_encoded_bytes().get(length).is_some_and(|byte| ENDS.contains(byte));
            // Elsewhere, more may be added to the name: `key + ".pub"`.
            let is_added_to = usage == Usage::Value && self.widen == Widen::Yes;
            if goes_on || is_added_to || !is_there {
                self.take_one(&longer, root, Usage::Value, reason);
            }
        }
    }

    fn take_one(&mut self, path: &Path, root: &Path, usage: Usage, reason: &str) {
        let resolved = self.tree.resolve(path, Last::Follow);
        for link in &resolved.links {
            self.keep(link, Keep::Content, reason);
        }
        let Some(end) = resolved.end else { return };
        match self.tree.kind(&end) {
            None => {}
            Some(Kind::Link) => self.keep(&end, Keep::Content, reason),
            Some(Kind::File { .. }) => {
                self.keep(&end, Keep::Content, reason);
                self.read_later(&end, path, root);
            }
            Some(Kind::Directory) => {
                self.keep(&end, Keep::Name, reason);
                let has_default = self.tree.kind(&end.join("default.nix")).is_some();
                if usage == Usage::Import && has_default {
                    self.take_one(&path.join("default.nix"), root, Usage::Import, reason);
                } else {
                    self.directory(&end, path, root, reason);
                }
            }
        }
    }

    /// Everything in a directory, at any depth. Links in it may lead elsewhere.
    fn directory(&mut self, directory: &Path, way: &Path, root: &Path, reason: &str) {
        if !self.whole.insert((way.to_owned(), root.to_owned())) {
            return;
        }
        let below: Vec<_> = self.tree.below(directory).map(Path::to_owned).collect();
        for path in below {
            match self.tree.kind(&path) {
                Some(Kind::File { .. }) => {
                    self.keep(&path, Keep::Content, reason);
                    let may_be_nix = path.extension().is_none_or(|extension| extension == "nix");
                    if let Some(name) = path.strip_prefix(directory).ok().filter(|_| may_be_nix) {
                        self.read_later(&path, &way.join(name), root);
                    }
                }
                Some(Kind::Directory) => self.keep(&path, Keep::Name, reason),
                Some(Kind::Link) => {
                    self.keep(&path, Keep::Content, reason);
                    self.take_one(&path, root, Usage::Value, reason);
                }
                None => {}
            }
        }
    }

    fn names(&mut self, directory: &Path, reason: &str) {
        let resolved = self.tree.resolve(directory, Last::Follow);
        for link in &resolved.links {
            self.keep(link, Keep::Content, reason);
        }
        let Some(end) = resolved.end else { return };
        let below: Vec<_> = self.tree.below(&end).map(Path::to_owned).collect();
        for path in below.iter().filter(|path| self.tree.kind(path).is_some()) {
            self.keep(path, Keep::Name, reason);
        }
    }

    /// Reads a file as what it may be: one come by in this way or by its own name, of this flake or of the one around it.
    fn read_later(&mut self, file: &Path, way: &Path, root: &Path) {
        let Some(way) = normalize(way) else { return };
        if way.components().count() > LONGEST_WAY {
            let text = format!("links that lead in a circle, `{}`", way.display());
            self.mentioned(file, root, &Mention { what: What::All, line: 1, text });
            return;
        }
        for way in BTreeSet::from([way.as_path(), file]) {
            for root in BTreeSet::from([root, Path::new("")]) {
                let reading = Reading { file: file.to_owned(), way: way.to_owned(), root: root.to_owned() };
                if self.seen.insert(reading.clone()) {
                    self.ahead.push(reading);
                }
            }
        }
    }
}
