//! The hostile store: every folder below `tests/attacks` is an attack, and no attack may get more than it claims.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use npc_tests::attacks::trial::{self, Honest};
use npc_tests::attacks::{Behaviour, Corpus, Layer, attacks, catalogue, honest, read_folder};
use walkdir::WalkDir;

/// How many hosts are under attack at the same time: most of them wait for their disk.
const HOSTS: usize = 4;

/// Attacks whose folders must never get lost. There may be more.
const MUST_BE_THERE: &[&str] = &[
    "archive-anew-for-ever",
    "archive-larger-than-allowed",
    "archive-longer",
    "archive-missing",
    "archive-of-another-release",
    "archive-shorter",
    "archive-swapped",
    "archive-that-breaks-off",
    "archive-unchanged-unasked",
    "assignment-by-other-roles",
    "assignment-deleted",
    "assignment-hidden",
    "assignment-of-an-equal-number",
    "assignment-of-another-host",
    "assignment-pinned-to-another-archive",
    "assignment-removed-then-replayed",
    "assignment-replayed",
    "assignment-with-an-unknown-requirement",
    "below-a-file",
    "below-a-link",
    "below-nothing",
    "contiguous-file",
    "device-of-blocks",
    "device-of-characters",
    "dripping-archive",
    "dripping-pointer",
    "duplicate-directory",
    "duplicate-file",
    "duplicate-in-another-spelling",
    "duplicate-through-a-link",
    "endless-archive",
    "endless-head",
    "endless-pointer",
    "endless-trust",
    "envelope-cut-off",
    "envelope-empty",
    "envelope-of-null",
    "envelope-that-is-not-text",
    "envelope-very-deep",
    "envelope-with-a-broken-payload",
    "envelope-with-a-broken-signature",
    "envelope-with-a-duplicate-key",
    "envelope-with-a-duplicate-key-escaped",
    "envelope-with-a-second-one-behind",
    "envelope-with-escape-sequences",
    "envelope-with-long-words",
    "equal-serial",
    "expired",
    "fast-forward",
    "frozen",
    "garbage-behind-gzip",
    "gzip-bomb",
    "gzip-bomb-behind-the-end",
    "gzip-cut-off",
    "gzip-of-two-parts",
    "gzip-with-a-wrong-sum",
    "gzip-without-its-sum",
    "hard-link",
    "hard-link-outside",
    "hard-link-to-a-link",
    "header-with-a-wrong-sum",
    "keys-of-a-binary-cache",
    "keys-of-a-stranger",
    "keys-of-another-remote",
    "keys-of-other-roles",
    "keys-of-the-root",
    "keys-under-each-others-names",
    "kind-of-tomorrow",
    "length-beyond-the-limit",
    "length-of-less-archive-than-comes",
    "length-of-less-than-comes",
    "length-of-more-archive-than-comes",
    "length-of-more-than-comes",
    "link-absolute",
    "link-through-a-later-one",
    "link-through-another",
    "link-to-above",
    "link-to-nothing",
    "link-upwards",
    "link-upwards-after-downwards",
    "lower-serial",
    "made-in-the-future",
    "many-small-values",
    "mixed-remotes",
    "not-gzip",
    "old-pointer-under-a-new-trust",
    "one-key-signs-twice",
    "one-key-signs-under-two-names",
    "one-key-signs-without-a-name",
    "path-absolute",
    "path-empty",
    "path-from-a-dot",
    "path-long-upwards",
    "path-long-with-a-zero",
    "path-of-one-dot",
    "path-of-two-dots",
    "path-that-is-not-text",
    "path-too-deep",
    "path-too-long",
    "path-upwards",
    "path-upwards-from-below",
    "path-with-escape-sequences",
    "path-with-two-long-names",
    "pax-global",
    "pax-global-commit",
    "pax-link",
    "pax-long",
    "pax-path",
    "pax-size",
    "pax-sparse",
    "payload-changed",
    "payload-that-is-a-list",
    "payload-type-changed",
    "payload-very-deep",
    "payload-with-a-duplicate-key",
    "payload-with-a-duplicate-key-inside",
    "payload-with-a-path-for-a-digest",
    "payload-with-a-space",
    "payload-with-serial-zero",
    "payload-with-too-high-a-serial",
    "payload-without-a-fleet",
    "pipe",
    "pointer-by-revoked-keys",
    "pointer-deleted",
    "pointer-denied",
    "pointer-failing",
    "pointer-redirected-for-ever",
    "pointer-redirected-to-another-remote",
    "pointer-unchanged-unasked",
    "release-of-another-fleet",
    "replayed-at-first-contact",
    "report-by-another-key",
    "report-of-an-equal-number",
    "report-replayed",
    "setuid-bits",
    "signature-malleated",
    "signature-stripped",
    "signatures-empty",
    "signatures-missing",
    "signatures-too-many",
    "size-below-zero",
    "size-beyond-all-numbers",
    "size-of-more-than-there-is",
    "size-that-is-no-number",
    "sparse-file",
    "store-of-another-fleet",
    "tar-behind-tar",
    "ten-million-entries",
    "too-few-signatures",
    "trust-by-half-the-keys",
    "trust-by-new-keys-alone",
    "trust-by-old-keys-alone",
    "trust-by-publishing-keys",
    "trust-first-of-all-replaced",
    "trust-forked",
    "trust-hidden",
    "trust-hidden-with-its-keys",
    "trust-of-another-fleet",
    "trust-of-another-kind",
    "trust-of-another-name",
    "trust-repeated",
    "trust-skipped",
    "trust-unchanged-unasked",
    "trust-with-a-cache-key",
    "trust-with-a-role-for-nobody",
    "trust-with-an-unknown-requirement",
    "trust-with-escape-sequences",
    "trust-with-one-key-under-two-names",
    "trust-with-threshold-zero",
    "trust-with-too-high-a-threshold",
    "trust-with-two-keys-under-one-name",
    "trust-withdrawn",
    "unknown-requirement",
    "unknown-trust",
    "unsigned-fields-beside-the-payload",
    "unsigned-fields-instead-of-a-payload",
    "very-many-small-objects",
    "very-many-small-values",
    "wrong-fleet",
    "wrong-kind",
    "wrong-name",
];

