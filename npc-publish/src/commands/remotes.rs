//! `npc-publish remotes`: what every remote holds.

use jiff::Timestamp;
use npc_core::document::Standing;
use npc_core::fleet::Pointer;
use npc_core::name::RemoteName;
use npc_operator::failure::Failure;
use npc_operator::held::believable;
use npc_operator::session::Session;
use serde_json::{Value, json};

use crate::cli;
use crate::console;

use super::log::row;

pub(crate) async fn remotes(arguments: cli::Remotes) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let mut found: Vec<(RemoteName, Pointer)> = Vec::new();
    for remote in session.fleet.remotes().await? {
        if let Some(pointer) = session.fleet.remote(&remote).await? {
            found.push((remote, pointer));
        }
    }
    if arguments.json {
        let list: Vec<Value> = found.iter().map(|(remote, pointer)| value(remote, pointer)).collect();
        return console::json(&list);
    }
    if found.is_empty() {
        console::say("nothing has been published yet");
    }
    let now = Timestamp::now();
    let rows: Vec<_> = found.iter().map(|(remote, pointer)| row(remote, None, &pointer.state, now)).collect();
    console::table(&rows)
}

fn value(remote: &RemoteName, pointer: &Pointer) -> Value {
    match &pointer.state {
        Ok(document) => json!({
            "remote": remote,
            "serial": document.header().serial,
            "created": document.header().created,
            "removed": *document.body() == Standing::Removed,
            "release": believable(document),
        }),
        Err(refusal) => json!({ "remote": remote, "refused": refusal.kind() }),
    }
}
