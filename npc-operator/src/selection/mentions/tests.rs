use super::*;

/// What `lib/x.nix` mentions, in words: `path a`, `import a`, `below a`, `names a`, `all`.
fn found(text: &str) -> Vec<String> {
    found_in(text, "lib/x.nix")
}

fn found_in(text: &str, file: &str) -> Vec<String> {
    let mentions = mentions(text, Path::new(file), Path::new("")).expect("parsed");
    let words = mentions.into_iter().map(|mention| match mention.what {
        What::Path(path, Usage::Import) => format!("import {}", path.display()),
        What::Path(path, Usage::Value) => format!("path {}", path.display()),
        What::Below(path) => format!("below {}", path.display()),
        What::Names(path) => format!("names {}", path.display()),
        What::Flake(path) => format!("flake {}", path.display()),
        What::All => "all".to_owned(),
    });
    words.collect()
}

#[test]
fn paths_are_followed() {
    for (text, expected) in [
        ("import ./y.nix", "import lib/y.nix"),
        ("import ../z", "import z"),
        ("own.import ../z", "path z"),
        ("builtins.readFile ./y", "path lib/y"),
        ("[ ./a.nix ]", "path lib/a.nix"),
        ("{ imports = [ ./a ]; }", "import lib/a"),
        ("{ imports = [ ] ++ [ ./a ]; }", "import lib/a"),
        ("lib.nixosSystem { modules = [ (./a) ]; }", "import lib/a"),
        ("f { modules = [ ./a ]; }", "path lib/a"),
        ("import \"${./a}/b.nix\"", "path lib/a"),
        ("builtins.readFile (toString ./. + \"/../b\")", "path b"),
        ("\"${toString ./.}/../b\"", "path b"),
        ("{ inputs.a.url = \"path:sub\"; }.x or ./a", "path lib/a"),
        ("./. + \"/a\" + \"/b\"", "path lib/a/b"),
        ("import (./. + \"/../z.nix\")", "import z.nix"),
        ("\"${./a}/b\"", "path lib/a"),
        ("./a/${name}.nix", "below lib/a"),
        ("./a-${name}.nix", "below lib"),
        ("./a + \"/b/${name}/c\"", "below lib/a/b"),
        ("./a + name", "below lib"),
        ("lib.fileset.toSource { root = ./a; fileset = 1; }", "names lib/a"),
        ("{ root = ./a; }", "path lib/a"),
        ("with lib.fileset; toSource { root = ./a; fileset = 1; }", "names lib/a"),
        ("let toSource = x: x.root; in toSource { root = ./a; }", "path lib/a"),
        ("own.toSource { root = ./a; }", "path lib/a"),
        ("lib.fileset.toSource rec { root = ./a; fileset = root; }", "path lib/a"),
        ("import (./. + \"rary/y.nix\")", "import library/y.nix"),
        ("import (\"\" + ./a)", "path lib/a"),
        ("import (./a + \".nix\")", "import lib/a.nix"),
        ("let p = ./hosts/web; in import (p + \"-a.nix\")", "path lib/hosts/web"),
    ] {
        assert_eq!(found(text), [expected], "{text}");
    }
}

#[test]
fn paths_out_of_the_tree_are_not_the_flakes() {
    for text in ["../../x", "/etc/passwd", "<nixpkgs>", "~/x", "\"./x\"", "./. + \"/../../x\""] {
        assert!(found(text).is_empty(), "{text}: {:?}", found(text));
    }
}

