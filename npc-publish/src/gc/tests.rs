mod meddling;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use npc_core::document::{
    Archive, Assignment, Believed, Document, Extent, Following, Gates, Header, OnFailure, Pin as Pinned, Release,
    RemoteState, Report, Rollout, RolloutState, Serial, Source, Standing,
};
use npc_core::envelope::Envelope;
use npc_core::key::SecretKey;
use npc_core::limits;
use npc_core::name::{FleetId, RemoteName};
use npc_core::publish::{Over, Publication, Record, publish, trust};
use npc_core::store::{ConditionalWrites, Content, DirectoryStore, Precondition, Store as _};
use npc_core::trust::Anchor;
use serde_json::json;
use tempfile::TempDir;
use zeroize::Zeroizing;

use self::meddling::{Around, Deed, Meddled, Meddling};
use super::*;

fn key(name: &str, seed: u8) -> SecretKey {
    SecretKey::from_seed(name.parse().expect("a key name"), &Zeroizing::new([seed; 32]))
}

fn days_ago(days: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * days)
}

/// A fleet whose remote `prod` holds the archive `now`, after many others, and an archive `old` that only its first release
/// names, which is as old.
struct World {
    folder: TempDir,
    fleet: Fleet,
    meddling: Meddling,
    old: Digest,
}

