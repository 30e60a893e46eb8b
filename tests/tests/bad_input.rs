//! What people get wrong, and what machines do to them: each one clear error with a hint, and nothing half-written.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use npc_tests::noise;
use npc_tests::parts::{Garage, program, tool};
use npc_tests::process::{self, Ended};
use npc_tests::world::{Kind, TOKEN, World, copy_tree};

fn nothing_published(world: &World) {
    for name in ["remotes", "releases", "archives"] {
        assert!(!world.path("store").join(name).exists(), "{name} was written");
    }
}

#[test]
fn no_flake() {
    let world = World::new(&Kind::Directory);
    fs::remove_file(world.path("fleet/flake.nix")).expect("removed");
    world.in_fleet(&["--remote", "prod"]).fails(6, &["no flake.nix", "hint: "]);
    nothing_published(&world);
}

#[test]
fn no_npc_toml() {
    let world = World::new(&Kind::Directory);
    fs::remove_file(world.path("fleet/npc.toml")).expect("removed");
    world.in_fleet(&["--remote", "prod"]).fails(2, &["no npc.toml", "hint: ", "npc-publish init"]);
    fs::write(world.path("fleet/npc.toml"), "store = 7").expect("written");
    world.in_fleet(&["--remote", "prod"]).fails(2, &["npc.toml` is not in order"]);
}

#[test]
fn an_unreadable_file() {
    let world = World::new(&Kind::Directory);
    let secret = world.path("fleet/hosts/secret.nix");
    fs::write(&secret, "1").expect("written");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("set");
    let mut command = world.command("npc-publish");
    if rustix::process::geteuid().is_root() {
        // Root can read everything; someone else cannot.
        let Some(setpriv) = tool("setpriv") else { return };
        Ended::of(Command::new("chmod").args(["-R", "a+rX"]).arg(world.path(""))).works();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("set");
        let copied = world.path("npc-publish");
        fs::copy(program("npc-publish"), &copied).expect("copied");
        command = Command::new(setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copied);
    }
    command.args(["pack", "--nix", "none", "--output"]);
    command.arg(std::env::temp_dir().join("npc-never-written")).arg("--flake");
    Ended::of(command.arg(world.path("fleet"))).fails(6, &["cannot read `hosts/secret.nix`", "hint: "]);
    assert!(!std::env::temp_dir().join("npc-never-written").exists());
}

#[test]
fn links_that_an_agent_would_refuse() {
    let world = World::new(&Kind::Directory);
    symlink("/etc/passwd", world.path("fleet/hosts/passwd")).expect("linked");
    world.in_fleet(&["--remote", "prod"]).fails(6, &["hosts/passwd` leads out of the flake", "hint: ", "exclude"]);
    nothing_published(&world);
    fs::remove_file(world.path("fleet/hosts/passwd")).expect("removed");
    symlink("nowhere", world.path("fleet/hosts/dangling")).expect("linked");
    world.publish();
}

#[test]
fn a_secret_key_in_the_flake() {
    let world = World::new(&Kind::Directory);
    fs::copy(world.key_file("npc-publish-1"), world.path("fleet/hosts/key")).expect("copied");
    world.in_fleet(&["--remote", "prod"]).fails(6, &["`hosts/key` is a secret key", "hint: move it out"]);
    nothing_published(&world);
}

#[test]
fn a_broken_checkout() {
    let world = World::new(&Kind::Directory);
    fs::write(world.path("fleet/.git"), "gitdir: /nowhere/at/all").expect("written");
    world.in_fleet(&["--remote", "prod"]).fails(6, &["git does not say which files"]);
    nothing_published(&world);
}

#[test]
fn a_store_address_that_makes_no_sense() {
    let world = World::new(&Kind::Directory);
    for (address, words) in [
        ("nonsense", "s3://bucket/prefix"),
        ("ftp://example.org/", "no scheme of a store"),
        ("s3://bucket?regoin=x", "regoin"),
        ("https://user:password@example.org/", "password"),
    ] {
        world.in_fleet(&["--remote", "prod", "--store", address]).fails(2, &[words]);
    }
}

