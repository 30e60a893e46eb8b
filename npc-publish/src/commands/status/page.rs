//! One host in full.

use jiff::Timestamp;
use npc_core::document::{Outcome, Report};
use npc_operator::fleet::host::{Heard, Told, key_word};
use npc_operator::fleet::{Host, standing};
use npc_operator::words;

use super::table::{outcome_word, runs, should_run};

/// How wide the names of fields are.
const WIDTH: usize = 14;

pub(super) fn lines(host: &Host, now: Timestamp) -> Vec<String> {
    let mut lines = vec![field("host", host.name.as_str()), field("state", &standing::why(host, now))];
    lines.push(field("assigned", &assigned(host, now)));
    lines.push(field("should run", &should_run(host)));
    lines.push(field("runs", &runs(host)));
    let groups: Vec<_> = host.metadata.groups.iter().map(String::as_str).collect();
    lines.extend(some("role", host.metadata.role.as_deref().unwrap_or_default()));
    lines.extend(some("groups", &groups.join(", ")));
    match &host.heard {
        Heard::Nothing => {}
        Heard::Refused { kind, .. } => lines.push(field("report", &format!("refused ({kind})"))),
        Heard::Report { header, report, key, .. } => {
            let at = host.heard.at().unwrap_or(header.created);
            lines.push(field("seen", &format!("{at} ({} ago)", words::ago(at, now))));
            lines.extend(host.heard.clock_differs().map(|by| field("clock", &standing::clock_words(by))));
            lines.push(field("key", &format!("{}{}", key_word(*key), claimed(host))));
            lines.push(field("trust", &format!("version {}", header.trust)));
            said(&mut lines, report);
        }
    }
    lines
}

fn said(lines: &mut Vec<String>, report: &Report) {
    lines.push(field("agent", &report.agent_version));
    lines.push(field("instance", &report.instance));
    lines.push(field("boot", &report.boot_id));
    lines.push(field("phase", &report.phase));
    lines.extend(report.runs.as_ref().map(|runs| field("system", &runs.system)));
    let addresses: Vec<_> = report.addresses.iter().map(ToString::to_string).collect();
    lines.extend(some("addresses", &addresses.join(", ")));
    let flags = [
        (report.paused, "paused"),
        (report.reboot_needed, "reboot needed"),
        (report.boot_unproven, "boot unproven"),
        (report.ephemeral, "ephemeral"),
    ];
    let flags: Vec<_> = flags.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word).collect();
    lines.extend(some("remarks", &flags.join(", ")));
    lines.extend(some("failed units", &report.failed_units.join(", ")));
    lines.extend(
        report
            .trouble
            .as_ref()
            .map(|trouble| field("trouble", &format!("{} since {}: {}", trouble.kind, trouble.since, trouble.message))),
    );
    for entry in &report.quarantined {
        let words = format!("{} at {} ({}): {}", entry.system, entry.at, entry.kind, entry.message);
        lines.push(field("quarantined", &words));
    }
    for key in &report.ssh_host_keys {
        lines.push(field("ssh key", key));
    }
    for outcome in &report.outcomes {
        history(lines, outcome);
    }
}

fn history(lines: &mut Vec<String>, outcome: &Outcome) {
    lines.push(field("outcome", &format!("{} {}: {}", outcome.at, outcome_word(outcome), outcome.message)));
    let log = outcome.log.as_deref().unwrap_or_default();
    lines.extend(log.lines().map(|line| format!("{:WIDTH$}| {}", "", words::printable(line))));
}

fn assigned(host: &Host, now: Timestamp) -> String {
    let by = if host.shares_its_assignment() { format!(" by `{}`", host.assignment) } else { String::new() };
    match &host.told {
        Told::Nothing => "never: follows its own settings".to_owned(),
        Told::Removed(_) => "no more: follows its own settings".to_owned(),
        Told::Refused(kind) => format!("something that is refused ({kind}){by}"),
        Told::Following { following, serial, created } => {
            let pin = following.pin.map(|pin| format!("@{}", pin.serial)).unwrap_or_default();
            let paused = if following.paused { ", paused" } else { "" };
            let rollout = following.rollout.as_ref();
            let rollout =
                rollout.map_or_else(String::new, |place| format!(", wave {} of rollout {}", place.wave, place.id));
            let ago = words::ago(*created, now);
            format!(
                "to {}{pin} {}{by}{paused}{rollout} ({serial}, {ago} ago)",
                following.remote, following.configuration
            )
        }
    }
}

fn claimed(host: &Host) -> String {
    host.claimed.as_ref().map_or_else(String::new, |key| format!(" {key}"))
}

fn field(name: &str, value: &str) -> String {
    format!("{name:WIDTH$}{}", words::printable(value))
}

fn some(name: &str, value: &str) -> Option<String> {
    (!value.is_empty()).then(|| field(name, value))
}
