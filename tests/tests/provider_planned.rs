//! The Terraform provider between a plan and its apply: what nobody has seen is not published, and nothing else is in the way.

use std::fs;

use npc_tests::infrastructure::{Infrastructure, flat};
use npc_tests::parts::Nix;
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};

const REMOTE: &str = r#"
resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
}
"#;

/// How the provider tells that something else would be published than was planned.
const CHANGED: &str = "The flake has changed since the plan";

fn described(hcl: &str) -> Option<Infrastructure> {
    Infrastructure::beside(|| World::new(&Kind::Directory), hcl)
}

/// Terraform, with caches of its own: as on another machine that holds the same files.
fn elsewhere(fleet: &Infrastructure, machine: &str, arguments: &[&str]) -> Ended {
    let mut command = fleet.command(arguments);
    flat(&Ended::of(command.env("XDG_CACHE_HOME", fleet.world.path(machine))))
}

/// Fails for a reason that the provider itself gives, and not because Terraform takes it for broken.
#[track_caller]
fn is_refused(ended: Ended) {
    let refused = ended.fails(1, &[CHANGED, "plan again"]);
    assert!(!refused.words.contains("bug in the provider"), "{refused:?}");
}

#[test]
fn an_edit_that_is_taken_back_after_the_plan_is_told_as_a_change() {
    let Some(fleet) = described(REMOTE) else { return };
    fleet.apply().works();
    let text = fs::read_to_string(fleet.world.path("fleet/modules/motd.txt")).expect("read");
    fleet.world.edit("planned\n");
    fleet.terraform(&["plan", "-out", "planned"]).works();
    fleet.world.edit(&text);
    is_refused(fleet.terraform(&["apply", "planned"]));
    // The next plan sees how it is.
    fleet.plans_nothing();
}

#[test]
fn systems_that_were_planned_and_are_not_evaluated_any_more_are_told_as_a_change() {
    let Some(nix) = Nix::find() else { return };
    // The files that are published do not depend on what evaluates them.
    let Some(fleet) = described(&REMOTE.replace("../fleet\"", "../fleet\"\n  selection = \"tracked\"")) else { return };
    let mut plan = fleet.command(&["plan", "-out", "planned"]);
    Ended::of(plan.env("NPC_NIX", nix.program())).works();
    let mut apply = fleet.command(&["apply", "planned"]);
    is_refused(flat(&Ended::of(apply.env("NPC_NIX", "none"))));
    assert_eq!(fleet.publisher(&["remotes", "--json"]).works().trim(), "[]");
}

#[test]
fn a_plan_is_applied_on_another_machine_whatever_was_planned_there_before() {
    let Some(fleet) = described(REMOTE) else { return };
    elsewhere(&fleet, "applying", &["plan"]).works();
    fleet.world.edit("what is planned\n");
    elsewhere(&fleet, "planning", &["plan", "-out", "planned"]).works();
    elsewhere(&fleet, "applying", &["apply", "planned"]).works();
    fleet.plans_nothing();
}

#[test]
fn what_has_changed_since_a_plan_on_another_machine_is_not_published() {
    let Some(fleet) = described(REMOTE) else { return };
    elsewhere(&fleet, "planning", &["plan", "-out", "planned"]).works();
    fleet.world.edit("sneaked in\n");
    is_refused(elsewhere(&fleet, "applying", &["apply", "planned"]));
}

#[test]
fn one_flake_is_published_to_remotes_of_one_name_in_two_fleets_with_other_configurations() {
    let Some(nix) = Nix::find() else { return };
    let Some(fleet) = described("") else { return };
    let fleet = fleet.evaluating(&nix);
    fs::remove_file(fleet.world.path("fleet/npc.toml")).expect("removed");
    let one = |name: &str| {
        let store = fleet.world.path(name);
        format!(
            r#"
resource "npc_fleet" "{name}" {{ store = "file://{}" }}
resource "npc_remote" "{name}" {{
  name           = "prod"
  flake          = "../fleet"
  fleet          = npc_fleet.{name}
  configurations = ["{name}-1"]
}}
output "{name}" {{ value = npc_remote.{name}.archive }}
"#,
            store.display()
        )
    };
    fleet.says(&format!("{}{}", one("web"), one("db")));
    for arguments in [&["apply", "-auto-approve", "-parallelism=1"][..], &["plan", "-out", "planned", "-parallelism=1"]]
    {
        let ended = fleet.terraform(arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    assert_ne!(fleet.output("web"), fleet.output("db"));
}
