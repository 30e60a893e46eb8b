//! The keys that the Terraform provider signs with: wherever they are said, used, and never kept in the state.

use std::fs;

use npc_tests::infrastructure::{Infrastructure, flat};
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};

const REMOTE: &str = r#"
resource "npc_remote" "prod" {
  name  = "prod"
  flake = "../fleet"
}
"#;

#[test]
fn the_key_is_in_a_file_that_is_named_or_in_the_environment() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), REMOTE) else { return };
    // Not where `npc.toml` says, nor where the fleet was made.
    let elsewhere = fleet.world.path("elsewhere.key");
    fs::rename(fleet.world.key_file("npc-publish-1"), &elsewhere).expect("moved");
    let secret = fs::read_to_string(&elsewhere).expect("a key");
    let apply = |environment: &[(&str, &str)]| {
        let mut command = fleet.command(&["apply", "-auto-approve"]);
        flat(&Ended::of(command.envs(environment.iter().copied())))
    };
    let holds = |serial: u64| {
        let held = fleet.publisher(&["remotes", "--json"]).works();
        assert!(held.contains(&format!("\"serial\": {serial}")), "{held}");
    };
    apply(&[]).fails(1, &["`key_files`", "NPC_KEY"]);
    let path = elsewhere.to_str().expect("a plain path");
    for (serial, environment) in [(1, ("NPC_SECRET_KEY", secret.as_str())), (2, ("NPC_KEY", path))] {
        fleet.world.edit(&format!("release {serial}\n"));
        apply(&[environment]).works();
        holds(serial);
    }
    fleet.replace("provider \"npc\" {\n", &format!("provider \"npc\" {{\n  key_files = [{path:?}]\n"));
    fleet.world.edit("release 3\n");
    apply(&[("NPC_KEY", "/nowhere"), ("NPC_SECRET_KEY", "none")]).works();
    holds(3);
    let state = fs::read_to_string(fleet.path("terraform.tfstate")).expect("a state");
    assert!(state.contains("\"prod\"") && !state.contains(secret.trim()), "{state}");
}
