//! Small flakes made to order, packed by npc and evaluated by Nix itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use npc_core::archive::{Limits, unpack};
use serde_json::Value;
use tempfile::TempDir;

use crate::parts::{Nix, program};
use crate::process::{Background, Ended};

/// A file of a flake: its path and its content; a link where the content begins with `-> `.
pub type Entry = (&'static str, &'static str);

/// A flake of two hosts, `web` and `db`, each of which reads a file of its own.
pub const TWO_HOSTS: &str = r#"{ outputs = { self }: let
  host = name: value: { config.system.build.toplevel = derivation {
    inherit name; system = "x86_64-linux"; builder = "/bin/sh"; value = builtins.toJSON value;
  }; };
in { nixosConfigurations = {
  web = host "web" (import ./web.nix);
  db = host "db" (import ./db.nix);
}; }; }"#;

/// A flake, and a Nix store of its own to evaluate it in.
#[derive(Debug)]
pub struct Flake {
    folder: TempDir,
    nix: Nix,
}

/// What packing a flake gave.
#[derive(Debug)]
pub struct Packed {
    /// `npc-publish pack`, ended well.
    pub words: String,
    /// What it printed with `--json`.
    pub json: Value,
    /// The archive.
    pub file: PathBuf,
}

impl Packed {
    /// The derivation of a configuration, according to the release.
    pub fn derivation(&self, name: &str) -> &str {
        self.json["configurations"][name]["drv_path"].as_str().expect("a derivation")
    }

    /// How many configurations were evaluated.
    pub fn evaluated(&self) -> u64 {
        self.json["evaluated"].as_u64().expect("a number")
    }

    /// The archive's digest.
    pub fn digest(&self) -> &str {
        self.json["archive"]["sha256"].as_str().expect("a digest")
    }
}

impl Flake {
    /// A flake of these files.
    pub fn new(nix: &Nix, entries: &[Entry]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let flake = Self { folder, nix: nix.clone() };
        for name in ["nix/conf", "home", "flake"] {
            fs::create_dir_all(flake.path(name)).expect("made");
        }
        let settings = "sandbox = false\nbuild-users-group =\nsubstituters =\n";
        fs::write(flake.path("nix/conf/nix.conf"), settings).expect("written");
        for (path, content) in entries {
            flake.write(path, content);
        }
        flake
    }

    /// The flake of [`TWO_HOSTS`], and a file that no host reads.
    pub fn of_two_hosts(nix: &Nix) -> Self {
        Self::new(nix, &[("flake.nix", TWO_HOSTS), ("web.nix", "1"), ("db.nix", "2"), ("README.md", "docs")])
    }

