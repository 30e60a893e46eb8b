//! What choosing files says and refuses.

use std::fs::{self, File};
use std::path::Path;

use npc_tests::flakes::{Flake, TWO_HOSTS};
use npc_tests::parts::Nix;
use npc_tests::world::{Kind, World};

#[test]
fn what_no_host_reads_changes_nothing() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    assert_eq!(world.evaluating(&nix, &["--remote", "prod"]).works(), "prod@1\n");
    fs::write(world.path("fleet/docs/runbook.md"), "another text\n").expect("written");
    fs::write(world.path("fleet/terraform/new.tf"), "resource\n").expect("written");
    let again = world.evaluating(&nix, &["--remote", "prod"]);
    assert!(again.words.contains("unchanged: prod@1"), "{again:?}");
    assert!(again.words.contains("3 configurations, none evaluated anew"), "{again:?}");
}

#[test]
fn a_release_says_what_each_configuration_evaluates_to() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.evaluating(&nix, &["--remote", "prod"]).works();
    let log: serde_json::Value =
        serde_json::from_str(&world.in_fleet(&["log", "prod", "--json"]).works()).expect("JSON");
    let web = &log[0]["release"]["configurations"]["web-1"];
    assert!(web["drv_path"].as_str().is_some_and(|path| path.contains(".drv")), "{log}");
    assert!(web["out_path"].is_string() && web["proof"] == "whole-tree", "{log}");
    assert_eq!((&web["host"]["role"], &web["host"]["groups"]), (&"web".into(), &serde_json::json!(["all", "web"])));
    // Someone without Nix knows nothing to the contrary.
    assert!(world.in_fleet(&["--remote", "prod", "--selection", "static"]).words.contains("published prod@2"));
    assert!(world.evaluating(&nix, &["--remote", "prod", "--configuration", "db-1"]).words.contains("prod@3"));
    let log: serde_json::Value =
        serde_json::from_str(&world.in_fleet(&["log", "prod", "--json"]).works()).expect("JSON");
    let configurations = log[0]["release"]["configurations"].as_object().expect("an object");
    assert_eq!(configurations.keys().collect::<Vec<_>>(), ["db-1"]);
}

#[test]
fn metadata_that_nobody_could_read_is_never_published() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    let base = world.path("fleet/modules/base.nix");
    let text = fs::read_to_string(&base).expect("read");
    fs::write(&base, text.replace("inherit (config.npc) role groups;", "groups = 7;")).expect("written");
    world.evaluating(&nix, &["--remote", "prod"]).fails(6, &["/etc/npc/host.json", "db-1", "hint: "]);
}

#[test]
fn a_configuration_that_does_not_evaluate_is_never_published() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    fs::write(world.path("fleet/hosts/db-1.nix"), "{ ... }: { networking.hostName = throw \"no such name\"; }")
        .expect("written");
    let refused = world.evaluating(&nix, &["--remote", "prod"]);
    refused.fails(6, &["configuration `db-1` does not evaluate", "no such name", "hint: "]);
    assert!(!world.path("store/remotes").exists());
    // The others can be published without it.
    let rest = ["--remote", "prod", "--configuration", "web-1", "--configuration", "web-2"];
    world.evaluating(&nix, &rest).works();
    for selection in ["static", "tracked"] {
        let refused = world.evaluating(&nix, &["--remote", "prod", "--selection", selection]);
        refused.fails(6, &["configuration `db-1` does not evaluate"]);
    }
}

#[test]
fn an_unknown_configuration_is_named() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let ended = flake.npc_publish(&["pack", "--list", "--configuration", "mail"]);
    ended.fails(6, &["configuration `mail`", "hint: "]);
}

#[test]
fn a_change_to_one_host_evaluates_that_host_alone() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        let first = flake.pack("evaluated");
        assert_eq!(first.evaluated(), 2);
        flake.write("web.nix", "3");
        let second = flake.pack("evaluated");
        assert_eq!(second.evaluated(), 1);
        assert_ne!(second.derivation("web"), first.derivation("web"));
        assert_eq!(second.derivation("db"), first.derivation("db"));
        flake.write("web.nix", "1");
        let third = flake.pack("evaluated");
        assert_eq!((third.evaluated(), third.digest()), (0, first.digest()), "known from before");
    }
}

