//! Which hosts are told in which wave.
//!
//! Hosts go in an order of their own: one after all that it depends on, and what is more critical after what is less, as far as
//! dependencies let it. Hosts that are recreated rather than rolled stay together with all of their role and groups. Waves are
//! then cut from that order, so that a wave never holds a host whose dependencies come later.

use std::collections::{BTreeMap, BTreeSet};

use npc_core::document::{CriticalityLevel, DeployStrategy, Extent, Member, Metadata};
use npc_core::name::HostName;
use npc_operator::failure::Failure;
use thiserror::Error;

/// A member, with what the release says of it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The member.
    pub(crate) member: Member,
    /// What is known of its hosts.
    pub(crate) metadata: Metadata,
}

/// Hosts that cannot be put in an order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("these hosts depend on each other in a circle: {}", names(.0))]
pub(crate) struct Circle(BTreeSet<HostName>);

fn names(hosts: &BTreeSet<HostName>) -> String {
    hosts.iter().map(HostName::as_str).collect::<Vec<_>>().join(", ")
}

/// The extents of all waves, unless they would leave somebody out.
pub(crate) fn check(extents: &[Extent]) -> Result<(), Failure> {
    if extents.last() == Some(&Extent::ALL) {
        return Ok(());
    }
    Err(Failure::usage("the last of --waves is not 100%: some hosts would never be told"))
}

/// Members that are told at the same time.
#[derive(Debug)]
struct Unit {
    members: Vec<Candidate>,
    criticality: CriticalityLevel,
}

impl Unit {
    fn hosts(&self) -> usize {
        self.members.iter().map(|candidate| candidate.member.hosts.len().max(1)).sum()
    }
}

/// Cuts waves from members in their order. Waves that would be empty are left out.
pub(crate) fn plan(candidates: Vec<Candidate>, extents: &[Extent]) -> Result<Vec<Vec<Member>>, Circle> {
    let units = in_order(units(candidates))?;
    let total = units.iter().map(Unit::hosts).sum();
    let mut reaches = extents.iter().map(|extent| extent.of(total));
    let (mut reach, mut told) = (reaches.next().unwrap_or(total), 0);
    let mut planned = vec![Vec::new()];
    for unit in units {
        while told >= reach {
            reach = reaches.next().unwrap_or(usize::MAX);
            if planned.last().is_some_and(|wave: &Vec<Member>| !wave.is_empty()) {
                planned.push(Vec::new());
            }
        }
        told += unit.hosts();
        let members = unit.members.into_iter().map(|candidate| candidate.member);
        planned.last_mut().expect("there is always one").extend(members);
    }
    planned.retain(|wave| !wave.is_empty());
    Ok(planned)
}

/// Members by themselves, but for those that are recreated together.
fn units(candidates: Vec<Candidate>) -> Vec<Unit> {
    let mut together: BTreeMap<(Option<String>, BTreeSet<String>), Vec<Candidate>> = BTreeMap::new();
    let mut units = Vec::new();
    for candidate in candidates {
        match candidate.metadata.orchestration.deploy_strategy {
            DeployStrategy::Rolling => units.push(vec![candidate]),
            DeployStrategy::Recreate => {
                let Metadata { role, groups, .. } = candidate.metadata.clone();
                together.entry((role, groups)).or_default().push(candidate);
            }
        }
    }
    units.extend(together.into_values());
    let criticality = |candidate: &Candidate| candidate.metadata.orchestration.criticality_level;
    units
        .into_iter()
        .map(|members| Unit { criticality: members.iter().map(criticality).max().unwrap_or_default(), members })
        .collect()
}

