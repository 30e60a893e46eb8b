//! Which hosts reboot together: those with the lowest order first, as many as are allowed to be out of order at once.

use std::collections::{BTreeMap, BTreeSet};

use npc_core::document::Metadata;
use npc_core::name::{AssignmentName, HostName};

use super::next::fits;

/// A host that is to be rebooted.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<'a> {
    /// The host.
    pub(crate) host: HostName,
    /// The boot that it runs.
    pub(crate) boot: String,
    /// The assignment that can tell it. One assignment tells one host at a time.
    pub(crate) assignment: &'a AssignmentName,
    /// What is on record of it.
    pub(crate) metadata: &'a Metadata,
}

/// Hosts that reboot together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The hosts, each with the boot that is to end.
    pub(crate) hosts: Vec<(HostName, String)>,
    /// How many seconds to leave between the hosts before being back, and this.
    pub(crate) delay: u64,
}

/// The hosts that reboot next; none if there is no candidate. `out` counts the hosts of each group that are out of order already.
pub(crate) fn next<'a>(
    mut candidates: Vec<Candidate<'a>>,
    limits: &BTreeMap<&str, usize>,
    mut out: BTreeMap<&'a str, usize>,
    most: usize,
) -> Option<Batch> {
    candidates.sort_by(|one, two| (one.metadata.reboot_order, &one.host).cmp(&(two.metadata.reboot_order, &two.host)));
    let order = candidates.first()?.metadata.reboot_order;
    let (mut hosts, mut told, mut delay) = (Vec::new(), BTreeSet::new(), 0);
    for candidate in candidates.into_iter().filter(|candidate| candidate.metadata.reboot_order == order) {
        let groups = &candidate.metadata.groups;
        let is_free = groups.iter().all(|group| fits(group, 1, limits, &out)) && !told.contains(candidate.assignment);
        if hosts.len() >= most || !is_free {
            continue;
        }
        for group in groups {
            *out.entry(group).or_default() += 1;
        }
        told.insert(candidate.assignment);
        delay = candidate.metadata.orchestration.reboot_delay.max(delay);
        hosts.push((candidate.host, candidate.boot));
    }
    (!hosts.is_empty()).then_some(Batch { hosts, delay })
}

/// How many hosts of each group may be out of order at once: the least that any of them says.
pub(crate) fn limits<'a>(hosts: impl Iterator<Item = &'a Metadata>) -> BTreeMap<&'a str, usize> {
    let mut limits: BTreeMap<&str, usize> = BTreeMap::new();
    for (group, limit) in hosts.flat_map(|metadata| &metadata.orchestration.max_unavailable) {
        let limit = usize::try_from(*limit).unwrap_or(usize::MAX).max(1);
        limits.entry(group).and_modify(|least| *least = limit.min(*least)).or_insert(limit);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(order: i64, groups: &[&str]) -> Metadata {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Metadata { reboot_order: order, groups, ..Metadata::default() }
    }

    fn names(hosts: &[(&str, &Metadata)], limits: &[(&str, usize)], most: usize) -> Vec<String> {
        let assignments: Vec<AssignmentName> = hosts.iter().map(|(name, _)| name.parse().expect("a name")).collect();
        let candidates = hosts.iter().zip(&assignments).map(|((name, metadata), assignment)| Candidate {
            host: name.parse().expect("a name"),
            boot: "one".to_owned(),
            assignment,
            metadata,
        });
        let limits = limits.iter().copied().collect();
        let chosen = next(candidates.collect(), &limits, BTreeMap::new(), most);
        chosen.map_or_else(Vec::new, |batch| batch.hosts.into_iter().map(|(host, _)| host.to_string()).collect())
    }

    #[test]
    fn lower_orders_reboot_before_higher_ones_and_groups_keep_their_limits() {
        let (early, late) = (metadata(1, &["web"]), metadata(2, &["web"]));
        let hosts = [("c", &early), ("a", &late), ("b", &early), ("d", &early)];
        assert_eq!(names(&hosts, &[], usize::MAX), ["b", "c", "d"]);
        assert_eq!(names(&hosts, &[("web", 2)], usize::MAX), ["b", "c"]);
        assert_eq!(names(&hosts, &[], 1), ["b"]);
        assert_eq!(names(&hosts[1..2], &[], 1), ["a"], "once the earlier ones are back");
        assert_eq!(names(&[], &[], 1), Vec::<String>::new());
    }

    #[test]
    fn one_assignment_tells_one_host_at_a_time() {
        let (plain, assignment) = (Metadata::default(), "scaling".parse().expect("a name"));
        let candidate = |name: &str| Candidate {
            host: name.parse().expect("a name"),
            boot: name.to_owned(),
            assignment: &assignment,
            metadata: &plain,
        };
        let chosen = next(vec![candidate("b"), candidate("a")], &BTreeMap::new(), BTreeMap::new(), usize::MAX);
        let hosts = vec![("a".parse().expect("a name"), "a".to_owned())];
        assert_eq!(chosen, Some(Batch { hosts, delay: 0 }));
    }
}
