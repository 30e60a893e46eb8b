//! What a Nix file mentions of its flake, found in its syntax alone.
//!
//! Followed are path literals, sums and strings that begin with one or with `self`, and `path:` inputs. What is made at
//! evaluation time is taken to stay below the directory that is known: `./hosts/${name}.nix` is some file in `hosts`. Where
//! not even that is known (`self` as a value, a `..` after something unknown, `dirOf`, `__curPos`), everything is mentioned.
//!
//! The flake itself is known by its name: `self`, or `self` in `inputs`. It is followed as long as it keeps that name on its
//! way to other files of the flake; going anywhere else, it means everything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use rnix::ast::{self, Expr, HasEntry as _, InterpolPart};
use rnix::{ParseError, SyntaxKind, SyntaxNode};
use rowan::ast::AstNode as _;

use super::growth::{Form, Known, Understood, grown};
use super::handed::{is_bound_otherwise, is_prying_module, stays_here};
use super::syntax::{bound_to, is_expression, named, outside_parens, parts_of, plain};
use super::tree::normalize;

/// How a literal is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// As a module or by `import`: of a directory, its `default.nix` is read.
    Import,
    /// In any other way: of a directory, anything may be read.
    Value,
}

/// What is mentioned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// This path.
    Path(PathBuf, Usage),
    /// Something below this directory.
    Below(PathBuf),
    /// The names below this directory.
    Names(PathBuf),
    /// The flake in this directory, as an input.
    Flake(PathBuf),
    /// Anything.
    All,
}

/// A mention, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mention {
    pub(super) what: What,
    /// Counted from 1.
    pub(super) line: usize,
    /// The expression, on one line.
    pub(super) text: String,
}

/// A file whose syntax this parser does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unparsed {
    /// Counted from 1.
    pub(super) line: usize,
    /// What stands in the line.
    pub(super) text: String,
}

/// A longer file is no Nix expression that somebody wrote, in bytes.
pub(super) const EXPRESSION_BYTES: u64 = 4 * 1024 * 1024;

/// How much of an expression is shown, in bytes.
const SHOWN_BYTES: usize = 57;

/// Names that lead from a file to its own place.
const PLACES: [&str; 3] = ["dirOf", "unsafeGetAttrPos", "__unsafeGetAttrPos"];

/// Everything that `text` mentions, the content of `file`, in the flake at `root`; both are relative to the tree.
pub(super) fn mentions(text: &str, file: &Path, root: &Path) -> Result<Vec<Mention>, Unparsed> {
    let parsed = rnix::Root::parse(text);
    if let Some(error) = parsed.errors().first() {
        let end = text.len();
        let at = place_of(error).map_or(end, |range| usize::from(range.start()).min(end));
        let line = line_at(text, at);
        return Err(Unparsed { line, text: shortened(text.lines().nth(line - 1).unwrap_or_default()) });
    }
    let syntax = parsed.syntax();
    let is_flake = file == root.join("flake.nix");
    let reader = Reader {
        text,
        lines: text.match_indices('\n').map(|(at, _)| at).collect(),
        directory: file.parent().unwrap_or(Path::new("")),
        root,
        aliases: aliases(&syntax, is_flake),
        understood: Understood::default(),
    };
    let mut found = Vec::new();
    for node in syntax.descendants() {
        if let Some(what) = reader.look(&node) {
            found.push(reader.mention(&node, what));
        }
    }
    for string in syntax.descendants().filter_map(ast::Str::cast) {
        if reader.understood.may_climb(&string) {
            found.push(reader.mention(string.syntax(), What::All));
        }
    }
    if is_flake {
        found.extend(reader.inputs(&syntax));
    }
    Ok(found)
}

/// An expression on one line, and not all of it where it is long.
pub(super) fn shortened(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut text = words.join(" ");
    if text.len() > SHOWN_BYTES {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text.push('…');
    }
    text
}

/// Where the parser gave up; at the end where it says nothing else.
fn place_of(error: &ParseError) -> Option<rnix::TextRange> {
    match error {
        ParseError::Unexpected(range)
        | ParseError::UnexpectedExtra(range)
        | ParseError::UnexpectedWanted(_, range, _)
        | ParseError::UnexpectedDoubleBind(range)
        | ParseError::DuplicatedArgs(range, _) => Some(*range),
        _ => None,
    }
}

/// The line of a place in a text, counted from 1.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    text[..text.floor_char_boundary(at)].matches('\n').count() + 1
}

/// What the flake's inputs are called as a whole: `inputs`, or what `outputs` binds with `@`.
fn aliases(syntax: &SyntaxNode, is_flake: bool) -> BTreeSet<String> {
    let mut aliases = BTreeSet::from(["inputs".to_owned()]);
    if is_flake {
        let outputs = syntax.descendants().find_map(ast::Lambda::cast);
        let bound = outputs.and_then(|outputs| outputs.param()).and_then(|param| match param {
            ast::Param::Pattern(pattern) => pattern.pat_bind()?.ident().map(|ident| ident.to_string()),
            ast::Param::IdentParam(param) => param.ident().map(|ident| ident.to_string()),
        });
        aliases.extend(bound);
    }
    aliases
}

