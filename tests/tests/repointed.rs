//! Hosts that are told to go where nothing good is: they stay, say why, and go once it is good.

use std::fs;

use npc_core::document::{Assignment, Document, RemoteState, Report, Standing};
use npc_core::envelope::Envelope;
use npc_core::layout::{self, ObjectKey};
use npc_core::limits;
use npc_core::store::{Answer, Content, Options, Precondition, Read, open, read_document};
use npc_tests::eventually;
use npc_tests::world::{Agent, Kind, World, garage_kind};
use serde_json::{Value, json};

/// Assigns a host whatever the publisher thinks of it.
fn assign(world: &World, serial: u64, says: Value) {
    let path = world.path("store/assignments/web-1.json");
    if !path.exists() {
        world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    }
    let envelope = Envelope::parse(&fs::read(&path).expect("read")).expect("an envelope");
    let mut document: Document<Assignment> = Document::from_payload(envelope.payload()).expect("an assignment");
    let first = document.header.serial.get();
    document.header.serial = npc_core::document::Serial::new(first + serial).expect("a serial");
    document.body = serde_json::from_value(says).expect("an assignment");
    // Whole or not at all, as a publisher writes.
    let new = path.with_extension("new");
    fs::write(&new, document.sign(&[&world.key("npc-publish-1")]).bytes).expect("written");
    fs::rename(new, path).expect("renamed");
}

fn to(remote: &str) -> Value {
    json!({ "remote": remote, "configuration": "web-1" })
}

fn report(world: &World) -> Option<Report> {
    let bytes = fs::read(world.path("store/reports/web-1.json")).ok()?;
    let envelope = Envelope::parse(&bytes).expect("an envelope");
    Some(Document::from_payload(envelope.payload()).expect("a report").body)
}

/// Waits until the report has trouble of this kind, or none.
fn reports(world: &World, kind: Option<&str>) -> Report {
    eventually(&format!("{kind:?} is reported"), || {
        let report = report(world)?;
        (report.trouble.as_ref().map(|trouble| trouble.kind.as_str()) == kind && report.phase == "steady")
            .then_some(report)
    })
}

fn publish(world: &World, remote: &str, words: &str) {
    world.edit(words);
    world.in_fleet(&["--remote", remote]).works();
}

fn stays_and_goes(kind: &Kind, is_waiting: bool) {
    let world = World::new(kind);
    world.publish();
    let agent = world.command_agent("web-1", "echo \"$NPC_REMOTE $NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n");
    if is_waiting {
        agent.poll_every(2);
    }
    let running = agent.start();
    agent.commits(1);
    assign(&world, 1, to("nowhere"));
    if is_waiting {
        eventually("it is told", || agent.journal()?.get("stays").cloned());
    } else {
        let report = reports(&world, Some("not-found"));
        let obeyed = report.obeys.expect("obeyed");
        assert_eq!((obeyed.remote.as_str(), obeyed.release.expect("believed").serial.get()), ("prod", 1));
        assert!(obeyed.assignment.is_some(), "the assignment was believed");
        let message = report.trouble.expect("trouble").message;
        assert!(message.contains("stays with `prod`: `nowhere` cannot be followed"), "{message}");
    }
    let status = agent.run(&["status"]).works();
    for words in ["follows  prod of", "as before", "told     `nowhere`, by assignment web-1@", "stays    since "] {
        assert!(status.contains(words), "no `{words}` in {status}");
    }
    let since = agent.journal().expect("a journal")["stays"]["since"].clone();
    publish(&world, "prod", "the second release\n");
    agent.commits(2);
    assert_eq!(agent.journal().expect("a journal")["stays"]["since"], since, "for as long as it lasts");
    drop(running);
    let running = agent.start();
    publish(&world, "prod", "the third release\n");
    agent.commits(3);
    assert_eq!(agent.journal().expect("a journal")["stays"]["since"], since, "whichever agent runs");
    publish(&world, "nowhere", "the release that was awaited\n");
    agent.commits(1);
    eventually("it stays no more", || agent.journal()?.get("stays").is_none().then_some(()));
    assert_eq!(agent.status()["follows"]["remote"], "nowhere");
    if !is_waiting {
        assert_eq!(reports(&world, None).obeys.expect("obeyed").remote.as_str(), "nowhere");
    }
    drop(running);
    let trace = fs::read_to_string(agent.path("trace")).expect("it ran");
    assert_eq!(trace, "prod 1\nprod 2\nprod 3\nnowhere 1\n");
}

#[test]
fn a_host_stays_where_it_is_until_the_new_remote_is_good() {
    stays_and_goes(&Kind::Directory, false);
}

#[test]
fn a_host_that_waits_at_its_store_stays_and_goes_as_well() {
    stays_and_goes(&Kind::Served, true);
}

#[test]
fn a_host_that_is_asked_once_takes_in_the_old_remote_and_says_why_it_stays() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    agent.once().works();
    assign(&world, 1, to("nowhere"));
    publish(&world, "prod", "the second release\n");
    agent.once().fails(3, &["stays with `prod`", "`nowhere` cannot be followed", "not-found"]);
    assert_eq!(agent.committed(), Some(2));
    let remotes = world.path("store/remotes");
    fs::write(remotes.join("nowhere.json"), "no release").expect("written");
    agent.once().fails(4, &["stays with `prod`", "unreadable"]);
    assign(&world, 2, to("prod"));
    agent.once().works();
    assert!(agent.journal().expect("a journal").get("stays").is_none());
}

