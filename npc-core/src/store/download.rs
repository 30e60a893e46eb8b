//! Downloading an archive: bounded, resumed where it broke off, checked while it streams.

use std::io;
use std::path::Path;

use futures_util::StreamExt as _;
use thiserror::Error;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::{ETag, Opened, Retries, Store, StoreError};
use crate::digest::Hashing;
use crate::document::Archive;
use crate::layout::{self, ObjectKey};
use crate::limits;
use crate::trust::Refusal;

/// A download that did not end in the archive that was signed for.
#[derive(Debug, Error)]
pub enum DownloadError {
    /// The store failed, and did so again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came is not what was signed for.
    #[error("the archive is not the one that was published")]
    Refused(#[from] Refusal),
    /// The file could not be written: a full disk, mostly.
    #[error("cannot write the archive to `{}`", path.display())]
    Disk {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Downloads `archive` into the new file `path`. After an error the caller removes the file.
///
/// The length is checked before anything beyond it is taken in, the digest over exactly the bytes that were written. A
/// connection that breaks is resumed at the byte it broke off, a few times without progress.
pub async fn download(store: &dyn Store, archive: &Archive, path: &Path) -> Result<(), DownloadError> {
    if archive.size > limits::ARCHIVE_BYTES {
        return Err(Refusal::TooLarge { limit: limits::ARCHIVE_BYTES }.into());
    }
    let disk = |source| DownloadError::Disk { path: path.to_owned(), source };
    let mut file = File::create_new(path).await.map_err(disk)?;
    let mut download = Download { key: layout::archive(&archive.sha256), hashing: Hashing::new(()), version: None };
    let retries = Retries::default();
    let (mut failed, mut furthest) = (0, 0);
    loop {
        match download.run(store, archive, &mut file, path).await {
            Ok(()) => break,
            Err(DownloadError::Store(error)) if error.fault.may_pass() => {
                // A store that begins again and again, and never gets further, makes no progress.
                let reached = download.hashing.length();
                failed = if reached > furthest { 1 } else { failed + 1 };
                furthest = furthest.max(reached);
                if failed >= retries.attempts {
                    return Err(error.into());
                }
                tracing::debug!(at = download.hashing.length(), "the download broke off; resuming");
                tokio::time::sleep(retries.pause(failed)).await;
            }
            Err(error) => return Err(error),
        }
    }
    file.flush().await.map_err(disk)?;
    let ((), found, found_size) = download.hashing.finish();
    if (found, found_size) != (archive.sha256, archive.size) {
        let (found, expected) = (Box::new(found), Box::new(archive.sha256));
        return Err(Refusal::DigestMismatch { found, found_size, expected, expected_size: archive.size }.into());
    }
    Ok(())
}

struct Download {
    key: ObjectKey,
    hashing: Hashing<()>,
    version: Option<ETag>,
}

impl Download {
    /// Reads from where the last attempt broke off to the end.
    async fn run(
        &mut self,
        store: &dyn Store,
        archive: &Archive,
        file: &mut File,
        path: &Path,
    ) -> Result<(), DownloadError> {
        let disk = |source| DownloadError::Disk { path: path.to_owned(), source };
        if self.hashing.length() == archive.size && archive.size > 0 {
            return Ok(());
        }
        let Opened { etag, start, mut body } =
            store.open(&self.key, self.hashing.length(), self.version.as_ref()).await?;
        if start != self.hashing.length() {
            self.hashing = Hashing::new(());
            file.set_len(0).await.map_err(disk)?;
            file.rewind().await.map_err(disk)?;
        }
        self.version = etag;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            if self.hashing.length() + piece.len() as u64 > archive.size {
                return Err(Refusal::TooLarge { limit: archive.size }.into());
            }
            file.write_all(&piece).await.map_err(disk)?;
            self.hashing.update(&piece);
        }
        Ok(())
    }
}