struct Reader<'a> {
    text: &'a str,
    /// Where they end.
    lines: Vec<usize>,
    directory: &'a Path,
    root: &'a Path,
    aliases: BTreeSet<String>,
    understood: Understood,
}

impl Reader<'_> {
    fn mention(&self, node: &SyntaxNode, what: What) -> Mention {
        let range = node.text_range();
        let line = self.lines.partition_point(|end| *end < range.start().into()) + 1;
        Mention { what, line, text: shortened(&self.text[range]) }
    }

    fn look(&self, node: &SyntaxNode) -> Option<What> {
        match node.kind() {
            SyntaxKind::NODE_PATH_REL => self.literal(&ast::PathRel::cast(node.clone())?),
            SyntaxKind::NODE_CUR_POS => Some(What::All),
            SyntaxKind::NODE_IDENT => self.ident(&ast::Ident::cast(node.clone())?),
            SyntaxKind::NODE_SELECT => self.select(&ast::Select::cast(node.clone())?),
            _ => None,
        }
    }

    fn literal(&self, literal: &ast::PathRel) -> Option<What> {
        let parts: Vec<_> = literal.parts().into_iter().collect();
        let known = match &parts[..] {
            // Nix makes a path of it before anything is added: `./.` and `"x"` give `lib` and `x`, which is `libx`.
            [InterpolPart::Literal(text)] => Known::at(&normalize(&self.directory.join(text.text()))?),
            _ => parts.iter().fold(Known::at(&self.directory.join("")), |known, part| match part {
                InterpolPart::Literal(text) => known.add(Some(text.text())),
                InterpolPart::Interpolation(_) => known.add(None),
            }),
        };
        let grown = grown(literal.syntax(), known, Form::Path, &self.understood);
        match grown.known.reach(grown.usage)? {
            What::Path(path, Usage::Value) if is_root_of_source(literal.syntax()) => Some(What::Names(path)),
            what => Some(what),
        }
    }

    fn ident(&self, ident: &ast::Ident) -> Option<What> {
        let node = ident.syntax();
        let name = ident.to_string();
        if is_inherited_from(node) {
            return inherited(node, &name);
        }
        if !is_expression(node) {
            return None;
        }
        if PLACES.contains(&name.as_str()) {
            return Some(What::All);
        }
        if name == "self" && !is_bound_otherwise(node, "self") {
            return self.use_of_self(node);
        }
        if self.aliases.contains(&name) && !is_bound_otherwise(node, &name) { use_of_inputs(node, &name) } else { None }
    }

    fn select(&self, select: &ast::Select) -> Option<What> {
        let (base, attributes) = parts_of(select)?;
        if attributes.iter().flatten().any(|name| PLACES.contains(&name.as_str())) {
            return Some(What::All);
        }
        let names: Vec<_> = attributes.iter().map(Option::as_deref).collect();
        let before = named(&base).unwrap_or_default();
        let all: Vec<_> = before.iter().map(|name| Some(name.as_str())).chain(names.iter().copied()).collect();
        let of_inputs = |name: Option<&str>| name.is_some_and(|name| self.aliases.contains(name));
        if all.windows(2).any(|pair| of_inputs(pair[0]) && pair[1].is_none()) {
            // `inputs.${name}` may be `self`.
            return Some(What::All);
        }
        if is_prying_module(&all.iter().map(|name| name.unwrap_or_default().to_owned()).collect::<Vec<_>>()) {
            return Some(What::All);
        }
        let after_self = match names.iter().position(|name| *name == Some("self")) {
            Some(at) => &names[at + 1..],
            None if is_self(&base) => &names[..],
            None if names.last() == Some(&Some("inputs")) => return use_of_inputs(select.syntax(), "inputs"),
            None => return None,
        };
        match after_self {
            [] | [Some("outPath" | "sourceInfo")] | [Some("sourceInfo"), Some("outPath")] => {
                self.use_of_self(select.syntax())
            }
            // `self.${name}` may be `outPath`.
            [None | Some("outPath"), ..] | [Some("sourceInfo"), None, ..] => Some(What::All),
            // Outputs, inputs and what is known of the flake are no files.
            [Some(_), ..] => None,
        }
    }

    /// What comes of the flake itself where it is used as at `node`.
    fn use_of_self(&self, node: &SyntaxNode) -> Option<What> {
        let parent = outside_parens(node);
        if is_base_of_select(&parent, node) || parent.kind() == SyntaxKind::NODE_HAS_ATTR {
            return None;
        }
        if parent.kind() == SyntaxKind::NODE_INHERIT_FROM {
            let inherit = ast::Inherit::cast(parent.parent()?)?;
            let paths = inherit.attrs().any(|attr| matches!(attr.to_string().as_str(), "outPath" | "sourceInfo"));
            return paths.then_some(What::All);
        }
        let grown = grown(node, Known::at(self.root), Form::Text, &self.understood);
        if !grown.grew {
            return if stays_here(node, "self") { None } else { Some(What::All) };
        }
        match grown.known.reach(grown.usage)? {
            What::Path(path, _) | What::Below(path) if path == self.root => Some(What::All),
            what => Some(what),
        }
    }

    /// The `path:` inputs of a flake.nix.
    fn inputs(&self, syntax: &SyntaxNode) -> Vec<Mention> {
        let Some(Expr::AttrSet(flake)) = ast::Root::cast(syntax.clone()).and_then(|root| root.expr()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in flake.attrpath_values() {
            let is_inputs = entry.attrpath().is_some_and(|path| path.to_string().starts_with("inputs"));
            let Some(value) = entry.value().filter(|_| is_inputs) else { continue };
            for string in value.syntax().descendants().filter_map(ast::Str::cast) {
                let Some(text) = plain(&string) else { continue };
                let path = text.strip_prefix("path:").unwrap_or(&text);
                let path = path.split('?').next().unwrap_or(path);
                let Ok(path) = percent_decode_str(path).decode_utf8() else { continue };
                let is_path = text.starts_with("path:") && !path.starts_with('/');
                if (is_path || path.starts_with("./") || path.starts_with("../"))
                    && let Some(directory) = normalize(&self.root.join(&*path))
                {
                    found.push(self.mention(string.syntax(), What::Flake(directory)));
                }
            }
        }
        found
    }
}

