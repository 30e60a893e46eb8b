use std::fs;

use npc_core::digest::Digest;
use npc_core::document::{Archive, Assignment, Document, Header, Release, RemoteState, Source};
use npc_core::key::SecretKey;
use npc_core::name::{ConfigurationName, FleetId};
use npc_core::publish::trust::first;
use npc_core::store::DirectoryStore;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::*;
use crate::machine::{Committed, Journal};
use crate::pretended::PretendedStore;
use crate::state::HeldAssignment;

mod archives;
mod elsewhere;

/// Documents have no end unless a test says so, and so the time does not matter.
struct Midnight;

impl Clock for Midnight {
    fn now(&self) -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a time")
    }

    fn uptime(&self) -> Duration {
        Duration::ZERO
    }
}

fn fleet() -> FleetId {
    FleetId::from_random([7; 16])
}

fn serial(number: u64) -> Serial {
    Serial::new(number).expect("a serial")
}

fn generate(name: &str) -> SecretKey {
    SecretKey::generate(name.parse().expect("a key's name")).expect("randomness")
}

/// A store in a directory, and a host that polls it.
struct World {
    folder: TempDir,
    publishing: SecretKey,
    anchor: Anchor,
    replay: Replay,
    state: StateDirectory,
    poller: Poller,
}

impl World {
    /// A host whose own settings say `own`, with two remotes to follow.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, publishing) = (generate("npc-root-1"), generate("npc-publish-1"));
        let anchor =
            Anchor { fleet: fleet(), root_keys: vec![root.public()], root_threshold: 1, version: Serial::FIRST };
        let state = StateDirectory::create(&folder.path().join("state")).expect("a state directory");
        let replay = Replay::for_tests();
        let poller = poller(folder.path(), &anchor, &state, &replay);
        let world = Self { folder, publishing, anchor, replay, state, poller };
        world.hold("trust/1.json", &first(fleet(), &root, &world.publishing, Midnight.now()).bytes);
        world.release("own", 1);
        world.release("other", 1);
        world
    }

    fn path(&self, key: &str) -> std::path::PathBuf {
        self.folder.path().join("store").join(key)
    }

    fn hold(&self, key: &str, bytes: &[u8]) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, bytes).expect("written");
    }

    fn header(name: &str, number: u64) -> Header {
        let (created, trust) = (Midnight.now(), Serial::FIRST);
        let (name, serial) = (name.to_owned(), serial(number));
        Header { fleet: fleet(), name, serial, created, trust, requires: Vec::new(), expires: None }
    }

    /// What is in a release's archive, as far as polls are concerned.
    fn content(remote: &str, number: u64) -> String {
        format!("{remote} {number}")
    }

    fn archive(remote: &str, number: u64) -> Digest {
        Digest::of(Self::content(remote, number).as_bytes())
    }

    /// Where that lies in the store.
    fn archive_key(remote: &str, number: u64) -> String {
        format!("archives/{}.tar.gz", Self::archive(remote, number))
    }

    /// Publishes a release.
    fn release(&self, remote: &str, number: u64) {
        self.release_of(remote, number, json!({}));
    }

    /// Publishes a release whose evaluated configurations are these.
    fn release_of(&self, remote: &str, number: u64, configurations: Value) {
        let content = Self::content(remote, number);
        self.hold(&Self::archive_key(remote, number), content.as_bytes());
        let release = Release {
            archive: Archive { sha256: Self::archive(remote, number), size: content.len() as u64 },
            source: Source::default(),
            configurations: serde_json::from_value(configurations).expect("configurations"),
            inputs: Vec::new(),
            origin: None,
            attempt: 0,
            other: Map::new(),
        };
        let body = RemoteState::Present(Box::new(release));
        let signed = Document { header: Self::header(remote, number), body }.sign(&[&self.publishing]);
        self.hold(&format!("releases/{remote}/{number}.json"), &signed.bytes);
        self.hold(&format!("remotes/{remote}.json"), &signed.bytes);
    }

    /// Assigns the host.
    fn assign(&self, number: u64, fields: Value) {
        let body: Assignment = serde_json::from_value(fields).expect("an assignment");
        let signed = Document { header: Self::header("web-1", number), body }.sign(&[&self.publishing]);
        self.hold("assignments/web-1.json", &signed.bytes);
    }

    async fn poll(&mut self) -> Result<News, PollError> {
        self.poller.poll(&mut self.replay, &self.state, &Midnight).await
    }

    /// What is followed in the end.
    async fn follows(&mut self) -> Option<String> {
        loop {
            match self.poll().await.expect("an answer") {
                News::Assignment { .. } => {}
                News::Nothing => return None,
                News::Release(target) => return Some(format!("{}@{}", target.remote, target.serial)),
            }
        }
    }

    /// Another process of the agent's.
    fn restart(&mut self) {
        self.poller = poller(self.folder.path(), &self.anchor, &self.state, &self.replay);
    }

    /// The kind of the reason for which the host stays where it is not told to be.
    fn stays(&self) -> Option<&'static str> {
        self.poller.reason_to_stay().map(PollError::kind)
    }
}