#[test]
fn a_store_that_is_not_there() {
    let world = World::new(&Kind::Directory);
    let there = |address: &str| world.in_fleet(&["--remote", "prod", "--store", address]);
    there("file:///nowhere/at/all").fails(3, &["hint: no fleet lives there"]);
    there("http://127.0.0.1:1/").fails(3, &["cannot read `trust/1.json`", "hint: check the network"]);
    there(&format!("file://{}", world.path("home").display())).fails(3, &["hint: no fleet lives there"]);
    let plain = ["init", "--store", "file:///dev/null/x", "--flake", "."];
    fs::remove_file(world.path("fleet/npc.toml")).expect("removed");
    world.in_fleet(&plain).fails(2, &["cannot make the store"]);
}

#[test]
fn buckets_regions_and_credentials() {
    let Some(garage) = Garage::find() else { return };
    let world = World::new(&Kind::Garage(garage.clone()));
    let good = world.url().to_string();
    let at = |url: &str| world.in_fleet(&["--remote", "prod", "--store", url]);
    at(&good.replace("region=eu-central-1", "region=us-west-7")).fails(3, &["hint: name the bucket's region"]);
    at(&good.replace("my-bucket", "no-such-bucket")).fails(3, &["hint: check the store's address"]);
    let with = |change: &dyn Fn(&mut Command)| {
        let mut command = world.command("npc-publish");
        command.args(["--remote", "prod"]).current_dir(world.path("fleet"));
        change(&mut command);
        Ended::of(&mut command)
    };
    with(&|command| {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env("AWS_EC2_METADATA_DISABLED", "true");
    })
    .fails(3, &["hint: give AWS credentials"]);
    with(&|command| {
        command.env("AWS_SECRET_ACCESS_KEY", "wrong");
    })
    .fails(3, &["hint: check what these credentials"]);
    let no_region = good.replace("region=eu-central-1&", "");
    with(&|command| {
        command.args(["--store", &no_region]).env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
    })
    .fails(3, &["region"]);
}

