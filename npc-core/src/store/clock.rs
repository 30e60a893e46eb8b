//! What time it is where a store is.

use super::{Content, Precondition, Store, StoreError};
use crate::Timestamp;
use crate::layout::ObjectKey;

/// The folder in which it is found out.
const PROBES: &str = "probe/";

/// The time by the clock that the store dates objects with; none where it dates none. Writes a small object, and removes it.
pub async fn clock(store: &dyn Store) -> Result<Option<Timestamp>, StoreError> {
    let name = getrandom::u64().unwrap_or(0);
    let key: ObjectKey = format!("{PROBES}{name:016x}").parse().expect("a legal key");
    store.write(&key, Content::Bytes(b"what time is it?"), Precondition::None).await?;
    let listed = store.list(PROBES).await;
    store.remove(&key).await?;
    Ok(listed?.into_iter().find(|object| object.key == key).and_then(|object| object.modified))
}
