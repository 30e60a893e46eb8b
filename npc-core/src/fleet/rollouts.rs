//! Reading what rollouts are to do.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{CONCURRENT, Fleet, names};
use crate::document::Rollout;
use crate::layout;
use crate::name::RolloutName;
use crate::store::{ETag, StoreError, read_if_present};
use crate::trust::{Refusal, Subject, Verified};

/// What lies at the place of a rollout's intent.
#[derive(Debug)]
pub struct Intended {
    /// The document, or why it is not to be believed.
    pub state: Result<Verified<Rollout>, Refusal>,
    /// Its version, to write over it.
    pub etag: Option<ETag>,
}

impl Fleet {
    /// Reads a rollout's intent; none where there has never been one.
    pub async fn rollout(&self, name: &RolloutName) -> Result<Option<Intended>, StoreError> {
        let found = read_if_present(&*self.store, &layout::rollout(name)).await?;
        Ok(found.map(|(bytes, etag)| self.judge_rollout(name, &bytes, etag)))
    }

    /// Judges what lies at the place of a rollout's intent.
    pub fn judge_rollout(&self, name: &RolloutName, bytes: &[u8], etag: Option<ETag>) -> Intended {
        Intended { state: self.verify(Subject::Rollout(name), bytes), etag }
    }

    /// Reads the intents of all rollouts, ended ones included.
    pub async fn rollouts(&self) -> Result<Vec<(RolloutName, Intended)>, StoreError> {
        let listed = names::<RolloutName>(self.store.list(layout::ROLLOUTS).await?);
        let read = listed.map(async |(name, _)| Ok(self.rollout(&name).await?.map(|intended| (name, intended))));
        stream::iter(read).buffered(CONCURRENT).try_filter_map(async |found| Ok(found)).try_collect().await
    }
}
