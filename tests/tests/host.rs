//! Agents that are units of real hosts, under a real systemd.

use npc_tests::host::{self, Host};
use npc_tests::parts::HostBase;
use npc_tests::world::Kind;

const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

#[test]
fn a_host_boots_follows_a_release_and_boots_that_after_a_power_cut() {
    let Some(base) = HostBase::find() else { return };
    let world = host::world(&Kind::Served);
    let mut host = Host::boot(&base, &world, &world.system());
    let first = host.running();
    assert!(first.is_some());
    assert_eq!((host.booted(), host.profile(), host.boot_default()), (first.clone(), first.clone(), first.clone()));
    assert_eq!(host.unit_state("npc-agent.service"), "active");
    let agent = host.unit_property("npc-agent.service", "MainPID");
    let serial = world.publish_system(|system| system.unit("good.service", GOOD).kernel_params(&["quiet"]));
    host.commits(serial);
    let second = host.running();
    assert_ne!(second, first);
    assert_eq!((host.booted(), host.profile(), host.boot_default()), (first, second.clone(), second.clone()));
    assert_eq!(host.unit_state("good.service"), "active");
    assert_eq!(host.unit_state("npc-agent.service"), "active");
    assert_eq!(host.unit_property("npc-agent.service", "MainPID"), agent, "it was not restarted");
    host.power_cycle();
    assert_eq!((host.running(), host.booted()), (second.clone(), second));
    assert_eq!(host.unit_state("good.service"), "active");
    assert_eq!(host.unit_state("npc-agent.service"), "active");
}
