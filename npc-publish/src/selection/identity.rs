//! What tells one tree from another in the eyes of its own flake: its store path, its hash, its commit.

use std::path::Path;

use rnix::SyntaxKind;

use super::facts::{Sight, Sights};
use super::tree::{Kind, Tree};

/// What Nix calls the parts of a flake's identity.
const PARTS: [&str; 10] = [
    "outPath",
    "sourceInfo",
    "narHash",
    "rev",
    "shortRev",
    "dirtyRev",
    "dirtyShortRev",
    "revCount",
    "lastModified",
    "lastModifiedDate",
];

/// The first place, in a Nix file that was read, that uses the flake's identity: `hosts/b.nix:3 uses self.rev`.
pub(super) fn first_use(tree: &Tree, sights: &Sights) -> Option<String> {
    let read = sights.iter().filter(|(path, sight)| {
        **sight == Sight::Inside
            && path.extension().is_some_and(|extension| extension == "nix")
            && matches!(tree.kind(path), Some(Kind::File { .. }))
    });
    read.into_iter().find_map(|(path, _)| {
        let text = std::fs::read_to_string(tree.root().join(path)).ok()?;
        let (line, what) = use_in(&text)?;
        Some(format!("{}:{line} uses {what}", Path::new(path).display()))
    })
}

fn is_self(expression: &str) -> bool {
    expression.rsplit('.').next() == Some("self")
}

fn use_in(text: &str) -> Option<(usize, String)> {
    let syntax = rnix::Root::parse(text).syntax();
    syntax.descendants().find_map(|node| {
        let written = node.text().to_string();
        let found = match node.kind() {
            SyntaxKind::NODE_SELECT => {
                let (base, part) = written.rsplit_once('.')?;
                is_self(base) && PARTS.contains(&part)
            }
            SyntaxKind::NODE_INTERPOL => is_self(written.trim_start_matches("${").trim_end_matches('}').trim()),
            SyntaxKind::NODE_BIN_OP => written.starts_with("self +") || written.starts_with("inputs.self +"),
            SyntaxKind::NODE_APPLY => {
                let mut words = written.split_whitespace();
                words.next().is_some_and(|function| function.ends_with("toString"))
                    && words.next().is_some_and(|path| path.starts_with("./") || path.starts_with("../"))
            }
            _ => false,
        };
        let line = text[..usize::from(node.text_range().start())].matches('\n').count() + 1;
        let shown: String = written.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(60).collect();
        found.then_some((line, format!("`{shown}`")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_flakes_identity_is_named() {
        let cases = [
            ("{ a = self.narHash; }", Some("`self.narHash`")),
            ("\"${inputs.self}/x\"", Some("`${inputs.self}`")),
            ("self + \"/x\"", Some("`self + \"/x\"`")),
            ("builtins.toString ./x", Some("`builtins.toString ./x`")),
            ("# self.rev\n{ a = self.nixosModules.x; b = ./x; }", None),
        ];
        for (text, expected) in cases {
            assert_eq!(use_in(text).map(|found| found.1).as_deref(), expected, "{text}");
        }
        assert_eq!(use_in("{\n  a = self.rev;\n}").map(|found| found.0), Some(2));
    }
}
