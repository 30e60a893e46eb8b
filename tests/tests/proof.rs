//! That what is packed is enough on a host, whoever edits the flake meanwhile; and what is said where it is not.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use npc_tests::eventually;
use npc_tests::flakes::{Flake, TWO_HOSTS};
use npc_tests::parts::{Nix, tool};
use npc_tests::process::on_a_tiny_disk;
use rustix::process::{Pid, Signal, kill_process};

/// A host whose build reads files of the flake in three ways: by a path of its own, in a directory, by way of the flake.
const READS_WHILE_BUILDING: &str = r#"{ outputs = { self }: {
  nixosConfigurations.a.config.system.build.toplevel = derivation {
    name = "a"; system = builtins.currentSystem or "SYSTEM"; builder = "/bin/sh";
    args = [ "-c" ''
      { read -r line < ${./motd}; echo $line
        for file in ${./tree}/*; do read -r line < $file; echo ''${file##*/} $line; done
        read -r line < ${self}/assets/logo; echo $line
      } > $out
    '' ];
  };
}; }"#;

#[test]
fn a_new_host_builds_from_the_archive_what_the_release_says() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let system = format!("{}-linux", std::env::consts::ARCH);
        let files = [("motd", "hello\n"), ("tree/one", "1\n"), ("tree/two", "2\n"), ("assets/logo", "a picture\n")];
        let flake = Flake::new(nix, &files);
        flake.write("assets/other", "unread\n");
        flake.write("flake.nix", &READS_WHILE_BUILDING.replace("SYSTEM", &system));
        let packed = flake.pack("evaluated");
        let (output, content) = flake.in_an_empty_store(|| flake.build_packed(&packed, "a"));
        assert_eq!(content, "hello\none 1\ntwo 2\na picture\n", "{}", nix.programs.display());
        assert_eq!(packed.json["configurations"]["a"]["out_path"], output.as_str());
        assert!(!flake.packs("evaluated").contains("assets/other"));
    }
}

#[test]
fn a_flake_that_is_handed_to_another_flake_is_packed_as_that_one_reads_it() {
    // Before 2.26, such an input is locked by its hash, and comes along whole in any case.
    let Some(nix) = Nix::find_newer() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let loads = "{ outputs = _: { load = flake: map (name: import (flake + \"/hosts/${name}\")) \
                 (builtins.attrNames (builtins.readDir \"${flake}/hosts\")); }; }";
    flake.write("sub/flake.nix", loads);
    flake.write("sub/notes.md", "notes");
    flake.write("hosts/one.nix", "1");
    flake.write("hosts/two.nix", "2");
    let with_input = TWO_HOSTS
        .replacen("{ outputs = { self }:", "{ inputs.sub.url = \"path:./sub\"; outputs = { self, sub }:", 1)
        .replace("(import ./web.nix)", "(sub.load self)");
    flake.write("flake.nix", &with_input);
    flake.lock();
    let packs = flake.packs("evaluated");
    assert!(packs.contains("hosts/one.nix") && packs.contains("hosts/two.nix"), "{packs:?}");
    assert!(!packs.contains("web.nix") && !packs.contains("sub/notes.md"), "{packs:?}");
    for strategy in ["evaluated", "static"] {
        let packed = flake.pack(strategy);
        let elsewhere = flake.in_an_empty_store(|| flake.evaluate_packed(&packed, "web"));
        assert_eq!(elsewhere, packed.derivation("web"), "{strategy}: {}", packed.words);
    }
}

/// A Nix under which somebody edits the flake as soon as it is first asked to evaluate.
fn with_an_editor(flake: &Flake, nix: &Nix, edit: &str) -> PathBuf {
    let once = flake.path("once");
    fs::write(&once, "").expect("written");
    beginning_with(flake, nix, &format!("if rm {} 2>/dev/null; then {edit}; fi", once.display()))
}

/// A Nix that does something else first whenever it is asked to evaluate configurations.
fn beginning_with(flake: &Flake, nix: &Nix, first: &str) -> PathBuf {
    let text = format!(
        "case \" $* \" in *' eval '*nixosConfigurations*) {first};; esac\nexec {} \"$@\"",
        nix.program().display()
    );
    flake.script("wrapped", "nix", &text)
}

