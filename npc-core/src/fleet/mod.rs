//! A fleet as its operators see it: one store, and the newest trust that could be verified in it.

mod memory;
mod reports;
mod rollouts;

use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use self::memory::Memory;
pub use self::reports::{Inquiry, KeyStanding, Reported};
pub use self::rollouts::Intended;

use crate::Timestamp;
use crate::document::{Assignment, Body, RemoteState, Serial};
use crate::layout;
use crate::layout::ObjectKey;
use crate::name::{AssignmentName, RemoteName};
use crate::store::{Answer, ETag, Fault, Listed, Read, Store, StoreError, read_if_present};
use crate::trust::walk::{self, WalkError};
use crate::trust::{Anchor, Floors, Refusal, Subject, Trusted, Verified, verify};

/// How many objects are read at once where many are read.
pub const CONCURRENT: usize = 64;

/// One store and the newest trust in it.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Where everything lies.
    pub store: Arc<dyn Store>,
    /// Who may sign what.
    pub trusted: Trusted,
    /// What was read before.
    pub memory: Arc<Memory>,
}

/// What lies at a remote's pointer.
#[derive(Debug)]
pub struct Pointer {
    /// The document, or why it is not to be believed.
    pub state: Result<Verified<RemoteState>, Refusal>,
    /// Its version, to write over it.
    pub etag: Option<ETag>,
}

/// What lies at the place of an assignment.
#[derive(Debug)]
pub struct Assigned {
    /// The document, or why it is not to be believed.
    pub state: Result<Verified<Assignment>, Refusal>,
    /// Its version, to write over it.
    pub etag: Option<ETag>,
    /// Its bytes.
    pub(crate) bytes: Bytes,
}

/// One entry of a remote's history.
#[derive(Debug)]
pub struct Entry {
    /// The serial in its name.
    pub serial: Serial,
    /// The document, or why it is not to be believed.
    pub state: Result<Verified<RemoteState>, Refusal>,
}

impl Fleet {
    /// Walks from `anchor` to the newest trust in `store`.
    pub async fn open(store: Arc<dyn Store>, anchor: &Anchor) -> Result<Self, WalkError> {
        let first = walk::first(&*store, anchor).await?;
        let trusted = walk::newest(&*store, first).await?;
        Ok(Self { store, trusted, memory: Arc::default() })
    }

    /// The same fleet, of which so much is remembered.
    #[must_use]
    pub fn remembering(self, memory: Memory) -> Self {
        Self { memory: Arc::new(memory), ..self }
    }

    /// Reads the remote's current release; none where the remote has never been published to.
    ///
    /// An operator keeps no floors and wants to see what is there, so a document that has expired is shown as expired by
    /// whoever prints it, not refused here: it is verified as of the moment it was made.
    pub async fn remote(&self, remote: &RemoteName) -> Result<Option<Pointer>, StoreError> {
        let found = read_if_present(&*self.store, &layout::remote(remote)).await?;
        Ok(found.map(|(bytes, etag)| Pointer { state: self.judge_remote(remote, &bytes), etag }))
    }

    /// Whether to believe what was read at a remote's pointer.
    pub fn judge_remote(&self, remote: &RemoteName, bytes: &[u8]) -> Result<Verified<RemoteState>, Refusal> {
        self.verify(Subject::Remote(remote), bytes)
    }

    /// Reads one entry of the remote's history.
    pub async fn release(&self, remote: &RemoteName, serial: Serial) -> Result<Option<Entry>, StoreError> {
        let found = read_if_present(&*self.store, &layout::release(remote, serial)).await?;
        Ok(found.map(|(bytes, _)| self.judge_release(remote, serial, &bytes)))
    }

    /// Whether to believe what was read at the place of an entry of the remote's history.
    pub fn judge_release(&self, remote: &RemoteName, serial: Serial, bytes: &[u8]) -> Entry {
        let state = self.judge_remote(remote, bytes).and_then(|document| match document.header().serial {
            found if found == serial => Ok(document),
            found => {
                let (found, expected) = (found.to_string(), serial.to_string());
                Err(Refusal::WrongSubject { what: "serial", found, expected })
            }
        });
        Entry { serial, state }
    }

    /// The serials of all entries in the remote's history, newest first. Their names are all that is known of them.
    pub async fn serials(&self, remote: &RemoteName) -> Result<Vec<Serial>, StoreError> {
        let listed = self.store.list(&layout::releases(remote)).await?;
        let mut serials: Vec<_> = listed.iter().filter_map(|object| layout::serial_of(&object.key)).collect();
        serials.sort_unstable_by(|one, two| two.cmp(one));
        Ok(serials)
    }

    /// The names of all remotes, removed ones included.
    pub async fn remotes(&self) -> Result<Vec<RemoteName>, StoreError> {
        Ok(names(self.store.list(layout::REMOTES).await?).map(|(name, _)| name).collect())
    }

    /// Reads an assignment; none where there has never been one.
    pub async fn assignment(&self, name: &AssignmentName) -> Result<Option<Assigned>, StoreError> {
        let found = read_if_present(&*self.store, &layout::assignment(name)).await?;
        Ok(found.map(|(bytes, etag)| self.judge_assignment(name, bytes, etag)))
    }

