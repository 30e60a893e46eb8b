//! Hosts that are told to go elsewhere, and go once that is good.

use super::*;
use crate::pretended::PretendedStore;

/// A host that follows `own@1` and was told to follow this instead.
async fn told_to_follow(says: Value) -> World {
    let mut world = World::new();
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    world.assign(1, says);
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: false })));
    world
}

/// What makes a place one that cannot be followed.
type Spoil = fn(&World);

/// A pin to a release of `own`.
fn pinned(number: u64) -> Value {
    let pin = json!({ "serial": number, "archive": World::archive("own", number) });
    json!({ "remote": "own", "configuration": "web-1", "pin": pin })
}

impl World {
    /// A release that has the configuration `db-1` alone.
    fn release_for_another(&self, remote: &str, number: u64) {
        let system =
            json!({ "system": "x86_64-linux", "drv_path": "/nix/store/8axqh5ph26hb9pfvsdajyi26ri4zf6zr-db-1.drv" });
        let archive = json!({ "sha256": Self::archive(remote, number), "size": 7 });
        let source = serde_json::to_value(Source::default()).expect("JSON");
        let release = json!({ "archive": archive, "source": source, "configurations": { "db-1": system } });
        let body: RemoteState = serde_json::from_value(release).expect("a release");
        let signed = Document { header: Self::header(remote, number), body }.sign(&[&self.publishing]);
        self.hold(&format!("remotes/{remote}.json"), &signed.bytes);
    }

    /// The store sends these to whoever asks from now on, and notes what it is asked.
    fn noting(&mut self) -> Arc<PretendedStore> {
        let store = self.wait();
        store.reads.lock().expect("unharmed").clear();
        store
    }
}

fn reads(store: &PretendedStore) -> Vec<(String, bool)> {
    std::mem::take(&mut *store.reads.lock().expect("unharmed"))
}

#[tokio::test]
async fn a_host_stays_until_the_place_that_it_was_told_is_good_and_then_goes_by_itself() {
    let mut world = told_to_follow(to("nowhere")).await;
    assert_eq!(world.stays(), Some("not-found"));
    world.release("own", 2);
    assert_eq!(world.follows().await.as_deref(), Some("own@2"), "releases of the old place are taken in");
    assert_eq!(world.follows().await, None);
    let Stays::Yes(staying) = world.poller.stays() else { panic!("it stays") };
    assert_eq!(staying.reason.kind, "not-found");
    assert!(staying.reason.message.starts_with("stays with `own`: `nowhere` cannot be followed: "), "{staying:?}");
    assert!(!world.poller.is_in_trouble(), "the store is well, and so is what is followed");
    world.release("nowhere", 7);
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: true })));
    assert_eq!(world.poller.stays(), Stays::No);
    assert_eq!(world.poller.obeyed().release.expect("believed").serial, serial(7));
    assert_eq!(world.follows().await.as_deref(), Some("nowhere@7"));
    world.release("own", 3);
    assert_eq!(world.follows().await, None, "it has left");
}

#[tokio::test]
async fn a_place_that_cannot_be_believed_or_has_no_such_configuration_is_not_gone_to() {
    let refusals: [(&str, Spoil); 4] = [
        ("bad-signature", |world| {
            let body = RemoteState::Removed;
            let signed = Document { header: World::header("other", 2), body }.sign(&[&generate("npc-publish-1")]);
            world.hold("remotes/other.json", &signed.bytes);
        }),
        ("remote-removed", |world| {
            let body = RemoteState::Removed;
            let signed = Document { header: World::header("other", 2), body }.sign(&[&world.publishing]);
            world.hold("remotes/other.json", &signed.bytes);
        }),
        ("no-such-configuration", |world| world.release_for_another("other", 2)),
        ("unreadable", |world| world.hold("remotes/other.json", b"<html>Please log in</html>")),
    ];
    for (kind, spoil) in refusals {
        let mut world = World::new();
        assert_eq!(world.follows().await.as_deref(), Some("own@1"));
        spoil(&world);
        world.assign(1, to("other"));
        assert_eq!(world.follows().await, None);
        assert_eq!(world.stays(), Some(kind));
        world.release("own", 2);
        assert_eq!(world.follows().await.as_deref(), Some("own@2"), "{kind}");
        assert_eq!((world.follows().await, world.stays()), (None, Some(kind)), "and stays so");
        world.release("other", 3);
        assert_eq!(world.follows().await.as_deref(), Some("other@3"), "{kind}");
    }
}

