//! Real hosts that run out of something: of disk, for good, and of what a build may take.

use npc_tests::eventually;
use npc_tests::host::{self, AGENT, Host, System};
use npc_tests::world::World;

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
    eventually("there is an agent", || (host.unit_state(AGENT) == "active").then_some(()));
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
    host.kill_agent();
    eventually("another agent runs", || (host.unit_property(AGENT, "NRestarts") != "0").then_some(()));
    is_back(&host, &before);
    make_room(&host);
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    host.commits(serial);
}

#[test]
fn a_disk_that_is_full_from_the_middle_of_a_probation_on_leads_back_to_the_old_system() {
    let Some((world, host)) = host_with_tiny_disk() else { return };
    let before = host.systems();
    // Long enough for the disk to be full before it is over.
    world.publish_system(|system| system.settle(6).unit("good.service", GOOD));
    eventually("probation", || (host.journal()?["phase"] == "probation").then_some(()));
    fill(&host);
    is_back(&host, &before);
    make_room(&host);
    let serial = world.publish_system(|system| system.unit("better.service", GOOD));
    host.commits(serial);
}

#[test]
fn the_timer_goes_back_although_the_disk_is_full_and_the_agent_is_dead() {
    let Some((world, host)) = host_with_tiny_disk() else { return };
    let before = host.systems();
    let release = world.publish_system(|system| system.settle(6).unit("good.service", GOOD));
    eventually("probation", || (host.journal()?["phase"] == "probation").then_some(()));
    fill(&host);
    host.kill_agent_for_good();
    host.time_is_up("dead-man-probation");
    is_back(&host, &before);
    make_room(&host);
    eventually("the outcome", || host.outcome().filter(|outcome| outcome.starts_with("rolled-back ")));
    host.retry();
    host.commits(release);
}

/// A system whose build waits until somebody writes the agent's program into a pipe.
fn slow_build(system: System) -> System {
    system.agent_program(PIPE)
}

const PIPE: &str = "/run/slow-program";

/// The scope of the build that runs, and the processes in it.
fn build(host: &Host) -> Option<(String, String)> {
    let scopes = host.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "npc-build-*"]).data;
    let [scope] = scopes.lines().map(|line| line.split_whitespace().next()).collect::<Option<Vec<_>>>()?[..] else {
        return None;
    };
    let processes = host.run(["sh", "-c", "pgrep --full '^cp '; true"]).works();
    (!processes.is_empty()).then(|| (scope.to_owned(), processes))
}

#[test]
fn a_build_has_a_bound_and_does_not_run_beside_that_of_an_agent_that_was_killed() {
    let bounded = |system: System| system.agent_settings("[build]\nmemory_max = \"512M\"");
    let Some((world, host)) = host::running(bounded) else { return };
    host.run(["mkfifo", "--mode=755", PIPE]).works();
    let serial = world.publish_system(|system| slow_build(bounded(system)));
    let (scope, first) = eventually("it builds", || build(&host));
    assert_eq!(host.unit_property(&scope, "MemoryMax"), (512 << 20).to_string());
    let agent = host.unit_property(AGENT, "MainPID");
    host.kill_agent();
    let (_, second) = eventually("another build", || build(&host).filter(|(_, processes)| *processes != first));
    assert_eq!([first.lines().count(), second.lines().count()], [1, 1], "one after the other");
    assert_ne!(host.unit_property(AGENT, "MainPID"), agent);
    host.run(["sh", "-c", &format!("cat /opt/npc/npc-agent >{PIPE}")]).works();
    host.commits(serial);
}

/// As the kernel does where a build takes more memory than it may.
#[test]
fn a_build_that_is_killed_fails_and_leaves_the_agent_alone() {
    let bounded = |system: System| system.agent_settings("[build]\nmemory_max = \"512M\"");
    let Some((world, host)) = host::running(bounded) else { return };
    host.run(["mkfifo", "--mode=755", PIPE]).works();
    let serial = world.publish_system(|system| slow_build(bounded(system)));
    let (scope, _) = eventually("it builds", || build(&host));
    let agent = host.unit_property(AGENT, "MainPID");
    host.run(["systemctl", "kill", "--signal=SIGKILL", &scope]).works();
    host.comes_to("failed build-failed");
    assert_eq!(host.unit_property(AGENT, "MainPID"), agent);
    host.retry();
    eventually("another build", || build(&host));
    host.run(["sh", "-c", &format!("cat /opt/npc/npc-agent >{PIPE}")]).works();
    host.commits(serial);
}
