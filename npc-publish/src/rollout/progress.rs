//! How far a rollout has got, read off what its members are told and what their hosts say.
//!
//! Nothing of it is kept anywhere else: whoever asks the same store gets the same answer, so a driver that dies loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use npc_core::document::{Member, OutcomeKind, Report, Serial};
use npc_core::name::{AssignmentName, HostName};
use npc_operator::fleet::host::{Heard, Told};
use npc_operator::fleet::standing::{STEADY, failure};

use super::course::Course;

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

    /// By which hosts of a member are told apart: the lower, the further behind.
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

/// How far a member has got, and its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberProgress {
    /// The member.
    pub(crate) assignment: AssignmentName,
    /// How far it has got.
    pub(crate) reached: Reached,
    /// How many hosts it has, one at least.
    pub(crate) hosts: usize,
    /// Why they have failed, for each that has.
    pub(crate) failures: Vec<String>,
}

/// How far a rollout has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Its members, wave by wave.
    pub(crate) waves: Vec<Vec<MemberProgress>>,
}

impl Progress {
    /// The wave that is under way, counted from 0; none when all are done.
    pub(crate) fn wave(&self) -> Option<usize> {
        self.waves.iter().position(|wave| !wave.iter().all(|member| member.reached.is_settled()))
    }

    /// Every member.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&AssignmentName, &Reached)> {
        self.waves.iter().flatten().map(|member| (&member.assignment, &member.reached))
    }

    /// For each host that has failed, its member, and why.
    pub(crate) fn failed(&self) -> impl Iterator<Item = (&AssignmentName, &str)> {
        let members = self.waves.iter().flatten();
        members.flat_map(|member| member.failures.iter().map(|reason| (&member.assignment, reason.as_str())))
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
                let mut progress = self.member_progress(member, sight.get(&member.assignment), now);
                let mut dependencies = self.metadata(member).dependencies.iter();
                let needed = dependencies.find(|host| failed.contains(*host));
                if let (Reached::Waiting, Some(needed)) = (&progress.reached, needed) {
                    progress = of_all(member, Reached::Failed(format!("depends on {needed}, which failed")));
                }
                if progress.reached.failure().is_some() {
                    failed.extend(&member.hosts);
                }
                told.push(progress);
            }
            waves.push(told);
        }
        Progress { waves }
    }

    fn member_progress(&self, member: &Member, seen: Option<&Seen>, now: Timestamp) -> MemberProgress {
        let Some(seen) = seen else { return of_all(member, Reached::Waiting) };
        let reached = match &seen.told {
            Told::Following { following, serial, created } if self.has_told(following) => {
                let hosts = self.hosts_reached(member, seen, *serial, now);
                return self.told_progress(member, seen, *created, &hosts, now);
            }
            Told::Following { following, .. } if self.has_placed(following) => Reached::Waiting,
            Told::Following { following, .. } if self.has_left(following) => Reached::Left,
            Told::Refused(kind) => Reached::Failed(format!("what it is assigned to is refused ({kind})")),
            Told::Removed(serial) if Some(*serial) != member.stood => Reached::Left,
            told if member.is_before(told.following()) => Reached::Waiting,
            _ => Reached::Left,
        };
        of_all(member, reached)
    }

    /// How far each host of a member has got that was told: those that it had when the rollout was planned, without those that
    /// have left the fleet, and those that have come since as soon as they can tell whether the release is well.
    fn hosts_reached<'a>(
        &self,
        member: &'a Member,
        seen: &'a Seen,
        serial: Serial,
        now: Timestamp,
    ) -> BTreeMap<&'a HostName, Reached> {
        let reboot = seen.told.following().and_then(|following| following.orders.as_ref()?.reboot.as_ref());
        let rebooted = reboot.map(|reboot| reboot.boot_id.as_str());
        let planned: BTreeSet<_> = member.hosts.iter().collect();
        let hosts: BTreeSet<_> = planned.iter().copied().chain(seen.heard.keys()).collect();
        let mut all = BTreeMap::new();
        for host in hosts {
            let heard = seen.heard.get(host).unwrap_or(&Heard::Nothing);
            if heard.has_left(now) {
                continue;
            }
            let mut reached = self.host_reached(member, host, serial, heard, rebooted);
            if let (Reached::Done, Some(since)) = (&reached, heard.silent_since(now)) {
                reached = Reached::Lost(format!("silent since {since}"));
            }
            let can_tell = reached.failure().is_some() || matches!(reached, Reached::Soaking | Reached::Done);
            if planned.contains(host) || can_tell {
                all.insert(host, reached);
            }
        }
        all
    }

    /// How far a member has got whose hosts have got so far: as far as the last of them, and failed once nobody is on the way any more.
    fn told_progress(
        &self,
        member: &Member,
        seen: &Seen,
        since: Timestamp,
        hosts: &BTreeMap<&HostName, Reached>,
        now: Timestamp,
    ) -> MemberProgress {
        let (failed, others): (Vec<_>, Vec<_>) = hosts.values().partition(|reached| reached.failure().is_some());
        let mut failures: Vec<_> = failed.iter().filter_map(|reached| reached.failure()).map(str::to_owned).collect();
        let member_progress = |reached: Reached, failures| MemberProgress {
            assignment: member.assignment.clone(),
            reached,
            hosts: hosts.len().max(1),
            failures,
        };
        // One that may be out of order counts rather than one that went back.
        let worst = failed.iter().find(|reached| matches!(reached, Reached::Lost(_))).or(failed.first());
        let trouble = hosts.keys().find_map(|host| self.obstacle(seen.heard.get(*host)?.report()?));
        // A machine that comes and goes may have been ended by the very release: that all are gone proves nothing.
        let all_are_gone = hosts.is_empty() && !member.hosts.is_empty();
        let last = if all_are_gone { Reached::Told } else { last(&others) };
        let last = self.in_time(last, since, trouble.as_deref(), now);
        if let Some(reason) = last.failure() {
            let is_late = |reached: &&&Reached| !matches!(reached, Reached::Done | Reached::NeedsReboot(_));
            failures.extend(std::iter::repeat_n(reason.to_owned(), others.iter().filter(is_late).count().max(1)));
            return member_progress(last, failures);
        }
        // Nobody is on the way any more: then there is nothing to wait for.
        let is_decided = matches!(last, Reached::Soaking | Reached::Done);
        let reached = worst.filter(|_| is_decided).map_or(last, |reached| (*reached).clone());
        member_progress(reached, failures)
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
        let runs = report.runs.as_ref().filter(|runs| runs.is_of(self.intent.archive, &member.configuration));
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

/// What holds of a member as a whole, and so of all of its hosts.
fn of_all(member: &Member, reached: Reached) -> MemberProgress {
    let hosts = member.hosts.len().max(1);
    let failures = reached.failure().map_or_else(Vec::new, |reason| vec![reason.to_owned(); hosts]);
    MemberProgress { assignment: member.assignment.clone(), reached, hosts, failures }
}

/// How far the last of them has got.
fn last(hosts: &[&Reached]) -> Reached {
    let mut last = Reached::Done;
    for reached in hosts {
        match (*reached, &mut last) {
            (Reached::NeedsReboot(more), Reached::NeedsReboot(boots)) => boots.extend(more.clone()),
            (reached, last) if reached.rank() < last.rank() => *last = reached.clone(),
            _ => {}
        }
    }
    last
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
