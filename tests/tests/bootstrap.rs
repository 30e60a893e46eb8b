//! How a bare machine becomes a host.

use std::fs;

use npc_core::document::{Document, Report};
use npc_core::envelope::Envelope;
use npc_tests::eventually;
use npc_tests::host::{self, AGENT, Host};
use npc_tests::parts::{HostBase, program};
use npc_tests::world::{Kind, World};

/// The agent that follows the fleet until the host has one of its own.
const STAND_IN: &str = "npc-agent-bootstrap.service";

/// Runs for as long as it is told to.
const GOOD: &str = "[Service]\nExecStart=/bin/sleep infinity\n";

/// A world, and a machine in it without an agent.
fn bare_machine() -> Option<(World, Host)> {
    let base = HostBase::find()?;
    let world = host::world(&Kind::Served);
    let host = Host::boot(&base, &world, &world.system().without_agent());
    Some((world, host))
}

fn enrolment(world: &World) -> String {
    format!("{}\nremote = \"prod\"\nconfiguration = \"host\"\nhost = \"host\"\n", world.host_settings())
}

fn install(world: &World, host: &Host) {
    host.write("/root/enrolment.toml", &enrolment(world));
    host.run(["/opt/npc/npc-agent", "install", "--enrolment", "/root/enrolment.toml"]).works();
}

/// Which of the two agents run.
fn agents(host: &Host) -> [String; 2] {
    [host.unit_state(AGENT), host.unit_state(STAND_IN)]
}

fn comes_to(host: &Host, agents_are: [&str; 2]) {
    eventually(&format!("{agents_are:?}"), || (agents(host) == agents_are).then_some(()));
}

#[test]
fn an_enrolled_machine_goes_to_its_first_system_whose_agent_takes_over_for_good() {
    let Some((world, mut host)) = bare_machine() else { return };
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    install(&world, &host);
    host.commits(serial);
    comes_to(&host, ["active", "inactive"]);
    assert_eq!(host.unit_state("good.service"), "active");
    let first = host.journal().expect("a journal")["outcomes"][0].to_string();
    assert!(!first.contains("did not start at once"), "the switch itself hands over: {first}");
    host.power_cycle();
    assert_eq!(agents(&host), ["active", "inactive"]);
    let serial = world.publish_system(|system| system.unit("other.service", GOOD));
    host.commits(serial);
    assert_eq!(agents(&host), ["active", "inactive"]);
    host.run(["/opt/npc/npc-agent", "install", "--enrolment", "/root/enrolment.toml"]).works();
    assert_eq!(agents(&host), ["active", "inactive"], "it is enrolled");
}

/// A host's own token for the store, and where it keeps it.
const TOKEN: &str = "0123456789abcdef-of-host";
const TOKEN_FILE: &str = "/var/lib/npc-token";

/// Lets the machine report to the store.
fn give_token(world: &mut World, host: &Host) {
    world.serve_hosts(&format!("host {TOKEN}\n"));
    host.write(TOKEN_FILE, TOKEN);
    host.run(["chmod", "600", TOKEN_FILE]).works();
}

fn report(world: &World) -> Option<Report> {
    let bytes = fs::read(world.path("store/reports/host.json")).ok()?;
    let envelope = Envelope::parse(&bytes).expect("an envelope");
    let report: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
    Some(report.body)
}

