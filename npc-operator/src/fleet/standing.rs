//! How a host is: whether it runs what it should, and if not, why.

use jiff::{SignedDuration, Timestamp};
use npc_core::document::{Outcome, OutcomeKind, Report};
use npc_core::fleet::KeyStanding;

use super::host::{Heard, Host, Told, Wanted, WantedRelease};
use crate::words;

/// The phase of an agent that has nothing under way.
pub const STEADY: &str = "steady";

/// How a host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It runs what it should.
    Current,
    /// It is on its way there.
    Working,
    /// It has not taken in yet what it should run.
    Behind,
    /// It was told to change nothing, and there would be something to change.
    Paused,
    /// What it should run failed on it.
    Failed(Problem),
    /// The store brings it nothing that it could act upon.
    Trouble(Problem),
    /// It runs something else, which somebody activated on it.
    ByHand,
    /// It was to report again by now.
    Silent(Timestamp),
    /// What it says, or seems to say, is not to be believed, for this kind of reason.
    Refused(&'static str),
    /// It has never reported.
    Unknown,
    /// What it is told to follow leads nowhere.
    Misled,
    /// Two machines report under its name.
    Rivals,
}

/// What is wrong, in the host's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable kind of the error.
    pub kind: String,
    /// A sentence.
    pub message: String,
}

impl Problem {
    fn of(outcome: &Outcome) -> Self {
        let kind = outcome.error.clone().unwrap_or_else(|| "failed".to_owned());
        Self { kind, message: outcome.message.clone() }
    }
}

impl Standing {
    /// Its stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Working => "working",
            Self::Behind => "behind",
            Self::Paused => "paused",
            Self::Failed(_) => "failed",
            Self::Trouble(_) => "trouble",
            Self::ByHand => "by-hand",
            Self::Silent(_) => "silent",
            Self::Refused(_) => "refused",
            Self::Unknown => "unknown",
            Self::Misled => "misled",
            Self::Rivals => "rivals",
        }
    }

    /// Whether nobody need look at it.
    pub fn is_well(&self) -> bool {
        *self == Self::Current
    }
}

/// Judges a host by what it is told and what it says.
pub(super) fn judge(host: &Host, now: Timestamp) -> Standing {
    let report = match &host.heard {
        Heard::Nothing => return Standing::Unknown,
        Heard::Refused { kind, .. } => return Standing::Refused(kind),
        Heard::Report { report, .. } => report,
    };
    if let Some(since) = host.heard.silent_since(now) {
        return Standing::Silent(since);
    }
    let trouble = report.trouble.as_ref();
    let trouble = trouble.map(|trouble| Problem { kind: trouble.kind.clone(), message: trouble.message.clone() });
    let Some(wanted) = host.wanted_release() else { return trouble.map_or(Standing::Misled, Standing::Trouble) };
    if let Some(problem) = failure(wanted, report) {
        return Standing::Failed(problem);
    }
    if let Some(trouble) = trouble {
        return Standing::Trouble(trouble);
    }
    let runs_it = runs(wanted, report);
    if runs_it && has_seen(wanted, report) && report.phase == STEADY {
        return Standing::Current;
    }
    let is_paused = report.paused || host.told.following().is_some_and(|following| following.paused);
    match () {
        () if is_paused => Standing::Paused,
        () if report.phase != STEADY => Standing::Working,
        () if has_seen(wanted, report) && report.runs.as_ref().is_some_and(|runs| runs.archive.is_none()) => {
            if report.boot_unproven { Standing::Working } else { Standing::ByHand }
        }
        () => Standing::Behind,
    }
}

/// Whether the host believes in this release.
pub fn has_seen(wanted: &WantedRelease, report: &Report) -> bool {
    let believed = report.obeys.as_ref().and_then(|obeyed| obeyed.release);
    believed.is_some_and(|believed| believed.digest == wanted.digest)
}

/// Whether the host runs this configuration of this release.
pub fn runs(wanted: &WantedRelease, report: &Report) -> bool {
    report.runs.as_ref().is_some_and(|runs| runs.is_of(wanted.archive.sha256, &wanted.configuration))
}

