//! Removing what nobody needs any more.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use npc_core::document::{Document, Header, Report, Serial};
use npc_core::key::SecretKey;
use npc_core::layout;
use npc_core::store::{Content, Precondition};
use npc_core::{Timestamp, digest::Digest};
use npc_tests::process::Ended;
use npc_tests::world::{Kind, World, garage_kind};
use serde_json::Value;

const DAY: Duration = Duration::from_hours(24);

/// Publishes these words to a remote, and gives the archive's digest.
fn publish(world: &World, remote: &str, words: &str) -> String {
    world.edit(&format!("{words}\n"));
    world.in_fleet(&["--remote", remote]).works();
    let log = world.in_fleet(&["log", remote, "-n", "1", "--json"]).works();
    let log: Value = serde_json::from_str(&log).expect("JSON");
    log[0]["release"]["archive"]["sha256"].as_str().expect("a digest").to_owned()
}

fn path(world: &World, object: &str) -> PathBuf {
    world.path("store").join(object)
}

fn archive(world: &World, digest: &str) -> PathBuf {
    path(world, &format!("archives/{digest}.tar.gz"))
}

/// Makes every archive this old, as far as the store can tell.
fn age(world: &World, days: u32) {
    for entry in fs::read_dir(path(world, "archives")).expect("listed") {
        set_age(&entry.expect("listed").path(), days);
    }
}

fn set_age(path: &std::path::Path, days: u32) {
    let file = File::options().write(true).open(path).expect("opened");
    // And a little older: some stores tell whole seconds.
    file.set_modified(SystemTime::now() - DAY * days - Duration::from_mins(1)).expect("set");
}

fn age_of(world: &World, digest: &str) -> Duration {
    let modified = archive(world, digest).metadata().expect("there").modified().expect("a time");
    modified.elapsed().unwrap_or_default()
}

/// Removes, or says what would be removed: the archives' digests, sorted.
fn gc(world: &World, arguments: &[&str]) -> Vec<String> {
    let common = ["gc", "--keep-releases", "0d", "--keep-last", "2", "--json"];
    let said = world.in_fleet(&[&common, arguments].concat()).works();
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["dry_run"], !arguments.contains(&"--yes"));
    let digest = |archive: &Value| archive["archive"].as_str().expect("a digest").to_owned();
    said["archives"].as_array().expect("archives").iter().map(digest).collect()
}

fn sorted(digests: &[&String]) -> Vec<String> {
    let mut digests: Vec<String> = digests.iter().map(|digest| (*digest).clone()).collect();
    digests.sort();
    digests
}

fn old_archives_go(kind: &Kind) {
    let world = World::new(kind);
    let [one, two, three, four] = ["one", "two", "three", "four"].map(|words| publish(&world, "prod", words));
    let all = || [&one, &two, &three, &four].map(|digest| archive(&world, digest).exists());
    assert_eq!(gc(&world, &[]), Vec::<String>::new(), "all are young");
    age(&world, 2);
    assert_eq!(gc(&world, &[]), sorted(&[&one, &two]));
    assert_eq!(all(), [true; 4], "nothing is removed unless it is said twice");
    let said = world.in_fleet(&["gc", "--keep-releases", "0d", "--keep-last", "2"]);
    assert!(said.data.contains(&format!("archives/{one}.tar.gz")) && said.data.contains("2d"), "{said:?}");
    assert!(said.words.contains("would remove 2 archives (") && said.words.contains("2 archives ("), "{said:?}");
    assert!(said.words.contains("--yes"), "{said:?}");
    for usual in [&["gc", "--yes"][..], &["gc", "--keep-releases", "0d", "--yes"], &["gc", "--keep-last", "2", "--yes"]]
    {
        let said = world.in_fleet(usual);
        assert!(said.words.contains("removed nothing; 4 archives ("), "{said:?}");
    }
    assert_eq!(gc(&world, &["--yes"]), sorted(&[&one, &two]));
    assert_eq!(all(), [false, false, true, true]);
    assert_eq!(gc(&world, &["--yes"]), Vec::<String>::new());
    // Everything else is as it was.
    for object in ["trust/1.json", "remotes/prod.json", "releases/prod/1.json", "releases/prod/4.json"] {
        assert!(path(&world, object).exists(), "{object}");
    }
    assert!(fs::read_dir(path(&world, "probe")).map_or(0, Iterator::count) == 0, "nothing is left behind");
    world.in_fleet(&["rollback", "prod", "--to", "1", "--yes"]).fails(3, &["cannot read", "gc", "hint: "]);
    world.in_fleet(&["rollback", "prod", "--yes"]).works();
    // The same files are the same archive.
    assert_eq!(publish(&world, "prod", "one"), one);
    assert!(archive(&world, &one).exists());
}

