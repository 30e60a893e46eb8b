//! Getting an archive: down, checked, unpacked, and only then under its name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use npc_core::archive::{Limits, UnpackError, unpack};
use npc_core::document::Archive;
use npc_core::explain;
use npc_core::files;
use npc_core::store::{DownloadError, Store, download};

use crate::machine::Failed;
use crate::state::StateDirectory;

/// Has the archive's files lie in their place in the state directory.
pub(super) async fn fetch(store: &dyn Store, state: &StateDirectory, archive: &Archive) -> Result<(), Failed> {
    let place = state.flake(&archive.sha256);
    if place.is_dir() {
        return StateDirectory::used_now(&place).map_err(|error| disk(&place, &error));
    }
    let file = Leftover(state.path("downloads").join(archive.sha256.to_string()));
    file.remove().map_err(|error| disk(&file.0, &error))?;
    download(store, archive, &file.0).await.map_err(|error| download_failed(&error))?;
    let unfinished = Leftover(place.with_file_name(format!(".{}", archive.sha256)));
    unfinished.remove().map_err(|error| disk(&unfinished.0, &error))?;
    let work = tokio::task::spawn_blocking(move || -> Result<(), Failed> {
        let opened = File::open(&file.0).map_err(|error| disk(&file.0, &error))?;
        unpack(opened, &unfinished.0, Limits::default()).map_err(|error| unpack_failed(&error))?;
        let parent = place.parent().unwrap_or(Path::new("/"));
        StateDirectory::used_now(&unfinished.0)
            .and_then(|()| fs::rename(&unfinished.0, &place))
            .and_then(|()| files::sync_directory(parent))
            .map_err(|error| disk(&place, &error))
    });
    match work.await {
        Ok(result) => result,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

/// A path that must be gone in the end, whatever happens.
struct Leftover(PathBuf);

impl Leftover {
    fn remove(&self) -> io::Result<()> {
        let removed = match fs::symlink_metadata(&self.0) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&self.0),
            Ok(_) => fs::remove_file(&self.0),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(path = %self.0.display(), %error, "cannot tidy up");
        }
    }
}

fn disk(path: &Path, error: &io::Error) -> Failed {
    Failed::new(disk_kind(error), format!("cannot write `{}`: {error}", path.display()))
}

fn disk_kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "disk-full",
        _ => "disk",
    }
}

fn download_failed(error: &DownloadError) -> Failed {
    let kind = match error {
        DownloadError::Store(error) => error.fault.kind(),
        DownloadError::Refused(refusal) => refusal.kind(),
        DownloadError::Disk { source, .. } => disk_kind(source),
    };
    Failed::new(kind, explain::in_one_line(error))
}

fn unpack_failed(error: &UnpackError) -> Failed {
    let kind = match error {
        UnpackError::Archive(error) => error.kind(),
        UnpackError::Write { source, .. } => disk_kind(source),
    };
    Failed::new(kind, explain::in_one_line(error))
}