#[tokio::test]
async fn a_pin_to_a_release_that_is_still_to_come_is_followed_once_it_is_there() {
    let mut world = told_to_follow(pinned(3)).await;
    world.release("own", 2);
    assert_eq!(world.follows().await.as_deref(), Some("own@2"));
    assert_eq!(world.stays(), Some("not-found"));
    world.release("own", 3);
    world.release("own", 4);
    assert_eq!(world.follows().await.as_deref(), Some("own@3"));
    world.assign(2, pinned(9));
    assert_eq!(world.follows().await, None, "and from one pin to another");
    assert_eq!(world.poller.followed().to_string(), "own@3");
}

#[tokio::test]
async fn the_hosts_own_settings_are_followed_once_they_are_good_too() {
    let own = |remote: &str| Following {
        remote: remote.parse().expect("a name"),
        configuration: "web-1".parse().expect("a name"),
    };
    let mut world = World::new();
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    assert!(!world.poller.set_own(own("nowhere")));
    assert_eq!((world.follows().await, world.stays()), (None, Some("not-found")));
    world.assign(1, to("other"));
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
    world.assign(2, json!({ "removed": true }));
    assert_eq!((world.follows().await, world.stays()), (None, Some("not-found")), "taken back, to nowhere");
    assert_eq!(world.poller.obeyed().remote.as_str(), "other");
    assert!(!world.poller.set_own(own("other")));
    assert_eq!(world.poller.stays(), Stays::No, "it is there already");
}

#[tokio::test]
async fn a_host_with_nothing_to_stay_with_stays_nowhere() {
    let mut world = World::new();
    fs::remove_file(world.path("remotes/own.json")).expect("removed");
    assert_eq!(world.poll().await.expect_err("nothing there").kind(), "not-found");
    world.assign(1, to("nowhere"));
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: true })));
    assert_eq!(world.poll().await.expect_err("nor there").kind(), "not-found");
    world.release("own", 1);
    assert_eq!(world.poll().await.expect_err("nobody said so any more").kind(), "not-found");
}

#[tokio::test]
async fn a_pause_and_an_interval_count_at_once_wherever_the_assignment_leads() {
    let says = json!({ "remote": "nowhere", "configuration": "web-1", "paused": true, "poll_interval": 20 });
    let world = told_to_follow(says).await;
    assert!(world.poller.instructions().paused);
    assert_eq!(world.poller.pause(0.5), Duration::from_secs(20));
    assert_eq!(world.poller.obeyed().assignment, Some(serial(1)));
}

#[tokio::test]
async fn another_agent_stays_where_the_one_before_was_and_goes_where_that_went() {
    let mut world = told_to_follow(to("nowhere")).await;
    world.restart();
    assert_eq!((world.poller.followed().to_string().as_str(), world.poller.stays()), ("own", Stays::Unknown));
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    assert_eq!(world.stays(), Some("not-found"));
    world.release("nowhere", 1);
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: true })));
    fs::remove_file(world.path("remotes/nowhere.json")).expect("removed");
    world.restart();
    assert_eq!(world.poll().await.expect_err("gone").kind(), "not-found", "but it has been there");
    assert_eq!(world.poller.followed().to_string(), "nowhere");
}

