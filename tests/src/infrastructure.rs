//! A fleet that HCL describes: Terraform with npc's provider, beside a world.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::parts::{Nix, program, tool};
use crate::process::Ended;
use crate::terraform::sources;
use crate::world::World;

/// A directory beside a world's flake.
const BESIDE: &str = "infrastructure";

/// A directory with HCL beside a world's flake, or in it.
#[derive(Debug)]
pub struct Infrastructure {
    /// The world.
    pub world: World,
    directory: PathBuf,
    terraform: PathBuf,
    nix: Option<Nix>,
}

impl Infrastructure {
    /// What this HCL describes, in a directory beside the flake of a world that is made only where there is Terraform. The provider
    /// is the one that cargo has built.
    pub fn beside(world: impl FnOnce() -> World, hcl: &str) -> Option<Self> {
        let infrastructure = Self::with_built_provider(world, BESIDE)?;
        infrastructure.says(hcl);
        Some(infrastructure)
    }

    /// A copy of an example from `terraform/examples` in such a flake, in its directory `infrastructure`, with values for the
    /// example's variables.
    pub fn example(world: impl FnOnce() -> World, name: &str, variables: impl FnOnce(&World) -> Value) -> Option<Self> {
        let infrastructure = Self::with_built_provider(world, "fleet/infrastructure")?;
        for file in fs::read_dir(sources().join("examples").join(name)).expect("an example") {
            let file = file.expect("listed").path();
            if file.extension().is_some_and(|extension| extension == "tf") {
                fs::copy(&file, infrastructure.path(file.file_name().expect("a name"))).expect("copied");
            }
        }
        let variables = variables(&infrastructure.world).to_string();
        fs::write(infrastructure.path("terraform.tfvars.json"), variables).expect("written");
        Some(infrastructure)
    }

    fn with_built_provider(world: impl FnOnce() -> World, directory: &str) -> Option<Self> {
        let providers = program("terraform-provider-npc");
        let providers = providers.parent().expect("a directory").display().to_string();
        let settings = format!("provider_installation {{\n  dev_overrides {{ \"npc/npc\" = {providers:?} }}\n}}\n");
        Self::with_settings(world, directory, |_| settings)
    }

    /// Evaluates with this Nix what is published.
    #[must_use]
    pub fn evaluating(mut self, nix: &Nix) -> Self {
        self.nix = Some(nix.clone());
        self
    }

    /// A path in its directory.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    /// Terraform's settings, for one that others run.
    pub fn settings(&self) -> PathBuf {
        self.world.path("terraform.rc")
    }

    /// An empty directory beside the flake of such a world, and the provider in a mirror that it has written itself.
    pub fn installed(world: impl FnOnce() -> World) -> Option<Self> {
        Self::with_settings(world, BESIDE, |world| {
            let mut mirror = Command::new(program("terraform-provider-npc"));
            let settings = Ended::of(mirror.arg("mirror").arg(world.path("mirror"))).works();
            // Nothing else is to be had here, and nothing else may be asked for.
            settings.replace("  direct {", "  network_mirror {\n    url = \"https://localhost:1/\"")
        })
    }

    fn with_settings(
        world: impl FnOnce() -> World,
        directory: &str,
        settings: impl FnOnce(&World) -> String,
    ) -> Option<Self> {
        let terraform = tool("terraform")?;
        let world = world();
        let directory = world.path(directory);
        fs::create_dir(&directory).expect("created");
        let infrastructure = Self { world, directory, terraform, nix: None };
        fs::write(infrastructure.settings(), settings(&infrastructure.world)).expect("written");
        Some(infrastructure)
    }

    /// Describes this from now on.
    pub fn says(&self, hcl: &str) {
        let provider = "terraform {\n  required_providers {\n    npc = { source = \"npc/npc\" }\n  }\n}\n\
                        provider \"npc\" {\n  flake = \"../fleet\"\n}\n";
        fs::write(self.path("main.tf"), format!("{provider}{hcl}")).expect("written");
    }

    /// Changes one place in what is described.
    #[track_caller]
    pub fn replace(&self, from: &str, to: &str) {
        let hcl = fs::read_to_string(self.path("main.tf")).expect("read");
        assert_eq!(hcl.matches(from).count(), 1, "`{from}` in: {hcl}");
        fs::write(self.path("main.tf"), hcl.replace(from, to)).expect("written");
    }

    /// Terraform with these arguments, with what `npc-publish` has in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // What it needs is what `npc-publish` needs.
        let publisher = self.world.command("npc-publish");
        let mut command = Command::new(&self.terraform);
        // `providers schema` is the one of them that has two words.
        let (subcommand, arguments) = arguments.split_at(if arguments[0] == "providers" { 2 } else { 1 });
        command.args(subcommand).arg("-no-color").args(arguments).current_dir(self.path(""));
        for (name, value) in publisher.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(nix) = &self.nix {
            command.env("NPC_NIX", nix.program());
        }
        command.env("TF_CLI_CONFIG_FILE", self.settings()).env("CHECKPOINT_DISABLE", "1");
        command.env("TF_IN_AUTOMATION", "1").env("TF_INPUT", "0").env("RUST_BACKTRACE", "1");
        command
    }

    /// Runs Terraform; what it says is in one line.
    pub fn terraform(&self, arguments: &[&str]) -> Ended {
        flat(&Ended::of(&mut self.command(arguments)))
    }

    /// Applies what is described.
    pub fn apply(&self) -> Ended {
        self.terraform(&["apply", "-auto-approve"])
    }

    /// Plans, and finds these parts in what is said.
    #[track_caller]
    pub fn plans(&self, parts: &[&str]) -> String {
        let ended = self.terraform(&["plan"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let said = format!("{} {}", ended.data, ended.words);
        for part in parts {
            assert!(said.contains(part), "no `{part}` in: {said}");
        }
        said
    }

    /// There is nothing left to do.
    #[track_caller]
    pub fn plans_nothing(&self) {
        self.plans(&["No changes."]);
    }

    /// Runs `npc-publish` on the flake.
    pub fn publisher(&self, arguments: &[&str]) -> Ended {
        self.world.in_fleet(arguments)
    }

    /// An output's text.
    pub fn output(&self, name: &str) -> String {
        Ended::of(&mut self.command(&["output", "-raw", name])).works()
    }

    /// An output that is more than a text.
    pub fn output_value(&self, name: &str) -> Value {
        serde_json::from_str(&Ended::of(&mut self.command(&["output", "-json", name])).works()).expect("JSON")
    }
}

/// Long sentences are wrapped, and what belongs together is marked.
pub fn flat(ended: &Ended) -> Ended {
    let flat = |text: &str| text.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    Ended { data: flat(&ended.data), words: flat(&ended.words), code: ended.code }
}
