use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().expect("a time")
}

fn days_ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_secs(days * DAY)
}

fn bounds(days: i64, last: usize) -> Bounds {
    Bounds { now: now(), since: days_ago(days), last }
}

fn serial(number: u64) -> Serial {
    Serial::new(number).expect("a serial")
}

fn archive(number: u8) -> Digest {
    Digest::of(&[number])
}

fn old() -> Stored {
    Stored { size: 1, modified: Some(days_ago(400)) }
}

/// A believable release, as old as anything, that brings this archive.
fn brings(number: u8) -> Released {
    let said = Said { created: days_ago(400), brings: Some(archive(number)) };
    Released { names: BTreeSet::from([archive(number)]), said: Some(said), modified: Some(days_ago(400)) }
}

fn points_to(number: u64) -> Pointed {
    Pointed { serial: serial(number), created: days_ago(1), is_removed: false, repeats: None }
}

/// `prod`, whose releases bring archives of their own serials, and points to the last; all archives are old.
fn prod(releases: u8) -> Survey {
    let history = History {
        pointer: Some(points_to(releases.into())),
        releases: (1..=releases).map(|number| (serial(number.into()), brings(number))).collect(),
    };
    Survey {
        archives: (1..=releases).map(|number| (archive(number), old())).collect(),
        named: BTreeSet::from([archive(releases)]),
        remotes: BTreeMap::from([("prod".parse().expect("a name"), history)]),
        ..Survey::default()
    }
}

fn history(survey: &mut Survey) -> &mut History {
    survey.remotes.values_mut().next().expect("a remote")
}

/// The archives that are removed, by their numbers.
fn removed(survey: &Survey, bounds: &Bounds) -> Vec<u8> {
    let plan = Plan::of(survey, bounds);
    (0..=u8::MAX).filter(|number| plan.archives.contains_key(&archive(*number))).collect()
}

#[test]
fn the_last_releases_stay_however_old_they_are() {
    assert_eq!(removed(&prod(5), &bounds(30, 2)), [1, 2, 3]);
    assert_eq!(removed(&prod(5), &bounds(30, 10)), [0; 0]);
    assert_eq!(removed(&prod(5), &bounds(500, 2)), [0; 0], "all are younger than that");
}

#[test]
fn the_same_files_published_again_and_again_are_one_archive() {
    let mut survey = prod(3);
    history(&mut survey).releases.extend((4..=30).map(|number| (serial(number), brings(3))));
    history(&mut survey).pointer = Some(points_to(30));
    assert_eq!(removed(&survey, &bounds(30, 2)), [1]);
}

#[test]
fn what_a_roll_back_would_lead_to_stays_also_after_a_roll_back() {
    let mut survey = prod(9);
    let again = Released { said: Some(Said { created: days_ago(400), brings: None }), ..brings(4) };
    history(&mut survey).releases.insert(serial(10), again);
    history(&mut survey).pointer = Some(Pointed { repeats: Some(serial(4)), ..points_to(10) });
    survey.named = BTreeSet::from([archive(4)]);
    // 9 and 8 from the top, 4 and 3 from where it was rolled back to.
    assert_eq!(removed(&survey, &bounds(30, 2)), [1, 2, 5, 6, 7]);
}

#[test]
fn a_pointer_that_the_store_shows_in_an_old_version_takes_nothing_from_the_newer_releases() {
    let mut survey = prod(9);
    history(&mut survey).pointer = Some(points_to(4));
    assert_eq!(removed(&survey, &bounds(30, 2)), [1, 2, 5, 6, 7]);
}

#[test]
fn a_release_counts_by_its_youngest_clock_and_stays_where_none_can_be_trusted() {
    for change in [
        (|release: &mut Released| release.modified = Some(days_ago(2))) as fn(&mut Released),
        |release| release.modified = None,
        |release| release.said = Some(Said { created: days_ago(2), brings: None }),
        |release| release.said = None,
    ] {
        let mut survey = prod(5);
        change(history(&mut survey).releases.get_mut(&serial(1)).expect("the first"));
        assert_eq!(removed(&survey, &bounds(30, 2)), [2, 3]);
    }
}

#[test]
fn of_a_remote_that_was_removed_long_ago_only_what_is_young_stays() {
    let mut survey = prod(5);
    survey.named.clear();
    let removal = Pointed { is_removed: true, created: days_ago(31), ..points_to(6) };
    history(&mut survey).pointer = Some(removal);
    assert_eq!(removed(&survey, &bounds(30, 2)), [1, 2, 3, 4, 5]);
    assert_eq!(removed(&survey, &bounds(32, 2)), [1, 2, 3], "it was removed only lately");
    history(&mut survey).releases.insert(serial(7), brings(5));
    assert_eq!(removed(&survey, &bounds(30, 2)), [1, 2, 3], "it has come back since");
}

#[test]
fn no_archive_goes_that_is_younger_than_a_day_or_of_unknown_age() {
    let hours_ago = |hours| Some(now() - SignedDuration::from_hours(hours));
    for (modified, goes) in [(hours_ago(25), true), (hours_ago(23), false), (hours_ago(-900), false), (None, false)] {
        let archives = BTreeMap::from([(archive(1), Stored { size: 1, modified })]);
        let survey = Survey { archives, ..Survey::default() };
        assert_eq!(!removed(&survey, &bounds(0, 2)).is_empty(), goes, "{modified:?}");
    }
}

