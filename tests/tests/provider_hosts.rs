//! Assignments that HCL describes, beside operators and rollouts that change them too.

use std::fs;

use npc_tests::absent::{Absent, serial};
use npc_tests::infrastructure::Infrastructure;
use npc_tests::parts::Nix;
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};

const HOST: &str = r#"
resource "npc_host" "web_1" {
  name   = "web-1"
  remote = "prod"
}
"#;

const ASSIGNMENT: &str = "store/assignments/web-1.json";

/// A fleet with releases at `prod` and at `next`, whose host HCL assigns.
fn described() -> Option<Infrastructure> {
    let world = || {
        let world = World::new(&Kind::Directory);
        for remote in ["prod", "next"] {
            world.in_fleet(&["--remote", remote]).works();
            world.edit(&format!("after {remote}\n"));
        }
        world
    };
    Infrastructure::beside(world, HOST)
}

/// Has a rollout lead the host to `next`, where it says nothing more, so that this goes no further.
fn rolls_out(fleet: &Infrastructure) {
    Absent::following("web-1", "prod").reports(&fleet.world);
    let start =
        ["rollout", "start", "--to", "next", "--hosts", "web-1", "--waves", "100%", "--soak", "1s", "--timeout", "1s"];
    fleet.publisher(&start).fails(7, &["rollout `next-1` is halted"]);
}

fn assigned(fleet: &Infrastructure) -> Vec<u8> {
    fs::read(fleet.world.path(ASSIGNMENT)).expect("an assignment")
}

/// Applies what was planned; nothing is changed.
#[track_caller]
fn is_refused(fleet: &Infrastructure, arguments: &[&str], parts: &[&str]) -> Ended {
    let before = assigned(fleet);
    let ended = fleet.terraform(arguments).fails(1, parts);
    assert_eq!(assigned(fleet), before, "{ended:?}");
    ended
}

#[test]
fn no_host_is_led_back_that_somebody_has_led_elsewhere_since_the_plan() {
    let Some(fleet) = described() else { return };
    fleet.apply().works();
    fleet.replace("remote = \"prod\"", "remote = \"prod\"\n  paused = true");
    fleet.terraform(&["plan", "-out", "planned"]).works();
    fleet.terraform(&["plan", "-destroy", "-out", "ending"]).works();
    fleet.publisher(&["repoint", "web-1", "--remote", "next"]).works();
    let parts = ["has changed what `web-1` follows since the plan", "it follows `next`"];
    is_refused(&fleet, &["apply", "planned"], &parts);
    is_refused(&fleet, &["apply", "ending"], &parts);
    is_refused(&fleet, &["apply", "-auto-approve", "-refresh=false"], &parts);
    // Who has seen it may say otherwise.
    fleet.plans(&["~ remote = \"next\" -> \"prod\""]);
    fleet.terraform(&["plan", "-out", "planned"]).works();
    // And who is told to do what has been done already has nothing to refuse.
    fleet.publisher(&["repoint", "web-1", "--remote", "prod"]).works();
    fleet.terraform(&["apply", "planned"]).works();
    fleet.plans_nothing();
    fleet.replace("paused = true", "paused = false");
    fleet.terraform(&["plan", "-out", "planned"]).works();
    fleet.publisher(&["hosts", "remove", "web-1"]).works();
    is_refused(&fleet, &["apply", "planned"], &["nobody assigns it any more"]);
}

#[test]
fn no_host_is_let_go_on_that_somebody_has_paused_since_the_plan() {
    let Some(fleet) = described() else { return };
    fleet.apply().works();
    fleet.replace("remote = \"prod\"", "remote = \"next\"");
    fleet.terraform(&["plan", "-out", "planned"]).works();
    fleet.publisher(&["hosts", "pause", "web-1"]).works();
    is_refused(&fleet, &["apply", "planned"], &["has changed what `web-1` follows since the plan", "and is paused"]);
    fleet.plans(&["- paused = true -> null", "~ remote = \"prod\" -> \"next\""]);
}

#[test]
fn a_pin_that_an_aborted_rollout_has_left_is_shown_and_ended() {
    let Some(fleet) = described() else { return };
    fleet.apply().works();
    rolls_out(&fleet);
    fleet.publisher(&["rollout", "abort"]).works();
    fleet.replace("remote = \"prod\"", "remote = \"next\"");
    let planned = fleet.plans(&["- pinned_serial = 1 -> null", "0 to add, 1 to change"]);
    assert!(!planned.contains("~ remote"), "{planned}");
    fleet.apply().works();
    fleet.plans_nothing();
    let hosts = fleet.publisher(&["hosts", "--json"]).works();
    assert!(hosts.contains("\"next\"") && !hosts.contains("\"pin\""), "{hosts}");
}

