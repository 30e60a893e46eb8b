//! Where in a Nix file an expression stands, and what its names are bound to.

use rnix::ast::{self, Expr, HasEntry as _, InterpolPart};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode as _;

/// Attributes that hold modules where a function gets them that evaluates modules.
const MODULES: [&str; 2] = ["modules", "sharedModules"];

/// Functions that evaluate modules.
pub(super) const EVALUATING: [&str; 5] =
    ["nixosSystem", "mkFlake", "darwinSystem", "homeManagerConfiguration", "evalModules"];

/// `base.a.b`: what stands for a name that only evaluation knows is none.
pub(super) fn parts_of(select: &ast::Select) -> Option<(Expr, Vec<Option<String>>)> {
    let names = select.attrpath()?.attrs().map(|attr| match attr {
        ast::Attr::Ident(ident) => Some(ident.to_string()),
        ast::Attr::Str(string) => plain(&string),
        ast::Attr::Dynamic(_) => None,
    });
    Some((select.expr()?, names.collect()))
}

/// A string without interpolation.
pub(super) fn plain(string: &ast::Str) -> Option<String> {
    let parts = string.normalized_parts();
    let texts = parts.into_iter().map(|part| match part {
        InterpolPart::Literal(text) => Some(text),
        InterpolPart::Interpolation(_) => None,
    });
    texts.collect::<Option<Vec<_>>>().map(|texts| texts.concat())
}

/// What is called in the end: `lib.f` of `(lib.f a) b`, as the names that it is made of; none where it is no name.
///
/// The text of an expression is not looked at: it may be all of a large file, at every level of it.
pub(super) fn called(function: &Expr) -> Option<Vec<String>> {
    let mut at = function.clone();
    loop {
        at = match &at {
            Expr::Apply(apply) => apply.lambda()?,
            Expr::Paren(paren) => paren.expr()?,
            _ => return named(&at),
        };
    }
}

/// The names that `lib.f` is made of.
pub(super) fn named(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Ident(ident) => Some(vec![ident.to_string()]),
        Expr::Paren(paren) => named(&paren.expr()?),
        Expr::Select(select) => {
            let (base, attributes) = parts_of(select)?;
            let mut names = named(&base)?;
            names.extend(attributes.into_iter().map(Option::unwrap_or_default));
            Some(names)
        }
        _ => None,
    }
}

/// Whether a function is `import` itself, rather than what it gives or another of that name.
pub(super) fn is_import(function: &Expr) -> bool {
    named(function).is_some_and(|names| names == ["import"] || names == ["builtins", "import"])
}

/// The function that is applied to what stands at `node`.
pub(super) fn applied_to(node: &SyntaxNode) -> Option<Expr> {
    let function = ast::Apply::cast(outside_parens(node))?.lambda()?;
    // What stands at the function's own place is not its argument.
    (!function.syntax().text_range().contains_range(node.text_range())).then_some(function)
}

/// The next node outwards that is no parenthesis.
pub(super) fn outside_parens(node: &SyntaxNode) -> SyntaxNode {
    let mut at = node.clone();
    while let Some(parent) = at.parent() {
        if parent.kind() != SyntaxKind::NODE_PAREN {
            return parent;
        }
        at = parent;
    }
    at
}

pub(super) fn is_list_of_modules(list: &SyntaxNode) -> bool {
    let mut at = list.clone();
    loop {
        let parent = outside_parens(&at);
        match parent.kind() {
            SyntaxKind::NODE_BIN_OP => at = parent,
            SyntaxKind::NODE_ATTRPATH_VALUE => {
                return ast::AttrpathValue::cast(parent)
                    .and_then(|entry| entry.attrpath()?.attrs().last())
                    .map(|last| last.to_string())
                    .is_some_and(|last| {
                        // What else is called `modules` may be given to a function that reads them in its own way.
                        last == "imports" || MODULES.contains(&last.as_str()) && is_given_to_modules(list)
                    });
            }
            _ => return false,
        }
    }
}

/// Whether the function that gets the value at `node`, directly or inside sets and lists, evaluates modules.
fn is_given_to_modules(node: &SyntaxNode) -> bool {
    for ancestor in node.ancestors().skip(1) {
        match ancestor.kind() {
            SyntaxKind::NODE_APPLY => {
                let function = ast::Apply::cast(ancestor).and_then(|apply| apply.lambda());
                let name = function.and_then(|function| called(&function)?.pop());
                return name.is_some_and(|name| EVALUATING.contains(&name.as_str()));
            }
            SyntaxKind::NODE_LAMBDA | SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_WITH => return false,
            _ => {}
        }
    }
    false
}

/// Whether an identifier stands for a value, rather than naming an attribute or an argument.
pub(super) fn is_expression(node: &SyntaxNode) -> bool {
    let kinds = [
        SyntaxKind::NODE_ATTRPATH,
        SyntaxKind::NODE_PAT_ENTRY,
        SyntaxKind::NODE_PAT_BIND,
        SyntaxKind::NODE_IDENT_PARAM,
    ];
    let Some(parent) = node.parent() else { return false };
    if parent.kind() == SyntaxKind::NODE_PAT_ENTRY {
        // `{ a ? default }`: the default is an expression.
        return parent.first_child().as_ref() != Some(node);
    }
    if parent.kind() == SyntaxKind::NODE_INHERIT {
        // `inherit (from) self` names an attribute of something else.
        return ast::Inherit::cast(parent).is_some_and(|inherit| inherit.from().is_none());
    }
    !kinds.contains(&parent.kind())
}

/// What a `let` around `node` binds a name to.
pub(super) fn bound_to(node: &SyntaxNode, name: &str) -> Option<Expr> {
    node.ancestors().filter_map(ast::LetIn::cast).find_map(|binding| {
        let mut entries = binding.attrpath_values();
        entries.find(|entry| entry.attrpath().is_some_and(|path| path.to_string() == name))?.value()
    })
}