#[test]
fn a_file_that_git_does_not_track_is_named_with_what_to_do() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.git(&["init", "-q"]);
        flake.git(&["add", "flake.nix", "web.nix"]);
        for selection in ["evaluated", "static"] {
            let refused = flake.npc_publish(&["pack", "--list", "--selection", selection]);
            refused.fails(6, &["configuration `db` does not evaluate", "hint: `db.nix` is there", "git add db.nix"]);
        }
        flake.git(&["add", "db.nix"]);
        flake.npc_publish(&["pack", "--list"]).works();
    }
}

#[test]
fn a_flake_without_a_lock_for_its_inputs_is_refused_as_on_a_host() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    flake.write("sub/flake.nix", "{ outputs = _: { }; }");
    let with_input =
        TWO_HOSTS.replacen("{ outputs = { self }:", "{ inputs.sub.url = \"path:./sub\"; outputs = { self, sub }:", 1);
    flake.write("flake.nix", &with_input);
    flake.npc_publish(&["pack", "--list"]).fails(6, &["lock file", "hint: hosts never change a lock file"]);
    flake.lock();
    flake.npc_publish(&["pack", "--list"]).works();
}

/// `path:` inputs are read out of the flake itself; how they are locked differs between versions of Nix.
#[test]
fn path_inputs_come_along() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.write("sub/flake.nix", "{ outputs = { self }: { value = import ./value.nix; }; }");
        flake.write("sub/value.nix", "42");
        let with_input = TWO_HOSTS
            .replacen("{ outputs = { self }:", "{ inputs.sub.url = \"path:./sub\"; outputs = { self, sub }:", 1)
            .replace("(import ./web.nix)", "sub.value");
        flake.write("flake.nix", &with_input);
        flake.lock();
        for strategy in ["evaluated", "static"] {
            let packs = flake.packs(strategy);
            for path in ["flake.lock", "sub/flake.nix", "sub/value.nix"] {
                assert!(packs.contains(path), "{strategy}, {}: {packs:?}", nix.programs.display());
            }
            let packed = flake.pack(strategy);
            assert_eq!(flake.evaluate_packed(&packed, "web"), packed.derivation("web"));
        }
    }
}

/// Nix 2.26 locks a `path:` input of the flake itself in a way that Nix 2.8 does not know.
#[test]
fn a_lock_of_a_newer_nix_than_the_hosts_is_warned_of_and_refused_by_the_older() {
    let (Some(old), Some(new)) = (Nix::find(), Nix::find_newer()) else { return };
    let entries = [("sub/flake.nix", "{ outputs = _: { value = 1; }; }"), ("web.nix", "1"), ("db.nix", "2")];
    let with_input = TWO_HOSTS
        .replacen("{ outputs = { self }:", "{ inputs.sub.url = \"path:./sub\"; outputs = { self, sub }:", 1)
        .replace("(import ./web.nix)", "sub.value");
    let newer = Flake::new(&new, &entries);
    newer.write("flake.nix", &with_input);
    newer.lock();
    let packed = newer.npc_publish(&["pack", "--list"]);
    assert!(packed.words.contains("warning: flake.lock") && packed.words.contains("2.26"), "{packed:?}");
    packed.works();
    let older = Flake::new(&old, &entries);
    older.write("flake.nix", &with_input);
    older.write("flake.lock", &fs::read_to_string(newer.path("flake/flake.lock")).expect("a lock"));
    older.npc_publish(&["pack", "--list"]).fails(6, &["hint: "]);
}

