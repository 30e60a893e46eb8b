//! What evaluations gave before, and from which facts: a cache that is safe to delete and safe to share.
//!
//! A record file is named by what an evaluation depends on beside the facts: Nix's version, the store it writes to, the
//! flake's entry points, and what was evaluated. It holds the last few results, each with the facts that it follows from.
//! Writers replace whole files, so of two at once one is forgotten, which costs an evaluation and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use npc_core::digest::Digest;
use npc_core::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::Facts;

/// How many results are kept of one evaluation: enough to go back and forth between a few branches.
const RESULTS: usize = 4;

/// How many record files are kept.
const FILES: usize = 4096;

/// How many bytes of them.
const BYTES: u64 = 512 * 1024 * 1024;

/// The longest record file that is read, in bytes.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// One result of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What it follows from.
    pub(super) facts: Facts,
    /// The archive that it was found for, where it holds for no other: the result depends on the flake's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) archive: Option<Digest>,
    /// Why it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The result.
    pub(super) value: Value,
}

/// The directory of records.
#[derive(Debug)]
pub(super) struct Records {
    directory: Option<PathBuf>,
}

impl Records {
    /// The records in the user's cache; without one, none are kept.
    pub(super) fn open(cache: Option<PathBuf>) -> Self {
        Self { directory: cache.map(|cache| cache.join("evaluations")) }
    }

    fn file(&self, key: &Digest) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(format!("{key}.json")))
    }

    /// The results under a key, newest first. What cannot be read was never there.
    pub(super) fn read(&self, key: &Digest) -> Vec<Record> {
        let Some(file) = self.file(key) else { return Vec::new() };
        let bytes = files::read_limited(&file, FILE_BYTES);
        bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Adds a result. It only saves work, so that it cannot be written is worth no more than a debug message.
    pub(super) fn keep(&self, key: &Digest, record: Record) {
        let Some(file) = self.file(key) else { return };
        let mut records = self.read(key);
        records.retain(|known| (&known.facts, known.archive) != (&record.facts, record.archive));
        records.insert(0, record);
        records.truncate(RESULTS);
        let written = serde_json::to_vec(&records).map_err(std::io::Error::from).and_then(|bytes| {
            fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
            files::write_atomically(&file, &bytes, 0o644)
        });
        if let Err(error) = written {
            tracing::debug!(path = %file.display(), %error, "cannot remember an evaluation");
        }
    }

    /// Forgets the records that were not written to for longest, where there are too many.
    pub(super) fn prune(&self) {
        self.prune_to(FILES, BYTES);
    }

    fn prune_to(&self, files: usize, bytes: u64) {
        let Some(entries) = self.directory.as_ref().and_then(|directory| fs::read_dir(directory).ok()) else { return };
        let dated = entries.flatten().filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()))
        });
        let mut dated: Vec<_> = dated.collect();
        let mut total: u64 = dated.iter().map(|(_, length, _)| length).sum();
        if dated.len() <= files && total <= bytes {
            return;
        }
        // Half of what may be there, so that the next prune is a while off.
        dated.sort();
        let mut left = dated.len();
        for (_, length, path) in &dated {
            if left <= files / 2 && total <= bytes / 2 {
                return;
            }
            // Another process may prune as well.
            let _ = fs::remove_file(path);
            left -= 1;
            total -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Fact;
    use super::*;

    fn record(name: &str) -> Record {
        let facts = Facts::from([(PathBuf::from(name), Fact::Absent)]);
        Record { facts, archive: None, reason: None, value: name.into() }
    }

    #[test]
    fn the_last_few_results_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::open(Some(folder.path().to_owned()));
        let key = Digest::of(b"key");
        for number in 0..10 {
            records.keep(&key, record(&number.to_string()));
        }
        records.keep(&key, record("8"));
        let values: Vec<_> = records.read(&key).into_iter().map(|record| record.value).collect();
        assert_eq!(values, ["8", "9", "7", "6"]);
        assert!(records.read(&Digest::of(b"other")).is_empty());
    }

    #[test]
    fn damaged_records_were_never_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::open(Some(folder.path().to_owned()));
        let key = Digest::of(b"key");
        records.keep(&key, record("a"));
        let file = records.file(&key).expect("a file");
        for damage in ["", "{", "[{}]", "null"] {
            fs::write(&file, damage).expect("written");
            assert!(records.read(&key).is_empty(), "{damage}");
        }
        records.keep(&key, record("b"));
        assert_eq!(records.read(&key).len(), 1);
        Records::open(None).keep(&key, record("c"));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::open(Some(folder.path().to_owned()));
        fs::create_dir(folder.path().join("evaluations")).expect("made");
        for number in 0..=FILES {
            fs::write(folder.path().join(format!("evaluations/{number}.json")), "[]").expect("written");
        }
        let count = || fs::read_dir(folder.path().join("evaluations")).expect("listed").count();
        records.prune();
        assert_eq!(count(), FILES / 2);
        records.prune_to(FILES, 2 * 1024);
        assert_eq!(count(), 512, "each has two bytes");
    }
}
