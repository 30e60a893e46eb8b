//! Where the flake itself, `self`, and all that it gets, `inputs`, go: only to files of this flake that call them so, or elsewhere.

use rnix::ast::{self, BinOpKind, Expr, HasEntry as _};
use rnix::{SyntaxKind, SyntaxNode};
use rowan::ast::AstNode as _;

use super::syntax::{EVALUATING, bound_to, called, is_import, named, outside_parens};

/// Attributes by which modules get arguments: those are files of the flake, which are followed themselves.
const ARGUMENTS: [&str; 5] = ["specialArgs", "extraSpecialArgs", "extraModuleArgs", "_module.args", "_module"];

/// Functions that are given all inputs to list them, for `nix.registry` and `nix.nixPath` above all. They are taken to read
/// none of their files.
const LISTING: [&str; 7] =
    ["attrNames", "filterAttrs", "hasAttr", "mapAttrs", "mapAttrs'", "mapAttrsToList", "removeAttrs"];

/// Functions that give what they get to the function in a file.
const CALLING: [&str; 2] = ["callPackage", "callPackages"];

/// Flakes whose modules for flake-parts read nothing of the flake that they are imported into but what it names to them. Any
/// other may look for files where it expects them, as those that find hosts by themselves do.
const WITH_HARMLESS_MODULES: [&str; 22] = [
    "agenix-shell",
    "devenv",
    "devshell",
    "disko",
    "flake-parts",
    "flake-root",
    "git-hooks",
    "git-hooks-nix",
    "hercules-ci-effects",
    "home-manager",
    "just-flake",
    "make-shell",
    "mission-control",
    "nix-topology",
    "nix-unit",
    "pkgs-by-name-for-flake-parts",
    "pre-commit-hooks",
    "pre-commit-hooks-nix",
    "process-compose-flake",
    "services-flake",
    "treefmt",
    "treefmt-nix",
];

/// Whether `x.flakeModule` stands for a module that gets the flake itself, and may look for files in it.
pub(super) fn is_prying_module(names: &[String]) -> bool {
    let module = names.iter().position(|name| matches!(name.as_str(), "flakeModule" | "flakeModules"));
    let flake = module.and_then(|at| names.get(at.checked_sub(1)?));
    flake.is_some_and(|flake| flake != "self" && !WITH_HARMLESS_MODULES.contains(&flake.as_str()))
}

/// Whether `name` here is an overlay's (`self: super: …`) or a `let`'s, not the flake's: the innermost that binds it says so.
pub(super) fn is_bound_otherwise(node: &SyntaxNode, name: &str) -> bool {
    for ancestor in node.ancestors().skip(1) {
        if let Some(lambda) = ast::Lambda::cast(ancestor.clone()) {
            let outputs = ancestor.parent().and_then(ast::AttrpathValue::cast).and_then(|entry| entry.attrpath());
            let is_outputs = outputs.is_some_and(|path| path.to_string() == "outputs");
            match lambda.param() {
                Some(ast::Param::IdentParam(param)) if param.to_string() == name => return !is_outputs,
                Some(ast::Param::Pattern(pattern)) if binds(&pattern, name) => return false,
                _ => {}
            }
        }
        let Some(binding) = ast::LetIn::cast(ancestor) else { continue };
        let mut entries = binding.attrpath_values();
        let own = entries.find(|entry| entry.attrpath().is_some_and(|path| path.to_string() == name));
        if let Some(value) = own.and_then(|entry| entry.value()) {
            // A `let` that calls the flake itself so hides nothing.
            return !value.to_string().contains(name);
        }
        if binding.inherits().any(|inherit| inherit.attrs().any(|attr| attr.to_string() == name)) {
            return false;
        }
    }
    false
}

fn binds(pattern: &ast::Pattern, name: &str) -> bool {
    let is_it = |ident: Option<ast::Ident>| ident.is_some_and(|ident| ident.to_string() == name);
    pattern.pat_entries().any(|entry| is_it(entry.ident()))
        || pattern.pat_bind().is_some_and(|bind| is_it(bind.ident()))
}

