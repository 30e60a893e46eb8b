//! What befalls real hosts in the middle of an attempt: shutdowns, agents that stay dead, other people's switches.

use npc_tests::eventually;
use npc_tests::host::{self, AGENT, Host, System};

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Has the boot loader wait for this shell before it is changed, after saying that it has begun.
fn boot_loader(system: System, script: &str) -> System {
    system.with("/boot/loader/check", format!("touch /run/boot-loader-begins\n{script}"))
}

fn is_installing_the_boot_loader(host: &Host) {
    eventually("the boot loader is being installed", || host.read("/run/boot-loader-begins"));
}

#[test]
fn a_shutdown_waits_for_a_boot_loader_that_is_being_installed() {
    let Some((world, mut host)) = host::running(|system| system) else { return };
    let serial = world.publish_system(|system| boot_loader(system, "sleep 3").unit("good.service", GOOD));
    is_installing_the_boot_loader(&host);
    let new = host.running();
    host.begin_reboot();
    host.reboots();
    assert_eq!(host.systems(), [(); 4].map(|()| new.clone()));
    host.commits(serial);
    assert_eq!(host.outcome().as_deref(), Some("committed"), "it was not tried again");
}

#[test]
fn a_commit_that_a_shutdown_forestalls_is_undone_by_the_next_boot_and_blames_nobody() {
    let Some((world, mut host)) = host::running(|system| system) else { return };
    let before = host.systems();
    // The profile takes so long that the shutdown begins before the boot loader can.
    let script = "#!/bin/sh\ntouch /run/profile-begins\nsleep 2\nexec /usr/bin/nix-env \"$@\"\n";
    host.write("/usr/local/bin/nix-env", script);
    host.run(["chmod", "+x", "/usr/local/bin/nix-env"]).works();
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    eventually("the profile is being set", || host.read("/run/profile-begins"));
    host.begin_reboot();
    host.reboots();
    host.comes_to("rolled-back interrupted");
    assert_eq!(host.systems(), before);
    host.run(["rm", "/usr/local/bin/nix-env"]).works();
    host.retry();
    host.commits(serial);
}

/// What is checked is stopped before the agent is.
#[test]
fn a_shutdown_in_probation_is_no_systems_fault() {
    let Some((world, mut host)) = host::running(|system| system) else { return };
    let before = host.systems();
    let lingers = "[Unit]\nAfter=npc-agent.service\n\
                   [Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 5\n";
    let checks = r#"{"healthChecks": {
        "pending": {"type": "command", "command": ["/bin/false"], "interval": 1, "startPeriod": 60},
        "good": {"type": "unit", "unit": "good.service", "interval": 1, "retries": 0}
    }}"#;
    let broken = |system: System| system.unit("lingers.service", lingers).etc("npc/host.json", checks);
    world.publish_system(|system| broken(system).unit("good.service", GOOD));
    eventually("its agent has begun", || (host.unit_property(AGENT, "NRestarts") == "1").then_some(()));
    eventually("it runs", || (host.unit_state(AGENT) == "active").then_some(()));
    host.begin_reboot();
    host.reboots();
    host.comes_to("rolled-back interrupted");
    assert_eq!(host.systems(), before);
}

#[test]
fn a_boot_loader_that_hangs_is_ended_and_rolled_back() {
    let impatient = |system: System| system.agent_settings("[activation]\ntimeout = 12");
    let Some((world, host)) = host::running(impatient) else { return };
    let before = host.systems();
    world.publish_system(|system| boot_loader(impatient(system), "trap '' TERM\nsleep infinity"));
    host.comes_to("rolled-back boot-failed");
    assert_eq!(host.systems(), before);
    let journal = host.journal().expect("a journal");
    assert!(journal["outcomes"][0]["message"].to_string().contains("it took too long"), "{journal}");
}

/// Waits until the agent that the timer starts again has noted what came of a release.
fn is_rescued_from(host: &Host, serial: u64) {
    eventually("the verdict", || {
        let journal = host.journal()?;
        let said = journal["outcomes"][0]["message"].as_str()?.contains(&format!("prod@{serial}"));
        (said && journal["phase"] == "steady").then_some(())
    });
    assert_eq!(host.outcome().as_deref(), Some("rolled-back deadline-passed"));
    assert_eq!(host.unit_state(AGENT), "active");
}

#[test]
fn the_timer_ends_an_activation_that_hangs_while_the_agent_is_dead() {
    let Some((world, host)) = host::running(|system| system) else { return };
    let before = host.systems();
    let hangs =
        world.publish_system(|system| system.activation("trap '' TERM\ntouch /run/activation-hangs\nsleep infinity"));
    eventually("it is being activated", || host.read("/run/activation-hangs"));
    host.kill_agent_for_good();
    host.time_is_up("dead-man");
    is_rescued_from(&host, hangs);
    assert_eq!(host.systems(), before);
}

#[test]
fn the_timer_ends_a_boot_loader_that_hangs_while_the_agent_is_dead() {
    let Some((world, host)) = host::running(|system| system) else { return };
    let before = host.systems();
    let hangs = world.publish_system(|system| boot_loader(system, "trap '' TERM\nsleep infinity"));
    is_installing_the_boot_loader(&host);
    host.kill_agent_for_good();
    host.time_is_up("dead-man-probation");
    is_rescued_from(&host, hangs);
    assert_eq!(host.systems(), before);
}

/// A system whose activation lasts until somebody else waits for the lock of `switch-to-configuration`.
fn activation_until_locked(system: System) -> System {
    // Whoever waits for it has it before the settle time is over.
    let system = system.settle(8);
    system.activation("touch /run/activation-begins\nwhile [ ! -e /run/lock-is-wanted ]; do sleep 0.1; done")
}

/// Has somebody hold that lock from the end of the activation on, until told to let go.
fn lock_after_activation(host: &Host) {
    eventually("it is being activated", || host.read("/run/activation-begins"));
    let script = "touch /run/lock-is-wanted; exec flock /run/nixos/switch-to-configuration.lock \
                  sh -c 'touch /run/locked; while [ ! -e /run/unlock ]; do sleep 0.1; done'";
    host.run(["systemd-run", "--quiet", "sh", "-c", script]).works();
    eventually("it is locked", || host.read("/run/locked"));
}

/// Waits until the agent waits in this phase, and has the lock let go.
fn waits_for_the_lock(host: &Host, phase: &str) {
    eventually("it waits", || host.log().contains("waiting for somebody else's switch").then_some(()));
    assert_eq!(host.journal().expect("a journal")["phase"], phase);
    host.write("/run/unlock", "");
}

#[test]
fn a_commit_waits_for_somebody_elses_switch() {
    let Some((world, host)) = host::running(|system| system) else { return };
    let before = host.boot_default();
    let serial = world.publish_system(|system| activation_until_locked(system).unit("good.service", GOOD));
    lock_after_activation(&host);
    waits_for_the_lock(&host, "committing");
    host.commits(serial);
    assert_ne!(host.boot_default(), before);
    assert_eq!(host.boot_default(), host.running());
}

#[test]
fn a_roll_back_waits_for_somebody_elses_switch() {
    let Some((world, host)) = host::running(|system| system) else { return };
    let before = host.systems();
    world.publish_system(|system| activation_until_locked(system).failing_unit("bad.service"));
    lock_after_activation(&host);
    waits_for_the_lock(&host, "rolling-back");
    host.comes_to("rolled-back units-failed");
    assert_eq!(host.systems(), before);
}
