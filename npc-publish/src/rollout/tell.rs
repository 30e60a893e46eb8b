//! Telling members: to follow the release of a rollout, to reboot, to go back to where they came from, or to go on elsewhere.
//!
//! Each assignment is read anew and written over exactly that. What has changed since it was looked at, by another operator's
//! hand or by a driver that was thought dead, is left alone until it is looked at again: so nobody is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use npc_core::document::{Assignment, Before, Following, Member, Orders, Placement, Reboot, Serial};
use npc_core::fleet::{Assigned, Inquiry};
use npc_core::key::PublicKey;
use npc_core::name::{AssignmentName, HostName, RemoteName};
use npc_operator::failure::Failure;
use npc_operator::fleet::amend::{self, Change, following};
use npc_operator::fleet::view::own_assignment;

use super::course::Course;
use super::intent::Operator;
use super::reboots::Batch;

/// How often hosts report at least while they are waited for, in seconds.
const HEARTBEAT: std::ops::RangeInclusive<u64> = 5..=300;

/// How long another driver may take to write what it had decided upon.
const SETTLED: Duration = Duration::from_secs(2);

/// Where the hosts of a rollout go that ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sweep<'a> {
    /// They stay where they are.
    Nowhere,
    /// To where they came from.
    Back,
    /// To this remote, which holds the release.
    To(&'a RemoteName),
}

/// Whom to tell of each assignment that was written.
pub(super) type Teller<'a> = &'a mut dyn FnMut(String);

impl Operator<'_> {
    /// Has members of a wave, counted from 1, follow the rollout's release. Says how many it has told.
    pub(super) async fn tell(
        &self,
        course: &Course,
        wave: u32,
        names: &[AssignmentName],
        teller: Teller<'_>,
    ) -> Result<usize, Failure> {
        let members: BTreeMap<_, _> = course.members().map(|member| (&member.assignment, member)).collect();
        let keys = self.keys_of(names).await?;
        self.amend(names.iter().cloned().collect(), teller, |name, stands| {
            let (member, said) = (members.get(name)?, following(stands));
            let was_removed = stands.is_some() && said.is_none() && serial(stands) != member.stood;
            if was_removed || said.is_some_and(|said| course.has_left(said)) {
                return None;
            }
            let is_earlier = said.is_some_and(|said| course.has_placed(said) && !course.has_told(said));
            if !is_earlier && !member.is_before(said) {
                return None;
            }
            Some(told(course, wave, member, said, keys.get(name)))
        })
        .await
    }

    /// The keys that hosts report with which no assignment has named yet.
    async fn keys_of(&self, names: &[AssignmentName]) -> Result<BTreeMap<AssignmentName, PublicKey>, Failure> {
        let hosts: Vec<HostName> = names.iter().filter_map(|name| name.as_str().parse().ok()).collect();
        let reported =
            self.session.fleet.reports(hosts.iter().map(|host| Inquiry { host, pinned: None, listed: None })).await?;
        let own = reported.into_iter().filter(|(_, reported)| reported.state.is_ok());
        Ok(own.filter_map(|(host, reported)| Some((own_assignment(&host), reported.claimed?))).collect())
    }

    /// Has hosts reboot that still run the boot they were seen in.
    pub(super) async fn reboot(&self, course: &Course, batch: &Batch, teller: Teller<'_>) -> Result<(), Failure> {
        let by_host = course.by_host();
        let boots: BTreeMap<_, _> = batch
            .hosts
            .iter()
            .filter_map(|(host, boot)| Some((by_host.get(host)?.assignment.clone(), boot.clone())))
            .collect();
        self.amend(boots.keys().cloned().collect(), teller, |name, stands| {
            let said = following(stands).filter(|said| course.has_told(said))?;
            let reboot = Some(Reboot { boot_id: boots.get(name)?.clone() });
            let orders = Orders { instance: None, reboot, ..said.orders.clone().unwrap_or_default() };
            Some(Assignment::Present(Box::new(Following { orders: Some(orders), ..said.clone() })))
        })
        .await
        .map(drop)
    }

    /// Leads everybody elsewhere whom the rollout has told, and looks again: a driver may have been telling others at that moment.
    pub(crate) async fn sweep(&self, course: &Course, to: Sweep<'_>, teller: Teller<'_>) -> Result<(), Failure> {
        self.sweep_once(course, to, teller).await?;
        tokio::time::sleep(SETTLED).await;
        self.sweep_once(course, to, teller).await
    }

    async fn sweep_once(&self, course: &Course, to: Sweep<'_>, teller: Teller<'_>) -> Result<(), Failure> {
        let members: BTreeMap<_, _> = course.members().map(|member| (&member.assignment, member)).collect();
        self.amend(members.keys().map(|name| (*name).clone()).collect(), teller, |name, stands| {
            let (said, member) = (following(stands).filter(|said| course.has_placed(said))?, members.get(name)?);
            let freed = Following { rollout: None, orders: None, ..said.clone() };
            let next = match to {
                Sweep::Nowhere => freed,
                Sweep::To(remote) => Following { remote: remote.clone(), pin: None, ..freed },
                Sweep::Back => {
                    let Some(before) = member.before.clone() else { return Some(Assignment::Removed) };
                    let Before { remote, configuration, pin } = before;
                    Following { remote, configuration, pin, ..freed }
                }
            };
            Some(Assignment::Present(Box::new(next)))
        })
        .await
        .map(drop)
    }

    /// Writes what `decide` makes of what stands there; nothing where it declines, or where nobody can tell what stands there. Says
    /// how many were written.
    async fn amend(
        &self,
        names: BTreeSet<AssignmentName>,
        teller: Teller<'_>,
        decide: impl Fn(&AssignmentName, Option<&Assigned>) -> Option<Assignment>,
    ) -> Result<usize, Failure> {
        let found = amend::read(self.session, names).await?;
        let is_believed = |stands: &Option<Assigned>| stands.as_ref().is_none_or(|stands| stands.state.is_ok());
        let changes = found.into_iter().filter(|(_, stands)| is_believed(stands)).filter_map(|(name, stands)| {
            let says = decide(&name, stands.as_ref())?;
            Some(Change { name, stands, says })
        });
        let tell = |words| {
            teller(words);
            Ok(())
        };
        let changes: Vec<_> = changes.collect();
        let count = changes.len();
        amend::write(self.session, self.keys, self.writes, changes, tell).await?;
        Ok(count)
    }
}

/// The serial of what is believed to stand there.
fn serial(stands: Option<&Assigned>) -> Option<Serial> {
    stands?.state.as_ref().ok().map(|document| document.header().serial)
}

fn told(course: &Course, wave: u32, member: &Member, said: Option<&Following>, key: Option<&PublicKey>) -> Assignment {
    let soak = course.intent.gates.soak;
    let heartbeat = if soak == 0 { 60 } else { (soak / 4).clamp(*HEARTBEAT.start(), *HEARTBEAT.end()) };
    let (remote, configuration) = (course.intent.remote.clone(), member.configuration.clone());
    let led = match said {
        Some(said) => said.clone().led_to(remote, configuration),
        None => Following::new(remote, configuration),
    };
    Assignment::Present(Box::new(Following {
        pin: Some(course.pin()),
        report_key: led.report_key.clone().or_else(|| key.cloned()),
        rollout: Some(Placement { id: course.id.clone(), wave, heartbeat: Some(heartbeat), left: false }),
        ..led
    }))
}