/// How this release failed on the host, if it did.
pub fn failure(wanted: &WantedRelease, report: &Report) -> Option<Problem> {
    if !has_seen(wanted, report) {
        return None;
    }
    let quarantined = report.quarantined.iter().find(|entry| wanted.systems.contains(&entry.system));
    if let Some(entry) = quarantined {
        return Some(Problem { kind: entry.kind.clone(), message: entry.message.clone() });
    }
    let last = report.outcomes.first().filter(|last| last.is_about(&wanted.remote, wanted.serial))?;
    let has_failed = matches!(
        last.kind,
        OutcomeKind::Failed | OutcomeKind::RolledBack | OutcomeKind::Stranded | OutcomeKind::Refused
    );
    (has_failed && !runs(wanted, report)).then(|| Problem::of(last))
}

/// Why the host does not run the latest release, in a sentence.
pub fn why(host: &Host, now: Timestamp) -> String {
    let name = &host.name;
    let ago = |time: Timestamp| words::ago(time, now);
    let should = host.wanted_release().zip(host.remote());
    let should = should.map_or("what it should".to_owned(), |(wanted, remote)| format!("{remote}@{}", wanted.serial));
    let sentence = match &host.standing {
        Standing::Current => format!("{name} runs {should}, which is what it should{}", current_but(host)),
        Standing::Working => {
            let phase = host.heard.report().map_or_else(String::new, |report| report.phase.clone());
            if phase == STEADY {
                format!("{name} has made {should} its boot default and runs the system before it until it is rebooted")
            } else {
                format!("{name} is on its way to {should}: it is in phase `{phase}`")
            }
        }
        Standing::Behind => {
            let age = host
                .wanted_release()
                .map_or_else(String::new, |wanted| format!(", which was published {} ago", ago(wanted.created)));
            let seen = host.heard.at().map_or_else(String::new, |at| format!("; it last reported {} ago", ago(at)));
            format!("{name} has not taken in {should} yet{age}{seen}")
        }
        Standing::Paused => {
            let by = if host.told.following().is_some_and(|following| following.paused) {
                "by its assignment: `npc-publish hosts resume`"
            } else {
                "on the host itself: `npc-agent resume` there"
            };
            format!("{name} is paused {by} lets it go to {should}")
        }
        Standing::Failed(Problem { kind, message }) => {
            format!("{name} does not run {should} because that failed there ({kind}): {message}")
        }
        Standing::Trouble(Problem { kind, message }) => {
            format!("{name} cannot act upon what the store holds ({kind}): {message}")
        }
        Standing::ByHand => format!("{name} runs a system that somebody activated on it by hand, not {should}"),
        Standing::Silent(since) => format!(
            "nobody knows: {name} was last heard of {} ago, and should have reported again; it is off, cut off from the \
             store, or may not write its report",
            ago(*since)
        ),
        Standing::Refused(kind) => refused(host, kind),
        Standing::Unknown => {
            format!("nobody knows: {name} has never reported; it was never started, or may not write its report")
        }
        Standing::Misled => misled(host),
        Standing::Rivals => format!(
            "two machines report as {name}, each with a key and an instance of its own; one of them is a copy: give it another \
             name, or switch it off"
        ),
    };
    words::printable(&sentence)
}

fn current_but(host: &Host) -> &'static str {
    match host.heard.report() {
        Some(report) if report.boot_unproven => "; its boot is yet to prove itself",
        Some(report) if report.reboot_needed => "; it needs a reboot",
        _ => "",
    }
}

fn refused(host: &Host, kind: &str) -> String {
    let name = &host.name;
    match host.heard.key() {
        Some(KeyStanding::Wrong) => format!(
            "nobody knows: what reports as {name} signs with another key than the pinned one; if the machine was made anew, \
             `npc-publish hosts pin {name} --force`"
        ),
        _ => format!("nobody knows: what reports as {name} is not to be believed ({kind})"),
    }
}

fn misled(host: &Host) -> String {
    let name = &host.name;
    let leads_to_none = |wanted: &Wanted| wanted.release.as_ref().err().map(|none| none.words(wanted));
    match (&host.told, host.wanted.as_ref().and_then(leads_to_none)) {
        (Told::Refused(kind), _) => {
            format!("what {name} is assigned to is refused ({kind}); it keeps to what it was told before")
        }
        (_, Some(reason)) => format!("{name} has nothing to run: {reason}"),
        (_, None) => format!("{name} does not say what it follows"),
    }
}

/// `3m behind`.
pub fn clock_words(difference: SignedDuration) -> String {
    let word = if difference.is_negative() { "behind" } else { "ahead" };
    let now = Timestamp::UNIX_EPOCH;
    let later = now.checked_add(difference.abs()).unwrap_or(Timestamp::MAX);
    format!("{} {word}", words::ago(now, later))
}
