//! What is kept, and what is not: a pure function of what a survey has found.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use npc_core::digest::Digest;
use npc_core::document::Serial;
use npc_core::name::{HostName, RemoteName};

/// No archive that is younger is ever removed: somebody may be about to name it.
pub(crate) const LEAST_AGE: SignedDuration = SignedDuration::from_hours(24);

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The time, by the slower of the clocks that count.
    pub(crate) now: Timestamp,
    /// Releases that were made since then keep what they name.
    pub(crate) since: Timestamp,
    /// So many different archives of each remote are kept, however old they are.
    pub(crate) last: usize,
}

/// Everything that was found in a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Survey {
    /// The archives.
    pub(crate) archives: BTreeMap<Digest, Stored>,
    /// Those of them that a pointer, an assignment, a rollout that is under way or a report names, or anything else but a release.
    pub(crate) named: BTreeSet<Digest>,
    /// What remotes hold and held.
    pub(crate) remotes: BTreeMap<RemoteName, History>,
    /// Rollouts that have ended: they count like releases, as long as they are young.
    pub(crate) ended: Vec<Released>,
    /// Believable reports of machines that come and go, and have fallen silent.
    pub(crate) silent: Vec<Silent>,
}

/// An object, as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its length in bytes.
    pub(crate) size: u64,
    /// When it was last written, by the store's clock.
    pub(crate) modified: Option<Timestamp>,
}

/// What a remote holds and held.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// What lies at its pointer, if that is to be believed.
    pub(crate) pointer: Option<Pointed>,
    /// Its releases.
    pub(crate) releases: BTreeMap<Serial, Released>,
}

/// A remote's pointer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pointed {
    /// The serial of what it holds.
    pub(crate) serial: Serial,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Whether that is the remote's removal.
    pub(crate) is_removed: bool,
    /// The earlier release of the same remote that it repeats, after a roll-back.
    pub(crate) repeats: Option<Serial>,
}

/// A release of a remote, or a rollout of one.
#[derive(Debug, Clone)]
pub(crate) struct Released {
    /// Archives that it names.
    pub(crate) names: BTreeSet<Digest>,
    /// What it says, if that is to be believed.
    pub(crate) said: Option<Said>,
    /// When it was last written, by the store's clock.
    pub(crate) modified: Option<Timestamp>,
}

/// What a believable release says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Its archive, unless it is the remote's removal, or only repeats an earlier release of the same remote.
    pub(crate) brings: Option<Digest>,
}

/// The report of a machine that came and went.
#[derive(Debug, Clone)]
pub(crate) struct Silent {
    /// The machine.
    pub(crate) host: HostName,
    /// When it said so, by its own clock.
    pub(crate) seen: Timestamp,
    /// The report.
    pub(crate) stored: Stored,
}

/// What is to be removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Archives.
    pub(crate) archives: BTreeMap<Digest, Stored>,
    /// Reports.
    pub(crate) reports: BTreeMap<HostName, Silent>,
}

impl Plan {
    /// What nobody needs, and what nobody could be about to need.
    pub(crate) fn of(survey: &Survey, bounds: &Bounds) -> Self {
        let kept = kept(survey, bounds);
        let old = |stored: &Stored, since: Timestamp| stored.modified.is_some_and(|modified| modified < since);
        let day_ago = earlier(bounds.now, LEAST_AGE);
        let archives = survey.archives.iter().filter(|(digest, stored)| !kept.contains(digest) && old(stored, day_ago));
        let silent_since = bounds.since.min(day_ago);
        let gone =
            survey.silent.iter().filter(|silent| silent.seen < silent_since && old(&silent.stored, silent_since));
        Self {
            archives: archives.map(|(digest, stored)| (*digest, *stored)).collect(),
            reports: gone.map(|silent| (silent.host.clone(), silent.clone())).collect(),
        }
    }

    /// How many bytes the archives have.
    pub(crate) fn bytes(&self) -> u64 {
        self.archives.values().map(|stored| stored.size).sum()
    }
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// The archives that something names which counts.
pub(crate) fn kept(survey: &Survey, bounds: &Bounds) -> BTreeSet<Digest> {
    let mut kept = survey.named.clone();
    for rollout in survey.ended.iter().filter(|rollout| rollout.counts_by_age(bounds)) {
        kept.extend(&rollout.names);
    }
    for history in survey.remotes.values() {
        history.keep(bounds, &mut kept);
    }
    kept
}

impl History {
    fn keep(&self, bounds: &Bounds, kept: &mut BTreeSet<Digest>) {
        for release in self.releases.values().filter(|release| release.counts_by_age(bounds)) {
            kept.extend(&release.names);
        }
        let top = self.releases.keys().next_back().copied();
        if self.pointer.is_some_and(|it| it.is_removed && it.created < bounds.since && top <= Some(it.serial)) {
            return;
        }
        let current = self.pointer.map(|pointer| pointer.serial);
        let repeated = self.pointer.and_then(|pointer| pointer.repeats);
        // Rolling back goes on below what the remote holds, or below what that repeats.
        for from in [top, current, repeated].into_iter().flatten() {
            self.keep_last(from, bounds.last, kept);
        }
    }

    /// Keeps the newest so many different archives that were published up to a serial. What only repeats another release is
    /// kept with them and does not count: a roll-back steps over it, and the same files published every night are one archive.
    fn keep_last(&self, from: Serial, last: usize, kept: &mut BTreeSet<Digest>) {
        let mut different = BTreeSet::new();
        for release in self.releases.range(..=from).rev().map(|(_, release)| release) {
            different.extend(release.said.and_then(|said| said.brings));
            if different.len() > last {
                return;
            }
            kept.extend(&release.names);
        }
    }
}

impl Released {
    /// Whether it counts by itself: it is young by any clock, its age is unknown, or what it says of its age is not to be
    /// believed.
    fn counts_by_age(&self, bounds: &Bounds) -> bool {
        let is_old = |time: Timestamp| time < bounds.since;
        !(self.said.is_some_and(|said| is_old(said.created)) && self.modified.is_some_and(is_old))
    }
}

#[cfg(test)]
mod tests;
