//! Hosts that are assigned from afar, and what they say of themselves.

use std::fs;
use std::path::PathBuf;

use npc_core::document::{Assignment, Document, OutcomeKind, Report};
use npc_core::envelope::Envelope;
use npc_core::key::SecretKey;
use npc_core::store::{Options, open};
use npc_tests::eventually;
use npc_tests::parts::Garage;
use npc_tests::world::{Agent, Kind, World};
use serde_json::Value;

/// The report that lies in the store, if the host's own key signed it.
fn report_in(bytes: &[u8], agent: &Agent<'_>) -> Document<Report> {
    let key: SecretKey = fs::read_to_string(agent.path("state/report.key")).expect("a key").parse().expect("a key");
    let envelope = Envelope::parse(bytes).expect("an envelope");
    assert_eq!(envelope.signers([&key.public()]).len(), 1, "it is signed by the host");
    Document::from_payload(envelope.payload()).expect("a report")
}

fn report_file(world: &World) -> PathBuf {
    world.path("store/reports/web-1.json")
}

fn report(world: &World, agent: &Agent<'_>) -> Option<Document<Report>> {
    fs::read(report_file(world)).ok().map(|bytes| report_in(&bytes, agent))
}

/// Waits for a report that says this.
fn reports(world: &World, agent: &Agent<'_>, what: &str, says: impl Fn(&Report) -> bool) -> Document<Report> {
    eventually(what, || report(world, agent).filter(|report| says(&report.body)))
}

/// A world with two remotes, which hold different releases.
fn two_remotes() -> World {
    let world = World::new(&Kind::Directory);
    world.publish();
    world.edit("for canaries\n");
    world.in_fleet(&["--remote", "canary"]).works();
    world
}

#[test]
fn a_host_goes_where_it_is_repointed_and_back_when_that_is_taken_back_and_says_so() {
    let world = two_remotes();
    let agent = world.command_agent("web-1", "echo \"$NPC_REMOTE $NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n");
    let running = agent.start();
    let first = reports(&world, &agent, "the first release is reported", |report| {
        report.obeys.as_ref().is_some_and(|obeyed| obeyed.remote.as_str() == "prod" && obeyed.release.is_some())
            && report.phase == "steady"
    });
    assert_eq!(first.body.obeys.expect("obeyed").assignment, None);
    let repointed = world.in_fleet(&["repoint", "web-1", "--remote", "canary"]).works();
    assert_eq!(repointed.trim(), "web-1: its own settings -> canary web-1");
    let second = reports(&world, &agent, "the repoint is reported", |report| {
        let obeyed = report.obeys.as_ref().is_some_and(|obeyed| obeyed.remote.as_str() == "canary");
        obeyed && report.outcomes.first().is_some_and(|outcome| outcome.kind == OutcomeKind::Committed)
    });
    let (header, body) = (second.header, second.body);
    assert_eq!((header.fleet, header.name.as_str()), (world.fleet_id(), "web-1"));
    assert!(header.serial > first.header.serial, "later reports have higher numbers");
    assert!(body.obeys.expect("obeyed").assignment.is_some());
    let archive = agent.journal().expect("a journal").pointer("/committed/target/archive/sha256").cloned();
    assert_eq!(body.runs.expect("a system").archive.map(|digest| Value::from(digest.to_string())), archive);
    let status: Value = serde_json::from_str(&agent.run(&["status", "--json"]).works()).expect("JSON");
    assert_eq!(status["follows"]["remote"], "canary");
    assert!(agent.run(&["status"]).works().contains("by assignment web-1@"));
    fs::remove_file(world.path("store/assignments/web-1.json")).expect("removed");
    world.edit("and on\n");
    world.in_fleet(&["--remote", "canary"]).works();
    agent.commits(2);
    world.in_fleet(&["hosts", "remove", "web-1"]).fails(2, &["never assigned", "--force"]);
    world.in_fleet(&["hosts", "remove", "web-1", "--force"]).works();
    assert!(world.in_fleet(&["hosts"]).works().contains("removed"));
    agent.commits(1);
    drop(running);
    let trace = fs::read_to_string(agent.path("trace")).expect("it ran");
    assert_eq!(trace, "prod 1\ncanary 1\ncanary 2\nprod 1\n");
}