fn poller(folder: &std::path::Path, anchor: &Anchor, state: &StateDirectory, replay: &Replay) -> Poller {
    poller_with(folder, anchor, state, replay, Initial::None)
}

fn poller_with(
    folder: &std::path::Path,
    anchor: &Anchor,
    state: &StateDirectory,
    replay: &Replay,
    initial: Initial,
) -> Poller {
    let own = Following { remote: "own".parse().expect("a name"), configuration: "web-1".parse().expect("a name") };
    let told = Told::open(state, &replay.floors, "web-1".parse().expect("a name"), own, initial);
    let store = Arc::new(DirectoryStore::new(folder.join("store")));
    let it_was = Place::of_host(state, &told.instructions().place, &Journal::default());
    let pace = Pace::every(Duration::from_mins(1));
    Poller::new(store, anchor.clone(), told, Names::Configuration, pace).from_where(it_was, state)
}

fn to(remote: &str) -> Value {
    json!({ "remote": remote, "configuration": "web-1" })
}

#[tokio::test]
async fn a_store_that_is_not_there_is_an_outage_with_a_name() {
    let mut world = World::new();
    fs::remove_dir_all(world.path("")).expect("removed");
    let error = world.poll().await.expect_err("nothing there");
    assert_eq!(error.kind(), "not-found");
    assert!(world.poller.is_in_trouble());
}

#[tokio::test]
async fn the_hosts_own_settings_rule_until_it_is_assigned() {
    let mut world = World::new();
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    world.assign(1, to("other"));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: true })));
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
    assert_eq!(world.poller.obeyed().assignment, Some(serial(1)));
    world.release("own", 2);
    assert_eq!(world.follows().await, None);
    world.assign(2, to("other"));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: false })), "it says the same");
}

#[tokio::test]
async fn an_initial_configuration_comes_before_what_the_host_is_told_until_something_is_committed() {
    let mut world = World::new();
    let small: ConfigurationName = "small".parse().expect("a name");
    let due = Initial::Due(small.clone());
    world.poller = poller_with(world.folder.path(), &world.anchor, &world.state, &world.replay, due);
    world.assign(1, to("other"));
    let target = loop {
        match world.poll().await.expect("an answer") {
            News::Release(target) => break target,
            News::Assignment { .. } => {}
            News::Nothing => panic!("there is a release"),
        }
    };
    assert_eq!((target.remote.as_str(), &target.configuration), ("other", &small));
    let obeyed = world.poller.obeyed();
    assert_eq!((obeyed.remote.as_str(), obeyed.configuration.as_str()), ("other", "web-1"), "what it is told");
    assert!(!world.poller.goes_on(&Journal::default()), "nothing is committed");
    assert_eq!(world.follows().await, None);

    let digest = target.digest;
    let committed = Committed { target: *target, system: "/nix/store/small".into(), since: Midnight.now() };
    let journal = Journal { committed: Some(committed), ..Journal::default() };
    assert!(world.poller.goes_on(&journal));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: true })));
    let Ok(News::Release(target)) = world.poll().await else { panic!("the same release once more") };
    assert_eq!((target.configuration.as_str(), target.digest), ("web-1", digest));
    assert!(!world.poller.goes_on(&journal), "it has gone on already");
}

#[tokio::test]
async fn a_host_stays_with_its_initial_configuration_where_there_is_no_other_and_does_not_call_that_its_own() {
    let mut world = World::new();
    let due = Initial::Due("small".parse().expect("a name"));
    world.poller = poller_with(world.folder.path(), &world.anchor, &world.state, &world.replay, due);
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    world.assign(1, to("nowhere"));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: false })));
    assert_eq!(world.stays(), Some("not-found"));
    assert_eq!(world.poller.followed().configuration.as_str(), "small");
    assert_eq!(world.poller.obeyed().configuration.as_str(), "web-1");
}