/// The corpus is small enough for everyone to clone, in bytes.
const SIZE: u64 = 2_000_000;

fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(attacks()).expect("a corpus").map(|entry| entry.expect("listed").path());
    entries.filter(|path| path.is_dir()).collect()
}

fn corpus() -> Corpus {
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let folder = read_folder(&path).unwrap_or_else(|(path, reason)| panic!("{}: {reason}", path.display()));
        (name, folder)
    };
    folders().into_iter().map(read).collect()
}

fn honest_store() -> Honest {
    let read = |name: &str| Layer::read(&honest().join(name)).expect("a layer");
    Honest { first: read("first"), later: read("later") }
}

#[test]
fn no_attack_gets_more_than_it_claims() {
    let (corpus, honest) = (corpus(), honest_store());
    let hosts = |(name, folder): (_, &'_ npc_tests::attacks::Folder)| {
        folder.attack.hosts.iter().map(move |host| (name, *host)).collect::<Vec<_>>()
    };
    let mut trials: Vec<(&String, _)> = corpus.iter().flat_map(hosts).collect();
    assert!(!trials.is_empty(), "there are attacks");
    // What takes longest begins first.
    trials.sort_by_key(|(name, _)| corpus[*name].layers.values().all(|layer| layer.recipe.is_empty()));
    let ahead = Mutex::new(VecDeque::from(trials));
    let failed = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..HOSTS {
            scope.spawn(|| {
                while let Some((name, host)) = next(&ahead) {
                    if let Err(reason) = attempt(|| trial::run(&corpus[name], &honest, host)) {
                        failed.lock().expect("unharmed").insert((name, host), reason);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("unharmed");
    let reasons: Vec<_> = failed.iter().map(|((name, host), reason)| format!("{name}, {host:?}: {reason}")).collect();
    let reasons = reasons.join("\n\n");
    assert!(failed.is_empty(), "{} attacks did something else than they claim:\n\n{reasons}", failed.len());
}

fn next<T>(ahead: &Mutex<VecDeque<T>>) -> Option<T> {
    ahead.lock().expect("unharmed").pop_front()
}

/// Runs a trial; one that fails must not end the others.
fn attempt(trial: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(trial)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
    })
}

/// From activation to commit or roll-back nothing ends the agent but what it waits for.
#[test]
fn a_store_that_begins_to_drip_on_probation_does_not_hold_the_agent_up() {
    let honest = honest_store();
    let mut layer = honest.later.clone();
    layer.recipe.insert("remotes/prod.json".to_owned(), Behaviour::DripLater(1000));
    trial::ends(&layer, &honest);
}

/// The files below `folder` by relative path.
fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = WalkDir::new(folder).into_iter().map(|entry| entry.expect("listed"));
    let files = entries.filter(|entry| !entry.file_type().is_dir()).map(|entry| {
        let relative = entry.path().strip_prefix(folder).expect("below it").to_owned();
        (relative, fs::read(entry.path()).expect("read"))
    });
    files.collect()
}

#[track_caller]
fn assert_same(found: &BTreeMap<PathBuf, Vec<u8>>, made: &BTreeMap<PathBuf, Vec<u8>>) {
    let paths = found.keys().chain(made.keys()).collect::<BTreeSet<_>>();
    let different: Vec<_> = paths.into_iter().filter(|path| found.get(*path) != made.get(*path)).collect();
    assert!(
        different.is_empty(),
        "not as the catalogue makes them; run `cargo run -p npc-tests --bin forge`: {different:?}"
    );
}

#[test]
fn the_corpus_is_what_the_catalogue_makes() {
    let made = catalogue::all();
    let made = made.iter().flat_map(|(name, folder)| {
        folder.to_files().into_iter().map(|(path, bytes)| (Path::new(name).join(path), bytes)).collect::<Vec<_>>()
    });
    let mut found = files_below(&attacks());
    found.remove(Path::new("README.md"));
    assert_same(&found, &made.collect());
    let store = catalogue::honest();
    assert_same(&files_below(&honest().join("first")), &store.first.to_files());
    assert_same(&files_below(&honest().join("later")), &store.later.to_files());
    let size: usize = found.values().map(Vec::len).sum();
    assert!((size as u64) < SIZE, "the corpus has {size} bytes");
}

#[test]
fn no_attack_is_lost() {
    let found: BTreeSet<_> = corpus().into_keys().collect();
    let lost: Vec<_> = MUST_BE_THERE.iter().filter(|name| !found.contains(**name)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}

/// A copy of one attack, to be spoiled.
fn copy_of(name: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    npc_tests::world::copy_tree(&attacks().join(name), copy.path());
    read_folder(copy.path()).expect("as good as the original");
    copy
}

#[test]
fn a_folder_that_claims_nothing_is_no_attack() {
    let copy = copy_of("too-few-signatures");
    fs::remove_file(copy.path().join("attack.toml")).expect("removed");
    read_folder(copy.path()).expect_err("it has no expectation");
    for (from, to) in [
        ("claim =", "clam ="),
        ("[steps.expect]\nrefusal", "[steps.expect]\nrefusla"),
        ("judge = \"agent\"", "judge = \"agents\""),
        ("\"fresh\"", "\"frash\""),
        ("layer = \"store\"", "layer = \"stor\""),
        ("[afterwards]", "[afterward]"),
        ("follows = 1000", "folows = 1000"),
        ("judge =", "minimum = 1\njudge ="),
        ("hosts = [\"fresh\", \"running\"]", "hosts = []"),
    ] {
        let copy = copy_of("too-few-signatures");
        let file = copy.path().join("attack.toml");
        let text = fs::read_to_string(&file).expect("read");
        let spoiled = text.replace(from, to);
        assert_ne!(text, spoiled, "`{from}` is in it");
        fs::write(file, spoiled).expect("written");
        read_folder(copy.path()).expect_err(to);
    }
}

#[test]
fn a_folder_with_more_than_it_claims_is_no_attack() {
    let copy = copy_of("endless-pointer");
    fs::create_dir(copy.path().join("more")).expect("created");
    read_folder(copy.path()).expect_err("a layer that is not named");
    let copy = copy_of("endless-pointer");
    fs::write(copy.path().join("store/serve.toml"), "\"remotes/prod.json\" = \"endles-body\"\n").expect("written");
    read_folder(copy.path()).expect_err("a behaviour that nobody knows");
}

/// An attack that succeeds must not go unnoticed: here a good release is claimed to be refused, and a bad one followed.
#[test]
fn a_claim_that_does_not_hold_fails() {
    use npc_tests::attacks::{Before, Expected};
    let (corpus, honest) = (corpus(), honest_store());
    let spoiled = |name: &str, expect: Expected| {
        let mut folder = corpus[name].clone();
        folder.attack.steps[0].expect = expect;
        attempt(|| trial::run(&folder, &honest, Before::Fresh)).expect_err("the claim does not hold")
    };
    let refusal = Expected::Refusal("bad-signature".to_owned());
    assert!(spoiled("setuid-bits", refusal.clone()).contains("Followed"));
    assert!(spoiled("expired", refusal).contains("\"expired\""));
    assert!(spoiled("too-few-signatures", Expected::Follows(11)).contains("\"bad-signature\""));
}
