//! Paths that are fetched by a hash: `builtins.path { path = ./src; sha256 = …; }`, `fetchTree { path = …; narHash = …; }`.
//!
//! Where Nix has something of that hash in its store already, it does not look at the path, and nobody sees it asked for. So
//! files that were evaluated are searched for such sets, and what their `path` names is taken to be read.

use std::path::{Path, PathBuf};

use rnix::ast::{self, HasEntry as _};
use rowan::ast::AstNode as _;

use super::facts::{Sight, Sights};
use super::mentions::{What, mentions};
use super::tree::{Kind, Last, Tree};

const HASHES: [&str; 4] = ["sha256", "hash", "narHash", "outputHash"];

/// Adds what the Nix files among `sights` fetch by a hash.
pub(super) fn add_what_is_fetched_by_hash(tree: &Tree, sights: &mut Sights) {
    let is_nix = |path: &Path| path.extension().is_some_and(|extension| extension == "nix");
    let read = sights.iter().filter(|(path, sight)| **sight == Sight::Inside && is_nix(path));
    let fetched: Vec<_> = read.flat_map(|(path, _)| fetched_in(tree, path)).collect();
    for path in fetched {
        let Some(end) = tree.resolve(&path, Last::Follow).end else { continue };
        let below: Vec<_> = tree.below(&end).map(Path::to_owned).collect();
        for path in std::iter::once(end.clone()).chain(below) {
            for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&end)) {
                sights.insert(above.to_owned(), Sight::Inside);
            }
            let sight = if tree.kind(&path).is_some() { Sight::Inside } else { Sight::Absent };
            sights.insert(path, sight);
        }
    }
}

fn fetched_in(tree: &Tree, file: &Path) -> Vec<PathBuf> {
    let is_file = matches!(tree.kind(file), Some(Kind::File { .. }));
    let bytes = if is_file { std::fs::read(tree.root().join(file)).unwrap_or_default() } else { Vec::new() };
    let text = String::from_utf8_lossy(&bytes);
    // Parsing takes a while, and few files have such a thing.
    if !HASHES.iter().any(|hash| text.contains(hash)) || !text.contains("path") {
        return Vec::new();
    }
    let syntax = rnix::Root::parse(&text).syntax();
    let sets = syntax.descendants().filter_map(ast::AttrSet::cast).filter(|set| {
        let names: Vec<_> = set.attrpath_values().filter_map(|entry| Some(entry.attrpath()?.to_string())).collect();
        names.iter().any(|name| name == "path") && names.iter().any(|name| HASHES.contains(&name.as_str()))
    });
    let line = |offset: rnix::TextSize| text[..usize::from(offset)].matches('\n').count() + 1;
    let places: Vec<_> =
        sets.map(|set| set.syntax().text_range()).map(|range| line(range.start())..=line(range.end())).collect();
    if places.is_empty() {
        return Vec::new();
    }
    let found = mentions(&text, file, Path::new("")).unwrap_or_default().into_iter();
    let inside = found.filter(|mention| places.iter().any(|place| place.contains(&mention.line)));
    let paths = inside.filter_map(|mention| match mention.what {
        What::Path(path, _) | What::Below(path) => Some(path),
        _ => None,
    });
    paths.collect()
}
