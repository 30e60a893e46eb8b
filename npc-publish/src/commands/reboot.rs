//! `npc-publish reboot SELECTOR…`: has hosts reboot in the order of their metadata, some at a time, each wave once the one before is
//! back and well.
//!
//! An order names the boot that is to end, so it acts once, and whoever dies in the middle leaves nobody rebooting for ever. Saying it
//! again with `--needed` goes on with those that still need it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use npc_core::document::{Assignment, Following, Metadata, Orders, Outcome, OutcomeKind, Reboot, Report};
use npc_core::name::{AssignmentName, HostName};
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::amend::{Amending, plan};
use npc_operator::fleet::host::Heard;
use npc_operator::fleet::selector::Strangers;
use npc_operator::fleet::standing::STEADY;
use npc_operator::fleet::taken::Taken;
use npc_operator::fleet::{Host, Standing, View};
use npc_operator::session::Session;
use npc_operator::voice::Progress;
use npc_operator::words;
use npc_operator::words::shortened;
use tokio::time::Instant;

use crate::cli;
use crate::console;
use crate::rollout::reboots::{Batch, Candidate, limits, next};

use super::hosts::{assigned, unassigned};

/// How often to look whether hosts are back.
const LOOK: Duration = Duration::from_secs(2);

pub(crate) async fn reboot(arguments: cli::Reboot) -> Result<(), Failure> {
    let writing = &arguments.writing;
    let session = Session::open(&writing.signing.place).await?;
    let keys = session.keys(&writing.signing.key)?;
    let amending = Amending { session: &session, keys: &keys, force: false, dry_run: writing.dry_run };
    amending.authorise()?;
    let view = View::read(&session.fleet, Timestamp::now()).await?;
    let hosts = chosen(&view, &arguments)?;
    Taken::read(&session).await?.spare_hosts(&view, &hosts)?;
    let mut ahead: BTreeMap<HostName, Awaited<'_>> =
        hosts.iter().map(|host| Ok((host.name.clone(), Awaited::of(host)?))).collect::<Result<_, Failure>>()?;
    let limits = limits(view.hosts.values().map(|host| &host.metadata));
    let out = silent(&view);
    let mut begun = false;
    while let Some(batch) = next(candidates(&ahead), &limits, out.clone(), arguments.max_unavailable.get()) {
        let names: Vec<_> = batch.hosts.iter().map(|(host, _)| host.as_str()).collect();
        let delay = if begun { batch.delay } else { 0 };
        let after = if delay > 0 { format!(", {delay} s after those before") } else { String::new() };
        console::data(format_args!("{}{after}", names.join(" ")))?;
        if !writing.dry_run {
            tokio::time::sleep(Duration::from_secs(delay)).await;
            order(&amending, &batch, &ahead).await?;
            are_back(&session, &batch, &ahead, Duration::from_secs(arguments.timeout)).await?;
        }
        begun = true;
        for (host, _) in &batch.hosts {
            ahead.remove(host);
        }
    }
    if !ahead.is_empty() {
        let left: Vec<_> = ahead.keys().map(HostName::as_str).collect();
        let words = format!("not told, since too many hosts of their groups are silent: {}", shortened(&left));
        return Err(Failure::new(Exit::Unwell, words)
            .hint("`npc-publish status` shows which; `hosts forget` those that are gone"));
    }
    if !begun {
        console::say("no host needs a reboot");
    }
    Ok(())
}

/// A host that is to reboot, as it was before.
struct Awaited<'a> {
    assignment: AssignmentName,
    report: &'a Report,
    metadata: &'a Metadata,
}

impl<'a> Awaited<'a> {
    fn of(host: &'a Host) -> Result<Self, Failure> {
        let why = host.standing.word();
        let unknown = || {
            Failure::usage(format!("`{}` is {why}: nobody knows which boot it runs", host.name))
                .hint("leave it out with --except")
        };
        if host.told.following().is_none() {
            return Err(unassigned(&host.assignment));
        }
        if host.standing == Standing::Paused || host.told.following().is_some_and(|following| following.paused) {
            return Err(Failure::usage(format!("`{}` is paused: it would not obey", host.name))
                .hint(format!("`npc-publish hosts resume {}`, or leave it out with --except", host.assignment)));
        }
        let is_heard = !matches!(host.standing, Standing::Silent(_) | Standing::Unknown | Standing::Refused(_));
        let report = host.heard.report().filter(|_| is_heard).ok_or_else(unknown)?;
        Ok(Self { assignment: host.assignment.clone(), report, metadata: &host.metadata })
    }

    /// Whether it runs another boot, and has come to rest.
    fn is_back(&self, now: &Report) -> bool {
        now.boot_id != self.report.boot_id && now.phase == STEADY && !now.boot_unproven
    }

    /// What is wrong with it that was not before: it may be back in the system that it ran before the one to boot into.
    fn trouble(&self, now: &Report) -> Option<String> {
        let mut outcomes = now.outcomes.iter().filter(|outcome| !self.report.outcomes.contains(outcome));
        let went_back = |outcome: &&Outcome| matches!(outcome.kind, OutcomeKind::RolledBack | OutcomeKind::Stranded);
        if let Some(outcome) = outcomes.find(went_back) {
            return Some(format!("what it booted into failed: {}", outcome.message));
        }
        let newly = now.failed_units.iter().filter(|unit| !self.report.failed_units.contains(unit));
        let newly: Vec<_> = newly.map(String::as_str).collect();
        (!newly.is_empty()).then(|| format!("these units have failed on it: {}", newly.join(", ")))
    }
}

