//! Systems that are booted rather than activated, and reboots.

use super::*;

fn obstructed<const COUNT: usize>(obstacles: [Obstacle; COUNT]) -> Baseline {
    Baseline { boot_id: Some("one".into()), ..baseline("a") }.with_obstacles(obstacles)
}

/// A journal with a system that is the boot default and waits for its first boot.
fn awaiting_its_boot(policy: &Policy) -> Journal {
    let mut journal = committed("a");
    run(&mut journal, [Event::Release(target(2, "b")), Event::Unpacked, Event::Built(system("b").into())]);
    let (journal, effect) = step(journal, Event::Surveyed(obstructed([Obstacle::Inhibited])), &under(policy, 0));
    assert!(matches!(effect, Some(Effect::Commit(_))), "{effect:?}");
    let booted = Found { profile: Some(system("b")), boot_id: Some("one".into()), ..found("a") };
    let (journal, _) = step(journal, Event::Committed(booted), &under(policy, 0));
    assert_eq!(journal.committed.as_ref().expect("committed").system, system("a"), "it has proved nothing yet");
    assert!(journal.unproven.is_some() && journal.reboot.is_some());
    journal
}

fn booting() -> Policy {
    Policy { boot_instead: [Obstacle::Inhibited, Obstacle::InitInterface].into(), ..Policy::default() }
}

fn boots_into(system_name: &str) -> Event {
    let booted = Some(system(system_name));
    Event::Started(Found { booted, profile: Some(system("b")), boot_id: Some("two".into()), ..found(system_name) })
}

#[test]
fn a_system_that_cannot_be_switched_to_is_booted_where_policy_says_so() {
    let policy = booting();
    let journal = awaiting_its_boot(&policy);
    let (same, effect) = step(journal.clone(), Event::Release(target(2, "b")), &under(&policy, 0));
    assert_eq!((effect, same.phase), (None, Phase::Steady), "it waits for its boot");
    let (journal, effect) = step(journal, boots_into("b"), &under(&policy, 0));
    assert!(matches!(effect, Some(Effect::Prove(_))), "its first boot is a probation");
    let (journal, _) = step(journal, Event::Proved(Vec::new()), &under(&policy, 0));
    let (journal, _) = step(journal, Event::Committed(found("b")), &under(&policy, 0));
    assert_eq!(journal.committed.as_ref().expect("committed").system, system("b"));
    assert_eq!((journal.unproven, journal.reboot), (None, None));
    assert!(journal.outcomes[0].message.contains("booted"));
}

/// A host with a system that is built, and to which these obstacles are in the way.
fn is_surveyed<const COUNT: usize>(obstacles: [Obstacle; COUNT], policy: &Policy) -> (Journal, Option<Effect>) {
    let mut journal = committed("a");
    run(&mut journal, [Event::Release(target(2, "b")), Event::Unpacked, Event::Built(system("b").into())]);
    step(journal, Event::Surveyed(obstructed(obstacles)), &under(policy, 0))
}

#[test]
fn what_cannot_be_switched_to_waits_for_another_policy_and_is_held_against_nobody() {
    let (journal, effect) = is_surveyed([Obstacle::Inhibited], &Policy::default());
    assert_eq!(effect, None);
    assert!(matches!(journal.phase, Phase::Built { .. }) && journal.back_off.is_some(), "{journal:?}");
    assert!(journal.quarantine.is_empty());
    let outcome = &journal.outcomes[0];
    assert_eq!((outcome.kind, outcome.error.as_deref()), (OutcomeKind::Failed, Some(NEEDS_REBOOT)));
    assert!(matches!(step(journal.clone(), Event::Woke, &at(60)).1, Some(Effect::Survey { .. })), "it is tried again");
    // Other settings take another start of the agent, and a boot another agent.
    let policy = booting();
    let (journal, effect) = step(journal, starts("a"), &under(&policy, 1));
    assert!(matches!(effect, Some(Effect::Survey { .. })), "{effect:?}");
    let (_, effect) = step(journal, Event::Surveyed(obstructed([Obstacle::Inhibited])), &under(&policy, 1));
    assert!(matches!(effect, Some(Effect::Commit(_))), "{effect:?}");
}

#[test]
fn every_obstacle_takes_a_word_of_its_own() {
    let both = [Obstacle::Kernel, Obstacle::Inhibited];
    for (allowed, missing) in [(&[][..], "inhibited, kernel"), (&both[..1], "inhibited"), (&both[1..], "kernel")] {
        let policy = Policy { boot_instead: allowed.iter().copied().collect(), ..Policy::default() };
        let (journal, effect) = is_surveyed(both, &policy);
        assert_eq!(effect, None, "{allowed:?}");
        let message = &journal.outcomes[0].message;
        assert!(message.contains(&format!("does not allow at: {missing};")), "{message}");
    }
    let policy = Policy { boot_instead: both.into(), ..Policy::default() };
    let Some(Effect::Commit(attempt)) = is_surveyed(both, &policy).1 else { panic!("it is booted") };
    assert_eq!(attempt.remarks.len(), 2, "{attempt:?}");
    let (_, effect) = is_surveyed([Obstacle::Kernel], &Policy::default());
    assert!(matches!(effect, Some(Effect::Activate(_))), "another kernel alone is left to the next boot");
}

