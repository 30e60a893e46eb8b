//! The repository as a flake, as far as that can be told without nixpkgs.

use std::collections::BTreeSet;
use std::ops::Index;
use std::path::{Path, PathBuf};
use std::process::Command;

use npc_tests::parts::{Nix, nixpkgs_lib, tool};
use npc_tests::process::Ended;
use serde_json::{Value, json};
use tempfile::TempDir;
use walkdir::WalkDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// What the flake comes to by nixpkgs' own lib. That takes a newer Nix: the sources of packages are chosen by `lib.fileset`.
struct Outputs {
    value: Value,
    /// The Nix store that the sources are in.
    _folder: TempDir,
}

impl Outputs {
    fn find() -> Option<Self> {
        let (nix, library) = (Nix::find_newer()?, nixpkgs_lib()?);
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = nix.instantiate(folder.path());
        command.args(["--eval", "--read-write-mode", "--strict", "--json"]).arg(root().join("tests/nixos/flake.nix"));
        command.arg("--argstr").arg("library").arg(library);
        command.arg("--argstr").arg("flake").arg(root().join("flake.nix"));
        let value = serde_json::from_str(&Ended::of(&mut command).works()).expect("JSON");
        Some(Self { value, _folder: folder })
    }
}

impl Index<&str> for Outputs {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        &self.value[name]
    }
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("a set").keys().map(String::as_str).collect()
}

#[test]
fn the_flake_has_programs_for_both_architectures_modules_and_checks() {
    let Some(outputs) = Outputs::find() else { return };
    for system in ["x86_64-linux", "aarch64-linux"] {
        let packages = &outputs["packages"][system];
        for name in ["npc-agent", "npc-publish", "terraform-provider-npc"] {
            assert_eq!(packages[name], format!("rust {name}"), "{system}");
        }
        for name in ["npc-agent-static", "npc-agent-static-x86_64", "npc-agent-static-aarch64"] {
            assert_eq!(packages[name], "static npc-agent", "{system}");
        }
    }
    assert_eq!(outputs["modules"], json!(["agent", "default", "host"]));
    assert_eq!(outputs["overlay"], json!(["npc-agent", "npc-publish", "terraform-provider-npc"]));
    let checks = names(&outputs["checks"]);
    for check in ["npc-agent", "settings", "options", "format", "vm-follow", "vm-private-input"] {
        assert!(checks.contains(check), "{check}: {checks:?}");
    }
    let documented = outputs["documented"].as_array().expect("options");
    assert!(documented.contains(&json!("services.npc-agent.settings.build.netrc_file")), "{documented:?}");
    assert!(outputs["demo"].as_str().is_some_and(|program| program.ends_with("/bin/npc-demo")));
}

#[test]
fn terraform_finds_the_provider_where_nixpkgs_has_providers() {
    let Some(outputs) = Outputs::find() else { return };
    let provider = &outputs["provider"];
    assert_eq!(provider["passthru"]["provider-source-address"], "registry.terraform.io/npc/npc");
    let (version, steps) = (env!("CARGO_PKG_VERSION"), provider["postInstall"].as_str().expect("steps"));
    let directory = format!("$out/libexec/terraform-providers/registry.terraform.io/npc/npc/{version}/linux_amd64");
    assert!(steps.contains(&directory) && steps.contains(&format!("/terraform-provider-npc_{version}")), "{steps}");
    let links =
        steps.lines().any(|line| line.starts_with("ln -s ") && line.ends_with(" $out/bin/terraform-provider-npc"));
    assert!(links, "the page says to call it: {steps}");
}

#[test]
fn packages_are_built_from_all_that_cargo_looks_for() {
    let Some(outputs) = Outputs::find() else { return };
    let source = outputs["provider"]["src"].as_str().expect("a path");
    let cargo = std::env::var_os("CARGO").expect("cargo runs tests");
    let metadata = |directory: &Path| -> BTreeSet<String> {
        let mut command = Command::new(&cargo);
        command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(directory);
        let metadata: Value = serde_json::from_str(&Ended::of(&mut command).works()).expect("JSON");
        let packages = metadata["packages"].as_array().expect("packages").iter();
        packages.map(|package| package["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(metadata(Path::new(source)), metadata(&root()));
}

#[test]
fn what_the_tests_in_machines_do_is_a_program() {
    let (Some(outputs), Some(python)) = (Outputs::find(), tool("python3")) else { return };
    let tests = names(&outputs["tests"]);
    assert_eq!(tests.iter().copied().collect::<Vec<_>>(), ["vm-follow", "vm-private-input"]);
    for test in tests {
        let test = &outputs["tests"][test];
        let script = test["script"].as_str().expect("a script");
        Ended::of(Command::new(&python).args(["-c", "import ast, sys; ast.parse(sys.argv[1])", script])).works();
        assert_eq!(test["settings"]["web"]["host"], "web", "the host has an agent");
        // What the script publishes, the operator's Nix must know.
        let present: Vec<_> = test["present"].as_array().expect("paths").iter().filter_map(Value::as_str).collect();
        let published = script.split('"').map(|text| text.trim_matches(['\'', '\\']));
        let published: Vec<_> = published.filter(|text| text.starts_with("/nix/store/")).collect();
        let systems = published.iter().filter(|path| !path.ends_with("-fleet"));
        assert!(systems.clone().count() > 0 && systems.clone().all(|path| present.contains(path)), "{published:?}");
    }
}

#[test]
fn the_lock_holds_the_flakes_inputs_and_no_others() {
    let Some(nix) = Nix::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = nix.instantiate(folder.path());
    let inputs = format!("(import {}).inputs", root().join("flake.nix").display());
    let inputs = Ended::of(command.args(["--eval", "--strict", "--json", "--expr", &inputs])).works();
    let inputs: Value = serde_json::from_str(&inputs).expect("JSON");
    let lock = std::fs::read_to_string(root().join("flake.lock")).expect("a lock");
    let lock: Value = serde_json::from_str(&lock).expect("JSON");
    assert_eq!(names(&lock["nodes"]["root"]["inputs"]), names(&inputs));
    for (name, input) in inputs.as_object().expect("inputs") {
        let original = &lock["nodes"][name]["original"];
        let part = |part: &str| original[part].as_str().expect("a word");
        let url = format!("{}:{}/{}/{}", part("type"), part("owner"), part("repo"), part("ref"));
        assert_eq!(input["url"], url);
        let locked = &lock["nodes"][name]["locked"];
        assert!(locked["rev"].as_str().is_some_and(|rev| rev.len() == 40), "{locked}");
        assert!(locked["narHash"].as_str().is_some_and(|hash| hash.starts_with("sha256-")), "{locked}");
        assert!(locked["lastModified"].is_u64(), "{locked}");
    }
}

#[test]
fn every_nix_file_of_the_repository_is_nix() {
    let Some(nix) = Nix::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let directories = ["nixos", "tests/nixos", "tests/systems", "examples"].map(|name| root().join(name));
    let files = directories.iter().flat_map(WalkDir::new).map(|entry| entry.expect("an entry").into_path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "nix"));
    let files: Vec<_> = files.chain([root().join("flake.nix")]).collect();
    assert!(files.len() > 15, "{files:?}");
    Ended::of(nix.instantiate(folder.path()).arg("--parse").args(&files)).works();
}
