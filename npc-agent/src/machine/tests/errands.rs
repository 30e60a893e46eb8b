//! What is done beside the way, at least once.

use super::*;

/// What is asked for, one after the other, until nothing is left.
fn errands(mut journal: Journal, event: Event) -> Vec<Errand> {
    let (mut done, mut event) = (Vec::new(), event);
    loop {
        let (next, effects) = decide(journal, event, &at(0));
        let Some(Effect::Errand(errand)) = effects.last().cloned() else { return done };
        done.push(errand.clone());
        (journal, event) = (next, Event::ErrandDone(errand));
    }
}

/// A journal that is about to be told of a commit.
fn committing() -> Journal {
    let mut journal = committed("a");
    run(&mut journal, up_to_activation(2, "b", "a"));
    run(&mut journal, [Event::Activated(Ended::Well), Event::Proved(Vec::new())]);
    journal
}

#[test]
fn the_next_agent_does_what_the_one_before_may_not_have_done() {
    let told = Errand::Tell(Box::new(Hook::Committed(target(2, "b"))));
    let all = [told.clone(), Errand::TidyUp, Errand::HandOver];
    assert_eq!(errands(committing(), Event::Committed(found("b"))), all);
    let (journal, _) = decide(committing(), Event::Committed(found("b")), &at(0));
    assert_eq!(errands(journal.clone(), starts("b")), all, "whether it ran, nobody noted");
    let (journal, _) = decide(journal, Event::ErrandDone(told), &at(0));
    assert_eq!(errands(journal.clone(), starts("b")), all[1..]);
    assert_eq!(errands(journal, Event::Woke), all[1..], "nor does it take another agent");
}

#[test]
fn the_timer_comes_off_before_any_errand() {
    let (_, effects) = decide(committing(), Event::Committed(found("b")), &at(0));
    assert!(matches!(effects[..], [Effect::Disarm(_), Effect::Errand(Errand::Tell(_))]), "{effects:?}");
}

#[test]
fn no_errand_keeps_an_attempt_from_being_finished() {
    let mut journal = committing();
    journal.pending.push(Errand::TidyUp);
    let (journal, effects) = decide(journal, starts("b"), &at(0));
    assert!(matches!(effects[..], [Effect::Commit(_)]), "{effects:?}");
    assert!(errands(journal, Event::Committed(found("b"))).contains(&Errand::TidyUp));
}

#[test]
fn room_is_made_after_everything_that_leaves_something_behind() {
    assert_eq!(errands(committed("a"), Event::Release(target(2, "a"))), [Errand::TidyUp], "adopted without a build");
    let built = |content: &str| {
        let mut journal = committed("a");
        run(&mut journal, [Event::Release(target(2, content)), Event::Unpacked, Event::Built(system("a").into())]);
        journal
    };
    assert_eq!(errands(built("b"), Event::Surveyed(baseline("a"))), [Errand::TidyUp], "it builds what runs");
    let failed = || Event::AttemptFailed(Failed::new("x", "x"));
    let mut journal = committing();
    run(&mut journal, [failed()]);
    for event in [Event::RolledBack { store_answers: true, unwell: None }, back_failed(), Event::Overtaken(found("c"))]
    {
        assert!(errands(journal.clone(), event).contains(&Errand::TidyUp));
    }
}
