//! Journals of every version, kept below `journals/`: what an agent of another version writes must be readable here, and what
//! this one writes must be readable there.
//!
//! The samples of this version are made anew by `NPC_WRITE_JOURNALS=1 cargo test -p npc-agent journals`, until it is released;
//! then they are frozen, as is what its agent asks of a journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tests::{at, committed, found, run, system, target};
use super::{
    Baseline, Built, CheckBefore, Effect, Ended, Event, Failed, Found, Journal, Mode, Obstacle, Policy, Staying,
    UnitsBefore, step,
};

#[path = "../../journals/0.1.0/reader.rs"]
#[expect(dead_code, reason = "that it can be read is all that counts")]
mod version_0_1_0;

/// What an agent does with the text of a journal.
type Reader = fn(&str) -> Result<(), serde_json::Error>;

/// The versions whose agents a host may go back to, and whether each can read a journal.
const READERS: [(&str, Reader); 2] = [
    ("0.1.0", |text| serde_json::from_str::<version_0_1_0::Journal>(text).map(drop)),
    ("0.2.0", |text| serde_json::from_str::<Journal>(text).map(drop)),
];

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("journals").join(version)
}

/// The kept samples of a version, by name.
fn kept(version: &str) -> BTreeMap<String, String> {
    let paths = fs::read_dir(folder(version)).expect("samples").map(|entry| entry.expect("a sample").path());
    let json = paths.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    json.map(|path| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("readable"))
    })
    .collect()
}

/// One journal of every shape that this version writes.
fn samples() -> BTreeMap<&'static str, Journal> {
    let mut all = BTreeMap::new();
    let mut journal = committed("a");
    all.insert("empty", Journal::default());
    all.insert("steady", journal.clone());
    let reason = Failed::new("not-found", "stays with `prod`: `canary` cannot be followed: there is none");
    let mut stays = journal.clone();
    run(&mut stays, [Event::Stays(Some(Staying { place: "`canary`".into(), reason }))]);
    all.insert("stays", stays);
    let context = super::Context { to_end: Some("one"), ..at(0) };
    let (ordered, _) = step(journal.clone(), Event::RetryOrdered { at: at(0).now }, &context);
    all.insert("ordered", ordered);
    let mut second = target(2, "b");
    second.drv_path = Some("/nix/store/8axqh5ph26hb9pfvsdajyi26ri4zf6zr-nixos-system-web-1.drv".into());
    (second.out_path, second.attempt) = (Some("/nix/store/b".into()), 1);
    run(&mut journal, [Event::Release(second)]);
    all.insert("fetched", journal.clone());
    let failed = Failed { log: Some("the end\nof a log".into()), ..Failed::new("unavailable", "no network") };
    let (failing, _) = step(journal.clone(), Event::PreparationFailed(failed), &at(5));
    all.insert("backing-off", failing);
    run(&mut journal, [Event::Unpacked]);
    all.insert("verified", journal.clone());
    let unexpected = Some(Failed::new("derivation-mismatch", "it is another derivation"));
    run(&mut journal, [Event::Built(Built { system: system("b"), unexpected })]);
    all.insert("built", journal.clone());
    boots(&mut all, &journal);
    run(&mut journal, [Event::Surveyed(surveyed(&[]))]);
    all.insert("activating", journal.clone());
    let units = Ended::SomeUnitsFailed(Failed::new("activation-failed", "some units did not start"));
    run(&mut journal, [Event::Activated(units)]);
    all.insert("probation", journal.clone());
    let mut failing = journal.clone();
    run(&mut journal, [Event::Proved(vec!["failed as before: old.service".into()])]);
    all.insert("committing", journal.clone());
    let mut by_hand = committed("a");
    run(&mut by_hand, [Event::Looked(found("c"))]);
    all.insert("by-hand", by_hand);
    let mut rescued = failing.clone();
    run(&mut rescued, [Event::DeadlinePassed(found("b"))]);
    if let super::Phase::RollingBack { rescued, .. } = &mut rescued.phase {
        *rescued = true;
    }
    all.insert("rescued", rescued);
    run(&mut failing, [Event::AttemptFailed(Failed::new("units-failed", "failed: web.service"))]);
    all.insert("rolling-back", failing.clone());
    let reboots = Policy { reboot_when_stranded: true, ..Policy::default() };
    let lost = Event::RollBackFailed { failed: Failed::new("rollback-failed", "words"), boot_id: Some("one".into()) };
    all.insert("stranded", step(failing.clone(), lost, &super::tests::under(&reboots, 0)).0);
    run(&mut failing, [Event::RolledBack { store_answers: true, unwell: None }]);
    all.insert("quarantined", failing);
    all
}

