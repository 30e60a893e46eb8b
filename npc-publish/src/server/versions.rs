//! The versions of objects, so that a thousand waiting hosts do not have the same file hashed a thousand times.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use npc_core::layout::ObjectKey;
use npc_core::store::{DirectoryStore, ETag};

use super::stamp::Stamp;

/// No more objects are remembered; beyond, all are forgotten and found out anew.
const MOST_REMEMBERED: usize = 100_000;

/// Versions by object, as long as the object's file is the same.
#[derive(Default)]
pub(crate) struct Versions(Mutex<HashMap<ObjectKey, (Stamp, ETag)>>);

impl Versions {
    /// The object's version; none where there is no object.
    pub(crate) fn of(&self, store: &DirectoryStore, key: &ObjectKey) -> io::Result<Option<ETag>> {
        let stamp = match store.root().join(key.as_str()).metadata() {
            Ok(metadata) if metadata.is_file() => Stamp::of(&metadata),
            Ok(_) => return Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // A panic elsewhere leaves the map whole: every change to it is one call.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some((known, etag)) = known
            && known == stamp
        {
            return Ok(Some(etag));
        }
        let found = store.version(key)?;
        if let Some(etag) = &found {
            let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if versions.len() >= MOST_REMEMBERED {
                versions.clear();
            }
            versions.insert(key.clone(), (stamp, etag.clone()));
        }
        Ok(found)
    }
}