#[test]
fn the_flake_itself_is_followed_as_far_as_it_is_a_path() {
    for (text, expected) in [
        ("{ self, ... }: \"${self}/a\"", "path a"),
        ("{ inputs, ... }: import \"${inputs.self}/a.nix\"", "import a.nix"),
        ("{ self, ... }: self + \"/a\"", "path a"),
        ("{ self, ... }: import (self.outPath + \"/a.nix\")", "import a.nix"),
        ("args: \"${args.self}/a\"", "path a"),
        ("{ self, ... }: { imports = [ \"${self}/m\" ]; }", "import m"),
        ("{ self, ... }: \"exec ${self}/bin/run --now\"", "path bin/run"),
        ("{ self, ... }: \"${self}/hosts/${name}\"", "below hosts"),
        ("{ self, ... }: import (\"${self}/modules\" + \"/x.nix\")", "import modules/x.nix"),
        ("{ self, ... }: import (self + \"/host.nix\") { inherit self; }", "import host.nix"),
        ("{ self, ... }: \"cat ${self}/secret>$out\"", "path secret"),
        ("{ self, ... }: \"cat ${self}/keys/*.pub\"", "below keys"),
        ("{ self, ... }: \"cat ${self}/keys/$name\"", "below keys"),
        ("{ self, ... }: import \"${self}/with space/x.nix\"", "path with"),
    ] {
        assert_eq!(found(text), [expected], "{text}");
    }
}

#[test]
fn a_way_up_after_something_unknown_means_everything() {
    for text in [
        "import ./hosts/${n}/../../shared/x.nix",
        "import (./hosts + \"/${n}/../../shared/x.nix\")",
        "let here = ./.; in import (here + \"/../z.nix\")",
        "let here = ./.; in import \"${toString here}/../z.nix\"",
        "map (name: ./. + \"/${name}/../z.nix\") names",
    ] {
        assert!(found(text).contains(&"all".to_owned()), "{text}: {:?}", found(text));
    }
}

#[test]
fn the_flake_as_a_value_means_everything() {
    for text in [
        "{ self, ... }: f self",
        "{ self, ... }: import-host { inherit self; }",
        "{ inputs, ... }: inputs.ext.mk { inherit (inputs) self; }",
        "{ self, inputs, ... }: let args = { inherit self; }; in inputs.ext.mk args",
        "{ inputs, ... }: import inputs.ext { inherit inputs; }",
        "{ self, inputs, ... }: map inputs.ext.mk [ { inherit self; } ]",
        "{ self, ... }: lib.mapAttrs (name: value: value { inherit self; }) hosts",
        "{ self, ... }: other: { inherit self; }",
        "{ self, ... }: { src = self; }",
        "{ self, ... }: \"${self}\"",
        "{ self, ... }: self.${name}",
        "{ self, ... }: with self; x",
        "{ self, ... }: let root = self; in root",
        "{ self, ... }: self + name",
        "{ inputs, ... }: toString inputs.self",
        "{ self, ... }: { inherit (self) outPath; }",
        "dirOf ./x",
        "builtins.unsafeGetAttrPos \"a\" { }",
        "__curPos.file",
        "{ self, ... }: { specialArgs = { root = self; }; }",
        "{ self, ... }: { _module.args = { flake = f self; }; }",
        "{ inputs, ... }: let self = inputs.self; in f self",
        "{ inputs, ... }: inputs.${name}",
        "args: map (name: args.inputs.${name}) names",
        "{ flake, ... }: (flake.inputs).${name}",
        "{ inputs, ... }: { imports = [ inputs.nixos-unified.flakeModules.autoWire ]; }",
        "{ clan-core, ... }: { imports = [ clan-core.flakeModules.default ]; }",
        "{ inputs, ... }: builtins.attrValues inputs",
    ] {
        assert!(found(text).contains(&"all".to_owned()), "{text}: {:?}", found(text));
    }
}

#[test]
fn other_uses_of_the_flake_mention_no_file() {
    for text in [
        "{ self, ... }: self.nixosModules.x",
        "{ self, ... }: self.packages.${system}.x",
        "{ inputs, ... }: inputs.self.packages.${system}.x",
        "{ self, ... }: self.rev or \"dirty\"",
        "{ self, ... }: { inherit (self) rev; }",
        "{ self, ... }: self ? rev",
        "{ inputs, self, ... }: lib.nixosSystem { specialArgs = { inherit inputs self; }; }",
        "{ self, ... }: import (self + \"/../host.nix\") { inherit self; }",
        "{ inputs, ... }: let inherit (inputs) self; in self.rev",
        "{ inputs, ... }: lib.hasAttr \"sops-nix\" inputs",
        "{ inputs, ... }: { imports = [ inputs.treefmt-nix.flakeModule ]; }",
        "{ self, ... }: { imports = [ self.flakeModules.x ]; }",
        "{ shellAliases.\"..\" = \"cd ..\"; }",
        "{ self, ... }: let host = { self, name }: name; in host { inherit self; name = 1; }",
        "{ self, ... }: let host = name: { self }: name; in host 1 { inherit self; }",
        "self: super: { x = self.callPackage y { inherit self; }; }",
        "let self = { }; in f self",
        "{ inputs, ... }: inputs.flake-parts.lib.mkFlake { inherit inputs; } { }",
        "{ self = 1; }",
        "{ inputs, ... }: { nix.registry = lib.mapAttrs (_: flake: { inherit flake; }) inputs; }",
    ] {
        assert!(found(text).is_empty(), "{text}: {:?}", found(text));
    }
}

