//! Writing pointers safely, also where the store does not help.

use std::time::Duration;

use bytes::Bytes;

use super::{Content, ETag, Fault, Operation, Precondition, Store, StoreError, read_if_present};
use crate::layout::ObjectKey;

/// How long a writer on a store without conditional writes waits before it looks whether its bytes are still there.
const SETTLE: Duration = Duration::from_millis(400);

/// Whether a store does what `If-Match` and `If-None-Match` ask of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionalWrites {
    /// Of two writers, the store refuses one.
    Enforced,
    /// It accepts the headers and ignores them: of two writers at the same moment, the last wins. npc then reads back what
    /// it wrote, which leaves a window that only locking elsewhere can close.
    Ignored,
}

/// Finds out by writing a small object twice, and removes it.
pub async fn probe(store: &dyn Store) -> Result<ConditionalWrites, StoreError> {
    let name = getrandom::u64().unwrap_or(0);
    let key: ObjectKey = format!("probe/{name:016x}").parse().expect("a legal key");
    store.write(&key, Content::Bytes(b"one"), Precondition::Absent).await?;
    let again = store.write(&key, Content::Bytes(b"two"), Precondition::Absent).await;
    let other = ETag::new("\"00000000000000000000000000000000\"").expect("a legal tag");
    let over = store.write(&key, Content::Bytes(b"three"), Precondition::Version(other)).await;
    store.remove(&key).await?;
    let mut enforced = true;
    for outcome in [again, over] {
        match outcome {
            Ok(_) => enforced = false,
            Err(error) if error.fault == Fault::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    Ok(if enforced { ConditionalWrites::Enforced } else { ConditionalWrites::Ignored })
}

/// Writes a signed document under a precondition, once: when this returns `Ok`, the object holds exactly `bytes`.
///
/// A conflict is success if the bytes there are one's own: the answer to an earlier attempt was lost. Where the store
/// ignores preconditions, the object is looked at before and after.
pub async fn write_document(
    store: &dyn Store,
    key: &ObjectKey,
    bytes: &[u8],
    precondition: Precondition,
    writes: ConditionalWrites,
) -> Result<(), StoreError> {
    if writes == ConditionalWrites::Ignored {
        return write_and_look(store, key, bytes, precondition).await;
    }
    match store.write(key, Content::Bytes(bytes), precondition).await {
        Ok(_) => Ok(()),
        Err(error) if error.fault == Fault::Conflict && holds(store, key, bytes).await? => Ok(()),
        Err(error) => Err(error),
    }
}

async fn write_and_look(
    store: &dyn Store,
    key: &ObjectKey,
    bytes: &[u8],
    precondition: Precondition,
) -> Result<(), StoreError> {
    let before = read_if_present(store, key).await?;
    let may_write = match (&precondition, &before) {
        (Precondition::None, _) | (Precondition::Absent, None) => true,
        (Precondition::Version(expected), Some((_, found))) => found.as_ref() == Some(expected),
        _ => before.as_ref().is_some_and(|(found, _)| found == bytes),
    };
    if may_write {
        store.write(key, Content::Bytes(bytes), precondition).await?;
        tokio::time::sleep(SETTLE).await;
        if holds(store, key, bytes).await? {
            return Ok(());
        }
    }
    Err(StoreError {
        fault: Fault::Conflict,
        operation: Operation::Write,
        object: key.to_string(),
        store: store.url().to_string(),
        source: "someone else wrote it at the same time".into(),
    })
}

async fn holds(store: &dyn Store, key: &ObjectKey, bytes: &[u8]) -> Result<bool, StoreError> {
    let found: Option<(Bytes, _)> = read_if_present(store, key).await?;
    Ok(found.is_some_and(|(found, _)| found == bytes))
}
