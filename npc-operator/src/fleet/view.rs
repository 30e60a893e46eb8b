//! Reading everything that is known of the fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use npc_core::document::{Following, Metadata, Release, RemoteState, Serial, Source, Standing as State};
use npc_core::fleet::{Assigned, CONCURRENT, Fleet, Inquiry, Memory, Pointer, Reported};
use npc_core::key::PublicKey;
use npc_core::name::{AssignmentName, ConfigurationName, HostName, RemoteName};
use npc_core::store::StoreError;
use npc_core::trust::Verified;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::host::{Heard, Host, NoRelease, Told, Wanted, WantedRelease};
use super::standing::{Standing, judge};

/// What a remote holds, or why that leads to no release.
pub type Held = Result<Verified<RemoteState>, NoRelease>;

/// Everything that is known of the fleet.
#[derive(Debug)]
pub struct View {
    /// When it was read.
    pub now: Timestamp,
    /// Its hosts, without those that have left it.
    pub hosts: BTreeMap<HostName, Host>,
    /// What every assignment says.
    pub assignments: BTreeMap<AssignmentName, Told>,
    /// What every remote holds.
    remotes: BTreeMap<RemoteName, Held>,
    /// Releases that assignments pin.
    pinned: BTreeMap<(RemoteName, Serial), Held>,
}

impl View {
    /// Reads it.
    pub async fn read(fleet: &Fleet, now: Timestamp) -> Result<Self, StoreError> {
        let (remotes, assignments, reporting) =
            tokio::try_join!(fleet.all_remotes(), fleet.all_assignments(), fleet.reporting_hosts())?;
        let assignments: BTreeMap<_, _> =
            assignments.into_iter().map(|(name, assigned)| (name, told(&assigned))).collect();
        let pinned = pinned(fleet, &assignments).await?;
        let inquiries = reporting.iter().map(|(host, listed)| Inquiry {
            host,
            pinned: pinned_key(&assignments, host),
            listed: Some(listed),
        });
        let reports = fleet.reports(inquiries).await?;
        let remembering = tokio::task::spawn_blocking({
            let memory = Arc::clone(&fleet.memory);
            move || remember(&memory)
        });
        let remotes = remotes.into_iter().map(|(name, pointer)| (name, held(pointer))).collect();
        let mut view = Self { now, hosts: BTreeMap::new(), assignments, remotes, pinned };
        view.meet(reports);
        // A process that ended sooner would leave half of a file behind.
        if let Err(failure) = remembering.await {
            std::panic::resume_unwind(failure.into_panic());
        }
        Ok(view)
    }

    /// What every remote holds, or why that leads to no release.
    pub fn remotes(&self) -> impl Iterator<Item = (&RemoteName, &Held)> {
        self.remotes.iter()
    }

    /// Whether it is the name of an assignment that hosts share, none of which is known.
    pub(super) fn is_vacant(&self, name: &HostName) -> bool {
        let said = self.assignments.get(&own_assignment(name)).and_then(Told::following);
        said.is_some_and(|said| said.shared) && !self.hosts.contains_key(name)
    }

    /// These hosts and nothing else.
    #[cfg(test)]
    pub(super) fn of(now: Timestamp, hosts: Vec<Host>) -> Self {
        let hosts = hosts.into_iter().map(|host| (host.name.clone(), host)).collect();
        Self { now, hosts, assignments: BTreeMap::new(), remotes: BTreeMap::new(), pinned: BTreeMap::new() }
    }

