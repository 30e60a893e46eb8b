//! Fleets that HCL describes: where their keys are, and that each is made once.

use std::fs;

use npc_tests::infrastructure::Infrastructure;
use npc_tests::world::{Kind, World};

const FLEET: &str = r#"
resource "npc_fleet" "main" {
  store = "STORE"
}

resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
  fleet = npc_fleet.main
}

output "npc_toml" { value = npc_fleet.main.npc_toml }
"#;

/// A fleet whose store is the directory `a-store` in the folder of a world that has no `npc.toml`.
fn described() -> Option<Infrastructure> {
    let infrastructure = Infrastructure::beside(|| World::new(&Kind::Directory), "")?;
    fs::remove_file(infrastructure.world.path("fleet/npc.toml")).expect("removed");
    infrastructure.says(&FLEET.replace("STORE", &store(&infrastructure)));
    Some(infrastructure)
}

fn store(infrastructure: &Infrastructure) -> String {
    format!("file://{}", infrastructure.world.path("a-store").display())
}

#[test]
fn keys_in_a_directory_of_ones_own_sign_in_the_same_apply() {
    let Some(fleet) = described() else { return };
    fleet.replace(
        "resource \"npc_fleet\" \"main\" {",
        "resource \"npc_fleet\" \"main\" {\n  key_directory = \"~/keys\"",
    );
    fleet.apply().works();
    fleet.plans_nothing();
    assert!(fleet.world.path("home/keys/npc-root-1.secret").exists());
    assert!(!fleet.world.path("infrastructure/~").exists());
    // A plan in a file says where they are, too.
    fleet.world.edit("next\n");
    fleet.terraform(&["plan", "-out", "planned"]).works();
    fleet.terraform(&["apply", "planned"]).works();
}

#[test]
fn a_fleet_whose_keys_are_said_to_be_elsewhere_stays_the_same_fleet() {
    let Some(fleet) = described() else { return };
    fleet.apply().works();
    let keys = fleet.output("npc_toml");
    let key = keys.lines().find_map(|line| line.strip_prefix("key = \"~/")).expect("below home").trim_end_matches('"');
    let old = fleet.world.path("home").join(key);
    fs::create_dir(fleet.world.path("keys")).expect("created");
    fs::rename(&old, fleet.world.path("keys/npc-publish-1.secret")).expect("moved");
    fleet.world.edit("next\n");
    fleet.apply().fails(1, &["cannot read the key file", "npc-publish-1.secret"]);
    fleet.replace(
        "resource \"npc_fleet\" \"main\" {",
        "resource \"npc_fleet\" \"main\" {\n  key_directory = \"../keys\"",
    );
    fleet.plans(&["~ key_directory", "0 to add, 2 to change, 0 to destroy"]);
    fleet.apply().works();
    fleet.plans_nothing();
    assert!(fleet.output("npc_toml").contains("keys/npc-publish-1.secret"), "{}", fleet.output("npc_toml"));
}

#[test]
fn a_fleet_is_not_made_twice_in_one_store() {
    let Some(fleet) = described() else { return };
    fleet.apply().works();
    let trust = fs::read(fleet.world.path("a-store/trust/1.json")).expect("a trust");
    fleet.terraform(&["plan", "-replace", "npc_fleet.main"]).fails(1, &["A fleet lives there already", "main.tf line"]);
    let address = store(&fleet);
    fleet.replace(&address, &format!("{address}/"));
    fleet.plans_nothing();
    fleet.terraform(&["destroy", "-auto-approve"]).works();
    fleet.terraform(&["plan"]).fails(1, &["A fleet lives there already", "terraform import"]);
    assert_eq!(fs::read(fleet.world.path("a-store/trust/1.json")).expect("a trust"), trust);
}

#[test]
fn no_key_is_overwritten_and_nothing_is_ended_before_that_is_said() {
    let Some(fleet) = described() else { return };
    fleet.replace(
        "resource \"npc_fleet\" \"main\" {",
        "resource \"npc_fleet\" \"main\" {\n  key_directory = \"../keys\"",
    );
    fleet.apply().works();
    fleet.replace("a-store", "b-store");
    fleet.terraform(&["plan"]).fails(1, &["The keys of another fleet lie there", "npc-publish-1.secret"]);
}

#[test]
fn a_fleet_that_is_not_believed_is_told_at_an_attribute_that_it_has() {
    let Some(fleet) = described() else { return };
    fleet.apply().works();
    fs::write(fleet.world.path("a-store/trust/1.json"), "nonsense").expect("written");
    let ended = fleet.terraform(&["plan"]);
    assert!(ended.words.contains("This would not be believed") && !ended.words.contains("--key"), "{ended:?}");
    assert!(!ended.words.contains("provider produced an invalid"), "{ended:?}");
}
