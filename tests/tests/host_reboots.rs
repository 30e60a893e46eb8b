//! Real hosts that reboot by policy, and systems that can only be booted into.

use npc_tests::eventually;
use npc_tests::host::{self, Host, System};

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// Has such systems be booted into, on these occasions.
fn policy(system: System, obstacle: &str, reboot: &str) -> System {
    system.agent_settings(&format!("[activation]\nboot_instead_of_switch = [\"{obstacle}\"]\n[reboot]\n{reboot}"))
}

fn says(host: &Host, words: &str) {
    eventually(words, || host.log().contains(words).then_some(()));
}

fn boot_id(host: &Host) -> String {
    host.read("/proc/sys/kernel/random/boot_id").expect("it is on")
}

fn waits_for_its_boot(host: &Host) {
    eventually("it waits for its boot", || host.journal()?.get("unproven").map(drop));
}

/// Has a user be logged in for as long as this unit runs, as far as logind can tell: without a login shell, which would register
/// itself by way of PAM.
fn log_in(host: &Host) {
    host.run(["systemd-run", "--quiet", "--unit=login.service", "sleep", "infinity"]).works();
    let leader = host.unit_property("login.service", "MainPID");
    let manager = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
    let session = ["0", &leader, "login", "tty", "user", "", "", "0", "", "", "false", "", "", "0"];
    let call = ["busctl", "call"].into_iter().chain(manager).chain(["CreateSession", "uusssssussbssa(sv)"]);
    host.run(call.chain(session)).works();
}

#[test]
fn a_host_does_not_reboot_while_somebody_is_logged_in() {
    let patient = |system: System| policy(system, "kernel", "when = \"when-needed\"");
    let Some((world, mut host)) = host::running(patient) else { return };
    log_in(&host);
    let boot = boot_id(&host);
    world.publish_system(|system| patient(system).kernel("6.12.0"));
    says(&host, "still logged in: root");
    assert_eq!(boot_id(&host), boot);
    host.run(["systemctl", "stop", "login.service"]).works();
    // Another release is another reason, which need not wait until users are looked for again.
    let serial = world.publish_system(|system| patient(system).kernel("6.13.0").unit("good.service", GOOD));
    host.reboots();
    host.commits(serial);
    assert_ne!(boot_id(&host), boot);
    assert_eq!(host.systems(), [(); 4].map(|()| host.running()));
    assert_eq!(host.unit_state("good.service"), "active");
}

#[test]
fn a_host_reboots_within_its_window_alone() {
    // Whole hours from now, far enough from either end for any test.
    let window = |now: u64, first: u64, last: u64| {
        let [opens, closes] = [first, last].map(|hours| (now + hours) % 24);
        format!("when = \"in-window\"\nwindows = [\"daily {opens:02}:00-{closes:02}:00\"]\ntime_zone = \"UTC\"")
    };
    let seconds = std::time::UNIX_EPOCH.elapsed().expect("it is later").as_secs();
    let hour = seconds / 3600 % 24;
    for (window, is_open) in [(window(hour, 6, 9), false), (window(hour, 23, 26), true)] {
        let bound = |system: System| policy(system, "kernel", &window);
        let Some((world, mut host)) = host::running(bound) else { return };
        let boot = boot_id(&host);
        let serial = world.publish_system(|system| bound(system).kernel("6.12.0"));
        if is_open {
            host.reboots();
            host.commits(serial);
        } else {
            waits_for_its_boot(&host);
            npc_tests::process::for_a_while(std::time::Duration::from_secs(3));
            assert_eq!(boot_id(&host), boot);
        }
    }
}

#[test]
fn a_system_with_other_switch_inhibitors_is_booted_into_or_refused() {
    let inhibited = |system: System| policy(system, "inhibited", "when = \"when-needed\"");
    let of = |system: System, version: &str| system.switch_inhibitors(&[&format!("systemd-{version}")]);
    let Some((world, mut host)) = host::running(|system| of(inhibited(system), "257")) else { return };
    // The policy that counts is that of the system which runs: this one has none.
    let serial = world.publish_system(|system| of(system, "258").unit("good.service", GOOD));
    host.reboots();
    host.commits(serial);
    assert_eq!(host.systems(), [(); 4].map(|()| host.running()));
    assert_eq!(host.unit_state("good.service"), "active");
    let before = host.systems();
    world.publish_system(|system| of(system, "259").unit("good.service", GOOD));
    host.comes_to("failed needs-reboot");
    assert_eq!(host.systems(), before);
    let journal = host.journal().expect("a journal");
    let message = journal["outcomes"][0]["message"].to_string();
    assert!(message.contains("inhibited"), "{message}");
    assert!(journal.get("quarantine").is_none(), "nothing was activated, and so nothing failed");
}
