//! The state directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use npc_core::digest::Digest;
use npc_core::files;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::machine::Journal;
use crate::settings::Keep;

/// No state file is longer, in bytes.
const FILE_BYTES: u64 = 16 * 1024 * 1024;

const JOURNAL: &str = "journal.json";

/// Directories below the state directory, and who may enter them: Nix's builders read flakes and roots, nobody else logs.
const DIRECTORIES: [(&str, u32); 7] = [
    ("bin", 0o755),
    ("flakes", 0o755),
    ("roots", 0o755),
    ("downloads", 0o700),
    ("logs", 0o700),
    ("units", 0o700),
    ("home", 0o700),
];

/// State that could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct StateError {
    /// What was tried.
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// The directory at `root`, made if it is not there.
    ///
    /// Its path must be plain, since Nix reads flakes by `path:` URLs, in which a space, `%`, `#`, `?` or anything outside
    /// ASCII cannot stand and cannot be escaped.
    pub fn create(root: &Path) -> Result<Self, StateError> {
        let failed = |action, source| StateError { action, path: root.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o755).create(root).map_err(|error| failed("create", error))?;
        let root = fs::canonicalize(root).map_err(|error| failed("open", error))?;
        let plain = |char: char| char.is_ascii_alphanumeric() || "/._-+~@:".contains(char);
        if !root.to_str().is_some_and(|text| text.chars().all(plain)) {
            let source =
                io::Error::new(io::ErrorKind::InvalidFilename, "Nix could not read a flake from a path like that");
            return Err(failed("use", source));
        }
        let state = Self { root };
        for (name, mode) in DIRECTORIES {
            let path = state.path(name);
            let made = fs::DirBuilder::new().recursive(true).mode(mode).create(&path);
            made.map_err(|source| StateError { action: "create", path, source })?;
        }
        Ok(state)
    }

    /// The directory at `root`, if it is there. Nothing is made.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        match fs::canonicalize(root) {
            Ok(root) => Ok(Self { root }),
            Err(source) => Err(StateError { action: "open", path: root.to_owned(), source }),
        }
    }

    /// The path of `name` below the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where an archive lies unpacked.
    pub fn flake(&self, archive: &Digest) -> PathBuf {
        self.path("flakes").join(archive.to_string())
    }

    /// The content of a file, if it is there.
    pub(crate) fn read_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path(name);
        match files::read_limited(&path, FILE_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError { action: "read", path, source }),
        }
    }

    /// Writes a file whole, durably.
    pub(crate) fn write_bytes(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), StateError> {
        let path = self.path(name);
        files::write_atomically(&path, bytes, mode).map_err(|source| StateError { action: "write", path, source })
    }

    /// Notes that a flake is used now: it is kept for some time longer.
    pub(crate) fn used_now(flake: &Path) -> io::Result<()> {
        fs::File::open(flake)?.set_times(fs::FileTimes::new().set_accessed(SystemTime::now()))
    }

    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.read_bytes(name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let source = io::Error::new(io::ErrorKind::InvalidData, error);
            StateError { action: "read", path: self.path(name), source }
        })
    }

    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), StateError> {
        let mut bytes = serde_json::to_vec_pretty(value).expect("state is structures with text keys");
        bytes.push(b'\n');
        self.write_bytes(name, &bytes, 0o644)
    }

    /// Removes a file, durably. That it was not there is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.path(name);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| files::sync_directory(&self.root)),
        };
        removed.map_err(|source| StateError { action: "remove", path, source })
    }

    /// Keeps a damaged file under another name, in place of the last one.
    pub(crate) fn put_aside(&self, name: &str) -> Result<(), StateError> {
        let (path, aside) = (self.path(name), Path::new(name).with_extension("damaged"));
        fs::rename(&path, self.root.join(aside)).map_err(|source| StateError { action: "put aside", path, source })
    }

    /// Reads the journal.
    pub fn read_journal(&self) -> Result<Journal, StateError> {
        Ok(self.find_journal()?.unwrap_or_default())
    }

    /// Reads the journal, where there is one.
    pub fn find_journal(&self) -> Result<Option<Journal>, StateError> {
        self.read_json(JOURNAL)
    }

    /// Reads the journal. One that is damaged is put aside, and what it said is forgotten, but for the attempt that was under
    /// way: `None`, if it is not there. The release that the host follows is then built and activated as if for the first time,
    /// which ends in the same system.
    pub fn recover_journal(&self) -> Result<Option<Journal>, StateError> {
        match self.find_journal() {
            Err(error) if error.source.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(error = &error as &dyn std::error::Error, "the journal is damaged; starting a new one");
                self.put_aside(JOURNAL)?;
                Ok(None)
            }
            read => read,
        }
    }

    /// Writes the journal, durably.
    pub fn write_journal(&self, journal: &Journal) -> Result<(), StateError> {
        self.write_json(JOURNAL, journal)
    }

    /// Removes what an earlier agent left unfinished.
    pub fn remove_leftovers(&self) {
        remove_entries(&self.path("downloads"), |_| true);
        remove_entries(&self.path("flakes"), |name| name.starts_with('.'));
        remove_entries(&self.root, |name| name.starts_with(".tmp-"));
    }

    /// Removes what is kept of the past: all but these flakes, the roots of these systems, what belongs to attempts of these
    /// names, and of the rest the newest.
    pub fn tidy_up(&self, flakes: &BTreeSet<Digest>, systems: &BTreeSet<PathBuf>, attempts: &[String], keep: Keep) {
        let is_needed = |name: &OsStr| flakes.iter().any(|flake| *flake.to_string() == *name);
        // Where a command activates, the flake itself is the system.
        remove_old(&self.path("flakes"), keep, |entry| {
            is_needed(&entry.file_name()) || systems.contains(&entry.path())
        });
        remove_old(&self.path("roots"), keep, |entry| {
            fs::read_link(entry.path()).is_ok_and(|system| systems.contains(&system))
        });
        let per_attempt = Keep { releases: keep.releases.saturating_mul(8), ..keep };
        for directory in ["units", "logs"] {
            let is_of = |name: &str| attempts.iter().any(|attempt| name.starts_with(attempt));
            remove_old(&self.path(directory), per_attempt, |entry| entry.file_name().to_str().is_some_and(is_of));
        }
    }
}

