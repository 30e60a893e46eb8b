//! Reading everything that names archives.
//!
//! The archives are listed first, and what names them is read afterwards: whatever is uploaded and named in between is not
//! among those that could be removed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{RemoteState, Standing};
use npc_core::fleet::{CONCURRENT, Fleet};
use npc_core::key::PublicKey;
use npc_core::layout::{self, ObjectKey};
use npc_core::name::{AssignmentName, HostName, RemoteName, RolloutName};
use npc_core::store::{Answer, Fault, Listed, Read, StoreError};
use npc_core::trust::Verified;
use npc_operator::fleet::host::Heard;
use npc_operator::fleet::view::own_assignment;

use super::keep::{Pointed, Released, Said, Silent, Stored, Survey};
use super::named::Named;

/// A document that may name any archive, since nobody can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    /// Where it lies.
    pub(crate) key: ObjectKey,
    /// Why it cannot be read.
    pub(crate) reason: &'static str,
}

/// Whoever reads a store for what names archives, several times over.
pub(crate) struct Surveyor<'a> {
    fleet: &'a Fleet,
    now: Timestamp,
    /// The archives that this is about: those that were there at first.
    known: Option<BTreeSet<Digest>>,
    /// Releases that were read already. They never change.
    read: BTreeMap<ObjectKey, Released>,
    /// What could not be read in the last survey.
    obstacles: Vec<Obstacle>,
}

/// What was found where a listing says that there is something.
enum Content {
    Bytes(Bytes),
    TooLarge,
    Gone,
}

impl<'a> Surveyor<'a> {
    /// Nothing is read yet.
    pub(crate) fn new(fleet: &'a Fleet, now: Timestamp) -> Self {
        Self { fleet, now, known: None, read: BTreeMap::new(), obstacles: Vec::new() }
    }

    /// Documents of the last survey that nobody can read.
    pub(crate) fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }

    /// Reads all of it.
    pub(crate) async fn survey(&mut self) -> Result<Survey, StoreError> {
        self.obstacles.clear();
        let mut survey = Survey { archives: self.archives().await?, ..Survey::default() };
        self.remotes(&mut survey).await?;
        self.releases(&mut survey).await?;
        let keys = self.assignments(&mut survey).await?;
        self.rollouts(&mut survey).await?;
        self.reports(&mut survey, &keys).await?;
        Ok(survey)
    }

    /// The archives that are there now, of those that were there at first.
    pub(crate) async fn archives(&mut self) -> Result<BTreeMap<Digest, Stored>, StoreError> {
        let listed = self.fleet.store.list(layout::ARCHIVES).await?;
        let mut archives: BTreeMap<_, _> =
            listed.iter().filter_map(|object| Some((layout::archive_of(&object.key)?, Stored::from(object)))).collect();
        let known = self.known.get_or_insert_with(|| archives.keys().copied().collect());
        archives.retain(|digest, _| known.contains(digest));
        Ok(archives)
    }

    async fn remotes(&mut self, survey: &mut Survey) -> Result<(), StoreError> {
        let listed = self.fleet.store.list(layout::REMOTES).await?;
        let mut found = Found::new(self, listed);
        while let Some((object, content)) = found.next().await? {
            let remote: Option<RemoteName> = layout::name_of(&object.key, layout::REMOTES);
            survey.named.extend(self.names(&object.key, &content, remote.is_some()));
            let Some(remote) = remote else { continue };
            let pointer = content.bytes().and_then(|bytes| self.fleet.judge_remote(&remote, bytes).ok());
            survey.remotes.entry(remote.clone()).or_default().pointer =
                pointer.map(|document| pointed(&remote, &document));
        }
        Ok(())
    }

    async fn releases(&mut self, survey: &mut Survey) -> Result<(), StoreError> {
        let listed = self.fleet.store.list(layout::RELEASES).await?;
        let new = listed.iter().filter(|object| !self.read.contains_key(&object.key)).cloned().collect();
        let mut found = Found::new(self, new);
        while let Some((object, content)) = found.next().await? {
            let place = layout::release_of(&object.key);
            let names = self.names(&object.key, &content, place.is_some());
            let entry = place.zip(content.bytes()).map(|((remote, serial), bytes)| {
                let state = self.fleet.judge_release(&remote, serial, bytes).state;
                state.ok().map(|document| said(&remote, &document))
            });
            self.read.insert(object.key, Released { names, said: entry.flatten(), modified: object.modified });
        }
        for object in &listed {
            let Some(released) = self.read.get(&object.key) else { continue };
            match layout::release_of(&object.key) {
                Some((remote, serial)) => {
                    survey.remotes.entry(remote).or_default().releases.insert(serial, released.clone());
                }
                None => survey.named.extend(&released.names),
            }
        }
        // What could not be read may be readable, or gone, next time.
        for obstacle in &self.obstacles {
            self.read.remove(&obstacle.key);
        }
        Ok(())
    }

    /// Gives the keys that assignments pin.
    async fn assignments(&mut self, survey: &mut Survey) -> Result<BTreeMap<AssignmentName, PublicKey>, StoreError> {
        let listed = self.fleet.store.list(layout::ASSIGNMENTS).await?;
        let mut found = Found::new(self, listed);
        let mut keys = BTreeMap::new();
        while let Some((object, content)) = found.next().await? {
            let assignment: Option<AssignmentName> = layout::name_of(&object.key, layout::ASSIGNMENTS);
            survey.named.extend(self.names(&object.key, &content, assignment.is_some()));
            let Content::Bytes(bytes) = content else { continue };
            let Some(assignment) = assignment else { continue };
            let assigned = self.fleet.judge_assignment(&assignment, bytes, None);
            if let Some(Standing::Present(following)) =
                assigned.state.ok().map(|document| document.into_document().body)
                && let Some(key) = following.report_key
            {
                keys.insert(assignment, key);
            }
        }
        Ok(keys)
    }

    async fn rollouts(&mut self, survey: &mut Survey) -> Result<(), StoreError> {
        let listed = self.fleet.store.list(layout::ROLLOUTS).await?;
        let mut found = Found::new(self, listed);
        while let Some((object, content)) = found.next().await? {
            let id: Option<RolloutName> = layout::name_of(&object.key, layout::ROLLOUTS);
            let names = self.names(&object.key, &content, id.is_some());
            let judged = id.zip(content.bytes()).map(|(id, bytes)| self.fleet.judge_rollout(&id, bytes, None));
            let ended =
                judged.and_then(|intended| intended.state.ok()).filter(|document| !document.body().state.is_active());
            match ended {
                // Its hosts may be held where it left them, which their assignments name.
                Some(document) => {
                    let said = Some(Said { created: document.header().created, brings: None });
                    survey.ended.push(Released { names, said, modified: object.modified });
                }
                None => survey.named.extend(names),
            }
        }
        Ok(())
    }

    /// One host alone writes its report, and must not be able to hold up everybody: what cannot be read of it names nothing.
    async fn reports(
        &mut self,
        survey: &mut Survey,
        keys: &BTreeMap<AssignmentName, PublicKey>,
    ) -> Result<(), StoreError> {
        let listed = self.fleet.store.list(layout::REPORTS).await?;
        let mut found = Found::new(self, listed);
        while let Some((object, content)) = found.next().await? {
            survey.named.extend(self.names(&object.key, &content, false));
            let host: Option<HostName> = layout::name_of(&object.key, layout::REPORTS);
            let Some((host, bytes)) = host.zip(content.bytes()) else { continue };
            let heard = Heard::from(self.fleet.judge_report(&host, keys.get(&own_assignment(&host)), bytes));
            if let Some(seen) = heard.at().filter(|_| heard.has_left(self.now)) {
                survey.silent.push(Silent { host, seen, stored: Stored::from(&object) });
            }
        }
        Ok(())
    }

    /// The archives that a document names. One that somebody goes by must be legible.
    fn names(&mut self, key: &ObjectKey, content: &Content, counts: bool) -> BTreeSet<Digest> {
        let mut obstacle = |reason| {
            if counts {
                self.obstacles.push(Obstacle { key: key.clone(), reason });
            }
        };
        let bytes = match content {
            Content::Bytes(bytes) => bytes,
            Content::TooLarge => {
                obstacle("it is larger than any document");
                return BTreeSet::new();
            }
            Content::Gone => {
                obstacle("it is listed, and cannot be found");
                return BTreeSet::new();
            }
        };
        let none = BTreeSet::new();
        let named = Named::by(bytes, self.known.as_ref().unwrap_or(&none));
        if !named.is_legible {
            obstacle("it is no signed document");
        }
        named.archives
    }
}

