//! Removing what nobody needs any more: archives that nothing names, and the reports of machines that came and went.
//!
//! An archive stays if anything names it: what a remote holds, its younger or its last releases, an assignment, a rollout, a
//! report; believed or not, since hosts may know a trust or a version that this program does not ([`named`]). If a document
//! that somebody goes by cannot be read at all, nothing is removed ([`survey`]). What is left is decided by a pure function
//! ([`keep`]), and no archive is removed that is younger than a day or of unknown age.
//!
//! **What may happen meanwhile.** Whoever publishes, promotes or rolls back uploads the archive, old or new, before anything
//! names it, and names it within a day: in between, the upload's own age keeps it. Whoever assigns or rolls out names what is
//! named already. So it takes two things at once to lose an archive: that nothing names it while it is older than a day, and
//! that somebody uploads it again, or pins an old release of it, in the very moments in which it is removed. Therefore
//! archives are removed a [few](FEW) at a time, and right before, everything is listed and read anew; whatever was uploaded
//! or named since stays. What remains are the moments from that look until these few requests are answered: no store lets
//! anyone remove an object only if it is still old. After the last removal, all is read once more, and if something has come
//! to be named in one of those moments, it is said which archive has to be published again.

mod keep;
mod named;
mod survey;

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use npc_core::digest::Digest;
use npc_core::fleet::Fleet;
use npc_core::layout::{self, ObjectKey};
use npc_core::name::HostName;
use npc_core::store::StoreError;
use npc_operator::failure::{Exit, Failure};

pub(crate) use self::keep::{Bounds, Plan, Silent, Stored};
use self::keep::{Survey, kept};
use self::survey::{Obstacle, Surveyor};

/// How many objects are removed before everything is looked at anew.
const FEW: usize = 256;

/// How many of them are removed at once.
const AT_ONCE: usize = 32;

/// How many unreadable documents are named.
const TOLD: usize = 5;

/// Whoever removes what nobody needs.
pub(crate) struct Collector<'a> {
    fleet: &'a Fleet,
    surveyor: Surveyor<'a>,
    bounds: Bounds,
}

/// Something that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Object {
    /// An archive.
    Archive(Digest),
    /// A report.
    Report(HostName),
}

impl Object {
    /// Where it lies.
    pub(crate) fn key(&self) -> ObjectKey {
        match self {
            Self::Archive(digest) => layout::archive(digest),
            Self::Report(host) => layout::report(host),
        }
    }
}

/// What became of what was to be removed.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// What is gone.
    pub(crate) removed: Plan,
    /// What was spared, as somebody has come to need it since it was decided upon.
    pub(crate) spared: Vec<Object>,
    /// Why not all that was to be removed is gone, or that some should not be.
    pub(crate) failure: Option<Failure>,
}

impl<'a> Collector<'a> {
    /// Whoever keeps so much.
    pub(crate) fn new(fleet: &'a Fleet, bounds: Bounds) -> Self {
        Self { fleet, surveyor: Surveyor::new(fleet, bounds.now), bounds }
    }

    /// What there is, and what of it is to be removed.
    pub(crate) async fn decide(&mut self) -> Result<(Survey, Plan), Failure> {
        let survey = self.surveyor.survey().await?;
        legible(self.surveyor.obstacles())?;
        let plan = Plan::of(&survey, &self.bounds);
        if !plan.archives.is_empty() && survey.remotes.values().all(|history| history.pointer.is_none()) {
            return Err(Failure::new(Exit::Store, "the store holds archives, but no remote that could be believed")
                .hint("it does not look whole: was only a part of it copied? A store with nothing published needs no cleaning"));
        }
        Ok((survey, plan))
    }

    /// Removes it, and says each to `tell` right after.
    pub(crate) async fn remove(&mut self, plan: &Plan, mut tell: impl FnMut(&Object)) -> Removal {
        let mut removal = Removal::default();
        let objects: Vec<_> = plan.objects().collect();
        for few in objects.chunks(FEW) {
            if let Err(failure) = self.remove_few(few, &mut removal, &mut tell).await {
                removal.failure = Some(failure);
                break;
            }
        }
        if let Err(failure) = self.look_back(&removal.removed).await {
            removal.failure.get_or_insert(failure);
        }
        removal
    }

    /// Removes those of a few objects that are still needed by nobody.
    async fn remove_few(
        &mut self,
        few: &[Object],
        removal: &mut Removal,
        tell: &mut impl FnMut(&Object),
    ) -> Result<(), Failure> {
        let (_, still) = self.decide().await?;
        let (doomed, spared): (Vec<_>, Vec<_>) = few.iter().partition(|object| still.has(object));
        removal.spared.extend(spared.into_iter().cloned());
        let store = &self.fleet.store;
        let mut removals = stream::iter(doomed.into_iter().map(async |object| {
            let removed = store.remove(&object.key()).await;
            (object, removed)
        }))
        .buffered(AT_ONCE);
        let mut failed: Option<StoreError> = None;
        while let Some((object, removed)) = removals.next().await {
            match removed {
                Ok(()) => {
                    removal.removed.take(object, &still);
                    tell(object);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Whether something that is gone has come to be named.
    async fn look_back(&mut self, removed: &Plan) -> Result<(), Failure> {
        if removed.archives.is_empty() {
            return Ok(());
        }
        let survey = self.surveyor.survey().await?;
        let there = self.surveyor.archives().await?;
        let kept = kept(&survey, &self.bounds);
        let lost = removed.archives.keys().filter(|digest| kept.contains(digest) && !there.contains_key(digest));
        let lost: Vec<_> = lost.map(Digest::to_string).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Raced,
            format!("somebody has named what was removed in that moment: {}", lost.join(", ")),
        )
        .hint(
            "publish the same files again with --record; `npc-publish log R --json` says which release names which archive",
        ))
    }
}

impl Plan {
    /// Everything in it.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Object> {
        let archives = self.archives.keys().copied().map(Object::Archive);
        archives.chain(self.reports.keys().cloned().map(Object::Report))
    }

    fn has(&self, object: &Object) -> bool {
        match object {
            Object::Archive(digest) => self.archives.contains_key(digest),
            Object::Report(host) => self.reports.contains_key(host),
        }
    }

    /// Takes in an object that is in another plan.
    fn take(&mut self, object: &Object, from: &Self) {
        match object {
            Object::Archive(digest) => self.archives.extend(from.archives.get_key_value(digest)),
            Object::Report(host) => {
                self.reports.extend(from.reports.get(host).map(|silent| (host.clone(), silent.clone())));
            }
        }
    }
}

/// Nothing is removed as long as nobody knows what it takes to be needed.
fn legible(obstacles: &[Obstacle]) -> Result<(), Failure> {
    if obstacles.is_empty() {
        return Ok(());
    }
    let told: BTreeSet<_> =
        obstacles.iter().take(TOLD).map(|obstacle| format!("`{}`: {}", obstacle.key, obstacle.reason)).collect();
    let more = match obstacles.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    let told: Vec<_> = told.into_iter().collect();
    Err(Failure::new(
        Exit::Trust,
        format!("nothing was removed, since nobody can tell what these need:\n{}{more}", told.join("\n")),
    )
    .hint("say anew what should stand there (publish, repoint), or remove it by the store's own means if it is worth nothing"))
}

#[cfg(test)]
mod tests;
