//! Reading what members are told, and what their hosts say.

use std::collections::{BTreeMap, BTreeSet};

use npc_core::document::Member;
use npc_core::fleet::{Fleet, Inquiry};
use npc_core::name::{AssignmentName, HostName};
use npc_core::store::StoreError;
use npc_operator::fleet::host::{Heard, Told};
use npc_operator::fleet::view::{own_assignment, told};

use super::course::Course;
use super::progress::{Seen, Sight};

/// What all members are told, and what the hosts say that this rollout has told anything: as of two listings, and what has
/// changed since the last time.
pub(crate) async fn look(fleet: &Fleet, course: &Course) -> Result<Sight, StoreError> {
    let members: BTreeMap<_, _> = course.members().map(|member| (&member.assignment, member)).collect();
    // Machines that share an assignment come and go: who asks for it now, its report says, unless an assignment says otherwise.
    let any_is_shared = course.members().any(is_shared);
    let is_wanted = |name: &AssignmentName| any_is_shared || members.contains_key(name);
    let (assigned, reporting) = tokio::try_join!(fleet.assignments(is_wanted), fleet.reporting_hosts())?;
    let mut told: BTreeMap<_, _> = assigned.iter().map(|(name, assigned)| (name, told(assigned))).collect();
    let placed: BTreeSet<_> = told
        .iter()
        .filter(|(_, told)| told.following().is_some_and(|said| course.has_placed(said)))
        .map(|(name, _)| *name)
        .collect();
    let by_host = course.by_host();
    let has_its_own = |host: &HostName| told.get(&own_assignment(host)).is_some_and(|told| told.following().is_some());
    let is_asked = |host: &HostName| match by_host.get(host) {
        Some(member) => placed.contains(&member.assignment),
        None => any_is_shared && !has_its_own(host),
    };
    let pinned = |host: &HostName| told.get(&own_assignment(host))?.following()?.report_key.as_ref();
    let inquiries = reporting.iter().filter(|(host, _)| is_asked(host)).map(|(host, listed)| Inquiry {
        host,
        pinned: pinned(host),
        listed: Some(listed),
    });
    let mut heard: BTreeMap<AssignmentName, BTreeMap<HostName, Heard>> = BTreeMap::new();
    for (host, reported) in fleet.reports(inquiries).await? {
        let said = Heard::from(reported);
        let member = by_host.get(&host).copied().or_else(|| {
            let asked_for = said.report()?.assignment.as_ref()?;
            members.get(asked_for).copied().filter(|member| is_shared(member) && placed.contains(asked_for))
        });
        if let Some(member) = member {
            heard.entry(member.assignment.clone()).or_default().insert(host, said);
        }
    }
    let sight = members.into_keys().map(|name| {
        let told = told.remove(name).unwrap_or(Told::Nothing);
        (name.clone(), Seen { told, heard: heard.remove(name).unwrap_or_default() })
    });
    Ok(sight.collect())
}

/// Whether it is told by another name than its host's.
fn is_shared(member: &Member) -> bool {
    member.hosts.iter().any(|host| own_assignment(host) != member.assignment)
}
