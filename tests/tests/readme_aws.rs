//! What the README says of AWS: its blocks are those of the examples, its directory is valid to Terraform, and its commands do to a
//! fleet what they say, as far as that can be told without AWS.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use npc_tests::eventually;
use npc_tests::infrastructure::Infrastructure;
use npc_tests::parts::{Nix, program};
use npc_tests::process::Ended;
use npc_tests::readme::{Checkout, blocks, run, text};
use npc_tests::terraform::{Terraform, sources};
use npc_tests::world::{Agent, Kind, World, copy_tree, example};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect("read")
}

/// The README's blocks in this language.
fn blocks_of<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let parts = readme.split(&format!("```{language}\n")).skip(1).collect::<Vec<_>>();
    parts.iter().filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn what_the_readme_shows_is_in_the_examples() {
    let readme = text();
    let shown = blocks_of(&readme, "terraform");
    assert!(!shown.is_empty());
    let example = read("terraform/examples/aws/main.tf");
    for block in shown {
        assert!(example.contains(block), "{block}");
    }
    assert!(blocks_of(&readme, "nix").contains(&read("examples/aws/flake.nix").as_str()), "the flake is shown whole");
}

/// With inputs that make nothing, it names the hosts that Terraform makes.
#[test]
fn the_flake_has_the_hosts_that_terraform_makes() {
    let Some(nix) = Nix::find() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let flake = root().join("examples/aws/flake.nix").canonicalize().expect("there");
    let inputs = "{ nixpkgs = { outPath = \"/nixpkgs\"; lib.nixosSystem = system: system.modules; }; \
                  npc.nixosModules.default = { }; }";
    let names = format!("builtins.attrNames ((import {}).outputs {inputs}).nixosConfigurations", flake.display());
    let mut evaluate = nix.instantiate(folder.path());
    let names = Ended::of(evaluate.args(["--eval", "--strict", "--json", "--expr", &names])).works();
    let names: BTreeSet<String> = serde_json::from_str(&names).expect("JSON");
    let hcl = read("terraform/examples/aws/main.tf");
    let (_, hosts) = hcl.split_once("  hosts = {\n").expect("hosts");
    let (hosts, _) = hosts.split_once("\n  }").expect("an end");
    let hosts = hosts.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned);
    assert_eq!(names, hosts.chain(["worker".to_owned()]).collect());
}

#[test]
fn the_directory_for_aws_is_made_out_of_nothing_and_valid() {
    let Some(terraform) = Terraform::find() else { return };
    let terraform = terraform.with_providers();
    let checkout = Checkout::new();
    copy_tree(&root().join("examples/aws"), &checkout.path("npc/examples/aws"));
    for name in ["modules", "examples"] {
        copy_tree(&sources().join(name), &checkout.path("npc/terraform").join(name));
    }
    let built = checkout.path("npc/target/x86_64-unknown-linux-gnu/release");
    fs::create_dir_all(&built).expect("created");
    fs::copy(program("npc-agent"), built.join("npc-agent")).expect("copied");
    // The AWS provider comes from a registry that cannot be reached here.
    let settings = terraform.settings();
    let made = checkout.run(&blocks()["aws"], &[("TF_CLI_CONFIG_FILE", settings.to_str().expect("a plain path"))]);
    assert!(made.data.contains("The configuration is valid."), "{made:?}");
    made.works();
    let settings = fs::read_to_string(checkout.path("home/.terraformrc")).expect("settings");
    assert!(settings.contains("filesystem_mirror") && settings.contains("direct"), "{settings}");
    // It cannot be planned without AWS, and says by then which values nobody asked for, and which ones are missing.
    let infrastructure = checkout.path("my-aws/infrastructure");
    let planned = || {
        let plan = terraform.run(&infrastructure, &["plan", "-no-color"]);
        format!("{}{}", plan.data, plan.words)
    };
    let (undeclared, missing) = ("undeclared variable", "No value for required variable");
    let said = planned();
    assert!(said.contains("This is not the AWS provider"), "{said}");
    assert!(!said.contains(undeclared) && !said.contains(missing), "{said}");
    let values = infrastructure.join("terraform.tfvars");
    let text = fs::read_to_string(&values).expect("values");
    fs::write(&values, format!("{text}nonsense = 1\n")).expect("written");
    assert!(planned().contains(undeclared));
    fs::remove_file(values).expect("removed");
    assert!(planned().contains(missing));
}

