//! A directory in which somebody else is at work.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use npc_core::layout::{self, ObjectKey};
use npc_core::store::{
    Answer, Content, DirectoryStore, ETag, Fault, Listed, Opened, Operation, Precondition, Read, Store, StoreError,
    StoreUrl,
};

/// What somebody else does.
pub(super) type Deed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What somebody does before a listing, and after it.
pub(super) type Around = (Option<Deed>, Option<Deed>);

/// What happens, and when.
#[derive(Clone, Default)]
pub(super) struct Meddling {
    /// What happens when archives are listed for the nth time from now: before that, and after.
    pub(super) listings: Arc<Mutex<Vec<Around>>>,
    /// What happens right after something is removed.
    pub(super) removal: Arc<Mutex<Option<Deed>>>,
    /// What cannot be listed.
    pub(super) denied: Arc<Mutex<Option<&'static str>>>,
    /// Whether listings say no times.
    pub(super) is_dateless: Arc<Mutex<bool>>,
}

/// The directory.
pub(super) struct Meddled {
    pub(super) inner: DirectoryStore,
    pub(super) meddling: Meddling,
}

impl std::fmt::Debug for Meddled {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(formatter)
    }
}

async fn happen(deed: Option<Deed>) {
    if let Some(deed) = deed {
        deed.await;
    }
}

#[async_trait]
impl Store for Meddled {
    fn url(&self) -> &StoreUrl {
        self.inner.url()
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        self.inner.read(key, read).await
    }

    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        self.inner.open(key, start, version).await
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        self.inner.write(key, content, precondition).await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.inner.remove(key).await?;
        let deed = self.meddling.removal.lock().expect("whole").take();
        happen(deed).await;
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        if *self.meddling.denied.lock().expect("whole") == Some(prefix) {
            let (object, store) = (prefix.to_owned(), self.url().to_string());
            let (fault, operation) = (Fault::Denied, Operation::List);
            return Err(StoreError { fault, operation, object, store, source: "not to you".into() });
        }
        let mut deeds = (None, None);
        if prefix == layout::ARCHIVES {
            let mut listings = self.meddling.listings.lock().expect("whole");
            if !listings.is_empty() {
                deeds = listings.remove(0);
            }
        }
        happen(deeds.0).await;
        let mut listed = self.inner.list(prefix).await?;
        if *self.meddling.is_dateless.lock().expect("whole") {
            for object in &mut listed {
                object.modified = None;
            }
        }
        happen(deeds.1).await;
        Ok(listed)
    }
}
