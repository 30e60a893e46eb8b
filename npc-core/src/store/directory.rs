//! A store in a directory: for one machine, a shared file system, or behind `npc-publish serve`.
//!
//! An object's version is the digest of its content. Writers take a lock on the directory, so that comparing and replacing
//! is one step among all processes that use the same file system; readers never see a torn object, since each is renamed
//! into place. Names that begin with a dot are the store's own.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::NamedTempFile;

use super::error::Asked;
use super::{Answer, Content, ETag, Fault, Listed, Opened, Operation, Precondition, Read, Store, StoreError, StoreUrl};
use crate::Timestamp;
use crate::digest::Hashing;
use crate::files;
use crate::layout::ObjectKey;
use crate::limits;

/// The file whose lock writers hold.
const LOCK: &str = ".lock";

/// What the names of unfinished objects begin with.
const TEMPORARY: &str = ".tmp-";

/// How much of a large object is read at a time, in bytes.
const PIECE: usize = 256 * 1024;

/// A store in a directory.
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
    url: StoreUrl,
}

impl DirectoryStore {
    /// The store in `root`, which must exist before anything is written.
    pub fn new(root: PathBuf) -> Self {
        Self { url: StoreUrl::Directory(root.clone()), root }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what writers that were killed have left behind. What a living writer is at work on is locked, and stays.
    pub fn clean(&self) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut ahead = vec![self.root.clone()];
        while let Some(directory) = ahead.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    ahead.push(entry.path());
                } else if entry.file_name().to_string_lossy().starts_with(TEMPORARY)
                    && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
                {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// A new file for content that is not complete yet, on the store's own file system.
    pub fn temporary(&self) -> io::Result<NamedTempFile> {
        let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.root)?;
        temporary.as_file().lock()?;
        Ok(temporary)
    }

    /// The version of an object, or none where there is no object.
    pub fn version(&self, key: &ObjectKey) -> io::Result<Option<ETag>> {
        version_of(&self.path(key))
    }