#[test]
fn odd_things_that_no_host_needs_do_no_harm() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    flake.write("absolute", "-> /etc/passwd");
    flake.write("dangling", "-> nowhere/at/all");
    let stray = File::create(flake.path("flake/stray.img")).expect("created");
    stray.set_len(5_000_000_000).expect("a hole");
    let packs = flake.packs("evaluated");
    assert_eq!(packs.iter().collect::<Vec<_>>(), ["db.nix", "flake.nix", "web.nix"]);
    let opened = flake.opened_by_npc(&["pack", "--list"]);
    assert!(opened.contains("web.nix") && !opened.contains("stray.img"), "{opened}");
    flake.npc_publish(&["pack", "--selection", "tracked", "--nix", "none", "--output", "../x"]).fails(6, &["hint: "]);
    fs::remove_file(flake.path("flake/stray.img")).expect("removed");
    let refused = flake.npc_publish(&["pack", "--selection", "tracked", "--nix", "none", "--output", "../x"]);
    refused.fails(6, &["`absolute` leads out of the flake", "hint: "]);
    assert!(!flake.path("x").exists());
}

#[test]
fn a_submodule_is_left_out_and_said_to_be() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let other = Flake::of_two_hosts(&nix);
    for flake in [&flake, &other] {
        flake.git(&["init", "-q"]);
        flake.git(&["add", "."]);
        flake.git(&["commit", "-qm", "all"]);
    }
    let url = other.path("flake");
    let url = url.to_str().expect("a plain path");
    flake.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", url, "sub"]);
    let packed = flake.npc_publish(&["pack", "--list"]);
    assert!(packed.words.contains("the submodule `sub` is left out"), "{packed:?}");
    assert!(!packed.works().contains("sub"));
    flake.write("flake.nix", &TWO_HOSTS.replace("./web.nix", "./sub/web.nix"));
    flake.npc_publish(&["pack", "--list"]).fails(6, &["belongs to a submodule"]);
}

#[test]
fn names_that_some_file_systems_take_for_one_are_warned_of() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    flake.write("flake.nix", &TWO_HOSTS.replace("(import ./web.nix)", "\"${./data}\""));
    flake.write("data/README", "one");
    flake.write("data/readme", "two");
    flake.write("data/\u{e4}", "composed");
    flake.write("data/a\u{308}", "decomposed");
    let packed = flake.npc_publish(&["pack", "--list"]);
    assert!(packed.words.contains("`data/README` and `data/readme` differ"), "{packed:?}");
    assert_eq!(packed.words.matches("differ in case").count(), 2, "{packed:?}");
}

#[test]
fn what_looks_like_a_secret_is_warned_of_if_it_is_published() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    flake.write("flake.nix", &TWO_HOSTS.replace("(import ./web.nix)", "(builtins.readFile ./host.key)"));
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n";
    flake.write("host.key", key);
    flake.write("terraform.tfstate", "{}");
    // A pipe belongs to no flake, and whoever reads it waits.
    let pipe = std::process::Command::new("mkfifo").arg(flake.path("flake/pipe")).status();
    assert!(pipe.is_ok_and(|status| status.success()));
    let packed = flake.npc_publish(&["pack", "--list"]);
    assert!(packed.words.contains("`host.key` looks like a private key"), "{packed:?}");
    assert!(packed.words.contains("read by web"), "{packed:?}");
    assert!(!packed.words.contains("tfstate"), "it is not published: {packed:?}");
}

#[test]
fn each_file_is_explained() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let why = |path: &str| flake.npc_publish(&["pack", "--why", path]);
    assert_eq!(why("flake.nix").works().trim(), "read by all 2 configurations");
    assert_eq!(why("./web.nix").works().trim(), "read by web");
    assert!(why("README.md").works().contains("evaluating the configurations did not ask for it"));
    flake.git(&["init", "-q"]);
    flake.git(&["add", "flake.nix", "web.nix", "db.nix"]);
    assert!(why("README.md").works().contains("git does not track it"));
    fs::remove_dir_all(flake.path("flake/.git")).expect("removed");
    why("none").fails(2, &["there is no `none`"]);
    flake.write("docs/page.md", "docs");
    assert!(why("docs").works().contains("a directory of which nothing is packed"));
    let absolute = flake.path("flake/web.nix");
    assert_eq!(why(absolute.to_str().expect("a plain path")).works().trim(), "read by web");
    fs::remove_dir_all(flake.path("flake/docs")).expect("removed");
    let listed = flake.npc_publish(&["pack", "--list"]);
    assert!(listed.words.contains("3 of 4 files"), "{listed:?}");
    let why = |path: &str| flake.npc_publish(&["pack", "--nix", "none", "--why", path]);
    assert!(why("web.nix").works().contains("flake.nix:6: ./web.nix"));
}

