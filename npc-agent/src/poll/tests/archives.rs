//! Hosts that are told to go where they could not fetch what they are to run.

use super::*;
use crate::machine::{ByHand, Committed};

/// What was asked for since the last look, of archives.
fn archives(store: &PretendedStore) -> usize {
    let reads = std::mem::take(&mut *store.reads.lock().expect("unharmed"));
    reads.iter().filter(|(key, _)| key.starts_with("archives/")).count()
}

/// A host that follows `own@1`, at a store with a will of its own.
async fn at_own() -> (World, Arc<PretendedStore>) {
    let mut world = World::new();
    assert_eq!(world.follows().await.as_deref(), Some("own@1"));
    let store = world.wait();
    (world, store)
}

/// Something that keeps a host from fetching the archive of `other@1`.
type Spoil = fn(&World, &PretendedStore);

#[tokio::test]
async fn a_place_whose_archive_cannot_be_fetched_is_not_gone_to_and_the_old_one_is_followed_on() {
    let spoilt: [(&str, Spoil); 4] = [
        ("missing", |world, _| drop(world.taken(&World::archive_key("other", 1)))),
        ("cut short", |world, _| world.hold(&World::archive_key("other", 1), b"other ")),
        ("too long", |world, _| world.hold(&World::archive_key("other", 1), b"other 1 and more")),
        ("denied", |_, store| *store.withheld.lock().expect("unharmed") = Some(("archives/", Fault::Denied))),
    ];
    for (how, spoil) in spoilt {
        let (mut world, store) = at_own().await;
        spoil(&world, &store);
        world.assign(1, to("other"));
        assert_eq!((world.follows().await, world.stays()), (None, Some("no-archive")), "{how}");
        world.release("own", 2);
        assert_eq!(world.follows().await.as_deref(), Some("own@2"), "{how}");
        let Stays::Yes(staying) = world.poller.stays() else { panic!("it stays") };
        let said = &staying.reason.message;
        assert!(said.starts_with("stays with `own`: `other` cannot be followed: the archive of `other@1` "), "{said}");
        assert!(said.contains(&World::archive_key("other", 1)), "{said}");
        *store.withheld.lock().expect("unharmed") = None;
        world.release("other", 2);
        assert_eq!(world.follows().await.as_deref(), Some("other@2"), "{how}");
    }
}

#[tokio::test]
async fn an_archive_is_asked_for_once_before_the_host_goes_and_not_for_releases_of_where_it_is() {
    let (mut world, store) = at_own().await;
    world.release("own", 2);
    assert_eq!(world.follows().await.as_deref(), Some("own@2"));
    assert_eq!(archives(&store), 0, "what the host follows is fetched in its turn");
    world.assign(1, to("other"));
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
    assert_eq!(archives(&store), 1);
    world.follows().await;
    assert_eq!(archives(&store), 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_archive_is_not_asked_for_with_every_poll_and_gone_to_once_it_is_there() {
    let (mut world, store) = at_own().await;
    let archive = world.taken(&World::archive_key("other", 1));
    world.assign(1, to("other"));
    for _ in 0..9 {
        assert_eq!(world.follows().await, None);
    }
    assert_eq!(archives(&store), 2, "it takes two looks to be sure of what is refused");
    world.hold(&World::archive_key("other", 1), &archive);
    assert_eq!((world.follows().await, archives(&store)), (None, 0));
    tokio::time::advance(Duration::from_mins(10)).await;
    assert_eq!((world.follows().await.as_deref(), archives(&store)), (Some("other@1"), 1));
}

#[tokio::test]
async fn a_store_that_is_away_when_it_is_asked_for_an_archive_is_asked_again_with_the_next_poll() {
    let (mut world, store) = at_own().await;
    *store.withheld.lock().expect("unharmed") = Some(("archives/", Fault::Unavailable));
    world.assign(1, to("other"));
    for _ in 0..3 {
        world.poll().await.expect("what it follows is well");
        assert_eq!((world.stays(), archives(&store)), (Some("unavailable"), 1));
    }
    *store.withheld.lock().expect("unharmed") = None;
    assert_eq!(world.follows().await.as_deref(), Some("other@1"));
}

/// Something that a host has before it is told to go.
type Prepare = fn(&World);

/// The journal of a host that runs what is in the archive of `other@1`, by another release.
fn journal_of_other() -> Journal {
    let target = Target {
        remote: "before".parse().expect("a name"),
        serial: serial(1),
        digest: Digest::of(b"another release"),
        archive: Archive { sha256: World::archive("other", 1), size: 7 },
        configuration: "web-1".parse().expect("a name"),
        drv_path: None,
        out_path: None,
        rev: None,
        expires: None,
        attempt: 0,
    };
    let committed = Some(Committed { target, system: "/system".into(), since: Midnight.now() });
    Journal { committed, ..Journal::default() }
}

#[tokio::test]
async fn an_archive_that_the_host_would_not_fetch_is_not_asked_for() {
    let has: [(&str, bool, Prepare); 3] = [
        ("unpacked", true, |world| {
            fs::create_dir_all(world.state.flake(&World::archive("other", 1))).expect("created");
        }),
        ("committed", true, |world| world.state.write_journal(&journal_of_other()).expect("written")),
        ("committed, and replaced by hand", false, |world| {
            let by_hand = Some(ByHand { system: "/other".into(), since: Midnight.now() });
            world.state.write_journal(&Journal { by_hand, ..journal_of_other() }).expect("written");
        }),
    ];
    for (how, goes, prepare) in has {
        let (mut world, store) = at_own().await;
        prepare(&world);
        world.taken(&World::archive_key("other", 1));
        world.assign(1, to("other"));
        assert_eq!(world.follows().await.as_deref(), goes.then_some("other@1"), "{how}");
        assert_eq!(archives(&store) == 0, goes, "{how}");
    }
}
