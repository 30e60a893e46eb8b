use std::path::PathBuf;
use std::sync::LazyLock;

use super::{step as decide, *};
use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{Archive, OutcomeKind, Serial};

mod boots;
mod clocks;
mod errands;
mod orders;
mod others;
mod recovered;
mod restarts;

const START: &str = "2026-01-01T00:00:00Z";

static POLICY: LazyLock<Policy> = LazyLock::new(Policy::default);

pub(super) fn at(seconds: i64) -> Context<'static> {
    under(&POLICY, seconds)
}

pub(super) fn under(policy: &Policy, seconds: i64) -> Context<'_> {
    let start: Timestamp = START.parse().expect("a time");
    let now = Timestamp::from_second(start.as_second() + seconds).expect("a time");
    Context { now, jitter: 1.0, nonce: 7, paused: false, to_end: None, policy }
}

/// Decides, does every errand, and gives the last effect alone, which the others lead up to.
pub(super) fn step(journal: Journal, event: Event, context: &Context<'_>) -> (Journal, Option<Effect>) {
    let (mut journal, mut effects) = decide(journal, event, context);
    while let Some(Effect::Errand(errand)) = effects.pop_if(|effect| matches!(effect, Effect::Errand(_))) {
        let (next, more) = decide(journal, Event::ErrandDone(errand), context);
        journal = next;
        effects.extend(more);
    }
    effects.retain(|effect| !is_aside(effect));
    (journal, effects.pop())
}

/// What is done beside the way.
fn is_aside(effect: &Effect) -> bool {
    matches!(effect, Effect::Disarm(_) | Effect::Errand(_) | Effect::HandOver)
}

/// A release whose archive holds `content`.
pub(crate) fn target(serial: u64, content: &str) -> Target {
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

pub(super) fn system(content: &str) -> PathBuf {
    PathBuf::from(format!("/nix/store/{content}"))
}

pub(super) fn baseline(running: &str) -> Baseline {
    Baseline { running: Some(system(running)), store_answers: true, ..Baseline::default() }
}

/// Steps through events, and gives the last effect asked for.
pub(super) fn run(journal: &mut Journal, events: impl IntoIterator<Item = Event>) -> Option<Effect> {
    let mut effect = None;
    for event in events {
        (*journal, effect) = step(std::mem::take(journal), event, &at(0));
    }
    effect
}

/// Going back failed.
fn back_failed() -> Event {
    Event::RollBackFailed { failed: Failed::new("y", "y"), boot_id: Some("one".into()) }
}

pub(super) fn up_to_activation(serial: u64, content: &str, running: &str) -> [Event; 4] {
    [
        Event::Release(target(serial, content)),
        Event::Unpacked,
        Event::Built(system(content).into()),
        Event::Surveyed(baseline(running)),
    ]
}

pub(crate) fn committed(content: &str) -> Journal {
    let mut journal = Journal::default();
    run(&mut journal, up_to_activation(1, content, "old"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new()), Event::Committed(found("a"))]);
    assert_eq!(journal.phase, Phase::Steady);
    journal
}

#[test]
fn a_good_release_goes_through_every_phase() {
    let mut journal = Journal::default();
    let mut words = Vec::new();
    let mut effects = Vec::new();
    let end = [Event::Activated(Ended::Well), Event::Proved(Vec::new()), Event::Committed(found("a"))];
    for event in up_to_activation(1, "a", "old").into_iter().chain(end) {
        effects.push(run(&mut journal, [event]));
        words.push(journal.phase.word());
    }
    assert_eq!(words, ["fetched", "verified", "built", "activating", "probation", "committing", "steady"]);
    assert!(matches!(effects[0], Some(Effect::Fetch(_))));
    assert!(matches!(effects[1], Some(Effect::Build(_))));
    assert!(matches!(effects[2], Some(Effect::Survey { .. })));
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
fn a_failed_attempt_rolls_back_and_is_quarantined() {
    for passed in 0..3 {
        let mut journal = committed("a");
        run(&mut journal, up_to_activation(2, "b", "a"));
        run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())].into_iter().take(passed));
        let effect = run(&mut journal, [Event::AttemptFailed(Failed::new("activation-failed", "exit 1"))]);
        let Some(Effect::RollBack { attempt, boot, .. }) = effect else { panic!("{effect:?}") };
        assert_eq!(attempt.before.running, Some(system("a")));
        assert_eq!(boot, passed == 2, "only committing touches the boot default");
        assert_eq!(run(&mut journal, [Event::RolledBack { store_answers: true, unwell: None }]), None);
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
    run(
        &mut journal,
        [Event::AttemptFailed(Failed::new("x", "x")), Event::RolledBack { store_answers: true, unwell: None }],
    );
    assert_eq!(run(&mut journal, [Event::Release(target(3, "a"))]), None);
    assert_eq!(journal.outcomes[0].kind, OutcomeKind::Adopted);
}