/// The hosts that are meant, without those that do not need it where that was asked for.
fn chosen<'a>(view: &'a View, arguments: &cli::Reboot) -> Result<Vec<&'a Host>, Failure> {
    let names = arguments.hosts.clone().selection().hosts(view, Strangers::Refused)?;
    let hosts = names.iter().filter_map(|name| view.hosts.get(name));
    let needs_it = |host: &&Host| host.heard.report().is_some_and(|report| report.reboot_needed);
    Ok(hosts.filter(|host| !arguments.needed || needs_it(host)).collect())
}

fn candidates<'a>(ahead: &'a BTreeMap<HostName, Awaited<'_>>) -> Vec<Candidate<'a>> {
    let candidate = |(host, awaited): (&HostName, &'a Awaited<'_>)| Candidate {
        host: host.clone(),
        boot: awaited.report.boot_id.clone(),
        assignment: &awaited.assignment,
        metadata: awaited.metadata,
    };
    ahead.iter().map(candidate).collect()
}

/// How many hosts of each group are out of order already, as far as anybody knows.
fn silent(view: &View) -> BTreeMap<&str, usize> {
    let mut out = BTreeMap::new();
    for host in view.hosts.values().filter(|host| matches!(host.standing, Standing::Silent(_))) {
        for group in &host.metadata.groups {
            *out.entry(group.as_str()).or_default() += 1;
        }
    }
    out
}

async fn order(amending: &Amending<'_>, batch: &Batch, ahead: &BTreeMap<HostName, Awaited<'_>>) -> Result<(), Failure> {
    let orders: BTreeMap<_, _> = batch
        .hosts
        .iter()
        .filter_map(|(host, boot)| {
            let awaited = ahead.get(host)?;
            Some((awaited.assignment.clone(), (awaited.report.instance.clone(), boot.clone())))
        })
        .collect();
    let names: BTreeSet<_> = orders.keys().cloned().collect();
    let changes = plan(amending.session, names, |name, stands| {
        let before = assigned(name, stands)?.clone();
        let (instance, boot_id) = orders.get(name).cloned().expect("only those were read");
        let given = before.orders.clone().unwrap_or_default();
        let orders = Orders { instance: Some(instance), reboot: Some(Reboot { boot_id }), ..given };
        Ok(Assignment::Present(Box::new(Following { orders: Some(orders), ..before })))
    })
    .await?;
    amending.write(changes, console::data).await
}

/// Waits until all of them are back, and well.
async fn are_back(
    session: &Session,
    batch: &Batch,
    ahead: &BTreeMap<HostName, Awaited<'_>>,
    timeout: Duration,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut progress = Progress::begin("waiting for hosts to come back:");
    let mut awaited: BTreeSet<_> = batch.hosts.iter().map(|(host, _)| host.clone()).collect();
    loop {
        for (host, now) in reports(session, &awaited).await? {
            let before = &ahead[&host];
            if !before.is_back(&now) {
                continue;
            }
            if let Some(trouble) = before.trouble(&now) {
                let failed = words::printable(&format!("`{host}` is back, and {trouble}"));
                return Err(Failure::new(Exit::Unwell, failed).hint("the hosts after it were not told to reboot"));
            }
            awaited.remove(&host);
            console::say(format_args!("{host} is back"));
        }
        let Some(missing) = awaited.first() else { return Ok(()) };
        if begun.elapsed() > timeout {
            let after = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::MAX).as_secs();
            return Err(Failure::new(Exit::Unwell, format!("`{missing}` is not back and well after {after} s"))
                .hint("the hosts after it were not told to reboot; `npc-publish why` says more of it"));
        }
        progress.tell(awaited.iter().map(HostName::as_str).collect::<Vec<_>>().join(" "));
        tokio::time::sleep(LOOK).await;
    }
}

async fn reports(session: &Session, hosts: &BTreeSet<HostName>) -> Result<Vec<(HostName, Report)>, Failure> {
    let view = npc_operator::fleet::view::reports(&session.fleet, hosts).await?;
    let report = |(host, heard): (HostName, Heard)| match heard {
        Heard::Report { report, .. } => Some((host, *report)),
        Heard::Nothing | Heard::Refused { .. } => None,
    };
    Ok(view.into_iter().filter_map(report).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_went_back_or_whose_units_have_failed_is_not_back_well() {
        let outcome = |kind| Outcome {
            at: "2026-01-01T12:00:00Z".parse().expect("a time"),
            remote: None,
            serial: None,
            kind,
            error: None,
            message: "a unit failed".to_owned(),
            log: None,
        };
        let report = |boot: &str| Report {
            boot_id: boot.to_owned(),
            phase: STEADY.to_owned(),
            outcomes: vec![outcome(OutcomeKind::Committed)],
            failed_units: vec!["old.service".to_owned()],
            ..Report::default()
        };
        let (before, metadata) = (report("one"), Metadata::default());
        let host = Awaited { assignment: "a".parse().expect("a name"), report: &before, metadata: &metadata };
        assert!(!host.is_back(&before) && host.is_back(&report("two")));
        assert!(!host.is_back(&Report { boot_unproven: true, ..report("two") }));
        assert_eq!(host.trouble(&report("two")), None);
        let with = |kind| Report { outcomes: vec![outcome(kind), outcome(OutcomeKind::Committed)], ..report("two") };
        assert_eq!(host.trouble(&with(OutcomeKind::Adopted)), None);
        let went_back = host.trouble(&with(OutcomeKind::RolledBack)).expect("trouble");
        assert!(went_back.contains("a unit failed"), "{went_back}");
        let failed = Report { failed_units: vec!["old.service".to_owned(), "new.service".to_owned()], ..report("two") };
        assert!(host.trouble(&failed).expect("trouble").ends_with(": new.service"));
    }
}