/// Publishes an archive with these bytes.
async fn publish_to(fleet: Fleet, remote: &'static str, words: &'static str, at: Timestamp) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("archive");
    fs::write(&file, words).expect("written");
    let remote: RemoteName = remote.parse().expect("a name");
    let archive = Archive { sha256: Digest::of(words.as_bytes()), size: words.len() as u64 };
    let release = Release::new(archive, Source::default(), BTreeMap::new());
    let publication = Publication {
        remote: &remote,
        release,
        file: &file,
        expires: None,
        record: Record::Changes,
        over: Over::Anything,
    };
    let keys = [&key("npc-publish-1", 2)];
    publish(&fleet, publication, &keys, ConditionalWrites::Enforced, at).await.expect("published");
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let meddling = Meddling::default();
        let inner = DirectoryStore::new(folder.path().to_owned());
        let (id, root, publishing) = (FleetId::from_random([7; 16]), key("npc-root-1", 1), key("npc-publish-1", 2));
        let first = trust::first(id.clone(), &root, &publishing, days_ago(100)).bytes;
        let store = Arc::new(Meddled { inner, meddling: meddling.clone() });
        store.write(&layout::trust(Serial::FIRST), Content::Bytes(&first), Precondition::None).await.expect("written");
        let anchor = Anchor { fleet: id, root_keys: vec![root.public()], root_threshold: 1, version: Serial::FIRST };
        let fleet = Fleet::open(store, &anchor).await.expect("a fleet");
        for words in ["old", "older than now", "now"] {
            publish_to(fleet.clone(), "prod", words, days_ago(90)).await;
        }
        let world = Self { folder, fleet, meddling, old: Digest::of(b"old") };
        world.age();
        world
    }

    /// Makes everything that lies in the store ninety days old.
    fn age(&self) {
        let mut ahead = vec![self.folder.path().to_owned()];
        while let Some(directory) = ahead.pop() {
            for entry in fs::read_dir(directory).expect("listed") {
                let path = entry.expect("listed").path();
                if path.is_dir() {
                    ahead.push(path);
                } else {
                    let file = File::options().write(true).open(path).expect("opened");
                    file.set_modified(days_ago(90).into()).expect("set");
                }
            }
        }
    }

    /// Puts something into the store, long ago.
    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
        self.age();
    }

    fn collector(&self) -> Collector<'_> {
        Collector::new(&self.fleet, Bounds { now: Timestamp::now(), since: days_ago(30), last: 2 })
    }

    /// What is to be removed, in short.
    async fn decided(&self) -> Result<Vec<Object>, String> {
        let decided = self.collector().decide().await;
        decided.map(|(_, plan)| plan.objects().collect()).map_err(|failure| format!("{failure:?}"))
    }

    /// Decides, and removes while this happens.
    async fn removed(&self, listings: Vec<Around>) -> Removal {
        let mut collector = self.collector();
        let (_, plan) = collector.decide().await.expect("decided");
        assert_eq!(plan.objects().collect::<Vec<_>>(), [Object::Archive(self.old)]);
        *self.meddling.listings.lock().expect("whole") = listings;
        collector.remove(&plan, |_| ()).await
    }

    fn has(&self, archive: &Digest) -> bool {
        self.folder.path().join(layout::archive(archive).as_str()).exists()
    }

    fn publishing(&self, remote: &'static str, words: &'static str) -> Deed {
        let fleet = self.fleet.clone();
        Box::pin(async move { publish_to(fleet, remote, words, Timestamp::now()).await })
    }

    /// Assigns `web-1` to the first release of `prod`.
    fn pinning(&self) -> Deed {
        let (store, bytes) = (Arc::clone(&self.fleet.store), self.pin(&key("npc-publish-1", 2)));
        Box::pin(async move {
            let place = layout::assignment(&"web-1".parse().expect("a name"));
            store.write(&place, Content::Bytes(&bytes), Precondition::None).await.expect("written");
        })
    }

    fn header(&self, name: &str) -> Header {
        Header {
            fleet: self.fleet.trusted.fleet().clone(),
            name: name.to_owned(),
            serial: Serial::FIRST,
            created: days_ago(90),
            trust: Serial::FIRST,
            requires: Vec::new(),
            expires: None,
        }
    }

    fn pin(&self, key: &SecretKey) -> Vec<u8> {
        let following = Following {
            pin: Some(Pinned { serial: Serial::FIRST, archive: self.old }),
            ..Following::new("prod".parse().expect("a name"), "web".parse().expect("a name"))
        };
        let body: Assignment = Standing::Present(Box::new(following));
        Document { header: self.header("web-1"), body }.sign(&[key]).bytes
    }

    /// A rollout of the first release of `prod`, last written at this time.
    fn rollout(&self, state: RolloutState, created: Timestamp) -> Vec<u8> {
        let body = Rollout {
            remote: "prod".parse().expect("a name"),
            release: Believed { serial: Serial::FIRST, digest: Digest::of(b"its release") },
            archive: self.old,
            extents: vec![Extent::ALL],
            waves: Vec::new(),
            gates: Gates { soak: 600, timeout: 1800, max_failed: 0, on_failure: OnFailure::Halt, reboot: false },
            state,
            reason: None,
            driver: None,
            other: serde_json::Map::new(),
        };
        Document { header: Header { created, ..self.header("one") }, body }.sign(&[&key("npc-publish-1", 2)]).bytes
    }

    fn release(&self, remote: &str, key: &SecretKey) -> Vec<u8> {
        let release = Release::new(Archive { sha256: self.old, size: 3 }, Source::default(), BTreeMap::new());
        let body = RemoteState::Present(Box::new(release));
        Document { header: self.header(remote), body }.sign(&[key]).bytes
    }
}

#[tokio::test]
async fn what_nothing_names_goes_and_the_rest_stays() {
    let world = World::new().await;
    let removal = world.removed(Vec::new()).await;
    assert!(removal.failure.is_none() && removal.spared.is_empty(), "{removal:?}");
    assert!(!world.has(&world.old));
    assert!(world.has(&Digest::of(b"now")) && world.has(&Digest::of(b"older than now")));
    assert_eq!(world.decided().await, Ok(Vec::new()));
}