#[test]
fn old_archives_that_nothing_names_go_from_a_directory() {
    old_archives_go(&Kind::Directory);
}

#[test]
fn old_archives_that_nothing_names_go_from_a_server() {
    old_archives_go(&Kind::Served);
}

#[test]
fn nothing_goes_from_a_bucket_that_is_younger_than_a_day() {
    let Some(kind) = garage_kind() else { return };
    let world = World::new(&kind);
    for words in ["one", "two", "three"] {
        publish(&world, "prod", words);
    }
    let ended = world.in_fleet(&["gc", "--keep-releases", "0d", "--keep-last", "2", "--yes"]);
    assert!(ended.words.contains("removed nothing; 3 archives ("), "{ended:?}");
    assert!(!ended.words.contains("warning"), "the bucket says how old everything is: {ended:?}");
}

#[test]
fn what_is_published_promoted_or_rolled_back_to_is_young_again() {
    for kind in [Kind::Directory, Kind::Served] {
        let world = World::new(&kind);
        let one = publish(&world, "prod", "one");
        let two = publish(&world, "prod", "two");
        let is_young_after = |digest: &str, arguments: &[&str]| {
            age(&world, 9);
            world.in_fleet(arguments).works();
            assert!(age_of(&world, digest) < DAY, "{kind:?} {arguments:?}");
        };
        world.edit("one\n");
        is_young_after(&one, &["--remote", "prod"]);
        is_young_after(&one, &["--remote", "prod", "--record"]);
        is_young_after(&two, &["rollback", "prod", "--to", "2", "--yes"]);
        is_young_after(&two, &["promote", "prod", "staging", "--yes"]);
        is_young_after(&one, &["promote", "prod", "staging", "--serial", "1", "--yes"]);
    }
}

#[test]
fn what_an_assignment_a_rollout_or_a_report_names_stays() {
    let world = World::new(&Kind::Directory);
    let [one, two, three, ..] = ["one", "two", "three", "four", "five"].map(|words| publish(&world, "prod", words));
    age(&world, 2);
    assert_eq!(gc(&world, &[]), sorted(&[&one, &two, &three]));
    let put = |object: &str, payload: &Value| {
        let envelope = npc_core::envelope::Envelope::sign("something", payload.to_string().into(), &[]);
        fs::create_dir_all(path(&world, object).parent().expect("a folder")).expect("made");
        fs::write(path(&world, object), envelope.to_bytes()).expect("written");
    };
    put("rollouts/one.json", &serde_json::json!({ "archive": one }));
    put("reports/web-1.json", &serde_json::json!({ "runs": { "archive": two } }));
    put("assignments/web-1.json", &serde_json::json!({ "pin": { "serial": 3, "archive": three } }));
    assert_eq!(gc(&world, &["--yes"]), Vec::<String>::new());
    fs::remove_file(path(&world, "rollouts/one.json")).expect("removed");
    assert_eq!(gc(&world, &["--yes"]), [one]);
}

