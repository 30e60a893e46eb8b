//! A store whose every request is entered in a ledger.

use std::sync::Arc;

use async_trait::async_trait;
use npc_core::layout::ObjectKey;
use npc_core::store::{Answer, Content, ETag, Fault, Listed, Opened, Precondition, Read, Store, StoreError, StoreUrl};

use super::ledger::{Answered, Class, Ledger, Verb};

/// A host's store, counted and timed. What the client within tries again by itself counts once.
#[derive(Debug)]
pub struct CountedStore {
    inner: Arc<dyn Store>,
    ledger: Arc<Ledger>,
    host: usize,
}

impl CountedStore {
    /// The store of the host with this number.
    pub fn new(inner: Arc<dyn Store>, ledger: Arc<Ledger>, host: usize) -> Self {
        Self { inner, ledger, host }
    }

    fn begins(&self, verb: Verb, class: Class) -> usize {
        self.ledger.begin(self.host, verb, class, false)
    }

    fn ends<T>(&self, place: usize, result: &Result<T, StoreError>) {
        self.ledger.end(place, result.as_ref().map_or_else(answer_of, |_| Answered::Done), false);
    }
}

fn answer_of(error: &StoreError) -> Answered {
    if error.fault == Fault::NotFound { Answered::Absent } else { Answered::Failed }
}

#[async_trait]
impl Store for CountedStore {
    fn url(&self) -> &StoreUrl {
        self.inner.url()
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        let place = self.ledger.begin(self.host, Verb::Read, Class::of(key), read.wait.is_some());
        let result = self.inner.read(key, read).await;
        let (answered, waited) = match &result {
            Ok(Answer::Unchanged { waited }) => (Answered::Unchanged, *waited),
            Ok(Answer::Found { waited, .. }) => (Answered::Done, *waited),
            Err(error) => (answer_of(error), false),
        };
        self.ledger.end(place, answered, waited);
        result
    }

    async fn open(&self, key: &ObjectKey, start: u64, version: Option<&ETag>) -> Result<Opened, StoreError> {
        let place = self.begins(Verb::Read, Class::of(key));
        let result = self.inner.open(key, start, version).await;
        self.ends(place, &result);
        result
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let place = self.begins(Verb::Write, Class::of(key));
        let result = self.inner.write(key, content, precondition).await;
        self.ends(place, &result);
        result
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let place = self.begins(Verb::Remove, Class::of(key));
        let result = self.inner.remove(key).await;
        self.ends(place, &result);
        result
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let place = self.begins(Verb::List, Class::Other);
        let result = self.inner.list(prefix).await;
        self.ends(place, &result);
        result
    }
}
