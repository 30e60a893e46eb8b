//! The Terraform provider, under a real Terraform, on a real store, beside `npc-publish`.

use std::fs;

use npc_tests::absent::Absent;
use npc_tests::infrastructure::{Infrastructure, flat};
use npc_tests::parts::{Garage, Nix};
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};

/// As much of a program for `x86_64` as says that it is one: elf(5).
const PROGRAM: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";

const REMOTE: &str = r#"
resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
}
"#;

const HOST: &str = r#"
resource "npc_host" "web_1" {
  name   = "web-1"
  remote = npc_remote.prod.name
}
"#;

/// The example flake, whose `npc.toml` describes the fleet, and what this HCL describes beside it.
fn described(kind: &Kind, hcl: &str) -> Option<Infrastructure> {
    Infrastructure::beside(|| World::new(kind), hcl)
}

fn stores() -> Vec<Kind> {
    [Some(Kind::Directory), Some(Kind::Served), Garage::find().map(Kind::Garage)].into_iter().flatten().collect()
}

#[test]
fn a_remote_and_a_host_live_and_end_in_every_kind_of_store() {
    for kind in stores() {
        let Some(fleet) = described(&kind, &format!("{REMOTE}{HOST}")) else { return };
        let planned = fleet.plans(&["+ archive =", "+ \"flake.nix\" =", "+ \"hosts/web-1.nix\" =", "2 to add"]);
        assert!(!planned.contains("archive = (known after apply)"), "digests are known at once: {planned}");
        fleet.apply().works();
        fleet.plans_nothing();
        let held = fleet.publisher(&["remotes", "--json"]).works();
        assert!(held.contains("\"serial\": 1"), "{held}");
        let hosts = fleet.publisher(&["hosts", "--json"]).works();
        assert!(hosts.contains("\"web-1\""), "{hosts}");

        fleet.world.edit("Terraform was here\n");
        fleet.plans(&["~ \"modules/motd.txt\" = \"", "~ archive =", "0 to add, 1 to change"]);
        fleet.apply().works();
        fleet.plans_nothing();
        fleet.terraform(&["destroy", "-auto-approve"]).works();
        let held = fleet.publisher(&["remotes", "--json"]).works();
        assert!(held.contains("\"removed\": true") && held.contains("\"serial\": 3"), "{held}");
        // What was removed can come back, above its tombstone.
        fleet.apply().works();
        assert!(fleet.publisher(&["remotes", "--json"]).works().contains("\"serial\": 4"));
    }
}

#[test]
fn a_release_from_elsewhere_is_seen_and_not_undone_unless_that_is_said() {
    let Some(fleet) = described(&Kind::Directory, REMOTE) else { return };
    fleet.apply().works();
    fleet.world.edit("a colleague's\n");
    fleet.publisher(&["--remote", "prod"]).works();
    // The same flake again: nothing to undo, and nothing to publish.
    fleet.apply().works();
    fleet.plans_nothing();
    fleet.world.edit("another colleague's\n");
    fleet.publisher(&["--remote", "prod"]).works();
    fleet.world.edit("ours\n");
    fleet.plans(&["Somebody else has changed the remote `prod`", "An apply refuses to undo that"]);
    fleet.apply().fails(1, &["Somebody else has changed the remote `prod`", "on_conflict = \"overwrite\""]);
    let overwriting = REMOTE.replace("flake = \"../fleet\"", "flake = \"../fleet\"\n  on_conflict = \"overwrite\"");
    fleet.says(&overwriting);
    fleet.apply().works();
    fleet.plans_nothing();
    assert!(fleet.publisher(&["remotes", "--json"]).works().contains("\"serial\": 4"));

    fleet.says(REMOTE);
    fleet.apply().works();
    fleet.publisher(&["rollback", "prod", "--yes"]).works();
    fleet.plans(&["Somebody else has changed the remote `prod`"]);
}

