//! Planning a rollout: who is in it, what they are to run, and everything that an operator should know before it begins.

use std::collections::{BTreeMap, BTreeSet};

use npc_core::document::{Before, Believed, Extent, Gates, Member, Release, RemoteState, Rollout, RolloutState};
use npc_core::name::{AssignmentName, ConfigurationName, HostName, RemoteName, RolloutName};
use npc_core::trust::Verified;
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::amend::assignments_of;
use npc_operator::fleet::host::Told;
use npc_operator::fleet::selector::Strangers;
use npc_operator::fleet::{Host, Standing, View, trusting};
use npc_operator::held::{believable, holds_all, removed, unknown};
use npc_operator::session::Session;
use npc_operator::words::shortened;
use serde_json::Map;

use super::course::metadata;
use super::plan::{Candidate, check, plan};
use crate::cli;
use crate::console;

/// The release that a remote holds, to be pinned.
pub(crate) struct Brought {
    document: Verified<RemoteState>,
}

impl Brought {
    /// Reads it.
    pub(crate) async fn read(session: &Session, remote: &RemoteName, now: jiff::Timestamp) -> Result<Self, Failure> {
        let document = session.fleet.remote(remote).await?.ok_or_else(|| unknown(remote))?.state?;
        if believable(&document).is_none() {
            return Err(removed(remote));
        }
        if document.header().expires.is_some_and(|expires| expires <= now) {
            let failure =
                Failure::usage(format!("{remote}@{} has expired: hosts would refuse it", document.header().serial));
            return Err(failure.hint("publish it again"));
        }
        Ok(Self { document })
    }

    /// Which it is.
    pub(crate) fn release(&self) -> Believed {
        Believed { serial: self.document.header().serial, digest: self.document.digest() }
    }

    fn content(&self) -> Option<&Release> {
        believable(&self.document)
    }

    /// Cuts waves from members, in the order that this release has on record.
    fn waves(&self, members: Vec<Member>, extents: &[Extent]) -> Result<Vec<Vec<Member>>, Failure> {
        let candidates = members
            .into_iter()
            .map(|member| Candidate { metadata: metadata(self.content(), &member.configuration).clone(), member });
        plan(candidates.collect(), extents).map_err(Failure::usage)
    }

    /// Refuses configurations that the release does not hold.
    fn check<'a>(
        &self,
        remote: &RemoteName,
        configurations: impl Iterator<Item = &'a ConfigurationName>,
    ) -> Result<(), Failure> {
        let Some(release) = self.content() else { return Ok(()) };
        holds_all(remote, self.document.header().serial, release, configurations)
    }
}

/// A rollout as the command line says it.
pub(crate) fn rollout(
    session: &Session,
    arguments: &cli::Begin,
    view: &View,
    brought: &Brought,
) -> Result<Rollout, Failure> {
    check(&arguments.waves)?;
    let hosts = arguments.selection().hosts(view, Strangers::Refused)?;
    let heard = hosts.iter().filter_map(|name| Some((name, &view.hosts.get(name)?.heard)));
    trusting::check(&session.fleet.trusted, heard)?;
    let names = assignments_of(view, &hosts, arguments.force)?;
    let members: Vec<_> = names.iter().map(|name| member(view, name)).collect::<Result<_, _>>()?;
    refuse_those_there(&arguments.to, &members, brought)?;
    brought.check(&arguments.to, members.iter().map(|member| &member.configuration))?;
    warn_of_the_unwell(view, &members);
    let cli::Bounds { soak, timeout, max_failed, on_failure, reboot } = arguments.bounds;
    let archive = brought.content().map(|release| release.archive.sha256);
    Ok(Rollout {
        remote: arguments.to.clone(),
        release: brought.release(),
        archive: archive.expect("what was removed is not brought"),
        waves: brought.waves(members, &arguments.waves)?,
        extents: arguments.waves.clone(),
        gates: Gates { soak, timeout, max_failed, on_failure, reboot },
        state: RolloutState::Running,
        reason: None,
        driver: None,
        other: Map::new(),
    })
}

/// The same rollout with another release, from its first wave on.
pub(crate) fn again(rollout: &Rollout, brought: &Brought) -> Result<Rollout, Failure> {
    let members: Vec<Member> = rollout.waves.iter().flatten().cloned().collect();
    brought.check(&rollout.remote, members.iter().map(|member| &member.configuration))?;
    let archive = brought.content().map(|release| release.archive.sha256);
    Ok(Rollout {
        release: brought.release(),
        archive: archive.expect("what was removed is not brought"),
        waves: brought.waves(members, &rollout.extents)?,
        ..rollout.clone()
    })
}

