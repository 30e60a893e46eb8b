//! Our NixOS modules, evaluated by Nix: with what stands in for nixpkgs' lib, and with that itself where it is at hand.

use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::parts::{NIXPKGS_LIB, Nix, nixpkgs_lib};
use crate::process::Ended;

/// What stands in for nixpkgs' lib.
const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/nixos/lib.nix");

/// Nix, with what the modules are evaluated by: the stand-in, and nixpkgs' own lib where that is at hand.
#[derive(Debug)]
pub struct Modules {
    nix: Nix,
    libraries: Vec<PathBuf>,
    folder: TempDir,
}

impl Modules {
    /// What there is of it, or a loud skip.
    pub fn find() -> Option<Self> {
        let nix = Nix::find()?;
        let own = std::env::var_os(NIXPKGS_LIB).is_some().then(nixpkgs_lib).flatten();
        let libraries = iter::once(STAND_IN.into()).chain(own).collect();
        Some(Self { nix, libraries, folder: tempfile::tempdir().expect("a folder") })
    }

    /// The Nix store that the evaluation takes for its own.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("STORE")
    }

    /// A directory that is gone with the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program that evaluates.
    pub fn nix_instantiate(&self) -> Command {
        self.nix.instantiate(self.folder.path())
    }

    fn evaluate_by(&self, library: &Path, definitions: &Value) -> Ended {
        let mut command = self.nix_instantiate();
        command.args(["--eval", "--strict", "--json", "--argstr", "definitions", &definitions.to_string()]);
        Ended::of(command.arg("--argstr").arg("library").arg(library).arg(file("evaluate.nix")))
    }

    /// What the modules make of these definitions: the same, whichever lib it is.
    #[track_caller]
    pub fn make_of(&self, definitions: &Value) -> Value {
        let evaluate = |library: &PathBuf| {
            serde_json::from_str::<Value>(&self.evaluate_by(library, definitions).works()).expect("JSON")
        };
        let mut made: Vec<Value> = self.libraries.iter().map(evaluate).collect();
        for other in &made[1..] {
            assert_eq!(*other, made[0], "nixpkgs' lib and its stand-in differ");
        }
        made.swap_remove(0)
    }

    /// What they make of an agent with these options.
    #[track_caller]
    pub fn make_of_agent(&self, options: Value) -> Value {
        self.make_of(&agent(options))
    }

    /// They must be refused, with this word.
    #[track_caller]
    pub fn refuse(&self, definitions: &Value, word: &str) {
        for library in &self.libraries {
            self.evaluate_by(library, definitions).fails(1, &[word]);
        }
    }

    /// The settings as the module declares them: of each, its `default` to the agent, an `example` of something else, or its
    /// `description`.
    #[track_caller]
    pub fn declared(&self, what: &str) -> Value {
        let expression = format!(
            "let settings = import {} {{ lib = import {STAND_IN}; }}; \
             values = builtins.mapAttrs (_: value: if value ? description then value.{what} else values value); in values settings",
            file("../../nixos/settings.nix").display()
        );
        let mut command = self.nix_instantiate();
        let json = Ended::of(command.args(["--eval", "--strict", "--json", "--expr", &expression])).works();
        serde_json::from_str(&json).expect("JSON")
    }
}

/// A file of those that the tests have for this.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nixos").join(name)
}

/// The definitions of a host with an agent that has these options.
pub fn agent(mut options: Value) -> Value {
    options["enable"] = true.into();
    json!({ "services": { "npc-agent": options } })
}

/// The messages of the assertions that do not hold.
pub fn complaints(made: &Value) -> Vec<&str> {
    let assertions = made["assertions"].as_array().expect("assertions").iter();
    assertions.filter(|one| one["assertion"] == false).map(|one| one["message"].as_str().expect("a message")).collect()
}
