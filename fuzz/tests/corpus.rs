//! The kept inputs, replayed without a fuzzer.

#![expect(clippy::print_stdout, reason = "a broken promise must name its input")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use npc_fuzz::{TARGETS, Target, Verdict, corpus};

/// What no input may take, on a machine that has other things to do as well.
const LONGEST: Duration = Duration::from_secs(10);

fn inputs(target: &Target) -> Vec<PathBuf> {
    let entries = fs::read_dir(target.corpus()).expect("every target has a corpus");
    entries.map(|entry| entry.expect("listed").path()).collect()
}

fn replay(name: &str) {
    let target = Target::named(name).expect("a target");
    let mut verdicts = [false; 2];
    for path in inputs(&target) {
        let bytes = fs::read(&path).expect("read");
        let begun = Instant::now();
        println!("{}", path.display());
        verdicts[usize::from((target.read)(&bytes) == Verdict::Accepted)] = true;
        assert!(begun.elapsed() < LONGEST, "{} took {:?}", path.display(), begun.elapsed());
    }
    assert_eq!(verdicts, [true; 2], "some inputs are refused and some are accepted");
}

macro_rules! replays {
    ($($test:ident => $target:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                replay($target);
            }
        )*

        /// The targets that are replayed here.
        const REPLAYED: &[&str] = &[$($target),*];
    };
}

replays! {
    envelopes_keep_their_promises => "envelope",
    releases_keep_their_promises => "release",
    assignments_keep_their_promises => "assignment",
    reports_keep_their_promises => "report",
    rollouts_keep_their_promises => "rollout",
    trusts_keep_their_promises => "trust",
    archives_keep_their_promises => "archive",
    tars_keep_their_promises => "tar",
    settings_keep_their_promises => "settings",
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target_that_is_replayed() {
    let names = fs::read_dir(corpus()).expect("listed").map(|entry| entry.expect("listed").file_name());
    let found: BTreeSet<_> = names.map(|name| name.into_string().expect("a plain name")).collect();
    assert_eq!(found, TARGETS.iter().map(|target| target.name.to_owned()).collect());
    assert_eq!(found, REPLAYED.iter().map(|name| (*name).to_owned()).collect());
}
