//! A flake's directory: which of its files are published, and packing them.

use std::fs::File;
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use globset::GlobSet;
use npc_core::archive::{Packed, pack};
use npc_core::document::Source;
use npc_core::key::SecretKey;
use tempfile::NamedTempFile;
use walkdir::WalkDir;

use crate::config::Config;
use crate::console::{self, Progress};
use crate::failure::{Exit, Failure};
use crate::git;
use crate::keys;

/// A flake packed into a temporary file.
pub(crate) struct PackedFlake {
    /// The archive.
    pub(crate) file: NamedTempFile,
    /// Its digest and content.
    pub(crate) packed: Packed,
    /// Where it came from.
    pub(crate) source: Source,
}

impl PackedFlake {
    /// The archive, to be read from its beginning.
    pub(crate) fn reader(&self) -> io::Result<File> {
        let mut file = self.file.reopen()?;
        file.rewind()?;
        Ok(file)
    }
}

/// Packs the flake in `directory`: the files that git tracks, or all files where there is no git, less what `npc.toml`
/// excludes. What is kept are the files as they lie in the working tree.
pub(crate) fn pack_flake(directory: &Path) -> Result<PackedFlake, Failure> {
    if !directory.join("flake.nix").is_file() {
        return Err(Failure::new(Exit::Flake, format!("there is no flake.nix in `{}`", directory.display()))
            .hint("name the flake's directory with --flake"));
    }
    let excluded = match Config::read_if_present(directory)? {
        Some(config) => config.excluded()?,
        None => GlobSet::empty(),
    };
    let (paths, source) = match git::find(directory)? {
        Some(work) => (tracked(directory, &work)?, work.source()?),
        None => (all_files(directory)?, Source::default()),
    };
    let paths: Vec<_> = paths.into_iter().filter(|path| !excluded.is_match(path)).collect();
    refuse_secret_keys(directory, &paths)?;
    let failed = |error| Failure::from(npc_core::archive::PackError::Write(error));
    let file = NamedTempFile::new().map_err(failed)?;
    let mut progress = Progress::begin("packing");
    let (_, packed) = pack(directory, paths, file.as_file(), |done| {
        progress.tell(format!("{} files, {}", done.entries, console::bytes(done.bytes)));
    })?;
    Ok(PackedFlake { file, packed, source })
}

fn tracked(directory: &Path, work: &git::Work<'_>) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = work.tracked()?;
    if !paths.iter().any(|path| path == Path::new("flake.nix")) {
        return Err(Failure::new(Exit::Flake, "git does not track flake.nix, so neither Nix nor npc would see it")
            .hint("`git add` the files of the flake"));
    }
    // A submodule is a directory to git's index; a file that was deleted without telling git is not there at all.
    paths.retain(|path| match directory.join(path).symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {
            console::warn(format_args!("the submodule `{}` is left out", path.display()));
            false
        }
        Err(error) => error.kind() != io::ErrorKind::NotFound,
        Ok(_) => true,
    });
    Ok(paths)
}

/// All files, links and directories, less `.git` and the links that `nix build` leaves behind.
fn all_files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = WalkDir::new(directory).min_depth(1).into_iter().filter_entry(|entry| entry.file_name() != ".git");
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Failure::new(Exit::Flake, error).hint("make it readable, or remove it"))?;
        let is_result = entry.file_name().as_encoded_bytes().starts_with(b"result");
        if entry.path_is_symlink() && is_result && points_into_a_store(entry.path()) {
            continue;
        }
        let relative = entry.path().strip_prefix(directory).map_err(Failure::other)?;
        paths.push(relative.to_owned());
    }
    Ok(paths)
}

/// Every host can read every archive: a key in one would belong to all of them.
fn refuse_secret_keys(directory: &Path, paths: &[PathBuf]) -> Result<(), Failure> {
    let found = paths.iter().find(|path| {
        let full = directory.join(path);
        full.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= keys::FILE_BYTES)
            && std::fs::read_to_string(&full).is_ok_and(|text| text.parse::<SecretKey>().is_ok())
    });
    match found {
        None => Ok(()),
        Some(path) => {
            Err(Failure::new(Exit::Flake, format!("`{}` is a secret key, and would reach every host", path.display()))
                .hint("move it out of the flake; if it was ever published, replace it: npc-publish trust rotate"))
        }
    }
}

fn points_into_a_store(link: &Path) -> bool {
    link.read_link()
        .is_ok_and(|target| target.is_absolute() && target.components().any(|part| part.as_os_str() == "store"))
}
