//! Agents that are units of real hosts, under a real systemd.

use std::path::PathBuf;

use npc_tests::eventually;
use npc_tests::host::{self, Host};
use npc_tests::parts::HostBase;
use npc_tests::world::{Kind, World};

const AGENT: &str = "npc-agent.service";

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// A world, and a host in it that runs a plain system.
fn plain_host() -> Option<(World, Host)> {
    let base = HostBase::find()?;
    let world = host::world(&Kind::Served);
    let host = Host::boot(&base, &world, &world.system());
    Some((world, host))
}

/// What runs, what was booted, what the profile names and what would be booted next.
fn systems(host: &Host) -> [Option<PathBuf>; 4] {
    [host.running(), host.booted(), host.profile(), host.boot_default()]
}

fn waits_for_outcome(host: &Host, expected: &str) {
    eventually(expected, || (host.outcome()? == expected).then_some(()));
}

#[test]
fn a_host_boots_follows_a_release_and_boots_that_after_a_power_cut() {
    let Some((world, mut host)) = plain_host() else { return };
    let first = host.running();
    assert!(first.is_some());
    assert_eq!(systems(&host), [(); 4].map(|()| first.clone()));
    assert_eq!(host.unit_state(AGENT), "active");
    let agent = host.unit_property(AGENT, "MainPID");
    let serial = world.publish_system(|system| system.unit("good.service", GOOD).kernel_params(&["quiet"]));
    host.commits(serial);
    let second = host.running();
    assert_ne!(second, first);
    assert_eq!(systems(&host), [second.clone(), first, second.clone(), second.clone()]);
    assert_eq!(host.unit_state("good.service"), "active");
    assert_eq!(host.unit_state(AGENT), "active");
    assert_eq!(host.unit_property(AGENT, "MainPID"), agent, "it was not restarted");
    host.write("/run/before-the-cut", "");
    host.power_cycle();
    assert_eq!(host.read("/run/before-the-cut"), None);
    assert_eq!(systems(&host), [(); 4].map(|()| second.clone()));
    assert_eq!(host.unit_state("good.service"), "active");
    assert_eq!(host.unit_state(AGENT), "active");
}

#[test]
fn a_release_whose_activation_script_fails_is_rolled_back() {
    let Some((world, host)) = plain_host() else { return };
    let before = systems(&host);
    world.publish_system(|system| system.activation("echo nothing doing; exit 7").unit("good.service", GOOD));
    waits_for_outcome(&host, "rolled-back activation-failed");
    assert_eq!(systems(&host), before);
    assert_eq!(host.unit_state("good.service"), "inactive", "it was stopped again");
    assert_eq!(host.unit_state(AGENT), "active");
    let log = host.journal().expect("a journal")["outcomes"][0]["log"].to_string();
    assert!(log.contains("nothing doing"), "{log}");
}

#[test]
fn a_release_with_a_failing_unit_is_rolled_back() {
    let Some((world, host)) = plain_host() else { return };
    let before = systems(&host);
    world.publish_system(|system| system.failing_unit("bad.service"));
    waits_for_outcome(&host, "rolled-back activation-failed");
    assert_eq!(systems(&host), before);
    assert_eq!(host.run(["systemctl", "is-system-running"]).data.trim(), "running", "no unit is left failed");
    let journal = host.journal().expect("a journal");
    assert!(journal["outcomes"][0]["message"].to_string().contains("exit status: 4"), "{journal}");
}

#[test]
fn a_release_that_takes_the_network_away_is_rolled_back() {
    let Some(base) = HostBase::find() else { return };
    let world = host::world(&Kind::Served);
    let probation = |system: host::System| system.agent_settings("[activation]\nprobation = 2");
    let host = Host::boot(&base, &world, &probation(world.system()));
    let good = world.publish_system(|system| probation(system).unit("good.service", GOOD));
    host.commits(good);
    let before = systems(&host);
    world.publish_system(|system| probation(system).refuse_network("cut.service"));
    waits_for_outcome(&host, "rolled-back store-unreachable");
    assert_eq!(systems(&host), before);
    assert_eq!(host.unit_state("cut.service"), "inactive");
    let after = world.publish_system(|system| probation(system).unit("better.service", GOOD));
    host.commits(after);
}

#[test]
fn a_power_cut_during_an_activation_boots_the_system_before() {
    let Some((world, mut host)) = plain_host() else { return };
    let before = systems(&host);
    world.publish_system(host::System::hanging_activation);
    eventually("it is being activated", || host.read("/run/activation-hangs"));
    assert_eq!(host.unit_state(AGENT), "active");
    host.power_cycle();
    waits_for_outcome(&host, "rolled-back interrupted");
    assert_eq!(systems(&host), before);
}

#[test]
fn a_release_with_another_agent_leaves_the_one_that_runs_until_the_next_boot() {
    let Some((world, mut host)) = plain_host() else { return };
    let agent = |host: &Host| {
        let process = host.unit_property(AGENT, "MainPID");
        host.run(["readlink", &format!("/proc/{process}/exe")]).works().trim().to_owned()
    };
    let first = agent(&host);
    assert!(first.ends_with("-npc-agent-1/bin/npc-agent"), "{first}");
    let serial = world.publish_system(|system| system.agent_version("2"));
    host.commits(serial);
    assert_eq!(agent(&host), first);
    host.power_cycle();
    assert!(agent(&host).ends_with("-npc-agent-2/bin/npc-agent"));
}
