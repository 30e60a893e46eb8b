//! Orders in an assignment: to reboot, and to try again what failed.

use std::fs;
use std::time::Duration;

use npc_core::Timestamp;
use npc_core::document::{Assignment, Document, Serial};
use npc_core::envelope::Envelope;
use npc_tests::eventually;
use npc_tests::process::for_a_while;
use npc_tests::world::{Agent, Kind, World};
use serde_json::{Value, json};

/// Longer than an agent needs that polls every second.
const A_FEW_POLLS: Duration = Duration::from_secs(4);

/// Assigns the host to `prod` with these orders, and more.
fn order(world: &World, orders: &Value, paused: bool) {
    let path = world.path("store/assignments/web-1.json");
    if !path.exists() {
        world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    }
    let envelope = Envelope::parse(&fs::read(&path).expect("read")).expect("an envelope");
    let mut document: Document<Assignment> = Document::from_payload(envelope.payload()).expect("an assignment");
    document.header.serial = document.header.serial.next().unwrap_or(Serial::FIRST);
    let says = json!({ "remote": "prod", "configuration": "web-1", "orders": orders, "paused": paused });
    document.body = serde_json::from_value(says).expect("an assignment");
    // Whole or not at all, as a publisher writes.
    let new = path.with_extension("new");
    fs::write(&new, document.sign(&[&world.key("npc-publish-1")]).bytes).expect("written");
    fs::rename(new, path).expect("renamed");
}

fn to_reboot(boot_id: &str) -> Value {
    json!({ "reboot": { "boot_id": boot_id } })
}

fn this_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux").trim().to_owned()
}

/// An agent of a host that leaves a trace instead of rebooting.
fn agent(world: &World) -> Agent<'_> {
    let agent = world.command_agent("web-1", "true");
    let path = agent.path("agent.toml");
    let reboot =
        format!("[reboot]\ncommand = [\"sh\", \"-c\", \"echo reboots >> {}\"]", agent.path("reboots").display());
    let text = fs::read_to_string(&path).expect("read");
    fs::write(path, format!("{text}{reboot}\n")).expect("written");
    agent
}

fn reboots(agent: &Agent<'_>) -> usize {
    fs::read_to_string(agent.path("reboots")).map_or(0, |text| text.lines().count())
}

/// Waits until the agent has heard the assignment that lies in the store.
fn hears(world: &World, agent: &Agent<'_>) {
    let held = || fs::read(agent.path("state/assignment.json")).ok();
    let assigned = fs::read(world.path("store/assignments/web-1.json")).expect("assigned");
    eventually("the assignment is heard", || (held()? == assigned).then_some(()));
}

#[test]
fn a_host_reboots_once_because_it_is_ordered_to_and_only_in_the_boot_that_is_named() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = agent(&world);
    let running = agent.start();
    agent.commits(1);
    let mine = agent.status()["instance"].clone();
    let for_another = json!({ "instance": "another", "reboot": { "boot_id": this_boot() } });
    for orders in [to_reboot("8b7c0e6a-0000-4000-8000-000000000000"), to_reboot(""), for_another] {
        order(&world, &orders, false);
        hears(&world, &agent);
        for_a_while(A_FEW_POLLS);
        assert_eq!(reboots(&agent), 0, "{orders}");
        assert!(agent.journal().expect("a journal").get("reboot_ordered").is_none());
    }
    order(&world, &to_reboot(&this_boot()), true);
    eventually("the order waits for the end of the pause", || agent.journal()?.get("reboot_ordered").map(drop));
    assert!(agent.run(&["status"]).works().contains("order    to reboot, heard at "));
    for_a_while(A_FEW_POLLS);
    assert_eq!(reboots(&agent), 0, "it is paused");
    order(&world, &json!({ "instance": mine, "reboot": { "boot_id": this_boot() } }), false);
    eventually("it reboots", || (reboots(&agent) > 0).then_some(()));
    for_a_while(A_FEW_POLLS);
    assert_eq!(reboots(&agent), 1, "once");
    drop(running);
}

#[test]
fn a_host_tries_again_what_failed_once_because_it_is_ordered_to() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = agent(&world);
    let running = agent.start();
    agent.commits(1);
    fs::write(
        agent.path("apply"),
        "echo \"$NPC_ACTION\" >> \"$(dirname \"$0\")/trace\"; [ \"$NPC_ACTION\" = roll-back ]\n",
    )
    .expect("written");
    let tries = || fs::read_to_string(agent.path("trace")).map_or(0, |text| text.matches("activate").count());
    let outcomes = |count: usize| {
        eventually(&format!("it fails {count} times"), || {
            let is_steady = agent.journal()?["phase"] == "steady";
            let is_rolled_back = agent.outcome().as_deref() == Some("rolled-back activation-failed");
            (tries() == count && is_steady && is_rolled_back).then_some(())
        });
    };
    world.edit("another release\n");
    world.publish();
    outcomes(1);
    order(&world, &json!({ "retry": Timestamp::now() }), false);
    outcomes(2);
    let at = agent.journal().expect("a journal")["retry_ordered"].clone();
    // The same moment in another assignment, another agent, and a word on the host beside it.
    order(&world, &json!({ "retry": at }), false);
    hears(&world, &agent);
    for_a_while(A_FEW_POLLS);
    drop(running);
    let running = agent.start();
    for_a_while(A_FEW_POLLS);
    assert_eq!(tries(), 2);
    agent.run(&["retry"]).works();
    outcomes(3);
    drop(running);
    let running = agent.start();
    for_a_while(A_FEW_POLLS);
    assert_eq!(tries(), 3, "neither is heeded again");
    fs::write(agent.path("apply"), "true\n").expect("written");
    order(&world, &json!({ "retry": Timestamp::now() }), false);
    agent.commits(2);
    drop(running);
}
