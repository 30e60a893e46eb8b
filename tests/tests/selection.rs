//! What is packed of a flake: one idiom after the other, on every Nix at hand.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use npc_tests::flakes::{Entry, Flake};
use npc_tests::parts::Nix;
use serde_json::Value;

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
        name: "every file by recursion, as listFilesRecursive does",
        flake: frame!(
            "let files = path: builtins.concatLists (builtins.attrValues (builtins.mapAttrs (name: type: \
             let at = path + \"/${name}\"; in if type == \"directory\" then files at else [ at ]) \
             (builtins.readDir path))); in map import (builtins.filter (path: \
             builtins.match \".*[.]nix\" (toString path) != null) (files ./modules))"
        ),
        files: &[("modules/a.nix", "1"), ("modules/b/c.nix", "2"), ("modules/b/notes.md", "n"), ("docs/x", "x")],
        needs: &["modules/a.nix", "modules/b/c.nix", "modules/b/notes.md (name)"],
        same: Same::Yes,
    },
    Idiom {
        name: "a tree of files as a set, as haumea does",
        flake: frame!(
            "let load = src: inputs: builtins.listToAttrs (map (name: let at = src + \"/${name}\"; in { \
             name = builtins.head (builtins.split \"[.]\" name); \
             value = if (builtins.readDir src).${name} == \"directory\" then load at inputs \
             else builtins.scopedImport inputs at; }) (builtins.attrNames (builtins.readDir src))); \
             in load ./lib { inherit self; one = 1; }"
        ),
        files: &[("lib/a.nix", "one"), ("lib/b/c.nix", "import ../../data/d.nix"), ("data/d.nix", "3"), ("x", "x")],
        needs: &["lib/a.nix", "lib/b/c.nix", "data/d.nix"],
        same: Same::Yes,
    },
    Idiom {
        name: "paths made of strings",
        flake: frame!(
            "let place = \"lib\"; in [ (import (./. + \"/${place}/${\"x\"}.nix\")) (import \"${toString ./lib}/y.nix\") \
             (builtins.readFile (./lib + (\"/\" + \"z.txt\"))) ]"
        ),
        files: &[("lib/x.nix", "1"), ("lib/y.nix", "2"), ("lib/z.txt", "z"), ("lib/other", "o"), ("docs/x", "x")],
        needs: &["lib/x.nix", "lib/y.nix", "lib/z.txt"],
        same: Same::Yes,
    },
    Idiom {
        name: "the flake, handed to its files",
        flake: frame!("import ./lib { flake = self; specialArgs = { inherit self inputs; }; }"),
        files: &[
            ("lib/default.nix", "{ flake, specialArgs }: [ (import \"${flake}/a.nix\") (import ./b.nix specialArgs) ]"),
            ("lib/b.nix", "{ inputs, self }: [ (import (inputs.self + \"/c.nix\")) (import \"${self}/d.nix\") ]"),
            ("a.nix", "1"),
            ("c.nix", "2"),
            ("d.nix", "3"),
            ("e.nix", "4"),
        ],
        needs: &["lib/default.nix", "lib/b.nix", "a.nix", "c.nix", "d.nix"],
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
            let elsewhere = flake.in_an_empty_store(|| flake.evaluate_packed(&packed, "a"));
            assert_eq!(elsewhere, packed.derivation("a"), "{shown}");
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
            let elsewhere = flake.in_an_empty_store(|| flake.evaluate_packed(&packed, "a"));
            assert_eq!(elsewhere, packed.derivation("a"), "{shown}: {}", packed.words);
            if idiom.same == Same::Yes {
                assert_eq!(packed.derivation("a"), flake.evaluate_whole("a"), "{shown}: {}", packed.words);
            }
        }
    });
}

