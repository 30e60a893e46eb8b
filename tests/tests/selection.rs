//! What is packed of a flake: one idiom after the other, on every Nix at hand.

use std::collections::BTreeSet;
use std::fs;

use npc_tests::flakes::{Entry, Flake};
use npc_tests::parts::Nix;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// The frame of every flake here: each configuration's derivation depends on `value`, which an idiom defines.
macro_rules! frame {
    ($value:literal) => {
        concat!(
            "{ outputs = { self }@inputs: let host = name: value: { config.system.build.toplevel = derivation { ",
            "inherit name; system = \"x86_64-linux\"; builder = \"/bin/sh\"; value = builtins.toJSON value; }; }; in ",
            "{ nixosConfigurations.a = host \"a\" (",
            $value,
            "); nixosConfigurations.b = host \"b\" \"nothing\"; }; }"
        )
    };
}

/// Whether what is evaluated from the archive must be what the whole tree gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Same {
    Yes,
    /// The flake's own path is in it.
    No,
    /// It depends on when the tree was written.
    Any,
}

/// A way to refer to files, and which files it needs: those of `files` that are named, and of the others none.
struct Idiom {
    name: &'static str,
    flake: &'static str,
    files: &'static [Entry],
    needs: &'static [&'static str],
    same: Same,
}

