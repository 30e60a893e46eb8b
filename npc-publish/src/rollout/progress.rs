//! How far a rollout has got, read off what its members are told and what their hosts say.
//!
//! Nothing of it is kept anywhere else: whoever asks the same store gets the same answer, so a driver that dies loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use npc_core::document::{Member, OutcomeKind, Report, Serial};
use npc_core::name::{AssignmentName, HostName};

use super::course::Course;
use crate::fleet::host::{Heard, Told};
use crate::fleet::standing::{STEADY, failure};

/// Kinds of errors that may pass by themselves: a host that meets one is given until its time is over.
const PASSING: [&str; 8] = [
    "unavailable",
    "contended",
    "interrupted",
    "switch-in-progress",
    "no-memory",
    "no-space-in-store",
    "no-space-in-boot",
    "disk-full",
];

/// What is known of a member now.
#[derive(Debug)]
pub(crate) struct Seen {
    /// What it is told.
    pub(crate) told: Told,
    /// What its hosts say, as far as that was asked for.
    pub(crate) heard: BTreeMap<HostName, Heard>,
}

/// What is known of all members.
pub(crate) type Sight = BTreeMap<AssignmentName, Seen>;

/// How far a member has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It has not been told.
    Waiting,
    /// It was told, and is not there yet.
    Told,
    /// It is there, and one of its hosts was told to reboot.
    Rebooting,
    /// It is there, and these of its hosts need a reboot, each of which runs that boot.
    NeedsReboot(BTreeMap<HostName, String>),
    /// It is there and well, but not for long enough.
    Soaking,
    /// It is there, and has been well for long enough.
    Done,
    /// It is not, and went back to what it ran before, for this reason.
    Failed(String),
    /// It is not, and may be out of order, for this reason.
    Lost(String),
    /// Somebody has taken it out of the rollout.
    Left,
}

impl Reached {
    /// Its stable word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Told => "told",
            Self::Rebooting => "rebooting",
            Self::NeedsReboot(_) => "needs-reboot",
            Self::Soaking => "soaking",
            Self::Done => "done",
            Self::Failed(_) | Self::Lost(_) => "failed",
            Self::Left => "left",
        }
    }

    /// Whether the wave need not wait for it any more.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_) | Self::Lost(_) | Self::Left)
    }

    /// Whether those that depend on it may be told.
    pub(super) fn is_well(&self) -> bool {
        matches!(self, Self::Soaking | Self::Done | Self::Left)
    }

    /// Whether it may be out of order at the moment.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Told | Self::Rebooting | Self::NeedsReboot(_) | Self::Lost(_))
    }

    /// Why it has failed, if it has.
    pub(crate) fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed(reason) | Self::Lost(reason) => Some(reason),
            _ => None,
        }
    }

    /// Of several hosts of a member, the one that is furthest behind counts.
    fn rank(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Lost(_) => 0,
            Self::Waiting | Self::Left => 1,
            Self::Told => 2,
            Self::Rebooting => 3,
            Self::NeedsReboot(_) => 4,
            Self::Soaking => 5,
            Self::Done => 6,
        }
    }
}

/// How far a rollout has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Its members, wave by wave.
    pub(crate) waves: Vec<Vec<(AssignmentName, Reached)>>,
}

impl Progress {
    /// The wave that is under way, counted from 0; none when all are done.
    pub(crate) fn wave(&self) -> Option<usize> {
        self.waves.iter().position(|wave| !wave.iter().all(|(_, reached)| reached.is_settled()))
    }

    /// Every member.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&AssignmentName, &Reached)> {
        self.waves.iter().flatten().map(|(name, reached)| (name, reached))
    }

    /// Those that have failed, and why.
    pub(crate) fn failed(&self) -> impl Iterator<Item = (&AssignmentName, &str)> {
        self.members().filter_map(|(name, reached)| Some((name, reached.failure()?)))
    }
}

impl Course {
    /// How far it has got.
    pub(crate) fn progress(&self, sight: &Sight, now: Timestamp) -> Progress {
        let mut failed: BTreeSet<&HostName> = BTreeSet::new();
        let mut waves = Vec::new();
        // Members come after all that they depend on.
        for wave in &self.intent.waves {
            let mut told = Vec::new();
            for member in wave {
                let mut reached = self.reached(member, sight.get(&member.assignment), now);
                let mut dependencies = self.metadata(member).dependencies.iter();
                if let (Reached::Waiting, Some(needed)) = (&reached, dependencies.find(|host| failed.contains(*host))) {
                    reached = Reached::Failed(format!("depends on {needed}, which failed"));
                }
                if reached.failure().is_some() {
                    failed.extend(&member.hosts);
                }
                told.push((member.assignment.clone(), reached));
            }
            waves.push(told);
        }
        Progress { waves }
    }

