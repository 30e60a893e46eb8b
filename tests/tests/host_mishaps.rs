//! What befalls real hosts in the middle of an attempt: shutdowns, and boot loaders that hang.

use npc_tests::eventually;
use npc_tests::host::{self, Host, System};

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

#[test]
fn a_boot_loader_that_hangs_is_ended_and_rolled_back() {
    let impatient = |system: System| system.agent_settings("[activation]\ntimeout = 3");
    let Some((world, host)) = host::running(impatient) else { return };
    let before = host.systems();
    world.publish_system(|system| boot_loader(impatient(system), "trap '' TERM\nsleep infinity"));
    host.comes_to("rolled-back boot-failed");
    assert_eq!(host.systems(), before);
    let journal = host.journal().expect("a journal");
    assert!(journal["outcomes"][0]["message"].to_string().contains("it took too long"), "{journal}");
}
