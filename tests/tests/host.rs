//! Agents that are units of real hosts, under a real systemd.

use npc_tests::eventually;
use npc_tests::host::{self, AGENT, Host};
use npc_tests::world::World;

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// A world, and a host in it that runs a plain system.
fn plain_host() -> Option<(World, Host)> {
    host::running(|system| system)
}

/// The agent that runs, by its own path.
fn agent(host: &Host) -> String {
    let process = host.unit_property(AGENT, "MainPID");
    host.run(["readlink", &format!("/proc/{process}/exe")]).data.trim().to_owned()
}

/// A system whose activation takes its time, and says that it has begun.
fn slow_activation(system: host::System) -> host::System {
    system.activation("touch /run/activation-begins\nsleep 3")
}

fn is_activating(host: &Host) {
    eventually("it is being activated", || host.read("/run/activation-begins"));
}

#[test]
fn a_host_boots_follows_a_release_and_boots_that_after_a_power_cut() {
    let Some((world, mut host)) = plain_host() else { return };
    let first = host.running();
    assert!(first.is_some());
    assert_eq!(host.systems(), [(); 4].map(|()| first.clone()));
    assert_eq!(host.unit_state(AGENT), "active");
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    host.commits(serial);
    let second = host.running();
    assert_ne!(second, first);
    assert_eq!(host.systems(), [second.clone(), first, second.clone(), second.clone()]);
    assert_eq!(host.unit_state("good.service"), "active");
    assert_eq!(host.unit_state(AGENT), "active");
    let timers = host.run(["systemctl", "list-timers", "--all", "--no-legend"]).works();
    assert!(!timers.contains("dead-man"), "{timers}");
    host.write("/run/before-the-cut", "");
    host.power_cycle();
    assert_eq!(host.read("/run/before-the-cut"), None);
    assert_eq!(host.systems(), [(); 4].map(|()| second.clone()));
    assert_eq!(host.unit_state("good.service"), "active");
    assert_eq!(host.unit_state(AGENT), "active");
}

#[test]
fn a_release_whose_activation_script_fails_is_rolled_back() {
    let Some((world, host)) = plain_host() else { return };
    let before = host.systems();
    world.publish_system(|system| system.activation("echo nothing doing; exit 7").unit("good.service", GOOD));
    host.comes_to("rolled-back activation-failed");
    assert_eq!(host.systems(), before);
    assert_eq!(host.unit_state("good.service"), "inactive", "it was stopped again");
    assert_eq!(host.unit_state(AGENT), "active");
    let log = host.journal().expect("a journal")["outcomes"][0]["log"].to_string();
    assert!(log.contains("nothing doing"), "the end of the unit's output is kept: {log}");
    let told = host.run(["journalctl", "--quiet", "--output=cat", "NPC_KIND=activation-failed"]).works();
    assert!(told.contains("could not activate the system"), "the journal has the kind of the error: {told}");
}

#[test]
fn a_release_with_a_failing_unit_is_rolled_back() {
    let Some((world, host)) = plain_host() else { return };
    let before = host.systems();
    world.publish_system(|system| system.failing_unit("bad.service"));
    host.comes_to("rolled-back units-failed");
    assert_eq!(host.systems(), before);
    assert_eq!(host.run(["systemctl", "is-system-running"]).data.trim(), "running", "no unit is left failed");
    let journal = host.journal().expect("a journal");
    assert!(journal["outcomes"][0]["message"].to_string().contains("failed: bad.service"), "{journal}");
}

#[test]
fn a_release_with_a_unit_that_crashes_again_and_again_is_rolled_back() {
    let Some((world, host)) = plain_host() else { return };
    let before = host.systems();
    world.publish_system(|system| system.crash_looping_unit("loop.service"));
    eventually("a verdict", || host.outcome().filter(|outcome| outcome.starts_with("rolled-back units-")));
    assert_eq!(host.systems(), before);
    assert_eq!(host.unit_state("loop.service"), "inactive");
}

/// What was broken before is not the release's fault, and mending it must stay possible.
#[test]
fn a_unit_that_had_failed_before_keeps_no_release_from_being_committed() {
    let Some((world, host)) = host::running(|system| system.failing_unit("old.service")) else { return };
    assert_eq!(host.unit_state("old.service"), "failed");
    let serial = world.publish_system(|system| system.failing_unit("old.service").unit("good.service", GOOD));
    host.commits(serial);
    let journal = host.journal().expect("a journal");
    assert!(journal["outcomes"][0]["message"].to_string().contains("failed as before: old.service"), "{journal}");
}

