//! `npc-publish repoint HOST… --remote R`: has hosts follow another remote.

use std::collections::BTreeSet;

use jiff::Timestamp;
use npc_core::document::{Assignment, Following, Power, Standing};
use npc_core::fleet::Assigned;
use npc_core::key::SecretKey;
use npc_core::name::{AssignmentName, ConfigurationName, RemoteName};
use npc_core::publish::assign::assign;
use npc_core::publish::authorise;
use serde_json::Map;

use crate::cli;
use crate::console;
use crate::failure::{Exit, Failure};
use crate::session::Session;

use super::log::{believable, unknown};

/// A host, what stands in its place, and what it is to follow.
struct Change {
    name: AssignmentName,
    stands: Option<Assigned>,
    says: Following,
}

pub(crate) async fn repoint(arguments: cli::Repoint) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let keys = session.keys(&arguments.key)?;
    let keys: Vec<&SecretKey> = keys.iter().collect();
    authorise(session.fleet.trusted.trust(), Power::Assignment, &keys)?;
    let (hosts, remote) = (arguments.hosts.iter().collect::<BTreeSet<_>>(), &arguments.remote);
    let mut changes = Vec::new();
    for name in hosts {
        let stands = session.fleet.assignment(name).await?;
        is_told(name, stands.as_ref(), arguments.configuration.as_ref())?;
        let mut says = says(name, stands.as_ref(), remote, arguments.configuration.as_ref());
        says.instance.clone_from(&arguments.instance);
        changes.push(Change { name: name.clone(), stands, says });
    }
    check(&session, remote, changes.iter().map(|change| &change.says.configuration)).await?;
    if arguments.dry_run {
        return changes.iter().try_for_each(|change| console::data(words(change)));
    }
    let writes = session.conditional_writes().await?;
    for change in changes {
        if before(change.stands.as_ref()) == Some(&change.says) && !arguments.force {
            console::say(format_args!("unchanged: {}", words(&change)));
            continue;
        }
        let line = words(&change);
        let says = Assignment::Present(Box::new(change.says));
        assign(&session.fleet, &change.name, change.stands, says, &keys, writes, Timestamp::now()).await?;
        console::data(line)?;
    }
    Ok(())
}

/// What is believed to stand in an assignment's place.
pub(super) fn before(stands: Option<&Assigned>) -> Option<&Following> {
    match stands?.state.as_ref().ok()?.body() {
        Standing::Present(following) => Some(following),
        Standing::Removed => None,
    }
}

/// What hosts may still obey, but nobody here can believe any more, cannot be kept in part: then everything has to be said anew.
fn is_told(
    name: &AssignmentName,
    stands: Option<&Assigned>,
    configuration: Option<&ConfigurationName>,
) -> Result<(), Failure> {
    match stands.map(|stands| &stands.state) {
        Some(Err(refusal)) if configuration.is_none() => {
            let error = format!("what `{name}` is assigned to cannot be believed ({}): {refusal}", refusal.kind());
            Err(Failure::new(Exit::Trust, error)
                .hint("say its configuration with --configuration; a pause or an interval has to be said anew as well"))
        }
        Some(Err(refusal)) => {
            console::warn(format_args!(
                "what `{name}` was assigned to is replaced: it is refused ({})",
                refusal.kind()
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Everything that was said of the host stays, but where it points: a pin was to one release of the remote before.
fn says(
    name: &AssignmentName,
    stands: Option<&Assigned>,
    remote: &RemoteName,
    configuration: Option<&ConfigurationName>,
) -> Following {
    let named = || name.as_str().parse().expect("every name is one of a configuration too");
    let said = before(stands);
    let kept = || said.map_or_else(named, |said| said.configuration.clone());
    Following {
        remote: remote.clone(),
        configuration: configuration.cloned().unwrap_or_else(kept),
        instance: None,
        pin: None,
        paused: said.is_some_and(|said| said.paused),
        poll_interval: said.and_then(|said| said.poll_interval),
        report_key: said.and_then(|said| said.report_key.clone()),
        rollout: None,
        orders: None,
        other: said.map_or_else(Map::new, |said| said.other.clone()),
    }
}

/// Hosts stay where they are rather than follow what they cannot: whoever repoints them is told at once.
async fn check(
    session: &Session,
    remote: &RemoteName,
    configurations: impl Iterator<Item = &ConfigurationName>,
) -> Result<(), Failure> {
    let pointer = session.fleet.remote(remote).await?.ok_or_else(|| unknown(remote))?;
    let document = pointer.state?;
    let Some(release) = believable(&document) else {
        return Err(Failure::new(Exit::Usage, format!("remote `{remote}` was removed")).hint("publish to it first"));
    };
    let held = &release.configurations;
    let missing: BTreeSet<_> = configurations.filter(|name| !held.is_empty() && !held.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.into_iter().map(|name| format!("`{name}`")).collect();
    let serial = document.header().serial;
    Err(Failure::new(Exit::Usage, format!("{remote}@{serial} holds no configuration {}", missing.join(", ")))
        .hint("name one that it holds with --configuration; `npc-publish remotes --json` lists them"))
}

fn words(change: &Change) -> String {
    let lead = |following: &Following| format!("{} {}", following.remote, following.configuration);
    let refused = change.stands.as_ref().is_some_and(|stands| stands.state.is_err());
    let unknown = if refused { "something refused" } else { "its own settings" };
    let before = before(change.stands.as_ref()).map_or(unknown.to_owned(), lead);
    console::printable(&format!("{}: {before} -> {}", change.name, lead(&change.says)))
}
