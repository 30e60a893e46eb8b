//! What remotes hold, as commands ask for it.

use std::collections::BTreeSet;

use npc_core::document::{Release, RemoteState, Serial, Standing};
use npc_core::name::{ConfigurationName, RemoteName};
use npc_core::trust::Verified;

use crate::failure::Failure;

/// There is no such remote.
pub fn unknown(remote: &RemoteName) -> Failure {
    Failure::usage(format!("there is no remote `{remote}`"))
        .hint("`npc-publish remotes` lists them; publishing to a new name makes a new remote")
}

/// Nothing can be followed there any more.
pub fn removed(remote: &RemoteName) -> Failure {
    Failure::usage(format!("remote `{remote}` was removed")).hint("publish to it first")
}

/// The release in a verified document, if it is not a tombstone.
pub fn believable(document: &Verified<RemoteState>) -> Option<&Release> {
    match document.body() {
        Standing::Present(release) => Some(release),
        Standing::Removed => None,
    }
}

/// Refuses configurations that a release does not hold. One that nobody has evaluated may hold anything.
pub fn holds_all<'a>(
    remote: &RemoteName,
    serial: Serial,
    release: &Release,
    configurations: impl Iterator<Item = &'a ConfigurationName>,
) -> Result<(), Failure> {
    let held = &release.configurations;
    let missing: BTreeSet<_> = configurations.filter(|name| !held.is_empty() && !held.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.into_iter().map(|name| format!("`{name}`")).collect();
    Err(Failure::usage(format!("{remote}@{serial} holds no configuration {}", missing.join(", ")))
        .hint("`npc-publish remotes --json` lists those that it holds; say which with repoint --configuration"))
}