#[test]
fn a_release_whose_health_check_fails_is_rolled_back_and_one_whose_passes_is_committed() {
    let Some((world, host)) = plain_host() else { return };
    let check = |check: &str| format!("{{\"healthChecks\": {{\"web\": {check}}}}}");
    let unit = check(r#"{"type": "unit", "unit": "good.service", "retries": 0}"#);
    let serial = world.publish_system(|system| system.unit("good.service", GOOD).etc("npc/host.json", &unit));
    host.commits(serial);
    let before = host.systems();
    let closed = check(r#"{"type": "tcp", "port": 1, "interval": 1, "retries": 1}"#);
    world.publish_system(|system| system.unit("good.service", GOOD).etc("npc/host.json", &closed));
    host.comes_to("rolled-back health-check-failed");
    assert_eq!(host.systems(), before);
}

#[test]
fn a_release_that_cuts_the_network_is_rolled_back() {
    let Some((world, host)) = plain_host() else { return };
    for cut in [host::System::refuse_network, host::System::cut_network] {
        let good =
            world.publish_system(|system| system.unit(&format!("good-{}.service", host.activations().len()), GOOD));
        host.commits(good);
        let before = host.systems();
        world.publish_system(|system| cut(system, "cut.service"));
        host.comes_to("rolled-back store-unreachable");
        assert_eq!(host.systems(), before);
        assert_eq!(host.unit_state("cut.service"), "inactive");
        assert_eq!(host.journal().expect("a journal")["phase"], "steady", "it is not tried again");
    }
    let after = world.publish_system(|system| system.unit("better.service", GOOD));
    host.commits(after);
}

/// The agent cannot start in the new system, so nobody there can commit or go back: the timer does.
#[test]
fn a_release_that_removes_or_breaks_the_agent_is_rolled_back_by_the_timer() {
    let Some((world, host)) = plain_host() else { return };
    let broken: [fn(host::System) -> host::System; 3] = [
        host::System::without_agent,
        |system| system.agent_program("/bin/false"),
        |system| system.agent_settings("nonsense ="),
    ];
    let before = host.systems();
    for (number, break_agent) in broken.into_iter().enumerate() {
        world.publish_system(|system| break_agent(system).unit(&format!("good-{number}.service"), GOOD));
        eventually("it runs", || (host.running() != before[0]).then_some(()));
        for command in ["daemon-reload", "daemon-reexec"] {
            host.run(["systemctl", command]).works();
        }
        eventually("the verdict", || {
            let journal = host.journal()?;
            let said = journal["outcomes"][0]["message"].as_str()?.contains(&format!("prod@{}", number + 1));
            (said && journal["phase"] == "steady").then_some(())
        });
        assert_eq!(host.outcome().as_deref(), Some("rolled-back deadline-passed"));
        assert_eq!(host.systems(), before);
        assert_eq!(host.unit_state(AGENT), "active");
    }
}

#[test]
fn a_release_that_hangs_in_activation_is_ended_and_rolled_back() {
    let impatient = |system: host::System| system.agent_settings("[activation]\ntimeout = 12");
    let Some((world, host)) = host::running(impatient) else { return };
    let before = host.systems();
    world.publish_system(|system| impatient(system).hanging_activation());
    host.comes_to("rolled-back activation-failed");
    assert_eq!(host.systems(), before);
    let journal = host.journal().expect("a journal");
    assert!(journal["outcomes"][0]["message"].to_string().contains("it took too long"), "{journal}");
    let serial = world.publish_system(|system| impatient(system).unit("good.service", GOOD));
    host.commits(serial);
}

#[test]
fn an_agent_killed_in_the_middle_of_a_switch_goes_on_when_it_is_back() {
    let Some((world, host)) = plain_host() else { return };
    let serial = world.publish_system(|system| slow_activation(system).unit("good.service", GOOD));
    is_activating(&host);
    let killed = host.unit_property(AGENT, "MainPID");
    host.kill_agent();
    host.commits(serial);
    assert_ne!(host.unit_property(AGENT, "MainPID"), killed);
    let switches = host.activations();
    assert_eq!(switches.iter().filter(|line| line.starts_with("test")).count(), 1, "it ran once: {switches:?}");
}

#[test]
fn a_power_cut_during_an_activation_or_in_probation_boots_the_system_before() {
    let Some((world, mut host)) = plain_host() else { return };
    let before = host.systems();
    world.publish_system(host::System::hanging_activation);
    eventually("it is being activated", || host.read("/run/activation-hangs"));
    host.power_cycle();
    host.comes_to("rolled-back interrupted");
    assert_eq!(host.systems(), before);
    world.publish_system(|system| system.unit("good.service", GOOD));
    eventually("probation", || (host.journal()?["phase"] == "probation").then_some(()));
    host.power_cycle();
    host.comes_to("rolled-back interrupted");
    assert_eq!(host.systems(), before);
}

#[test]
fn an_agent_is_upgraded_by_its_own_switch() {
    let Some((world, host)) = plain_host() else { return };
    assert!(agent(&host).ends_with("-npc-agent-1/bin/npc-agent"), "{}", agent(&host));
    let serial = world.publish_system(|system| system.agent_version("2"));
    host.commits(serial);
    assert!(agent(&host).ends_with("-npc-agent-2/bin/npc-agent"), "{}", agent(&host));
}

#[test]
fn somebody_elses_switch_is_waited_for() {
    let Some((world, host)) = plain_host() else { return };
    let script = "mkdir -p /run/nixos; exec flock /run/nixos/switch-to-configuration.lock \
                  sh -c 'touch /run/locked; while [ ! -e /run/unlock ]; do sleep 0.1; done'";
    host.run(["systemd-run", "--quiet", "sh", "-c", script]).works();
    eventually("the lock is held", || host.read("/run/locked"));
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    host.comes_to("failed switch-in-progress");
    assert!(host.journal().expect("a journal").get("quarantine").is_none());
    host.write("/run/unlock", "");
    let agent = agent(&host);
    host.run([agent.as_str(), "retry"]).works();
    host.commits(serial);
}

#[test]
fn a_system_activated_by_hand_is_seen_and_stays_until_the_next_release() {
    let Some((world, host)) = plain_host() else { return };
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    host.commits(serial);
    let by_hand = host.build(&world, &world.system().unit("by-hand.service", GOOD));
    host.set_profile(&by_hand);
    host.switch(&by_hand, "switch").works();
    host.comes_to("failed changed-by-hand");
    npc_tests::process::for_a_while(std::time::Duration::from_secs(3));
    assert_eq!(host.running().as_ref(), Some(&by_hand), "it is not fought over");
    let serial = world.publish_system(|system| system.unit("better.service", GOOD));
    host.commits(serial);
    assert_ne!(host.running().as_ref(), Some(&by_hand));
}

#[test]
fn a_full_boot_partition_leaves_the_old_system_to_run_and_to_boot() {
    let Some((world, mut host)) = plain_host() else { return };
    let before = host.systems();
    host.fill_boot(true);
    world.publish_system(|system| system.unit("good.service", GOOD));
    host.comes_to("rolled-back boot-failed");
    assert_eq!(host.systems(), before);
    host.power_cycle();
    assert_eq!(host.systems(), before);
}

fn awaits_its_boot(host: &Host) {
    eventually("it waits for its boot", || host.journal()?.get("unproven").map(drop));
}

#[test]
fn another_kernel_is_booted_when_policy_says_so_and_proved_by_its_first_boot() {
    let policy = |system: host::System| system.agent_settings("[activation]\nboot_instead_of_switch = [\"kernel\"]");
    let Some((world, mut host)) = host::running(policy) else { return };
    let first = host.running();
    let serial = world.publish_system(|system| policy(system).kernel("6.12.0").unit("good.service", GOOD));
    awaits_its_boot(&host);
    assert_eq!(host.running(), first, "nothing was activated");
    assert_ne!(host.boot_default(), first);
    assert_eq!(host.committed(), None, "and nothing is committed yet");
    host.power_cycle();
    host.commits(serial);
    assert_eq!(host.unit_state("good.service"), "active");
    let second = host.running();
    world.publish_system(|system| policy(system).kernel("6.13.0").failing_unit("bad.service"));
    awaits_its_boot(&host);
    assert_eq!(host.running(), second);
    host.power_cycle();
    host.comes_to("rolled-back units-failed");
    assert_eq!([host.running(), host.profile(), host.boot_default()], [(); 3].map(|()| second.clone()));
}

/// After a boot there is no timer, so nobody would bring the system before back.
#[test]
fn a_system_whose_agent_would_not_start_is_not_booted_unproved() {
    let policy = |system: host::System| system.agent_settings("[activation]\nboot_instead_of_switch = [\"kernel\"]");
    let Some((world, host)) = host::running(policy) else { return };
    let before = host.systems();
    let broken: [fn(host::System) -> host::System; 2] =
        [|system| system.agent_program("/bin/false"), |system| system.agent_settings("nonsense =")];
    for (number, break_agent) in broken.into_iter().enumerate() {
        let version = format!("6.1{number}.0");
        let serial = world.publish_system(|system| break_agent(policy(system).kernel(&version)));
        eventually("it is refused", || {
            let journal = host.journal()?;
            let last = &journal["outcomes"][0];
            (last["serial"] == serial && last["error"] == "agent-unfit").then_some(())
        });
        assert_eq!(host.systems(), before);
        assert!(host.journal().expect("a journal").get("quarantine").is_none());
    }
    world.publish_system(|system| policy(system).kernel("6.12.0"));
    awaits_its_boot(&host);
}

#[test]
fn a_unit_that_fails_at_every_boot_keeps_no_kernel_from_being_committed() {
    let early = "[Service]\nType=oneshot\nRemainAfterExit=true\nExecStart=/bin/sh -c 'test -e /run/later'\n";
    let Some((world, mut host)) = host::running(|system| system.unit("early.service", early)) else { return };
    let first = world.publish_system(|system| system.unit("early.service", early).unit("good.service", GOOD));
    host.commits(first);
    host.power_cycle();
    eventually("the boot is noted", || {
        let failed = host.journal()?.pointer("/good_boot/failed/0")?.clone();
        (failed == "early.service").then_some(())
    });
    // Somebody mends it every time, so that nothing has failed when the next release comes.
    host.write("/run/later", "");
    host.run(["systemctl", "restart", "early.service"]).works();
    let second = world.publish_system(|system| system.unit("early.service", early).kernel("6.12.0"));
    host.commits(second);
    host.power_cycle();
    eventually("it has proved itself by its boot", || {
        let journal = host.journal()?;
        (journal.get("unproven").is_none() && journal["phase"] == "steady").then_some(())
    });
    assert_eq!(host.committed(), Some(second));
    assert_eq!(host.unit_state("early.service"), "failed");
}

/// Out of a system that could only be booted there is no way but another boot.
#[test]
fn a_host_that_cannot_go_back_reboots_into_the_old_system() {
    let settings = "[activation]\nboot_instead_of_switch = [\"init-interface\"]\n\
                    [reboot]\nif_stranded = true\ncommand = [\"touch\", \"/var/reboots\"]";
    let policy = |system: host::System| system.agent_settings(settings);
    let Some((world, mut host)) = host::running(policy) else { return };
    let first = host.running();
    world.publish_system(|system| policy(system).init_interface_version(2).failing_unit("bad.service"));
    awaits_its_boot(&host);
    host.power_cycle();
    host.comes_to("stranded units-failed");
    assert_ne!(host.running(), first);
    assert_eq!([host.profile(), host.boot_default()], [(); 2].map(|()| first.clone()));
    eventually("it reboots", || host.read("/var/reboots"));
    host.power_cycle();
    assert_eq!(host.systems(), [(); 4].map(|()| first.clone()));
    let serial = world.publish_system(|system| policy(system).unit("good.service", GOOD));
    host.commits(serial);
}

#[test]
fn a_host_that_comes_back_in_the_old_system_reports_that() {
    let Some((world, mut host)) = plain_host() else { return };
    let first = host.running().expect("a system");
    let serial = world.publish_system(|system| system.kernel_params(&["quiet"]).unit("good.service", GOOD));
    host.commits(serial);
    assert!(host.journal().expect("a journal").get("unproven").is_some(), "its kernel parameters were never booted");
    // Somebody chooses the old system in the boot loader's menu.
    host.switch(&first, "boot").works();
    host.power_cycle();
    host.comes_to("rolled-back booted-old-system");
    assert_eq!([host.running(), host.profile(), host.boot_default()], [(); 3].map(|()| Some(first.clone())));
}