#[test]
fn globs_add_and_take_away() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    let config = world.path("fleet/npc.toml");
    let text = fs::read_to_string(&config).expect("read");
    fs::create_dir(world.path("fleet/docs/deep")).expect("made");
    fs::write(world.path("fleet/docs/deep/page.md"), "a page").expect("written");
    let settings = "include = [\"docs/*.md\"]\nexclude = [\"assets/\"]\nselection = \"static\"\n";
    // Settings stand before the first table.
    fs::write(&config, format!("{settings}{text}")).expect("written");
    for selection in ["evaluated", "static", "tracked"] {
        let listed = world.evaluating(&nix, &["pack", "--list", "--selection", selection]).works();
        assert!(listed.contains("docs/runbook.md"), "{selection}: {listed}");
        assert!(selection != "evaluated" || !listed.contains("docs/deep/page.md"), "{selection}: {listed}");
        assert!(!listed.contains("logo.svg"), "{selection}: {listed}");
    }
    let why = ["pack", "--selection", "evaluated", "--why", "docs/runbook.md"];
    assert!(world.evaluating(&nix, &why).works().contains("include"));
}

#[test]
fn what_the_syntax_does_not_tell_is_taken_whole_and_said() {
    let Some(nix) = Nix::find() else { return };
    let cases = [
        ("import (./hosts + \"/${builtins.head [ \"x\" ]}.nix\")", "everything in `hosts` is taken", "docs/readme"),
        ("let root = self; in import (root + \"/hosts/x.nix\")", "every tracked file is taken", ""),
        ("import ./tree.nix inputs.self", "every tracked file is taken", ""),
        ("import (builtins.dirOf ./hosts/x.nix + \"/x.nix\")", "every tracked file is taken", ""),
    ];
    for (value, words, left_out) in cases {
        let flake = Flake::of_two_hosts(&nix);
        let text =
            TWO_HOSTS.replace("{ self }:", "{ self }@inputs:").replace("(import ./web.nix)", &format!("({value})"));
        flake.write("flake.nix", &text);
        flake.write("tree.nix", "flake: import \"${flake}/hosts/x.nix\"");
        flake.write("hosts/x.nix", "1");
        flake.write("docs/readme", "text");
        let packed = flake.npc_publish(&["pack", "--selection", "static", "--list"]);
        assert!(
            packed.words.contains("flake.nix:6: cannot follow") && packed.words.contains(words),
            "{value}: {packed:?}"
        );
        let listed = packed.works();
        assert!(listed.contains("hosts/x.nix"), "{value}: {listed}");
        assert!(left_out.is_empty() || !listed.contains(left_out), "{value}: {listed}");
    }
}

#[test]
fn without_nix_or_strace_the_syntax_decides_and_that_is_said() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let without = flake.npc_publish(&["pack", "--list", "--nix", "none"]);
    assert!(without.words.contains("without Nix"), "{without:?}");
    assert!(!without.works().contains("README"));
    flake.npc_publish(&["pack", "--list", "--nix", "none", "--selection", "evaluated"]).fails(2, &["no Nix", "hint: "]);
    // A PATH with Nix alone.
    let programs = flake.path("programs");
    fs::create_dir(&programs).expect("made");
    for name in ["nix", "nix-store"] {
        std::os::unix::fs::symlink(nix.programs.join(name), programs.join(name)).expect("linked");
    }
    let untraced = flake.npc_publish_with(&["pack", "--list"], &[("PATH", Path::new(&programs))]);
    assert!(untraced.words.contains("without a working strace"), "{untraced:?}");
    assert!(
        untraced.words.contains("2 of 2 configurations evaluated"),
        "the archive is proved all the same: {untraced:?}"
    );
}