#[tokio::test]
async fn a_host_without_the_initial_configuration_goes_on_to_what_it_is_told() {
    let mut world = World::new();
    let due = Initial::Due("misspelled".parse().expect("a name"));
    world.poller = poller_with(world.folder.path(), &world.anchor, &world.state, &world.replay, due);
    let system =
        json!({ "system": "x86_64-linux", "drv_path": "/nix/store/8axqh5ph26hb9pfvsdajyi26ri4zf6zr-web-1.drv" });
    world.release_of("own", 2, json!({ "web-1": system }));
    assert_eq!(world.poll().await.expect_err("there is none").kind(), "no-such-configuration");
    assert_eq!(world.follows().await.as_deref(), Some("own@2"));
    assert_eq!(world.poller.followed().configuration.as_str(), "web-1");
}

#[tokio::test]
async fn an_assignment_holds_when_its_object_is_gone_and_until_it_is_removed() {
    let mut world = World::new();
    world.assign(1, to("other"));
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
    fs::remove_file(world.path("assignments/web-1.json")).expect("removed");
    world.release("other", 2);
    assert_eq!(world.follows().await.as_deref(), Some("other@2"));
    world.restart();
    assert_eq!(world.follows().await.as_deref(), Some("other@2"), "it is kept on the disk");
    world.assign(2, json!({ "removed": true }));
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    world.assign(1, to("other"));
    assert_eq!(world.poll().await.expect_err("a replay").kind(), "rollback");
}

#[tokio::test]
async fn a_host_that_lost_its_assignment_waits_for_the_store_to_show_it() {
    let mut world = World::new();
    world.assign(3, to("other"));
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
    fs::write(world.state.path("assignment.json"), "damaged").expect("written");
    let signed = fs::read(world.path("assignments/web-1.json")).expect("read");
    fs::remove_file(world.path("assignments/web-1.json")).expect("removed");
    world.restart();
    assert!(world.poller.instructions().paused, "nobody knows what it said");
    assert_eq!(world.poll().await.expect_err("what to follow is not known").kind(), "assignment-lost");
    assert!(world.poller.is_in_trouble());
    world.hold("assignments/web-1.json", &signed);
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
}

#[tokio::test]
async fn a_refused_assignment_leaves_everything_as_it_is() {
    let mut world = World::new();
    world.assign(2, to("other"));
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
    let refused = [("rollback", 1, to("own")), ("equivocation", 2, to("own"))];
    for (kind, number, says) in refused {
        world.assign(number, says);
        assert_eq!(world.poll().await.expect_err("refused").kind(), kind);
        assert!(world.poller.has_refused());
    }
    world.release("other", 2);
    world.assign(2, to("other"));
    assert_eq!(world.follows().await.as_deref(), Some("other@2"), "and then goes on");
    assert!(!world.poller.has_refused());
}

#[tokio::test]
async fn a_pinned_release_is_followed_whatever_the_remote_holds_and_however_old_it_is() {
    let mut world = World::new();
    world.release("own", 2);
    world.release("own", 3);
    assert_eq!(world.follows().await.as_deref(), Some("own@3"));
    let pinned = |number, archive: Digest| json!({ "remote": "own", "configuration": "web-1", "pin": { "serial": number, "archive": archive } });
    world.assign(1, pinned(2, World::archive("own", 2)));
    assert_eq!(world.follows().await.as_deref(), Some("own@2"));
    world.release("own", 4);
    assert_eq!(world.follows().await, None);
    world.assign(2, pinned(2, World::archive("own", 3)));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: false })));
    assert_eq!(world.stays(), Some("wrong-subject"), "another archive");
    world.assign(3, to("own"));
    assert_eq!(world.follows().await.as_deref(), Some("own@4"));
}

#[tokio::test]
async fn an_assignment_sets_the_pace_within_limits_and_pauses() {
    let mut world = World::new();
    for (number, interval, seconds) in [(1, 1, 10), (2, 100_000, 3600), (3, 20, 20)] {
        let says = json!({ "remote": "own", "configuration": "web-1", "poll_interval": interval, "paused": true });
        world.assign(number, says);
        world.follows().await;
        assert_eq!(world.poller.pause(0.5), Duration::from_secs(seconds));
        assert!(world.poller.instructions().paused);
    }
}