const IDIOMS: &[Idiom] = &[
    Idiom {
        name: "a path literal, imported",
        flake: frame!("import ./lib/x.nix"),
        files: &[("lib/x.nix", "import ../data/y.nix"), ("data/y.nix", "1"), ("data/z.nix", "2")],
        needs: &["lib/x.nix", "data/y.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "a directory, imported",
        flake: frame!("import ./lib"),
        files: &[("lib/default.nix", "1"), ("lib/other.nix", "2")],
        needs: &["lib/default.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "a file, read",
        flake: frame!("builtins.readFile ./motd.txt + builtins.fromJSON (builtins.readFile ./x.json)"),
        files: &[("motd.txt", "hello"), ("x.json", "\"world\""), ("README.md", "docs")],
        needs: &["motd.txt", "x.json"],
        same: Same::Yes,
    },
    Idiom {
        name: "a sum of a path and a string",
        flake: frame!("import (./. + \"/lib/x.nix\")"),
        files: &[("lib/x.nix", "1"), ("lib/y.nix", "2")],
        needs: &["lib/x.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "a path in a string",
        flake: frame!("\"${./script.sh} ${./tree}\""),
        files: &[("script.sh", "echo"), ("tree/one", "1"), ("tree/deep/two", "2"), ("three", "3")],
        needs: &["script.sh", "tree/one", "tree/deep/two"],
        same: Same::Yes,
    },
    Idiom {
        name: "self in a string",
        flake: frame!("import \"${self}/lib/x.nix\""),
        files: &[("lib/x.nix", "1"), ("lib/y.nix", "2")],
        needs: &["lib/x.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "a sum of self and a string",
        flake: frame!("[ (import (self + \"/lib/x.nix\")) (import (inputs.self + \"/lib/z.nix\")) ]"),
        files: &[("lib/x.nix", "1"), ("lib/y.nix", "2"), ("lib/z.nix", "3")],
        needs: &["lib/x.nix", "lib/z.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "the flake's own path",
        flake: frame!("\"${self}/assets\""),
        files: &[("assets/logo", "x"), ("docs/y", "y")],
        needs: &["assets/logo"],
        same: Same::No,
    },
    Idiom {
        name: "the flake itself, as a source",
        flake: frame!("\"${self}\""),
        files: &[("assets/logo", "x"), ("docs/y", "y")],
        needs: &["assets/logo", "docs/y"],
        same: Same::No,
    },
    Idiom {
        name: "the flake's own hash",
        flake: frame!("self.narHash"),
        files: &[("docs/y", "y")],
        needs: &[],
        same: Same::No,
    },
    Idiom {
        name: "the flake's own time",
        flake: frame!("[ self.lastModified (self.rev or \"no commit\") ]"),
        files: &[("docs/y", "y")],
        needs: &[],
        same: Same::Any,
    },
    Idiom {
        name: "a path made a string",
        flake: frame!("toString ./assets/logo"),
        files: &[("assets/logo", "x"), ("docs/y", "y")],
        needs: &["assets/logo"],
        same: Same::No,
    },
    Idiom {
        name: "a directory, listed",
        flake: frame!("builtins.readDir ./hosts"),
        files: &[("hosts/one.nix", "1"), ("hosts/sub/two.nix", "2"), ("hosts/link", "-> one.nix"), ("README", "x")],
        needs: &["hosts/one.nix (name)", "hosts/link (name)"],
        same: Same::Yes,
    },
    Idiom {
        name: "every host in a directory",
        flake: frame!("map (name: import (./hosts + \"/${name}\")) (builtins.attrNames (builtins.readDir ./hosts))"),
        files: &[("hosts/one.nix", "1"), ("hosts/two.nix", "2"), ("docs/x", "x")],
        needs: &["hosts/one.nix", "hosts/two.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "what is looked for",
        flake: frame!("map builtins.pathExists [ ./there.nix ./deep/er/there.nix ./none.nix ./deep ./empty ]"),
        files: &[("there.nix", "1"), ("deep/er/there.nix", "2"), ("empty/x", "3"), ("other", "4")],
        needs: &["there.nix (name)", "deep/er/there.nix (name)"],
        same: Same::Yes,
    },
    Idiom {
        name: "a filtered tree",
        flake: frame!(
            "\"${builtins.path { path = ./src; name = \"s\"; filter = path: type: baseNameOf path != \"out\"; }}\""
        ),
        files: &[("src/one", "1"), ("src/out", "2"), ("src/deep/two", "3"), ("x", "x")],
        needs: &["src/one", "src/out (name)", "src/deep/two"],
        same: Same::Yes,
    },
    Idiom {
        name: "modules by recursion, as import-tree does",
        flake: frame!(
            "let tree = path: builtins.concatMap (name: let at = path + \"/${name}\"; \
             in if (builtins.readDir path).${name} == \"directory\" then tree at \
             else if builtins.match \".*[.]nix\" name != null then [ (import at) ] else [ ]) \
             (builtins.attrNames (builtins.readDir path)); in tree ./modules"
        ),
        files: &[("modules/a.nix", "1"), ("modules/b/c.nix", "2"), ("modules/b/notes.md", "n"), ("docs/x", "x")],
        needs: &["modules/a.nix", "modules/b/c.nix", "modules/b/notes.md (name)"],
        same: Same::Yes,
    },
    Idiom {
        name: "links",
        flake: frame!("[ (import ./link.nix) (builtins.readFile ./linked/x) ]"),
        files: &[
            ("link.nix", "-> real/y.nix"),
            ("linked", "-> real"),
            ("real/x", "x"),
            ("real/y.nix", "1"),
            ("z", "z"),
        ],
        needs: &["link.nix", "linked", "real/x", "real/y.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "a source by its root and a set of files",
        flake: frame!(
            "let lib.fileset.toSource = { root, fileset }: builtins.path { name = \"source\"; path = root; \
             filter = path: type: type == \"directory\" && baseNameOf path == \"src\" || path == toString fileset; }; \
             in \"${lib.fileset.toSource { root = ./.; fileset = ./src/one; }}\""
        ),
        files: &[("src/one", "1"), ("src/two", "2"), ("docs/x", "x")],
        needs: &["src/one", "src/two (name)"],
        same: Same::Yes,
    },
    Idiom {
        name: "odd names",
        flake: frame!("[ (builtins.readFile (./. + \"/with space/äß.txt\")) (import (./. + \"/q'u\\\"ote.nix\")) ]"),
        files: &[("with space/äß.txt", "x"), ("q'u\"ote.nix", "1"), ("other file", "y")],
        needs: &["with space/äß.txt", "q'u\"ote.nix"],
        same: Same::Yes,
    },
];

fn on_every_nix(check: impl Fn(&Nix)) {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        check(nix);
    }
}

fn flake_of(nix: &Nix, idiom: &Idiom) -> Flake {
    let flake = Flake::new(nix, idiom.files);
    flake.write("flake.nix", idiom.flake);
    flake
}

#[test]
fn every_idiom_packs_what_evaluation_needs_and_evaluates_the_same_elsewhere() {
    on_every_nix(|nix| {
        for idiom in IDIOMS {
            let flake = flake_of(nix, idiom);
            let shown = format!("{}, {}", idiom.name, nix.programs.display());
            let packs = flake.packs("evaluated");
            let mut needs: BTreeSet<_> = idiom.needs.iter().map(|path| (*path).to_owned()).collect();
            needs.insert("flake.nix".to_owned());
            // Names beyond the needed ones do no harm, and are there where a directory above was listed.
            let content: BTreeSet<_> = packs.iter().filter(|path| !path.ends_with("(name)")).cloned().collect();
            let wanted: BTreeSet<_> = needs.iter().filter(|path| !path.ends_with("(name)")).cloned().collect();
            let links: BTreeSet<_> =
                content.iter().filter(|path| flake.path("flake").join(path).is_symlink()).cloned().collect();
            assert_eq!(&content - &(&links - &wanted), wanted, "{shown}: {packs:?}");
            for name in needs.iter().filter(|path| path.ends_with("(name)")) {
                let path = name.trim_end_matches(" (name)");
                assert!(packs.contains(name) || packs.contains(path), "{shown}: {name} is not in {packs:?}");
            }
            let packed = flake.pack("evaluated");
            assert_eq!(packed.evaluated(), 0, "{shown}: what was just evaluated is not evaluated again");
            assert_eq!(flake.evaluate_packed(&packed, "a"), packed.derivation("a"), "{shown}");
            let whole = flake.evaluate_whole("a");
            let proof = packed.json["configurations"]["a"]["proof"].as_str();
            match idiom.same {
                Same::Yes => {
                    assert_eq!((packed.derivation("a"), proof), (whole.as_str(), Some("whole-tree")), "{shown}");
                }
                Same::No if packs.iter().any(|path| path == "docs/y") => {}
                Same::No => assert_eq!(proof, Some("archive"), "{shown}"),
                Same::Any => {}
            }
            assert_eq!(packed.derivation("b"), flake.evaluate_whole("b"), "{shown}");
        }
    });
}

#[test]
fn the_static_set_of_every_idiom_evaluates_the_same_elsewhere() {
    on_every_nix(|nix| {
        for idiom in IDIOMS {
            let flake = flake_of(nix, idiom);
            let shown = format!("{}, {}", idiom.name, nix.programs.display());
            let packed = flake.pack("static");
            assert_eq!(flake.evaluate_packed(&packed, "a"), packed.derivation("a"), "{shown}: {}", packed.words);
            if idiom.same == Same::Yes {
                assert_eq!(packed.derivation("a"), flake.evaluate_whole("a"), "{shown}: {}", packed.words);
            }
        }
    });
}

/// What records answer must always be what a cold run would. One part of the idioms each, so that tests run side by side.
fn after_any_change_the_answer_is_that_of_a_cold_run(part: usize) {
    on_every_nix(|nix| {
        for idiom in IDIOMS.iter().skip(part).step_by(2) {
            let flake = flake_of(nix, idiom);
            flake.pack("evaluated");
            let files: Vec<_> = idiom.files.iter().chain(&[("new.nix", "1"), ("deep/new.nix", "1")]).collect();
            for (path, _) in files {
                let full = flake.path("flake").join(path);
                if full.is_symlink() {
                    continue;
                }
                let before = fs::read(&full).ok();
                for change in ["\"changed\"", ""] {
                    if change.is_empty() {
                        fs::remove_file(&full).expect("removed");
                    } else {
                        flake.write(path, change);
                    }
                    let warm = flake.npc_publish(&["pack", "--json", "--output", "../warm"]);
                    let home = flake.path("home");
                    fs::rename(&home, flake.path("aside")).expect("renamed");
                    fs::create_dir(&home).expect("made");
                    let cold = flake.npc_publish(&["pack", "--json", "--output", "../cold"]);
                    fs::remove_dir_all(&home).expect("removed");
                    fs::rename(flake.path("aside"), &home).expect("renamed");
                    let shown = format!("{}: {path} {change}, {}", idiom.name, nix.programs.display());
                    assert_eq!(warm.code, cold.code, "{shown}: {warm:?} {cold:?}");
                    if warm.code == Some(0) {
                        let answer = |text: &str| {
                            let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
                            let derivation = |name: &str| json["configurations"][name]["drv_path"].clone();
                            (json["archive"].clone(), derivation("a"), derivation("b"))
                        };
                        assert_eq!(answer(&warm.data), answer(&cold.data), "{shown}");
                    }
                }
                match before {
                    Some(bytes) => {
                        fs::create_dir_all(full.parent().expect("a parent")).expect("made");
                        fs::write(&full, bytes).expect("written");
                    }
                    None => drop(fs::remove_dir_all(flake.path("flake/deep"))),
                }
                // Files that were removed with the directory they were alone in.
                for (path, content) in idiom.files {
                    if !flake.path("flake").join(path).exists() && !content.starts_with("-> ") {
                        flake.write(path, content);
                    }
                }
            }
        }
    });
}

#[test]
fn after_any_change_to_some_flakes_the_answer_is_that_of_a_cold_run() {
    after_any_change_the_answer_is_that_of_a_cold_run(0);
}

#[test]
fn after_any_change_to_other_flakes_the_answer_is_that_of_a_cold_run() {
    after_any_change_the_answer_is_that_of_a_cold_run(1);
}

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

/// One reference from a file to a later one.
#[derive(Debug, Clone, Copy)]
struct Reference {
    idiom: u8,
    target: usize,
}

fn reference() -> impl Strategy<Value = Reference> {
    (0..14_u8, 0..PLACES.len()).prop_map(|(idiom, target)| Reference { idiom, target })
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
    let here = relative(from, "");
    let here = here.trim_end_matches('/');
    match idiom {
        0 | 1 if is_nix => format!("(import {path} {{ inherit self; }})"),
        2 if is_nix => format!("(import ({here}/. + \"/{to}\") {{ inherit self; }})"),
        3 if is_nix => format!("(import \"${{self}}/{to}\" {{ inherit self; }})"),
        4 if is_nix => format!("(import (self + \"/{to}\") {{ inherit self; }})"),
        5 => format!("\"${{{path}}}\""),
        6 => format!("(builtins.readFile {path})"),
        7 => format!("(builtins.pathExists {path})"),
        8 => format!("(builtins.attrNames (builtins.readDir {folder}))"),
        9 => format!("(builtins.readFile \"${{self}}/{to}\")"),
        10 => format!(
            "\"${{builtins.path {{ path = {folder}; name = \"p\"; filter = p: t: baseNameOf p != \"{}\"; }}}}\"",
            to.rsplit('/').next().unwrap_or(to)
        ),
        11 => format!(
            "(map (name: builtins.readFile ({folder} + \"/${{name}}\")) (builtins.filter (name: \
             (builtins.readDir {folder}).${{name}} == \"regular\") (builtins.attrNames (builtins.readDir {folder}))))"
        ),
        12 => format!("(let root = self; in builtins.pathExists (root + \"/{to}\"))"),
        _ => format!("(builtins.hashFile \"sha256\" {path})"),
    }
}

#[test]
fn what_the_syntax_mentions_includes_what_evaluation_reads() {
    let Some(nix) = Nix::find() else { return };
    let files = proptest::collection::vec(proptest::collection::vec(reference(), 0..3), PLACES.len());
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(files, reference()), |(files, first)| {
        let flake = Flake::new(&nix, &[]);
        for (number, references) in files.iter().enumerate() {
            let path = PLACES[number];
            let later = references.iter().filter(|reference| reference.target > number);
            let values: Vec<_> = later.map(|reference| expression(path, *reference)).collect();
            let is_nix = std::path::Path::new(path).extension().is_some_and(|extension| extension == "nix");
            let content = if is_nix { format!("{{ self }}: [ {} ]", values.join(" ")) } else { format!("# {path}") };
            flake.write(path, &content);
        }
        let value = expression("flake.nix", first);
        flake.write(
            "flake.nix",
            &format!(
                "{{ outputs = {{ self }}: {{ nixosConfigurations.a.config.system.build.toplevel = derivation {{ \
                 name = \"a\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
                 value = builtins.toJSON [ {value} ]; }}; }}; }}"
            ),
        );
        let (mentioned, read) = (flake.packs("static"), flake.packs("evaluated"));
        for path in &read {
            let path_alone = path.trim_end_matches(" (name)");
            prop_assert!(mentioned.contains(path) || mentioned.contains(path_alone), "{path}: {mentioned:?} {read:?}");
        }
        Ok(())
    });
    outcome.expect("no counterexample");
}
