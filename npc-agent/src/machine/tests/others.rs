//! Whoever else has a hand in it: the dead-man timer, and humans.

use super::*;
use crate::machine::step as decide;

#[test]
fn the_timer_is_armed_before_anything_is_activated_and_disarmed_by_the_commit() {
    let mut journal = committed("a");
    run(&mut journal, [Event::Release(target(2, "b")), Event::Unpacked, Event::Built(system("b").into())]);
    let (journal, effects) = decide(journal, Event::Surveyed(baseline("a")), &at(0));
    assert!(matches!(effects[..], [Effect::Arm { stage: Stage::Activation, .. }, Effect::Activate(_)]), "{effects:?}");
    let (journal, effects) = decide(journal, Event::Activated(Ended::Well), &at(0));
    let [Effect::Arm { stage: Stage::Probation, .. }, Effect::HandOver, Effect::Prove(_)] = &effects[..] else {
        panic!("{effects:?}")
    };
    let (journal, effects) = decide(journal, Event::Proved(Vec::new()), &at(0));
    assert!(matches!(effects[..], [Effect::Commit(_)]), "{effects:?}");
    let (_, effects) = decide(journal, Event::Committed(found("b")), &at(0));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Disarm(_))), "{effects:?}");
}

#[test]
fn the_timer_brings_the_old_system_back_in_every_phase_of_an_attempt() {
    let passed = [Event::Activated(Ended::Well), Event::Proved(Vec::new())];
    for steps in 0..=passed.len() {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, passed[..steps].to_vec());
        let was_committing = steps == passed.len();
        let effect = run(&mut journal, [Event::DeadlinePassed(found("b"))]);
        let Some(Effect::RollBack { boot, rescued: false, .. }) = effect else { panic!("{effect:?}") };
        assert_eq!(boot, was_committing);
    }
    let mut journal = committed("a");
    let before = journal.clone();
    assert_eq!(run(&mut journal, [Event::DeadlinePassed(found("a"))]), None);
    assert_eq!(journal, before, "after a commit it finds nothing to do");
}

#[test]
fn a_system_that_a_human_activated_in_the_middle_of_an_attempt_stays() {
    let overtaken = |event: fn(Found) -> Event, steps: usize| {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())].into_iter().take(steps));
        assert_eq!(run(&mut journal, [event(found("c"))]), None);
        journal
    };
    for steps in 0..=2 {
        for event in [Event::Started, Event::DeadlinePassed, Event::Overtaken] {
            let journal = overtaken(event, steps);
            assert_eq!(journal.phase, Phase::Steady);
            assert_eq!(journal.outcomes[0].error.as_deref(), Some(CHANGED_BY_HAND));
            assert_eq!(journal.by_hand.as_ref().map(|by_hand| &by_hand.system), Some(&system("c")));
            assert!(journal.quarantine.is_empty(), "the release is not to blame");
        }
    }
}

#[test]
fn a_system_that_a_human_activated_is_not_fought_over_until_the_release_changes() {
    let mut journal = committed("a");
    assert_eq!(run(&mut journal, [Event::Looked(found("c"))]), None);
    assert_eq!(journal.outcomes[0].error.as_deref(), Some(CHANGED_BY_HAND));
    let outcomes = journal.outcomes.len();
    assert_eq!(run(&mut journal, [Event::Looked(found("c")), Event::Release(target(1, "a")), starts("c")]), None);
    assert_eq!(journal.outcomes.len(), outcomes, "it is told once");
    let effect = run(&mut journal, [Event::Release(target(2, "a"))]);
    assert!(matches!(effect, Some(Effect::Fetch(_))), "something new counts, even if it leads to the committed system");
    let mut journal = committed("a");
    run(&mut journal, [Event::Looked(found("c")), Event::Looked(found("a"))]);
    assert_eq!(journal.by_hand, None, "the human went back");
}

#[test]
fn a_boot_default_that_a_human_set_is_noticed_too() {
    let mut journal = committed("a");
    run(&mut journal, [Event::Looked(Found { profile: Some(system("c")), ..found("a") })]);
    assert!(journal.outcomes[0].message.contains("boot default by hand"), "{:?}", journal.outcomes[0]);
}

#[test]
fn where_the_operator_says_enforce_the_committed_system_comes_back_at_once() {
    let policy = Policy { by_hand: HandPolicy::Enforce, ..Policy::default() };
    let (journal, effect) = step(committed("a"), Event::Looked(found("c")), &under(&policy, 0));
    assert!(matches!(effect, Some(Effect::Fetch(_))));
    let context = under(&policy, 0);
    let (journal, _) = step(journal, Event::Unpacked, &context);
    let (journal, _) = step(journal, Event::Built(system("a").into()), &context);
    let (_, effect) = step(journal, Event::Surveyed(baseline("c")), &context);
    assert!(matches!(effect, Some(Effect::Activate(_))));
}

/// `system` runs, and a human has made `c` the boot default.
fn boots_c_by_hand(running: &str) -> Found {
    Found { profile: Some(system("c")), activation: Activation::Ended(Ended::Well), ..found(running) }
}

