//! What to do next in a rollout that is running: a decision from what is seen, without any effect.

use std::collections::{BTreeMap, BTreeSet};

use npc_core::document::Member;
use npc_core::name::{AssignmentName, HostName};
use npc_operator::words::shortened;

use super::course::Course;
use super::progress::{Progress, Reached};
use super::reboots::{self, Batch, Candidate};

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Tell these members of this wave, counted from 1.
    Tell(u32, Vec<AssignmentName>),
    /// Have these hosts reboot.
    Reboot(Batch),
    /// Wait for hosts.
    Wait,
    /// Wait for hosts that are down by themselves, for this reason: until they are back, nobody else may be told.
    WaitForDown(String),
    /// Too many have failed, for this reason.
    Fail(String),
    /// All waves are done.
    Complete,
}

/// Hosts that have fallen silent, and the groups that each of them belongs to. Those of the rollout that it has told count by how
/// far they have got.
pub(crate) type Down = BTreeMap<HostName, BTreeSet<String>>;

/// Members by how far they have got.
type Standings<'a> = BTreeMap<&'a AssignmentName, &'a Reached>;

impl Course {
    /// Why it has failed, if more hosts have than may.
    pub(crate) fn failure(&self, progress: &Progress) -> Option<String> {
        let failed = progress.failed().count();
        if failed <= usize::try_from(self.intent.gates.max_failed).unwrap_or(usize::MAX) {
            return None;
        }
        let (name, reason) = progress.failed().next()?;
        let others = if failed == 1 { String::new() } else { format!(" (and {} more)", failed - 1) };
        Some(format!("{name}: {reason}{others}"))
    }

    /// Whether every wave is done, and not too many hosts have failed.
    pub(crate) fn is_complete(&self, progress: &Progress) -> bool {
        progress.wave().is_none() && self.failure(progress).is_none()
    }

    /// What to do next, as long as the rollout is running.
    pub(crate) fn next(&self, progress: &Progress, down: &Down) -> Next {
        if let Some(reason) = self.failure(progress) {
            return Next::Fail(reason);
        }
        let Some(wave) = progress.wave() else { return Next::Complete };
        let standings: Standings<'_> = progress.members().collect();
        let mut out = self.unavailable(&standings, down);
        let told = self.to_be_told(wave, &standings, down, &mut out);
        if !told.is_empty() {
            return Next::Tell(u32::try_from(wave + 1).unwrap_or(u32::MAX), told);
        }
        if let Some(batch) = self.to_be_rebooted(&standings, out) {
            return Next::Reboot(batch);
        }
        let is_under_way =
            |reached: &&Reached| matches!(reached, Reached::Told | Reached::Rebooting | Reached::Soaking);
        if standings.values().any(is_under_way) {
            return Next::Wait;
        }
        if self.is_held_up(wave, &standings) {
            let limits = self.limits();
            let matters = |groups: &BTreeSet<String>| groups.iter().any(|group| limits.contains_key(group.as_str()));
            let silent: Vec<_> =
                down.iter().filter(|(_, groups)| matters(groups)).map(|(host, _)| host.as_str()).collect();
            let silent = shortened(&silent);
            return Next::WaitForDown(format!("nobody else may be told as long as these are silent: {silent}"));
        }
        let first = progress.failed().next().map_or_else(String::new, |(name, reason)| format!(" ({name}: {reason})"));
        Next::Fail(format!(
            "nobody else may be told: too many hosts of a group are out of order, or what others depend on{first}"
        ))
    }

    /// Whether it could go on if nobody were down by himself.
    fn is_held_up(&self, wave: usize, standings: &Standings<'_>) -> bool {
        let nobody = Down::new();
        let mut out = self.unavailable(standings, &nobody);
        !self.to_be_told(wave, standings, &nobody, &mut out).is_empty()
            || self.to_be_rebooted(standings, self.unavailable(standings, &nobody)).is_some()
    }

    /// The members of a wave that may be told now.
    fn to_be_told<'a>(
        &'a self,
        wave: usize,
        standings: &Standings<'_>,
        down: &'a Down,
        out: &mut BTreeMap<&'a str, usize>,
    ) -> Vec<AssignmentName> {
        let (limits, by_host) = (self.limits(), self.by_host());
        // What is more critical waits for what is less, if that is ahead of it: dependencies may turn the order around.
        let mut least_unsettled = None;
        let mut told = Vec::new();
        for member in &self.intent.waves[wave] {
            let criticality = self.metadata(member).orchestration.criticality_level;
            let waits_for_others = least_unsettled.is_some_and(|least| least < criticality);
            let reached = standings[&member.assignment];
            if !reached.is_well() && !reached.is_settled() {
                least_unsettled = Some(least_unsettled.map_or(criticality, |least| criticality.min(least)));
            }
            let needed = self.metadata(member).dependencies.iter().filter_map(|host| by_host.get(host));
            let mut needed = needed.filter(|needed| needed.assignment != member.assignment);
            if waits_for_others
                || *reached != Reached::Waiting
                || !needed.all(|needed| standings[&needed.assignment].is_well())
            {
                continue;
            }
            // Who is down already is not taken out of order.
            let hosts = member.hosts.iter().filter(|host| !down.contains_key(*host)).count();
            if self.groups(member).all(|group| fits(group, hosts, &limits, out)) {
                for group in self.groups(member) {
                    *out.entry(group).or_default() += hosts;
                }
                told.push(member.assignment.clone());
            }
        }
        told
    }

    /// The next hosts to reboot, once nobody is under way who might have to reboot before them.
    fn to_be_rebooted<'a>(&'a self, standings: &Standings<'_>, mut out: BTreeMap<&'a str, usize>) -> Option<Batch> {
        if standings.values().any(|reached| matches!(reached, Reached::Told | Reached::Rebooting)) {
            return None;
        }
        let mut candidates = Vec::new();
        for member in self.members() {
            let Reached::NeedsReboot(boots) = standings[&member.assignment] else { continue };
            // Whoever waits for a reboot is out of order only once told to.
            for group in self.groups(member) {
                out.entry(group).and_modify(|out| *out = out.saturating_sub(member.hosts.len().max(1)));
            }
            candidates.extend(boots.iter().map(|(host, boot)| Candidate {
                host: host.clone(),
                boot: boot.clone(),
                assignment: &member.assignment,
                metadata: self.metadata(member),
            }));
        }
        reboots::next(candidates, &self.limits(), out, usize::MAX)
    }

    /// How many hosts of each group may be out of order at the moment.
    fn unavailable<'a>(&'a self, standings: &Standings<'_>, down: &'a Down) -> BTreeMap<&'a str, usize> {
        let mut out = BTreeMap::new();
        let members = self.by_host();
        let is_counted = |host| members.get(host).is_some_and(|member| standings[&member.assignment].is_unavailable());
        for group in down.iter().filter(|(host, _)| !is_counted(*host)).flat_map(|(_, groups)| groups) {
            *out.entry(group.as_str()).or_default() += 1;
        }
        let unavailable = |member: &&Member| standings[&member.assignment].is_unavailable();
        for member in self.members().filter(unavailable) {
            for group in self.groups(member) {
                *out.entry(group).or_default() += member.hosts.len().max(1);
            }
        }
        out
    }
}

/// Whether so many hosts more of a group may be out of order. What is larger than the limit by itself goes alone.
pub(super) fn fits(group: &str, hosts: usize, limits: &BTreeMap<&str, usize>, out: &BTreeMap<&str, usize>) -> bool {
    let already = out.get(group).copied().unwrap_or(0);
    limits.get(group).is_none_or(|limit| already == 0 || already + hosts <= *limit)
}
