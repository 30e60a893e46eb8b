//! The README's blocks of commands, and what they are run in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::parts::{ACCESS_KEY, SECRET_KEY, program};
use crate::process::Ended;
use crate::world::{copy_tree, example};

/// The README.
pub fn text() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("a README")
}

/// The shell blocks by the name in the comment above them; those of one name belong together, in their order. Blocks without a
/// name have the name "".
pub fn blocks() -> BTreeMap<String, String> {
    let text = text();
    let mut blocks: BTreeMap<String, String> = BTreeMap::new();
    let (mut name, mut inside) = (String::new(), false);
    for line in text.lines() {
        if let Some(test) = line.strip_prefix("<!-- test: ") {
            test.trim_end_matches(" -->").clone_into(&mut name);
        } else if line == "```sh" {
            inside = true;
        } else if line.starts_with("```") {
            if inside {
                name.clear();
            }
            inside = false;
        } else if inside {
            let block = blocks.entry(name.clone()).or_default();
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

/// Runs a block with `sh -eu` in `directory`, with the built programs on the PATH.
pub fn run(block: &str, directory: &Path, home: &Path, more: &[(&str, &str)]) -> Ended {
    let programs = program("npc-publish");
    let programs = fs::canonicalize(programs.parent().expect("a directory")).expect("there");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(programs).chain(std::env::split_paths(&path))).expect("a path");
    let mut shell = Command::new("sh");
    shell.args(["-euc", block]).current_dir(directory).env("PATH", path).env("HOME", home);
    shell.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    shell.env_remove("XDG_CACHE_HOME").env_remove("XDG_CONFIG_HOME");
    // A Nix store of its own, beside the home.
    let nix = |name: &str| home.join("nix").join(name);
    fs::create_dir_all(nix("conf")).expect("made");
    fs::write(nix("conf/nix.conf"), "sandbox = false\nbuild-users-group =\nsubstituters =\n").expect("written");
    for (variable, name) in [("STORE", "store"), ("STATE", "state"), ("LOG", "log"), ("CONF", "conf")] {
        shell.env(format!("NIX_{variable}_DIR"), nix(name));
    }
    shell.env("NIX_REMOTE", "").envs(more.iter().copied());
    Ended::of(&mut shell)
}

/// A folder with a git checkout in it, as far as the blocks need it, and a home.
#[derive(Debug)]
pub struct Checkout(TempDir);

impl Checkout {
    /// A checkout of the examples, in `npc` in a new folder.
    #[expect(clippy::new_without_default, reason = "it makes files")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clone = folder.path().join("npc");
        copy_tree(&example(), &clone.join("examples/fleet"));
        fs::create_dir(folder.path().join("home")).expect("created");
        for arguments in [
            &["init", "-q"][..],
            &["add", "."],
            &["-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-qm", "all"],
        ] {
            let mut git = Command::new("git");
            Ended::of(git.args(arguments).current_dir(&clone).env("GIT_CONFIG_GLOBAL", "/dev/null")).works();
        }
        Self(folder)
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a block where a reader of the README runs it.
    pub fn run(&self, block: &str, more: &[(&str, &str)]) -> Ended {
        run(block, &self.path("npc"), &self.path("home"), more)
    }
}
