//! Agents for machines that have none yet: who puts one into the store learns whether it runs there.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;

use npc_tests::infrastructure::Infrastructure;
use npc_tests::parts::program;
use npc_tests::world::{Kind, World};

/// As much of the agent as says what it is for: without its program headers, it names no loader.
fn without_loader(agent: &Path) -> Vec<u8> {
    let mut bytes = fs::read(agent).expect("read");
    // `e_phnum`, elf(5).
    bytes[0x38..0x3a].fill(0);
    bytes.truncate(4096);
    bytes
}

#[test]
fn an_agent_that_names_a_loader_is_warned_of_and_no_other_is() {
    // What cargo builds here is linked dynamically.
    let agent = program("npc-agent");
    let hcl = format!(
        "\nresource \"npc_agent_binary\" \"this\" {{\n  architecture = \"{ARCH}\"\n  source       = \"{}\"\n}}\n",
        agent.display()
    );
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), &hcl) else { return };
    let uploads = |file: &Path| {
        let agent = format!("{ARCH}={}", file.display());
        let arguments = ["bootstrap", "--host", "web-1", "--remote", "prod", "--agent", &agent, "--upload"];
        let ended = fleet.publisher(&arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.words
    };
    fleet.plans(&["Warning: the agent `", "is not static", "nix build .#npc-agent-static"]);
    fleet.apply().works();
    assert!(uploads(&agent).contains("is not static"));

    let own = fleet.world.path("fleet/agent");
    fs::write(&own, without_loader(&agent)).expect("written");
    fleet.replace(&agent.display().to_string(), "../fleet/agent");
    let planned = fleet.plans(&["1 to change"]);
    assert!(!planned.contains("is not static"), "{planned}");
    assert!(!uploads(&own).contains("is not static"));
}

#[test]
fn an_agent_that_is_in_the_store_is_imported_by_its_digest() {
    let agent = program("npc-agent");
    let hcl = format!(
        "\nresource \"npc_agent_binary\" \"this\" {{\n  architecture = \"{ARCH}\"\n  source       = \"{}\"\n}}\n\
         output \"sha256\" {{ value = npc_agent_binary.this.sha256 }}\n",
        agent.display()
    );
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), &hcl) else { return };
    fleet.apply().works();
    let digest = fleet.output("sha256");
    fs::remove_file(fleet.path("terraform.tfstate")).expect("removed");
    let import = |id: &str| fleet.terraform(&["import", "npc_agent_binary.this", id]);
    import(&digest).fails(1, &["imported by architecture and digest"]);
    import(&format!("{ARCH}={}", "0".repeat(64))).fails(1, &["non-existent"]);
    import(&format!("{ARCH}={digest}")).works();
    let planned = fleet.plans(&["0 to add, 1 to change, 0 to destroy", "+ source"]);
    assert!(!planned.contains("sha256 ="), "it is the same program: {planned}");
    fleet.apply().works();
    fleet.plans_nothing();
}
