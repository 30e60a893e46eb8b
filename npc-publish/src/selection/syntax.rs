//! Where in a Nix file an expression stands: what binds its names, which function gets it, which attribute holds it.

use rnix::ast::{self, Expr, HasEntry as _, InterpolPart};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode as _;

/// Functions of other flakes that are known to take `self` or `inputs` and to read none of the flake's files themselves.
const HARMLESS: [&str; 9] = [
    "nixosSystem",
    "mkFlake",
    "darwinSystem",
    "homeManagerConfiguration",
    "eachDefaultSystem",
    "eachSystem",
    "genAttrs",
    "mapAttrs",
    "evalModules",
];

/// Attributes by which modules get arguments: those are files of the flake, which are followed themselves.
const ARGUMENTS: [&str; 4] = ["specialArgs", "extraSpecialArgs", "extraModuleArgs", "args"];

/// Functions that are given all inputs to list them, for `nix.registry` and `nix.nixPath` above all. They are taken to read
/// none of their files.
const REGISTERING: [&str; 6] = ["attrNames", "filterAttrs", "mapAttrs", "mapAttrs'", "mapAttrsToList", "removeAttrs"];

/// Attributes that hold modules where a function gets them that evaluates modules.
const MODULES: [&str; 2] = ["modules", "sharedModules"];

/// `base.a.b`, where all names are plain.
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
                        let gets_modules = || callee(list).is_some_and(|callee| is_harmless(&callee));
                        last == "imports" || MODULES.contains(&last.as_str()) && gets_modules()
                    });
            }
            _ => return false,
        }
    }
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

/// Whether `self` here is an overlay's (`self: super: …`) or a `let`'s, not the flake's.
pub(super) fn is_bound_otherwise(node: &SyntaxNode) -> bool {
    node.ancestors().skip(1).any(|ancestor| {
        if let Some(lambda) = ast::Lambda::cast(ancestor.clone()) {
            let outputs = ancestor.parent().and_then(ast::AttrpathValue::cast).and_then(|entry| entry.attrpath());
            let is_outputs = outputs.is_some_and(|path| path.to_string() == "outputs");
            return match lambda.param() {
                Some(ast::Param::IdentParam(param)) => {
                    !is_outputs && param.ident().is_some_and(|ident| ident.to_string() == "self")
                }
                _ => false,
            };
        }
        // A `let` that calls the flake itself `self` hides nothing.
        let binds_another = |entry: ast::AttrpathValue| {
            let is_self = entry.attrpath().is_some_and(|path| path.to_string() == "self");
            is_self && entry.value().is_some_and(|value| !value.to_string().contains("self"))
        };
        ast::LetIn::cast(ancestor).is_some_and(|binding| binding.attrpath_values().any(binds_another))
    })
}

pub(super) fn is_formal_of_outputs(node: &SyntaxNode, name: &str) -> bool {
    node.ancestors().filter_map(ast::Lambda::cast).any(|lambda| {
        let entry = lambda.syntax().parent().and_then(ast::AttrpathValue::cast).and_then(|entry| entry.attrpath());
        let is_outputs = entry.is_some_and(|path| path.to_string() == "outputs");
        match lambda.param() {
            Some(ast::Param::Pattern(pattern)) if is_outputs => pattern
                .pat_entries()
                .any(|entry| entry.ident().is_some_and(|ident| ident.to_string() == name && name != "self")),
            _ => false,
        }
    })
}

/// What a `let` around `node` binds a name to.
pub(super) fn bound_to(node: &SyntaxNode, name: &str) -> Option<Expr> {
    node.ancestors().filter_map(ast::LetIn::cast).find_map(|binding| {
        let mut entries = binding.attrpath_values();
        entries.find(|entry| entry.attrpath().is_some_and(|path| path.to_string() == name))?.value()
    })
}

/// The function that gets the value at `node`, directly or inside sets and lists.
pub(super) fn callee(node: &SyntaxNode) -> Option<Expr> {
    for ancestor in node.ancestors().skip(1) {
        match ancestor.kind() {
            SyntaxKind::NODE_APPLY => {
                let apply = ast::Apply::cast(ancestor)?;
                let argument = apply.argument()?;
                if argument.syntax().text_range().contains_range(node.text_range()) {
                    return apply.lambda();
                }
            }
            SyntaxKind::NODE_LAMBDA | SyntaxKind::NODE_LET_IN | SyntaxKind::NODE_WITH => return None,
            _ => {}
        }
    }
    None
}

pub(super) fn is_harmless(callee: &Expr) -> bool {
    let text = callee.to_string();
    let head = text.split_whitespace().next().unwrap_or_default();
    let name = head.rsplit('.').next().unwrap_or_default();
    // Many flakes have a function of that name, and some of them read the tree.
    let is_known = name != "mkFlake" || head.contains("flake-parts");
    HARMLESS.contains(&name) && is_known
}

/// Whether a value is an argument by itself, as in `attrValues inputs`, of a function that may make anything of it.
pub(super) fn is_bare_argument(node: &SyntaxNode) -> bool {
    let Some(apply) = ast::Apply::cast(outside_parens(node)) else { return false };
    let is_argument =
        apply.argument().is_some_and(|argument| argument.syntax().text_range().contains_range(node.text_range()));
    let function = apply.lambda().map(|function| function.to_string()).unwrap_or_default();
    let name = function.split_whitespace().next().and_then(|head| head.rsplit('.').next()).unwrap_or_default();
    is_argument && !REGISTERING.contains(&name)
}

/// Whether a value is passed on under its own name: `inherit self`, `self = self`.
pub(super) fn keeps_its_name(node: &SyntaxNode) -> bool {
    let parent = outside_parens(node);
    match parent.kind() {
        SyntaxKind::NODE_INHERIT => true,
        SyntaxKind::NODE_ATTRPATH_VALUE => ast::AttrpathValue::cast(parent)
            .and_then(|entry| entry.attrpath())
            .is_some_and(|path| path.to_string() == "self"),
        _ => false,
    }
}

/// Whether a value is given to modules as an argument.
pub(super) fn is_argument_of_modules(node: &SyntaxNode) -> bool {
    node.ancestors().filter_map(ast::AttrpathValue::cast).any(|entry| {
        entry
            .attrpath()
            .and_then(|path| path.attrs().last())
            .is_some_and(|last| ARGUMENTS.contains(&last.to_string().as_str()))
    })
}