#[test]
fn a_rollout_that_has_ended_hides_nothing() {
    let Some(fleet) = described() else { return };
    fleet.apply().works();
    rolls_out(&fleet);
    fleet.plans_nothing();
    // What is refused while it lasts is refused where the rollout leads.
    fleet.replace("remote = \"prod\"", "remote = \"prod\"\n  configuration = \"db-1\"");
    is_refused(&fleet, &["apply", "-auto-approve"], &["in wave 1 of rollout `next-1`", "npc-publish repoint --force"]);
    fleet.replace("\n  configuration = \"db-1\"", "");
    let led = assigned(&fleet);
    fleet.publisher(&["rollout", "abort"]).works();
    // The operator's machine has died before it told the host.
    fs::write(fleet.world.path(ASSIGNMENT), led).expect("written");
    fleet.plans(&["~ remote = \"next\" -> \"prod\"", "0 to add, 1 to change"]);
    fleet.apply().works();
    fleet.plans_nothing();
}

#[test]
fn what_a_host_would_refuse_is_not_signed() {
    let Some(fleet) = described() else { return };
    Absent { trust: serial(2), ..Absent::following("web-1", "prod") }.reports(&fleet.world);
    fleet.publisher(&["repoint", "web-1", "--remote", "prod"]).fails(4, &["hosts would refuse this"]);
    fleet.apply().fails(1, &["hosts would refuse this: web-1 trust version 2 of the trust"]);
    assert!(!fleet.world.path(ASSIGNMENT).exists());
    fleet.replace("remote = \"prod\"", "remote = \"prod\"\n  shared = true");
    fleet.apply().fails(1, &["hosts would refuse this: web-1 trust version 2 of the trust"]);
}

#[test]
fn a_host_is_kept_as_it_is_while_nobody_knows_where_its_fleet_will_be() {
    let Some(fleet) = described() else { return };
    let more = format!("resource \"terraform_data\" \"store\" {{\n  input = \"{}\"\n}}\n", fleet.world.url());
    fleet.replace("resource \"npc_host\"", &format!("{more}\nresource \"npc_host\""));
    fleet.replace("flake = \"../fleet\"", "flake = \"../fleet\"\n  store = terraform_data.store.output");
    fleet.apply().works();
    fleet.plans_nothing();
    fleet.replace("  input =", "  triggers_replace = [1]\n  input =");
    fleet.plans(&["1 to add, 0 to change, 1 to destroy"]);
}

#[test]
fn what_is_wrong_with_a_host_is_told_where_it_is_said() {
    let Some(nix) = Nix::find() else { return };
    let Some(fleet) = described() else { return };
    fleet.world.evaluating(&nix, &["--remote", "evaluated"]).works();
    let unknown = "remote = \"evaluated\"\n  configuration = \"nobody\"";
    fleet.replace("remote = \"prod\"", unknown);
    let refused = fleet.apply().fails(1, &["holds no configuration `nobody`", ": configuration = \"nobody\""]);
    assert!(!refused.words.contains("--configuration"), "{refused:?}");
    fleet.replace(unknown, "remote = \"nowhere\"");
    fleet.apply().fails(1, &["there is no remote `nowhere`", ": remote = \"nowhere\""]);
    fleet.replace("\"nowhere\"", "\"prod\"");
    fleet.publisher(&["repoint", "web-1", "--remote", "next"]).works();
    fleet.apply().fails(1, &["`web-1` is assigned already", ": name = \"web-1\""]);
    fleet.publisher(&["repoint", "web-1", "--remote", "prod"]).works();
    fleet.terraform(&["import", "npc_host.web_1", "web-1"]).works();
    rolls_out(&fleet);
    fleet.replace("\"prod\"", "\"evaluated\"");
    fleet.apply().fails(1, &["in wave 1 of rollout `next-1`", ": remote = \"evaluated\""]);
}

/// As after an apply that was interrupted once the store had taken its word.
#[test]
fn what_is_just_as_planned_is_taken_over_and_nothing_else() {
    let Some(fleet) = described() else { return };
    for more in [&["--remote", "next"][..], &["--remote", "prod", "--configuration", "web-2"]] {
        fleet.publisher(&[&["repoint", "web-1"], more].concat()).works();
        fleet.apply().fails(1, &["`web-1` is assigned already"]);
    }
    fleet.publisher(&["repoint", "web-1", "--remote", "prod", "--configuration", "web-1"]).works();
    fleet.publisher(&["hosts", "pause", "web-1"]).works();
    fleet.apply().fails(1, &["`web-1` is assigned already"]);
    fleet.publisher(&["hosts", "resume", "web-1"]).works();
    fleet.replace("remote = \"prod\"", "remote = \"prod\"\n  poll_interval = 30");
    fleet.apply().fails(1, &["`web-1` is assigned already"]);
    fleet.replace("\n  poll_interval = 30", "\n  shared = true");
    fleet.apply().fails(1, &["`web-1` is assigned already"]);
    fleet.replace("\n  shared = true", "");
    let stands = fs::read(fleet.world.path(ASSIGNMENT)).expect("an assignment");
    fleet.apply().works();
    fleet.plans_nothing();
    assert_eq!(fs::read(fleet.world.path(ASSIGNMENT)).expect("an assignment"), stands, "nothing is signed anew");
}

#[test]
fn a_key_that_is_missing_is_told_without_words_of_another_program() {
    let Some(fleet) = described() else { return };
    fs::remove_file(fleet.world.key_file("npc-publish-1")).expect("removed");
    let ended = fleet.apply().fails(1, &["cannot read the key file", "`key_files` in the provider's block"]);
    assert!(!ended.words.contains("--key"), "{ended:?}");
}
