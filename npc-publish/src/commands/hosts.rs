//! `npc-publish hosts`: what hosts are assigned to.

use jiff::Timestamp;
use npc_core::document::{Assignment, Standing};
use npc_core::fleet::Assigned;
use npc_core::key::SecretKey;
use npc_core::name::AssignmentName;
use npc_core::publish::assign::assign;
use serde_json::{Value, json};

use crate::cli;
use crate::console;
use crate::failure::{Exit, Failure};
use crate::session::Session;

use super::repoint::before;

pub(crate) async fn hosts(arguments: cli::Hosts) -> Result<(), Failure> {
    if let Some(cli::HostsCommand::Remove { hosts, place, key, force }) = arguments.command {
        let session = Session::open(&place).await?;
        return remove(&session, &hosts, &session.keys(&key)?, force).await;
    }
    let session = Session::open(&arguments.place).await?;
    let mut found = Vec::new();
    for name in session.fleet.assignments().await? {
        if let Some(assigned) = session.fleet.assignment(&name).await? {
            found.push((name, assigned));
        }
    }
    if arguments.json {
        let list: Vec<Value> = found.iter().map(|(name, assigned)| value(name, assigned)).collect();
        return console::json(&list);
    }
    if found.is_empty() {
        console::say("no host is assigned: all follow their own settings");
    }
    let now = Timestamp::now();
    let rows: Vec<_> = found.iter().map(|(name, assigned)| row(name, assigned, now)).collect();
    console::table(&rows)
}

fn value(name: &AssignmentName, assigned: &Assigned) -> Value {
    match &assigned.state {
        Ok(document) => json!({
            "name": name,
            "serial": document.header().serial,
            "created": document.header().created,
            "removed": *document.body() == Standing::Removed,
            "assignment": before(Some(assigned)),
        }),
        Err(refusal) => json!({ "name": name, "refused": refusal.kind() }),
    }
}

fn row(name: &AssignmentName, assigned: &Assigned, now: Timestamp) -> Vec<String> {
    let document = match &assigned.state {
        Ok(document) => document,
        Err(refusal) => return vec![name.to_string(), String::new(), format!("refused: {}", refusal.kind())],
    };
    let age = console::ago(document.header().created, now);
    let name = format!("{name}@{}", document.header().serial);
    let Standing::Present(following) = document.body() else {
        return vec![name, age, "removed: follows its own settings".to_owned()];
    };
    let pin = following.pin.map(|pin| format!("@{}", pin.serial)).unwrap_or_default();
    let paused = if following.paused { "paused" } else { "" };
    vec![
        name,
        age,
        format!("{}{pin}", following.remote),
        console::printable(following.configuration.as_str()),
        paused.to_owned(),
    ]
}

/// A tombstone rather than nothing: hosts would not let themselves be repointed by the absence of an object.
async fn remove(session: &Session, hosts: &[AssignmentName], keys: &[SecretKey], force: bool) -> Result<(), Failure> {
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let writes = session.conditional_writes().await?;
    for name in hosts {
        let stands = session.fleet.assignment(name).await?;
        if stands.is_none() && !force {
            return Err(Failure::new(Exit::Usage, format!("`{name}` was never assigned, as far as the store knows"))
                .hint("`npc-publish hosts` lists assignments; if the store has lost this one, say --force"));
        }
        let is_removed =
            |stands: &Assigned| stands.state.as_ref().is_ok_and(|document| *document.body() == Standing::Removed);
        if stands.as_ref().is_some_and(is_removed) && !force {
            console::say(format_args!("unchanged: {name} follows its own settings"));
            continue;
        }
        assign(&session.fleet, name, stands, Assignment::Removed, &keys, writes, Timestamp::now()).await?;
        console::data(format_args!("{name}: follows its own settings"))?;
    }
    Ok(())
}
