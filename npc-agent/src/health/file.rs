//! `/etc/npc/host.json`: what a system says about its host. The NixOS module writes it; any other program may.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use npc_core::files;
use serde::Deserialize;
use thiserror::Error;

use super::check::Check;

/// The longest file that is read, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;

/// The most checks.
const CHECKS: usize = 100;

/// A description that cannot be relied on.
#[derive(Debug, Error)]
pub enum HostFileError {
    /// It cannot be read.
    #[error("cannot read `{path}`")]
    Io {
        /// Where it is.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("`{path}` is not in order")]
    Form {
        /// Where it is.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// It has too many checks.
    #[error("`{0}` has more than {CHECKS} health checks")]
    TooMany(String),
}

/// What the agent needs of the description. What else is in it (role, groups, orchestration) is for the publisher's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFile {
    /// The host's health checks by their names.
    #[serde(default)]
    pub health_checks: BTreeMap<String, Check>,
}

impl HostFile {
    /// Reads it. A system without a description has no checks.
    pub fn read(path: &Path) -> Result<Self, HostFileError> {
        let shown = path.display().to_string();
        let bytes = match files::read_limited(path, FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(HostFileError::Io { path: shown, source }),
        };
        let file: Self =
            serde_json::from_slice(&bytes).map_err(|source| HostFileError::Form { path: shown.clone(), source })?;
        if file.health_checks.len() > CHECKS { Err(HostFileError::TooMany(shown)) } else { Ok(file) }
    }
}
