//! Two machines that report under one name.
//!
//! Each writes its report over the other's, so the store never shows both at once. But every installation has a key of its own, and
//! one that was replaced for good does not come back: where a key is seen again after another one, two machines are at work. Which
//! keys were seen, the operator's machine remembers from one look to the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use npc_core::digest::Digest;
use npc_core::files;
use npc_core::fleet::Fleet;
use npc_core::name::{FleetId, HostName};
use serde::{Deserialize, Serialize};

use super::{Standing, View};
use crate::failure::Failure;
use crate::session::{Session, cache};

/// How long it is told after it was last seen.
const TOLD: SignedDuration = SignedDuration::from_hours(24);

/// How many keys of a host are remembered.
const KEYS: usize = 4;

/// The most bytes of what is remembered that are read.
const LARGEST: u64 = 64 * 1024 * 1024;

/// What is remembered of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// The keys that it was seen with, the last one first.
    keys: Vec<String>,
    /// When a key was seen again after another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rivals: Option<Timestamp>,
}

impl Known {
    /// Takes in that the host was seen with this key.
    fn meet(&mut self, key: String, now: Timestamp) {
        if self.keys.first() == Some(&key) {
            return;
        }
        if let Some(place) = self.keys.iter().position(|known| *known == key) {
            self.keys.remove(place);
            self.rivals = Some(now);
        }
        self.keys.insert(0, key);
        self.keys.truncate(KEYS);
    }

    fn has_rivals(&self, now: Timestamp) -> bool {
        self.rivals.is_some_and(|seen| now.duration_since(seen) < TOLD)
    }
}

/// What is remembered of all hosts.
type Memory = BTreeMap<HostName, Known>;

/// Reads the fleet, and marks hosts under whose name two machines report.
pub async fn read(session: &Session) -> Result<View, Failure> {
    let mut view = View::read(&session.fleet, Timestamp::now()).await?;
    if let Some(path) = place(&session.fleet) {
        let before = recall(&path);
        let after = met(before.clone(), &view);
        if after != before {
            remember(&path, &after);
        }
        mark(&mut view, &after);
    }
    Ok(view)
}

fn met(mut memory: Memory, view: &View) -> Memory {
    for (name, host) in &view.hosts {
        if let Some(key) = &host.claimed {
            memory.entry(name.clone()).or_default().meet(Digest::of(key.bytes()).short(), view.now);
        }
    }
    memory
}

fn mark(view: &mut View, memory: &Memory) {
    let now = view.now;
    for (name, host) in &mut view.hosts {
        if memory.get(name).is_some_and(|known| known.has_rivals(now)) {
            host.standing = Standing::Rivals;
        }
    }
}

/// Where it is remembered. Without a home it is not.
fn place(fleet: &Fleet) -> Option<PathBuf> {
    let fleet: &FleetId = fleet.trusted.fleet();
    Some(cache()?.join("seen").join(format!("{fleet}.json")))
}

fn recall(path: &Path) -> Memory {
    let is_small = path.metadata().is_ok_and(|metadata| metadata.len() <= LARGEST);
    let text = is_small.then(|| std::fs::read(path).ok()).flatten();
    text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Without it, two machines are noticed later: worth no more than a debug message.
fn remember(path: &Path, memory: &Memory) {
    let bytes = serde_json::to_vec(memory).expect("names and texts are valid JSON");
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| files::write_atomically(path, &bytes, 0o600));
    if let Err(error) = written {
        tracing::debug!(path = %path.display(), %error, "cannot remember which keys hosts were seen with");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen_with(keys: &[&str]) -> bool {
        let (mut known, now) = (Known::default(), "2026-01-01T00:00:00Z".parse().expect("a time"));
        for key in keys {
            known.meet((*key).to_owned(), now);
        }
        known.has_rivals(now)
    }

    #[test]
    fn a_machine_that_was_replaced_has_no_rival_and_one_that_comes_back_has() {
        assert!(!seen_with(&["a", "a", "a"]));
        assert!(!seen_with(&["a", "b", "b", "c"]), "made anew, twice");
        assert!(seen_with(&["a", "b", "a"]));
        assert!(seen_with(&["a", "b", "c", "b"]));
    }

    #[test]
    fn rivals_are_forgotten_a_day_after_one_of_them_has_gone() {
        let (mut known, now): (_, Timestamp) = (Known::default(), "2026-01-01T00:00:00Z".parse().expect("a time"));
        for key in ["a", "b", "a"] {
            known.meet(key.to_owned(), now);
        }
        assert!(known.has_rivals(now + SignedDuration::from_hours(23)));
        assert!(!known.has_rivals(now + SignedDuration::from_hours(25)));
    }
}