    /// A path in the flake's folder; the flake itself is in `flake`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the flake.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.path("flake").join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).expect("linked"),
            None => fs::write(path, content).expect("written"),
        }
    }

    fn within(&self, command: &mut Command) {
        command
            .env("HOME", self.path("home"))
            .env_remove("XDG_CACHE_HOME")
            .env("NIX_STORE_DIR", self.path("nix/store"))
            .env("NIX_STATE_DIR", self.path("nix/state"))
            .env("NIX_LOG_DIR", self.path("nix/log"))
            .env("NIX_CONF_DIR", self.path("nix/conf"))
            .env("NIX_REMOTE", "")
            .env("NPC_NIX", self.nix.program());
    }

    /// Runs git in the flake's directory.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]);
        Ended::of(git.arg("-C").arg(self.path("flake")).args(arguments)).works();
    }

    /// Writes a shell script to stand in for a program: `directory` is its own, beside the flake.
    pub fn script(&self, directory: &str, name: &str, text: &str) -> PathBuf {
        let script = self.path(directory).join(name);
        fs::create_dir_all(self.path(directory)).expect("made");
        fs::write(&script, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("set");
        script
    }

    /// `npc-publish` with these arguments in the flake's directory, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("npc-publish"));
        command.args(arguments).current_dir(self.path("flake"));
        self.within(&mut command);
        command
    }

    /// Runs `npc-publish` with these arguments in the flake's directory.
    pub fn npc_publish(&self, arguments: &[&str]) -> Ended {
        self.npc_publish_with(arguments, &[])
    }

    /// Likewise, with more in the environment.
    pub fn npc_publish_with(&self, arguments: &[&str], more: &[(&str, &Path)]) -> Ended {
        Ended::of(self.command(arguments).envs(more.iter().copied()))
    }

    /// Starts it, without waiting for its end.
    pub fn npc_publish_in_background(&self, arguments: &[&str], more: &[(&str, &Path)]) -> Background {
        let mut command = self.command(arguments);
        Background::start(command.envs(more.iter().copied()), &self.path("npc-publish.log"))
    }

    /// The files that `npc-publish` itself opens, one call a line; what it starts is not watched.
    pub fn opened_by_npc(&self, arguments: &[&str]) -> String {
        let trace = self.path("trace");
        let mut strace = Command::new("strace");
        strace.args(["-e", "trace=openat", "-o"]).arg(&trace).arg(program("npc-publish")).args(arguments);
        strace.current_dir(self.path("flake"));
        self.within(&mut strace);
        Ended::of(&mut strace).works();
        fs::read_to_string(trace).expect("a trace")
    }

    /// The hash of a directory of the flake, as Nix takes it.
    pub fn nix_hash(&self, directory: &str) -> String {
        let mut nix = Command::new(self.nix.program());
        nix.args(["--extra-experimental-features", "nix-command flakes", "hash", "path"]);
        nix.arg(self.path("flake").join(directory));
        self.within(&mut nix);
        Ended::of(&mut nix).works().trim().to_owned()
    }

    /// Locks its inputs, as an operator does.
    #[track_caller]
    pub fn lock(&self) {
        self.ask_for_a_lock().works();
    }

    /// Locks its inputs, if it is still a flake. Returns whether it is.
    pub fn try_to_lock(&self) -> bool {
        self.ask_for_a_lock().code == Some(0)
    }

    fn ask_for_a_lock(&self) -> Ended {
        let mut nix = Command::new(self.nix.program());
        nix.args(["--extra-experimental-features", "nix-command flakes", "flake", "lock"]);
        nix.arg(format!("path:{}", self.path("flake").display()));
        self.within(&mut nix);
        Ended::of(&mut nix)
    }

    /// Packs it with a strategy.
    #[track_caller]
    pub fn pack(&self, strategy: &str) -> Packed {
        let file = self.path(&format!("{strategy}.tar.gz"));
        let output = file.to_str().expect("a plain path");
        let ended = self.npc_publish(&["pack", "--selection", strategy, "--json", "--output", output]);
        let words = ended.words.clone();
        Packed { words, json: serde_json::from_str(&ended.works()).expect("JSON"), file }
    }

    /// What a strategy packs: `path` for content, `path (name)` for a name alone; without directories.
    #[track_caller]
    pub fn packs(&self, strategy: &str) -> BTreeSet<String> {
        self.packs_with(&["--selection", strategy])
    }

    /// What is packed with these arguments, likewise.
    #[track_caller]
    pub fn packs_with(&self, arguments: &[&str]) -> BTreeSet<String> {
        let listed = self.npc_publish(&[&["pack", "--json", "--list"], arguments].concat()).works();
        let listed: Vec<Value> = serde_json::from_str(&listed).expect("JSON");
        let described = listed.iter().filter_map(|entry| {
            let path = entry["path"].as_str().expect("a path");
            let full = self.path("flake").join(path);
            let is_directory = full.is_dir() && !full.is_symlink();
            (!is_directory).then(|| if entry["keep"] == "content" { path.to_owned() } else { format!("{path} (name)") })
        });
        described.collect()
    }

    /// What Nix itself makes of a configuration of the flake in `directory`, without npc.
    pub fn evaluate(&self, directory: &Path, name: &str) -> Ended {
        let mut nix = Command::new(self.nix.program());
        nix.args(["--extra-experimental-features", "nix-command flakes", "eval", "--raw", "--no-update-lock-file"]);
        nix.arg(format!(
            "path:{}#nixosConfigurations.{name}.config.system.build.toplevel.drvPath",
            directory.display()
        ));
        self.within(&mut nix);
        // A cache of its own each time: what was evaluated before must not count.
        let cache = tempfile::tempdir().expect("a folder");
        Ended::of(nix.env("XDG_CACHE_HOME", cache.path()))
    }

    /// What Nix makes of a configuration in the archive, unpacked elsewhere.
    #[track_caller]
    pub fn evaluate_packed(&self, packed: &Packed, name: &str) -> String {
        let place = unpacked(packed);
        self.evaluate(&place.path().join("unpacked"), name).works()
    }

    /// Builds a configuration from the archive, unpacked elsewhere. Returns its store path and what is written there.
    #[track_caller]
    pub fn build_packed(&self, packed: &Packed, name: &str) -> (String, String) {
        let place = unpacked(packed);
        let mut nix = Command::new(self.nix.program());
        nix.args(["--extra-experimental-features", "nix-command flakes", "build", "--no-link", "--json"]);
        nix.arg(format!(
            "path:{}#nixosConfigurations.{name}.config.system.build.toplevel",
            place.path().join("unpacked").display()
        ));
        self.within(&mut nix);
        let built: Value = serde_json::from_str(&Ended::of(&mut nix).works()).expect("JSON");
        let output = built[0]["outputs"]["out"].as_str().expect("an output").to_owned();
        let content = fs::read_to_string(&output).expect("a file");
        (output, content)
    }

    /// Does something with a Nix store of the same name that nothing is in, as a new host's.
    pub fn in_an_empty_store<T>(&self, work: impl FnOnce() -> T) -> T {
        let places = ["nix/store", "nix/state"].map(|name| (self.path(name), self.path(&format!("{name}-aside"))));
        for (place, aside) in &places {
            fs::rename(place, aside).expect("put aside");
        }
        let done = work();
        for (place, aside) in &places {
            remove(place);
            fs::rename(aside, place).expect("put back");
        }
        done
    }

    /// What Nix makes of a configuration in the whole tree.
    #[track_caller]
    pub fn evaluate_whole(&self, name: &str) -> String {
        self.evaluate(&self.path("flake"), name).works()
    }
}

fn unpacked(packed: &Packed) -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let archive = File::open(&packed.file).expect("an archive");
    unpack(archive, &place.path().join("unpacked"), Limits::default()).expect("unpacked");
    place
}

/// Removes a Nix store, whose directories may not be written to.
fn remove(store: &Path) {
    let chmod = Command::new("chmod").args(["-R", "u+w"]).arg(store).status();
    assert!(chmod.is_ok_and(|status| status.success()), "chmod {}", store.display());
    fs::remove_dir_all(store).expect("removed");
}
