//! `npc-publish log R`: the releases of a remote.

use jiff::Timestamp;
use npc_core::document::{RemoteState, Serial, Standing};
use npc_core::fleet::Entry;
use npc_core::name::RemoteName;
use npc_core::trust::{Refusal, Verified};
use npc_operator::failure::Failure;
use npc_operator::held::{believable, unknown};
use npc_operator::session::Session;
use npc_operator::words;
use serde_json::{Value, json};

use crate::cli;
use crate::console;

pub(crate) async fn log(arguments: cli::Log) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let remote = &arguments.remote;
    let current = session.fleet.remote(remote).await?.ok_or_else(|| unknown(remote))?;
    let current = current.state.ok().map(|document| document.header().serial);
    let mut entries: Vec<Entry> = Vec::new();
    for serial in session.fleet.serials(remote).await?.into_iter().take(arguments.number) {
        entries.extend(session.fleet.release(remote, serial).await?);
    }
    if arguments.json {
        let list: Vec<_> = entries.iter().map(|entry| value(entry, current)).collect();
        return console::json(&list);
    }
    let now = Timestamp::now();
    let mut rows: Vec<_> = entries.iter().map(|entry| row(remote, Some(entry.serial), &entry.state, now)).collect();
    for (row, entry) in rows.iter_mut().zip(&entries) {
        row.insert(0, if Some(entry.serial) == current { "*".to_owned() } else { String::new() });
    }
    console::table(&rows)
}

fn value(entry: &Entry, current: Option<Serial>) -> Value {
    match &entry.state {
        Ok(document) => json!({
            "serial": entry.serial,
            "current": Some(entry.serial) == current,
            "created": document.header().created,
            "expires": document.header().expires,
            "removed": *document.body() == Standing::Removed,
            "release": believable(document),
        }),
        Err(refusal) => json!({ "serial": entry.serial, "current": false, "refused": refusal.kind() }),
    }
}

/// One line about a release.
pub(crate) fn row(
    remote: &RemoteName,
    serial: Option<Serial>,
    state: &Result<Verified<RemoteState>, Refusal>,
    now: Timestamp,
) -> Vec<String> {
    let name = |serial: Serial| format!("{remote}@{serial}");
    let document = match state {
        Ok(document) => document,
        Err(refusal) => {
            let name = serial.map_or(remote.to_string(), name);
            return vec![name, String::new(), String::new(), String::new(), format!("refused: {}", refusal.kind())];
        }
    };
    let age = words::ago(document.header().created, now);
    let name = name(document.header().serial);
    let Some(release) = believable(document) else {
        return vec![name, age, String::new(), String::new(), "removed".to_owned()];
    };
    let source = &release.source;
    let rev = source.rev.as_ref().map_or("-".to_owned(), |rev| rev.chars().take(12).collect());
    let dirty = if source.dirty { "+" } else { "" };
    let expired = document.header().expires.is_some_and(|expires| expires <= now);
    let message = source.message.clone().unwrap_or_default();
    let message = if expired { format!("expired {message}") } else { message };
    vec![
        name,
        age,
        words::printable(&format!("{rev}{dirty}")),
        release.archive.sha256.short(),
        words::printable(&message),
    ]
}