#[tokio::test]
async fn a_host_that_cannot_note_where_it_goes_stays_and_polls_on() {
    let mut world = World::new();
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    // What cannot be replaced by a file stands for a disk that takes none.
    fs::remove_file(world.state.path("followed.json")).expect("removed");
    fs::create_dir(world.state.path("followed.json")).expect("created");
    world.assign(1, to("other"));
    assert_eq!((world.follows().await, world.stays()), (None, Some("state")));
    world.release("own", 2);
    assert_eq!(world.follows().await.as_deref(), Some("own@2"));
    fs::remove_dir(world.state.path("followed.json")).expect("removed");
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
}

#[tokio::test]
async fn a_host_that_cannot_note_where_it_is_polls_on_and_notes_it_later() {
    let mut world = World::new();
    fs::create_dir(world.state.path("followed.json")).expect("created");
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    assert_eq!(world.follows().await, None);
    fs::remove_dir(world.state.path("followed.json")).expect("removed");
    assert_eq!(world.follows().await, None);
    assert!(world.poller.followed().is_kept(&world.state));
}

#[tokio::test]
async fn a_host_that_stays_asks_three_times_on_conditions_and_otherwise_twice() {
    let mut world = World::new();
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    world.assign(1, to("own"));
    assert_eq!(world.follows().await, None);
    let store = world.noting();
    world.poll().await.expect("quiet");
    // The store has not said yet that it has its clients wait.
    assert_eq!(reads(&store), [("assignments/web-1.json".to_owned(), true), ("remotes/own.json".to_owned(), true)]);
    world.hold("remotes/other.json", b"<html>Please log in</html>");
    world.assign(2, to("other"));
    // It takes two looks to be sure of what is refused.
    for _ in 0..3 {
        drop(world.poll().await);
    }
    for _ in 0..5 {
        world.poller.store_waits = false;
        reads(&store);
        assert!(matches!(world.poll().await, Ok(News::Nothing)));
        let asked = ["assignments/web-1.json", "remotes/other.json", "remotes/own.json"];
        assert_eq!(reads(&store), asked.map(|key| (key.to_owned(), true)));
    }
}

#[tokio::test]
async fn a_host_that_stays_waits_for_both_places_and_does_not_spin() {
    let mut world = told_to_follow(to("other-yet")).await;
    world.hold("remotes/other-yet.json", b"<html>Please log in</html>");
    let store = world.wait();
    for _ in 0..3 {
        world.poll().await.expect("quiet");
    }
    assert_eq!(world.stays(), Some("unreadable"));
    assert!(world.poller.pause(0.0) < Duration::from_secs(2), "the store has the client wait");
    reads(&store);
    world.poll().await.expect("quiet");
    let asked = reads(&store);
    assert!(asked.iter().all(|(_, has_condition)| *has_condition), "{asked:?}");
    assert!(asked.len() <= 5, "once each, and a wait for each: {asked:?}");
    // While it waits for the old place, the new one becomes good.
    let good = {
        world.release("other-yet", 1);
        let bytes = world.taken("remotes/other-yet.json");
        world.hold("remotes/other-yet.json", b"<html>Please log in</html>");
        bytes
    };
    *store.meanwhile.lock().expect("unharmed") = vec![("remotes/other-yet.json", good)];
    assert!(matches!(world.poll().await, Ok(News::Nothing)), "the wait is over");
    assert!(matches!(world.poll().await, Ok(News::Assignment { repointed: true })));
}

#[tokio::test]
async fn what_is_said_while_something_is_built_counts_if_it_leads_somewhere() {
    for (remote, leaves) in [("other", true), ("nowhere", false)] {
        let mut world = World::new();
        assert_eq!(world.follows().await.as_deref(), Some("own@1"));
        world.assign(1, to(remote));
        let left = world.poller.leaves_meanwhile(&mut world.replay, &world.state, &Midnight).await;
        assert_eq!(left, leaves);
        let follows = world.follows().await;
        assert_eq!(follows.as_deref(), leaves.then_some("other@1"));
    }
}

#[tokio::test]
async fn a_host_that_stays_proves_itself_by_the_place_that_it_follows() {
    let world = told_to_follow(to("nowhere")).await;
    world.poller.store_answers(&world.replay).await.expect("the old place answers");
}