    /// Whether to believe what was read at the place of an assignment.
    pub fn judge_assignment(&self, name: &AssignmentName, bytes: Bytes, etag: Option<ETag>) -> Assigned {
        Assigned { state: self.verify(Subject::Assignment(name), &bytes), etag, bytes }
    }

    /// Reads every assignment, removed ones included, as of one listing: what is remembered is not read again.
    pub async fn all_assignments(&self) -> Result<Vec<(AssignmentName, Assigned)>, StoreError> {
        self.assignments(|_| true).await
    }

    /// Reads these of all assignments likewise.
    pub async fn assignments(
        &self,
        is_wanted: impl Fn(&AssignmentName) -> bool,
    ) -> Result<Vec<(AssignmentName, Assigned)>, StoreError> {
        let fleet = &Arc::new(self.clone());
        let listed = names::<AssignmentName>(self.list(layout::ASSIGNMENTS).await?);
        let listed = listed.filter(|(name, _)| is_wanted(name));
        let read = listed.map(|(name, object)| async move {
            let (fleet, judged) = (Arc::clone(fleet), name.clone());
            let judge = move |bytes, etag| fleet.judge_assignment(&judged, bytes, etag);
            let found = self.known_or_read(&object.key, object.etag.as_ref(), Read::DOCUMENT, judge).await?;
            Ok(found.map(|assigned| (name, assigned)))
        });
        stream::iter(read).buffered(CONCURRENT).try_filter_map(async |found| Ok(found)).try_collect().await
    }

    /// Reads every remote, removed ones included.
    pub async fn all_remotes(&self) -> Result<Vec<(RemoteName, Pointer)>, StoreError> {
        let read = self.remotes().await?.into_iter().map(async |name| {
            let found = self.remote(&name).await?;
            Ok(found.map(|pointer| (name, pointer)))
        });
        stream::iter(read).buffered(CONCURRENT).try_filter_map(async |found| Ok(found)).try_collect().await
    }

    /// Lists a folder, and forgets what is there no longer.
    async fn list(&self, folder: &'static str) -> Result<Vec<Listed>, StoreError> {
        let listed = self.store.list(folder).await?;
        let memory = Arc::clone(&self.memory);
        Ok(aside(move || {
            memory.keep_only(folder, &listed);
            listed
        })
        .await)
    }

    /// Reads a document and has it judged; none where there is none. If a listing has just said its version, and that is
    /// remembered and believed, it is not read.
    async fn known_or_read<J: Judged>(
        &self,
        key: &ObjectKey,
        listed: Option<&ETag>,
        read: Read<'_>,
        judge: impl Fn(Bytes, Option<ETag>) -> J + Clone + Send + 'static,
    ) -> Result<Option<J>, StoreError> {
        if let Some(etag) = listed
            && let Some(bytes) = self.memory.recall(key, etag)
        {
            let (judge, etag) = (judge.clone(), etag.clone());
            let judged = aside(move || judge(bytes, Some(etag))).await;
            if judged.is_believed() {
                return Ok(Some(judged));
            }
        }
        let (bytes, etag) = match self.store.read(key, read).await {
            Ok(Answer::Found { bytes, etag, .. }) => (bytes, etag),
            Ok(Answer::Unchanged { .. }) => return Ok(None),
            Err(error) if error.fault == Fault::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let (read, version) = (bytes.clone(), etag.clone());
        let judged = aside(move || judge(bytes, etag)).await;
        // By the version that came with it: it may have changed since it was listed. What is not believed would be read again
        // anyway, and may be anything at all.
        if let (Some(_), Some(version), true) = (listed, version, judged.is_believed()) {
            self.memory.learn(key, version, read);
        }
        Ok(Some(judged))
    }

    fn verify<B: Body>(&self, subject: Subject<'_>, bytes: &[u8]) -> Result<Verified<B>, Refusal> {
        let as_of = |now| verify(bytes, subject, &self.trusted, &Floors::default(), now);
        as_of(Timestamp::MIN).or_else(|refusal| match refusal {
            Refusal::ClockSkew { created, .. } => as_of(created),
            other => Err(other),
        })
    }
}

/// What is believed or not.
trait Judged: Send + 'static {
    /// Whether it is.
    fn is_believed(&self) -> bool;
}

impl Judged for Assigned {
    fn is_believed(&self) -> bool {
        self.state.is_ok()
    }
}

/// Judges where the next answers are not kept waiting: checking thousands of signatures takes longer than reading them.
async fn aside<T: Send + 'static>(judge: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(judge).await {
        Ok(judged) => judged,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

/// The documents in a listing, by name.
fn names<N: FromStr>(listed: Vec<Listed>) -> impl Iterator<Item = (N, Listed)> {
    let name = |object: &Listed| object.key.file_name().strip_suffix(".json")?.parse().ok();
    listed.into_iter().filter_map(move |object| Some((name(&object)?, object)))
}