#[test]
fn a_failed_roll_back_is_never_told_as_one_that_worked() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::AttemptFailed(Failed::new("x", "x")), back_failed()]);
    assert_eq!(journal.outcomes[0].kind, OutcomeKind::Stranded);
    let effect = run(&mut journal, [Event::Release(target(3, "a"))]);
    assert!(matches!(effect, Some(Effect::Fetch(_))), "nobody knows what runs, so the good release is activated again");
}

#[test]
fn a_store_that_stays_silent_after_rolling_back_was_not_the_releases_fault() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::AttemptFailed(Failed::new(STORE_UNREACHABLE, "silence"))]);
    assert_eq!(run(&mut journal, [Event::RolledBack { store_answers: false, unwell: None }]), None);
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
    let (_, effect) = step(journal, Event::Activated(Ended::Well), &paused);
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
    assert!(matches!(step(journal, Event::Woke, &at(0)).1, Some(Effect::Survey { .. })), "resumed");
}

#[test]
fn a_system_that_is_not_the_publishers_is_said_to_be() {
    let mut journal = Journal::default();
    let unexpected = Some(Failed::new("derivation-mismatch", "it is another derivation"));
    let built = Built { system: system("a"), unexpected };
    run(&mut journal, [Event::Release(target(1, "a")), Event::Unpacked, Event::Built(built)]);
    run(
        &mut journal,
        [
            Event::Surveyed(baseline("old")),
            Event::Activated(Ended::Well),
            Event::Proved(Vec::new()),
            Event::Committed(found("a")),
        ],
    );
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

pub(super) fn found(running: &str) -> Found {
    Found { running: Some(system(running)), ..Found::default() }
}

pub(super) fn starts(running: &str) -> Event {
    Event::Started(found(running))
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

#[test]
fn somebody_elses_switch_is_waited_for_and_held_against_nobody() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    let busy = Ended::NeverBegan(Failed::new("switch-in-progress", "somebody else is switching"));
    let (journal, effects) = decide(journal, Event::Activated(busy), &at(0));
    assert!(matches!(effects[..], [Effect::Disarm(_)]), "{effects:?}");
    assert!(matches!(journal.phase, Phase::Built { .. }));
    assert!(journal.quarantine.is_empty());
    assert!(matches!(step(journal, Event::Woke, &at(60)).1, Some(Effect::Survey { .. })), "and tried again");
}

#[test]
fn the_same_system_in_an_unrelated_release_stays_in_quarantine() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(
        &mut journal,
        [Event::AttemptFailed(Failed::new("x", "x")), Event::RolledBack { store_answers: true, unwell: None }],
    );
    let events = [
        Event::Release(target(3, "c")),
        Event::Unpacked,
        Event::Built(system("b").into()),
        Event::Surveyed(baseline("a")),
    ];
    assert_eq!(run(&mut journal, events.clone()), None, "another archive builds the system that failed");
    assert_eq!(journal.outcomes[0].error.as_deref(), Some("quarantined"));
    run(&mut journal, [Event::Retried { at: at(1).now }]);
    assert!(matches!(run(&mut journal, events), Some(Effect::Activate(_))), "the operator asked for it");
}

#[test]
fn a_quarantined_system_is_refused_anew_in_each_remote_that_brings_it_whatever_its_number() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    let fails = Event::AttemptFailed(Failed::new("x", "x"));
    run(&mut journal, [fails, Event::RolledBack { store_answers: true, unwell: None }]);
    let elsewhere = Target { remote: "next".parse().expect("a name"), ..target(2, "b") };
    assert_eq!(run(&mut journal, [Event::Release(elsewhere.clone())]), None);
    let refused = journal.outcomes[0].clone();
    assert!(refused.is_about(&elsewhere.remote, elsewhere.serial), "{refused:?}");
    assert_eq!((refused.kind, refused.error.as_deref()), (OutcomeKind::Refused, Some("quarantined")));
    let outcomes = journal.outcomes.len();
    assert_eq!(run(&mut journal, [Event::Release(elsewhere)]), None);
    assert_eq!(journal.outcomes.len(), outcomes, "it is said once");
}

#[test]
fn a_host_that_is_back_but_not_well_is_said_to_be() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    let unwell = Some(Failed::new("units-failed", "failed: web.service"));
    run(&mut journal, [Event::AttemptFailed(Failed::new("x", "x")), Event::RolledBack { store_answers: true, unwell }]);
    let outcome = &journal.outcomes[0];
    assert_eq!(outcome.kind, OutcomeKind::RolledBack);
    assert!(outcome.message.contains("not as it was before: failed: web.service"), "{outcome:?}");
}
