//! Whether test hosts behave as hosts do: what scenarios rely upon.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use npc_tests::eventually;
use npc_tests::host::{self, Host, System};
use npc_tests::parts::HostBase;
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World};

const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// A host without an agent, which only does what the test tells it to.
fn quiet_host() -> Option<(World, Host)> {
    let base = HostBase::find()?;
    let world = host::world(&Kind::Served);
    let host = Host::boot(&base, &world, &world.system().without_agent());
    Some((world, host))
}

/// Switches by hand.
fn switch(world: &World, host: &Host, action: &str, choose: impl FnOnce(System) -> System) -> Ended {
    let system = host.build(world, &choose(world.system().without_agent()));
    host.switch(&system, action)
}

#[test]
fn units_of_the_new_system_replace_those_of_the_old_one_as_their_settings_say() {
    let Some((world, host)) = quiet_host() else { return };
    let unit =
        |settings: &str, seconds: u32| format!("[Unit]\n{settings}\n[Service]\nExecStart=/bin/sleep {seconds}\n");
    let settings = ["", "X-RestartIfChanged=false", "X-StopIfChanged=false"];
    let all = |mut system: System, seconds| {
        for (number, settings) in settings.iter().enumerate() {
            system = system.unit(&format!("unit-{number}.service"), &unit(settings, seconds));
        }
        system
    };
    let first = |system| all(system, 1000).unit("same.service", GOOD).unit("gone.service", GOOD);
    let first = |system| first(system).unit("stays.service", &unit("X-StopOnRemoval=false", 1000));
    let switched = switch(&world, &host, "test", first);
    let names = ["unit-0", "unit-1", "unit-2", "same", "gone", "stays"].map(|name| format!("{name}.service"));
    let is_new = |line: &&str| line.starts_with("the following new units were started: ");
    // Some of Debian's own may be among them.
    let new = switched.words.lines().find(is_new).unwrap_or_else(|| panic!("{switched:?}"));
    assert!(names.iter().all(|name| new.contains(name)), "{new}");
    switched.works();
    let processes = || names.each_ref().map(|name| host.unit_property(name, "MainPID"));
    let before = processes();
    assert!(before.iter().all(|process| process != "0"), "{before:?}");
    let second = switch(&world, &host, "test", |system| all(system, 2000).unit("same.service", GOOD));
    assert!(second.words.contains("NOT restarting the following changed units: unit-1.service"), "{second:?}");
    second.works();
    let changed: Vec<_> = before.iter().zip(processes()).map(|(before, after)| *before != after).collect();
    assert_eq!(changed, [true, false, true, false, true, false]);
    assert_eq!(host.unit_state("gone.service"), "inactive");
}

#[test]
fn switching_fails_in_the_ways_of_nixos() {
    let Some((world, host)) = quiet_host() else { return };
    let first = host.running();
    let while_held = "mkdir -p /run/nixos; exec flock /run/nixos/switch-to-configuration.lock \"$@\"";
    let switched = host.run(["sh", "-c", while_held, "sh", "/run/current-system/bin/switch-to-configuration", "test"]);
    switched.fails(11, &["Could not acquire lock"]);
    switch(&world, &host, "test", |system| system.inhibit_switch("it's late")).fails(1, &["it's late"]);
    switch(&world, &host, "test", |system| system.init_interface_version(4)).fails(100, &["until you reboot"]);
    switch(&world, &host, "boot", |system| system.fail_boot_loader("no entry")).fails(1, &["no entry"]);
    host.fill_boot(true);
    switch(&world, &host, "boot", |system| system).fails(1, &["No space left on device"]);
    host.fill_boot(false);
    assert_eq!([host.running(), host.boot_default()], [first.clone(), first.clone()], "nothing has changed");
    let dry = switch(&world, &host, "dry-activate", |system| system.unit("good.service", GOOD));
    assert!(dry.words.contains("would start"), "{dry:?}");
    assert_eq!(host.running(), first);
    switch(&world, &host, "test", |system| system.activation("exit 5")).fails(2, &["Failed to run activate script"]);
    assert_ne!(host.running(), first, "it runs for all that");
    switch(&world, &host, "test", |system| system.failing_unit("bad.service")).fails(4, &["bad.service"]);
    // About to be restarted, or already running again: what NixOS sees depends on the moment.
    let looping = switch(&world, &host, "test", |system| system.crash_looping_unit("loop.service"));
    assert!([Some(0), Some(4)].contains(&looping.code), "{looping:?}");
    eventually("it loops", || {
        host.unit_property("loop.service", "NRestarts").parse::<u32>().is_ok_and(|restarts| restarts > 1).then_some(())
    });
}