#[tokio::test]
async fn a_rollout_says_how_often_to_report_within_limits_and_only_as_long_as_it_does() {
    let mut world = World::new();
    for (number, heartbeat, seconds) in
        [(1, json!(1), Some(5)), (2, json!(100_000), Some(1800)), (3, json!(20), Some(20)), (4, Value::Null, None)]
    {
        let rollout = json!({ "id": "spring", "wave": 1, "heartbeat": heartbeat });
        world.assign(number, json!({ "remote": "own", "configuration": "web-1", "rollout": rollout }));
        world.follows().await;
        assert_eq!(world.poller.instructions().heartbeat, seconds.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn an_assignment_that_was_kept_and_not_yet_remembered_counts() {
    let mut world = World::new();
    world.assign(1, json!({ "remote": "other", "configuration": "web-1", "paused": true }));
    world.follows().await;
    // The power fails between the two writes.
    world.assign(2, json!({ "remote": "other", "configuration": "web-1", "paused": true, "poll_interval": 20 }));
    let second = fs::read(world.path("assignments/web-1.json")).expect("read");
    HeldAssignment::keep(&world.state, &second).expect("kept");
    world.restart();
    let instructions = world.poller.instructions();
    assert_eq!((instructions.paused, instructions.assignment()), (true, Some(serial(2))));
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
}

#[tokio::test]
async fn what_is_obeyed_is_told_by_the_assignment_that_holds_and_not_by_the_last_release() {
    let mut world = World::new();
    world.assign(1, to("own"));
    world.follows().await;
    world.assign(2, json!({ "remote": "own", "configuration": "web-1", "paused": true }));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: false })));
    assert_eq!(world.poller.obeyed().assignment, Some(serial(2)));
    let before = world.poller.obeyed();
    world.assign(3, to("nowhere"));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: false })));
    assert_eq!(world.poller.obeyed(), Obeyed { assignment: Some(serial(3)), ..before });
    world.assign(4, json!({ "removed": true }));
    world.follows().await;
    assert_eq!(world.poller.obeyed().assignment, None);
}

impl World {
    /// Has the store be one in which clients wait.
    fn wait(&mut self) -> Arc<PretendedStore> {
        let store = Arc::new(PretendedStore::new(self.path("")));
        self.poller.store = Arc::<PretendedStore>::clone(&store);
        store
    }

    /// Takes an object out of the store.
    fn taken(&self, key: &str) -> Vec<u8> {
        let bytes = fs::read(self.path(key)).expect("read");
        fs::remove_file(self.path(key)).expect("removed");
        bytes
    }
}

#[tokio::test]
async fn a_release_that_was_waited_for_does_not_overtake_an_assignment() {
    for assigned_before in [false, true] {
        let mut world = World::new();
        let store = world.wait();
        if assigned_before {
            world.assign(1, to("own"));
        }
        assert_eq!(world.follows().await.as_deref(), Some("own@1"));
        world.assign(2, json!({ "remote": "other", "configuration": "web-1", "paused": true }));
        let assigned = world.taken("assignments/web-1.json");
        let before = fs::read(world.path("remotes/own.json")).expect("read");
        world.release("own", 2);
        let released = world.taken("remotes/own.json");
        world.hold("remotes/own.json", &before);
        *store.meanwhile.lock().expect("unharmed") =
            vec![("assignments/web-1.json", assigned), ("remotes/own.json", released)];
        let news = world.poll().await.expect("an answer");
        assert!(!matches!(news, News::Release(_)), "{news:?}");
        assert_eq!(world.follows().await.as_deref(), Some("other@1"));
        assert!(world.poller.instructions().paused);
    }
}

#[tokio::test]
async fn what_is_refused_is_not_asked_for_every_second_where_clients_wait() {
    let mut world = World::new();
    world.wait();
    world.assign(2, to("own"));
    world.follows().await;
    assert!(world.poller.pause(0.0) < Duration::from_secs(2), "the store has the client wait");
    world.assign(1, to("own"));
    for _ in 0..5 {
        // Refused, and then known to be.
        drop(world.poll().await);
        assert!(world.poller.pause(0.0) >= Duration::from_secs(30));
    }
}

#[tokio::test]
async fn the_page_of_a_portal_is_no_answer_of_the_stores_and_an_old_release_is_one() {
    let mut world = World::new();
    world.release("own", 2);
    world.follows().await;
    world.release("own", 1);
    world.poller.store_answers(&world.replay).await.expect("an old release is an answer");
    fs::remove_file(world.path("remotes/own.json")).expect("removed");
    world.poller.store_answers(&world.replay).await.expect("so is that it is gone");
    world.hold("remotes/own.json", b"<html>Please log in</html>");
    world.poller.store_answers(&world.replay).await.expect_err("a page");
    let stranger = generate("npc-publish-1");
    let header = Header { trust: serial(2), ..World::header("own", 3) };
    let signed = Document { header, body: RemoteState::Removed }.sign(&[&stranger]).bytes;
    world.hold("remotes/own.json", &signed);
    world.poller.store_answers(&world.replay).await.expect_err("a stranger's release, whatever it claims");
    for key in ["remotes/own.json", "trust/1.json"] {
        fs::remove_file(world.path(key)).expect("removed");
    }
    world.poller.store_answers(&world.replay).await.expect_err("something that has never heard of the fleet");
}