#[test]
fn an_interrupt_ends_everything_and_leaves_nothing_behind() {
    let Some(nix) = Nix::find() else { return };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let flake = Flake::of_two_hosts(&nix);
        let (scratch, started) = (flake.path("scratch"), flake.path("started"));
        fs::create_dir(&scratch).expect("made");
        let hanging = beginning_with(&flake, &nix, &format!("echo $$ >> {}; sleep 1000", started.display()));
        let npc = flake.npc_publish_in_background(&["pack", "--list"], &[("NPC_NIX", &hanging), ("TMPDIR", &scratch)]);
        let line = || fs::read_to_string(&started).ok().filter(|text| text.ends_with('\n'));
        let evaluating: i32 = eventually("an evaluation begins", line).trim().parse().expect("a process id");
        npc.signal(signal);
        assert_eq!(npc.stop_after_signal().code(), Some(code));
        let evaluating = Pid::from_raw(evaluating).expect("a process id");
        eventually("what it started has ended", || rustix::process::test_kill_process(evaluating).err());
        assert_eq!(fs::read_dir(&scratch).expect("a folder").count(), 0, "nothing is left");
    }
}

#[test]
fn an_interrupt_while_nothing_else_runs_leaves_nothing_behind_either() {
    let flake = Flake::new(&Nix { programs: PathBuf::from("/nowhere") }, &[("flake.nix", TWO_HOSTS)]);
    // More names than a pipe holds: listing them waits for a reader.
    for number in 0..2000 {
        flake.write(&format!("a-name-of-which-there-are-many/{number}"), "");
    }
    let scratch = flake.path("scratch");
    fs::create_dir(&scratch).expect("made");
    let mut command = flake.command(&["pack", "--list", "--nix", "none", "--selection", "tracked"]);
    let mut npc =
        command.env("TMPDIR", &scratch).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut words = BufReader::new(npc.stderr.take().expect("a pipe")).lines();
    assert!(words.any(|line| line.expect("read").contains("packed into")), "it lists what it packed next");
    assert_eq!(fs::read_dir(&scratch).expect("a folder").count(), 1, "the archive");
    kill_process(Pid::from_child(&npc), Signal::TERM).expect("it runs");
    assert_eq!(npc.wait().expect("it ends").code(), Some(143));
    assert_eq!(fs::read_dir(&scratch).expect("a folder").count(), 0, "nothing is left");
}

/// Strace goes on when it cannot write, and ends well.
#[test]
fn a_trace_that_was_cut_off_proves_nothing() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let real = tool("strace").expect("strace");
    let cuts = format!(
        "{} \"$@\" || exit\nwhile [ \"$1\" != -o ]; do shift; done\n[ \"$2\" = /dev/null ] || truncate -s -100 \"$2\"",
        real.display()
    );
    flake.script("cutting", "strace", &cuts);
    let path = format!("{}:{}", flake.path("cutting").display(), std::env::var("PATH").expect("a path"));
    let refused = flake.npc_publish_with(&["pack", "--output", "../cut"], &[("PATH", Path::new(&path))]);
    refused.fails(6, &["strace did not write down all", "hint: make room where temporary files go (TMPDIR)"]);
    assert!(!flake.path("cut").exists());
    assert_eq!(flake.pack("evaluated").evaluated(), 2, "nothing was remembered");
}

#[test]
fn without_room_for_temporary_files_it_fails_or_answers_as_ever() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        let whole = flake.pack("evaluated");
        for kilobytes in [16, 64, 128, 192, 256, 320, 384, 512, 1024] {
            fs::remove_dir_all(flake.path("home")).expect("removed");
            fs::create_dir(flake.path("home")).expect("made");
            let mut command = flake.command(&["pack", "--json", "--output", "../out"]);
            command.env("TMPDIR", flake.path("tiny"));
            let ended = on_a_tiny_disk(&flake.path("tiny"), kilobytes, &command, &flake.path("left"));
            let Some(ended) = ended else { return };
            if ended.code == Some(0) {
                let json: serde_json::Value = serde_json::from_str(&ended.data).expect("JSON");
                assert_eq!(json["archive"], whole.json["archive"], "{kilobytes} kB, {}", nix.programs.display());
            } else {
                ended.fails(6, &["hint: ", "TMPDIR"]);
            }
            assert_eq!(fs::read_to_string(flake.path("left")).expect("listed"), "", "nothing is left");
        }
    }
}

#[test]
fn what_the_syntax_does_not_show_is_found_by_comparing_with_the_whole_tree() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        // The text of a path is edited, which nobody who reads the syntax follows.
        let edits =
            "(builtins.pathExists (/. + builtins.replaceStrings [ \"web\" ] [ \"hidden\" ] (toString ./web.nix)))";
        flake.write("flake.nix", &TWO_HOSTS.replace("(import ./web.nix)", edits));
        flake.write("hidden.nix", "1");
        let alone = flake.npc_publish(&["pack", "--selection", "static", "--nix", "none", "--list"]).works();
        assert!(!alone.contains("hidden.nix"), "{alone}");
        let packed = flake.pack("static");
        assert!(packed.words.contains("configuration `web`: the syntax does not mention all"), "{}", packed.words);
        assert_eq!(packed.derivation("web"), flake.evaluate_whole("web"));
        assert_eq!(packed.json["configurations"]["web"]["proof"], "whole-tree");
    }
}