#[test]
fn keys_that_are_not_what_they_should_be() {
    let world = World::new(&Kind::Directory);
    let file = world.key_file("npc-publish-1");
    let path = file.to_str().expect("plain");
    let publish = |key: &str| world.in_fleet(&["--remote", "prod", "--key", key]);
    publish("/nowhere/key").fails(2, &["cannot read the key file", "hint: "]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("set");
    publish(path).fails(2, &["can be read by others", "hint: `chmod 600"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    let cache = world.path("cache.secret");
    fs::copy(&file, &cache).expect("copied");
    let text = fs::read_to_string(&cache).expect("read").replace("npc-publish-1:", "cache.example.org-1:");
    fs::write(&cache, &text).expect("written");
    let refused = publish(cache.to_str().expect("plain")).fails(2, &["binary cache", "hint: "]);
    let secret = text.split(':').nth(1).expect("a key").trim();
    assert!(!refused.words.contains(secret), "the secret is not repeated");
    fs::write(&cache, "npc-x:AAAA").expect("written");
    publish(cache.to_str().expect("plain")).fails(2, &["64 bytes"]);
    world.npc_publish(&["key", "generate", "cache-1", "--output", "x"]).fails(2, &["npc-"]);
    world.npc_publish(&["key", "generate", "npc-x", "--output", path]).fails(2, &["cannot create the key file"]);
    nothing_published(&world);
}

#[test]
fn a_fleet_is_made_whole_or_not_at_all() {
    let world = World::new(&Kind::Directory);
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    let store = format!("file://{}", elsewhere.display());
    // A flake's directory in which no file can be made, for root neither.
    let made = Ended::of(world.command("npc-publish").args(["init", "--store", &store, "--flake", "/proc"]));
    made.fails(2, &["cannot write to `/proc`", "hint: "]);
    assert!(!elsewhere.join("trust").exists());
}

#[test]
fn a_fleet_is_made_once() {
    let world = World::new(&Kind::Directory);
    let address = world.url().to_string();
    world.in_fleet(&["init", "--store", &address]).fails(2, &["npc.toml` exists already", "hint: "]);
    fs::create_dir(world.path("second")).expect("created");
    let second = world.path("second");
    let init = ["init", "--store", &address, "--flake", second.to_str().expect("plain")];
    world.npc_publish(&init).fails(2, &["a fleet lives at", "hint: "]);
    assert!(!second.join("npc.toml").exists());
    let fleets = fs::read_dir(world.path("home/.config/npc")).expect("listed").count();
    assert_eq!(fleets, 1, "no keys are left of a fleet that was not made");
}

#[test]
fn names_and_arguments() {
    let world = World::new(&Kind::Directory);
    for remote in ["", "Prod", "../prod", "a b", "-x"] {
        let option = format!("--remote={remote}");
        world.in_fleet(&[&option]).fails(2, &["is not a name"]);
    }
    world.in_fleet(&["--remote", "prod", "--expires-in=-1d"]).fails(2, &["before it is made"]);
    world.in_fleet(&[]).fails(2, &["Usage"]);
    let long = "x".repeat(5000);
    world.in_fleet(&["--remote", "prod", "--message", &long]).fails(2, &["4096 bytes"]);
    nothing_published(&world);
}

#[test]
fn an_agents_configuration() {
    let world = World::new(&Kind::Directory);
    let agent = world.command_agent("web-1", "true");
    for (settings, words) in [
        ("remote = \"prod\"\nsurprise = 1", "surprise"),
        ("remote = \"Prod\"", "is not a name"),
        ("", "missing field `remote`"),
        ("remote = \"prod\"\npoll_interval = 0", "poll_interval"),
    ] {
        agent.configure(settings);
        agent.once().fails(2, &["is not in order", words]);
    }
    fs::remove_file(agent.path("agent.toml")).expect("removed");
    agent.once().fails(2, &["cannot read", "hint: "]);
    agent.configure("remote = \"nowhere\"\nconfiguration = \"x\"\n[activation]\ncommand = [\"true\"]");
    agent.once().fails(3, &["cannot read `remotes/nowhere.json`", "hint: check `remote`"]);
    agent.run(&["status"]).works();
    let odd = world.path("a state with spaces");
    let mut command = agent.command();
    Ended::of(command.arg("--state").arg(odd).args(["run", "--once"])).fails(1, &["Nix could not read a flake"]);
}

/// Runs a command with a tiny file system mounted at `place`, noting what files it leaves there.
fn on_a_tiny_disk(world: &World, place: &Path, kilobytes: u32, command: &Command) -> Option<Ended> {
    process::on_a_tiny_disk(place, kilobytes, command, &world.path("left"))
}

fn left(world: &World) -> Vec<String> {
    fs::read_to_string(world.path("left")).expect("listed").lines().map(str::to_owned).collect()
}

#[test]
fn a_full_disk_while_packing() {
    let world = World::new(&Kind::Directory);
    fs::write(world.path("fleet/noise"), noise(1_000_000, 0)).expect("written");
    let place = world.path("tiny");
    let mut command = world.command("npc-publish");
    command.args(["--remote", "prod", "--selection", "tracked"]);
    command.current_dir(world.path("fleet")).env("TMPDIR", &place);
    let Some(ended) = on_a_tiny_disk(&world, &place, 64, &command) else { return };
    ended.fails(6, &["cannot write the archive", "No space left", "hint: make room"]);
    assert!(left(&world).is_empty());
    nothing_published(&world);
}

#[test]
fn a_full_disk_under_the_store() {
    let world = World::new(&Kind::Directory);
    fs::write(world.path("fleet/noise"), noise(1_000_000, 0)).expect("written");
    copy_tree(&world.path("store"), &world.path("seed"));
    let script = format!(
        "cp -r {0}/seed/. {0}/store/; exec {1} --nix none --selection tracked --remote prod",
        world.path("").display(),
        program("npc-publish").display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(world.path("fleet")).env("HOME", world.path("home"));
    let Some(ended) = on_a_tiny_disk(&world, &world.path("store"), 256, &command) else { return };
    ended.fails(3, &["cannot write `archives/", "No space left", "hint: make room"]);
    let left = left(&world);
    assert!(left.iter().all(|path| path.starts_with("trust/") || path == ".lock"), "{left:?}");
}

#[test]
fn a_full_disk_while_unpacking() {
    let world = World::new(&Kind::Directory);
    // Zeros pack well: the download fits on the host's disk, what comes out of it does not.
    fs::write(world.path("fleet/zeros"), vec![0; 3_000_000]).expect("written");
    world.in_fleet(&["--remote", "prod", "--selection", "tracked"]).works();
    let agent = world.command_agent("web-1", "true");
    let mut command = agent.command();
    command.args(["run", "--once"]);
    let Some(ended) = on_a_tiny_disk(&world, &agent.path("state"), 1024, &command) else { return };
    ended.fails(5, &["No space left", "hint: make room"]);
    let left = left(&world);
    let stray: Vec<_> = left.iter().filter(|path| path.contains('/')).collect();
    assert!(stray.is_empty(), "nothing half-unpacked is left: {stray:?}");
    assert!(left.contains(&"journal.json".to_owned()));
}

#[test]
fn a_full_disk_while_downloading() {
    let world = World::new(&Kind::Directory);
    fs::write(world.path("fleet/noise"), noise(3_000_000, 0)).expect("written");
    world.in_fleet(&["--remote", "prod", "--selection", "tracked"]).works();
    let agent = world.command_agent("web-1", "true");
    let mut command = agent.command();
    command.args(["run", "--once"]);
    let Some(ended) = on_a_tiny_disk(&world, &agent.path("state"), 1024, &command) else { return };
    ended.fails(5, &["No space left", "hint: make room"]);
    assert!(left(&world).iter().all(|path| !path.contains('/')), "{:?}", left(&world));
}

#[test]
fn a_full_disk_at_the_agents_first_start() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let mut command = agent.command();
    command.args(["run", "--once"]);
    let Some(ended) = on_a_tiny_disk(&world, &agent.path("state"), 4, &command) else { return };
    ended.fails(1, &["No space left", "hint: make room"]);
}

/// Every mistake is answered with what to do about it.
#[test]
fn mistakes_come_with_a_hint() {
    let world = World::new(&Kind::Directory);
    for arguments in [
        &["remotes", "--store", "nonsense"][..],
        &["remotes", "--store", "s3://"],
        &["--remote", "Not A Name"],
        &["key", "generate", "npc-x", "--output", "npc.toml"],
    ] {
        world.in_fleet(arguments).fails(2, &["hint: "]);
    }
    let config = world.path("fleet/npc.toml");
    let good = fs::read_to_string(&config).expect("read");
    let wrong_store = good.replace(&world.url().to_string(), "nonsense");
    for bad in [wrong_store, format!("exclude = [\"[x\"]\n{good}"), format!("unknown = 1\n{good}")] {
        fs::write(&config, bad).expect("written");
        world.in_fleet(&["--remote", "prod"]).fails(2, &["npc.toml", "hint: "]);
    }
}

#[test]
fn a_token_is_never_sent_in_the_clear() {
    let world = World::new(&Kind::Served);
    let mut command = world.command("npc-publish");
    command.args(["--remote", "prod", "--store", "http://192.0.2.1/"]).current_dir(world.path("fleet"));
    let refused = Ended::of(&mut command).fails(2, &["in the clear"]);
    assert!(!refused.words.contains(TOKEN));
    let mut command = world.command("npc-publish");
    command.env("NPC_STORE_TOKEN", "short").args(["remotes"]).current_dir(world.path("fleet"));
    Ended::of(&mut command).fails(2, &["16 or more"]);
}