impl Content {
    fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::TooLarge | Self::Gone => None,
        }
    }
}

/// Listed objects, as they are read: many at once, and no more kept than that.
struct Found(stream::BoxStream<'static, Result<(Listed, Content), StoreError>>);

impl Found {
    fn new(surveyor: &Surveyor<'_>, listed: Vec<Listed>) -> Self {
        let store = std::sync::Arc::clone(&surveyor.fleet.store);
        let read = listed.into_iter().map(move |object| {
            let store = std::sync::Arc::clone(&store);
            async move {
                let content = match store.read(&object.key, Read::DOCUMENT).await {
                    Ok(Answer::Found { bytes, .. }) => Content::Bytes(bytes),
                    Err(error) if error.fault == Fault::TooLarge => Content::TooLarge,
                    Err(error) if error.fault == Fault::NotFound => Content::Gone,
                    Ok(Answer::Unchanged { .. }) => Content::Gone,
                    Err(error) => return Err(error),
                };
                Ok((object, content))
            }
        });
        Self(stream::iter(read).buffered(CONCURRENT).boxed())
    }

    async fn next(&mut self) -> Result<Option<(Listed, Content)>, StoreError> {
        self.0.next().await.transpose()
    }
}

impl From<&Listed> for Stored {
    fn from(object: &Listed) -> Self {
        Self { size: object.size, modified: object.modified }
    }
}

fn pointed(remote: &RemoteName, document: &Verified<RemoteState>) -> Pointed {
    let header = document.header();
    let origin = match document.body() {
        Standing::Present(release) => release.origin.as_ref(),
        Standing::Removed => None,
    };
    Pointed {
        serial: header.serial,
        created: header.created,
        is_removed: *document.body() == Standing::Removed,
        repeats: origin.filter(|origin| origin.remote == *remote).map(|origin| origin.serial),
    }
}

fn said(remote: &RemoteName, document: &Verified<RemoteState>) -> Said {
    let brings = match document.body() {
        Standing::Present(release) => {
            let repeats = release.origin.as_ref().is_some_and(|origin| origin.remote == *remote);
            (!repeats).then_some(release.archive.sha256)
        }
        Standing::Removed => None,
    };
    Said { created: document.header().created, brings }
}
