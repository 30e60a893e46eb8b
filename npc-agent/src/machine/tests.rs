use std::path::PathBuf;

use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{Archive, OutcomeKind, Serial};
use proptest::prelude::*;

use super::*;

const START: &str = "2026-01-01T00:00:00Z";

fn at(seconds: i64) -> Context {
    let start: Timestamp = START.parse().expect("a time");
    let now = Timestamp::from_second(start.as_second() + seconds).expect("a time");
    Context { now, jitter: 1.0, paused: false }
}

/// A release whose archive holds `content`.
fn target(serial: u64, content: &str) -> Target {
    Target {
        remote: "prod".parse().expect("a name"),
        serial: Serial::new(serial).expect("a serial"),
        digest: Digest::of(format!("{serial} {content}").as_bytes()),
        archive: Archive { sha256: Digest::of(content.as_bytes()), size: 1 },
        configuration: "web-1".parse().expect("a name"),
        drv_path: None,
        out_path: None,
        rev: None,
        expires: None,
        attempt: 0,
    }
}

fn system(content: &str) -> PathBuf {
    PathBuf::from(format!("/nix/store/{content}"))
}

fn baseline(running: &str) -> Baseline {
    Baseline { running: Some(system(running)), store_answers: true }
}

/// Steps through events, and gives the last effect asked for.
fn run(journal: &mut Journal, events: impl IntoIterator<Item = Event>) -> Option<Effect> {
    let mut effect = None;
    for event in events {
        (*journal, effect) = step(std::mem::take(journal), event, &at(0));
    }
    effect
}

fn up_to_activation(serial: u64, content: &str, running: &str) -> [Event; 4] {
    [
        Event::Release(target(serial, content)),
        Event::Unpacked,
        Event::Built(system(content).into()),
        Event::Surveyed(baseline(running)),
    ]
}

fn committed(content: &str) -> Journal {
    let mut journal = Journal::default();
    run(&mut journal, up_to_activation(1, content, "old"));
    run(&mut journal, [Event::Activated, Event::Proved, Event::Committed]);
    assert_eq!(journal.phase, Phase::Steady);
    journal
}

#[test]
fn a_good_release_goes_through_every_phase() {
    let mut journal = Journal::default();
    let mut words = Vec::new();
    let mut effects = Vec::new();
    let end = [Event::Activated, Event::Proved, Event::Committed];
    for event in up_to_activation(1, "a", "old").into_iter().chain(end) {
        effects.push(run(&mut journal, [event]));
        words.push(journal.phase.word());
    }
    assert_eq!(words, ["fetched", "verified", "built", "activating", "probation", "committing", "steady"]);
    assert!(matches!(effects[0], Some(Effect::Fetch(_))));
    assert!(matches!(effects[1], Some(Effect::Build(_))));
    assert!(matches!(effects[2], Some(Effect::Survey)));
    assert!(matches!(effects[3], Some(Effect::Activate(_))));
    assert!(matches!(effects[4], Some(Effect::Prove(_))));
    assert!(matches!(effects[5], Some(Effect::Commit(_))));
    assert_eq!(effects[6], None);
    assert_eq!(journal.committed.expect("committed").system, system("a"));
}

#[test]
fn a_release_that_changes_nothing_here_is_adopted_without_fetching() {
    let mut journal = committed("a");
    assert_eq!(run(&mut journal, [Event::Release(target(2, "a"))]), None);
    assert_eq!(journal.committed.as_ref().expect("committed").target.serial.get(), 2);
    assert_eq!(journal.outcomes[0].kind, OutcomeKind::Adopted);
    let before = journal.clone();
    assert_eq!(run(&mut journal, [Event::Release(target(2, "a"))]), None);
    assert_eq!(journal, before, "the same again is no news");
}

#[test]
fn another_archive_with_the_same_derivation_is_adopted_too() {
    let mut journal = committed("a");
    journal.committed.as_mut().expect("committed").target.drv_path = Some("/nix/store/x.drv".into());
    let mut same = target(2, "b");
    same.drv_path = Some("/nix/store/x.drv".into());
    assert_eq!(run(&mut journal, [Event::Release(same)]), None);
    let mut other = target(3, "c");
    other.drv_path = Some("/nix/store/y.drv".into());
    assert!(matches!(run(&mut journal, [Event::Release(other)]), Some(Effect::Fetch(_))));
}