#[test]
fn nothing_goes_while_something_cannot_be_read() {
    let world = World::new(&Kind::Served);
    for words in ["one", "two", "three"] {
        publish(&world, "prod", words);
    }
    age(&world, 2);
    let pointer = fs::read(path(&world, "remotes/prod.json")).expect("read");
    fs::write(path(&world, "remotes/prod.json"), &pointer[..100]).expect("written");
    let arguments = ["gc", "--keep-releases", "0d", "--keep-last", "2", "--yes"];
    world.in_fleet(&arguments).fails(4, &["`remotes/prod.json`: it is no signed document", "hint: "]);
    fs::write(path(&world, "remotes/prod.json"), &pointer).expect("written");
    assert_eq!(gc(&world, &["--yes"]).len(), 1);
}

#[test]
fn a_store_without_its_remotes_is_left_alone() {
    let world = World::new(&Kind::Directory);
    publish(&world, "prod", "one");
    age(&world, 400);
    for folder in ["remotes", "releases"] {
        fs::remove_dir_all(path(&world, folder)).expect("removed");
    }
    world.in_fleet(&["gc", "--yes"]).fails(3, &["no remote", "whole"]);
}

#[test]
fn bounds_that_make_no_sense_are_refused() {
    let world = World::new(&Kind::Directory);
    for (arguments, words) in [
        (["--keep-last", "1"], "2 or more"),
        (["--keep-last", "all"], "2 or more"),
        (["--keep-releases", "-1d"], "less than no time"),
        (["--keep-releases", "soon"], "--keep-releases"),
        (["--keep-releases", "19000y"], "no release can be that old"),
    ] {
        let (name, value) = (arguments[0], arguments[1]);
        world.in_fleet(&["gc", &format!("{name}={value}")]).fails(2, &[words]);
    }
}

/// Puts a report of `w-7` into the store, as old as this, and gives how `gc` ends with it.
fn with_report(world: &World, ephemeral: bool, days: u32, modified: u32) -> Ended {
    let key = SecretKey::from_seed("npc-w-7".parse().expect("a name"), &zeroize::Zeroizing::new([7; 32]));
    let header = Header {
        fleet: world.fleet_id(),
        name: "w-7".to_owned(),
        serial: Serial::FIRST,
        created: Timestamp::try_from(SystemTime::now() - DAY * days - Duration::from_mins(1)).expect("a time"),
        trust: Serial::FIRST,
        requires: Vec::new(),
        expires: None,
    };
    let body = Report { ephemeral, report_key: Some(key.public()), ..Report::default() };
    let file = path(world, "reports/w-7.json");
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(&file, Document { header, body }.sign(&[&key]).bytes).expect("written");
    set_age(&file, modified);
    world.in_fleet(&["gc", "--yes"])
}

#[test]
fn reports_of_machines_that_came_and_went_go() {
    for kind in [Kind::Directory, Kind::Served] {
        let world = World::new(&kind);
        publish(&world, "prod", "one");
        for (ephemeral, days, modified) in [(false, 90, 90), (true, 29, 90), (true, 90, 29)] {
            let ended = with_report(&world, ephemeral, days, modified);
            assert_eq!(ended.clone().works(), "", "{ended:?}");
            assert!(path(&world, "reports/w-7.json").exists(), "{ephemeral} {days} {modified}");
        }
        let ended = with_report(&world, true, 31, 31);
        assert!(ended.words.contains("removed the report of a machine that has left; 1 archive ("), "{ended:?}");
        let said = ended.works();
        assert!(said.starts_with("reports/w-7.json") && said.trim_end().ends_with("31d"), "{said}");
        assert!(!path(&world, "reports/w-7.json").exists());
    }
}

#[tokio::test]
async fn a_young_archive_that_nothing_names_yet_stays() {
    let world = World::new(&Kind::Directory);
    publish(&world, "prod", "one");
    age(&world, 90);
    let upcoming = Digest::of(b"an archive that somebody is about to name");
    let store = world.open().await.store;
    let content = Content::Bytes(b"an archive that somebody is about to name");
    store.write(&layout::archive(&upcoming), content, Precondition::None).await.expect("written");
    assert_eq!(gc(&world, &["--yes"]), Vec::<String>::new());
    set_age(&archive(&world, &upcoming.to_string()), 2);
    assert_eq!(gc(&world, &["--yes"]), [upcoming.to_string()]);
}