#[tokio::test]
async fn what_is_needed_again_since_it_was_decided_upon_is_spared() {
    for when in 0..4 {
        let world = World::new().await;
        let meddling = match when {
            0 => (Some(world.publishing("staging", "old")), None),
            // Listed as old, and written anew and named before anything is read.
            1 => (None, Some(world.publishing("staging", "old"))),
            2 => (Some(world.pinning()), None),
            _ => (None, Some(world.pinning())),
        };
        let removal = world.removed(vec![meddling]).await;
        assert!(removal.failure.is_none(), "{when}: {removal:?}");
        assert_eq!(removal.spared, [Object::Archive(world.old)], "{when}");
        assert!(world.has(&world.old), "{when}");
    }
}

#[tokio::test]
async fn what_is_written_again_is_spared_before_anything_names_it() {
    let world = World::new().await;
    let store = Arc::clone(&world.fleet.store);
    let place = layout::archive(&world.old);
    let writing: Deed = Box::pin(async move {
        store.write(&place, Content::Bytes(b"old"), Precondition::None).await.expect("written");
    });
    let removal = world.removed(vec![(Some(writing), None)]).await;
    assert_eq!(removal.spared, [Object::Archive(world.old)]);
    assert!(world.has(&world.old));
}

#[tokio::test]
async fn what_comes_to_be_named_in_the_moment_of_its_removal_is_said_to_be_lost() {
    let world = World::new().await;
    *world.meddling.removal.lock().expect("whole") = Some(world.pinning());
    let removal = world.removed(Vec::new()).await;
    let failure = format!("{:?}", removal.failure.expect("a failure"));
    assert!(failure.contains("Raced") && failure.contains(&world.old.to_string()), "{failure}");
    // Whoever published rather than pinned has uploaded it again.
    let world = World::new().await;
    *world.meddling.removal.lock().expect("whole") = Some(world.publishing("staging", "old"));
    assert!(world.removed(Vec::new()).await.failure.is_none());
    assert!(world.has(&world.old));
}

#[tokio::test]
async fn what_is_not_to_be_believed_keeps_what_it_names() {
    let stranger = key("npc-stranger", 9);
    let envelope =
        |payload: serde_json::Value| Envelope::sign("of-a-later-kind", payload.to_string().into(), &[]).to_bytes();
    let old = Digest::of(b"old");
    let large = json!({ "runs": { "archive": old }, "more": "x".repeat(usize::try_from(limits::REPORT_BYTES).expect("small")) });
    for (path, bytes) in [
        ("remotes/other.json", World::new().await.release("other", &stranger)),
        ("releases/other/1.json", World::new().await.release("other", &stranger)),
        ("assignments/web-1.json", World::new().await.pin(&stranger)),
        ("assignments/web-1.json", World::new().await.pin(&key("npc-publish-1", 2))),
        ("rollouts/one.json", envelope(json!({ "archive": old }))),
        ("rollouts/one.json", envelope(json!({ "targets": [{ "then": old }] }))),
        ("reports/web-1.json", envelope(json!({ "runs": { "archive": old } }))),
        ("reports/web-1.json", envelope(large)),
        ("reports/web-1.json", format!("runs {old}").into()),
        ("remotes/left-behind", envelope(json!({ "archive": old }))),
        ("releases/prod/draft", format!("{old}").into()),
    ] {
        let world = World::new().await;
        assert_eq!(world.decided().await, Ok(vec![Object::Archive(old)]), "{path}");
        world.put(path, bytes);
        assert_eq!(world.decided().await, Ok(Vec::new()), "{path}");
    }
}

#[tokio::test]
async fn a_rollout_keeps_its_archive_until_long_after_its_end() {
    use RolloutState::{Aborted, Finished, Halted, Paused, Running};
    for (state, days, keeps) in [
        (Running, 60, true),
        (Halted, 60, true),
        (Paused, 60, true),
        (Finished, 29, true),
        (Finished, 31, false),
        (Aborted, 31, false),
    ] {
        let world = World::new().await;
        world.put("rollouts/one.json", world.rollout(state.clone(), days_ago(days)));
        let goes = if keeps { Vec::new() } else { vec![Object::Archive(world.old)] };
        assert_eq!(world.decided().await, Ok(goes), "{state:?}, {days} days ago");
    }
}

