//! Fleets and groups in HCL: a fleet that is imported, one whose store is made in the same apply, and machines that share an assignment.

use std::fs;

use npc_tests::infrastructure::Infrastructure;
use npc_tests::world::{Agent, Kind, World};

/// As much of a program for `x86_64` as says that it is one: elf(5).
const PROGRAM: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";

/// A store that is made like any other resource: its address is known once it is there.
const STORE: &str = r#"
resource "terraform_data" "bucket" {
  input = "STORE"
}
"#;

/// Everything that lives in a store.
const EVERYTHING: &str = r#"
resource "npc_fleet" "main" {
PLACE_OF_FLEET
}

resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
PLACE
}

resource "npc_host" "web_1" {
  name   = "web-1"
  remote = npc_remote.prod.name
PLACE
}

resource "npc_agent_binary" "this" {
  architecture = "x86_64"
  source       = "../fleet/agent"
PLACE
}

data "npc_remote" "prod" {
  name = npc_remote.prod.name
PLACE
}

data "npc_report" "web_1" {
  host = npc_host.web_1.name
PLACE
}

data "npc_bootstrap" "web_1" {
  host   = npc_host.web_1.name
  remote = npc_remote.prod.name
  agents = { x86_64 = npc_agent_binary.this.sha256 }
PLACE
}

output "fleet" {
  value = npc_fleet.main
}
output "serial" {
  value = data.npc_remote.prod.serial
}
output "standing" {
  value = data.npc_report.web_1.standing
}
output "script" {
  value = data.npc_bootstrap.web_1.script
}
"#;

/// The ways in which HCL says where things live: what it says of the fleet, of everything else, and besides.
const PLACES: [(&str, &str, &str); 3] = [
    ("store = terraform_data.bucket.output", "fleet = npc_fleet.main", ""),
    ("store = terraform_data.bucket.output", "fleet = npc_fleet.main\n  store = terraform_data.bucket.output", ""),
    (
        "provider = npc.late",
        "provider = npc.late\n  fleet = npc_fleet.main",
        "provider \"npc\" {\n  alias = \"late\"\n  store = terraform_data.bucket.output\n}\n",
    ),
];

/// What an output of the fleet says.
fn fleet_output(fleet: &Infrastructure) -> serde_json::Value {
    let outputs = fleet.terraform(&["output", "-json"]).works();
    serde_json::from_str::<serde_json::Value>(&outputs).expect("JSON")["fleet"]["value"].clone()
}

#[test]
fn a_store_that_is_made_in_the_same_apply_is_known_after_it() {
    for (of_fleet, of_others, besides) in PLACES {
        let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), "") else { return };
        fs::write(fleet.world.path("fleet/agent"), PROGRAM).expect("written");
        // Nothing else says which fleet is meant.
        fs::remove_file(fleet.world.path("fleet/npc.toml")).expect("removed");
        let store = format!("file://{}", fleet.world.path("made").display());
        let everything = EVERYTHING.replace("PLACE_OF_FLEET", of_fleet).replace("PLACE", of_others);
        fleet.says(&format!("{}{besides}{everything}", STORE.replace("STORE", &store)));
        fleet.plans(&["5 to add", "id = (known after apply)", "store = (known after apply)", "+ \"flake.nix\" ="]);
        assert!(!fleet.world.path("made").exists(), "a plan makes nothing");
        let applied = fleet.apply();
        assert_eq!(applied.code, Some(0), "{of_fleet} {of_others}: {applied:?}");
        fleet.plans_nothing();
        assert_eq!(fleet.output("serial"), "1");
        assert_eq!(fleet.output("standing"), "unknown");
        assert!(fleet.output("script").contains(&store), "{}", fleet.output("script"));
        for object in ["trust/1.json", "remotes/prod.json", "assignments/web-1.json"] {
            assert!(fleet.world.path("made").join(object).exists(), "{object}");
        }
        fleet.terraform(&["destroy", "-auto-approve"]).works();
    }
}

