//! Where things live that HCL describes: in the fleet and the store that they name, and in no other.

use std::fs;

use npc_tests::infrastructure::Infrastructure;
use npc_tests::world::{Kind, World};

/// A fleet of HCL's own, whose store is a directory, and a remote and a host in it.
const FLEET: &str = r#"
resource "npc_fleet" "main" {
  store = "file:///A-STORE"
}

resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
  fleet = npc_fleet.main
}

resource "npc_host" "web_1" {
  name   = "web-1"
  remote = npc_remote.prod.name
  fleet  = npc_fleet.main
}

output "npc_toml" { value = npc_fleet.main.npc_toml }
"#;

/// The text with its stores and directories in the world's folder.
fn placed(world: &World, hcl: &str) -> String {
    let place = |name: &str| world.path(name).display().to_string();
    hcl.replace("/A-STORE", &place("a-store")).replace("/B-STORE", &place("b-store"))
}

fn described(hcl: &str) -> Option<Infrastructure> {
    let infrastructure = Infrastructure::beside(|| World::new(&Kind::Directory), "")?;
    infrastructure.says(&placed(&infrastructure.world, hcl));
    Some(infrastructure)
}

/// The world's own fleet, as an object with another attribute.
fn own_fleet(world: &World, more: &str) -> String {
    let text = fs::read_to_string(world.path("fleet/npc.toml")).expect("read");
    let lines = text.lines().filter(|line| line.starts_with("root_keys"));
    let root_keys: String = lines.map(str::to_owned).collect();
    format!("{{ id = \"{}\", {root_keys}, root_threshold = 1, {more} }}", world.fleet_id())
}

#[test]
fn what_belongs_to_a_fleet_goes_with_it_to_another_store() {
    let Some(fleet) = described(FLEET) else { return };
    fleet.apply().works();
    fs::create_dir(fleet.world.path("old")).expect("created");
    fs::write(fleet.world.path("old/npc.toml"), fleet.output("npc_toml")).expect("written");
    fleet.replace("a-store", "b-store");
    fleet.plans(&["npc_remote.prod must be replaced", "npc_host.web_1 must be replaced", "3 to add, 0 to change"]);
    fleet.apply().works();
    fleet.plans_nothing();
    for object in ["remotes/prod.json", "assignments/web-1.json"] {
        assert!(fleet.world.path("b-store").join(object).exists(), "{object}");
    }
    let old = fleet.world.path("old").display().to_string();
    let remotes = fleet.world.npc_publish(&["remotes", "--json", "--flake", &old]).works();
    assert!(remotes.contains("\"removed\": true"), "no pointer is left live: {remotes}");
}

#[test]
fn the_same_place_in_other_words_moves_nothing() {
    let hcl = "\nresource \"npc_remote\" \"prod\" {\n  name  = \"prod\"\n  flake = \"../fleet\"\n}\n\n\
               resource \"npc_host\" \"web_1\" {\n  name   = \"web-1\"\n  remote = npc_remote.prod.name\n}\n";
    let Some(fleet) = described(hcl) else { return };
    fleet.apply().works();
    let store = fleet.world.url().to_string();
    let place = format!("fleet = {}\n  store = \"{store}/\"", own_fleet(&fleet.world, &format!("store = \"{store}\"")));
    let named = hcl.replace("  name  ", &format!("  {place}\n  name  "));
    fleet.says(&named);
    fleet.plans(&["0 to add, 2 to change, 0 to destroy"]);
    fleet.apply().works();
    fleet.plans_nothing();
    assert!(fleet.publisher(&["remotes", "--json"]).works().contains("\"serial\": 1"), "nothing was published anew");
}

#[test]
fn a_fleets_own_store_comes_before_the_providers() {
    let Some(fleet) = described(&FLEET.replace("A-STORE", "B-STORE")) else { return };
    let store = fleet.world.url().to_string();
    fleet.replace(
        "flake = \"../fleet\"\n}\n\nresource",
        &format!("flake = \"../fleet\"\n  store = \"{store}\"\n}}\n\nresource"),
    );
    fleet.apply().works();
    fleet.plans_nothing();
    assert!(fleet.world.path("b-store/remotes/prod.json").exists());
    assert_eq!(fleet.publisher(&["remotes", "--json"]).works().trim(), "[]");
}

#[test]
fn a_fleet_with_other_root_keys_is_not_believed_because_another_was() {
    let hcl = "\nresource \"npc_remote\" \"prod\" {\n  name  = \"prod\"\n  flake = \"../fleet\"\n}\n\n\
               data \"npc_remote\" \"wrong\" {\n  name       = \"prod\"\n  FLEET\n  depends_on = [npc_remote.prod]\n}\n";
    let Some(fleet) = described("") else { return };
    let store = format!("store = \"{}\"", fleet.world.url());
    let file = fleet.world.path("other.secret").display().to_string();
    let other = fleet.world.npc_publish(&["key", "generate", "npc-other-1", "--output", &file]).works();
    let right = own_fleet(&fleet.world, &store);
    let (before, after) = right.split_once("root_keys = [").expect("keys");
    let (_, after) = after.split_once(']').expect("an end");
    let wrong = format!("{before}root_keys = [\"{}\"]{after}", other.trim());
    fleet.says(&hcl.replace("FLEET", &format!("fleet = {right}")));
    fleet.apply().works();
    fleet.says(&hcl.replace("FLEET", &format!("fleet = {wrong}")));
    fleet.apply().fails(1, &["This would not be believed", "0 of the 1 keys"]);
}

#[test]
fn no_password_in_an_address_is_shown_or_kept() {
    let hcl = "\nvariable \"store\" {\n  sensitive = true\n  default   = \"ADDRESS\"\n}\n\n\
               resource \"npc_remote\" \"prod\" {\n  name  = \"prod\"\n  flake = \"../fleet\"\n  store = var.store\n}\n";
    let Some(fleet) = described("") else { return };
    for address in ["https://me:hunter2@localhost/x", "s3://b/p?region=x&endpoint=http://me:hunter2@localhost:1"] {
        fleet.says(&hcl.replace("ADDRESS", address));
        let ended = fleet.apply();
        ended.clone().fails(1, &["`store` is not in order", "a user name or a password"]);
        assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    }
}