#[test]
fn an_operators_mistakes_about_hosts_get_plain_answers() {
    let world = two_remotes();
    world.in_fleet(&["repoint", "web-1", "--remote", "nowhere"]).fails(2, &["no remote `nowhere`", "hint"]);
    world.in_fleet(&["repoint", "Web 1", "--remote", "canary"]).fails(2, &["is not a name"]);
    world.in_fleet(&["hosts", "remove", "web-1"]).fails(2, &["never assigned"]);
    let said = world.in_fleet(&["repoint", "web-1", "web-1", "db-1", "--remote", "canary", "--dry-run"]).works();
    assert_eq!(said, "db-1: its own settings -> canary db-1\nweb-1: its own settings -> canary web-1\n");
    assert!(!world.path("store/assignments").exists(), "nothing is written");
    world.in_fleet(&["repoint", "web-1", "--remote", "canary", "--configuration", "web-2"]).works();
    let again = world.in_fleet(&["repoint", "web-1", "--remote", "canary"]);
    assert_eq!(again.works(), "", "it builds what it was told, and so nothing changes");
    let listed: Value = serde_json::from_str(&world.in_fleet(&["hosts", "--json"]).works()).expect("JSON");
    assert_eq!(listed[0]["assignment"], serde_json::json!({ "remote": "canary", "configuration": "web-2" }));
}

#[test]
fn what_failed_is_reported_with_the_end_of_its_log_unless_that_is_switched_off() {
    let world = World::new(&Kind::Directory);
    world.publish();
    world.command_agent("web-1", "true").once().works();
    let failing = "echo the disk says no; [ \"$NPC_ACTION\" = roll-back ]\n";
    for logs in [true, false] {
        let agent = world.command_agent("web-1", failing);
        let path = agent.path("agent.toml");
        let text = fs::read_to_string(&path).expect("read");
        fs::write(path, format!("{text}\n[report]\nlogs = {logs}\n")).expect("written");
        world.edit(&format!("with logs: {logs}\n"));
        world.publish();
        agent.once().fails(5, &["could not apply"]);
        let report = report(&world, &agent).expect("a report").body;
        let outcome = &report.outcomes[0];
        assert_eq!((outcome.kind, outcome.error.as_deref()), (OutcomeKind::RolledBack, Some("activation-failed")));
        assert_eq!(outcome.log.as_deref(), logs.then_some("the disk says no"));
        assert_eq!(report.quarantined[0].kind, "activation-failed");
        assert!(!report.boot_id.is_empty());
    }
}

#[test]
fn a_paused_host_says_so_and_does_nothing() {
    let world = two_remotes();
    let agent = world.command_agent("web-1", "true");
    world.in_fleet(&["repoint", "web-1", "--remote", "canary"]).works();
    let path = world.path("store/assignments/web-1.json");
    let envelope = Envelope::parse(&fs::read(&path).expect("read")).expect("an envelope");
    let mut paused: Document<Assignment> = Document::from_payload(envelope.payload()).expect("an assignment");
    let Assignment::Present(following) = &mut paused.body else { panic!("it was just made") };
    following.paused = true;
    fs::write(&path, paused.sign(&[&world.key("npc-publish-1")]).bytes).expect("written");
    agent.once().fails(5, &["paused"]);
    assert!(report(&world, &agent).expect("a report").body.paused);
    assert_eq!(agent.committed(), None);
    let said = world.in_fleet(&["hosts"]).works();
    assert!(said.contains("paused"), "{said}");
}

#[test]
fn a_store_that_takes_no_reports_keeps_no_host_from_anything() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let running = agent.start();
    agent.commits(1);
    eventually("it is said", || running.words().contains("cannot report to the store").then_some(()));
    world.edit("another release\n");
    world.publish();
    agent.commits(2);
    assert_eq!(running.words().matches("cannot report to the store").count(), 1, "once");
    let text = fs::read_to_string(agent.path("agent.toml")).expect("read");
    drop(running);
    fs::write(agent.path("agent.toml"), format!("{text}\n[report]\nenable = false\n")).expect("written");
    assert!(!agent.once().words.contains("cannot report"));
}

#[test]
fn a_host_is_repointed_and_reports_in_s3_too() {
    let Some(garage) = Garage::find() else { return };
    let world = World::new(&Kind::Garage(garage));
    world.publish();
    world.edit("for canaries\n");
    world.in_fleet(&["--remote", "canary"]).works();
    let agent = world.command_agent("web-1", "true");
    let mut running = agent.start();
    agent.commits(1);
    world.edit("for canaries, again\n");
    world.in_fleet(&["--remote", "canary"]).works();
    world.in_fleet(&["repoint", "web-1", "--remote", "canary"]).works();
    agent.commits(2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let read = || {
        runtime.block_on(async {
            let store = open(world.url(), Options::default()).await.expect("a store");
            let key = "reports/web-1.json".parse().expect("a key");
            npc_core::store::read_document(&*store, &key).await.expect("a report").0
        })
    };
    eventually("the repoint is reported", || {
        let obeyed = report_in(&read(), &agent).body.obeys?;
        (obeyed.remote.as_str() == "canary" && obeyed.release?.serial.get() == 2).then_some(())
    });
    assert!(running.runs());
}