/// What comes of all inputs, the flake among them, where they are used as at `node`.
fn use_of_inputs(node: &SyntaxNode, name: &str) -> Option<What> {
    let parent = outside_parens(node);
    let names_one =
        matches!(parent.kind(), SyntaxKind::NODE_HAS_ATTR | SyntaxKind::NODE_INHERIT_FROM | SyntaxKind::NODE_WITH);
    let is_renamed = parent.kind() == SyntaxKind::NODE_INHERIT && name != "inputs";
    if names_one || is_base_of_select(&parent, node) || (!is_renamed && stays_here(node, "inputs")) {
        return None;
    }
    Some(What::All)
}

/// The flake, or all inputs, out of something else: a `let` keeps the name, and a set is handed on.
fn inherited(node: &SyntaxNode, name: &str) -> Option<What> {
    let is_let = node.parent().and_then(|inherit| inherit.parent()).is_some_and(|set| ast::LetIn::can_cast(set.kind()));
    let is_theirs = matches!(name, "self" | "inputs");
    if is_theirs && !is_let && !stays_here(node, name) { Some(What::All) } else { None }
}

/// Whether a name stands for the flake itself.
fn is_self(expr: &Expr) -> bool {
    match expr {
        Expr::Ident(ident) => ident.to_string() == "self" && !is_bound_otherwise(ident.syntax(), "self"),
        Expr::Paren(paren) => paren.expr().is_some_and(|inner| is_self(&inner)),
        Expr::Select(select) => {
            let Some((base, attributes)) = parts_of(select) else { return false };
            let names: Vec<_> = attributes.iter().map(|name| name.as_deref().unwrap_or_default()).collect();
            match names[..] {
                // Of `inputs`, of a module's arguments, or of whatever else it was put into under its own name.
                [.., "self"] | [.., "self", "outPath" | "sourceInfo"] | [.., "self", "sourceInfo", "outPath"] => true,
                ["outPath" | "sourceInfo"] | ["sourceInfo", "outPath"] => is_self(&base),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether a literal is the `root` of `fileset.toSource`, of which only the names are read: its `fileset` says which files.
fn is_root_of_source(literal: &SyntaxNode) -> bool {
    let Some(entry) = ast::AttrpathValue::cast(outside_parens(literal)) else { return false };
    let is_root = entry.attrpath().is_some_and(|path| path.to_string() == "root");
    // In a recursive set, the `fileset` may be the `root`.
    let set = entry.syntax().parent().and_then(ast::AttrSet::cast).filter(|set| set.rec_token().is_none());
    let call = set.map(|set| outside_parens(set.syntax())).and_then(ast::Apply::cast);
    let names = call.and_then(|call| named(&call.lambda()?)).unwrap_or_default();
    let is_nixpkgs = match &names[..] {
        [name] => name == "toSource" && bound_to(literal, name).is_none(),
        [.., set, name] => set == "fileset" && name == "toSource",
        [] => false,
    };
    is_root && is_nixpkgs
}

fn is_inherited_from(node: &SyntaxNode) -> bool {
    node.parent().and_then(ast::Inherit::cast).is_some_and(|inherit| inherit.from().is_some())
}

fn is_base_of_select(parent: &SyntaxNode, node: &SyntaxNode) -> bool {
    let base = ast::Select::cast(parent.clone()).and_then(|select| select.expr());
    base.is_some_and(|base| base.syntax().text_range().contains_range(node.text_range()))
}

#[cfg(test)]
mod tests;