#[test]
fn a_system_that_asks_for_a_reboot_when_it_is_activated_is_booted_or_waits() {
    let needs = || Event::Activated(Ended::NeedsReboot(Failed::new(NEEDS_REBOOT, "exit status: 100")));
    let (journal, effect) = is_surveyed([], &Policy::default());
    assert!(matches!(effect, Some(Effect::Activate(_))));
    let (waits, effects) = decide(journal.clone(), needs(), &at(0));
    assert!(matches!(effects[..], [Effect::Disarm(_)]), "{effects:?}");
    assert!(
        matches!(waits.phase, Phase::Built { .. }) && waits.quarantine.is_empty(),
        "nothing was changed: {waits:?}"
    );
    let (_, effect) = step(journal, needs(), &under(&booting(), 0));
    assert!(matches!(effect, Some(Effect::Commit(_))), "{effect:?}");
    let (journal, _) = is_surveyed([Obstacle::Kernel], &booting());
    assert_eq!(
        step(journal, needs(), &under(&booting(), 0)).1,
        None,
        "another kernel takes a word of its own here too"
    );
}

#[test]
fn a_host_that_comes_back_in_the_old_system_says_so_and_boots_the_old_one_from_now_on() {
    let policy = booting();
    let (journal, effect) = step(awaiting_its_boot(&policy), boots_into("a"), &under(&policy, 0));
    let Some(Effect::RollBack { boot: true, .. }) = effect else { panic!("{effect:?}") };
    let rolled_back = Event::RolledBack { store_answers: true, unwell: None };
    let (journal, _) = step(journal, rolled_back, &under(&policy, 0));
    assert_eq!(journal.outcomes[0].error.as_deref(), Some(BOOTED_OLD_SYSTEM));
    assert_eq!(journal.committed.expect("committed").system, system("a"));
    assert_eq!((journal.unproven, journal.reboot), (None, None));
    assert!(!journal.quarantine.is_empty());
}

#[test]
fn a_system_that_never_gets_through_its_first_boot_is_given_up() {
    let policy = booting();
    let mut journal = awaiting_its_boot(&policy);
    for boot in 0..3 {
        let boot_id = Some(format!("boot {boot}"));
        let started = Found { booted: Some(system("b")), profile: Some(system("b")), boot_id, ..found("b") };
        let (next, effect) = step(journal, Event::Started(started), &under(&policy, 0));
        assert!(matches!(effect, Some(Effect::Prove(_))), "{effect:?}");
        journal = next;
    }
    let (_, effect) = step(journal, boots_into("b"), &under(&policy, 0));
    assert!(matches!(effect, Some(Effect::RollBack { boot: true, .. })), "{effect:?}");
}

#[test]
fn the_first_boot_of_another_kernel_is_a_probation_too() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    let booted = Found { reboot_needed: true, boot_id: Some("one".into()), ..found("b") };
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new()), Event::Committed(booted)]);
    assert_eq!(
        journal.committed.as_ref().expect("committed").system,
        system("b"),
        "it has proved itself, but for a boot"
    );
    assert!(matches!(run(&mut journal, [boots_into("b")]), Some(Effect::Prove(_))));
    let effect = run(&mut journal, [Event::AttemptFailed(Failed::new("units-failed", "failed: web.service"))]);
    assert!(matches!(effect, Some(Effect::RollBack { boot: true, .. })), "{effect:?}");
    run(&mut journal, [Event::RolledBack { store_answers: true, unwell: None }]);
    assert_eq!(journal.committed.expect("committed").system, system("a"));
}

#[test]
fn a_system_that_was_never_booted_still_has_to_prove_it_when_a_later_one_fails_to_be_committed() {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    let commits = Found { reboot_needed: true, boot_id: Some("one".into()), ..found("b") };
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new()), Event::Committed(commits)]);
    run(&mut journal, up_to_activation(3, "c", "b"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())]);
    run(&mut journal, [Event::AttemptFailed(Failed::new("boot-failed", "no space left"))]);
    run(&mut journal, [Event::RolledBack { store_answers: true, unwell: None }]);
    assert!(matches!(run(&mut journal, [boots_into("b")]), Some(Effect::Prove(_))), "{journal:?}");
}

/// The host has come through a boot into `a`, in which this had failed.
fn has_booted(boot: &str, booted: &str, failed: &str) -> Event {
    let failed_at_boot = Some([failed.to_owned()].into());
    Event::Looked(Found { boot_id: Some(boot.into()), booted: Some(system(booted)), failed_at_boot, ..found("a") })
}