#[test]
fn a_boot_default_that_a_human_sets_in_probation_ends_it_by_no_means_and_keeps_the_system_from_being_committed() {
    for restarts in [false, true] {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated(Ended::Well)]);
        if restarts {
            let effect = run(&mut journal, [Event::Started(boots_c_by_hand("b"))]);
            assert!(matches!(effect, Some(Effect::Prove(_))), "{effect:?}");
        }
        let Some(Effect::Commit(attempt)) = run(&mut journal, [Event::Proved(Vec::new())]) else {
            panic!("{journal:?}")
        };
        assert!(!attempt.may_commit(&boots_c_by_hand("b")));
        assert_eq!(run(&mut journal, [Event::Overtaken(boots_c_by_hand("b"))]), None);
        assert_eq!(journal.phase, Phase::Steady);
        let outcome = &journal.outcomes[0];
        assert_eq!((outcome.kind, outcome.error.as_deref()), (OutcomeKind::Failed, Some(CHANGED_BY_HAND)));
        assert!(outcome.message.contains("/nix/store/c was made the boot default by hand"), "{outcome:?}");
        assert!(journal.quarantine.is_empty(), "the release is not to blame");
        let outcomes = journal.outcomes.len();
        assert_eq!(run(&mut journal, [Event::Looked(boots_c_by_hand("b")), Event::Release(target(2, "b"))]), None);
        assert_eq!(journal.outcomes.len(), outcomes, "it is told once");
    }
}

#[test]
fn a_system_that_fails_probation_is_rolled_back_though_a_human_has_set_the_boot_default() {
    let failed = || Event::AttemptFailed(Failed::new("units-failed", "failed: web.service"));
    for (event, boot) in [(failed(), false), (Event::DeadlinePassed(boots_c_by_hand("b")), false)] {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated(Ended::Well), Event::Started(boots_c_by_hand("b"))]);
        let effect = run(&mut journal, [event]);
        assert!(matches!(effect, Some(Effect::RollBack { boot: put_back, .. }) if put_back == boot), "{effect:?}");
        let effect = run(&mut journal, [Event::Started(boots_c_by_hand("b"))]);
        assert!(matches!(effect, Some(Effect::RollBack { .. })), "an agent that is killed goes on: {effect:?}");
        run(
            &mut journal,
            [Event::RolledBack { store_answers: true, unwell: None }, Event::Looked(boots_c_by_hand("a"))],
        );
        assert_eq!(journal.quarantine.len(), 1);
        assert_eq!(journal.by_hand.as_ref().map(|by_hand| &by_hand.system), Some(&system("c")));
    }
}

#[test]
fn the_timer_leaves_a_boot_default_alone_that_a_human_has_set_while_a_system_was_committed() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())]);
    let effect = run(&mut journal, [Event::DeadlinePassed(boots_c_by_hand("b"))]);
    assert!(matches!(effect, Some(Effect::RollBack { boot: false, .. })), "{effect:?}");
}

#[test]
fn where_the_operator_says_enforce_an_attempt_that_a_human_broke_off_is_begun_anew() {
    let policy = Policy { by_hand: HandPolicy::Enforce, ..Policy::default() };
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())]);
    let (_, effect) = step(journal.clone(), Event::Overtaken(found("c")), &under(&policy, 0));
    assert!(matches!(effect, Some(Effect::Fetch(target)) if target.serial.get() == 2));
    run(&mut journal, [Event::AttemptFailed(Failed::new("boot-failed", "no space left"))]);
    let (_, effect) = step(journal, Event::Overtaken(found("c")), &under(&policy, 0));
    assert!(matches!(effect, Some(Effect::Fetch(target)) if target.serial.get() == 1), "what failed is no way out");
}

#[test]
fn that_a_host_stays_is_dated_from_when_it_began_whatever_else_happens() {
    let staying = |place: &str, kind: &str, words: &str| {
        Event::Stays(Some(Staying { place: place.to_owned(), reason: Failed::new(kind, words) }))
    };
    let since = |journal: &Journal| journal.stays.as_ref().map(|stays| (stays.since, stays.reason.kind.clone()));
    let (mut journal, _) = step(committed("a"), staying("`new`", "not-found", "words"), &at(10));
    let first = since(&journal).expect("it stays");
    for event in [Event::Release(target(2, "a")), Event::PollAnswered, staying("`new`", "not-found", "other words")] {
        (journal, _) = step(journal, event, &at(20));
        assert_eq!(since(&journal).as_ref(), Some(&first));
    }
    for (place, kind) in [("`new`", "bad-signature"), ("`newer`", "bad-signature")] {
        (journal, _) = step(journal, staying(place, kind, "words"), &at(30));
        assert_eq!(since(&journal), Some((at(30).now, kind.to_owned())));
    }
    let (journal, effects) = decide(journal, Event::Stays(None), &at(40));
    assert_eq!((journal.stays, effects.len()), (None, 0));
}