/// The name of a rollout that was given none.
pub(crate) fn name(
    remote: &RemoteName,
    brought: &Brought,
    taken: &BTreeSet<RolloutName>,
) -> Result<RolloutName, Failure> {
    let base = format!("{remote}-{}", brought.release().serial);
    let more = (2..1000).map(|number| format!("{base}-{number}"));
    let free = std::iter::once(base.clone()).chain(more).filter_map(|name| name.parse().ok());
    free.into_iter()
        .find(|name: &RolloutName| !taken.contains(name))
        .ok_or_else(|| Failure::usage(format!("no name like `{base}` is left")).hint("give it one with --name"))
}

fn member(view: &View, name: &AssignmentName) -> Result<Member, Failure> {
    let hosts: Vec<&Host> = view.hosts.values().filter(|host| host.assignment == *name).collect();
    let told = view.assignments.get(name).unwrap_or(&Told::Nothing);
    if let Told::Refused(kind) = told {
        return Err(Failure::new(Exit::Trust, format!("what `{name}` is assigned to is refused ({kind})"))
            .hint("assign it anew with `npc-publish repoint`, or leave it out with --except"));
    }
    if told.following().is_some_and(|following| following.paused) {
        return Err(Failure::usage(format!("`{name}` is paused: it would change nothing"))
            .hint(format!("`npc-publish hosts resume {name}`, or leave it out with --except")));
    }
    // What a host says that it follows by its own settings counts for it, not for those that it shares an assignment with.
    let mut believable = hosts.iter().filter(|host| !host.shares_its_assignment());
    let by_themselves = believable.find_map(|host| host.wanted.as_ref()).map(|wanted| Before {
        remote: wanted.remote.clone(),
        configuration: wanted.configuration.clone(),
        pin: None,
    });
    let before = told.following().map_or(by_themselves, |said| {
        Some(Before { remote: said.remote.clone(), configuration: said.configuration.clone(), pin: said.pin })
    });
    let named = || name.as_str().parse().expect("every name is one of a configuration too");
    let failed_units =
        hosts.iter().filter_map(|host| host.heard.report()).flat_map(|report| report.failed_units.clone());
    Ok(Member {
        assignment: name.clone(),
        hosts: hosts.iter().map(|host| host.name.clone()).collect(),
        configuration: before.as_ref().map_or_else(named, |before| before.configuration.clone()),
        before,
        stood: told.serial(),
        failed_units: failed_units.collect(),
    })
}

/// Who follows the remote already gets every release of it at once.
fn refuse_those_there(remote: &RemoteName, members: &[Member], brought: &Brought) -> Result<(), Failure> {
    let serial = brought.release().serial;
    let is_there = |before: &Before| before.remote == *remote && before.pin.is_none_or(|pin| pin.serial == serial);
    let there = |member: &&Member| member.before.as_ref().is_some_and(is_there);
    let there: Vec<_> = members.iter().filter(there).map(|member| member.assignment.as_str()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let (count, names) = (there.len(), shortened(&there));
    let words = if count == members.len() {
        format!("all of them follow `{remote}` already")
    } else {
        format!("{count} of {} follow `{remote}` already: {names}", members.len())
    };
    Err(Failure::usage(words).hint(format!(
        "leave them out with `--except remote:{remote}`, or publish to a remote that nobody follows yet"
    )))
}

/// Hosts that are not well before are likely to count as failed: better to know it before anybody is told.
fn warn_of_the_unwell(view: &View, members: &[Member]) {
    let mut unwell: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    let hosts = members.iter().flat_map(|member| &member.hosts).filter_map(|name: &HostName| view.hosts.get(name));
    for host in hosts {
        let matters = matches!(
            host.standing,
            Standing::Silent(_) | Standing::Unknown | Standing::Refused(_) | Standing::Trouble(_) | Standing::Paused
        );
        if matters {
            unwell.entry(host.standing.word()).or_default().push(host.name.as_str());
        }
    }
    for (word, names) in unwell {
        let shown = shortened(&names);
        console::warn(format_args!("{word} before it begins, and failed if that lasts: {shown}"));
    }
}
