//! A store for tests, with a will of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use npc_core::layout::ObjectKey;
use npc_core::store::{
    Answer, Content, DirectoryStore, ETag, Fault, Listed, Opened, Operation, Precondition, Read, Store, StoreError,
    StoreUrl,
};
use tokio::time::Instant;

/// What becomes of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// It is kept.
    Kept,
    /// It is not allowed.
    Denied,
    /// Nobody ever answers.
    Unanswered,
}

/// A directory whose clients wait for what they poll, and in which something happens meanwhile.
#[derive(Debug)]
pub(crate) struct PretendedStore {
    inner: DirectoryStore,
    root: PathBuf,
    /// Written the next time that somebody waits for a remote.
    pub(crate) meanwhile: Mutex<Vec<(&'static str, Vec<u8>)>>,
    /// What was read, and whether on the condition that it has changed.
    pub(crate) reads: Mutex<Vec<(String, bool)>>,
    /// Of what begins like this, nothing can be read, and why.
    pub(crate) withheld: Mutex<Option<(&'static str, Fault)>>,
    /// What becomes of what is written.
    pub(crate) writes: Mutex<Writes>,
    /// When somebody tried to write.
    pub(crate) tries: Mutex<Vec<Instant>>,
}

impl PretendedStore {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            inner: DirectoryStore::new(root.clone()),
            root,
            meanwhile: Mutex::default(),
            reads: Mutex::default(),
            withheld: Mutex::default(),
            writes: Mutex::new(Writes::Kept),
            tries: Mutex::default(),
        }
    }

    fn failed(&self, fault: Fault, operation: Operation, key: &ObjectKey) -> StoreError {
        let (object, store) = (key.to_string(), self.url().to_string());
        StoreError { fault, operation, object, store, source: "it has a will of its own".into() }
    }

    /// How long after each other somebody tried to write.
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        let tries = self.tries.lock().expect("unharmed");
        tries.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

#[async_trait]
impl Store for PretendedStore {
    fn url(&self) -> &StoreUrl {
        self.inner.url()
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        self.reads.lock().expect("unharmed").push((key.to_string(), read.unless.is_some()));
        if read.wait.is_some() && key.as_str().starts_with("remotes/") {
            for (path, bytes) in self.meanwhile.lock().expect("unharmed").drain(..) {
                fs::create_dir_all(self.root.join(path).parent().expect("a folder")).expect("created");
                fs::write(self.root.join(path), bytes).expect("written");
            }
        }
        Ok(match self.inner.read(key, read).await? {
            Answer::Unchanged { .. } => Answer::Unchanged { waited: true },
            Answer::Found { bytes, etag, .. } => Answer::Found { bytes, etag, waited: true },
        })
    }

    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        self.reads.lock().expect("unharmed").push((key.to_string(), version.is_some()));
        let withheld = *self.withheld.lock().expect("unharmed");
        match withheld.filter(|(prefix, _)| key.as_str().starts_with(prefix)) {
            Some((_, fault)) => Err(self.failed(fault, Operation::Read, key)),
            None => self.inner.open(key, start, version).await,
        }
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        self.tries.lock().expect("unharmed").push(Instant::now());
        let writes = *self.writes.lock().expect("unharmed");
        match writes {
            Writes::Kept => self.inner.write(key, content, precondition).await,
            Writes::Denied => Err(self.failed(Fault::Denied, Operation::Write, key)),
            Writes::Unanswered => std::future::pending().await,
        }
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(prefix).await
    }
}