#[test]
fn failures_before_activation_back_off_and_quarantine_nothing() {
    let mut journal = Journal::default();
    run(&mut journal, [Event::Release(target(1, "a"))]);
    let failed = || Event::PreparationFailed(Failed::new("unavailable", "no network"));
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..20 {
        let (next, effect) = step(journal, failed(), &at(now));
        assert_eq!(effect, None);
        let until = next.back_off.expect("a pause").until;
        let pause = until.as_second() - at(now).now.as_second();
        pauses.push(pause);
        let (same, effect) = step(next, Event::Woke, &at(now + pause - 1));
        assert_eq!(effect, None, "too early");
        let (next, effect) = step(same, Event::Woke, &at(now + pause));
        assert!(matches!(effect, Some(Effect::Fetch(_))));
        (journal, now) = (next, now + pause);
    }
    assert!(pauses.is_sorted());
    assert_eq!((pauses[0], pauses[1], pauses[19]), (30, 60, 24 * 3600));
    assert!(journal.quarantine.is_empty());
    let effect = run(&mut journal, [failed(), Event::Release(target(2, "b"))]);
    assert!(matches!(effect, Some(Effect::Fetch(_))), "a new release does not wait for the old one's pause");
}

#[test]
fn a_clock_that_jumped_back_does_not_stop_the_agent() {
    let mut journal = Journal::default();
    run(&mut journal, [Event::Release(target(1, "a"))]);
    let (journal, _) = step(journal, Event::PreparationFailed(Failed::new("x", "x")), &at(0));
    let (_, effect) = step(journal, Event::Woke, &at(-10 * 365 * 86_400));
    assert!(matches!(effect, Some(Effect::Fetch(_))));
}

#[test]
fn a_failed_attempt_rolls_back_and_is_quarantined() {
    for passed in 0..3 {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated, Event::Proved].into_iter().take(passed));
        let effect = run(&mut journal, [Event::AttemptFailed(Failed::new("activation-failed", "exit 1"))]);
        let Some(Effect::RollBack { attempt, boot }) = effect else { panic!("{effect:?}") };
        assert_eq!(attempt.before.running, Some(system("a")));
        assert_eq!(boot, passed == 2, "only committing touches the boot default");
        assert_eq!(run(&mut journal, [Event::RolledBack { store_answers: true }]), None);
        assert_eq!(journal.phase, Phase::Steady);
        assert_eq!(journal.outcomes[0].kind, OutcomeKind::RolledBack);
        assert_eq!(journal.committed.as_ref().expect("committed").system, system("a"));
        assert_eq!(run(&mut journal, [Event::Release(target(2, "b"))]), None, "quarantined");
        assert_eq!(run(&mut journal, [Event::Release(target(3, "b"))]), None, "also under another serial");
        assert!(matches!(run(&mut journal, [Event::Release(target(4, "c"))]), Some(Effect::Fetch(_))));
        let mut again = target(5, "b");
        again.attempt = 1;
        assert!(matches!(run(&mut journal, [Event::Release(again)]), Some(Effect::Fetch(_))), "the publisher asks");
    }
}

#[test]
fn going_back_to_what_runs_needs_nothing_even_after_a_failure() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::AttemptFailed(Failed::new("x", "x")), Event::RolledBack { store_answers: true }]);
    assert_eq!(run(&mut journal, [Event::Release(target(3, "a"))]), None);
    assert_eq!(journal.outcomes[0].kind, OutcomeKind::Adopted);
}

#[test]
fn a_failed_roll_back_is_never_told_as_one_that_worked() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::AttemptFailed(Failed::new("x", "x")), Event::RollBackFailed(Failed::new("y", "y"))]);
    assert_eq!(journal.outcomes[0].kind, OutcomeKind::Stranded);
    let effect = run(&mut journal, [Event::Release(target(3, "a"))]);
    assert!(matches!(effect, Some(Effect::Fetch(_))), "nobody knows what runs, so the good release is activated again");
}

#[test]
fn a_store_that_stays_silent_after_rolling_back_was_not_the_releases_fault() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated, Event::AttemptFailed(Failed::new(STORE_UNREACHABLE, "silence"))]);
    assert_eq!(run(&mut journal, [Event::RolledBack { store_answers: false }]), None);
    assert!(journal.quarantine.is_empty());
    assert!(journal.back_off.is_some());
    let (_, effect) = step(journal, Event::Woke, &at(3600));
    assert!(matches!(effect, Some(Effect::Build(_))), "it is tried again");
}

