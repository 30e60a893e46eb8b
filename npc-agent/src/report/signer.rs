//! The host's own key, made at its first start, and the number of its last report.

use npc_core::Timestamp;
use npc_core::document::Serial;
use npc_core::key::{KeyError, KeyName, SecretKey};
use npc_core::name::HostName;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::state::{StateDirectory, StateError};

const KEY: &str = "report.key";

const NUMBER: &str = "report.json";

/// A key that cannot be had.
#[derive(Debug, Error)]
pub enum SignerError {
    /// The disk failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no randomness to be had.
    #[error("cannot make a key")]
    Random(#[source] getrandom::Error),
}

/// A host that has used up the numbers of its reports.
#[derive(Debug, Error)]
#[error("the host has used up the numbers of its reports")]
pub struct NoNumberLeft;

/// What signs and numbers a host's reports.
#[derive(Debug)]
pub struct Signer {
    key: SecretKey,
    state: StateDirectory,
    last: Option<Serial>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Last {
    number: Serial,
}

impl Signer {
    /// Reads the key, or makes it. One that is damaged is put aside: nobody knows it any more.
    pub fn open(state: &StateDirectory, host: &HostName) -> Result<Self, SignerError> {
        let last = match state.read_json(NUMBER) {
            Err(error) if error.source.kind() == std::io::ErrorKind::InvalidData => None,
            read => read?,
        };
        let key = match kept_key(state)? {
            Some(key) => key,
            None => make_key(state, host)?,
        };
        Ok(Self { key, state: state.clone(), last: last.map(|last: Last| last.number) })
    }

    /// Forgets the key: nobody signs with it here any more.
    pub fn forget(state: &StateDirectory) -> Result<(), StateError> {
        state.remove(KEY)
    }

    pub(super) fn key(&self) -> &SecretKey {
        &self.key
    }

    /// A number above that of every report before: the time in seconds, where that is higher, so that one which was lost, or
    /// which a full disk took no note of, is not needed. A host whose disk is full has the more to report.
    pub(super) fn next_number(&mut self, now: Timestamp) -> Result<Serial, NoNumberLeft> {
        let next = self.last.map_or(Some(Serial::FIRST), Serial::next).ok_or(NoNumberLeft)?;
        let seconds = u64::try_from(now.as_second()).ok().and_then(Serial::new);
        let number = next.max(seconds.unwrap_or(next));
        self.last = Some(number);
        if let Err(error) = self.state.write_json(NUMBER, &Last { number }) {
            tracing::debug!(error = &error as &dyn std::error::Error, "cannot note the number of a report");
        }
        Ok(number)
    }
}

fn kept_key(state: &StateDirectory) -> Result<Option<SecretKey>, SignerError> {
    let Some(bytes) = state.read_bytes(KEY)? else { return Ok(None) };
    let parsed: Result<SecretKey, KeyError> = String::from_utf8_lossy(&bytes).parse();
    match parsed {
        Ok(key) => Ok(Some(key)),
        Err(error) => {
            tracing::error!(kind = "state", %error, "the key of the host's reports is damaged; making a new one");
            state.put_aside(KEY)?;
            Ok(None)
        }
    }
}

fn make_key(state: &StateDirectory, host: &HostName) -> Result<SecretKey, SignerError> {
    let name: KeyName = format!("npc-host-{host}").parse().expect("the name of a host suits a key");
    let key = SecretKey::generate(name).map_err(SignerError::Random)?;
    state.write_bytes(KEY, key.to_secret_text().as_bytes(), 0o600)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_nobody_else_reads_it_and_numbers_only_rise() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        let host = "web-1".parse().expect("a name");
        let mut signer = Signer::open(&state, &host).expect("a signer");
        let now = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(signer.next_number(now(1000)).expect("a number").get(), 1000);
        assert_eq!(signer.next_number(now(1000)).expect("a number").get(), 1001);
        let mut again = Signer::open(&state, &host).expect("the same");
        assert_eq!(again.key().public(), signer.key().public());
        assert_eq!(again.next_number(now(7)).expect("a number").get(), 1002, "whatever the clock says");
        let mode = std::fs::metadata(state.path(KEY)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for file in [KEY, NUMBER] {
            std::fs::write(state.path(file), "npc-host-web-1:damaged").expect("written");
        }
        let mut other = Signer::open(&state, &host).expect("another");
        assert_ne!(other.key().public(), signer.key().public());
        assert_eq!(other.next_number(now(2000)).expect("a number").get(), 2000);
    }
    #[test]
    fn a_full_disk_keeps_no_host_from_numbering_its_reports() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        let mut signer = Signer::open(&state, &"web-1".parse().expect("a name")).expect("a signer");
        // What cannot be replaced by a file stands for a disk that takes none.
        std::fs::create_dir(state.path(NUMBER)).expect("created");
        let now = Timestamp::from_second(1000).expect("a time");
        let numbers = [(); 3].map(|()| signer.next_number(now).expect("a number").get());
        assert_eq!(numbers, [1000, 1001, 1002]);
    }
}
