//! Reading what members are told, and what their hosts say.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use npc_core::fleet::{CONCURRENT, Fleet, Inquiry};
use npc_core::name::{AssignmentName, HostName};
use npc_core::store::StoreError;

use super::course::Course;
use super::progress::{Seen, Sight};
use crate::fleet::host::{Heard, Told};
use crate::fleet::view::{own_assignment, told};

/// What all members are told, and what the hosts say that this rollout has told anything.
pub(crate) async fn look(fleet: &Fleet, course: &Course) -> Result<Sight, StoreError> {
    let read = course.members().map(async |member| {
        let assigned = fleet.assignment(&member.assignment).await?;
        Ok((member, assigned.map_or(Told::Nothing, |assigned| told(&assigned))))
    });
    let assigned: Vec<_> = stream::iter(read).buffered(CONCURRENT).try_collect().await?;
    let keys = assigned.iter().filter(|(_, told)| told.following().is_some_and(|said| course.has_placed(said)));
    let keys = keys.flat_map(|(member, told)| {
        let pinned = told.following().and_then(|following| following.report_key.as_ref());
        let is_its_own = |host: &HostName| own_assignment(host) == member.assignment;
        let inquiry = move |host| Inquiry { host, pinned: pinned.filter(|_| is_its_own(host)), listed: None };
        member.hosts.iter().map(inquiry)
    });
    let reported = fleet.reports(keys).await?;
    let mut reported: BTreeMap<_, _> =
        reported.into_iter().map(|(host, reported)| (host, Heard::from(reported))).collect();
    let sight = assigned.into_iter().map(|(member, told)| {
        let heard = member.hosts.iter().filter_map(|host| reported.remove_entry(host)).collect();
        (member.assignment.clone(), Seen { told, heard })
    });
    Ok(sight.collect::<BTreeMap<AssignmentName, Seen>>())
}