    fn meet(&mut self, reports: Vec<(HostName, Reported)>) {
        let reporting: BTreeSet<HostName> = reports.iter().map(|(name, _)| name.clone()).collect();
        let mut shared = BTreeSet::new();
        for (name, reported) in reports {
            let claimed = reported.claimed.clone();
            let heard = Heard::from(reported);
            let named = heard.report().and_then(|report| report.assignment.clone());
            let assignment = named.filter(|named| self.may_be_shared(named, &reporting));
            let assignment = assignment.unwrap_or_else(|| own_assignment(&name));
            if assignment.as_str() != name.as_str() {
                shared.insert(assignment.clone());
            }
            self.add(name, assignment, (heard, claimed));
        }
        let of_one = self.assignments.iter().filter(|(name, told)| {
            let is_shared = told.following().is_some_and(|following| following.shared) || shared.contains(*name);
            !is_shared && !matches!(told, Told::Removed(_))
        });
        let names: Vec<_> = of_one.map(|(name, _)| name.clone()).collect();
        for assignment in names {
            let name: HostName = assignment.as_str().parse().expect("hosts and assignments have one grammar");
            if !self.hosts.contains_key(&name) {
                self.add(name, assignment, (Heard::Nothing, None));
            }
        }
        let now = self.now;
        self.hosts.retain(|_, host| !host.has_left(now));
    }

    /// Whether a host may be believed that it asks for this assignment: not if that belongs to another host, which would be
    /// kept from being told anything by itself.
    fn may_be_shared(&self, name: &AssignmentName, reporting: &BTreeSet<HostName>) -> bool {
        let following = self.assignments.get(name).and_then(Told::following);
        let is_of_one = following.is_some_and(|following| following.report_key.is_some());
        !is_of_one && !name.as_str().parse().is_ok_and(|name: HostName| reporting.contains(&name))
    }

    fn add(&mut self, name: HostName, assignment: AssignmentName, (heard, claimed): (Heard, Option<PublicKey>)) {
        let told = self.assignments.get(&assignment).cloned().unwrap_or(Told::Nothing);
        let wanted = self.wanted(&told, &heard);
        let metadata = wanted.as_ref().and_then(|wanted| self.metadata(wanted, &told)).unwrap_or_default();
        let standing = Standing::Unknown;
        let mut host = Host { name: name.clone(), assignment, told, heard, claimed, wanted, metadata, standing };
        host.standing = judge(&host, self.now);
        self.hosts.insert(name, host);
    }

    /// What the host is to follow: by its assignment, or else, as far as it says so itself, by its own settings.
    fn wanted(&self, told: &Told, heard: &Heard) -> Option<Wanted> {
        let (remote, configuration) = match told {
            Told::Following { following, .. } => (following.remote.clone(), following.configuration.clone()),
            Told::Nothing | Told::Removed(_) | Told::Refused(_) => {
                let obeyed = heard.report()?.obeys.clone()?;
                (obeyed.remote, obeyed.configuration)
            }
        };
        let held = self.held(told, &remote);
        let release = held.and_then(|document| wanted_release(document, &configuration));
        Some(Wanted { remote, configuration, release })
    }

    fn held(&self, told: &Told, remote: &RemoteName) -> Result<&Verified<RemoteState>, NoRelease> {
        let pin = told.following().and_then(|following| following.pin);
        let held = match pin {
            Some(pin) => self.pinned.get(&(remote.clone(), pin.serial)).ok_or(NoRelease::NoSuchRelease(pin.serial)),
            None => self.remotes.get(remote).ok_or(NoRelease::NoSuchRemote),
        };
        held?.as_ref().map_err(Clone::clone)
    }

    fn metadata(&self, wanted: &Wanted, told: &Told) -> Option<Metadata> {
        let State::Present(release) = self.held(told, &wanted.remote).ok()?.body() else { return None };
        release.configurations.get(&wanted.configuration)?.host.clone()
    }
}

/// It only saves reading the same again, so that it cannot be written is worth no more than a debug message.
fn remember(memory: &Memory) {
    if let Err(error) = memory.save() {
        tracing::debug!(%error, "cannot remember what was read");
    }
}

/// The name of the assignment that a host asks for unless it is told another's.
pub fn own_assignment(host: &HostName) -> AssignmentName {
    host.as_str().parse().expect("hosts and assignments have one grammar")
}