#[test]
fn a_paused_host_begins_nothing_but_ends_what_it_began() {
    let paused = Context { paused: true, ..at(0) };
    let (journal, effect) = step(Journal::default(), Event::Release(target(1, "a")), &paused);
    assert_eq!(effect, None);
    let (_, effect) = step(journal, Event::Woke, &at(0));
    assert!(matches!(effect, Some(Effect::Fetch(_))), "resumed");
    let mut journal = Journal::default();
    run(&mut journal, up_to_activation(1, "a", "old"));
    let (_, effect) = step(journal, Event::Activated, &paused);
    assert!(matches!(effect, Some(Effect::Prove(_))));
}

#[test]
fn a_pause_just_before_activation_is_heeded() {
    let paused = Context { paused: true, ..at(0) };
    let mut journal = Journal::default();
    run(&mut journal, [Event::Release(target(1, "a")), Event::Unpacked, Event::Built(system("a").into())]);
    let (journal, effect) = step(journal, Event::Surveyed(baseline("old")), &paused);
    assert!(matches!(journal.phase, Phase::Built { .. }), "{journal:?}");
    assert_eq!(effect, None);
    assert!(matches!(step(journal, Event::Woke, &at(0)).1, Some(Effect::Survey)), "resumed");
}

#[test]
fn a_system_that_is_not_the_publishers_is_said_to_be() {
    let mut journal = Journal::default();
    let unexpected = Some(Failed::new("derivation-mismatch", "it is another derivation"));
    let built = Built { system: system("a"), unexpected };
    run(&mut journal, [Event::Release(target(1, "a")), Event::Unpacked, Event::Built(built)]);
    run(&mut journal, [Event::Surveyed(baseline("old")), Event::Activated, Event::Proved, Event::Committed]);
    let outcome = journal.outcomes.first().expect("an outcome");
    assert_eq!((outcome.kind, outcome.error.as_deref()), (OutcomeKind::Committed, Some("derivation-mismatch")));
    assert!(outcome.message.contains("another derivation"), "{outcome:?}");
}

#[test]
fn an_expired_release_is_not_activated() {
    let mut journal = Journal::default();
    let mut short = target(1, "a");
    short.expires = Some(at(-1).now);
    let [_, unpacked, built, surveyed] = up_to_activation(1, "a", "old");
    assert_eq!(run(&mut journal, [Event::Release(short), unpacked, built, surveyed]), None);
    assert_eq!(journal.phase, Phase::Steady);
    assert_eq!(journal.outcomes[0].error.as_deref(), Some("expired"));
}

fn starts(running: &str) -> Event {
    Event::Started { running: Some(system(running)) }
}

#[test]
fn a_crash_while_activating_rolls_back_and_is_tried_once_more() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    for attempt in 1..=2 {
        assert!(matches!(run(&mut journal, [starts("b")]), Some(Effect::RollBack { boot: false, .. })));
        assert!(matches!(run(&mut journal, [starts("a")]), Some(Effect::RollBack { .. })), "and again");
        assert_eq!(run(&mut journal, [Event::RolledBack { store_answers: true }]), None);
        assert_eq!(journal.outcomes[0].error.as_deref(), Some("interrupted"));
        assert_eq!(journal.quarantine.len(), attempt - 1);
        if attempt == 1 {
            let (next, effect) = step(journal, Event::Woke, &at(3600));
            assert!(matches!(effect, Some(Effect::Build(_))));
            journal = next;
            run(&mut journal, [Event::Built(system("b").into()), Event::Surveyed(baseline("a"))]);
        }
    }
}

#[test]
fn an_agent_that_comes_back_under_the_new_system_goes_on() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated]);
    assert!(matches!(run(&mut journal, [starts("b")]), Some(Effect::Prove(_))));
    run(&mut journal, [Event::Proved]);
    assert!(matches!(run(&mut journal, [starts("b")]), Some(Effect::Commit(_))));
}

#[test]
fn a_host_that_comes_back_under_the_old_system_commits_nothing() {
    for proved in [false, true] {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated]);
        if proved {
            run(&mut journal, [Event::Proved]);
        }
        let Some(Effect::RollBack { boot, .. }) = run(&mut journal, [starts("a")]) else { panic!("it must roll back") };
        assert_eq!(boot, proved, "only committing touches the boot default");
        run(&mut journal, [Event::RolledBack { store_answers: true }]);
        assert!(journal.quarantine.is_empty());
        assert_eq!(journal.committed.as_ref().expect("committed").system, system("a"));
    }
}

