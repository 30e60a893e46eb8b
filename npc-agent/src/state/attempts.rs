//! The attempt that is under way, written down beside the units that belong to it: what there is to go by where the journal is
//! damaged. It is there from before the timer is set until the timer is taken back.

use std::fs;
use std::path::{Path, PathBuf};

use super::tree::{StateDirectory, StateError};
use crate::machine::Attempt;

const ENDING: &str = ".attempt.json";

fn file(name: &str) -> String {
    format!("units/{name}{ENDING}")
}

impl StateDirectory {
    /// Writes it down, durably.
    pub fn note_attempt(&self, attempt: &Attempt) -> Result<(), StateError> {
        self.write_json(&file(&attempt.name()), attempt)
    }

    /// Reads the attempt of this name, if it is under way.
    pub fn noted_attempt(&self, name: &str) -> Result<Option<Attempt>, StateError> {
        self.read_json(&file(name))
    }

    /// The attempt that is under way. Of several, all but the newest must have ended.
    pub fn newest_attempt(&self) -> Option<Attempt> {
        let attempts = self.attempts().into_iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(ENDING)?.to_owned();
            self.noted_attempt(&name)
                .inspect_err(|error| {
                    tracing::error!(error = error as &dyn std::error::Error, "an attempt cannot be read");
                })
                .ok()?
        });
        attempts.max_by_key(|attempt| (attempt.number, attempt.since))
    }

    /// Notes that an attempt is over.
    pub fn forget_attempt(&self, attempt: &Attempt) {
        remove(&self.path(&file(&attempt.name())));
    }

    /// Notes that no attempt is under way.
    pub fn forget_attempts(&self) {
        self.attempts().iter().for_each(|path| remove(path));
    }

    fn attempts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("units")).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ENDING))).collect()
    }
}

/// One that stays is found to have ended when it is needed, since what runs counts.
fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot tidy up");
        }
        _ => {}
    }
}
