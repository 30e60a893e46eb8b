//! What publishing packs, claims and says.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use npc_core::archive::{Limits, manifest};
use npc_core::fleet::Fleet;
use npc_core::store::{Options, open};
use npc_tests::eventually;
use npc_tests::parts::Nix;
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Kind, World, copy_tree, example, garage_kind};
use serde_json::Value;

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "init.defaultBranch=main"]);
    git.args(["-c", "protocol.file.allow=always"]).arg("-C").arg(directory).args(arguments);
    Ended::of(&mut git).works()
}

fn pack(world: &World, flake: &Path) -> Ended {
    let output = world.path("packed.tar.gz");
    let arguments = ["pack", "--flake", flake.to_str().expect("plain"), "--output", output.to_str().expect("plain")];
    world.npc_publish(&arguments)
}

fn packed_paths(world: &World, flake: &Path) -> BTreeSet<String> {
    pack(world, flake).works();
    let file = fs::File::open(world.path("packed.tar.gz")).expect("packed");
    let manifest = manifest(file, Limits::default()).expect("whole");
    manifest.keys().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// A repository with the example flake.
fn repository(world: &World) -> PathBuf {
    let place = world.path("repository");
    copy_tree(&example(), &place);
    git(&place, &["init", "--quiet"]);
    git(&place, &["add", "."]);
    git(&place, &["commit", "--quiet", "--message", "first"]);
    place
}

#[test]
fn time_place_umask_and_owner_never_change_the_digest() {
    let (world, mut digests) = (World::new(&Kind::Directory), BTreeSet::new());
    let place = repository(&world);
    digests.insert(pack(&world, &place).works());
    let clone = world.path("a/very different/place");
    fs::create_dir_all(clone.parent().expect("a parent")).expect("created");
    let script = "umask 077; git clone --quiet \"$1\" \"$2\"; find \"$2\" -exec touch -d 2001-01-01 {} +";
    let mut shell = Command::new("sh");
    Ended::of(shell.args(["-euc", script, "sh"]).arg(&place).arg(&clone)).works();
    digests.insert(pack(&world, &clone).works());
    if rustix::process::geteuid().is_root() {
        Ended::of(Command::new("chown").args(["-R", "65534:65534"]).arg(&clone)).works();
    }
    // Git asks to be told that someone else's repository is meant.
    let mut as_it_is = world.command("npc-publish");
    as_it_is.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    let output = world.path("chowned.tar.gz");
    digests.insert(Ended::of(as_it_is.args(["pack", "--output"]).arg(&output).arg("--flake").arg(&clone)).works());
    // The example itself has no repository around it once it is copied: all files are the same files.
    let bare = world.path("bare");
    copy_tree(&place, &bare);
    fs::remove_dir_all(bare.join(".git")).expect("removed");
    digests.insert(pack(&world, &bare).works());
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn git_decides_what_belongs_to_the_flake() {
    let world = World::new(&Kind::Directory);
    let place = repository(&world);
    fs::write(place.join("untracked.nix"), "1").expect("written");
    fs::write(place.join("staged.nix"), "1").expect("written");
    git(&place, &["add", "staged.nix"]);
    fs::remove_file(place.join("docs/runbook.md")).expect("removed");
    let other = world.path("other");
    copy_tree(&example(), &other);
    git(&other, &["init", "--quiet"]);
    git(&other, &["add", "."]);
    git(&other, &["commit", "--quiet", "--message", "first"]);
    git(&place, &["submodule", "add", "--quiet", other.to_str().expect("plain"), "sub"]);
    let paths = packed_paths(&world, &place);
    assert!(paths.contains("flake.nix") && paths.contains("staged.nix") && paths.contains("hosts/web-1.nix"));
    for absent in ["untracked.nix", "docs/runbook.md", ".git", ".git/HEAD", "sub/flake.nix"] {
        assert!(!paths.contains(absent), "{absent}");
    }
    assert!(pack(&world, &place).words.contains("submodule `sub` is left out"));
}

#[test]
fn a_directory_that_became_a_link_is_packed_as_the_link() {
    let world = World::new(&Kind::Directory);
    let flake = repository(&world);
    fs::rename(flake.join("hosts"), flake.join("real")).expect("renamed");
    std::os::unix::fs::symlink("real", flake.join("hosts")).expect("linked");
    git(&flake, &["add", "hosts"]);
    let packed = packed_paths(&world, &flake);
    assert!(packed.contains("hosts") && !packed.iter().any(|path| path.starts_with("hosts/")), "{packed:?}");
}

/// As inside a hook, where git speaks of the repository that it runs in.
#[test]
fn the_repository_asked_is_the_flakes_own() {
    let world = World::new(&Kind::Directory);
    let flake = repository(&world);
    fs::create_dir(world.path("other")).expect("made");
    git(&world.path("other"), &["init", "-q"]);
    let mut command = world.command("npc-publish");
    command.args(["pack", "--list"]).current_dir(&flake).env("GIT_DIR", world.path("other/.git"));
    command.env("GIT_INDEX_FILE", world.path("other/.git/index"));
    assert!(Ended::of(&mut command).works().contains("flake.nix"));
}

#[test]
fn excluded_files_and_nixs_own_links_stay_behind() {
    let world = World::new(&Kind::Directory);
    let fleet = world.path("fleet");
    let config = fs::read_to_string(fleet.join("npc.toml")).expect("read");
    fs::write(fleet.join("npc.toml"), format!("{config}exclude = [\"docs/\", \"*.svg\", \"assets/**\"]\n"))
        .expect("written");
    std::os::unix::fs::symlink("/nix/store/00000000000000000000000000000000-x", fleet.join("result")).expect("linked");
    fs::create_dir(fleet.join("empty")).expect("created");
    let paths = packed_paths(&world, &fleet);
    assert!(paths.contains("empty") && paths.contains("terraform/main.tf"));
    for absent in ["docs", "docs/runbook.md", "assets/logo.svg", "result"] {
        assert!(!paths.contains(absent), "{absent} in {paths:?}");
    }
}

#[test]
fn a_release_says_where_it_came_from() {
    let world = World::new(&Kind::Directory);
    let place = repository(&world);
    fs::copy(world.path("fleet/npc.toml"), place.join("npc.toml")).expect("copied");
    git(&place, &["add", "."]);
    git(&place, &["commit", "--quiet", "--message", "npc"]);
    git(&place, &["remote", "add", "origin", "https://user:secret@example.org/fleet.git"]);
    let publish = |arguments: &[&str]| {
        Ended::of(world.command("npc-publish").args(["--remote", "prod"]).args(arguments).current_dir(&place)).works()
    };
    publish(&["--message", "hello", "--expires-in", "30d"]);
    fs::write(place.join("modules/motd.txt"), "dirty\n").expect("written");
    publish(&[]);
    let log: Value = serde_json::from_str(&{
        let mut log = world.command("npc-publish");
        Ended::of(log.args(["log", "prod", "--json"]).current_dir(&place)).works()
    })
    .expect("JSON");
    let rev = git(&place, &["rev-parse", "HEAD"]);
    assert_eq!(log[1]["release"]["source"]["rev"], rev.trim());
    assert_eq!(log[1]["release"]["source"]["dirty"], false);
    assert_eq!(log[1]["release"]["source"]["message"], "hello");
    assert_eq!(log[1]["release"]["source"]["url"], "https://example.org/fleet.git");
    assert!(log[1]["expires"].is_string());
    assert_eq!(log[0]["release"]["source"]["dirty"], true);
    assert_eq!(log[0]["current"], true);
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_would_happen() {
    let world = World::new(&Kind::Directory);
    let first = world.in_fleet(&["--remote", "prod", "--dry-run"]);
    assert!(first.words.contains("first release"), "{first:?}");
    assert!(!world.path("store/remotes").exists() && !world.path("store/archives").exists());
    world.publish();
    assert!(world.in_fleet(&["--remote", "prod", "--dry-run"]).words.contains("unchanged"));
    for more in [&["--record"][..], &["--expires-in", "1d"]] {
        let told = world.in_fleet(&[&["--remote", "prod", "--dry-run"], more].concat());
        assert!(told.words.contains("would replace prod@1"), "{told:?}");
    }
    world.edit("changed\n");
    assert!(world.in_fleet(&["--remote", "prod", "--dry-run"]).words.contains("would replace prod@1"));
    assert!(!world.path("store/releases/prod/2.json").exists());
}

#[test]
fn an_expired_release_is_published_again_although_nothing_changed() {
    let world = World::new(&Kind::Directory);
    let first = world.in_fleet(&["--remote", "prod", "--expires-in", "1s"]);
    assert_eq!(first.works().trim(), "prod@1");
    eventually("it expires", || {
        let dry_run = world.in_fleet(&["--remote", "prod", "--dry-run"]);
        dry_run.words.contains("would replace prod@1").then_some(())
    });
    assert_eq!(world.publish(), "prod@2");
    assert!(world.in_fleet(&["--remote", "prod"]).words.contains("unchanged"));
}

#[test]
fn releases_are_listed_and_compared() {
    let world = World::new(&Kind::Served);
    world.publish();
    world.edit("changed\n");
    fs::write(world.path("fleet/new.nix"), "1").expect("written");
    fs::remove_dir_all(world.path("fleet/docs")).expect("removed");
    assert_eq!(
        world.in_fleet(&["diff", "prod", "."]).works(),
        "D docs\nD docs/runbook.md\nM modules/motd.txt\nA new.nix\n"
    );
    world.publish();
    assert_eq!(world.in_fleet(&["diff", "prod", "."]).works(), "");
    assert_eq!(
        world.in_fleet(&["diff", "prod@2", "prod@1"]).works(),
        "A docs\nA docs/runbook.md\nM modules/motd.txt\nD new.nix\n"
    );
    let json: Value =
        serde_json::from_str(&world.in_fleet(&["diff", "prod@1", "prod", "--json"]).works()).expect("JSON");
    assert_eq!(json[3], serde_json::json!({ "path": "new.nix", "change": "added" }));
    world.in_fleet(&["--remote", "staging"]).works();
    let remotes: Value = serde_json::from_str(&world.in_fleet(&["remotes", "--json"]).works()).expect("JSON");
    let names: Vec<_> = remotes.as_array().expect("a list").iter().map(|remote| remote["remote"].clone()).collect();
    assert_eq!(names, ["prod", "staging"]);
    let log = world.in_fleet(&["log", "prod"]).works();
    assert!(log.starts_with("*  prod@2") && log.lines().count() == 2, "{log}");
    assert_eq!(world.in_fleet(&["log", "prod", "-n", "1"]).works().lines().count(), 1);
    world.in_fleet(&["diff", "prod@9", "."]).fails(2, &["no release prod@9"]);
    world.in_fleet(&["diff", "nope", "."]).fails(2, &["no remote `nope`"]);
    world.in_fleet(&["log", "nope"]).fails(2, &["no remote `nope`", "hint:"]);
}

#[test]
fn an_orphaned_claim_is_skipped() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let claim = world.path("store/releases/prod/2.json");
    fs::write(&claim, "left by a publisher that crashed").expect("written");
    world.edit("after the crash\n");
    assert_eq!(world.publish(), "prod@3");
    assert_eq!(fs::read_to_string(claim).expect("read"), "left by a publisher that crashed");
    // What nobody can believe does not use up the serials.
    fs::write(world.path("store/releases/prod/9007199254740991.json"), "forged").expect("written");
    world.edit("after the forgery\n");
    assert_eq!(world.publish(), "prod@4");
}

/// Two publishers at once: each either gets a serial of its own or is told that it lost.
async fn race(world: &World) {
    world.publish();
    for round in 0..3 {
        let publishers: Vec<_> = (0..2)
            .map(|number| {
                let place = world.path(&format!("publisher-{round}-{number}"));
                copy_tree(&world.path("fleet"), &place);
                fs::write(place.join("modules/motd.txt"), format!("{round} {number}\n")).expect("written");
                let mut command = world.command("npc-publish");
                command.args(["--remote", "prod"]).current_dir(&place);
                Background::start(&mut command, &world.path(&format!("publisher-{round}-{number}.log")))
            })
            .collect();
        let ended: Vec<_> =
            publishers.into_iter().map(|mut one| (one.wait().code(), one.data(), one.words())).collect();
        let won: BTreeSet<_> =
            ended.iter().filter(|(code, ..)| *code == Some(0)).map(|(_, data, _)| data.clone()).collect();
        let lost =
            ended.iter().filter(|(code, _, words)| *code == Some(5) && words.contains("at the same time")).count();
        assert_eq!(won.len() + lost, 2, "{ended:?}");
        assert!(!won.is_empty(), "{ended:?}");
    }
    let store = open(
        world.url(),
        Options { token: npc_core::store::Token::new(npc_tests::world::TOKEN).ok(), ..Options::default() },
    );
    let fleet = Fleet::open(store.await.expect("opened"), &world.anchor()).await.expect("a fleet");
    let prod = "prod".parse().expect("a name");
    let pointer = fleet.remote(&prod).await.expect("readable").expect("there").state.expect("believable");
    let entry = fleet.release(&prod, pointer.header().serial).await.expect("readable").expect("claimed");
    assert_eq!(entry.state.expect("believable").digest(), pointer.digest(), "the pointer is the claim");
}

#[tokio::test]
async fn two_publishers_racing_on_a_directory_never_share_a_serial() {
    race(&World::new(&Kind::Directory)).await;
}

#[tokio::test]
async fn two_publishers_racing_on_a_server_never_share_a_serial() {
    race(&World::new(&Kind::Served)).await;
}

#[tokio::test]
async fn two_publishers_racing_on_garage_never_share_a_serial() {
    if let Some(kind) = garage_kind() {
        race(&World::new(&kind)).await;
    }
}

#[test]
fn a_store_that_ignores_conditions_is_told_of_once() {
    let Some(kind) = garage_kind() else { return };
    let world = World::new(&kind);
    let again = world.in_fleet(&["--remote", "prod"]);
    assert!(!again.words.contains("conditional"), "init said it already: {again:?}");
    fs::remove_dir_all(world.path("home/.cache")).expect("removed");
    world.edit("from another machine\n");
    let first = world.in_fleet(&["--remote", "prod"]);
    assert!(first.words.contains("accepts conditional writes and ignores them"), "{first:?}");
}

#[test]
fn a_new_fleet_is_told_what_its_store_does_whatever_is_remembered() {
    let world = World::new(&Kind::Directory);
    for name in ["trust", "remotes"] {
        let _ = fs::remove_dir_all(world.path("store").join(name));
    }
    fs::remove_file(world.path("fleet/npc.toml")).expect("removed");
    let again = world.in_fleet(&["init", "--store", &world.url().to_string()]);
    assert!(again.words.contains("enforces conditional writes"), "{again:?}");
}

#[test]
fn a_key_made_by_nix_publishes() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    let mut make = Command::new(nix.programs.join("nix"));
    make.args(["--extra-experimental-features", "nix-command", "key", "generate-secret", "--key-name", "npc-ci-1"]);
    let file = world.path("ci.secret");
    fs::write(&file, Ended::of(make.env("HOME", world.path("home"))).works()).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    let file = file.to_str().expect("plain");
    world.in_fleet(&["--remote", "prod", "--key", file]).fails(4, &["not npc-ci-1"]);
    let public = world.npc_publish(&["key", "public", file]).works();
    let (add, root) = (format!("release={}", public.trim()), world.key_file("npc-root-1"));
    world.in_fleet(&["trust", "rotate", "--root-key", root.to_str().expect("plain"), "--add", &add]).works();
    world.in_fleet(&["--remote", "prod", "--key", file]).works();
}

#[test]
fn a_remote_can_take_two_keys() {
    let world = World::new(&Kind::Directory);
    let (second, root) = (world.path("second.secret"), world.key_file("npc-root-1"));
    let (second, root) = (second.to_str().expect("plain"), root.to_str().expect("plain"));
    let public = world.npc_publish(&["key", "generate", "npc-publish-2", "--output", second]).works();
    let first_file = world.key_file("npc-publish-1");
    let first_file = first_file.to_str().expect("plain");
    let first = world.npc_publish(&["key", "public", first_file]).works();
    let add = |key: &str| format!("release:prod*={}", key.trim());
    let rotate = ["trust", "rotate", "--root-key", root, "--add", &add(&public), "--add", &add(&first)];
    world.in_fleet(&[&rotate[..], &["--threshold", "release:prod*=2"]].concat()).works();
    world.in_fleet(&["--remote", "prod"]).fails(4, &["takes 2 of"]);
    world.in_fleet(&["--remote", "prod", "--key", first_file, "--key", second]).works();
    world.in_fleet(&["--remote", "staging"]).works();
    let agent = world.command_agent("web-1", "true");
    agent.once().works();
    world.in_fleet(&["trust", "rotate", "--root-key", root, "--remove-role", "release:prod*"]).works();
    world.in_fleet(&["--remote", "prod", "--record"]).works();
    agent.once().works();
}

#[test]
fn the_fleet_is_not_locked_out_by_rotating() {
    let world = World::new(&Kind::Directory);
    let root = world.key_file("npc-root-1");
    let rotate = |arguments: &[&str]| {
        let root = root.to_str().expect("plain");
        world.in_fleet(&[&["trust", "rotate", "--root-key", root], arguments].concat())
    };
    rotate(&["--revoke", "npc-root-1"]).fails(4, &["could not work"]);
    rotate(&["--revoke", "npc-publish-1"]).fails(4, &["could not work"]);
    rotate(&["--threshold", "root=2"]).fails(4, &["could not work"]);
    rotate(&["--remove-role", "release"]).fails(4, &["could not work"]);
    rotate(&["--remove-role", "root"]).fails(4, &["cannot be removed"]);
    rotate(&["--remove-role", "release:nope"]).fails(4, &["no role `release:nope`"]);
    rotate(&["--revoke", "npc-nobody"]).fails(4, &["no key `npc-nobody`"]);
    rotate(&[]).fails(4, &["change nothing"]);
    assert!(!world.path("store/trust/2.json").exists());
    let shown = world.in_fleet(&["trust", "show"]).works();
    assert!(shown.starts_with("trust version 1"), "{shown}");
}
