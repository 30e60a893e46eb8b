//! Agents that begin without a journal in the middle of an attempt.

use super::*;

/// The attempt to get from `a` to `b`, of a host whose profile names `a`.
fn attempt() -> Attempt {
    let mut journal = committed("a");
    run(&mut journal, [Event::Release(target(2, "b")), Event::Unpacked, Event::Built(system("b").into())]);
    let before = Baseline { profile: Some(system("a")), boot_id: Some("one".into()), ..baseline("a") };
    run(&mut journal, [Event::Surveyed(before)]);
    journal.phase.attempt().expect("an attempt").clone()
}

/// What becomes of it when this runs and that would be booted.
fn recover(running: &str, profile: &str, activation: Activation, boot: &str) -> (Journal, Option<Effect>) {
    let (profile, boot_id) = (Some(system(profile)), Some(boot.to_owned()));
    let found = Found { profile, boot_id, activation, ..found(running) };
    step(Journal::default(), Event::Recovered(Box::new(attempt()), found), &at(0))
}

fn well() -> Activation {
    Activation::Ended(Ended::Well)
}

#[test]
fn an_attempt_goes_on_where_the_host_shows_it_to_be() {
    let (journal, effect) = recover("b", "a", Activation::Running, "one");
    assert!(matches!(effect, Some(Effect::Activate(_))), "it is waited for: {journal:?}");
    assert_eq!(journal.attempts, 2, "numbers do not begin anew");
    let (journal, effect) = recover("b", "a", well(), "one");
    assert!(matches!(effect, Some(Effect::Prove(_))), "{effect:?}");
    let (journal, _) = step(journal, Event::Proved(Vec::new()), &at(0));
    let (journal, _) = step(journal, Event::Committed(found("b")), &at(0));
    assert_eq!(journal.committed.expect("committed").system, system("b"));
    let (_, effect) = recover("b", "b", Activation::Absent, "two");
    assert!(matches!(effect, Some(Effect::Prove(_))), "it was booted, so its commit had begun: {effect:?}");
}

#[test]
fn an_attempt_that_has_failed_or_whose_end_nobody_saw_is_rolled_back_with_the_boot_default() {
    let failed = || Activation::Ended(Ended::Failed(Failed::new("activation-failed", "exit status: 2")));
    for (running, activation) in [("b", failed()), ("b", Activation::Absent), ("a", well()), ("a", Activation::Absent)]
    {
        for (profile, was_committing) in [("a", false), ("b", true)] {
            let (_, effect) = recover(running, profile, activation.clone(), "one");
            let Some(Effect::RollBack { boot, .. }) = effect else { panic!("{running} {activation:?}: {effect:?}") };
            assert_eq!(boot, was_committing, "{running} {activation:?}");
        }
    }
}

#[test]
fn an_attempt_that_a_human_has_ended_is_over() {
    let (journal, effect) = recover("c", "c", well(), "one");
    assert_eq!((effect, &journal.phase), (None, &Phase::Steady));
    assert_eq!(journal.outcomes[0].error.as_deref(), Some(CHANGED_BY_HAND));
}

#[test]
fn the_timer_puts_the_boot_default_back_though_the_journal_does_not_know_of_a_commit() {
    let journal = Journal { phase: Phase::Probation(attempt()), ..Journal::default() };
    let (_, effect) = step(journal, Event::DeadlinePassed(Found { profile: Some(system("b")), ..found("b") }), &at(0));
    assert!(matches!(effect, Some(Effect::RollBack { boot: true, .. })), "{effect:?}");
}

#[test]
fn a_first_boot_that_is_recovered_proves_nothing_for_the_boots_after_it() {
    let attempt = Attempt { mode: Mode::FirstBoot, ..attempt() };
    let boots = |boot: &str| Found { boot_id: Some(boot.into()), booted: Some(system("b")), ..found("b") };
    let (journal, _) = step(Journal::default(), Event::Recovered(Box::new(attempt), boots("two")), &at(0));
    let (journal, effect) = step(journal, Event::Proved(Vec::new()), &at(0));
    assert!(matches!(effect, Some(Effect::Commit(_))), "{effect:?}");
    let (_, effect) = step(journal, Event::Started(boots("three")), &at(0));
    assert!(matches!(effect, Some(Effect::Prove(_))), "{effect:?}");
}
