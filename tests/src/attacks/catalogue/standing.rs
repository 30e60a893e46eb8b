//! Assignments and reports, judged by npc-core's verification until the programs read them.

use super::Forged;
use crate::attacks::Behaviour;
use crate::attacks::documents::Statement;
use crate::attacks::expectation::{Before, Expected, Judge};
use crate::attacks::fleet::{ASSIGN, FIRST, HOST, PROD, ROLLOUT};
use crate::attacks::layer::Layer;

const ASSIGNMENT: &str = "assignments/web-1.json";

const REPORT: &str = "reports/web-1.json";

fn assignment(name: &'static str, refusal: &str, claim: &str, layer: Layer) -> Forged {
    let claim = format!(
        "{claim} (Judged by npc-core's verification of an assignment, with the floors of a reader that believed the one \
         before: agents do not follow assignments yet.)"
    );
    let judge = Judge::Assignment(HOST.parse().expect("a name"));
    Forged::refused(name, refusal, &claim, layer).judged_by(judge)
}

fn report(name: &'static str, refusal: &str, claim: &str, layer: Layer) -> Forged {
    let claim = format!(
        "{claim} (Judged by npc-core's verification of a report, with the floors of a reader that believed the one before: \
         agents do not write reports yet.)"
    );
    let judge = Judge::Report(HOST.parse().expect("a name"));
    Forged::refused(name, refusal, &claim, layer).judged_by(judge)
}

fn holding(key: &str, bytes: Vec<u8>) -> Layer {
    Layer::default().with(key, bytes)
}

pub(super) fn attacks() -> Vec<Forged> {
    let older = Statement::assignment(HOST, FIRST - 1).honest();
    let gone = |status| Layer::default().answering(ASSIGNMENT, Behaviour::Status(status));
    let newer = Statement::assignment(HOST, FIRST + 1);
    vec![
        assignment(
            "assignment-deleted",
            "not-found",
            "An assignment that was seen and is gone still holds: an older one in its place is refused.",
            gone(404),
        )
        .then_refused("replayed", holding(ASSIGNMENT, older.clone()), "rollback")
        .only(Before::Running),
        assignment(
            "assignment-hidden",
            "denied",
            "An assignment that was seen and may not be read any more still holds: an older one in its place is refused.",
            gone(403),
        )
        .then_refused("replayed", holding(ASSIGNMENT, older.clone()), "rollback")
        .only(Before::Running),
        assignment(
            "assignment-replayed",
            "rollback",
            "An assignment older than the one that was seen repoints nobody.",
            holding(ASSIGNMENT, older),
        )
        .only(Before::Running),
        assignment(
            "assignment-by-other-roles",
            "bad-signature",
            "Who may publish or order rollouts may not assign hosts.",
            holding(ASSIGNMENT, newer.signed(&[PROD[0], PROD[1], ROLLOUT[0]]).to_bytes()),
        ),
        assignment(
            "assignment-of-another-host",
            "wrong-subject",
            "Another host's assignment is not this one's.",
            holding(ASSIGNMENT, Statement::assignment("db-1", FIRST + 1).signed(&ASSIGN).to_bytes()),
        ),
        report(
            "report-replayed",
            "rollback",
            "A report older than the one that was seen says nothing new.",
            holding(REPORT, Statement::report(HOST, FIRST - 1).honest()),
        )
        .only(Before::Running),
        report(
            "report-by-another-key",
            "bad-signature",
            "Only the host's own key reports for it: not even those that assign it.",
            holding(REPORT, Statement::report(HOST, FIRST + 1).signed(&ASSIGN).to_bytes()),
        ),
        report(
            "report-of-an-equal-number",
            "equivocation",
            "Of two reports with the same number the one that was seen is believed.",
            holding(REPORT, Statement::report(HOST, FIRST).with("phase", "probation").honest()),
        )
        .only(Before::Running),
        {
            let first = Expected::Follows(FIRST + 1);
            let layer = holding(ASSIGNMENT, newer.with("removed", true).honest());
            let claim = "An assignment that was removed does not come back by a replay of what it said before. (Judged by \
                         npc-core's verification of an assignment, as agents do not follow assignments yet.)";
            Forged::new("assignment-removed-then-replayed", claim, layer, first)
                .judged_by(Judge::Assignment(HOST.parse().expect("a name")))
                .then_refused("replayed", holding(ASSIGNMENT, Statement::assignment(HOST, FIRST).honest()), "rollback")
        },
    ]
}
