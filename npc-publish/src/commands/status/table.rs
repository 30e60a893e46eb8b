//! All hosts, a line each.

use jiff::Timestamp;
use npc_core::document::Outcome;
use npc_core::fleet::KeyStanding;
use npc_operator::fleet::standing::{STEADY, clock_words};
use npc_operator::fleet::{Host, Standing};
use npc_operator::words;

use crate::console;

/// How much of a commit is shown.
const REV: usize = 12;

/// How many characters of a message are.
const MESSAGE: usize = 60;

const HEAD: [&str; 8] = ["HOST", "STATE", "SHOULD RUN", "RUNS", "FOR", "LAST OUTCOME", "SEEN", ""];

pub(super) fn lines(hosts: &[&Host], now: Timestamp) -> Vec<String> {
    let head = HEAD.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(hosts.iter().map(|host| row(host, now))).collect();
    console::columns(&rows)
}

fn row(host: &Host, now: Timestamp) -> Vec<String> {
    let report = host.heard.report();
    let since = report.and_then(|report| report.runs.as_ref()?.since);
    let outcome = report.and_then(|report| report.outcomes.first());
    vec![
        host.name.to_string(),
        host.standing.word().to_owned(),
        should_run(host),
        runs(host),
        since.map_or_else(String::new, |since| words::ago(since, now)),
        outcome.map_or_else(String::new, |outcome| {
            format!("{} {} ago", outcome_word(outcome), words::ago(outcome.at, now))
        }),
        host.heard.at().map_or("never".to_owned(), |at| format!("{} ago", words::ago(at, now))),
        remarks(host).join(", "),
    ]
}

/// What tells one state of a host from another.
pub(super) fn in_a_line(host: &Host) -> String {
    let phase = host.heard.report().map_or_else(String::new, |report| format!(" ({})", report.phase));
    let words =
        format!("{}: {}{phase}, runs {}, should run {}", host.name, host.standing.word(), runs(host), should_run(host));
    words::printable(&words)
}

/// `prod@3 0123456789ab`.
pub(super) fn should_run(host: &Host) -> String {
    let Some(wanted) = &host.wanted else { return "?".to_owned() };
    match &wanted.release {
        Ok(release) => with_rev(&format!("{}@{}", wanted.remote, release.serial), release.rev.as_deref()),
        Err(_) => format!("{} ?", wanted.remote),
    }
}

/// Likewise; a system that npc knows nothing of by the name of its store path.
pub(super) fn runs(host: &Host) -> String {
    let Some(runs) = host.heard.report().and_then(|report| report.runs.as_ref()) else { return "?".to_owned() };
    match (&runs.remote, runs.serial) {
        (Some(remote), Some(serial)) => with_rev(&format!("{remote}@{serial}"), runs.rev.as_deref()),
        _ => runs.system.rsplit('/').next().unwrap_or(&runs.system).chars().take(32).collect(),
    }
}

fn with_rev(release: &str, rev: Option<&str>) -> String {
    let Some(rev) = rev else { return release.to_owned() };
    let dirty = if rev.ends_with('+') && rev.len() > REV { "+" } else { "" };
    format!("{release} {}{dirty}", rev.chars().take(REV).collect::<String>())
}

/// Its kind, and that of the error.
pub(super) fn outcome_word(outcome: &Outcome) -> String {
    let kind = serde_json::to_value(outcome.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    let kind = kind.unwrap_or_else(|| "?".to_owned());
    outcome.error.as_ref().map_or(kind.clone(), |error| format!("{kind} {error}"))
}

/// As much of a message as a line has room for.
fn shortened(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    if line.chars().count() <= MESSAGE {
        return line.to_owned();
    }
    line.chars().take(MESSAGE - 1).chain(['…']).collect()
}

/// What else an operator should see.
fn remarks(host: &Host) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Standing::Failed(problem) | Standing::Trouble(problem) = &host.standing {
        remarks.push(format!("{}: {}", problem.kind, shortened(&problem.message)));
    }
    if let Some(report) = host.heard.report() {
        if report.phase != STEADY {
            remarks.push(report.phase.clone());
        }
        let said = [
            (report.boot_unproven, "boot unproven"),
            (report.reboot_needed, "reboot needed"),
            (report.paused && host.standing != Standing::Paused, "paused"),
        ];
        remarks.extend(said.into_iter().filter(|(is_so, _)| *is_so).map(|(_, words)| words.to_owned()));
        if !report.failed_units.is_empty() {
            remarks.push(format!("{} failed units", report.failed_units.len()));
        }
        if let Some(last) = report.quarantined.first() {
            let reason = match host.standing {
                Standing::Failed(_) => String::new(),
                _ => format!(" ({}: {})", last.kind, shortened(&last.message)),
            };
            remarks.push(format!("{} in quarantine{reason}", report.quarantined.len()));
        }
    }
    remarks.extend(host.heard.clock_differs().map(|by| format!("clock {}", clock_words(by))));
    match host.heard.key() {
        Some(KeyStanding::Wrong) => remarks.push("wrong key".to_owned()),
        Some(KeyStanding::Unpinned) => remarks.push("key not pinned".to_owned()),
        Some(KeyStanding::Pinned) | None => {}
    }
    remarks
}
