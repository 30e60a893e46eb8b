//! `npc-publish retry SELECTOR…`: has hosts try again what failed on them.

use jiff::{SignedDuration, Timestamp};
use npc_core::document::{Assignment, Following, Orders};
use npc_core::name::AssignmentName;
use npc_operator::failure::Failure;
use npc_operator::fleet::View;
use npc_operator::fleet::selector::Strangers;

use crate::cli;

use super::hosts::{amend, assigned};

/// How far a host's clock may be ahead for its word to count.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// When the hosts of an assignment say that something has failed: by their clocks, which may be ahead of this one.
fn failures<'a>(view: &'a View, name: &'a AssignmentName) -> impl Iterator<Item = Timestamp> + 'a {
    let reports = view.hosts.values().filter(move |host| host.assignment == *name);
    let reports = reports.filter_map(|host| host.heard.report());
    reports.flat_map(|report| {
        let outcomes = report.outcomes.iter().map(|outcome| outcome.at);
        let quarantined = report.quarantined.iter().map(|entry| entry.at);
        outcomes.chain(quarantined).map(|at| at.saturating_add(SignedDuration::from_secs(1)).unwrap_or(at))
    })
}

pub(crate) async fn retry(choice: cli::Choice) -> Result<(), Failure> {
    let now = Timestamp::now();
    let latest = now.saturating_add(AHEAD).unwrap_or(now);
    amend(choice, Strangers::Refused, |view, name, stands| {
        let before = assigned(name, stands)?.clone();
        let retry = failures(view, name).filter(|at| *at <= latest).fold(now, Timestamp::max);
        let orders = Orders { retry: Some(retry), ..before.orders.unwrap_or_default() };
        Ok(Assignment::Present(Box::new(Following { orders: Some(orders), ..before })))
    })
    .await
}