#[test]
fn what_changes_between_plan_and_apply_is_not_published() {
    let Some(fleet) = described(&Kind::Directory, REMOTE) else { return };
    fleet.terraform(&["plan", "-out", "planned"]).works();
    fleet.world.edit("sneaked in\n");
    fleet.terraform(&["apply", "planned"]).fails(1, &["The flake has changed since the plan", "plan again"]);
    assert_eq!(fleet.publisher(&["remotes", "--json"]).works().trim(), "[]");

    // Who applies without a file plans anew, whatever was planned before.
    fs::write(fleet.world.path("infrastructure/more.tfvars"), "").expect("written");
    fleet.terraform(&["apply", "-auto-approve", "-var-file", "more.tfvars"]).works();
    fleet.world.edit("next\n");
    fleet.terraform(&["plan", "-out", "planned"]).works();
    // In a copy, as a colleague would: the flake here stays what was planned.
    let text = fs::read_to_string(fleet.world.path("fleet/modules/motd.txt")).expect("read");
    fleet.world.edit("a colleague's, meanwhile\n");
    fleet.publisher(&["--remote", "prod"]).works();
    fleet.world.edit(&text);
    let refused = fleet.terraform(&["apply", "planned"]).fails(1, &["`prod` holds serial 2, and not serial 1"]);
    assert!(!refused.words.contains("stack backtrace"), "{refused:?}");
}

#[test]
fn a_host_is_repointed_in_place_and_follows() {
    let hcl = format!("{REMOTE}{}{HOST}", REMOTE.replace("prod", "canary"));
    let Some(fleet) = described(&Kind::Directory, &hcl) else { return };
    fleet.apply().works();
    fleet.says(&hcl.replace("remote = npc_remote.prod.name", "remote = npc_remote.canary.name"));
    let planned = fleet.plans(&["~ remote = \"prod\" -> \"canary\"", "0 to add, 1 to change, 0 to destroy"]);
    assert_eq!(planned.matches(" -> ").count(), 1, "one line: {planned}");
    fleet.apply().works();
    fleet.plans_nothing();
    let status = fleet.publisher(&["hosts", "--json"]).works();
    assert!(status.contains("canary"), "{status}");
    // What somebody else does is seen.
    fleet.publisher(&["repoint", "web-1", "--remote", "prod"]).works();
    fleet.plans(&["~ remote = \"prod\" -> \"canary\""]);
}

#[test]
fn hosts_are_not_led_where_there_is_nothing_for_them() {
    let Some(fleet) = described(&Kind::Directory, REMOTE) else { return };
    fleet.apply().works();
    for (host, parts) in [
        (HOST.replace("npc_remote.prod.name", "\"nowhere\""), &["there is no remote `nowhere`", "main.tf line"][..]),
        (HOST.replace("npc_remote.prod.name", "\"No Where\""), &["`remote` is not in order", "main.tf line"]),
        (HOST.replace("name   = \"web-1\"", "name = \"web-1\"\n  poll_interval = 5"), &["between 10 and 3600"]),
        (HOST.replace("remote =", "romote ="), &["Unsupported argument"]),
    ] {
        fleet.says(&format!("{REMOTE}{host}"));
        fleet.apply().fails(1, parts);
    }
    fleet.publisher(&["repoint", "web-1", "--remote", "prod", "--configuration", "web-2"]).works();
    fleet.says(&format!("{REMOTE}{HOST}"));
    fleet.apply().fails(1, &["`web-1` is assigned already", "terraform import"]);
    fleet.publisher(&["repoint", "web-1", "--remote", "prod", "--configuration", "web-1"]).works();
    fleet.terraform(&["import", "npc_host.web_1", "web-1"]).works();
    fleet.plans_nothing();
}

