//! The Terraform provider where others publish to the same remotes: what is theirs is neither undone nor ended unless that is said.

use std::fs;

use npc_tests::infrastructure::Infrastructure;
use npc_tests::parts::Nix;
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};

const REMOTE: &str = r#"
resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
}
"#;

/// How the provider tells of a release that is not this configuration's.
const FOREIGN: &str = "Somebody else has changed the remote `prod`";

/// A remote that was published from here, and what is published to it by somebody else.
fn published() -> Option<Infrastructure> {
    let fleet = Infrastructure::beside(|| World::new(&Kind::Directory), REMOTE)?;
    fleet.apply().works();
    Some(fleet)
}

/// A colleague publishes, and this is what lies here then.
fn somebody_else_publishes(fleet: &Infrastructure, ours: &str) {
    fleet.world.edit("a colleague's\n");
    fleet.publisher(&["--remote", "prod"]).works();
    fleet.world.edit(ours);
}

#[track_caller]
fn holds(fleet: &Infrastructure, part: &str) {
    let held = fleet.publisher(&["remotes", "--json"]).works();
    assert!(held.contains(part), "no `{part}` in: {held}");
}

#[test]
fn a_foreign_release_stays_foreign_however_often_it_is_looked_at() {
    let Some(fleet) = published() else { return };
    somebody_else_publishes(&fleet, "ours\n");
    for _ in 0..2 {
        fleet.apply().fails(1, &[FOREIGN, "on_conflict = \"overwrite\""]);
    }
    fleet.terraform(&["apply", "-auto-approve", "-refresh-only"]).works();
    fleet.plans(&[FOREIGN, "An apply refuses to undo that"]);
    fleet.apply().fails(1, &[FOREIGN]);
    holds(&fleet, "\"serial\": 2");
}

/// As after an apply that was interrupted once the store had taken its word.
#[test]
fn a_remote_that_holds_just_what_is_planned_is_taken_over_and_no_other() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), REMOTE) else { return };
    fleet.publisher(&["--remote", "prod"]).works();
    fleet.world.edit("ours\n");
    fleet.apply().fails(1, &["There is a remote `prod` already", "terraform import"]);
    fleet.publisher(&["--remote", "prod"]).works();
    fleet.apply().works();
    fleet.plans_nothing();
    holds(&fleet, "\"serial\": 2");
    fleet.terraform(&["destroy", "-auto-approve"]).works();
    holds(&fleet, "\"removed\": true");
}

#[test]
fn a_remote_that_tells_of_other_systems_is_not_taken_over() {
    let Some(nix) = Nix::find() else { return };
    let tracked = REMOTE.replace("  flake", "  selection = \"tracked\"\n  flake");
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), &tracked) else { return };
    let fleet = fleet.evaluating(&nix);
    let mut colleague = fleet.world.command("npc-publish");
    colleague.args(["--remote", "prod", "--selection", "tracked", "--configuration", "web-1"]);
    Ended::of(colleague.env("NPC_NIX", nix.program()).current_dir(fleet.world.path("fleet"))).works();
    fleet.apply().fails(1, &["There is a remote `prod` already"]);
    holds(&fleet, "\"serial\": 1");
    fleet.replace("selection =", "configurations = [\"web-1\"]\n  selection =");
    fleet.apply().works();
    holds(&fleet, "\"serial\": 1");
}

#[test]
fn a_promotion_from_elsewhere_is_seen_and_not_undone() {
    let Some(fleet) = published() else { return };
    fleet.world.edit("a colleague's\n");
    fleet.publisher(&["--remote", "canary"]).works();
    fleet.publisher(&["promote", "canary", "prod", "--yes"]).works();
    fleet.plans_nothing();
    fleet.world.edit("ours\n");
    fleet.plans(&[FOREIGN, "An apply refuses to undo that"]);
    fleet.apply().fails(1, &[FOREIGN]);
    holds(&fleet, "\"serial\": 2");
}

#[test]
fn a_foreign_release_of_what_lies_here_is_made_ours_with_an_apply_that_publishes_nothing() {
    let Some(fleet) = published() else { return };
    somebody_else_publishes(&fleet, "a colleague's\n");
    fleet.plans_nothing();
    fleet.terraform(&["plan", "-refresh=false"]).works();
    fleet.apply().works();
    holds(&fleet, "\"serial\": 2");
    fleet.world.edit("ours, after theirs\n");
    fleet.apply().works();
    fleet.plans_nothing();
    holds(&fleet, "\"serial\": 3");
}

#[test]
fn a_destroy_does_not_end_a_foreign_release_unless_that_is_said() {
    let Some(fleet) = published() else { return };
    somebody_else_publishes(&fleet, "ours\n");
    let warned = fleet.terraform(&["plan", "-destroy"]);
    assert_eq!(warned.code, Some(0), "{warned:?}");
    assert!(format!("{}{}", warned.data, warned.words).contains(FOREIGN), "{warned:?}");
    fleet.terraform(&["destroy", "-auto-approve"]).fails(1, &[FOREIGN, "Nothing was ended"]);
    holds(&fleet, "\"serial\": 2");

    fleet.replace("name  = \"prod\"", "name  = \"prod\"\n  on_conflict = \"overwrite\"");
    fleet.apply().works();
    fleet.terraform(&["destroy", "-auto-approve"]).works();
    holds(&fleet, "\"removed\": true");
}

#[test]
fn a_pointer_that_nobody_believes_is_published_over_and_ended() {
    let Some(fleet) = published() else { return };
    let pointer = fleet.world.path("store/remotes/prod.json");
    fs::write(&pointer, "nothing that anybody has signed").expect("written");
    fleet.plans(&["What the remote `prod` holds cannot be believed", "~ archive =", "0 to add, 1 to change"]);
    fleet.apply().works();
    fleet.plans_nothing();
    holds(&fleet, "\"serial\": 2");
    fs::write(&pointer, "nothing that anybody has signed").expect("written");
    fleet.terraform(&["destroy", "-auto-approve"]).works();
    holds(&fleet, "\"removed\": true");

    // Neither is it in the way of a new one.
    fs::write(&pointer, "nothing that anybody has signed").expect("written");
    fleet.apply().works();
    fleet.plans_nothing();
}
