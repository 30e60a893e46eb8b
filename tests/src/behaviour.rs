//! What every store must do, whatever it is made of.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use npc_core::digest::Digest;
use npc_core::document::Archive;
use npc_core::layout::{self, ObjectKey};
use npc_core::store::{
    Answer, ConditionalWrites, Content, DownloadError, ETag, Fault, Precondition, Read, Store, StoreUrl, clock,
    download, probe, read_document, read_if_present, write_document,
};
use npc_core::trust::Refusal;

/// A store to try, and what it is known to do.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Whether it enforces conditional writes.
    pub writes: ConditionalWrites,
}

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

async fn put(subject: &Subject, name: &str, bytes: &[u8]) -> Option<ETag> {
    subject.store.write(&key(name), Content::Bytes(bytes), Precondition::None).await.expect("written")
}

async fn get(subject: &Subject, name: &str) -> Option<Vec<u8>> {
    read_if_present(&*subject.store, &key(name)).await.expect("readable").map(|(bytes, _)| bytes.to_vec())
}

/// What is absent is said to be absent, not to be an error of another kind.
pub async fn absent(subject: Subject) {
    let error = subject.store.read(&key("remotes/none.json"), Read::DOCUMENT).await.expect_err("absent");
    assert_eq!(error.fault, Fault::NotFound, "{error:?}");
    assert_eq!(get(&subject, "remotes/none.json").await, None);
    subject.store.remove(&key("remotes/none.json")).await.expect("removing what is absent is no error");
}

/// What was written is read back, and replaced whole.
pub async fn written(subject: Subject) {
    for bytes in [&b"first and longer"[..], b"second", b""] {
        put(&subject, "remotes/a.json", bytes).await;
        assert_eq!(get(&subject, "remotes/a.json").await.as_deref(), Some(bytes));
    }
    subject.store.remove(&key("remotes/a.json")).await.expect("removed");
    assert_eq!(get(&subject, "remotes/a.json").await, None);
}

/// A conditional read tells an unchanged object from a changed one.
pub async fn unchanged(subject: Subject) {
    put(&subject, "remotes/b.json", b"one").await;
    let read = |etag| Read { unless: etag, ..Read::DOCUMENT };
    let object = key("remotes/b.json");
    let Ok(Answer::Found { etag: Some(etag), .. }) = subject.store.read(&object, read(None)).await else {
        panic!("there is an object with a version")
    };
    let again = subject.store.read(&object, read(Some(&etag))).await.expect("readable");
    assert!(matches!(again, Answer::Unchanged { .. }), "{again:?}");
    put(&subject, "remotes/b.json", b"two").await;
    let changed = subject.store.read(&object, read(Some(&etag))).await.expect("readable");
    assert!(matches!(&changed, Answer::Found { bytes, .. } if &bytes[..] == b"two"), "{changed:?}");
}

/// An object above the limit is not taken in.
pub async fn limited(subject: Subject) {
    put(&subject, "remotes/c.json", &[b'x'; 1000]).await;
    let read = |limit| Read { limit, ..Read::DOCUMENT };
    let error = subject.store.read(&key("remotes/c.json"), read(999)).await.expect_err("too large");
    assert_eq!(error.fault, Fault::TooLarge);
    subject.store.read(&key("remotes/c.json"), read(1000)).await.expect("just fits");
}

/// Conditional writes let one writer through, or are known not to.
pub async fn conditional(subject: Subject) {
    assert_eq!(probe(&*subject.store).await.expect("probed"), subject.writes);
    if subject.writes == ConditionalWrites::Ignored {
        return;
    }
    let (store, object) = (&subject.store, key("remotes/d.json"));
    let write =
        async |bytes: &'static [u8], precondition| store.write(&object, Content::Bytes(bytes), precondition).await;
    let first = write(b"one", Precondition::Absent).await.expect("it was absent").expect("a version");
    assert_eq!(write(b"two", Precondition::Absent).await.expect_err("it is there").fault, Fault::Conflict);
    let second = write(b"two", Precondition::Version(first.clone())).await.expect("unchanged").expect("a version");
    assert_eq!(write(b"three", Precondition::Version(first)).await.expect_err("changed").fault, Fault::Conflict);
    write(b"three", Precondition::Version(second)).await.expect("unchanged");
    assert_eq!(get(&subject, "remotes/d.json").await.as_deref(), Some(&b"three"[..]));
}

/// A document is written once: the second writer is told, and a writer whose answer was lost is not.
pub async fn documents(subject: Subject) {
    let (store, object) = (&*subject.store, key("releases/e/1.json"));
    let write = |bytes: &'static [u8]| write_document(store, &object, bytes, Precondition::Absent, subject.writes);
    write(b"mine").await.expect("it was absent");
    write(b"mine").await.expect("the same again is one's own");
    assert_eq!(write(b"theirs").await.expect_err("it is there").fault, Fault::Conflict);
    assert_eq!(get(&subject, "releases/e/1.json").await.as_deref(), Some(&b"mine"[..]));
}

/// A listing has what begins with the prefix and nothing else, sorted.
pub async fn listed(subject: Subject) {
    for name in ["releases/f/2.json", "releases/f/10.json", "releases/f2/1.json", "remotes/f.json"] {
        put(&subject, name, b"x").await;
    }
    let listed = subject.store.list("releases/f/").await.expect("listed");
    let names: Vec<_> = listed.iter().map(|object| (object.key.as_str(), object.size)).collect();
    assert_eq!(names, [("releases/f/10.json", 1), ("releases/f/2.json", 1)]);
    assert!(subject.store.list("releases/none/").await.expect("listed").is_empty());
}

