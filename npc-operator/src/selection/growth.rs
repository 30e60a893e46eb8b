//! A path that grows at evaluation time: what is added to it by `+` and in strings, as far as the syntax tells.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;

use rnix::ast::{self, AstToken as _, BinOpKind, Expr, InterpolPart};
use rnix::{SyntaxKind, SyntaxNode, TextRange};
use rowan::ast::AstNode as _;

use super::built::ENDS;
use super::mentions::{Usage, What};
use super::syntax::{applied_to, is_import, is_list_of_modules, named, outside_parens};
use super::tree::normalize;

/// What ends a path in the text of a script and stands for more of it: a pattern, or a variable.
const FILLED_IN: &str = "*?[{$";

/// Functions that make text of a path, or leave text as it is.
const TO_TEXT: [&str; 3] = ["toString", "toPath", "unsafeDiscardStringContext"];

/// What an expression is that begins with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A path: what a string takes in is copied to the Nix store.
    Path,
    /// Text that names a place.
    Text,
}

/// A path in the tree, as far as it is known.
#[derive(Debug, Clone)]
pub(super) struct Known {
    text: String,
    complete: bool,
    /// Whether what is not known is followed by `..`.
    climbs: bool,
}

impl Known {
    /// A directory of the tree.
    pub(super) fn at(directory: &Path) -> Self {
        Self { text: directory.to_string_lossy().into_owned(), complete: true, climbs: false }
    }

    /// More of it; none where only evaluation will tell.
    pub(super) fn add(mut self, part: Option<&str>) -> Self {
        match part {
            Some(part) if self.complete => self.text.push_str(part),
            Some(part) => self.climbs |= part.split('/').any(|name| name == ".."),
            None => self.complete = false,
        }
        self
    }

    /// What it leads to; none where it leaves the tree.
    pub(super) fn reach(&self, usage: Usage) -> Option<What> {
        if self.climbs {
            return Some(What::All);
        }
        // Of what is not known to its end, the last name may be half a name.
        let sure =
            if self.complete { self.text.as_str() } else { self.text.rsplit_once('/').map_or("", |(sure, _)| sure) };
        let path = normalize(Path::new(sure.trim_start_matches('/')))?;
        Some(if self.complete { What::Path(path, usage) } else { What::Below(path) })
    }
}

/// A path with all that is added to it.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) known: Known,
    pub(super) usage: Usage,
    /// Whether anything was added.
    pub(super) grew: bool,
}

/// Strings that were understood as parts of paths.
#[derive(Debug, Default)]
pub(super) struct Understood(RefCell<HashSet<TextRange>>);

impl Understood {
    fn insert(&self, string: &SyntaxNode) {
        self.0.borrow_mut().insert(string.text_range());
    }

    /// Whether a string may lead from some path, which is not known here, to a place above it.
    pub(super) fn may_climb(&self, string: &ast::Str) -> bool {
        let is_name = string.syntax().parent().is_some_and(|parent| parent.kind() == SyntaxKind::NODE_ATTRPATH);
        if is_name || self.0.borrow().contains(&string.syntax().text_range()) {
            return false;
        }
        let mut is_first = true;
        string.parts().any(|part| {
            let InterpolPart::Literal(text) = part else {
                is_first = false;
                return false;
            };
            let text = text.syntax().text().to_owned();
            let begins_a_path = !is_first || text.starts_with('/') || text.starts_with("..");
            is_first = false;
            let end = text.bytes().position(|byte| ENDS.contains(&byte)).unwrap_or(text.len());
            begins_a_path && text.as_bytes()[..end].split(|byte| *byte == b'/').any(|name| name == b"..")
        })
    }
}

/// Follows the path at `node` outwards, through everything that is added to it.
pub(super) fn grown(node: &SyntaxNode, known: Known, form: Form, understood: &Understood) -> Grown {
    let (mut at, mut known, mut form, mut grew) = (node.clone(), known, form, false);
    loop {
        let parent = outside_parens(&at);
        match parent.kind() {
            SyntaxKind::NODE_BIN_OP => {
                let Some(sum) = ast::BinOp::cast(parent.clone()).filter(|sum| sum.operator() == Some(BinOpKind::Add))
                else {
                    break;
                };
                grew = true;
                let is_left = sum.lhs().is_some_and(|left| left.syntax().text_range().contains_range(at.text_range()));
                if is_left {
                    known = added(known, sum.rhs(), understood);
                } else if form == Form::Path {
                    // Added to a string, the whole of it is copied to the Nix store.
                    return Grown { known, usage: Usage::Value, grew };
                }
                at = parent;
            }
            SyntaxKind::NODE_APPLY if form == Form::Path || grew => {
                let function = applied_to(&at).and_then(|function| named(&function)?.pop());
                if !function.is_some_and(|function| TO_TEXT.contains(&function.as_str())) {
                    break;
                }
                form = Form::Text;
                at = parent;
            }
            SyntaxKind::NODE_INTERPOL if form == Form::Path => {
                // The whole of it is copied to the Nix store, whatever becomes of the string.
                return Grown { known, usage: Usage::Value, grew: true };
            }
            SyntaxKind::NODE_INTERPOL => {
                grew = true;
                let Some(string) = parent.parent().and_then(ast::Str::cast) else {
                    return Grown { known: known.add(None), usage: Usage::Value, grew };
                };
                understood.insert(string.syntax());
                let (longer, ends) = interpolated(&parent, &string, known);
                known = longer;
                if ends {
                    return Grown { known, usage: Usage::Value, grew };
                }
                at = string.syntax().clone();
            }
            _ => break,
        }
    }
    Grown { known, usage: usage(&at), grew }
}

/// What `+` adds.
fn added(known: Known, more: Option<Expr>, understood: &Understood) -> Known {
    let Some(Expr::Str(string)) = more else { return known.add(None) };
    understood.insert(string.syntax());
    string.normalized_parts().into_iter().fold(known, |known, part| match part {
        InterpolPart::Literal(text) => known.add(Some(&text)),
        InterpolPart::Interpolation(_) => known.add(None),
    })
}

/// What follows an interpolation in its string, and whether the path ends before the string does.
fn interpolated(interpolation: &SyntaxNode, string: &ast::Str, mut known: Known) -> (Known, bool) {
    let mut after = false;
    for part in string.parts() {
        match part {
            InterpolPart::Interpolation(other) if !after => after = other.syntax() == interpolation,
            InterpolPart::Interpolation(_) => known = known.add(None),
            InterpolPart::Literal(text) if after => {
                let text = text.syntax().text().to_owned();
                let Some(end) = text.bytes().position(|byte| ENDS.contains(&byte)) else {
                    known = known.add(Some(&text));
                    continue;
                };
                known = known.add(Some(&text[..end]));
                let is_filled_in = text[end..].starts_with(|char: char| FILLED_IN.contains(char));
                return (if is_filled_in { known.add(None) } else { known }, true);
            }
            InterpolPart::Literal(_) => {}
        }
    }
    (known, false)
}

/// How the path that the expression at `node` gives is used.
fn usage(node: &SyntaxNode) -> Usage {
    let parent = outside_parens(node);
    let imports = || applied_to(node).is_some_and(|function| is_import(&function));
    match parent.kind() {
        SyntaxKind::NODE_APPLY if imports() => Usage::Import,
        SyntaxKind::NODE_LIST if is_list_of_modules(&parent) => Usage::Import,
        _ => Usage::Value,
    }
}
