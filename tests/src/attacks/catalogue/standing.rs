//! Assignments, and reports, which npc-core's verification judges until a program reads them.

use super::{FORGED, Forged, archive_key};
use crate::attacks::Behaviour;
use crate::attacks::archives::good;
use crate::attacks::documents::Statement;
use crate::attacks::expectation::{Before, Expected, Judge};
use crate::attacks::fleet::{ASSIGN, FIRST, HOST, PROD, ROLLOUT};
use crate::attacks::layer::Layer;
use npc_core::digest::Digest;

const ASSIGNMENT: &str = "assignments/web-1.json";

const REPORT: &str = "reports/web-1.json";

/// Where attackers would have the host go: a remote with a release that is in order.
fn canary() -> Layer {
    let archive = good("canary");
    let (sha256, size) = (Digest::of(&archive).to_string(), archive.len() as u64);
    let release = Statement::release_of("canary", FORGED, &sha256, size).honest();
    Layer::default()
        .with("remotes/canary.json", release.clone())
        .with(format!("releases/canary/{FORGED}.json"), release)
        .with(archive_key(&archive), archive)
}

/// An assignment that leads there.
fn elsewhere(host: &str, serial: u64) -> Statement {
    Statement::assignment(host, serial).with("remote", "canary")
}

fn assignment(name: &'static str, refusal: &str, claim: &str, bytes: Vec<u8>) -> Forged {
    Forged::refused(name, refusal, claim, canary().with(ASSIGNMENT, bytes))
}

/// The assignment is not shown any more, and `prod` goes on.
fn withheld(name: &'static str, status: u16, claim: &str) -> Forged {
    let release = good("while the assignment is withheld");
    let layer = canary()
        .answering(ASSIGNMENT, Behaviour::Status(status))
        .with(super::POINTER, Statement::release(FORGED, &release).honest())
        .with(archive_key(&release), release);
    let replayed = canary().with(ASSIGNMENT, elsewhere(HOST, FIRST - 1).honest());
    Forged::harmless(name, claim, layer).then_refused("replayed", replayed, "rollback").only(Before::Running)
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
    let newer = elsewhere(HOST, FIRST + 1);
    vec![
        withheld(
            "assignment-deleted",
            404,
            "An assignment that was seen and is gone still holds: its remote is followed, and an older one is refused.",
        ),
        withheld(
            "assignment-hidden",
            403,
            "An assignment that was seen and may not be read any more still holds, and an older one is refused.",
        ),
        assignment(
            "assignment-replayed",
            "rollback",
            "An assignment older than the one that was seen repoints nobody.",
            elsewhere(HOST, FIRST - 1).honest(),
        )
        .only(Before::Running),
        assignment(
            "assignment-of-an-equal-number",
            "equivocation",
            "Of two assignments with the same number the one that was seen is obeyed.",
            elsewhere(HOST, FIRST).honest(),
        )
        .only(Before::Running),
        assignment(
            "assignment-by-other-roles",
            "bad-signature",
            "Who may publish or order rollouts may not assign hosts.",
            newer.clone().signed(&[PROD[0], PROD[1], ROLLOUT[0]]).to_bytes(),
        ),
        assignment(
            "assignment-of-another-host",
            "wrong-subject",
            "Another host's assignment is not this one's.",
            elsewhere("db-1", FIRST + 1).signed(&ASSIGN).to_bytes(),
        ),
        assignment(
            "assignment-with-an-unknown-requirement",
            "unsupported",
            "An assignment that only a newer agent could obey is not obeyed in part.",
            newer.clone().with("requires", serde_json::json!(["teleportation"])).honest(),
        ),
        assignment(
            "assignment-pinned-to-another-archive",
            "wrong-subject",
            "What an assignment pins is followed with the very archive that it names, or not at all.",
            {
                let pin =
                    serde_json::json!({ "serial": FORGED, "archive": Digest::of(b"another archive").to_string() });
                newer.clone().with("pin", pin).honest()
            },
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
            let removed = canary().with(ASSIGNMENT, newer.with("removed", true).honest());
            let claim = "An assignment that was removed does not come back by a replay of what it said before: the host's own \
                         settings rule, and lead nowhere here.";
            let replayed = canary().with(ASSIGNMENT, elsewhere(HOST, FIRST).honest());
            Forged::new("assignment-removed-then-replayed", claim, removed, Expected::Refusal("not-found".to_owned()))
                .then_refused("replayed", replayed, "rollback")
        },
    ]
}