#[test]
fn a_fleet_is_made_with_its_keys_in_files_and_nothing_secret_in_the_state() {
    let Some(fleet) = described(&Kind::Directory, "") else { return };
    fs::remove_file(fleet.world.path("fleet/npc.toml")).expect("removed");
    let store = format!("file://{}", fleet.world.path("another-store").display());
    let hcl = format!(
        r#"
resource "npc_fleet" "main" {{
  store = "{store}"
}}
{}{}
output "fleet" {{ value = npc_fleet.main }}
"#,
        REMOTE.replace("flake = \"../fleet\"", "flake = \"../fleet\"\n  fleet = npc_fleet.main"),
        HOST.replace("name   =", "fleet = npc_fleet.main\n  name   =")
    );
    fleet.says(&hcl);
    fleet.plans(&["id = (known after apply)", "+ \"flake.nix\" =", "3 to add"]);
    let made = fleet.apply();
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(format!("{}{}", made.data, made.words).contains("Move the fleet's root key offline"), "{made:?}");
    fleet.plans_nothing();
    let state = fs::read_to_string(fleet.world.path("infrastructure/terraform.tfstate")).expect("a state");
    let mut secrets = 0;
    for entry in walkdir::WalkDir::new(fleet.world.path("home/.config/npc")) {
        let path = entry.expect("listed").into_path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let (_, secret) = text.trim().split_once(':').expect("a key");
        assert!(!state.contains(secret), "{} is in the state", path.display());
        secrets += 1;
    }
    assert_eq!(secrets, 4, "two of each fleet");
    let destroyed = fleet.terraform(&["destroy", "-auto-approve"]);
    assert_eq!(destroyed.code, Some(0), "{destroyed:?}");
    assert!(fleet.world.path("another-store/trust/1.json").exists());
}

#[test]
fn an_agents_program_is_put_into_the_store_under_its_digest() {
    let hcl = r#"
resource "npc_agent_binary" "this" {
  architecture = "x86_64"
  source       = "../fleet/agent"
}
output "sha256" { value = npc_agent_binary.this.sha256 }
"#;
    let Some(fleet) = described(&Kind::Directory, hcl) else { return };
    fs::write(fleet.world.path("fleet/agent"), PROGRAM).expect("written");
    let digest = npc_core::digest::Digest::of(PROGRAM).to_string();
    fleet.plans(&[&digest]);
    fleet.apply().works();
    let place = fleet.world.path("store/binaries").join(&digest);
    assert_eq!(fs::read(&place).expect("uploaded"), PROGRAM);
    fleet.plans_nothing();
    fs::remove_file(&place).expect("removed");
    fleet.plans(&["1 to add"]);
    fleet.apply().works();
    fleet.terraform(&["destroy", "-auto-approve"]).works();
    assert!(place.exists(), "others may count on it");
}

#[test]
fn what_is_there_can_be_looked_at() {
    let hcl = format!(
        r#"{REMOTE}
data "npc_remote" "prod" {{ name = npc_remote.prod.name }}
data "npc_report" "web_1" {{
  host = "web-1"
}}
output "serial" {{ value = data.npc_remote.prod.serial }}
output "standing" {{ value = data.npc_report.web_1.standing }}
"#
    );
    let Some(fleet) = described(&Kind::Directory, &hcl) else { return };
    let said = fleet.apply().works();
    assert!(said.contains("serial = 1") && said.contains("standing = \"unknown\""), "{said}");
    fleet.says(&hcl.replace("host = \"web-1\"", "host = \"web-1\"\n  wait_for = \"report\"\n  timeout = 0"));
    fleet.apply().fails(1, &["`web-1` is not there yet", "npc-publish why web-1"]);
}

#[test]
fn what_terraform_leaves_in_a_flakes_directory_is_not_published() {
    let world = World::new(&Kind::Directory);
    for name in [".terraform/providers/one", "terraform.tfstate", "terraform.tfstate.backup", "infra/prod.tfstate"] {
        let path = world.path("fleet").join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("created");
        fs::write(path, "{\"a secret\": true}").expect("written");
    }
    let listed = world.in_fleet(&["pack", "--list", "--selection", "tracked"]).works();
    assert!(listed.contains("flake.nix") && !listed.contains("tfstate") && !listed.contains(".terraform"), "{listed}");
}

