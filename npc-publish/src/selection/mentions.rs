//! What a Nix file mentions of its flake, found in its syntax alone.
//!
//! Followed are path literals, sums and strings that begin with one or with `self`, and `path:` inputs. What is made at
//! evaluation time is taken to stay below the directory that is known: `./hosts/${name}.nix` is some file in `hosts`. Where
//! not even that is known (`self` as a value, `dirOf`, `__curPos`), everything is mentioned.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use rnix::ast::{self, AstToken as _, BinOpKind, Expr, HasEntry as _, InterpolPart};
use rnix::{ParseError, SyntaxKind, SyntaxNode};
use rowan::ast::AstNode as _;

use super::syntax::{
    bound_to, callee, is_argument_of_modules, is_bare_argument, is_bound_otherwise, is_expression,
    is_formal_of_outputs, is_harmless, is_list_of_modules, keeps_its_name, outside_parens, parts_of, plain,
};

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
    let reader =
        Reader { text, directory: file.parent().unwrap_or(Path::new("")), root, aliases: aliases(&syntax, is_flake) };
    let mut found = Vec::new();
    for node in syntax.descendants() {
        if let Some(what) = reader.look(&node) {
            found.push(reader.mention(&node, what));
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
    directory: &'a Path,
    root: &'a Path,
    aliases: BTreeSet<String>,
}

/// The beginning of a path as far as it is known.
struct Known {
    text: String,
    complete: bool,
}

impl Known {
    fn add(mut self, part: Option<&str>) -> Self {
        match part {
            Some(part) if self.complete => self.text.push_str(part),
            Some(_) => {}
            None => self.complete = false,
        }
        self
    }
}

impl Reader<'_> {
    fn mention(&self, node: &SyntaxNode, what: What) -> Mention {
        let start = usize::from(node.text_range().start());
        let line = line_at(self.text, start);
        Mention { what, line, text: shortened(&node.text().to_string()) }
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
        let mut known = Known { text: String::new(), complete: true };
        for part in literal.parts() {
            known = match part {
                InterpolPart::Literal(text) => known.add(Some(text.text())),
                InterpolPart::Interpolation(_) => known.add(None),
            };
        }
        let (node, as_text) = as_text(literal.syntax());
        let mut known = extended(&node, known);
        let around = outside_parens(&node);
        let mut usage = usage(literal.syntax());
        if around.kind() == SyntaxKind::NODE_INTERPOL {
            if as_text {
                known = interpolated(&around, known)?;
            } else {
                // The whole of it is copied to the Nix store, whatever becomes of the string.
                usage = Usage::Value;
            }
        }
        match reach(self.directory, known, usage)? {
            What::Path(path, Usage::Value) if is_root_of_source(literal.syntax()) => Some(What::Names(path)),
            what => Some(what),
        }
    }

    fn ident(&self, ident: &ast::Ident) -> Option<What> {
        let node = ident.syntax();
        let name = ident.to_string();
        if !is_expression(node) {
            return None;
        }
        if PLACES.contains(&name.as_str()) {
            return Some(What::All);
        }
        if name == "self" && !is_bound_otherwise(node) {
            return self.use_of_self(node);
        }
        if self.aliases.contains(&name) && (self.is_handed_over(node) || is_bare_argument(node)) {
            return Some(What::All);
        }
        None
    }

    fn select(&self, select: &ast::Select) -> Option<What> {
        let (base, attributes) = parts_of(select)?;
        let first = attributes.first()?;
        let is_alias = matches!(&base, Expr::Ident(ident) if self.aliases.contains(&ident.to_string()));
        if first.is_none() && (is_alias || is_self(&base)) {
            // `inputs.${name}` may be `self`, `self.${name}` may be `outPath`.
            return Some(What::All);
        }
        if attributes.iter().flatten().any(|name| PLACES.contains(&name.as_str())) {
            return Some(What::All);
        }
        // `self.outPath` is used as a whole; of `inputs.self.packages.x`, the flake in it is.
        let names: Vec<_> = attributes.iter().map(Option::as_deref).collect();
        if let Some(at) = names.iter().position(|name| *name == Some("self")) {
            return match names.get(at + 1) {
                None => self.use_of_self(select.syntax()),
                Some(Some("outPath" | "sourceInfo")) if is_self(&Expr::Select(select.clone())) => {
                    self.use_of_self(select.syntax())
                }
                Some(Some("outPath" | "sourceInfo") | None) => Some(What::All),
                Some(Some(_)) => None,
            };
        }
        if is_self(&Expr::Select(select.clone())) { self.use_of_self(select.syntax()) } else { None }
    }

    /// What comes of the flake itself where it is used as at `node`.
    fn use_of_self(&self, node: &SyntaxNode) -> Option<What> {
        let parent = outside_parens(node);
        match parent.kind() {
            SyntaxKind::NODE_SELECT => {
                let select = ast::Select::cast(parent.clone())?;
                let is_base =
                    select.expr().is_some_and(|base| base.syntax().text_range().contains_range(node.text_range()));
                if !is_base {
                    return Some(What::All);
                }
                // Outputs, inputs and what is known of the flake are no files; its paths are looked at as a whole.
                None
            }
            SyntaxKind::NODE_HAS_ATTR => None,
            SyntaxKind::NODE_INHERIT_FROM => {
                let inherit = ast::Inherit::cast(parent.parent()?)?;
                let paths = inherit.attrs().any(|attr| matches!(attr.to_string().as_str(), "outPath" | "sourceInfo"));
                paths.then_some(What::All)
            }
            SyntaxKind::NODE_INTERPOL => {
                let known = interpolated(&parent, Known { text: String::new(), complete: true })?;
                if known.text.is_empty() { Some(What::All) } else { reach(self.root, known, usage(&parent)) }
            }
            SyntaxKind::NODE_BIN_OP => {
                let known = extended(node, Known { text: String::new(), complete: true });
                if known.text.is_empty() { Some(What::All) } else { reach(self.root, known, usage(node)) }
            }
            // Under its own name it is followed wherever files of this flake take it to.
            _ if keeps_its_name(node) && !self.is_handed_over(node) => None,
            _ => Some(What::All),
        }
    }

    /// Whether all inputs, the flake among them, are handed to another flake's function.
    fn is_handed_over(&self, node: &SyntaxNode) -> bool {
        let parent = outside_parens(node);
        if matches!(parent.kind(), SyntaxKind::NODE_SELECT | SyntaxKind::NODE_HAS_ATTR | SyntaxKind::NODE_INHERIT_FROM)
        {
            return false;
        }
        if is_argument_of_modules(node) {
            return false;
        }
        let Some(callee) = callee(node) else { return false };
        self.is_another_flakes(&callee) && !is_harmless(&callee)
    }

    /// Whether a function comes from an input.
    fn is_another_flakes(&self, callee: &Expr) -> bool {
        match callee {
            Expr::Select(select) => select.expr().is_some_and(|base| self.is_another_flakes(&base)),
            Expr::Paren(paren) => paren.expr().is_some_and(|inner| self.is_another_flakes(&inner)),
            Expr::Apply(apply) => apply.lambda().is_some_and(|inner| self.is_another_flakes(&inner)),
            Expr::Ident(ident) => {
                let name = ident.to_string();
                self.aliases.contains(&name)
                    || is_formal_of_outputs(ident.syntax(), &name)
                    || bound_to(ident.syntax(), &name).is_some_and(|value| match value {
                        Expr::Select(_) => self.is_another_flakes(&value),
                        _ => false,
                    })
            }
            _ => false,
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
                let is_path = text.starts_with("path:") && !path.starts_with('/');
                if (is_path || path.starts_with("./") || path.starts_with("../"))
                    && let Some(directory) = normalize(&self.root.join(path))
                {
                    found.push(self.mention(string.syntax(), What::Flake(directory)));
                }
            }
        }
        found
    }
}