#[test]
fn transient_units_and_timers_work() {
    let Some((_world, host)) = quiet_host() else { return };
    host.run(["systemd-run", "--no-block", "--unit", "soon", "touch", "/run/soon"]).works();
    host.run(["systemd-run", "--on-active", "1", "--timer-property=AccuracySec=1ms", "touch", "/run/later"]).works();
    for file in ["/run/soon", "/run/later"] {
        eventually(file, || host.read(file));
    }
    host.run(["systemd-run", "--wait", "--pipe", "sh", "-c", "exit 11"]).fails(11, &[]);
    assert!(host.log().contains("soon.service"));
}

#[test]
fn a_power_cut_ends_everything_and_a_shutdown_stops_everything() {
    let Some((world, mut host)) = quiet_host() else { return };
    let unit = "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sh -c 'echo stopped >> /root/stopped'\n";
    let system = host.build(&world, &world.system().without_agent().unit("last.service", unit));
    host.switch(&system, "switch").works();
    let boot = host.read("/proc/sys/kernel/random/boot_id");
    host.cut_power();
    assert_eq!(host.running(), None);
    assert_eq!(host.read("/root/stopped"), None, "it had no chance");
    host.power_on();
    assert_eq!(host.booted(), Some(system));
    assert_eq!(host.unit_state("last.service"), "active");
    assert_ne!(host.read("/proc/sys/kernel/random/boot_id"), boot);
    host.shut_down();
    assert_eq!(host.read("/root/stopped").as_deref(), Some("stopped\n"));
    host.power_on();
}

#[test]
fn a_host_whose_boot_never_ends_can_be_looked_at() {
    let Some((world, mut host)) = quiet_host() else { return };
    let before = host.running();
    let system = host.build(&world, &world.system().without_agent().hanging_unit("hang.service"));
    host.set_profile(&system);
    host.switch(&system, "boot").works();
    assert_eq!(host.running(), before, "it is for the next boot");
    host.cut_power();
    host.press_power();
    let state = || host.run(["systemctl", "is-system-running"]).data;
    eventually("it is being started", || (state().trim() == "starting").then_some(()));
    eventually("it hangs", || (host.unit_state("hang.service") == "activating").then_some(()));
    let booted = Some(system);
    assert_eq!([host.running(), host.booted(), host.profile()], [booted.clone(), booted.clone(), booted]);
}

/// Two at once, each with a network of its own.
#[test]
fn hosts_do_not_meet() {
    let Some((world, one)) = quiet_host() else { return };
    let base = HostBase::find().expect("it was there");
    let two = Host::boot(&base, &world, &world.system().without_agent().cut_network("cut.service"));
    one.write("/root/mine", "one");
    assert_eq!(two.read("/root/mine"), None);
    let lo = |host: &Host| host.run(["ip", "-brief", "link", "show", "up"]).works();
    assert!(lo(&one).contains("lo") && lo(&two).is_empty());
    two.run(["systemctl", "stop", "cut.service"]).works();
    assert!(lo(&two).contains("lo"));
}

/// A panic is a test's most usual end.
#[test]
fn nothing_is_left_of_a_host_whose_test_panics() {
    let Some(base) = HostBase::find() else { return };
    let panicked = std::panic::catch_unwind(|| {
        let world = host::world(&Kind::Served);
        let host = Host::boot(&base, &world, &world.system().without_agent());
        std::panic::panic_any((host.name().to_owned(), host.folder().to_owned()));
    });
    let (name, folder) = *panicked.expect_err("it panics").downcast::<(String, PathBuf)>().expect("the host's");
    let is_of_host = |entry: &fs::DirEntry| {
        fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|command| command.contains(&name))
    };
    assert_eq!(fs::read_dir("/proc").expect("processes").flatten().filter(is_of_host).count(), 0);
    assert!(!folder.exists());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(folder.to_str().expect("a plain path")), "{mounts}");
    let groups = Ended::of(Command::new("find").args(["/sys/fs/cgroup", "-name", &name]));
    assert_eq!(groups.works(), "");
}