#[test]
fn how_an_archive_of_what_the_syntax_mentions_compares_with_the_whole_tree_is_said() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    flake.write("flake.nix", &TWO_HOSTS.replace("(import ./web.nix)", "\"${self + \"/web.nix\"}\""));
    flake.write("README.md", "unread");
    for evaluated in [2, 0] {
        let packed = flake.pack("static");
        assert!(packed.words.contains("`web` has another derivation than in the whole tree"), "{}", packed.words);
        let proofs = ["web", "db"].map(|name| packed.json["configurations"][name]["proof"].clone());
        assert_eq!(proofs, ["archive", "whole-tree"]);
        assert_eq!(packed.evaluated(), evaluated, "what was compared is remembered");
    }
}

#[test]
fn another_store_is_another_answer_wherever_it_is_set() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let derivation = |name: &str| {
        let store = flake.path(name);
        let settings = format!("store = local?store={0}/store&state={0}/state&log={0}/log", store.display());
        let ended =
            flake.npc_publish_with(&["pack", "--json", "--output", "../out"], &[("NIX_CONFIG", Path::new(&settings))]);
        let json: serde_json::Value = serde_json::from_str(&ended.works()).expect("JSON");
        json["configurations"]["web"]["drv_path"].as_str().expect("a derivation").to_owned()
    };
    for name in ["one", "two"] {
        assert!(derivation(name).starts_with(flake.path(name).to_str().expect("a plain path")), "{name}");
    }
}

#[test]
fn a_flake_that_throws_nixs_own_words_is_not_one_without_configurations() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let throws = "{ outputs = _: { nixosConfigurations = throw \"it does not provide attribute 'x'\"; }; }";
        let flake = Flake::new(nix, &[("flake.nix", throws)]);
        flake.npc_publish(&["pack", "--list"]).fails(6, &["does not evaluate", "it does not provide attribute"]);
        let host = "{ outputs = _: { nixosConfigurations.a = throw \"it does not provide attribute 'x'\"; }; }";
        flake.write("flake.nix", host);
        let refused = flake.npc_publish(&["pack", "--list"]).fails(6, &["configuration `a` does not evaluate"]);
        assert!(!refused.words.contains("has no `nixosConfigurations`"), "{}", refused.words);
    }
}

#[test]
fn without_nix_naming_configurations_leaves_nothing_out() {
    let flake = Flake::new(&Nix { programs: PathBuf::from("/nowhere") }, &[("flake.nix", TWO_HOSTS)]);
    let ended = flake.npc_publish(&["pack", "--list", "--nix", "none", "--configuration", "web"]);
    assert!(ended.words.contains("--configuration does not leave anything out"), "{}", ended.words);
    ended.works();
}

#[test]
fn a_file_that_is_edited_meanwhile_is_noticed() {
    let Some(nix) = Nix::find() else { return };
    for (edit, name, words) in [
        ("echo 3 > web.nix", "read before", "`web.nix` changed while it was being packed"),
        ("echo 3 > db.nix", "known from a record", "`db.nix` changed while it was being packed"),
        ("rm web.nix", "gone", "web.nix"),
    ] {
        let flake = Flake::of_two_hosts(&nix);
        flake.pack("evaluated");
        flake.write("web.nix", "5");
        let editing = with_an_editor(&flake, &nix, edit);
        let refused = flake.npc_publish_with(&["pack", "--output", "../edited"], &[("NPC_NIX", &editing)]);
        refused.fails(6, &[words, "hint: "]);
        assert!(!flake.path("edited").exists(), "{name}");
        flake.write("web.nix", "5");
        let again = flake.pack("evaluated");
        assert_eq!(again.derivation("web"), flake.evaluate_whole("web"), "{name}");
        assert_eq!(again.derivation("db"), flake.evaluate_whole("db"), "{name}");
        assert_eq!(again.json["configurations"]["web"]["proof"], "whole-tree", "{name}");
    }
}

