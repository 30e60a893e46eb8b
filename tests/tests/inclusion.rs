//! That the syntax of random flakes mentions whatever evaluating them reads, on every Nix at hand.

use npc_tests::flakes::Flake;
use npc_tests::parts::Nix;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The files of random flakes, in an order in which each refers to later ones alone.
const PLACES: [&str; 12] = [
    "hosts/a.nix",
    "hosts/b.nix",
    "lib/default.nix",
    "lib/deep/c.nix",
    "modules/default.nix",
    "modules/d.nix",
    "modules/sub/e.nix",
    "f.nix",
    "data/x.txt",
    "data/y.json",
    "data/more/z.txt",
    "notes.md",
];

/// A link beside them, and where it leads.
const LINK: (&str, &str) = ("linked", "modules");

/// How many ways to refer to a file there are.
const IDIOMS: u8 = 32;

/// One reference from a file to a later one.
#[derive(Debug, Clone, Copy)]
struct Reference {
    idiom: u8,
    target: usize,
}

fn reference() -> impl Strategy<Value = Reference> {
    (0..IDIOMS, 0..PLACES.len()).prop_map(|(idiom, target)| Reference { idiom, target })
}

/// The way from the directory of one file to another file.
fn relative(from: &str, to: &str) -> String {
    let up = from.matches('/').count();
    if up == 0 { format!("./{to}") } else { format!("{}{to}", "../".repeat(up)) }
}

fn expression(from: &str, Reference { idiom, target }: Reference) -> String {
    let to = PLACES[target];
    let path = relative(from, to);
    let is_nix = std::path::Path::new(to).extension().is_some_and(|extension| extension == "nix");
    let directory = to.rsplit_once('/').map_or("data", |(directory, _)| directory);
    let folder = relative(from, directory);
    let (above, last) = (directory.rsplit_once('/').map_or("", |(above, _)| above), directory.rsplit('/').next());
    let beside = if to.contains('/') { to.trim_start_matches(above).trim_start_matches('/') } else { to };
    let name = to.rsplit('/').next().unwrap_or(to);
    let here = relative(from, "");
    let here = here.trim_end_matches('/');
    match idiom {
        0 if is_nix => format!("(import {path} {{ inherit self; }})"),
        1 if is_nix => format!("(let load = import; in load {path} {{ self = self; }})"),
        2 if is_nix => format!("(import ({here}/. + \"/{to}\") {{ inherit self; }})"),
        3 if is_nix => format!("(import \"${{self}}/{to}\" {{ inherit self; }})"),
        4 if is_nix => format!("(import (self + \"/{to}\") {{ inherit self; }})"),
        5 => format!("\"${{{path}}}\""),
        6 => format!("(builtins.readFile {path})"),
        7 => format!("(builtins.pathExists {path})"),
        8 => format!("(builtins.attrNames (builtins.readDir {folder}))"),
        9 => format!("(builtins.readFile \"${{self}}/{to}\")"),
        10 => format!(
            "\"${{builtins.path {{ path = {folder}; name = \"p\"; filter = p: t: baseNameOf p != \"{name}\"; }}}}\""
        ),
        11 => format!(
            "(map (name: builtins.readFile ({folder} + \"/${{name}}\")) (builtins.filter (name: \
             (builtins.readDir {folder}).${{name}} == \"regular\") (builtins.attrNames (builtins.readDir {folder}))))"
        ),
        12 => format!("(let root = self; in builtins.pathExists (root + \"/{to}\"))"),
        13 => format!("(builtins.readFile ({folder} + \"/../{beside}\"))"),
        14 => format!("(builtins.readFile (toString {folder} + \"/../{beside}\"))"),
        15 => format!("(with builtins; readFile {path})"),
        16 => format!("(builtins.readFile (\"${{toString {here}/.}}/\" + \"{to}\"))"),
        17 => format!("(let base = {folder}; in builtins.pathExists (base + \"/{}\"))", last.unwrap_or("x")),
        18 => format!("(builtins.readFile \"${{self.outPath}}/{to}\")"),
        19 => format!("(let inherit (self) outPath; in builtins.readFile (outPath + \"/{to}\"))"),
        20 => format!("(builtins.attrNames (builtins.readDir (dirOf {path})))"),
        21 => format!("\"${{builtins.filterSource (p: t: baseNameOf p == \"{name}\") {folder}}}\""),
        22 => format!("(builtins.readFile (builtins.toPath \"${{self}}/{directory}/../{beside}\"))"),
        23 => format!("(builtins.hashFile \"sha256\" {path})"),
        // Something is added to a name that is there, or is not.
        24 => format!(
            "(let p = {}; in builtins.pathExists (p + \"{}\"))",
            &path[..path.len() - 1],
            &path[path.len() - 1..]
        ),
        25 => format!(
            "(map (p: builtins.pathExists (p + \"/{name}\") && builtins.pathExists (p + \".nix\")) [ {folder} ])"
        ),
        26 if to.contains('/') => {
            format!("(let p = \"${{self}}/{directory}\"; in builtins.readFile \"${{p}}/{name}\")")
        }
        27 if is_nix && name == "default.nix" => format!("(import {folder} {{ inherit self; }})"),
        // Everything in a directory, at any depth, as `listFilesRecursive` and import-tree find it.
        28 => format!(
            "(let all = d: builtins.concatMap (n: if (builtins.readDir d).${{n}} == \"directory\" then all (d + \"/${{n}}\") \
             else [ (builtins.readFile (d + \"/${{n}}\")) ]) (builtins.attrNames (builtins.readDir d)); in all {folder})"
        ),
        29 if is_nix && to.starts_with("modules/") => {
            format!("(import {} {{ inherit self; }})", relative(from, &to.replacen("modules", LINK.0, 1)))
        }
        // As nixpkgs' does, of which the root's names are read, and the content of the set alone.
        30 => format!(
            "\"${{(let lib.fileset.toSource = {{ root, fileset }}: builtins.path {{ name = \"s\"; path = root; \
             filter = p: t: t == \"directory\" || p == toString fileset; }}; in lib.fileset.toSource {{ root = {folder}; \
             fileset = {path}; }})}}\""
        ),
        _ => format!("(builtins.readFile \"${{toString {here}/.}}/{to}\")"),
    }
}

