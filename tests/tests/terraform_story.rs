//! From HCL to a host that runs what it describes, and follows what is applied later.

use std::fs;

use npc_core::digest::Digest;
use npc_tests::eventually;
use npc_tests::host::{self, AGENT, Host};
use npc_tests::infrastructure::Infrastructure;
use npc_tests::parts::{HostBase, program};
use npc_tests::world::Kind;

const HCL: &str = r#"
resource "npc_remote" "this" {
  for_each = toset(["prod", "canary"])

  name  = each.key
  flake = "../fleet"
}

resource "npc_agent_binary" "this" {
  architecture = "ARCHITECTURE"
  source       = "PROGRAM"
}

resource "npc_host" "host" {
  name   = "host"
  remote = npc_remote.this["prod"].name
}

data "npc_bootstrap" "host" {
  host   = npc_host.host.name
  remote = npc_remote.this["prod"].name
  agents = { ARCHITECTURE = npc_agent_binary.this.sha256 }
}

output "user_data" {
  value = data.npc_bootstrap.host.script
}
"#;

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

fn comes_to_run(host: &Host, unit: &str) {
    eventually(&format!("{unit} runs"), || (host.unit_state(unit) == "active").then_some(()));
}

#[test]
fn a_bare_machine_becomes_the_host_that_hcl_describes_and_follows_every_apply() {
    let Some(base) = HostBase::find() else { return };
    let agent = program("npc-agent");
    let hcl = HCL.replace("ARCHITECTURE", std::env::consts::ARCH).replace("PROGRAM", &agent.display().to_string());
    let Some(infrastructure) = Infrastructure::beside(|| host::world(&Kind::Served), &hcl) else { return };
    let world = &infrastructure.world;
    world.system().unit("first.service", GOOD).choose(world);
    infrastructure.apply().works();
    infrastructure.plans_nothing();

    // The machine has no curl; it finds what the store has as binaries in a directory.
    let host = Host::boot(&base, world, &world.system().without_agent());
    fs::create_dir(host.folder().join("programs/binaries")).expect("created");
    host.add_program(&format!("binaries/{}", Digest::of(&fs::read(&agent).expect("the agent"))), &agent);
    let script = infrastructure.output("user_data");
    let store = script.lines().find(|line| line.starts_with("NPC_STORE=")).expect("a store");
    host.write("/root/user-data", &script.replace(store, "NPC_STORE='file:///opt/npc/'"));
    host.run(["sh", "/root/user-data"]).works();
    comes_to_run(&host, "first.service");
    comes_to_run(&host, AGENT);
    host.commits(1);

    // A change of the flake.
    world.system().unit("second.service", GOOD).choose(world);
    infrastructure.plans(&["~ \"choices.json\" =", "2 to change"]);
    infrastructure.apply().works();
    comes_to_run(&host, "second.service");
    host.commits(2);

    // A change of one word: the canary is ahead, and the host moves there.
    infrastructure
        .says(&hcl.replace("npc_remote.this[\"prod\"].name\n}\n\ndata", "npc_remote.this[\"canary\"].name\n}\n\ndata"));
    infrastructure.plans(&["~ remote = \"prod\" -> \"canary\"", "0 to add, 1 to change, 0 to destroy"]);
    infrastructure.apply().works();
    infrastructure.plans_nothing();
    let follows = || host.run(["/opt/npc/npc-agent", "status", "--json"]).data;
    eventually("it follows the canary", || follows().contains("canary").then_some(()));

    infrastructure.terraform(&["destroy", "-auto-approve"]).works();
    let held = infrastructure.publisher(&["remotes", "--json"]).works();
    assert_eq!(held.matches("\"removed\": true").count(), 2, "{held}");
    assert_eq!(host.unit_state("second.service"), "active", "nobody is led nowhere");
}