/// What may happen to a file.
#[derive(Debug, Clone, Copy)]
enum Change {
    Write(&'static str),
    Append(&'static str),
    Link(&'static str),
    Execute,
    Remove,
}

impl Change {
    fn all_of(path: &Path) -> Vec<Self> {
        if path.ends_with("flake.nix") {
            vec![Self::Append("\n# changed\n"), Self::Execute]
        } else if path.is_symlink() {
            vec![Self::Write("\"changed\""), Self::Link("flake.nix"), Self::Remove]
        } else if path.exists() {
            vec![Self::Write("\"changed\""), Self::Link("nowhere"), Self::Execute, Self::Remove]
        } else {
            vec![Self::Write("1")]
        }
    }

    fn apply(self, path: &Path) {
        let before = fs::read_to_string(path).unwrap_or_default();
        if !matches!(self, Self::Execute) && path.symlink_metadata().is_ok() {
            fs::remove_file(path).expect("removed");
        }
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        match self {
            Self::Append(more) => fs::write(path, before + more).expect("written"),
            Self::Write(content) => fs::write(path, content).expect("written"),
            Self::Link(target) => symlink(target, path).expect("linked"),
            Self::Execute => fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set"),
            Self::Remove => {}
        }
    }
}

/// What packing answers: the archive, and what each configuration evaluates to; or how it failed.
fn answer(flake: &Flake) -> (Option<i32>, Value, Value) {
    let ended = flake.npc_publish(&["pack", "--json", "--output", "../packed"]);
    let json: Value = serde_json::from_str(&ended.data).unwrap_or_default();
    (ended.code, json["archive"].clone(), json["configurations"].clone())
}

fn answer_of_a_cold_run(flake: &Flake) -> (Option<i32>, Value, Value) {
    let (home, aside) = (flake.path("home"), flake.path("aside"));
    fs::rename(&home, &aside).expect("renamed");
    fs::create_dir(&home).expect("made");
    let answer = answer(flake);
    fs::remove_dir_all(&home).expect("removed");
    fs::rename(aside, &home).expect("renamed");
    answer
}

/// What records answer must always be what a cold run would. One part of the idioms each, so that tests run side by side.
fn after_any_change_the_answer_is_that_of_a_cold_run(part: usize) {
    on_every_nix(|nix| {
        for idiom in IDIOMS.iter().skip(part).step_by(2) {
            let flake = flake_of(nix, idiom);
            assert_eq!(answer(&flake).0, Some(0), "{}", idiom.name);
            let new = ["new.nix", "deep/new.nix"];
            for path in idiom.files.iter().map(|(path, _)| *path).chain(new).chain(["flake.nix"]) {
                for change in Change::all_of(&flake.path("flake").join(path)) {
                    change.apply(&flake.path("flake").join(path));
                    let (warm, cold) = (answer(&flake), answer_of_a_cold_run(&flake));
                    assert_eq!(warm, cold, "{}: {path} {change:?}, {}", idiom.name, nix.programs.display());
                    fs::remove_dir_all(flake.path("flake")).expect("removed");
                    flake.write("flake.nix", idiom.flake);
                    idiom.files.iter().for_each(|(path, content)| flake.write(path, content));
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

/// An input in the flake itself is locked by its hash before Nix 2.26: what changes in it then asks for another lock.
#[test]
fn after_any_change_to_an_input_in_the_flake_the_answer_is_that_of_a_cold_run() {
    let host = frame!("(import ./sub/flake.nix).outputs { } // { inherit (inputs.sub) value; }")
        .replace("{ outputs = { self }@inputs:", "{ inputs.sub.url = \"path:./sub\"; outputs = { self, sub }@inputs:");
    let files: [Entry; 4] = [
        ("sub/flake.nix", "{ outputs = _: { value = import ./value.nix; }; }"),
        ("sub/value.nix", "builtins.readFile ./text"),
        ("sub/text", "text"),
        ("sub/unread", "unread"),
    ];
    on_every_nix(|nix| {
        let flake = Flake::new(nix, &files);
        flake.write("flake.nix", &host);
        flake.lock();
        let lock = fs::read_to_string(flake.path("flake/flake.lock")).expect("a lock");
        assert_eq!(answer(&flake).0, Some(0), "{}", nix.programs.display());
        for path in files.iter().map(|(path, _)| *path).chain(["sub/new.nix", "flake.nix", "flake.lock"]) {
            for change in Change::all_of(&flake.path("flake").join(path)) {
                change.apply(&flake.path("flake").join(path));
                let shown = format!("{path} {change:?}, {}", nix.programs.display());
                assert_eq!(answer(&flake), answer_of_a_cold_run(&flake), "{shown}");
                if path.starts_with("sub/") && !matches!(change, Change::Link(_)) && flake.try_to_lock() {
                    assert_eq!(answer(&flake), answer_of_a_cold_run(&flake), "locked anew, {shown}");
                }
                fs::remove_dir_all(flake.path("flake")).expect("removed");
                flake.write("flake.nix", &host);
                flake.write("flake.lock", &lock);
                for (path, content) in files {
                    flake.write(path, content);
                }
            }
        }
    });
}