#[test]
fn a_report_goes_if_both_its_host_and_its_store_say_that_it_is_old() {
    let goes = |seen: i64, modified: Option<i64>, keep: i64| {
        let stored = Stored { size: 1, modified: modified.map(days_ago) };
        let silent = Silent { host: "w-7".parse().expect("a name"), seen: days_ago(seen), stored };
        let survey = Survey { silent: vec![silent], ..Survey::default() };
        !Plan::of(&survey, &bounds(keep, 2)).reports.is_empty()
    };
    assert!(goes(31, Some(31), 30));
    assert!(!goes(29, Some(31), 30));
    assert!(!goes(31, Some(29), 30), "the host's clock is wrong");
    assert!(!goes(31, None, 30));
    assert!(goes(2, Some(2), 0));
    assert!(!goes(0, Some(0), 0), "at least a day");
}

/// What `npc-publish rollback` would lead to, by its own rule: the newest release below that brings something else.
fn rolled_back_to(history: &History) -> Option<Digest> {
    let pointer = history.pointer.filter(|pointer| !pointer.is_removed)?;
    let held = *history.releases.get(&pointer.serial)?.names.first()?;
    let below = pointer.repeats.unwrap_or(pointer.serial);
    // A roll-back holds what it repeats.
    let repeated = pointer.repeats.and_then(|serial| history.releases.get(&serial));
    if repeated.is_some_and(|repeated| repeated.names.first() != Some(&held)) {
        return None;
    }
    let mut brought = history.releases.range(..below).rev().filter_map(|(_, release)| release.said?.brings);
    brought.find(|archive| *archive != held)
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (-3 * DAY..100 * DAY).prop_map(|seconds| now() - SignedDuration::from_secs(seconds))
}

fn any_release() -> impl Strategy<Value = Released> {
    let said = option::of((any_time(), any::<bool>()));
    (0..12_u8, said, option::of(any_time())).prop_map(|(number, said, modified)| Released {
        names: BTreeSet::from([archive(number)]),
        said: said.map(|(created, is_new)| Said { created, brings: is_new.then(|| archive(number)) }),
        modified,
    })
}

fn any_history() -> impl Strategy<Value = History> {
    let pointer = (1..16_u64, any_time(), prop::bool::weighted(0.1), option::weighted(0.3, 1..16_u64));
    let pointer = pointer.prop_map(|(at, created, is_removed, repeats)| Pointed {
        serial: serial(at),
        created,
        is_removed,
        repeats: repeats.map(serial),
    });
    let releases = btree_map((1..16_u64).prop_map(serial), any_release(), 0..12);
    (option::weighted(0.9, pointer), releases).prop_map(|(pointer, releases)| History { pointer, releases })
}

fn any_survey() -> impl Strategy<Value = Survey> {
    let stored = option::weighted(0.95, any_time()).prop_map(|modified| Stored { size: 1, modified });
    let archives = btree_map((0..12_u8).prop_map(archive), stored, 0..12);
    let named = btree_set((0..12_u8).prop_map(archive), 0..3);
    let histories = vec(any_history(), 0..3);
    (archives, named, histories, vec(any_release(), 0..3)).prop_map(|(archives, named, histories, ended)| Survey {
        archives,
        named,
        ended,
        remotes: histories
            .into_iter()
            .enumerate()
            .map(|(number, history)| (format!("remote-{number}").parse().expect("a name"), history))
            .collect(),
        silent: Vec::new(),
    })
}

proptest! {
    #[test]
    fn nothing_is_removed_that_anybody_needs(survey in any_survey(), days in 0..90_i64, last in 2..6_usize) {
        let bounds = bounds(days, last);
        let plan = Plan::of(&survey, &bounds);
        let goes = |digest: &Digest| plan.archives.contains_key(digest);
        prop_assert!(!survey.named.iter().any(goes), "something names it");
        for stored in plan.archives.values() {
            prop_assert!(stored.modified.expect("known") < days_ago(1), "it is a day old");
        }
        for history in survey.remotes.values() {
            prop_assert!(!rolled_back_to(history).iter().any(goes), "a roll-back would lead to it");
        }
        for release in survey.remotes.values().flat_map(|history| history.releases.values()).chain(&survey.ended) {
            let is_old = |time: Timestamp| time < bounds.since;
            let counts = release.said.is_none_or(|said| !is_old(said.created)) || !release.modified.is_some_and(is_old);
            prop_assert!(!counts || !release.names.iter().any(goes), "a release or an ended rollout names it that counts");
        }
    }

    #[test]
    fn keeping_longer_or_more_never_removes_more(survey in any_survey(), days in 0..90_i64, last in 2..6_usize) {
        let less = Plan::of(&survey, &bounds(days, last));
        for more in [bounds(days + 1, last), bounds(days, last + 1)] {
            prop_assert!(Plan::of(&survey, &more).archives.keys().all(|digest| less.archives.contains_key(digest)));
        }
    }

    #[test]
    fn naming_more_never_removes_more(survey in any_survey(), number in 0..12_u8, more in any_release(), at in 1..16_u64) {
        let bounds = bounds(30, 2);
        let before = Plan::of(&survey, &bounds);
        let mut named = survey.clone();
        named.named.insert(archive(number));
        prop_assert!(!Plan::of(&named, &bounds).archives.contains_key(&archive(number)));
        prop_assert!(Plan::of(&named, &bounds).archives.keys().all(|digest| before.archives.contains_key(digest)));
        // A forged release, which says nothing that could be believed.
        let mut forged = survey;
        let forgery = Released { said: None, ..more };
        if let Some(history) = forged.remotes.values_mut().next() {
            history.releases.entry(serial(at)).or_insert(forgery);
        }
        prop_assert!(Plan::of(&forged, &bounds).archives.keys().all(|digest| before.archives.contains_key(digest)));
    }

    #[test]
    fn what_nothing_names_is_removed(survey in any_survey()) {
        let mut survey = survey;
        survey.archives.insert(archive(200), old());
        prop_assert!(removed(&survey, &bounds(30, 10)).contains(&200));
    }
}