#[test]
fn a_flake_names_its_inputs_and_hands_itself_to_others() {
    let flake = |text: &str| found_in(text, "flake.nix");
    assert_eq!(flake("{ inputs.a.url = \"path:./sub\"; outputs = _: { }; }"), ["flake sub"]);
    assert_eq!(
        flake("{ inputs = { a = { url = \"./sub?x=y\"; }; b.url = \"github:o/r\"; }; outputs = _: { }; }"),
        ["flake sub"]
    );
    assert_eq!(flake("{ outputs = { self, blueprint }@inputs: blueprint { inherit inputs; }; }"), ["all"]);
    assert_eq!(flake("{ outputs = inputs: inputs.blueprint { inherit inputs; }; }"), ["all"]);
    assert_eq!(
        flake("{ outputs = { self, nixpkgs }: nixpkgs.lib.nixosSystem { specialArgs = { inherit self; }; }; }"),
        [""; 0]
    );
    assert_eq!(flake("{ outputs = { self }@all: import ./hosts { inputs = all; }; }"), ["import hosts"]);
    assert_eq!(flake("{ inputs.a.url = \"path:./my%20sub\"; outputs = _: { }; }"), ["flake my sub"]);
    assert_eq!(
        flake("{ outputs = inputs: let host = ./host.nix; in import host { inherit inputs; }; }"),
        ["path host.nix"]
    );
    assert_eq!(flake("{ outputs = inputs: pkgs.callPackage ./test.nix { inherit inputs; }; }"), ["path test.nix"]);
    assert_eq!(flake("{ outputs = { self, sub }: let f = sub.f; in f { inherit self; }; }"), ["all"]);
    assert_eq!(flake("{ outputs = { self, sub }@inputs: sub.lib.mkFlake { inherit inputs; }; }"), ["all"]);
}

#[test]
fn a_mention_tells_its_line() {
    let mentions = mentions("{\n  a = 1;\n  b = ./y;\n}", Path::new("x.nix"), Path::new("")).expect("parsed");
    assert_eq!((mentions[0].line, mentions[0].text.as_str()), (3, "./y"));
}

#[test]
fn a_long_file_is_read_in_a_moment() {
    let entries: Vec<_> = (0..20_000).map(|number| format!("  p{number} = call ./p/{number}.nix {{ }};")).collect();
    let began = std::time::Instant::now();
    assert_eq!(found(&format!("{{\n{}}}", entries.join("\n"))).len(), 20_000);
    let sum = format!("./a + {}\"x\"", "\"/b\" + ".repeat(20_000));
    assert_eq!(found(&sum).len(), 1);
    // It takes a twentieth of that; looking back to the beginning at every mention, it took much longer.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn what_is_no_nix_is_told_with_its_line() {
    let unparsed = |text: &str| {
        let unparsed = mentions(text, Path::new("x.nix"), Path::new("")).expect_err("no Nix");
        (unparsed.line, unparsed.text)
    };
    assert_eq!(unparsed("{\n  a = 1;\n  b = ?;\n}"), (3, "b = ?;".to_owned()));
    assert_eq!(unparsed("{ a = "), (1, "{ a =".to_owned()));
    assert_eq!(unparsed("{\n  a = 1;\n  b\n}"), (4, "}".to_owned()));
}