#[tokio::test]
async fn nothing_goes_while_a_document_that_somebody_goes_by_cannot_be_read() {
    let too_large = "x".repeat(usize::try_from(limits::DOCUMENT_BYTES).expect("small") + 1);
    for path in
        ["remotes/other.json", "remotes/prod.json", "releases/prod/4.json", "assignments/a.json", "rollouts/a.json"]
    {
        for bytes in ["", "{}", "something else", &too_large] {
            let world = World::new().await;
            world.put(path, bytes);
            let failure = world.decided().await.expect_err("refused");
            assert!(failure.contains("Trust") && failure.contains(path), "{failure}");
        }
    }
    for path in ["reports/web-1.json", "remotes/left-behind", "releases/prod/draft", "probe/0", "archives/junk"] {
        let world = World::new().await;
        world.put(path, &too_large);
        assert_eq!(world.decided().await, Ok(vec![Object::Archive(world.old)]), "{path}");
    }
}

#[tokio::test]
async fn nothing_goes_if_anything_cannot_be_listed() {
    let prefixes =
        [layout::ARCHIVES, layout::REMOTES, layout::RELEASES, layout::ASSIGNMENTS, layout::ROLLOUTS, layout::REPORTS];
    for prefix in prefixes {
        let world = World::new().await;
        *world.meddling.denied.lock().expect("whole") = Some(prefix);
        assert!(world.decided().await.expect_err("refused").contains("Denied"), "{prefix}");
    }
}

#[tokio::test]
async fn nothing_goes_from_a_store_that_tells_no_times_or_is_not_whole() {
    let world = World::new().await;
    *world.meddling.is_dateless.lock().expect("whole") = true;
    assert_eq!(world.decided().await, Ok(Vec::new()));
    let world = World::new().await;
    for folder in ["remotes", "releases"] {
        fs::remove_dir_all(world.folder.path().join(folder)).expect("removed");
    }
    assert!(world.decided().await.expect_err("refused").contains("no remote"));
}

#[tokio::test]
async fn the_report_of_a_machine_that_has_left_goes_and_that_of_one_that_is_back_stays() {
    let (w7, report) = (key("npc-w-7", 7), Report { ephemeral: true, ..Report::default() });
    let world = World::new().await;
    let said = |ephemeral, created| {
        let body = Report { ephemeral, report_key: Some(w7.public()), ..report.clone() };
        Document { header: Header { created, ..world.header("w-7") }, body }.sign(&[&w7]).bytes
    };
    let report = [Object::Archive(world.old), Object::Report("w-7".parse().expect("a name"))];
    for (ephemeral, days, goes) in [(true, 90, true), (true, 29, false), (false, 90, false)] {
        world.put("reports/w-7.json", said(ephemeral, days_ago(days)));
        assert_eq!(world.decided().await, Ok(report[..if goes { 2 } else { 1 }].to_vec()), "{ephemeral} {days}");
    }
    world.put("reports/w-7.json", said(true, days_ago(90)));
    let mut collector = world.collector();
    let (_, plan) = collector.decide().await.expect("decided");
    fs::write(world.folder.path().join("reports/w-7.json"), said(true, Timestamp::now())).expect("written");
    let removal = collector.remove(&plan, |_| ()).await;
    assert_eq!(removal.spared, report[1..]);
    assert!(world.folder.path().join("reports/w-7.json").exists());
    // Nobody knows whether it was the host who said so.
    let forged = Document { header: world.header("w-7"), body: Report { ephemeral: true, ..Report::default() } };
    world.put("reports/w-7.json", forged.sign(&[&w7]).bytes);
    assert_eq!(world.decided().await, Ok(Vec::new()));
}