#[test]
fn two_publishers_at_once_share_what_they_know() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    std::thread::scope(|scope| {
        let packing: Vec<_> = (0..4).map(|_| scope.spawn(|| flake.npc_publish(&["pack", "--list"]))).collect();
        let listed: Vec<_> = packing.into_iter().map(|one| one.join().expect("ended").works()).collect();
        assert!(listed.iter().all(|list| *list == listed[0]));
    });
    assert_eq!(flake.pack("evaluated").evaluated(), 0);
}

/// As in a fleet of nix-darwin or home-manager alone.
#[test]
fn a_flake_without_nixos_configurations_is_packed_by_its_syntax() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.write("flake.nix", "{ outputs = _: { darwinConfigurations.mac = import ./web.nix; }; }");
        let packed = flake.npc_publish(&["pack", "--list"]);
        assert!(packed.words.contains("has no `nixosConfigurations`"), "{packed:?}");
        let listed = packed.works();
        assert!(listed.contains("web.nix") && !listed.contains("db.nix"), "{listed}");
        flake.npc_publish(&["pack", "--list", "--selection", "evaluated"]).fails(2, &["nixosConfigurations", "hint: "]);
    }
}

#[test]
fn a_host_that_applies_with_a_command_needs_no_nixos_configuration() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.evaluating(&nix, &["--remote", "prod"]).works();
    world.command_agent("laptop", "true").once().works();
    let unknown = world.agent("unknown", &nix);
    unknown.once().fails(4, &["no configuration `unknown`", "`no-such-configuration`"]);
}

/// Nix looks for an output in `packages` first, unless it is told not to; Nix 2.8 cannot be told.
#[test]
fn other_outputs_are_not_evaluated_where_nix_can_be_kept_from_it() {
    let Some(newer) = Nix::find_newer() else { return };
    let flake = Flake::of_two_hosts(&newer);
    let text = TWO_HOSTS.replacen("nixosConfigurations =", "packages = import ./pkgs.nix; nixosConfigurations =", 1);
    flake.write("flake.nix", &text);
    flake.write("pkgs.nix", "throw \"not needed\"");
    let packs = flake.packs("evaluated");
    assert_eq!(packs.iter().collect::<Vec<_>>(), ["db.nix", "flake.nix", "web.nix"]);
}

/// What only a build reads, by way of the flake's own path, is there when a host builds it.
#[test]
fn what_builds_read_of_the_flake_is_packed() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        let text = TWO_HOSTS.replace("(import ./web.nix)", "\"${self}/assets/logo\"");
        flake.write("flake.nix", &text);
        flake.write("assets/logo", "a picture");
        flake.write("assets/other", "another");
        let first = flake.packs("evaluated");
        assert!(first.contains("assets/logo") && !first.contains("assets/other"), "{first:?}");
        // So it is by way of links, to it and in it.
        flake.write("flake.nix", &text.replace("assets/logo", "images"));
        flake.write("images", "-> pictures");
        flake.write("pictures/logo", "-> ../assets/logo");
        let linked = flake.packs("evaluated");
        for path in ["images", "pictures/logo", "assets/logo"] {
            assert!(linked.contains(path), "{path}: {linked:?}");
        }
        flake.write("flake.nix", &text);
        // Known from before, it is still there; changed, it is a change.
        let before = flake.pack("evaluated");
        assert_eq!(before.evaluated(), 0);
        flake.write("assets/logo", "another picture");
        assert_ne!(flake.pack("evaluated").digest(), before.digest());
    }
}

/// Nix does not look at a path whose hash it has in its store already, as the publisher's after the first time.
#[test]
fn a_path_that_is_fetched_by_its_hash_is_packed_every_time() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.write("src/x", "content");
        let hash = flake.nix_hash("src");
        let value = format!(
            "[ \"${{builtins.path {{ path = ./src; name = \"s\"; sha256 = \"{hash}\"; }}}}\" (import ./web.nix) ]"
        );
        flake.write("flake.nix", &TWO_HOSTS.replace("(import ./web.nix)", &format!("({value})")));
        assert!(flake.packs("evaluated").contains("src/x"));
        flake.write("web.nix", "3");
        let again = flake.packs("evaluated");
        assert!(again.contains("src/x"), "{}: {again:?}", nix.programs.display());
    }
}