/// Where the archive of a release lies.
fn archive_of(release: &[u8]) -> ObjectKey {
    let envelope = Envelope::parse(release).expect("an envelope");
    let release: Document<RemoteState> = Document::from_payload(envelope.payload()).expect("a release");
    let Standing::Present(release) = release.body else { panic!("a release") };
    layout::archive(&release.archive.sha256)
}

#[test]
fn a_host_does_not_leave_for_an_archive_that_it_could_not_fetch() {
    for kind in [Kind::Directory, Kind::Served] {
        let world = World::new(&kind);
        world.publish();
        let agent = world.command_agent("web-1", "echo \"$NPC_REMOTE $NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n");
        agent.once().works();
        publish(&world, "next", "the release whose archive is lost\n");
        let release = fs::read(world.path("store/remotes/next.json")).expect("read");
        let path = world.path("store").join(archive_of(&release).as_str());
        let archive = fs::read(&path).expect("read");
        assign(&world, 1, to("next"));
        for (serial, spoilt) in [(2, None), (3, Some(&archive[..archive.len() - 1]))] {
            match spoilt {
                None => fs::remove_file(&path).expect("removed"),
                Some(bytes) => fs::write(&path, bytes).expect("written"),
            }
            publish(&world, "prod", &format!("release {serial}\n"));
            agent.once().fails(3, &["stays with `prod`", "the archive of `next@1` cannot be fetched"]);
            assert_eq!(agent.committed(), Some(serial), "what the old place brings is taken in");
            let stays = agent.journal().expect("a journal")["stays"]["reason"]["kind"].clone();
            assert_eq!(stays, "no-archive");
        }
        fs::write(&path, archive).expect("written");
        agent.once().works();
        let trace = fs::read_to_string(agent.path("trace")).expect("it ran");
        assert_eq!(trace, "prod 1\nprod 2\nprod 3\nnext 1\n");
    }
}

#[test]
fn a_host_does_not_leave_for_an_archive_that_is_not_in_s3_either() {
    let Some(kind) = garage_kind() else { return };
    let world = World::new(&kind);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    agent.once().works();
    publish(&world, "next", "the release whose archive is lost\n");
    world.in_fleet(&["repoint", "web-1", "--remote", "next"]).works();
    let stays = || agent.once().fails(3, &["stays with `prod`", "the archive of `next@1` cannot be fetched"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = open(world.url(), Options::default()).await.expect("a store");
        let release = read_document(&*store, &"remotes/next.json".parse().expect("a key")).await.expect("a release").0;
        let key = archive_of(&release);
        let whole = Read { limit: limits::ARCHIVE_BYTES, ..Read::DOCUMENT };
        let Ok(Answer::Found { bytes, .. }) = store.read(&key, whole).await else { panic!("an archive") };
        store.remove(&key).await.expect("removed");
        stays();
        let cut = Content::Bytes(&bytes[..bytes.len() - 1]);
        store.write(&key, cut, Precondition::None).await.expect("written");
        stays();
        store.write(&key, Content::Bytes(&bytes), Precondition::None).await.expect("written");
    });
    agent.once().works();
    assert_eq!(agent.status()["follows"]["remote"], "next");
}

#[test]
fn what_is_set_on_the_host_is_followed_once_it_is_good() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let running = agent.start();
    agent.commits(1);
    agent.run(&["set", "--remote", "nowhere"]).works();
    reports(&world, Some("not-found"));
    publish(&world, "prod", "the second release\n");
    agent.commits(2);
    agent.run(&["set", "--reset"]).works();
    reports(&world, None);
    agent.run(&["set", "--remote", "nowhere"]).works();
    publish(&world, "nowhere", "the release that was awaited\n");
    agent.commits(1);
    drop(running);
}

/// The state directory as an agent of before would have left it.
fn without_a_note(agent: &Agent<'_>, damaged: bool) {
    let note = agent.path("state/followed.json");
    fs::remove_file(&note).expect("removed");
    if damaged {
        fs::write(note, "{ damaged").expect("written");
    }
}

#[test]
fn a_host_without_a_note_of_what_it_followed_stays_with_exactly_what_it_runs() {
    for damaged in [false, true] {
        let world = World::new(&Kind::Directory);
        world.publish();
        let agent = world.command_agent("web-1", "true");
        agent.once().works();
        without_a_note(&agent, damaged);
        publish(&world, "prod", "the second release\n");
        agent.once().works();
        assert_eq!(agent.committed(), Some(2), "it was told to follow that");
        without_a_note(&agent, damaged);
        assign(&world, 1, to("nowhere"));
        publish(&world, "prod", "the third release\n");
        // The assignment comes while there is no note: the old remote is what was told until then.
        agent.once().fails(3, &["stays with `prod`"]);
        without_a_note(&agent, damaged);
        publish(&world, "prod", "the fourth release\n");
        agent.once().fails(3, &["stays with `prod@3`"]);
        assert_eq!(agent.committed(), Some(3));
        publish(&world, "nowhere", "the release that was awaited\n");
        agent.once().works();
        assert_eq!(agent.committed(), Some(1));
    }
}