/// What lies in an assignment's place.
pub fn told(assigned: &Assigned) -> Told {
    match &assigned.state {
        Err(refusal) => Told::Refused(refusal.kind()),
        Ok(document) => match document.body() {
            State::Removed => Told::Removed(document.header().serial),
            State::Present(following) => Told::Following {
                following: following.clone(),
                serial: document.header().serial,
                created: document.header().created,
            },
        },
    }
}

/// What these hosts say now, each under the key that its own assignment pins.
pub async fn reports(fleet: &Fleet, hosts: &BTreeSet<HostName>) -> Result<Vec<(HostName, Heard)>, StoreError> {
    let read = hosts.iter().map(async |host| {
        let name = own_assignment(host);
        let assigned = fleet.assignment(&name).await?;
        Ok((name, assigned.map_or(Told::Nothing, |assigned| told(&assigned))))
    });
    let assignments = stream::iter(read).buffered(CONCURRENT).try_collect().await?;
    let inquiry = |host| Inquiry { host, pinned: pinned_key(&assignments, host), listed: None };
    let reported = fleet.reports(hosts.iter().map(inquiry)).await?;
    Ok(reported.into_iter().map(|(host, reported)| (host, Heard::from(reported))).collect())
}

/// The key that a host's own assignment says it reports with.
fn pinned_key<'a>(assignments: &'a BTreeMap<AssignmentName, Told>, host: &HostName) -> Option<&'a PublicKey> {
    assignments.get(&own_assignment(host))?.following()?.report_key.as_ref()
}

fn held(pointer: Pointer) -> Held {
    pointer.state.map_err(|refusal| NoRelease::Refused(refusal.kind()))
}

/// The releases that assignments pin.
async fn pinned(
    fleet: &Fleet,
    assignments: &BTreeMap<AssignmentName, Told>,
) -> Result<BTreeMap<(RemoteName, Serial), Held>, StoreError> {
    let pin = |following: &Following| Some((following.remote.clone(), following.pin?.serial));
    let wanted: BTreeSet<_> = assignments.values().filter_map(|told| pin(told.following()?)).collect();
    let read = wanted.into_iter().map(async |(remote, serial)| {
        let found = fleet.release(&remote, serial).await?;
        let missing = NoRelease::NoSuchRelease(serial);
        let held =
            found.map_or(Err(missing), |entry| entry.state.map_err(|refusal| NoRelease::Refused(refusal.kind())));
        Ok(((remote, serial), held))
    });
    stream::iter(read).buffered(CONCURRENT).try_collect().await
}

/// What hosts of a configuration are to run.
pub fn wanted_release(
    document: &Verified<RemoteState>,
    configuration: &ConfigurationName,
) -> Result<WantedRelease, NoRelease> {
    let State::Present(release) = document.body() else { return Err(NoRelease::Removed) };
    let header = document.header();
    let remote = header.name.parse().expect("it was verified as a remote's");
    let Release { archive, source, configurations, .. } = &**release;
    let system = configurations.get(configuration);
    if system.is_none() && !configurations.is_empty() {
        return Err(NoRelease::NoSuchConfiguration(header.serial));
    }
    let mut systems = vec![format!("{}#{configuration}", archive.sha256)];
    if let Some(system) = system {
        systems.push(system.drv_path.clone());
        systems.extend(system.out_path.clone());
    }
    Ok(WantedRelease {
        remote,
        serial: header.serial,
        digest: document.digest(),
        created: header.created,
        archive: *archive,
        configuration: configuration.clone(),
        rev: rev(source),
        systems,
    })
}

/// The commit, with a `+` where the working tree differed.
pub fn rev(source: &Source) -> Option<String> {
    let dirty = if source.dirty { "+" } else { "" };
    source.rev.as_ref().map(|rev| format!("{rev}{dirty}"))
}
