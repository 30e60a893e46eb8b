//! `npc-publish trust`: who may sign what.

use jiff::Timestamp;
use npc_core::document::Trust;
use npc_core::fleet::Fleet;
use npc_core::key::SecretKey;
use npc_core::publish::trust::{Change, next};
use npc_core::trust::Trusted;
use npc_operator::failure::Failure;
use npc_operator::keys;
use npc_operator::session::Session;
use serde_json::json;

use crate::cli::{self, TrustCommand};
use crate::console;

pub(crate) async fn trust(command: TrustCommand) -> Result<(), Failure> {
    match command {
        TrustCommand::Show { place, json } => show(&Session::open(&place).await?.fleet.trusted, json),
        TrustCommand::Rotate(arguments) => rotate(arguments).await,
    }
}

fn show(trusted: &Trusted, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let (version, fleet, created) = (trusted.version(), trusted.fleet(), trusted.created());
        return console::json(
            &json!({ "version": version, "fleet": fleet, "created": created, "trust": trusted.trust() }),
        );
    }
    console::data(format_args!("trust version {} of fleet {}", trusted.version(), trusted.fleet()))?;
    console::table(&rows(trusted.trust()))
}

fn rows(trust: &Trust) -> Vec<Vec<String>> {
    let roles = trust.roles().into_iter().map(|(label, role)| {
        let keys: Vec<_> = role.keys.iter().map(ToString::to_string).collect();
        vec![label, format!("{} of {}", role.threshold, role.keys.len()), keys.join(", ")]
    });
    let keys = trust.keys.iter().map(|key| vec!["key".to_owned(), key.name().to_string(), key.to_string()]);
    roles.chain(keys).collect()
}

async fn rotate(arguments: cli::Rotate) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let root = keys::read_all(&arguments.root_key)?;
    let root: Vec<&SecretKey> = root.iter().collect();
    let changes: Vec<Change> = (arguments.add.into_iter().map(|(role, key)| Change::Add(role, key)))
        .chain(arguments.replace.into_iter().map(|(old, new)| Change::Replace(old, new)))
        .chain(arguments.revoke.into_iter().map(Change::Revoke))
        .chain(arguments.remove_role.into_iter().map(Change::RemoveRole))
        .chain(arguments.threshold.into_iter().map(|(role, number)| Change::Threshold(role, number)))
        .collect();
    let next = next(&session.fleet.trusted, &changes, &root, Timestamp::now())?;
    if arguments.dry_run {
        console::say("would become:");
        return show(&next.trusted, false);
    }
    next.write(&session.fleet, session.conditional_writes().await?).await?;
    show(&next.trusted, false)?;
    console::say("hosts walk to it when the release that they follow next changes");
    let fleet = Fleet { trusted: next.trusted, ..session.fleet };
    warn_of_orphaned_remotes(&fleet).await
}

/// A release whose signers have lost their role is not believed by a host that sees it for the first time.
async fn warn_of_orphaned_remotes(fleet: &Fleet) -> Result<(), Failure> {
    for remote in fleet.remotes().await? {
        if let Some(pointer) = fleet.remote(&remote).await?
            && let Err(refusal) = pointer.state
        {
            console::warn(format_args!(
                "the release that `{remote}` holds is no longer believed ({}); publish to it again: \
                 npc-publish --remote {remote} --record",
                refusal.kind()
            ));
        }
    }
    Ok(())
}
