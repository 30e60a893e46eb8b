//! Paths that are fetched by a hash: `builtins.path { path = ./src; sha256 = …; }`, `fetchTree { path = …; narHash = …; }`,
//! `fetchurl { url = "file://…"; sha256 = …; }`.
//!
//! Where Nix has something of that hash in its store already, it does not look at the path, and nobody sees it asked for. So
//! files that were evaluated are searched for such sets, and whatever a file with one mentions is taken to be read.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rnix::ast::{self, HasEntry as _};
use rowan::ast::AstNode as _;

use super::facts::{Sight, Sights, see_all_of};
use super::mentions::{EXPRESSION_BYTES, What, mentions};
use super::tree::{Kind, Tree};

const HASHES: [&str; 4] = ["sha256", "hash", "narHash", "outputHash"];

/// What files fetch by a hash; each is read once.
#[derive(Debug, Default)]
pub(super) struct Hashed {
    known: RefCell<HashMap<PathBuf, Vec<PathBuf>>>,
}

impl Hashed {
    /// Adds what the files among `sights` fetch by a hash.
    pub(super) fn add(&self, tree: &Tree, sights: &mut Sights) {
        let read: Vec<_> =
            sights.iter().filter(|(_, sight)| **sight == Sight::Inside).map(|(path, _)| path.clone()).collect();
        let mut known = self.known.borrow_mut();
        for file in read {
            for path in known.entry(file).or_insert_with_key(|file| fetched_in(tree, file)) {
                see_all_of(tree, path, sights);
            }
        }
    }
}

fn fetched_in(tree: &Tree, file: &Path) -> Vec<PathBuf> {
    if !matches!(tree.kind(file), Some(Kind::File { .. })) {
        return Vec::new();
    }
    let text = tree.text(file, EXPRESSION_BYTES).unwrap_or_default();
    // Parsing takes a while, and few files have such a thing.
    let may_fetch = HASHES.iter().any(|hash| text.contains(hash)) && (text.contains("path") || text.contains("file:"));
    if !may_fetch || !fetches(&text) {
        return Vec::new();
    }
    let found = mentions(&text, file, Path::new("")).unwrap_or_default().into_iter();
    let paths = found.filter_map(|mention| match mention.what {
        What::Path(path, _) | What::Below(path) => Some(path),
        _ => None,
    });
    paths.collect()
}

/// Whether a text has a set with a hash and the path that it is the hash of.
fn fetches(text: &str) -> bool {
    let syntax = rnix::Root::parse(text).syntax();
    syntax.descendants().filter_map(ast::AttrSet::cast).any(|set| {
        let own = set.attrpath_values().filter_map(|entry| Some(entry.attrpath()?.to_string()));
        let inherited = set.inherits().flat_map(|inherit| inherit.attrs().map(|attr| attr.to_string()));
        let names: Vec<_> = own.chain(inherited).collect();
        let has = |name: &str| names.iter().any(|own| own == name);
        let is_file = || has("url") && set.syntax().text().to_string().contains("file:");
        HASHES.iter().any(|hash| has(hash)) && (has("path") || is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::fetches;

    #[test]
    fn sets_with_a_path_and_its_hash_are_found() {
        for text in [
            "builtins.path { path = ./src; sha256 = \"x\"; }",
            "let sha256 = \"x\"; in builtins.path { name = \"s\"; path = ./src; inherit sha256; }",
            "builtins.fetchTree { type = \"path\"; path = toString ./src; narHash = \"x\"; }",
            "builtins.fetchurl { url = \"file://${toString ./data.txt}\"; sha256 = \"x\"; }",
        ] {
            assert!(fetches(text), "{text}");
        }
        for text in [
            "fetchurl { url = \"https://example.org/x\"; sha256 = \"x\"; }",
            "builtins.path { path = ./src; }",
            "{ hash = 1; b = { path = ./x; }; }",
        ] {
            assert!(!fetches(text), "{text}");
        }
    }
}