/// Where a path leads that begins at `base`.
fn reach(base: &Path, known: Known, usage: Usage) -> Option<What> {
    let Known { text, complete } = known;
    // Of what is not known to its end, the last name may be half a name.
    let sure = if complete { text.as_str() } else { text.rsplit_once('/').map_or("", |(before, _)| before) };
    let path = normalize(&base.join(sure.trim_start_matches('/')))?;
    Some(match (complete, usage) {
        (true, usage) => What::Path(path, usage),
        (false, _) => What::Below(path),
    })
}

/// Whether a name stands for the flake itself.
fn is_self(expr: &Expr) -> bool {
    match expr {
        Expr::Ident(ident) => ident.to_string() == "self" && !is_bound_otherwise(ident.syntax()),
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
    let call = entry.syntax().parent().map(|set| outside_parens(&set)).and_then(ast::Apply::cast);
    let function = call.and_then(|call| call.lambda()).map(|function| function.to_string());
    is_root && function.is_some_and(|function| function.rsplit('.').next() == Some("toSource"))
}

/// The node that stands for a path as text, `toString ./x`, where the path at `node` is used so.
fn as_text(node: &SyntaxNode) -> (SyntaxNode, bool) {
    let parent = outside_parens(node);
    let function =
        ast::Apply::cast(parent.clone()).and_then(|apply| apply.lambda()).map(|function| function.to_string());
    match function.as_deref() {
        Some("toString" | "builtins.toString") => (parent, true),
        _ => (node.clone(), false),
    }
}

/// What is added to the path at `node` by `+`, as far as it is known.
fn extended(node: &SyntaxNode, mut known: Known) -> Known {
    let mut at = node.clone();
    loop {
        let parent = outside_parens(&at);
        let Some(sum) = ast::BinOp::cast(parent.clone()).filter(|sum| sum.operator() == Some(BinOpKind::Add)) else {
            return known;
        };
        let is_left = sum.lhs().is_some_and(|left| left.syntax().text_range().contains_range(at.text_range()));
        if !is_left {
            return known;
        }
        known = match sum.rhs() {
            Some(Expr::Str(string)) => string.normalized_parts().into_iter().fold(known, |known, part| match part {
                InterpolPart::Literal(text) => known.add(Some(&text)),
                InterpolPart::Interpolation(_) => known.add(None),
            }),
            _ => known.add(None),
        };
        at = parent;
    }
}

/// What follows an interpolation in its string.
fn interpolated(interpolation: &SyntaxNode, mut known: Known) -> Option<Known> {
    let string = ast::Str::cast(interpolation.parent()?)?;
    let mut after = false;
    for part in string.parts() {
        match part {
            InterpolPart::Interpolation(other) if !after => after = other.syntax() == interpolation,
            InterpolPart::Interpolation(_) => known = known.add(None),
            InterpolPart::Literal(text) if after => {
                // A path in a longer text ends where the text goes on.
                let text = text.syntax().text().to_owned();
                match text.find(|char: char| char.is_whitespace() || "\"'\\;:,)".contains(char)) {
                    Some(end) => return Some(known.add(Some(&text[..end]))),
                    None => known = known.add(Some(&text)),
                }
            }
            InterpolPart::Literal(_) => {}
        }
    }
    Some(known)
}

/// How the path at `node`, with all that is added to it, is used.
fn usage(node: &SyntaxNode) -> Usage {
    let mut at = node.clone();
    loop {
        let parent = outside_parens(&at);
        match parent.kind() {
            SyntaxKind::NODE_BIN_OP | SyntaxKind::NODE_STRING | SyntaxKind::NODE_INTERPOL => at = parent,
            SyntaxKind::NODE_APPLY => {
                let function = ast::Apply::cast(parent.clone()).and_then(|apply| apply.lambda());
                let imports = function.is_some_and(|function| {
                    let name = function.to_string();
                    name == "import" || name == "builtins.import"
                });
                return if imports { Usage::Import } else { Usage::Value };
            }
            SyntaxKind::NODE_LIST => return if is_list_of_modules(&parent) { Usage::Import } else { Usage::Value },
            _ => return Usage::Value,
        }
    }
}

/// A path without `.` and `..`; none where it leaves the tree.
fn normalize(path: &Path) -> Option<PathBuf> {
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

#[cfg(test)]
mod tests;