#[test]
fn a_host_that_a_rollout_has_taken_is_left_to_it() {
    let hcl = format!("{REMOTE}{}{HOST}", REMOTE.replace("prod", "canary"));
    let Some(fleet) = described(&Kind::Directory, &hcl) else { return };
    fleet.apply().works();
    Absent::following("web-1", "prod").reports(&fleet.world);
    fleet.world.edit("next\n");
    fleet.publisher(&["--remote", "next"]).works();
    // Its host says nothing more, so it goes no further.
    let start =
        ["rollout", "start", "--to", "next", "--hosts", "web-1", "--waves", "100%", "--soak", "1s", "--timeout", "1s"];
    fleet.publisher(&start).fails(7, &["rollout `next-1` is halted"]);
    let told = fs::read_to_string(fleet.world.path("store/assignments/web-1.json")).expect("an assignment");
    let planned = fleet.plans(&[]);
    assert!(!planned.contains("npc_host.web_1 will be"), "it is shown as it was before: {planned}");

    let moved = hcl.replace("remote = npc_remote.prod.name", "remote = npc_remote.canary.name");
    fleet.says(&moved);
    fleet
        .terraform(&["apply", "-auto-approve", "-target", "npc_host.web_1"])
        .fails(1, &["in wave 1 of rollout `next-1`"]);
    fleet
        .terraform(&["destroy", "-auto-approve", "-target", "npc_host.web_1"])
        .fails(1, &["in wave 1 of rollout `next-1`"]);
    assert_eq!(fs::read_to_string(fleet.world.path("store/assignments/web-1.json")).expect("an assignment"), told);

    fleet.publisher(&["rollout", "abort"]).works();
    fleet.terraform(&["apply", "-auto-approve", "-target", "npc_host.web_1"]).works();
    assert!(fleet.publisher(&["hosts", "--json"]).works().contains("\"canary\""));
}

#[test]
fn a_plan_names_the_systems_that_change() {
    let Some(nix) = Nix::find() else { return };
    let Some(fleet) = described(&Kind::Directory, REMOTE) else { return };
    let evaluating = |arguments: &[&str]| {
        let mut command = fleet.command(arguments);
        command.env("NPC_NIX", nix.program());
        flat(&Ended::of(&mut command))
    };
    evaluating(&["apply", "-auto-approve"]).works();
    let text = fs::read_to_string(fleet.world.path("fleet/hosts/db-1.nix")).expect("read");
    fs::write(fleet.world.path("fleet/hosts/db-1.nix"), format!("{text}\n")).expect("written");
    let unchanged = evaluating(&["plan"]).works();
    assert!(unchanged.contains("~ \"hosts/db-1.nix\"") && !unchanged.contains("~ systems"), "{unchanged}");
    fleet.world.edit("Everybody sees this\n");
    let planned = evaluating(&["plan"]).works();
    for part in ["~ systems = {", "~ \"web-1\" = \"/nix/store/", "~ \"db-1\" = \"/nix/store/"] {
        assert!(planned.contains(part), "{part}: {planned}");
    }
}

#[test]
fn the_script_for_a_machine_is_what_npc_publish_prints() {
    let hcl = format!(
        r#"{REMOTE}
resource "npc_agent_binary" "this" {{
  architecture = "x86_64"
  source       = "../fleet/agent"
}}
data "npc_bootstrap" "web_1" {{
  host           = "web-1"
  remote         = npc_remote.prod.name
  agents         = {{ x86_64 = npc_agent_binary.this.sha256 }}
  minimum_serial = npc_remote.prod.serial
}}
output "script" {{ value = data.npc_bootstrap.web_1.script }}
"#
    );
    let Some(fleet) = described(&Kind::Directory, &hcl) else { return };
    fs::write(fleet.world.path("fleet/agent"), PROGRAM).expect("written");
    fleet.apply().works();
    fleet.plans_nothing();
    let script = fleet.output("script");
    let agent = format!("x86_64={}", npc_core::digest::Digest::of(PROGRAM));
    let printed = fleet.publisher(&["bootstrap", "--host", "web-1", "--remote", "prod", "--agent", &agent]).works();
    assert_eq!(script.trim_end(), printed.trim_end());
    for (from, to, parts) in [
        (
            "agents         =",
            "agent_flake = \"here\"\n  agents         =",
            &["A machine gets its agent from one place"][..],
        ),
        ("{ x86_64 = npc_agent_binary.this.sha256 }", "{ sparc = \"00\" }", &["`agents` is not in order", "sparc"]),
        (
            "  agents         = { x86_64 = npc_agent_binary.this.sha256 }\n",
            "",
            &["Nobody says where the machine gets its agent"],
        ),
    ] {
        assert!(hcl.contains(from), "{from}");
        fleet.says(&hcl.replace(from, to));
        fleet.terraform(&["validate"]).fails(1, parts);
    }
}
