//! What tells one tree from another in the eyes of its own flake: its store path, its hash, its commit.

use std::path::Path;

use rnix::ast::{self, BinOpKind, Expr};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode as _;

use super::facts::{Sight, Sights};
use super::mentions::{EXPRESSION_BYTES, line_at, shortened};
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

/// The longest expression that is looked at, in bytes.
const LONGEST: usize = 200;

/// The first place, in a Nix file that was read, that uses the flake's identity: `hosts/b.nix:3 uses self.rev`.
pub(super) fn first_use(tree: &Tree, sights: &Sights) -> Option<String> {
    read_files(tree, sights).find_map(|path| {
        let text = tree.text(path, EXPRESSION_BYTES)?;
        let (line, what) = use_in(&text)?;
        Some(format!("{}:{line} uses {what}", path.display()))
    })
}

/// What is said where no such place was found.
pub(super) fn unnamed() -> String {
    "it depends on what tells one tree from another".to_owned()
}

/// Whether a Nix file that was read uses the flake's hash, of which two trees may agree by chance in what is asked of it:
/// `lib.hasPrefix "sha256-A" self.narHash`.
pub(super) fn uses_its_hash(tree: &Tree, sights: &Sights) -> bool {
    read_files(tree, sights).any(|path| {
        let text = tree.text(path, EXPRESSION_BYTES).unwrap_or_default();
        text.contains("self") && text.contains("narHash") && {
            let selects = rnix::Root::parse(&text).syntax().descendants();
            let selects = selects.filter(|node| node.kind() == SyntaxKind::NODE_SELECT);
            let mut written = selects.filter_map(|node| if_short(&node));
            written.any(|written| written.strip_suffix(".narHash").is_some_and(is_self))
        }
    })
}

/// The Nix files among what was seen.
fn read_files<'a>(tree: &'a Tree, sights: &'a Sights) -> impl Iterator<Item = &'a Path> {
    let read = sights.iter().filter(|(path, sight)| {
        **sight == Sight::Inside
            && path.extension().is_some_and(|extension| extension == "nix")
            && matches!(tree.kind(path), Some(Kind::File { .. }))
    });
    read.map(|(path, _)| path.as_path())
}

fn is_self(expression: &str) -> bool {
    expression.rsplit('.').next() == Some("self")
}

fn use_in(text: &str) -> Option<(usize, String)> {
    let syntax = rnix::Root::parse(text).syntax();
    let node = syntax.descendants().find(uses_identity)?;
    let shown = shortened(&node.text().to_string());
    Some((line_at(text, node.text_range().start().into()), format!("`{shown}`")))
}

/// A longer text than any way to write `self` is not looked at: an expression may hold all of a large file.
fn if_short(node: &SyntaxNode) -> Option<String> {
    (usize::from(node.text_range().len()) <= LONGEST).then(|| node.text().to_string())
}

fn uses_identity(node: &SyntaxNode) -> bool {
    let first = || node.first_child().and_then(|child| if_short(&child));
    match node.kind() {
        SyntaxKind::NODE_SELECT => {
            let Some(written) = if_short(node) else { return false };
            written.rsplit_once('.').is_some_and(|(base, part)| is_self(base) && PARTS.contains(&part))
        }
        SyntaxKind::NODE_INTERPOL => first().is_some_and(|inner| is_self(inner.trim())),
        SyntaxKind::NODE_BIN_OP => {
            let is_sum = ast::BinOp::cast(node.clone()).is_some_and(|sum| sum.operator() == Some(BinOpKind::Add));
            is_sum && first().is_some_and(|left| is_self(&left))
        }
        SyntaxKind::NODE_APPLY => {
            let Some(apply) = ast::Apply::cast(node.clone()) else { return false };
            let is_path = matches!(apply.argument(), Some(Expr::PathRel(_)));
            is_path && apply.lambda().is_some_and(|function| function.to_string().ends_with("toString"))
        }
        _ => false,
    }
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
