//! What lies in a store's archives.

use std::fs::File;
use std::path::Path;

use npc_core::archive::{self, Limits, Manifest};
use npc_core::document::Archive;
use npc_core::fleet::Fleet;
use npc_core::store::{DownloadError, Fault, download};

use crate::failure::{Exit, Failure};

/// Downloads an archive, and holds it against its digest.
pub async fn fetch(fleet: &Fleet, archive: &Archive, file: &Path) -> Result<(), Failure> {
    download(&*fleet.store, archive, file).await.map_err(|error| match error {
        DownloadError::Store(error) if error.fault == Fault::NotFound => Failure::new(Exit::Store, error)
            .hint("`npc-publish gc` removes the archives of old releases; publish that commit again instead"),
        DownloadError::Store(error) => error.into(),
        DownloadError::Refused(refusal) => refusal.into(),
        error @ DownloadError::Disk { .. } => Failure::other(error).hint("make room where TMPDIR points"),
    })
}

/// What a downloaded archive holds.
pub fn manifest_of(file: &Path) -> Result<Manifest, Failure> {
    let opened = File::open(file).map_err(Failure::other)?;
    archive::manifest(opened, Limits::default()).map_err(|error| Failure::new(Exit::Trust, error))
}

/// What an archive in the store holds.
pub async fn manifest(fleet: &Fleet, archive: &Archive) -> Result<Manifest, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::scratch)?;
    let file = folder.path().join("archive");
    fetch(fleet, archive, &file).await?;
    manifest_of(&file)
}