fn surveyed(obstacles: &[Obstacle]) -> Baseline {
    let check = CheckBefore { definition: npc_core::digest::Digest::of(b"a check"), passed: true };
    let baseline = Baseline {
        running: Some(system("a")),
        store_answers: true,
        profile: Some(system("a")),
        boot_id: Some("one".into()),
        agent: Some("/nix/store/agent/bin/npc-agent".into()),
        units: UnitsBefore {
            failed: ["old.service".to_owned()].into(),
            restarts: [("web.service".to_owned(), 2)].into(),
            restarting: ["loop.service".to_owned()].into(),
        },
        checks: [("web".to_owned(), check)].into(),
        ..Baseline::default()
    };
    baseline.with_obstacles(obstacles.iter().copied())
}

/// The journals of a system that proves itself by its first boot.
fn boots(all: &mut BTreeMap<&'static str, Journal>, built: &Journal) {
    let mut built = built.clone();
    let failed_at_boot = Some(["old.service".to_owned()].into());
    let boots_a = Found { boot_id: Some("one".into()), booted: Some(system("a")), failed_at_boot, ..found("a") };
    run(&mut built, [Event::Looked(boots_a)]);
    let policy = Policy { boot_instead: [Obstacle::Kernel].into(), ..Policy::default() };
    let context = super::tests::under(&policy, 0);
    let (journal, effects) = step(built, Event::Surveyed(surveyed(&[Obstacle::Kernel])), &context);
    assert!(matches!(&effects[..], [Effect::Commit(attempt)] if attempt.mode == Mode::Boot), "{effects:?}");
    all.insert("committing-boot", journal.clone());
    let boot = |id: &str| Some(id.to_owned());
    let (journal, _) = step(journal, Event::Committed(Found { boot_id: boot("one"), ..found("a") }), &context);
    all.insert("unproven", journal.clone());
    let booted = Found { booted: Some(system("b")), boot_id: boot("two"), ..found("b") };
    let (journal, _) = step(journal, Event::Started(booted), &context);
    all.insert("first-boot", journal);
}

#[test]
fn the_samples_of_this_version_are_what_it_writes() {
    let version = env!("CARGO_PKG_VERSION");
    let write = std::env::var_os("NPC_WRITE_JOURNALS").is_some();
    fs::create_dir_all(folder(version)).expect("created");
    let mut names = Vec::new();
    for (name, journal) in samples() {
        let text = serde_json::to_string_pretty(&journal).expect("JSON") + "\n";
        if write {
            fs::write(folder(version).join(format!("{name}.json")), &text).expect("written");
        }
        assert_eq!(kept(version).get(name), Some(&text), "{name}: run with NPC_WRITE_JOURNALS=1 if that is intended");
        names.push(name.to_owned());
    }
    assert_eq!(kept(version).into_keys().collect::<Vec<_>>(), names);
}

/// The dead-man timer runs the agent before on this one's journals, and a host that was rolled back does so for good.
#[test]
fn the_agents_before_read_what_this_one_writes() {
    for (name, journal) in samples() {
        let text = serde_json::to_string(&journal).expect("JSON");
        for (version, read) in READERS {
            read(&text).unwrap_or_else(|error| panic!("{version} cannot read `{name}`: {error}"));
        }
    }
}

/// Whether whoever understands `old` finds all of it in `new`.
fn assert_contains(new: &Value, old: &Value, place: &str) {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            for (name, value) in old {
                let found = new.get(name).unwrap_or_else(|| panic!("{place}.{name} is gone"));
                assert_contains(found, value, &format!("{place}.{name}"));
            }
        }
        (Value::Array(new), Value::Array(old)) => {
            assert_eq!(new.len(), old.len(), "{place}");
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                assert_contains(new, old, &format!("{place}[{index}]"));
            }
        }
        _ => assert_eq!(new, old, "{place}"),
    }
}

#[test]
fn journals_of_every_version_are_read_and_lose_nothing() {
    let phases = ["steady", "fetched", "verified", "built", "activating", "probation", "committing", "rolling-back"];
    for (version, _) in READERS {
        let samples = kept(version);
        for phase in phases {
            let tag = format!("\"phase\": \"{phase}\"");
            assert!(samples.values().any(|sample| sample.contains(&tag)), "{version} has no sample of {phase}");
        }
        for (name, text) in samples {
            let old: Value = serde_json::from_str(&text).expect("JSON");
            let journal: Journal =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{version}/{name}: {error}"));
            assert_contains(&serde_json::to_value(&journal).expect("JSON"), &old, &format!("{version}/{name}"));
        }
    }
}

#[test]
fn every_version_with_samples_has_its_reader_here() {
    let versions = fs::read_dir(folder("")).expect("versions").map(|entry| entry.expect("one").file_name());
    let mut versions: Vec<_> = versions.map(|name| name.to_string_lossy().into_owned()).collect();
    versions.sort();
    assert_eq!(versions, READERS.map(|(version, _)| version.to_owned()));
    assert_eq!(versions.last().map(String::as_str), Some(env!("CARGO_PKG_VERSION")));
}
