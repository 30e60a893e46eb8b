//! Agents that begin in the middle of what another one began.

use super::*;

#[test]
fn a_crash_while_activating_rolls_back_and_is_tried_once_more() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    for attempt in 1..=2 {
        assert!(matches!(run(&mut journal, [starts("b")]), Some(Effect::RollBack { boot: false, .. })));
        assert!(matches!(run(&mut journal, [starts("a")]), Some(Effect::RollBack { .. })), "and again");
        assert_eq!(run(&mut journal, [Event::RolledBack { store_answers: true, unwell: None }]), None);
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
    run(&mut journal, [Event::Activated(Ended::Well)]);
    assert!(matches!(run(&mut journal, [starts("b")]), Some(Effect::Prove(_))));
    run(&mut journal, [Event::Proved(Vec::new())]);
    assert!(matches!(run(&mut journal, [starts("b")]), Some(Effect::Commit(_))));
}

#[test]
fn a_host_that_comes_back_under_the_old_system_commits_nothing() {
    for proved in [false, true] {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated(Ended::Well)]);
        if proved {
            run(&mut journal, [Event::Proved(Vec::new())]);
        }
        let Some(Effect::RollBack { boot, .. }) = run(&mut journal, [starts("a")]) else { panic!("it must roll back") };
        assert_eq!(boot, proved, "only committing touches the boot default");
        run(&mut journal, [Event::RolledBack { store_answers: true, unwell: None }]);
        assert!(journal.quarantine.is_empty());
        assert_eq!(journal.committed.as_ref().expect("committed").system, system("a"));
    }
}

#[test]
fn an_activation_that_ended_while_the_agent_was_away_is_judged_by_its_own_word() {
    let after = |activation: Activation| {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        let effect = run(&mut journal, [Event::Started(Found { activation, ..found("b") })]);
        (journal.phase.word(), effect)
    };
    let failed = || Failed::new("activation-failed", "exit status: 1");
    assert!(matches!(after(Activation::Running), ("activating", Some(Effect::Activate(_)))), "it is waited for");
    assert!(matches!(after(Activation::Ended(Ended::Well)), ("probation", Some(Effect::Prove(_)))));
    assert!(matches!(after(Activation::Ended(Ended::SomeUnitsFailed(failed()))), ("probation", _)));
    assert!(matches!(
        after(Activation::Ended(Ended::Failed(failed()))),
        ("rolling-back", Some(Effect::RollBack { .. }))
    ));
}

/// The power failed after the boot loader was installed, and before that was noted: what was booted then may fail as booted, and
/// must not be booted again.
#[test]
fn a_system_that_is_booted_in_the_middle_of_its_commit_is_on_probation_and_goes_back_with_its_boot_default() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())]);
    let booted = Found { boot_id: Some("another".into()), ..found("b") };
    assert!(matches!(run(&mut journal, [Event::Started(booted)]), Some(Effect::Prove(_))));
    assert_eq!(journal.unproven.as_ref().map(|unproven| unproven.boots), Some(1), "and its boots are counted");
    let effect = run(&mut journal, [Event::AttemptFailed(Failed::new("units-failed", "x"))]);
    assert!(matches!(effect, Some(Effect::RollBack { boot: true, .. })), "{effect:?}");
    run(&mut journal, [Event::RolledBack { store_answers: true, unwell: None }]);
    assert_eq!(journal.committed.as_ref().map(|committed| committed.system.clone()), Some(system("a")));
    assert!(journal.unproven.is_none());
}

/// Of three systems the first was booted, the second only switched to, and the third booted in the middle of its commit.
#[test]
fn what_a_boot_goes_back_to_is_what_was_booted_last() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())]);
    run(&mut journal, [Event::Committed(Found { reboot_needed: true, ..found("b") })]);
    run(&mut journal, up_to_activation(3, "c", "b"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())]);
    let booted = Found { boot_id: Some("another".into()), booted: Some(system("c")), ..found("c") };
    run(&mut journal, [Event::Started(booted)]);
    let effect = run(&mut journal, [Event::AttemptFailed(Failed::new("units-failed", "x"))]);
    let Some(Effect::RollBack { attempt, boot: true, .. }) = effect else { panic!("{effect:?}") };
    assert_eq!(attempt.before.running, Some(system("a")));
}

#[test]
fn a_first_boot_for_which_no_timer_can_be_set_is_tried_once_more_and_not_for_ever() {
    let mut journal = committed("a");
    for attempt in 0..2 {
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated(Ended::Well)]);
        run(&mut journal, [Event::AttemptFailed(Failed::new("dead-man", "no space left"))]);
        run(&mut journal, [Event::RolledBack { store_answers: true, unwell: None }]);
        assert_eq!(journal.quarantine.len(), attempt);
        journal.phase = Phase::Steady;
    }
}