    fn reached(&self, member: &Member, seen: Option<&Seen>, now: Timestamp) -> Reached {
        let Some(seen) = seen else { return Reached::Waiting };
        let (since, serial) = match &seen.told {
            Told::Following { following, serial, created } if self.has_told(following) => (*created, *serial),
            Told::Following { following, .. } if self.has_placed(following) => return Reached::Waiting,
            Told::Following { following, .. } if self.has_left(following) => return Reached::Left,
            Told::Refused(kind) => return Reached::Failed(format!("what it is assigned to is refused ({kind})")),
            Told::Removed(when) if *when > self.intent.begun => return Reached::Left,
            told if member.is_before(told.following()) => return Reached::Waiting,
            _ => return Reached::Left,
        };
        let reboot = seen.told.following().and_then(|following| following.orders.as_ref()?.reboot.as_ref());
        let rebooted = reboot.map(|reboot| reboot.boot_id.as_str());
        let (mut least, mut trouble, mut present) = (Reached::Done, None, 0);
        for host in &member.hosts {
            let heard = seen.heard.get(host).unwrap_or(&Heard::Nothing);
            if heard.has_left(now) {
                continue;
            }
            present += 1;
            let mut reached = self.host_reached(member, host, serial, heard, rebooted);
            if let (Reached::Done, Some(since)) = (&reached, heard.silent_since(now)) {
                reached = Reached::Lost(format!("silent since {since}"));
            }
            trouble = trouble.or_else(|| self.obstacle(heard.report()?));
            match (reached, &mut least) {
                (failed, _) if failed.failure().is_some() => return failed,
                (Reached::NeedsReboot(more), Reached::NeedsReboot(boots)) => boots.extend(more),
                (reached, least) if reached.rank() < least.rank() => *least = reached,
                _ => {}
            }
        }
        // A machine that comes and goes may have been ended by the very release: that all are gone proves nothing.
        if present == 0 && !member.hosts.is_empty() {
            least = Reached::Told;
        }
        self.in_time(least, since, trouble.as_deref(), now)
    }

    /// The same, unless it has taken too long, or not long enough: by the operator's clock, since hosts' clocks jump.
    fn in_time(&self, least: Reached, since: Timestamp, trouble: Option<&str>, now: Timestamp) -> Reached {
        let gates = self.intent.gates;
        let told_for = u64::try_from(now.duration_since(since).as_secs()).unwrap_or(0);
        if least == Reached::Done && told_for < gates.soak {
            return Reached::Soaking;
        }
        // Whoever waits for its turn to reboot is not late.
        if matches!(least, Reached::Done | Reached::NeedsReboot(_)) {
            return least;
        }
        let patience = match least {
            Reached::Soaking => gates.timeout.saturating_add(gates.soak.saturating_mul(2)),
            _ => gates.timeout,
        };
        if told_for > patience {
            let trouble = trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            return Reached::Lost(format!("not there after {patience} s{trouble}"));
        }
        least
    }

    /// What keeps a host from getting there, as far as it says so.
    fn obstacle(&self, report: &Report) -> Option<String> {
        if report.boot_unproven && report.reboot_needed && !self.intent.gates.reboot {
            return Some("it waits for a reboot, which --reboot would have ordered".to_owned());
        }
        report.trouble.as_ref().map(|trouble| format!("{}: {}", trouble.kind, trouble.message))
    }

    fn host_reached(
        &self,
        member: &Member,
        host: &HostName,
        serial: Serial,
        heard: &Heard,
        rebooted: Option<&str>,
    ) -> Reached {
        let Heard::Report { header, report, .. } = heard else { return Reached::Told };
        let Some(obeyed) = &report.obeys else { return Reached::Told };
        let believes = obeyed.release.is_some_and(|release| release == self.intent.release);
        // A host that stays where it was names the new assignment, but another remote.
        if obeyed.assignment < Some(serial) || obeyed.remote != self.intent.remote || !believes {
            return Reached::Told;
        }
        if let Some(reason) = self.release_failure(member, report) {
            return Reached::Failed(reason);
        }
        // Some systems can only be booted into: until then, the one before runs.
        if report.boot_unproven && report.phase == STEADY && self.intent.gates.reboot && report.reboot_needed {
            return needs_reboot(member, host, report, rebooted);
        }
        let runs = report.runs.as_ref().filter(|runs| runs.archive == Some(self.intent.archive));
        let Some(runs) = runs.filter(|_| report.phase == STEADY) else { return Reached::Told };
        let newly: Vec<_> = report
            .failed_units
            .iter()
            .filter(|unit| !member.failed_units.contains(*unit))
            .map(String::as_str)
            .collect();
        if !newly.is_empty() {
            return Reached::Lost(format!("failed units: {}", newly.join(", ")));
        }
        if report.reboot_needed && self.intent.gates.reboot {
            return needs_reboot(member, host, report, rebooted);
        }
        let Some(since) = self.well_since(report, runs.since) else { return Reached::Soaking };
        // Both by the host's own clock.
        let well = header.created.duration_since(since);
        let soak = i64::try_from(self.intent.gates.soak).map_or(SignedDuration::MAX, SignedDuration::from_secs);
        if well >= soak { Reached::Done } else { Reached::Soaking }
    }

    /// Since when the host has run this release.
    fn well_since(&self, report: &Report, since: Option<Timestamp>) -> Option<Timestamp> {
        let reached = report.outcomes.iter().find(|outcome| {
            outcome.is_about(&self.intent.remote, self.intent.release.serial)
                && matches!(outcome.kind, OutcomeKind::Committed | OutcomeKind::Adopted)
        });
        reached.map(|outcome| outcome.at).max(since)
    }

    /// Why the release will not come to run on the host, if it will not.
    fn release_failure(&self, member: &Member, report: &Report) -> Option<String> {
        let problem = failure(&self.wanted(&member.configuration).ok()?, report)?;
        (!PASSING.contains(&problem.kind.as_str())).then(|| format!("{}: {}", problem.kind, problem.message))
    }
}

/// How far a host is that has to reboot.
fn needs_reboot(member: &Member, host: &HostName, report: &Report, rebooted: Option<&str>) -> Reached {
    match rebooted {
        Some(boot) if boot == report.boot_id => Reached::Rebooting,
        // Where several hosts share an assignment, the reboot may have been another's.
        Some(_) if member.hosts.len() == 1 => Reached::Lost("needs a reboot even after one".to_owned()),
        _ => Reached::NeedsReboot(BTreeMap::from([(host.clone(), report.boot_id.clone())])),
    }
}