/// Whether the value at `node`, called `name`, goes under that name to files of this flake alone, or to functions that are known
/// to read none of its files.
pub(super) fn stays_here(node: &SyntaxNode, name: &str) -> bool {
    let mut at = node.clone();
    let mut is_named = false;
    loop {
        let parent = outside_parens(&at);
        match parent.kind() {
            SyntaxKind::NODE_INHERIT => is_named = true,
            SyntaxKind::NODE_ATTR_SET if is_named => {}
            SyntaxKind::NODE_ATTRPATH_VALUE => {
                let Some(path) = ast::AttrpathValue::cast(parent.clone()).and_then(|entry| entry.attrpath()) else {
                    return false;
                };
                if is_named && ARGUMENTS.iter().any(|arguments| path.to_string().ends_with(arguments)) {
                    return true;
                }
                let last = path.attrs().last().map(|last| last.to_string()).unwrap_or_default();
                if !is_named && last != name {
                    return false;
                }
                is_named = true;
            }
            SyntaxKind::NODE_BIN_OP if is_named => {
                let update = ast::BinOp::cast(parent.clone()).and_then(|operation| operation.operator());
                if update != Some(BinOpKind::Update) {
                    return false;
                }
            }
            SyntaxKind::NODE_APPLY => {
                let Some(apply) = ast::Apply::cast(parent.clone()) else { return false };
                let is_argument = apply
                    .argument()
                    .is_some_and(|argument| argument.syntax().text_range().contains_range(at.text_range()));
                let Some(function) = apply.lambda().filter(|_| is_argument) else { return false };
                return if is_named { takes_by_name(&function) } else { is_listing(&function) && name == "inputs" };
            }
            _ => return false,
        }
        at = parent;
    }
}

/// Whether a function takes a set apart by the names in it, in this file or in another of the flake.
fn takes_by_name(function: &Expr) -> bool {
    is_harmless(function) || imports_own(function) || is_own(function)
}

/// A function that evaluates modules gives them what it gets, and reads none of the flake's files itself.
fn is_harmless(function: &Expr) -> bool {
    let names = called(function).unwrap_or_default();
    let Some(name) = names.last() else { return false };
    // Many flakes have a function of that name, and some of them read the tree.
    EVALUATING.contains(&name.as_str()) && (name != "mkFlake" || names.iter().any(|name| name == "flake-parts"))
}

fn is_listing(function: &Expr) -> bool {
    called(function).and_then(|mut names| names.pop()).is_some_and(|name| LISTING.contains(&name.as_str()))
}

/// `import ./x`, `import (self + "/x")`, `pkgs.callPackage ./x`: its function is a file of the flake, which is followed itself.
fn imports_own(function: &Expr) -> bool {
    let Expr::Apply(apply) = inside_parens(function) else { return false };
    let calls = |caller: &Expr| {
        is_import(caller)
            || named(caller).and_then(|mut names| names.pop()).is_some_and(|name| CALLING.contains(&name.as_str()))
    };
    apply.lambda().is_some_and(|caller| calls(&caller)) && apply.argument().is_some_and(|path| is_own_path(&path))
}

fn is_own_path(path: &Expr) -> bool {
    match inside_parens(path) {
        Expr::PathRel(_) => true,
        Expr::BinOp(sum) => sum.lhs().is_some_and(|left| is_own_path(&left)),
        Expr::Ident(ident) if ident.to_string() == "self" => true,
        Expr::Ident(ident) => matches!(bound_to(ident.syntax(), &ident.to_string()), Some(Expr::PathRel(_))),
        Expr::Str(string) => match string.parts().next() {
            Some(ast::InterpolPart::Interpolation(first)) => first.expr().is_some_and(|first| is_own_path(&first)),
            _ => false,
        },
        _ => false,
    }
}

/// A function of this file, given the argument that it takes apart by name: `mkHost "a" { inherit self; }`.
fn is_own(function: &Expr) -> bool {
    let mut before = 0;
    let mut head = inside_parens(function);
    while let Expr::Apply(apply) = &head {
        let Some(next) = apply.lambda() else { return false };
        head = inside_parens(&next);
        before += 1;
    }
    let Expr::Ident(ident) = &head else { return false };
    let Some(mut value) = bound_to(ident.syntax(), &ident.to_string()) else { return false };
    if before == 0 && imports_own(&value) {
        return true;
    }
    for _ in 0..before {
        let Expr::Lambda(lambda) = inside_parens(&value) else { return false };
        let Some(body) = lambda.body() else { return false };
        value = body;
    }
    match inside_parens(&value) {
        Expr::Lambda(lambda) => {
            matches!(lambda.param(), Some(ast::Param::Pattern(pattern)) if pattern.pat_bind().is_none())
        }
        _ => false,
    }
}

fn inside_parens(expr: &Expr) -> Expr {
    match expr {
        Expr::Paren(paren) => paren.expr().map_or_else(|| expr.clone(), |inner| inside_parens(&inner)),
        _ => expr.clone(),
    }
}