/// A listing says when each object was last written, and writing the same again makes it young: whoever removes what is old
/// relies on it. The store's clock is what it is dated by.
pub async fn dated(subject: Subject) {
    let object = layout::archive(&Digest::of(b"archive"));
    let write = async || {
        subject.store.write(&object, Content::Bytes(b"archive"), Precondition::None).await.expect("written");
        let listed = subject.store.list(layout::ARCHIVES).await.expect("listed");
        let found = listed.into_iter().find(|listed| listed.key == object).expect("it is listed");
        found.modified.expect("the store says when")
    };
    let here = Timestamp::now();
    let there = clock(&*subject.store).await.expect("asked").expect("the store says what time it is");
    let first = write().await;
    for time in [there, first] {
        let apart = time.duration_since(here).abs();
        assert!(apart < SignedDuration::from_mins(1), "{here}, {there}, {first}: the same machine's clock");
    }
    assert!(subject.store.list("probe/").await.expect("listed").is_empty(), "nothing is left behind");
    let begun = std::time::Instant::now();
    while write().await <= first {
        assert!(begun.elapsed() < Duration::from_secs(10), "it grows no younger");
        // Some stores count in whole seconds.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The version in a listing is the one that reading gives, and changes with the object. Only a directory does not say it.
pub async fn versioned(subject: Subject) {
    let mut before = None;
    for bytes in [b"one", b"two"] {
        let written = put(&subject, "reports/h/1.json", bytes).await;
        let listed = subject.store.list("reports/h/").await.expect("listed");
        let [listed] = &listed[..] else { panic!("one object: {listed:?}") };
        if matches!(subject.store.url(), StoreUrl::Directory(_)) {
            assert_eq!(listed.etag, None);
            continue;
        }
        let (_, read) = read_document(&*subject.store, &listed.key).await.expect("readable");
        assert!(listed.etag.is_some() && listed.etag == read && listed.etag == written, "{listed:?}, {read:?}");
        assert_ne!(listed.etag, before);
        before = read;
    }
}

/// Large objects are read from any byte on, and downloads are checked.
pub async fn large(subject: Subject) {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = crate::noise(3_000_000, 1);
    let file = folder.path().join("content");
    std::fs::write(&file, &bytes).expect("written");
    let archive = Archive { sha256: Digest::of(&bytes), size: bytes.len() as u64 };
    let object = layout::archive(&archive.sha256);
    subject.store.write(&object, Content::File(&file), Precondition::None).await.expect("written");

    let opened = subject.store.open(&object, 0, None).await.expect("opened");
    let opened = subject.store.open(&object, 2_000_000, opened.etag.as_ref()).await.expect("opened");
    assert_eq!(opened.start, 2_000_000);
    let start = usize::try_from(opened.start).expect("small");
    let rest: Vec<u8> = opened.body.map(|piece| piece.expect("readable").to_vec()).concat().await;
    assert_eq!(rest, bytes[start..]);

    let target = folder.path().join("download");
    download(&*subject.store, &archive, &target).await.expect("downloaded");
    assert_eq!(std::fs::read(&target).expect("read"), bytes);
    for (place, wrong) in [(1_u64, archive.size - 1), (2, archive.size + 1)] {
        let target = folder.path().join(place.to_string());
        let wrong = Archive { size: wrong, ..archive };
        let error = download(&*subject.store, &wrong, &target).await.expect_err("refused");
        let refused =
            matches!(error, DownloadError::Refused(Refusal::TooLarge { .. } | Refusal::DigestMismatch { .. }));
        assert!(refused, "{error:?}");
    }
}

/// Of many writers who each read, add one and write back, none is lost. On a store that ignores conditions, whoever is told
/// that it wrote has its bytes there a while later, unless another who came later was told the same.
pub async fn contended(subject: Subject) {
    if subject.writes == ConditionalWrites::Ignored {
        return race_for_a_claim(&subject).await;
    }
    put(&subject, "remotes/g.json", b"0").await;
    let writers = (0..4).map(|_| {
        let subject = subject.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                loop {
                    let found = read_if_present(&*subject.store, &key("remotes/g.json")).await.expect("readable");
                    let (bytes, etag) = found.expect("there");
                    let number: u32 = std::str::from_utf8(&bytes).expect("text").parse().expect("a number");
                    let next = (number + 1).to_string();
                    let over = Precondition::Version(etag.expect("a version"));
                    match subject.store.write(&key("remotes/g.json"), Content::Bytes(next.as_bytes()), over).await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(error.fault, Fault::Conflict),
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no writer panics");
    }
    assert_eq!(get(&subject, "remotes/g.json").await.as_deref(), Some(&b"20"[..]));
}

/// Several writers claim the same serial at the same moment: one is told that it is its, and it is.
async fn race_for_a_claim(subject: &Subject) {
    let claim = key("releases/race/1.json");
    let writers = (0..4_u8).map(|number| {
        let (subject, claim) = (subject.clone(), claim.clone());
        tokio::spawn(async move {
            let written =
                write_document(&*subject.store, &claim, &[number], Precondition::Absent, subject.writes).await;
            match written {
                Ok(()) => Some(number),
                Err(error) => {
                    assert_eq!(error.fault, Fault::Conflict);
                    None
                }
            }
        })
    });
    let mut winners = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        winners.extend(writer.await.expect("no writer panics"));
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(get(subject, "releases/race/1.json").await, Some(winners));
}

/// One test per claim, on the store that `$make` makes; it gives `None` where the part is missing.
#[macro_export]
macro_rules! store_behaviours {
    ($($claim:ident => $check:ident),* $(,)?; $make:expr) => {
        $(
            #[tokio::test]
            async fn $claim() {
                if let Some((subject, _keep)) = $make.await {
                    $crate::behaviour::$check(subject).await;
                }
            }
        )*
    };
}