#[test]
fn what_failed_in_the_last_good_boot_is_held_against_no_system_that_is_booted_first() {
    let failed = |boots: &[Event]| {
        let mut journal = committed("a");
        run(&mut journal, boots.to_vec());
        run(&mut journal, [Event::Release(target(2, "b")), Event::Unpacked, Event::Built(system("b").into())]);
        let mut before = obstructed([Obstacle::Inhibited]);
        before.units.failed = ["web.service".to_owned()].into();
        let policy = booting();
        let (journal, _) = step(journal, Event::Surveyed(before), &under(&policy, 0));
        let awaited = Found { profile: Some(system("b")), boot_id: Some("one".into()), ..found("a") };
        let (journal, _) = step(journal, Event::Committed(awaited), &under(&policy, 0));
        let (_, effect) = step(journal, boots_into("b"), &under(&policy, 0));
        let Some(Effect::Prove(attempt)) = effect else { panic!("{effect:?}") };
        attempt.before.units.failed.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(failed(&[]), ["web.service"]);
    assert_eq!(failed(&[has_booted("one", "a", "old.service")]), ["old.service", "web.service"]);
    let later = [has_booted("one", "a", "old.service"), has_booted("one", "a", "late.service")];
    assert_eq!(failed(&later), ["old.service", "web.service"], "how it was at the end of the boot");
    let again = [has_booted("zero", "a", "older.service"), has_booted("one", "a", "old.service")];
    assert_eq!(failed(&again), ["old.service", "web.service"], "the last one");
    assert_eq!(failed(&[has_booted("one", "c", "bad.service")]), ["web.service"], "another system was booted");
}

#[test]
fn a_needed_reboot_waits_for_policy_for_pauses_and_for_users() {
    let mut reboot = RebootPolicy { when: RebootWhen::WhenNeeded, ..RebootPolicy::default() };
    reboot.delay = jiff::SignedDuration::from_secs(60);
    let policy = Policy { reboot, ..Policy::default() };
    let needed = || Event::Looked(Found { reboot_needed: true, ..found("a") });
    assert_eq!(run(&mut committed("a"), [needed()]), None, "by default never");
    let (journal, effect) = step(committed("a"), needed(), &under(&policy, 0));
    assert_eq!(effect, None, "not before its time");
    let paused = Context { paused: true, ..under(&policy, 60) };
    assert_eq!(step(journal.clone(), needed(), &paused).1, None);
    let (journal, effect) = step(journal, needed(), &under(&policy, 60));
    assert_eq!(effect, Some(Effect::Reboot { insist: false }));
    let put_off = Event::RebootPutOff { until: at(120).now, failed: None };
    let (journal, effect) = step(journal, put_off, &under(&policy, 60));
    assert_eq!(effect, None);
    assert_eq!(step(journal.clone(), Event::Woke, &under(&policy, 119)).1, None);
    assert_eq!(step(journal.clone(), Event::Woke, &under(&policy, 120)).1, Some(Effect::Reboot { insist: false }));
    let after_grace = under(&policy, 60 + 24 * 3600);
    assert_eq!(step(journal.clone(), Event::Woke, &after_grace).1, Some(Effect::Reboot { insist: true }));
    let (journal, _) = step(journal, Event::Looked(found("a")), &under(&policy, 120));
    assert_eq!(journal.reboot, None, "it is not needed any more");
}

#[test]
fn a_host_that_cannot_go_back_reboots_into_the_old_system_where_policy_says_so() {
    let policy = Policy { reboot_when_stranded: true, ..Policy::default() };
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::AttemptFailed(Failed::new("x", "x"))]);
    let (stranded, effect) = step(journal.clone(), back_failed(), &under(&policy, 0));
    assert_eq!(effect, Some(Effect::Reboot { insist: true }));
    assert_eq!(run(&mut journal, [back_failed()]), None);
    // The agent may end before the host does.
    let boot = |id: &str| Event::Started(Found { boot_id: Some(id.into()), ..found("a") });
    let (again, effect) = step(stranded.clone(), boot("one"), &under(&policy, 10));
    assert_eq!(effect, Some(Effect::Reboot { insist: true }));
    assert_eq!(step(stranded.clone(), boot("one"), &at(10)).1, None, "the operator has thought better of it");
    let (_, effect) = step(again.clone(), Event::RebootPutOff { until: at(60).now, failed: None }, &under(&policy, 10));
    assert_eq!(effect, None);
    let (rebooted, effect) = step(again, boot("two"), &under(&policy, 60));
    assert_eq!((effect, rebooted.reboot), (None, None), "once is enough");
    let mut journal = stranded;
    run(&mut journal, up_to_activation(3, "c", "a"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new()), Event::Committed(found("c"))]);
    assert_eq!(journal.reboot, None, "a good system is worth no reboot");
}