#[test]
fn a_fleet_that_another_apply_has_made_is_imported_by_what_describes_it() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), "") else { return };
    let store = format!("file://{}", fleet.world.path("made").display());
    let hcl = format!(
        "resource \"npc_fleet\" \"main\" {{\n  store = \"{store}\"\n}}\noutput \"fleet\" {{\n  value = npc_fleet.main\n}}\n"
    );
    fleet.says(&hcl);
    fleet.apply().works();
    let made = fleet_output(&fleet);
    fs::remove_file(fleet.world.path("infrastructure/terraform.tfstate")).expect("removed");
    // To make it again would be to make another, where one lives already.
    fleet.apply().fails(1, &["A fleet lives there already", "terraform import", "main.tf line"]);

    let described = made["npc_toml"].as_str().expect("a description").to_owned();
    fs::create_dir(fleet.world.path("described")).expect("created");
    fleet.terraform(&["import", "npc_fleet.main", "../described"]).fails(1, &["there is no npc.toml"]);
    fs::write(fleet.world.path("described/npc.toml"), &described).expect("written");
    fleet.terraform(&["import", "npc_fleet.main", "../described"]).works();
    fleet.plans_nothing();
    fleet.apply().works();
    assert_eq!(fleet_output(&fleet), made);

    // What describes a fleet that is not there is not believed.
    fs::remove_file(fleet.world.path("infrastructure/terraform.tfstate")).expect("removed");
    let another = described.replace("/made", "/nowhere");
    fs::write(fleet.world.path("described/npc.toml"), another).expect("written");
    fleet.terraform(&["import", "npc_fleet.main", "../described"]).fails(1, &["trust/1.json"]);
}

const GROUP: &str = r#"
resource "npc_remote" "this" {
  for_each = toset(["prod", "canary"])

  name  = each.key
  flake = "../fleet"
}

resource "npc_host" "workers" {
  name          = "workers"
  remote        = npc_remote.this["prod"].name
  configuration = "web-1"
  shared        = true
}
"#;

const REPORTS: &str = r#"
data "npc_report" "worker" {
  for_each = toset(["workers-i-0a", "workers-i-0b"])

  host     = each.key
  wait_for = "current"
  timeout  = 60

  depends_on = [npc_host.workers]
}

output "workers" {
  value = join(" ", [for name, report in data.npc_report.worker : "${name}=${report.remote}:${report.standing}"])
}
"#;

/// A machine of the group, which is known by its instance's id and comes and goes.
fn worker<'world>(world: &'world World, configuration: &str, id: &str) -> Agent<'world> {
    let agent = world.command_agent(configuration, "true");
    agent.configure(&format!(
        "remote = \"prod\"\nconfiguration = \"web-1\"\nassignment = \"workers\"\nhost = \"workers-{id}\"\npoll_interval = 1\n\
         [report]\nephemeral = true\n[probation]\nsettle = 0\nstore = 10\n[activation]\ncommand = [\"true\"]"
    ));
    agent
}

#[test]
fn machines_that_share_an_assignment_move_together() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), GROUP) else { return };
    fleet.apply().works();
    fleet.plans_nothing();
    let agents = [worker(&fleet.world, "web-1", "i-0a"), worker(&fleet.world, "web-2", "i-0b")];
    let _running = agents.each_ref().map(Agent::start);
    for agent in &agents {
        agent.commits(1);
    }
    let group = format!("{GROUP}{REPORTS}");
    fleet.says(&group);
    fleet.apply().works();
    assert_eq!(fleet.output("workers"), "workers-i-0a=prod:current workers-i-0b=prod:current");
    fleet.plans_nothing();

    let moved = group.replace("npc_remote.this[\"prod\"].name", "npc_remote.this[\"canary\"].name");
    fleet.says(&moved);
    fleet.plans(&["~ remote = \"prod\" -> \"canary\"", "0 to add, 1 to change, 0 to destroy"]);
    fleet.apply().works();
    assert_eq!(fleet.output("workers"), "workers-i-0a=canary:current workers-i-0b=canary:current");
    fleet.plans_nothing();
    let status = fleet.publisher(&["status", "--json"]).works();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let hosts = status["hosts"].as_array().expect("hosts");
    let seen: Vec<_> =
        hosts.iter().map(|host| (&host["host"], &host["assignment"], &host["follows"]["remote"])).collect();
    let (workers, canary) = ("workers".into(), "canary".into());
    let expected = ["workers-i-0a".into(), "workers-i-0b".into()];
    assert_eq!(seen, expected.each_ref().map(|host| (host, &workers, &canary)), "the group itself is no host");
}