/// Each unit after all that it depends on; of those that could come next, the least critical, then by name.
fn in_order(units: Vec<Unit>) -> Result<Vec<Unit>, Circle> {
    let mut place = BTreeMap::new();
    for (index, unit) in units.iter().enumerate() {
        for candidate in &unit.members {
            place.extend(candidate.member.hosts.iter().map(|host| (host.clone(), index)));
        }
    }
    // What is not part of the rollout is not changed, and need not be waited for.
    let needs: Vec<BTreeSet<usize>> = units
        .iter()
        .enumerate()
        .map(|(index, unit)| {
            let hosts = unit.members.iter().flat_map(|candidate| &candidate.metadata.dependencies);
            hosts.filter_map(|host| place.get(host).copied()).filter(|needed| *needed != index).collect()
        })
        .collect();
    let mut ahead: BTreeMap<_, _> = units
        .into_iter()
        .enumerate()
        .map(|(index, unit)| {
            let name = unit.members.first().map(|candidate| candidate.member.assignment.clone());
            ((unit.criticality, name, index), unit)
        })
        .collect();
    let (mut ordered, mut done) = (Vec::new(), BTreeSet::new());
    while !ahead.is_empty() {
        let next = ahead.keys().find(|(_, _, index)| needs[*index].is_subset(&done)).cloned();
        let Some(key) = next else {
            let stuck =
                ahead.values().flat_map(|unit| &unit.members).flat_map(|candidate| candidate.member.hosts.clone());
            return Err(Circle(stuck.collect()));
        };
        done.insert(key.2);
        ordered.extend(ahead.remove(&key));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(name: &str, metadata: Metadata) -> Candidate {
        let member = Member {
            assignment: name.parse().expect("a name"),
            hosts: vec![name.parse().expect("a name")],
            configuration: name.parse().expect("a name"),
            before: None,
            stood: None,
            failed_units: BTreeSet::new(),
        };
        Candidate { member, metadata }
    }

    fn metadata(criticality: CriticalityLevel, dependencies: &[&str]) -> Metadata {
        let mut metadata = Metadata {
            dependencies: dependencies.iter().map(|name| name.parse().expect("a name")).collect(),
            ..Metadata::default()
        };
        metadata.orchestration.criticality_level = criticality;
        metadata
    }

    fn waves(text: &str) -> Vec<Extent> {
        text.split(',').map(|part| part.parse().expect("an extent")).collect()
    }

    fn shown(planned: &[Vec<Member>]) -> Vec<Vec<&str>> {
        planned.iter().map(|wave| wave.iter().map(|member| member.assignment.as_str()).collect()).collect()
    }

    #[test]
    fn waves_grow_to_numbers_and_parts_of_all() {
        let hosts =
            || (0..20).map(|number| candidate(&format!("h{number:02}"), Metadata::default())).collect::<Vec<_>>();
        let sizes = |text| plan(hosts(), &waves(text)).expect("a plan").iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes("1,10%,50%,100%"), [1, 1, 8, 10]);
        assert_eq!(sizes("100%"), [20]);
        assert_eq!(sizes("1,1,5%,30,100%"), [1, 19], "a wave of nobody is none");
    }

    #[test]
    fn an_extent_is_a_number_or_a_part_and_the_last_is_everybody() {
        for bad in ["", "0", "0%", "101%", "-1", "1.5%", "%", "1 "] {
            assert!(bad.parse::<Extent>().is_err(), "{bad}");
        }
        assert!(check(&waves("1,100%")).is_ok());
        for bad in ["1", "100%,50%"] {
            assert!(check(&waves(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_needed_comes_first_and_what_is_critical_last() {
        let hosts = vec![
            candidate("a-critical", metadata(CriticalityLevel::Critical, &[])),
            candidate("b-web", metadata(CriticalityLevel::Normal, &["z-db"])),
            candidate("c-low", metadata(CriticalityLevel::Low, &[])),
            candidate("d-plain", metadata(CriticalityLevel::Normal, &["not-part-of-it"])),
            candidate("z-db", metadata(CriticalityLevel::High, &[])),
        ];
        let planned = plan(hosts, &waves("1,2,3,4,100%")).expect("a plan");
        assert_eq!(shown(&planned), [["c-low"], ["d-plain"], ["z-db"], ["b-web"], ["a-critical"]]);
    }

    #[test]
    fn what_is_recreated_goes_together() {
        let recreated = |name: &str, role: &str| {
            let mut metadata = metadata(CriticalityLevel::Low, &[]);
            metadata.orchestration.deploy_strategy = DeployStrategy::Recreate;
            metadata.role = Some(role.to_owned());
            candidate(name, metadata)
        };
        let hosts = vec![
            recreated("a", "cache"),
            recreated("b", "queue"),
            recreated("c", "cache"),
            candidate("d", Metadata::default()),
        ];
        let planned = plan(hosts, &waves("1,3,100%")).expect("a plan");
        assert_eq!(shown(&planned), [vec!["a", "c"], vec!["b"], vec!["d"]]);
    }

    #[test]
    fn a_circle_is_named() {
        let hosts = vec![
            candidate("a", metadata(CriticalityLevel::Low, &["b"])),
            candidate("b", metadata(CriticalityLevel::Low, &["a"])),
            candidate("c", metadata(CriticalityLevel::Low, &[])),
        ];
        let refused = plan(hosts, &waves("100%")).expect_err("a circle");
        assert_eq!(refused.to_string(), "these hosts depend on each other in a circle: a, b");
    }

    fn level() -> impl Strategy<Value = CriticalityLevel> {
        use CriticalityLevel::{Critical, High, Low, Normal};
        proptest::sample::select(&[Low, Normal, High, Critical][..])
    }

    /// Hosts that depend only on such with lower numbers, in no order.
    fn hosts() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (level(), proptest::collection::vec(any::<prop::sample::Index>(), 0..3));
        proptest::collection::vec(one, 1..40)
            .prop_map(|hosts| {
                let name = |number: usize| format!("h{number:02}");
                let candidates = hosts.iter().enumerate().map(|(number, (level, needs))| {
                    let needs: Vec<_> =
                        needs.iter().filter(|_| number > 0).map(|need| name(need.index(number.max(1)))).collect();
                    let needs: Vec<_> = needs.iter().map(String::as_str).collect();
                    candidate(&name(number), metadata(*level, &needs))
                });
                candidates.collect()
            })
            .prop_shuffle()
    }

    proptest! {
        #[test]
        fn everybody_is_told_once_and_never_before_what_they_need(hosts in hosts(), first in 1..5_usize, part in 1..100_usize) {
            let text = format!("{first},{part}%,100%");
            let planned = plan(hosts.clone(), &waves(&text)).expect("a plan");
            let order: Vec<_> = planned.iter().flatten().map(|member| member.hosts[0].clone()).collect();
            let everybody: BTreeSet<_> = hosts.iter().map(|host| host.member.hosts[0].clone()).collect();
            prop_assert_eq!(order.len(), hosts.len());
            prop_assert_eq!(order.iter().cloned().collect::<BTreeSet<_>>(), everybody);
            let place = |name: &HostName| order.iter().position(|host| host == name);
            for host in &hosts {
                for needed in &host.metadata.dependencies {
                    prop_assert!(place(needed) < place(&host.member.hosts[0]));
                }
            }
            prop_assert_eq!(planned[0].len(), first.min(hosts.len()), "the first wave is as small as was said");
        }
    }
}
