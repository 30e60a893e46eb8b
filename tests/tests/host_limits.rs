//! Real hosts that run out of something: disks that are full, and stay so.

use npc_tests::eventually;
use npc_tests::host::{self, Host};
use npc_tests::world::World;

const AGENT: &str = "npc-agent.service";

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Takes all the room that is left to the agent.
const FILL: &str = "cat /dev/zero >/var/lib/npc-agent/ballast || true";

/// A host whose agent remembers on a disk of its own, which is soon full.
fn host_with_tiny_disk() -> Option<(World, Host)> {
    let (world, host) = host::running(|system| system)?;
    host.run(["systemctl", "stop", AGENT]).works();
    host.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", "/var/lib/npc-agent"]).works();
    host.run(["systemctl", "start", AGENT]).works();
    let serial = world.publish_system(|system| system.unit("first.service", GOOD));
    host.commits(serial);
    Some((world, host))
}

fn fill(host: &Host) {
    host.run(["sh", "-c", FILL]).works();
}

fn make_room(host: &Host) {
    host.run(["rm", "/var/lib/npc-agent/ballast"]).works();
}

fn cannot_write(host: &Host) {
    eventually("it notices", || host.log().contains("cannot write the journal").then_some(()));
}

/// Waits until the system before is back and the boot default, and the agent is there.
fn is_back(host: &Host, before: &[Option<std::path::PathBuf>; 4]) {
    eventually("it is as before", || (host.systems() == *before).then_some(()));
    assert_eq!(host.unit_state(AGENT), "active");
}

#[test]
fn a_host_without_room_to_remember_begins_nothing_until_there_is_some() {
    let Some((world, host)) = host_with_tiny_disk() else { return };
    let before = host.systems();
    fill(&host);
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    cannot_write(&host);
    assert_eq!(host.systems(), before);
    make_room(&host);
    host.commits(serial);
}

#[test]
fn a_disk_that_is_full_from_the_middle_of_an_activation_on_keeps_no_host_from_going_back() {
    let Some((world, host)) = host_with_tiny_disk() else { return };
    let before = host.systems();
    world.publish_system(|system| system.activation(FILL).unit("good.service", GOOD));
    eventually("the new system runs", || (host.running() != before[0]).then_some(()));
    is_back(&host, &before);
    // What is on the disk still tells of the activation.
    host.run(["systemctl", "kill", "--signal=SIGKILL", AGENT]).works();
    eventually("another agent runs", || (host.unit_property(AGENT, "NRestarts") != "0").then_some(()));
    is_back(&host, &before);
    make_room(&host);
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    host.commits(serial);
}

#[test]
fn a_disk_that_is_full_from_the_middle_of_a_probation_on_leaves_the_old_system_or_the_new_one() {
    let Some((world, host)) = host_with_tiny_disk() else { return };
    let before = host.systems();
    world.publish_system(|system| system.unit("good.service", GOOD));
    eventually("probation", || (host.journal()?["phase"] == "probation").then_some(()));
    fill(&host);
    is_back(&host, &before);
    make_room(&host);
    let serial = world.publish_system(|system| system.unit("better.service", GOOD));
    host.commits(serial);
}
