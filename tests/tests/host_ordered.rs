//! A real host whose operator reads its reports, and has it reboot, by itself and as part of a rollout.

use std::fs;
use std::process::Stdio;

use npc_core::document::{Document, Report};
use npc_core::envelope::Envelope;
use npc_tests::eventually;
use npc_tests::host::{self, AGENT, Host, System};
use npc_tests::parts::HostBase;
use npc_tests::process::Background;
use npc_tests::world::{Kind, World};

const TOKEN: &str = "the-token-of-the-host-0123456789";

/// Where the host has its token.
const TOKEN_FILE: &str = "/root/token";

/// A system whose agent may write its report.
fn system(world: &World) -> System {
    let plain = format!("store_token_file = \"{TOKEN_FILE}\"\n{}\nremote = \"prod\"", world.host_settings());
    world.system().with(
        "/npc/agent/settings",
        format!("{plain}\nconfiguration = \"host\"\nhost = \"host\"\npoll_interval = 1\n[probation]\nsettle = 2\nstore = 3\nlimit = 10\n"),
    )
}

fn operator(world: &World, arguments: &[&str]) -> Background {
    let mut command = world.command("npc-publish");
    command.args(arguments).current_dir(world.path("fleet")).stdin(Stdio::null());
    Background::start(&mut command, &world.path(&format!("{}.log", arguments[0])))
}

fn boot_id(host: &Host) -> String {
    host.read("/proc/sys/kernel/random/boot_id").expect("it is on")
}

/// Lets a host reboot that an operator waits for, and gives what the operator was told.
fn reboots(world: &World, host: &mut Host, arguments: &[&str]) -> String {
    let before = boot_id(host);
    let mut operator = operator(world, arguments);
    host.reboots();
    assert!(operator.wait().success(), "{}", operator.words());
    assert_ne!(boot_id(host), before);
    format!("{}{}", operator.data(), operator.words())
}

/// A host that is on and may write its report.
fn reporting_host() -> Option<(World, Host)> {
    let base = HostBase::find()?;
    let mut world = host::world(&Kind::Served);
    world.serve_hosts(&format!("host {TOKEN}\n"));
    let mut host = Host::install(&base, &world, &system(&world));
    host.write(TOKEN_FILE, TOKEN);
    host.run(["chmod", "600", TOKEN_FILE]).works();
    host.power_on();
    Some((world, host))
}

#[test]
fn a_host_reports_which_of_its_units_have_failed() {
    let Some((world, host)) = reporting_host() else { return };
    let broken = || {
        let bytes = fs::read(world.path("store/reports/host.json")).ok()?;
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        let report: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
        let is_broken = |unit: &str| unit.starts_with("broken-");
        Some(report.body.failed_units.into_iter().filter(|unit| is_broken(unit)).collect::<Vec<_>>())
    };
    eventually("it reports that nothing is broken", || broken()?.is_empty().then_some(()));
    host.run(["systemd-run", "--unit", "broken-1.service", "false"]).works();
    host.run(["systemd-run", "--unit", "broken-2.service", "true"]).works();
    eventually("one has failed", || (host.unit_state("broken-1.service") == "failed").then_some(()));
    host.run(["systemctl", "restart", AGENT]).works();
    eventually("it reports that", || (broken()? == ["broken-1.service"]).then_some(()));
}

#[test]
fn a_host_reboots_when_its_operator_orders_it_and_the_operator_waits_until_it_is_back() {
    let Some((world, mut host)) = reporting_host() else { return };
    let serial = world.publish_system(|_| system(&world));
    host.commits(serial);
    world.in_fleet(&["repoint", "host", "--remote", "prod"]).works();
    eventually("all is well", || (world.in_fleet(&["status"]).code == Some(0)).then_some(()));
    assert!(world.in_fleet(&["reboot", "host", "--needed"]).words.contains("no host needs a reboot"));

    // Chosen for the next release, and back again: `prod` keeps what it has.
    world.publish_system(|_| system(&world).kernel("6.12.0"));
    world.in_fleet(&["promote", "prod", "next", "--yes"]).works();
    world.in_fleet(&["rollback", "prod", "--yes"]).works();
    eventually("it needs no reboot any more", || (world.in_fleet(&["status"]).code == Some(0)).then_some(()));
    let start = ["rollout", "start", "--to", "next", "--hosts", "all", "--waves", "100%", "--soak", "2s", "--reboot"];
    let said = reboots(&world, &mut host, &start);
    for words in ["wave 1/1: host needs-reboot", "wave 1/1: host rebooting", "wave 1/1 of next-1 is done"] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    assert_eq!(host.systems(), [(); 4].map(|()| host.running()));
    world.in_fleet(&["rollout", "finish", "--yes"]).works();
    eventually("all is well", || (world.in_fleet(&["status"]).code == Some(0)).then_some(()));

    assert_eq!(world.in_fleet(&["reboot", "host", "--dry-run"]).works(), "host\n");
    let said = reboots(&world, &mut host, &["reboot", "host"]);
    assert!(said.contains("host is back"), "{said}");
}