fn lay_out(flake: &Flake, files: &[Vec<Reference>], first: &[Reference]) {
    for (number, references) in files.iter().enumerate() {
        let path = PLACES[number];
        let later = references.iter().filter(|reference| reference.target > number);
        let values: Vec<_> = later.map(|reference| expression(path, *reference)).collect();
        let is_nix = std::path::Path::new(path).extension().is_some_and(|extension| extension == "nix");
        let content = if is_nix { format!("{{ self }}: [ {} ]", values.join(" ")) } else { format!("# {path}") };
        flake.write(path, &content);
    }
    flake.write(LINK.0, &format!("-> {}", LINK.1));
    flake.write("hosts.nix", "{ self }: [ ]");
    flake.write("modules.nix", "{ self }: [ ]");
    let values: Vec<_> = first.iter().map(|reference| expression("flake.nix", *reference)).collect();
    flake.write(
        "flake.nix",
        &format!(
            "{{ outputs = {{ self }}: {{ nixosConfigurations.a.config.system.build.toplevel = derivation {{ \
             name = \"a\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
             value = builtins.toJSON [ {} ]; }}; }}; }}",
            values.join(" ")
        ),
    );
}

#[test]
fn what_the_syntax_mentions_includes_what_evaluation_reads() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let files = proptest::collection::vec(proptest::collection::vec(reference(), 0..3), PLACES.len());
        let first = proptest::collection::vec(reference(), 1..4);
        let mut runner = TestRunner::new(Config { cases: 25, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&(files, first), |(files, first)| {
            let flake = Flake::new(nix, &[]);
            lay_out(&flake, &files, &first);
            // Without Nix, nothing mends what the syntax does not show.
            let mentioned = flake.packs_with(&["--selection", "static", "--nix", "none"]);
            let read = flake.packs("evaluated");
            for path in &read {
                let is_in = mentioned.contains(path) || mentioned.contains(path.trim_end_matches(" (name)"));
                prop_assert!(is_in, "{path}: {mentioned:?} {read:?} {}", nix.programs.display());
            }
            Ok(())
        });
        outcome.expect("no counterexample");
    }
}
