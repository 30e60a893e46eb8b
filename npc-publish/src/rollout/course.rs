//! A rollout, together with the release that it brings.

use std::collections::BTreeMap;

use jiff::Timestamp;
use npc_core::document::{
    DeployStrategy, Driver, Following, Member, Metadata, Pin, Release, RemoteState, Rollout, Standing as State,
};
use npc_core::name::{ConfigurationName, HostName, RolloutName};
use npc_core::trust::Verified;
use npc_operator::fleet::host::{NoRelease, WantedRelease};
use npc_operator::fleet::view::wanted_release;

use super::reboots;

/// A rollout, together with the release that it brings.
#[derive(Debug)]
pub(crate) struct Course {
    /// Its name.
    pub(crate) id: RolloutName,
    /// What it is to do.
    pub(crate) intent: Rollout,
    /// When that was said.
    pub(crate) said: Timestamp,
    /// The release that it brings.
    pub(crate) document: Verified<RemoteState>,
}

/// What holds of a host of which nothing is on record.
static PLAIN: std::sync::LazyLock<Metadata> = std::sync::LazyLock::new(Metadata::default);

impl Course {
    /// The release that assignments pin.
    pub(crate) fn pin(&self) -> Pin {
        Pin { serial: self.intent.release.serial, archive: self.intent.archive }
    }

    /// The release itself.
    pub(crate) fn release(&self) -> Option<&Release> {
        match self.document.body() {
            State::Present(release) => Some(release),
            State::Removed => None,
        }
    }

    /// What hosts of a configuration are to run.
    pub(crate) fn wanted(&self, configuration: &ConfigurationName) -> Result<WantedRelease, NoRelease> {
        wanted_release(&self.document, configuration)
    }

    /// What the release has on record of a member.
    pub(crate) fn metadata(&self, member: &Member) -> &Metadata {
        metadata(self.release(), &member.configuration)
    }

    /// Who drives it.
    pub(crate) fn driver(&self, now: Timestamp) -> Option<&Driver> {
        self.intent.driver.as_ref().filter(|driver| driver.until > now)
    }

    /// Every member, in the order in which they are told.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.intent.waves.iter().flatten()
    }

    /// Whether an assignment was made by this rollout.
    pub(crate) fn has_placed(&self, following: &Following) -> bool {
        following.rollout.as_ref().is_some_and(|place| place.id == self.id && !place.left)
    }

    /// Whether an assignment says that somebody has taken it out of this rollout.
    pub(crate) fn has_left(&self, following: &Following) -> bool {
        following.rollout.as_ref().is_some_and(|place| place.id == self.id && place.left)
    }

    /// Whether an assignment was made by this rollout for this release.
    pub(crate) fn has_told(&self, following: &Following) -> bool {
        self.has_placed(following) && following.remote == self.intent.remote && following.pin == Some(self.pin())
    }

    /// Whether an assignment was made by this rollout for a later release than the intent names: then that is an older one, which
    /// the store shows again.
    pub(crate) fn has_been_ahead(&self, following: &Following) -> bool {
        let is_later = following.pin.is_some_and(|pin| pin.serial > self.intent.release.serial);
        self.has_placed(following) && following.remote == self.intent.remote && is_later
    }

    /// The groups whose limits a member heeds. What is recreated is changed all at once: that is what its strategy says.
    pub(crate) fn groups(&self, member: &Member) -> impl Iterator<Item = &str> {
        let metadata = self.metadata(member);
        let heeds = metadata.orchestration.deploy_strategy == DeployStrategy::Rolling;
        metadata.groups.iter().filter(move |_| heeds).map(String::as_str)
    }

    /// How many hosts of each group may be out of order at once: the least that any of its hosts says.
    pub(crate) fn limits(&self) -> BTreeMap<&str, usize> {
        let configurations = self.release().into_iter().flat_map(|release| release.configurations.values());
        reboots::limits(configurations.filter_map(|system| system.host.as_ref()))
    }

    /// The member that each host belongs to.
    pub(crate) fn by_host(&self) -> BTreeMap<&HostName, &Member> {
        self.members().flat_map(|member| member.hosts.iter().map(move |host| (host, member))).collect()
    }
}

/// What a release has on record of the hosts of a configuration.
pub(crate) fn metadata<'a>(release: Option<&'a Release>, configuration: &ConfigurationName) -> &'a Metadata {
    let system = release.and_then(|release| release.configurations.get(configuration));
    system.and_then(|system| system.host.as_ref()).unwrap_or(&PLAIN)
}
