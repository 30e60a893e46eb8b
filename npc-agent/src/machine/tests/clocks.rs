//! Clocks that are set, forwards and back, watched and not.

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::*;

const YEARS: i64 = 10 * 365 * 86_400;

/// Reboots ten minutes after it became necessary, and users have an hour more.
fn reboots(when: RebootWhen) -> Policy {
    let (delay, grace) = (SignedDuration::from_mins(10), SignedDuration::from_hours(1));
    Policy { reboot: RebootPolicy { when, delay, grace }, ..Policy::default() }
}

fn needed() -> Event {
    Event::Looked(Found { reboot_needed: true, ..found("a") })
}

fn jumped(by: i64) -> Event {
    Event::ClockJumped(SignedDuration::from_secs(by))
}

#[test]
fn a_clock_that_is_set_while_an_agent_looks_neither_shortens_nor_lengthens_the_delay_of_a_reboot() {
    let policy = reboots(RebootWhen::WhenNeeded);
    for jump in [YEARS, -YEARS] {
        let (journal, _) = step(committed("a"), needed(), &under(&policy, 0));
        let (journal, effect) = step(journal, jumped(jump), &under(&policy, 60 + jump));
        assert_eq!(effect, None, "{jump}");
        let (journal, effect) = step(journal, needed(), &under(&policy, 599 + jump));
        assert_eq!(effect, None, "{jump}");
        let (journal, effect) = step(journal, needed(), &under(&policy, 600 + jump));
        assert_eq!(effect, Some(Effect::Reboot { insist: false }), "{jump}: users keep their time");
        let put_off = Event::RebootPutOff { until: at(660 + jump).now, failed: None };
        let (journal, _) = step(journal, put_off, &under(&policy, 600 + jump));
        let (_, effect) = step(journal, jumped(-jump), &under(&policy, 620));
        assert_eq!(effect, None, "{jump}: it was put off");
    }
}

#[test]
fn a_clock_that_was_set_back_while_nobody_looked_begins_the_delay_anew() {
    let policy = reboots(RebootWhen::WhenNeeded);
    let (journal, _) = step(committed("a"), needed(), &under(&policy, YEARS));
    let (journal, effect) = step(journal, needed(), &under(&policy, 0));
    assert_eq!(effect, None);
    assert_eq!(step(journal, needed(), &under(&policy, 600)).1, Some(Effect::Reboot { insist: false }));
}

#[test]
fn no_clock_that_is_set_opens_a_window() {
    // The year begins on a Thursday.
    let windows = Windows::new(TimeZone::UTC, ["Sat 02:00-05:00"]).expect("a window");
    let policy = reboots(RebootWhen::InWindow(windows));
    let (journal, _) = step(committed("a"), needed(), &under(&policy, 0));
    let day = 86_400;
    for time in [day, 2 * day + 3600, 2 * day + 5 * 3600] {
        assert_eq!(step(journal.clone(), needed(), &under(&policy, time)).1, None, "{time}");
    }
    let saturday = 2 * day + 3 * 3600;
    assert!(matches!(step(journal.clone(), needed(), &under(&policy, saturday)).1, Some(Effect::Reboot { .. })));
    let (_, effect) = step(journal, jumped(saturday), &under(&policy, saturday));
    assert_eq!(effect, None, "the delay is not over because the clock says so");
}

#[test]
fn a_pause_after_a_failure_lasts_as_long_as_it_was_meant_to() {
    let mut journal = Journal::default();
    run(&mut journal, [Event::Release(target(1, "a"))]);
    let (journal, _) = step(journal, Event::PreparationFailed(Failed::new("x", "x")), &at(0));
    for jump in [YEARS, -YEARS, 3600, -3600] {
        let (journal, effect) = step(journal.clone(), jumped(jump), &at(10 + jump));
        assert_eq!(effect, None, "{jump}");
        assert_eq!(step(journal.clone(), Event::Woke, &at(29 + jump)).1, None, "{jump}");
        assert!(matches!(step(journal, Event::Woke, &at(30 + jump)).1, Some(Effect::Fetch(_))), "{jump}");
    }
}

#[test]
fn no_trouble_begins_later_than_now() {
    let failed = || Event::PollFailed(Failed::new("unavailable", "no answer"));
    let since = |journal: &Journal| journal.trouble.as_ref().expect("trouble").since;
    let (journal, _) = step(Journal::default(), failed(), &at(YEARS));
    let (journal, _) = step(journal, Event::Looked(found("a")), &at(0));
    assert_eq!(since(&journal), at(0).now);
    let (journal, _) = step(journal, jumped(YEARS), &at(YEARS + 5));
    assert_eq!(since(&journal), at(YEARS).now);
}

#[test]
fn a_clock_that_jumped_back_does_not_stop_the_agent() {
    let mut journal = Journal::default();
    run(&mut journal, [Event::Release(target(1, "a"))]);
    let (journal, _) = step(journal, Event::PreparationFailed(Failed::new("x", "x")), &at(0));
    let (_, effect) = step(journal, Event::Woke, &at(-10 * 365 * 86_400));
    assert!(matches!(effect, Some(Effect::Fetch(_))));
}