#[test]
fn a_repointed_host_drops_what_it_had_not_begun_to_activate() {
    let mut journal = Journal::default();
    run(&mut journal, [Event::Release(target(1, "a")), Event::Unpacked]);
    assert_eq!(run(&mut journal, [Event::Repointed]), None);
    assert_eq!(journal.phase, Phase::Steady);
    run(&mut journal, up_to_activation(1, "a", "old"));
    assert!(matches!(run(&mut journal, [Event::Repointed]), Some(Effect::Activate(_))), "what has begun is ended");
}

#[test]
fn another_configuration_of_the_same_release_is_another_target() {
    let mut journal = Journal::default();
    run(&mut journal, [Event::Release(target(1, "a")), Event::Unpacked]);
    let mut other = target(1, "a");
    other.configuration = "db-1".parse().expect("a name");
    assert!(matches!(run(&mut journal, [Event::Release(other)]), Some(Effect::Fetch(_))));
}

#[test]
fn trouble_with_the_store_is_dated_from_its_beginning_and_ends_with_an_answer() {
    let failed = |kind: &str| Event::PollFailed(Failed::new(kind, "words"));
    let noted =
        |journal: &Journal| journal.trouble.as_ref().map(|trouble| (trouble.since, trouble.reason.kind.clone()));
    let (journal, _) = step(Journal::default(), failed("unavailable"), &at(10));
    let (journal, _) = step(journal, failed("unavailable"), &at(20));
    assert_eq!(noted(&journal), Some((at(10).now, "unavailable".to_owned())));
    let (journal, _) = step(journal, failed("bad-signature"), &at(30));
    assert_eq!(noted(&journal), Some((at(30).now, "bad-signature".to_owned())));
    assert_eq!(noted(&step(journal.clone(), Event::PollAnswered, &at(40)).0), None);
    assert_eq!(noted(&step(journal, Event::Release(target(1, "a")), &at(40)).0), None);
}

fn any_event() -> impl Strategy<Value = Event> {
    let content = prop_oneof![Just("a"), Just("b"), Just("c")];
    let failed = || Failed::new("x", "x");
    prop_oneof![
        (1..20_u64, content.clone()).prop_map(|(serial, content)| Event::Release(target(serial, content))),
        content.clone().prop_map(|content| Event::Started { running: Some(system(content)) }),
        Just(Event::Repointed),
        Just(Event::Woke),
        Just(Event::PollFailed(failed())),
        Just(Event::PollAnswered),
        Just(Event::Unpacked),
        content.clone().prop_map(|content| Event::Built(system(content).into())),
        content.prop_map(|content| Event::Surveyed(baseline(content))),
        Just(Event::PreparationFailed(failed())),
        Just(Event::Activated),
        Just(Event::AttemptFailed(failed())),
        Just(Event::Proved),
        Just(Event::Committed),
        any::<bool>().prop_map(|store_answers| Event::RolledBack { store_answers }),
        Just(Event::RollBackFailed(failed())),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_events_breaks_the_rules(
        events in proptest::collection::vec((any_event(), 0..100_000_i64, any::<bool>()), 0..200)
    ) {
        let mut journal = Journal::default();
        for (event, seconds, paused) in events {
            let before = journal.clone();
            let context = Context { paused, ..at(seconds) };
            let (next, effect) = step(journal, event.clone(), &context);
            // The journal survives its file.
            let text = serde_json::to_vec(&next).expect("JSON");
            prop_assert_eq!(&serde_json::from_slice::<Journal>(&text).expect("a journal"), &next);
            // Nothing is committed that has not passed probation.
            let system = |journal: &Journal| journal.committed.as_ref().map(|committed| committed.system.clone());
            if system(&next) != system(&before) && next.committed.is_some() {
                prop_assert!(matches!(before.phase, Phase::Committing(_)) && event == Event::Committed);
            }
            // A paused host begins no activation.
            if paused && !before.phase.must_finish() && !matches!(event, Event::Started { .. }) {
                prop_assert!(!next.phase.must_finish());
            }
            // An effect is only asked for once the journal says so.
            match effect {
                Some(Effect::Activate(attempt)) => prop_assert_eq!(&next.phase, &Phase::Activating(attempt)),
                Some(Effect::Commit(attempt)) => prop_assert_eq!(&next.phase, &Phase::Committing(attempt)),
                Some(Effect::Fetch(target)) => {
                    prop_assert!(!paused);
                    prop_assert!(!next.quarantine.contains_key(&target.key()));
                }
                _ => {}
            }
            journal = next;
        }
    }
}
