//! Orders from afar: to reboot, and to try again.

use super::*;
use crate::machine::{RebootOrdered, step as decide};

fn ordered(seconds: i64) -> Context<'static> {
    Context { to_end: Some("one"), ..at(seconds) }
}

fn reboots(effects: &[Effect]) -> Option<bool> {
    match effects {
        [Effect::Reboot { insist }] => Some(*insist),
        _ => None,
    }
}

#[test]
fn an_order_to_reboot_is_obeyed_whatever_policy_says_and_over_with_the_boot() {
    let (journal, effects) = decide(committed("a"), Event::Woke, &ordered(0));
    assert_eq!(reboots(&effects), Some(false), "users are asked");
    let known = RebootOrdered { boot_id: "one".into(), since: at(0).now, not_before: None };
    assert_eq!(journal.reboot_ordered.as_ref(), Some(&known));
    let (after, effects) = decide(journal.clone(), starts("a"), &at(60));
    assert_eq!((after.reboot_ordered, effects.len()), (None, 0), "another boot");
    let (_, effects) = decide(journal, Event::Woke, &ordered(25 * 3600));
    assert_eq!(reboots(&effects), Some(true), "they had their time");
}

#[test]
fn a_pause_comes_before_an_order_to_reboot() {
    let paused = Context { paused: true, ..ordered(0) };
    let (journal, effects) = decide(committed("a"), Event::Woke, &paused);
    assert!(effects.is_empty(), "{effects:?}");
    assert_eq!(reboots(&decide(journal, Event::Woke, &ordered(5)).1), Some(false));
}

#[test]
fn an_order_to_reboot_waits_for_an_attempt_and_not_for_what_is_being_prepared() {
    let mut journal = committed("a");
    run(&mut journal, [Event::Release(target(2, "b"))]);
    let (fetched, effects) = decide(journal.clone(), Event::Woke, &ordered(0));
    assert_eq!((fetched.phase.word(), reboots(&effects)), ("fetched", Some(false)));
    run(&mut journal, [Event::Unpacked, Event::Built(system("b").into()), Event::Surveyed(baseline("a"))]);
    let mut words = Vec::new();
    for event in [Event::Woke, Event::Activated(Ended::Well), Event::Proved(Vec::new())] {
        let (next, effects) = decide(journal, event, &ordered(0));
        assert_eq!(reboots(&effects), None, "{effects:?}");
        words.push(next.phase.word());
        journal = next;
    }
    assert_eq!(words, ["activating", "probation", "committing"]);
    let (journal, effect) = step(journal, Event::Committed(found("b")), &ordered(0));
    assert_eq!((journal.phase, effect), (Phase::Steady, Some(Effect::Reboot { insist: false })));
}

#[test]
fn a_reboot_that_was_put_off_is_not_tried_again_at_once() {
    let (journal, _) = decide(committed("a"), Event::Woke, &ordered(0));
    let failed = Some(Failed::new("reboot-failed", "words"));
    let (journal, effects) = decide(journal, Event::RebootPutOff { until: at(600).now, failed }, &ordered(0));
    assert_eq!(reboots(&effects), None);
    let (journal, effects) = decide(journal, Event::Woke, &ordered(599));
    assert_eq!(reboots(&effects), None);
    assert_eq!(reboots(&decide(journal, Event::Woke, &ordered(600)).1), Some(false));
}

/// A journal with a system in quarantine since this second.
fn with_a_failure(seconds: i64) -> Journal {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated(Ended::Failed(Failed::new("activation-failed", "words")))]);
    let (journal, _) = step(journal, Event::RolledBack { store_answers: true, unwell: None }, &at(seconds));
    assert_eq!(journal.quarantine.len(), 1);
    journal
}

#[test]
fn either_word_to_try_again_is_heeded_once_whatever_the_other_says() {
    let words = [Event::Retried { at: at(100).now }, Event::RetryOrdered { at: at(200).now }];
    let (mut journal, _) = step(with_a_failure(50), words[1].clone(), &at(300));
    assert!(journal.quarantine.is_empty(), "it is lifted");
    (journal, _) = step(journal, words[0].clone(), &at(300));
    // The same failure again, noted by a clock that was set back far.
    let failed = with_a_failure(10).quarantine;
    journal.quarantine.clone_from(&failed);
    for said in words.iter().chain(&words) {
        (journal, _) = step(journal, said.clone(), &at(300));
        assert_eq!(journal.quarantine, failed, "{said:?}");
    }
}

#[test]
fn an_order_to_try_again_does_not_lift_what_failed_after_it_even_without_a_journal_of_it() {
    let (journal, _) = step(with_a_failure(500), Event::RetryOrdered { at: at(200).now }, &at(600));
    assert_eq!(journal.quarantine.len(), 1);
}
