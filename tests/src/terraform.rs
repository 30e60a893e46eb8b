//! Terraform: copies of this repository's modules and examples in a temp folder, and providers from a folder in place of a registry.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::parts::{program, tool};
use crate::process::Ended;

/// The version of the AWS provider that `terraform/aws-stub` stands in for.
const AWS_VERSION: &str = "6.45.0";

/// A Terraform that reaches no network.
#[derive(Debug)]
pub struct Terraform {
    program: PathBuf,
    folder: TempDir,
}

impl Terraform {
    /// The one on the PATH, with copies of everything in `terraform/` that is HCL, or a loud skip.
    pub fn find() -> Option<Self> {
        let terraform = Self { program: tool("terraform")?, folder: tempfile::tempdir().expect("a folder") };
        for file in WalkDir::new(sources()).into_iter().filter_entry(|entry| entry.file_name() != ".terraform") {
            let file = file.expect("read").into_path();
            if file.extension().is_some_and(|extension| extension == "tf" || extension == "hcl") {
                let copy = terraform.path("copy").join(file.strip_prefix(sources()).expect("below it"));
                fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
                fs::copy(&file, copy).expect("copied");
            }
        }
        fs::create_dir_all(terraform.path("mirror")).expect("made");
        terraform.write_settings();
        Some(terraform)
    }

    /// Has `terraform init` find npc's own provider, and the one that serves the AWS provider's schema.
    #[must_use]
    pub fn with_providers(self) -> Self {
        let target = format!("{}_{}", std::env::consts::OS, architecture());
        for (address, version, name) in [
            ("hashicorp/aws", AWS_VERSION, "terraform-provider-aws"),
            ("npc/npc", env!("CARGO_PKG_VERSION"), "terraform-provider-npc"),
        ] {
            let place = Path::new("registry.terraform.io").join(address).join(version).join(&target);
            let place = self.path("mirror").join(place);
            fs::create_dir_all(&place).expect("made");
            symlink(program(name), place.join(name)).expect("linked");
        }
        self
    }

    /// A path in the temp folder.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The copy of a folder below `terraform/`.
    pub fn copy(&self, name: &str) -> PathBuf {
        self.path("copy").join(name)
    }

    /// Its settings, for a Terraform that others run.
    pub fn settings(&self) -> PathBuf {
        self.path("settings.tfrc")
    }

    /// Installs providers from the mirror alone.
    fn write_settings(&self) {
        let mirror = self.path("mirror");
        let settings =
            format!("provider_installation {{\n  filesystem_mirror {{\n    path = {:?}\n  }}\n}}\n", mirror.display());
        fs::write(self.settings(), settings).expect("written");
    }

    /// Runs it in a folder.
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(folder, arguments))
    }

    /// The command that runs it in a folder.
    pub fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(folder).env("HOME", self.folder.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TF_")) {
            command.env_remove(name);
        }
        command
            .env("TF_CLI_CONFIG_FILE", self.settings())
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("CHECKPOINT_DISABLE", "1");
        command
    }

    /// What a module without providers gives for these variables.
    pub fn render(&self, module: &str, variables: &Value) -> Value {
        let folder = self.copy(module);
        fs::write(folder.join("terraform.tfvars.json"), variables.to_string()).expect("written");
        self.run(&folder, &["init", "-no-color"]).works();
        self.run(&folder, &["apply", "-no-color", "-auto-approve"]).works();
        let outputs = self.run(&folder, &["output", "-json"]).works();
        serde_json::from_str(&outputs).expect("JSON")
    }
}

/// Where the originals are.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../terraform")
}

/// The machine's architecture as Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