#[test]
fn what_lies_above_the_flake_is_said_to_be_out_of_reach() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.git(&["init", "-q"]);
        flake.write("nixos/flake.nix", &TWO_HOSTS.replace("./web.nix", "../web.nix"));
        flake.write("nixos/db.nix", "1");
        flake.git(&["add", "."]);
        for selection in ["evaluated", "static"] {
            let refused = flake.npc_publish(&["pack", "--list", "--flake", "nixos", "--selection", selection]);
            refused.fails(6, &["configuration `web` does not evaluate", "hint: the flake lies in a subdirectory"]);
        }
    }
}

#[test]
fn a_tracked_file_that_is_not_checked_out_is_named() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.git(&["init", "-q"]);
        flake.git(&["add", "."]);
        fs::remove_file(flake.path("flake/web.nix")).expect("removed");
        for selection in ["evaluated", "static"] {
            let refused = flake.npc_publish(&["pack", "--list", "--selection", selection]);
            refused.fails(6, &["configuration `web` does not evaluate", "hint: git tracks `web.nix`, but"]);
        }
    }
}

/// The error of a missing file ends with the place that asked for it, which is not what is missing.
#[test]
fn a_file_that_is_nowhere_is_not_mistaken_for_another() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.write("flake.nix", &TWO_HOSTS.replace("./web.nix", "./none.nix"));
        let refused = flake.npc_publish(&["pack", "--list"]);
        let refused =
            refused.fails(6, &["configuration `web` does not evaluate", "none.nix", "hint: nothing was published"]);
        assert!(!refused.words.contains("include ="), "{refused:?}");
    }
}

/// What a host's build reads by way of the flake's path is found in its derivations, however it is written there.
#[test]
fn what_builds_read_is_packed_however_it_is_written() {
    let Some(all) = Nix::all() else { return };
    let script = "{ read -r x < '${self}/with space/x'; echo $x; for i in 1 2; do read -r x < ${self}/keys/web-$i.pub; \
                  echo $x; done; read -r x < ${self}/link/y; echo $x; . ${builtins.toFile \"s\" \"read -r x < ${self}/z\"}; \
                  echo $x; read -r x < ${self}/pictures/logo; echo $x; } > $out";
    let flake_of = |script: &str| {
        format!(
            "{{ outputs = {{ self }}: {{ nixosConfigurations.a.config.system.build.toplevel = derivation {{ name = \"a\"; \
             system = \"{}-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" ''{script}'' ]; }}; }}; }}",
            std::env::consts::ARCH
        )
    };
    let files = [
        ("with space/x", "spaced\n"),
        ("keys/web-1.pub", "one\n"),
        ("keys/web-2.pub", "two\n"),
        ("keys/db.pub", "three\n"),
        ("link", "-> real"),
        ("real/y", "linked\n"),
        ("z", "in a text\n"),
        ("pictures/logo", "-> ../assets/logo"),
        ("assets/logo", "behind a link\n"),
        ("unread", "unread\n"),
    ];
    for nix in &all {
        let flake = Flake::new(nix, &files);
        flake.write("flake.nix", &flake_of(script));
        let packed = flake.pack("evaluated");
        let (_, content) = flake.in_an_empty_store(|| flake.build_packed(&packed, "a"));
        assert_eq!(content, "spaced\none\ntwo\nlinked\nin a text\nbehind a link\n", "{}", nix.programs.display());
        let packs = flake.packs("evaluated");
        assert!(!packs.contains("unread") && !packs.contains("keys/db.pub"), "{packs:?}");
    }
}

#[test]
fn what_the_nix_store_knows_by_its_hash_is_packed_whoever_evaluated_it_before() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.write("real/src/x", "content");
        flake.write("link", "-> real");
        let hash = flake.nix_hash("real/src");
        flake.write(
            "web.nix",
            &format!(
                "let sha256 = \"{hash}\"; in \"${{builtins.path {{ path = ./link/src; name = \"s\"; inherit sha256; }}}}\""
            ),
        );
        for _ in 0..2 {
            let packs = flake.packs("evaluated");
            assert!(packs.contains("link") && packs.contains("real/src/x"), "{}: {packs:?}", nix.programs.display());
            fs::remove_dir_all(flake.path("home/.cache")).expect("removed");
        }
        let packed = flake.pack("evaluated");
        let elsewhere = flake.in_an_empty_store(|| flake.evaluate_packed(&packed, "web"));
        assert_eq!(elsewhere, packed.derivation("web"));
    }
}

/// Nix 2.34 prefers a variable of its own for its cache, which remembers what was copied before.
#[test]
fn a_cache_of_the_users_hides_no_reads() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        flake.write("tree/one", "1");
        flake.write("web.nix", "\"${./tree}\"");
        let cache = flake.path("cache");
        for _ in 0..3 {
            let more = [("NIX_CACHE_HOME", cache.as_path())];
            let listed = flake.npc_publish_with(&["pack", "--list", "--json"], &more).works();
            let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
            let one = listed.as_array().expect("a list").iter().find(|entry| entry["path"] == "tree/one");
            assert_eq!(one.expect("listed")["keep"], "content", "{}", nix.programs.display());
            fs::remove_dir_all(flake.path("home/.cache")).expect("removed");
        }
    }
}