    /// Makes a finished temporary file an object, if `precondition` holds. Returns its version.
    pub fn settle(
        &self,
        temporary: NamedTempFile,
        key: &ObjectKey,
        precondition: &Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let asked = self.asked(Operation::Write, key.as_str());
        let failed = |error: io::Error| asked.failed(fault(&error), error);
        let path = self.path(key);
        let _lock = self.lock().map_err(|error| asked.failed(fault_of_root(&error), error))?;
        let holds = match precondition {
            Precondition::None if key.is_immutable() => {
                let found = self.version(key).map_err(failed)?;
                found.is_none() || found == version_of(temporary.path()).map_err(failed)?
            }
            Precondition::None => true,
            Precondition::Absent => !path.try_exists().map_err(failed)?,
            Precondition::Version(expected) => self.version(key).map_err(failed)?.as_ref() == Some(expected),
        };
        if !holds {
            return Err(asked.failed(Fault::Conflict, "someone else wrote it first"));
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        files::settle(temporary, &path, 0o644).map_err(failed)?;
        self.version(key).map_err(failed)
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn lock(&self) -> io::Result<File> {
        let file = File::options().create(true).truncate(false).write(true).open(self.root.join(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    fn asked<'a>(&'a self, operation: Operation, object: &'a str) -> Asked<'a> {
        Asked { operation, object, store: &self.url }
    }

    fn read_now(&self, key: &ObjectKey, unless: Option<&ETag>, limit: u64) -> Result<Answer, StoreError> {
        let asked = self.asked(Operation::Read, key.as_str());
        let bytes = files::read_limited(&self.path(key), limit).map_err(|error| asked.failed(fault(&error), error))?;
        let etag = ETag::new(format!("\"{}\"", crate::digest::Digest::of(&bytes)));
        if unless.is_some() && unless == etag.as_ref() {
            return Ok(Answer::Unchanged { waited: false });
        }
        Ok(Answer::Found { bytes: bytes.into(), etag, waited: false })
    }

    fn write_now(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: &Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let asked = self.asked(Operation::Write, key.as_str());
        let failed = |error: io::Error| asked.failed(fault(&error), error);
        let mut temporary = self.temporary().map_err(|error| asked.failed(fault_of_root(&error), error))?;
        match content {
            Content::Bytes(bytes) => temporary.write_all(bytes).map_err(failed)?,
            Content::File(path) => {
                let mut file = File::open(path).map_err(failed)?;
                io::copy(&mut file, &mut temporary).map_err(failed)?;
            }
        }
        self.settle(temporary, key, precondition)
    }

    fn list_now(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let asked = self.asked(Operation::List, prefix);
        let failed = |error: io::Error| asked.failed(fault(&error), error);
        if !self.root.is_dir() {
            return Err(asked.failed(Fault::NoSuchStore, "there is no such directory"));
        }
        let mut found = Vec::new();
        let mut ahead = vec![self.root.join(prefix)];
        while let Some(directory) = ahead.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            for entry in entries {
                let path = entry.map_err(failed)?.path();
                let metadata = match fs::symlink_metadata(&path) {
                    Ok(metadata) => metadata,
                    // Somebody has removed it meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed(error)),
                };
                let relative = path.strip_prefix(&self.root).ok().and_then(Path::to_str).unwrap_or_default();
                if metadata.is_dir() {
                    ahead.push(path);
                } else if let Ok(key) = relative.parse() {
                    let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
                    // Its version is its digest: finding that out is no less work than reading it.
                    found.push(Listed { key, size: metadata.len(), modified, etag: None });
                }
            }
            if found.len() > limits::LISTED_OBJECTS {
                return Err(asked.failed(Fault::TooLarge, "there are too many objects to list"));
            }
        }
        found.sort_by(|one, two| one.key.cmp(&two.key));
        Ok(found)
    }
}

fn version_of(path: &Path) -> io::Result<Option<ETag>> {
    match File::open(path) {
        Ok(mut file) => {
            let mut hashing = Hashing::new(io::sink());
            io::copy(&mut file, &mut hashing)?;
            let (_, digest, _) = hashing.finish();
            Ok(ETag::new(format!("\"{digest}\"")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Fault::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        io::ErrorKind::FileTooLarge => Fault::TooLarge,
        _ => Fault::Broken,
    }
}

/// When not even the store's own files can be made, it is the store that is missing.
fn fault_of_root(error: &io::Error) -> Fault {
    match fault(error) {
        Fault::NotFound => Fault::NoSuchStore,
        other => other,
    }
}

/// Runs file work where it does not hold up the reactor.
async fn off_the_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

#[async_trait]
impl Store for DirectoryStore {
    fn url(&self) -> &StoreUrl {
        &self.url
    }

    async fn read(&self, key: &ObjectKey, read: Read<'_>) -> Result<Answer, StoreError> {
        let (store, key, unless, limit) = (self.clone(), key.clone(), read.unless.cloned(), read.limit);
        off_the_reactor(move || store.read_now(&key, unless.as_ref(), limit)).await
    }

    async fn open(&self, key: &ObjectKey, start: u64, _version: Option<&ETag>) -> Result<Opened, StoreError> {
        let asked = self.asked(Operation::Read, key.as_str());
        let path = self.path(key);
        let file = off_the_reactor(move || {
            let mut file = File::open(path)?;
            file.seek(io::SeekFrom::Start(start)).map(|_| file)
        })
        .await
        .map_err(|error| asked.failed(fault(&error), error))?;
        let state = (self.clone(), key.clone(), file);
        let body = futures_util::stream::try_unfold(state, async |(store, key, mut file)| {
            let (read, file) = off_the_reactor(move || {
                let mut piece = vec![0; PIECE];
                let read = file.read(&mut piece).map(|length| {
                    piece.truncate(length);
                    piece
                });
                (read, file)
            })
            .await;
            match read {
                Ok(piece) if piece.is_empty() => Ok(None),
                Ok(piece) => Ok(Some((Bytes::from(piece), (store, key, file)))),
                Err(error) => Err(store.asked(Operation::Read, key.as_str()).failed(fault(&error), error)),
            }
        });
        Ok(Opened { etag: None, start, body: Box::pin(body) })
    }

    async fn write(
        &self,
        key: &ObjectKey,
        content: Content<'_>,
        precondition: Precondition,
    ) -> Result<Option<ETag>, StoreError> {
        let (store, key) = (self.clone(), key.clone());
        match content {
            Content::Bytes(bytes) => {
                let bytes = bytes.to_vec();
                off_the_reactor(move || store.write_now(&key, Content::Bytes(&bytes), &precondition)).await
            }
            Content::File(path) => {
                let path = path.to_owned();
                off_the_reactor(move || store.write_now(&key, Content::File(&path), &precondition)).await
            }
        }
    }

    async fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let (store, key) = (self.clone(), key.clone());
        off_the_reactor(move || {
            let asked = store.asked(Operation::Remove, key.as_str());
            let removed = store.lock().and_then(|_lock| fs::remove_file(store.path(&key)));
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(asked.failed(fault(&error), error)),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        off_the_reactor(move || store.list_now(&prefix)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_removes_what_was_left_behind_and_not_what_is_being_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = DirectoryStore::new(folder.path().to_owned());
        let living = store.temporary().expect("made");
        let left = folder.path().join(format!("{TEMPORARY}left"));
        fs::write(&left, "half").expect("written");
        store.clean().expect("cleaned");
        assert!(living.path().exists());
        assert!(!left.exists());
    }
}