/// The example, with npc's own provider and a store in a directory, on an AWS that makes nothing.
#[test]
fn the_example_on_aws_gives_each_machine_the_script_that_enrols_it() {
    let Some(terraform) = Terraform::find() else { return };
    let terraform = terraform.with_providers();
    let folder = terraform.copy("examples/aws");
    let test = fs::read_to_string(folder.join("tests/aws.tftest.hcl")).expect("a test");
    let (aws, _) =
        test.split_once("# What is made up must still be in order").expect("a provider of npc's that is made up");
    let (flake, agent) = (root().join("examples/fleet").canonicalize().expect("a flake"), program("npc-agent"));
    let store = tempfile::tempdir().expect("a folder");
    let test = format!("{aws}{SCRIPTS}")
        .replace("$STORE", &store.path().display().to_string())
        .replace("$FLAKE", &flake.display().to_string())
        .replace("$AGENT", &agent.display().to_string());
    fs::write(folder.join("tests/aws.tftest.hcl"), test).expect("written");
    terraform.run(&folder, &["init", "-no-color", "-backend=false"]).works();
    // The flake is packed as it is: nothing here hangs on what it evaluates to.
    let tested = Ended::of(terraform.command(&folder, &["test", "-no-color"]).env("NPC_NIX", "none"));
    assert!(tested.data.contains("Success! 1 passed, 0 failed."), "{tested:?}");
    tested.works();
}

const SCRIPTS: &str = r#"
override_module {
  target = module.store
  outputs = {
    url      = "file://$STORE"
    store    = { bucket_arn = "arn:aws:s3:::example-of-a-fleet", prefix = "fleet" }
    policies = { publisher = "{}" }
  }
}

variables {
  bucket     = "example-of-a-fleet"
  subnet_ids = ["subnet-a"]
  flake      = "$FLAKE"
  agent      = "$AGENT"
}

run "scripts" {
  command = apply

  assert {
    condition = keys(data.npc_bootstrap.host) == ["db-1", "web-1", "web-2"] && alltrue([
    for name, host in data.npc_bootstrap.host : strcontains(host.script, "\nhost = \"${name}\"\n")])
    error_message = "Each host is enrolled under its name."
  }

  assert {
    condition = alltrue([for line in ["configuration = \"worker\"", "assignment = \"workers\""] :
    strcontains(data.npc_bootstrap.workers.script, "\n${line}\n")])
    error_message = "A worker is enrolled as one of its group."
  }

  assert {
    condition = alltrue([for script in concat(values(data.npc_bootstrap.host)[*].script, [data.npc_bootstrap.workers.script]) :
    length(script) <= 16384 && strcontains(script, filesha256("$AGENT")) && strcontains(script, npc_fleet.main.root_keys[0])])
    error_message = "A script fits into user data, and has the agent's digest and the fleet's key."
  }
}
"#;

#[test]
fn what_is_applied_is_followed_and_a_change_goes_out_in_stages() {
    let agent = program("npc-agent");
    let variables = |world: &World| {
        let agents = json!({ std::env::consts::ARCH: agent });
        json!({ "store": world.url().to_string(), "flake": "..", "agents": agents })
    };
    let world = || World::without_fleet(&example(), &Kind::Directory);
    let Some(mut infrastructure) = Infrastructure::example(world, "local", variables) else { return };
    infrastructure.replace("web-2 = { remote = \"prod\" }", "web-2 = { remote = \"canary\" }");
    let told = |infrastructure: &Infrastructure, block: &str, directory: &str| {
        let settings = infrastructure.settings();
        let settings = settings.to_str().expect("a plain path");
        let home = infrastructure.world.path("home");
        let more = [("TF_CLI_CONFIG_FILE", settings), ("NPC_NIX", "none")];
        run(block, &infrastructure.world.path(directory), &home, &more)
    };
    // Nobody is there to say yes, nor to wait for hosts that are yet to report.
    let block = blocks()["aws-apply"].replace("terraform apply", "terraform apply -no-color -auto-approve");
    let (apply, status) = block.split_at(block.find("npc-publish status").expect("it is asked for"));
    let applied = told(&infrastructure, apply, "fleet/infrastructure").works();
    assert!(applied.contains("Apply complete! Resources: 7 added"), "{applied}");

    infrastructure.world.adopt_fleet();
    let world = &infrastructure.world;
    let agents = ["web-1", "web-2", "db-1"].map(|name| world.command_agent(name, "true"));
    let _running = agents.each_ref().map(Agent::start);
    eventually("all follow", || (told(&infrastructure, status, "fleet").code == Some(0)).then_some(()));
    world.edit("after a change of the flake\n");
    // Nobody waits for ten minutes here.
    let apply = " apply -no-color -auto-approve";
    let block = blocks()["aws-rollout"].replace("10m", "1s").replace(" apply ", &format!("{apply} "));
    let ended = told(&infrastructure, &block, "fleet");
    assert!(ended.data.contains("\nprod@2\n") && ended.data.contains("No changes."), "{ended:?}");
    ended.works();
    for agent in &agents {
        agent.commits(2);
    }
    let hosts: Value = serde_json::from_str(&world.in_fleet(&["hosts", "--json"]).works()).expect("JSON");
    assert_eq!(hosts.to_string().matches("\"canary\"").count(), 1, "the others are back at prod: {hosts}");
    world.edit("the next change, by Terraform alone\n");
    told(&infrastructure, &format!("terraform -chdir=infrastructure{apply}"), "fleet").works();
    for agent in &agents {
        agent.commits(3);
    }
}