#[test]
fn an_enrolled_machine_reports_its_ssh_host_keys_before_it_activates_anything() {
    let Some((mut world, host)) = bare_machine() else { return };
    give_token(&mut world, &host);
    host.write("/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 root@host\n");
    let (activations, systems) = (host.activations(), host.systems());
    // There is nothing to follow yet.
    let told = format!("store_token_file = \"{TOKEN_FILE}\"\n{}", enrolment(&world));
    host.write("/root/enrolment.toml", &told);
    host.run(["/opt/npc/npc-agent", "install", "--enrolment", "/root/enrolment.toml"]).works();
    let first = eventually("it has reported", || report(&world));
    assert_eq!(first.ssh_host_keys, ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"]);
    assert!(first.runs.is_none_or(|runs| runs.archive.is_none()) && first.outcomes.is_empty());
    assert_eq!((host.activations(), host.systems(), host.committed()), (activations.clone(), systems, None));
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    // It has just asked, and would ask again in a minute.
    host.run(["systemctl", "restart", STAND_IN]).works();
    host.commits(serial);
    assert!(host.activations().len() > activations.len());
    let runs = || report(&world)?.runs?.serial;
    eventually("it reports what it runs", || (runs()?.get() == serial).then_some(()));
}

/// Has the fleet's flake have a configuration for machines that have nothing yet.
fn write_small(world: &World, unit: &str) {
    let text = "[Service]\\nType=oneshot\\nRemainAfterExit=true\\nExecStart=";
    let module = format!(
        "{{ ... }}: {{\n  networking.hostName = \"small\";\n  systemd.units.\"small.service\" = {{\n    text = \"{text}{unit}\\n\";\n    \
         wantedBy = [ \"multi-user.target\" ];\n  }};\n}}\n"
    );
    fs::write(world.path("fleet/hosts/small.nix"), module).expect("written");
}

/// The enrolment of a machine whose system is to be built in another one.
fn enrol_with_small(world: &World, host: &Host) {
    let told = format!("initial_configuration = \"small\"\nstore_token_file = \"{TOKEN_FILE}\"\n{}", enrolment(world));
    host.write("/root/enrolment.toml", &told);
    host.run(["/opt/npc/npc-agent", "install", "--enrolment", "/root/enrolment.toml"]).works();
}

/// What was committed, and what was rolled back, the first first.
fn outcomes(host: &Host) -> Vec<String> {
    let journal = host.journal().expect("a journal");
    let outcomes = journal["outcomes"].as_array().expect("outcomes").iter().rev();
    outcomes.map(|one| one["kind"].as_str().expect("a kind").to_owned()).collect()
}

/// What the agent has committed, once it has nothing under way.
fn comes_to_run(host: &Host, configuration: &str, serial: u64) {
    eventually(&format!("it runs {configuration}@{serial}"), || {
        let journal = host.journal()?;
        let target = &journal["committed"]["target"];
        let is_there = target["configuration"] == configuration && target["serial"] == serial;
        (is_there && journal["phase"] == "steady").then_some(())
    });
}

#[test]
fn a_machine_goes_to_its_own_system_by_way_of_the_initial_configuration() {
    let Some((mut world, mut host)) = bare_machine() else { return };
    give_token(&mut world, &host);
    write_small(&world, "/bin/true");
    let before = host.activations().len();
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    enrol_with_small(&world, &host);
    comes_to_run(&host, "host", serial);
    comes_to(&host, ["active", "inactive"]);
    assert_eq!(outcomes(&host), ["committed", "committed"]);
    let activations = host.activations().split_off(before);
    let switches: Vec<_> = activations.iter().filter(|line| !line.starts_with("boot ")).collect();
    assert_eq!(switches.len(), 2, "{activations:?}");
    assert!(switches[0].contains("-small-") && switches[1].contains("-host-"), "{activations:?}");
    assert_eq!(
        (host.unit_state("small.service"), host.unit_state("good.service")),
        ("inactive".into(), "active".into())
    );
    let runs = || report(&world)?.runs?.configuration;
    eventually("it reports what it runs", || (runs()?.as_str() == "host").then_some(()));
    assert_eq!(report(&world).and_then(|report| report.obeys).expect("it obeys").configuration.as_str(), "host");

    // It never goes back there, whatever becomes of its journal.
    host.run(["systemctl", "stop", AGENT]).works();
    host.run(["sh", "-c", "rm /var/lib/npc-agent/journal*.json"]).works();
    host.power_cycle();
    comes_to_run(&host, "host", serial);
    let since = host.activations().split_off(before + activations.len());
    assert!(!since.iter().any(|line| line.contains("-small-")), "{since:?}");
}

#[test]
fn an_initial_configuration_that_fails_leaves_the_bare_machine_until_a_release_mends_it() {
    let Some((mut world, host)) = bare_machine() else { return };
    let bare = host.systems();
    give_token(&mut world, &host);
    write_small(&world, "/bin/false");
    world.publish_system(|system| system.unit("good.service", GOOD));
    enrol_with_small(&world, &host);
    host.comes_to("rolled-back units-failed");
    assert_eq!(host.systems(), bare);
    comes_to(&host, ["inactive", "active"]);
    write_small(&world, "/bin/true");
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    host.run(["systemctl", "restart", STAND_IN]).works();
    comes_to_run(&host, "host", serial);
    assert_eq!(outcomes(&host), ["rolled-back", "committed", "committed"]);
}

#[test]
fn a_first_system_that_fails_leaves_the_bare_machine_and_an_agent_that_goes_on() {
    let Some((world, mut host)) = bare_machine() else { return };
    let bare = host.systems();
    world.publish_system(|system| system.failing_unit("bad.service"));
    install(&world, &host);
    host.comes_to("rolled-back units-failed");
    assert_eq!(host.systems(), bare);
    comes_to(&host, ["inactive", "active"]);
    host.power_cycle();
    comes_to(&host, ["inactive", "active"]);
    host.write("/root/enrolment.toml", &enrolment(&world).replace("prod", "canary"));
    host.run(["/opt/npc/npc-agent", "install", "--enrolment", "/root/enrolment.toml"]).works();
    let told = || host.run(["/opt/npc/npc-agent", "status"]).data;
    eventually("it was told to follow another remote", || told().contains("canary").then_some(()));
    install(&world, &host);
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    host.commits(serial);
    comes_to(&host, ["active", "inactive"]);
}

#[test]
fn a_first_system_whose_agent_does_not_start_is_gone_back_on_by_the_timer() {
    let Some((world, host)) = bare_machine() else { return };
    let bare = host.systems();
    world.publish_system(|system| system.agent_program("/bin/false"));
    install(&world, &host);
    eventually("the first system runs", || (host.running() != bare[0]).then_some(()));
    eventually("the agent that stood in is gone", || (host.unit_state(STAND_IN) == "inactive").then_some(()));
    host.time_is_up("dead-man");
    host.comes_to("rolled-back deadline-passed");
    assert_eq!(host.systems(), bare);
    comes_to(&host, ["inactive", "active"]);
}

#[test]
fn a_power_cut_before_the_first_commit_boots_the_bare_machine_which_tries_again() {
    let Some((world, mut host)) = bare_machine() else { return };
    let bare = host.systems();
    let serial = world.publish_system(|system| system.settle(20).unit("good.service", GOOD));
    install(&world, &host);
    eventually("the first system runs", || (host.running() != bare[0]).then_some(()));
    comes_to(&host, ["active", "inactive"]);
    host.power_cycle();
    assert_eq!(host.booted(), bare[0]);
    host.comes_to("rolled-back interrupted");
    host.commits(serial);
    comes_to(&host, ["active", "inactive"]);
}

#[test]
fn systems_without_an_agent_are_followed_by_the_one_that_stands_in() {
    let Some((world, host)) = bare_machine() else { return };
    host.write("/etc/npc-agent/config.toml", "poll_interval = 1\n[probation]\nsettle = 2\nstore = 3\nlimit = 10\n");
    install(&world, &host);
    for name in ["one.service", "two.service"] {
        let serial = world.publish_system(|system| system.without_agent().unit(name, GOOD));
        host.commits(serial);
        assert_eq!(host.unit_state(name), "active");
        comes_to(&host, ["inactive", "active"]);
    }
}

/// The part of the settings that no enrolment has.
const SETTINGS: &str = "poll_interval = 1\n[probation]\nsettle = 2\nstore = 3\nlimit = 10\n";

#[test]
fn an_image_with_the_module_waits_for_its_enrolment_and_is_followed_by_its_own_agent_alone() {
    let Some(base) = HostBase::find() else { return };
    let world = host::world(&Kind::Served);
    let unenrolled = |system: host::System| system.with("/npc/agent/settings", SETTINGS);
    let mut host = Host::boot(&base, &world, &unenrolled(world.system()));
    let serial = world.publish_system(|system| unenrolled(system).unit("good.service", GOOD));
    assert!(host.log().contains("missing field `fleet`"));
    install(&world, &host);
    host.commits(serial);
    comes_to(&host, ["active", "inactive"]);
    host.power_cycle();
    comes_to(&host, ["active", "inactive"]);
    assert_eq!(host.unit_state("good.service"), "active");
}

#[test]
fn the_script_alone_makes_a_bare_machine_run_what_was_published() {
    let Some((world, host)) = bare_machine() else { return };
    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    let agent = program("npc-agent");
    let told = format!("{}={}", std::env::consts::ARCH, agent.display());
    let script =
        world.in_fleet(&["bootstrap", "--host", "host", "--remote", "prod", "--upload", "--agent", &told]).works();
    // As EC2 calls a machine: nothing may depend on that.
    host.run(["hostname", "ip-10-0-0-5"]).works();
    host.write("/root/user-data", &script);
    let enrolled = host.run(["sh", "/root/user-data"]);
    assert!(enrolled.words.contains("this machine is enrolled"), "{enrolled:?}");
    host.commits(serial);
    comes_to(&host, ["active", "inactive"]);
    assert_eq!(host.unit_state("good.service"), "active");
    let again = host.run(["bash", "/root/user-data"]);
    assert_eq!((again.code, again.words.as_str()), (Some(0), ""));
    assert!(host.log().contains("npc-bootstrap"), "the journal has it");
}

const SWAP: &str = "/var/lib/npc-agent/bootstrap-swap";

/// The file system of these hosts takes no swap files. Programs in place of the real ones write down what they are told.
fn record_swap(host: &Host) {
    for (name, does) in [("mkswap", "true"), ("swapon", "test -s \"$1\""), ("swapoff", "true")] {
        let path = format!("/usr/local/sbin/{name}");
        host.write(&path, &format!("#!/bin/sh\necho \"{name} $1\" >>/var/log/swap\n{does}\n"));
        host.run(["chmod", "755", &path]).works();
    }
}

fn swap_commands(host: &Host) -> Vec<String> {
    let log = host.read("/var/log/swap").unwrap_or_default();
    log.lines().map(|line| line.strip_suffix(&format!(" {SWAP}")).expect("that file alone").to_owned()).collect()
}

#[test]
fn swap_stays_until_the_hosts_own_agent_takes_over_and_comes_back_with_the_one_that_stands_in() {
    let Some((world, mut host)) = bare_machine() else { return };
    record_swap(&host);
    // What the script leaves on a machine that is short of memory.
    host.write(SWAP, "swap");
    install(&world, &host);
    comes_to(&host, ["inactive", "active"]);
    host.run(["systemctl", "restart", STAND_IN]).works();
    let process = host.unit_property(STAND_IN, "MainPID");
    host.run(["systemctl", "kill", "--signal=SIGKILL", STAND_IN]).works();
    eventually("it is started again", || (host.unit_property(STAND_IN, "MainPID") != process).then_some(()));
    comes_to(&host, ["inactive", "active"]);
    host.power_cycle();
    comes_to(&host, ["inactive", "active"]);
    assert!(swap_commands(&host).iter().all(|command| command == "swapon"), "{:?}", swap_commands(&host));
    let before = swap_commands(&host).len();

    world.publish_system(|system| system.failing_unit("bad.service"));
    host.run(["systemctl", "restart", STAND_IN]).works();
    host.comes_to("rolled-back units-failed");
    comes_to(&host, ["inactive", "active"]);
    let since = |before: usize| swap_commands(&host).split_off(before);
    assert_eq!(since(before), ["swapon", "swapoff", "swapon", "mkswap", "swapon"]);

    let serial = world.publish_system(|system| system.unit("good.service", GOOD));
    let before = swap_commands(&host).len();
    host.run(["systemctl", "restart", STAND_IN]).works();
    host.commits(serial);
    comes_to(&host, ["active", "inactive"]);
    assert_eq!(since(before), ["swapon", "swapoff"]);
    let size = host.run(["stat", "--format=%s", SWAP]).works();
    assert_eq!(size.trim(), "0", "its room is free");
    host.power_cycle();
    eventually("nothing is left", || (host.run(["test", "-e", SWAP]).code == Some(1)).then_some(()));
}
