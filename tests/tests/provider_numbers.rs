//! The Terraform provider and numbers that do not count: none is rounded, and none is taken for nothing.

use npc_tests::infrastructure::Infrastructure;
use npc_tests::world::{Kind, World};

#[test]
fn numbers_that_do_not_count_are_refused_where_they_stand() {
    let Some(fleet) = Infrastructure::beside(|| World::new(&Kind::Directory), "") else { return };
    let host = "resource \"npc_host\" \"it\" {\n  name   = \"web-1\"\n  remote = \"prod\"\n";
    let script = "data \"npc_bootstrap\" \"it\" {\n  remote      = \"prod\"\n  agent_flake = \"here\"\n";
    let report = "data \"npc_report\" \"it\" {\n  host     = \"web-1\"\n  wait_for = \"report\"\n";
    let threshold = "fleet = { id = \"00112233445566778899aabbccddeeff\", root_keys = [\"k\"], root_threshold";
    for (block, argument, wrong) in [
        (host, "poll_interval", ["10.1", "10.5", "-30"]),
        (script, "minimum_serial", ["7.1", "1.5", "-3"]),
        (script, "swap_below", ["0.1", "0.5", "-1"]),
        (report, "timeout", ["0.1", "0.5", "-1"]),
    ] {
        for number in wrong {
            fleet.says(&format!("{block}  {argument} = {number}\n}}\n"));
            fleet.terraform(&["validate"]).fails(1, &["main.tf line", &format!("{argument} = {number}")]);
        }
    }
    for number in ["1.1", "1.5", "-1"] {
        fleet.says(&format!("{host}  {threshold} = {number}, store = null }}\n}}\n"));
        fleet.terraform(&["validate"]).fails(1, &["main.tf line"]);
    }
}