/// A Nix whose answer for `web` depends on a file that nobody sees it read, as a version to come might.
fn reading_unseen(flake: &Flake, nix: &Nix) -> PathBuf {
    // What is read before the evaluation begins is not watched.
    let text = format!(
        "case \" $* \" in *' eval '*) ;; *) exec {nix} \"$@\";; esac\n\
         copy=$(echo \"$*\" | sed 's/.*path:\\([^# ]*\\)#.*/\\1/')\n\
         hidden=$(cat \"$copy/hidden\")\nanswer=$({nix} \"$@\") || exit\n\
         case \"$answer\" in *-web*) answer=$(echo \"$answer\" | sed \"s/-linux/-$hidden/\");; esac\n\
         echo \"$answer\"",
        nix = nix.program().display()
    );
    flake.script("unseen", "nix", &text)
}

#[test]
fn a_read_that_nobody_sees_is_noticed_and_everything_is_packed() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    flake.write("hidden", "hurd");
    let unseen = reading_unseen(&flake, &nix);
    let packed = flake.npc_publish_with(&["pack", "--json", "--output", "../packed"], &[("NPC_NIX", &unseen)]);
    assert!(packed.words.contains("not all that configuration `web` reads can be seen"), "{packed:?}");
    assert!(!packed.words.contains("`db` reads"), "{packed:?}");
    let json: serde_json::Value = serde_json::from_str(&packed.works()).expect("JSON");
    assert_eq!(json["configurations"]["web"]["system"], "x86_64-hurd", "{json}");
    let listed = flake.npc_publish_with(&["pack", "--why", "hidden"], &[("NPC_NIX", &unseen)]).works();
    assert!(!listed.contains("not packed"), "{listed}");
}

#[test]
fn every_host_that_fails_is_named_and_the_others_are_not_evaluated_again() {
    let Some(nix) = Nix::find() else { return };
    let flake = Flake::of_two_hosts(&nix);
    let third = TWO_HOSTS.replace("db = host", "mail = host \"mail\" (import ./mail.nix); db = host");
    flake.write("flake.nix", &third);
    flake.write("mail.nix", "throw \"no mail\"");
    flake.write("web.nix", "throw \"no web\"");
    let refused = flake.npc_publish(&["pack", "--list"]);
    refused.fails(6, &["`web` does not evaluate", "no web", "`mail` does not evaluate", "no mail", "hint: "]);
    flake.write("web.nix", "1");
    flake.write("mail.nix", "2");
    assert_eq!(flake.pack("evaluated").evaluated(), 2);
}

#[test]
fn an_input_that_nobody_reads_need_not_be_there() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::of_two_hosts(nix);
        let other = Flake::new(nix, &[("flake.nix", "{ outputs = _: { }; }")]);
        other.git(&["init", "-q"]);
        other.git(&["add", "."]);
        other.git(&["commit", "-qm", "all"]);
        let with_input = TWO_HOSTS.replacen(
            "{ outputs = { self }:",
            &format!(
                "{{ inputs.dev.url = \"git+file://{}\"; outputs = {{ self, dev }}:",
                other.path("flake").display()
            ),
            1,
        );
        flake.write("flake.nix", &with_input);
        flake.lock();
        drop(other);
        fs::remove_dir_all(flake.path("home")).expect("removed");
        fs::create_dir(flake.path("home")).expect("made");
        flake.in_an_empty_store(|| flake.npc_publish(&["pack", "--list"]).works());
    }
}

#[test]
fn a_flake_that_is_a_link_comes_along_with_it() {
    let Some(all) = Nix::all() else { return };
    for nix in &all {
        let flake = Flake::new(nix, &[("flake.nix", "-> nix/flake.nix"), ("nix/flake.nix", TWO_HOSTS)]);
        for (path, content) in [("web.nix", "1"), ("db.nix", "2"), ("nix/web.nix", "1"), ("nix/db.nix", "2")] {
            flake.write(path, content);
        }
        for strategy in ["evaluated", "static"] {
            let packed = flake.pack(strategy);
            let elsewhere = flake.in_an_empty_store(|| flake.evaluate_packed(&packed, "web"));
            assert_eq!(elsewhere, packed.derivation("web"), "{strategy} {}", nix.programs.display());
        }
    }
}