/// Leaves what is needed, and of the rest the newest, unless they are too old.
fn remove_old(directory: &Path, keep: Keep, is_needed: impl Fn(&fs::DirEntry) -> bool) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return tracing::warn!(path = %directory.display(), %error, "cannot tidy up"),
    };
    // Flakes look as if nobody had modified them since 1970; when one was used last, `used_now` has noted.
    let age = |entry: &fs::DirEntry| {
        let Ok(metadata) = fs::symlink_metadata(entry.path()) else { return Duration::ZERO };
        let last = metadata.modified().into_iter().chain(metadata.accessed()).max();
        last.and_then(|last| last.elapsed().ok()).unwrap_or_default()
    };
    let mut rest: Vec<_> =
        entries.flatten().filter(|entry| !is_needed(entry)).map(|entry| (age(&entry), entry)).collect();
    rest.sort_by_key(|(age, _)| *age);
    for (place, (age, entry)) in rest.into_iter().enumerate() {
        if place >= keep.releases || age > keep.age {
            remove(&entry);
        }
    }
}

fn remove(entry: &fs::DirEntry) {
    let path = entry.path();
    let removed = match entry.file_type() {
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
        _ => fs::remove_file(&path),
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "cannot tidy up");
    }
}

/// What cannot be removed is left for the next time: it only takes space.
fn remove_entries(directory: &Path, unwanted: impl Fn(&str) -> bool) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return tracing::warn!(path = %directory.display(), %error, "cannot tidy up"),
    };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(&unwanted)) {
        remove(&entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, FileTimes};
    use std::os::unix::fs::symlink;

    /// An unpacked flake, so many hours old.
    fn flake(state: &StateDirectory, name: &str, hours: u64) -> Digest {
        let digest = Digest::of(name.as_bytes());
        let path = state.flake(&digest);
        fs::create_dir(&path).expect("created");
        let then = SystemTime::now() - Duration::from_hours(hours);
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH).set_accessed(then);
        File::open(&path).expect("opened").set_times(times).expect("set");
        digest
    }

    #[test]
    fn the_newest_flakes_are_kept_unless_they_are_too_old_and_needed_ones_in_any_case() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        let needed = flake(&state, "needed", 1000);
        let [new, newer, newest, old] =
            [("new", 3), ("newer", 2), ("newest", 1), ("old", 50)].map(|(name, hours)| flake(&state, name, hours));
        let kept = |flakes: &[Digest]| flakes.iter().map(|flake| state.flake(flake).exists()).collect::<Vec<_>>();
        let tidy_up = |releases, hours| {
            let keep = Keep { releases, age: Duration::from_hours(hours) };
            state.tidy_up(&[needed].into(), &BTreeSet::new(), &[], keep);
        };
        tidy_up(10, 48);
        assert_eq!(kept(&[needed, new, newer, newest, old]), [true, true, true, true, false]);
        tidy_up(2, 48);
        assert_eq!(kept(&[needed, new, newer, newest]), [true, false, true, true]);
        StateDirectory::used_now(&state.flake(&newer)).expect("noted");
        tidy_up(1, 48);
        assert_eq!(kept(&[needed, newer, newest]), [true, true, false]);
        let systems = BTreeSet::from([state.flake(&newer)]);
        state.tidy_up(&[needed].into(), &systems, &[], Keep { releases: 0, age: Duration::from_hours(1) });
        assert_eq!(kept(&[needed, newer]), [true, true], "it is a system");
        tidy_up(0, 48);
        assert_eq!(kept(&[needed, newer]), [true, false]);
    }

    #[test]
    fn the_roots_of_needed_systems_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        for name in ["needed", "other"] {
            symlink(format!("/nix/store/{name}"), state.path("roots").join(name)).expect("linked");
        }
        let keep = Keep { releases: 0, age: Duration::from_hours(1) };
        state.tidy_up(&BTreeSet::new(), &[PathBuf::from("/nix/store/needed")].into(), &[], keep);
        let names: Vec<_> =
            fs::read_dir(state.path("roots")).expect("listed").map(|one| one.expect("one").file_name()).collect();
        assert_eq!(names, ["needed"]);
    }
}
