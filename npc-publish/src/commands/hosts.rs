//! `npc-publish hosts`: what hosts are assigned to, and what can be said of assignments beside where they lead.

use jiff::Timestamp;
use npc_core::document::{Assignment, Following, Standing};
use npc_core::fleet::{Assigned, KeyStanding};
use npc_core::name::{AssignmentName, HostName};
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::amend::{Amending, assignments_of, following, plan};
use npc_operator::fleet::host::Heard;
use npc_operator::fleet::selector::Strangers;
use npc_operator::fleet::{Host, View};
use npc_operator::session::Session;
use npc_operator::words;
use serde_json::{Value, json};

use crate::cli;
use crate::console;

pub(crate) async fn hosts(arguments: cli::Hosts) -> Result<(), Failure> {
    match arguments.command {
        None => list(&arguments.place, arguments.json).await,
        Some(cli::HostsCommand::Remove(choice)) => remove(choice).await,
        Some(cli::HostsCommand::Pause(choice)) => pause(choice, true).await,
        Some(cli::HostsCommand::Resume(choice)) => pause(choice, false).await,
        Some(cli::HostsCommand::Pin(choice)) => pin(choice).await,
        Some(cli::HostsCommand::Forget { hosts, place, dry_run }) => {
            forget(&Session::open(&place).await?, &hosts, dry_run).await
        }
    }
}

async fn list(place: &cli::Place, as_json: bool) -> Result<(), Failure> {
    let session = Session::open(place).await?;
    let found = session.fleet.all_assignments().await?;
    if as_json {
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
            "assignment": following(Some(assigned)),
        }),
        Err(refusal) => json!({ "name": name, "refused": refusal.kind() }),
    }
}

fn row(name: &AssignmentName, assigned: &Assigned, now: Timestamp) -> Vec<String> {
    let document = match &assigned.state {
        Ok(document) => document,
        Err(refusal) => return vec![name.to_string(), String::new(), format!("refused: {}", refusal.kind())],
    };
    let age = words::ago(document.header().created, now);
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
        words::printable(following.configuration.as_str()),
        paused.to_owned(),
    ]
}

/// Has chosen assignments say what `decide` makes of what they said.
pub(super) async fn amend(
    choice: cli::Choice,
    strangers: Strangers,
    mut decide: impl FnMut(&View, &AssignmentName, Option<&Assigned>) -> Result<Assignment, Failure>,
) -> Result<(), Failure> {
    let session = Session::open(&choice.writing.signing.place).await?;
    let keys = session.keys(&choice.writing.signing.key)?;
    let amending = Amending { session: &session, keys: &keys, force: choice.force, dry_run: choice.writing.dry_run };
    amending.authorise()?;
    let view = View::read(&session.fleet, Timestamp::now()).await?;
    let names = assignments_of(&view, &choice.hosts.selection().hosts(&view, strangers)?, choice.force)?;
    let changes = plan(&session, names, |name, stands| decide(&view, name, stands)).await?;
    amending.carry_out(changes, console::data).await
}

/// A tombstone rather than nothing: hosts would not let themselves be repointed by the absence of an object.
async fn remove(choice: cli::Choice) -> Result<(), Failure> {
    let force = choice.force;
    amend(choice, Strangers::Welcome, |_, name, stands| match stands {
        None if !force => {
            Err(Failure::new(Exit::Usage, format!("`{name}` was never assigned, as far as the store knows"))
                .hint("`npc-publish hosts` lists assignments; if the store has lost this one, say --force"))
        }
        _ => Ok(Assignment::Removed),
    })
    .await
}

async fn pause(choice: cli::Choice, paused: bool) -> Result<(), Failure> {
    amend(choice, Strangers::Refused, |_, name, stands| {
        Ok(present(Following { paused, ..assigned(name, stands)?.clone() }))
    })
    .await
}

/// From now on, only what this key signed is a report of the host.
async fn pin(choice: cli::Choice) -> Result<(), Failure> {
    let force = choice.force;
    amend(choice, Strangers::Refused, |view, name, stands| {
        let before = assigned(name, stands)?;
        let host = name.as_str().parse().ok().and_then(|name| view.hosts.get(&name));
        let host = host.filter(|host| !host.shares_its_assignment()).ok_or_else(|| {
            Failure::usage(format!("`{name}` is shared: its hosts have a key each"))
                .hint("give hosts whose reports matter assignments of their own")
        })?;
        let key = match (&host.heard, host.heard.key()) {
            (Heard::Nothing, _) => return Err(never_reported(host)),
            (_, Some(KeyStanding::Wrong)) if !force => {
                let reason = format!("what reports as `{name}` signs with another key than the one that is pinned");
                return Err(Failure::new(Exit::Trust, reason)
                    .hint("if the machine was made anew, say --force; if not, somebody else writes its reports"));
            }
            _ => host.claimed.clone().ok_or_else(|| never_reported(host))?,
        };
        Ok(present(Following { report_key: Some(key), ..before.clone() }))
    })
    .await
}

fn never_reported(host: &Host) -> Failure {
    Failure::usage(format!("`{}` has never named a key: it has not reported", host.name))
        .hint("it makes its key at its first start; `npc-publish status` shows who has reported")
}

pub(super) fn assigned<'a>(name: &AssignmentName, stands: Option<&'a Assigned>) -> Result<&'a Following, Failure> {
    following(stands).ok_or_else(|| unassigned(name))
}

/// Nothing said in the store reaches the host.
pub(super) fn unassigned(name: &AssignmentName) -> Failure {
    Failure::usage(format!("`{name}` is not assigned: its own settings rule, which nothing here can change"))
        .hint(format!("assign it first: `npc-publish repoint {name} --remote R`"))
}

fn present(following: Following) -> Assignment {
    Assignment::Present(Box::new(following))
}

/// What machines that are gone said of themselves.
async fn forget(session: &Session, hosts: &[HostName], dry_run: bool) -> Result<(), Failure> {
    let reporting = session.fleet.reporting_hosts().await?;
    if let Some(stranger) = hosts.iter().find(|host| !reporting.iter().any(|(name, _)| name == *host)) {
        return Err(Failure::usage(format!("`{stranger}` has never reported"))
            .hint("`npc-publish status` lists who has; nothing was removed"));
    }
    for host in hosts {
        if dry_run {
            console::data(format_args!("{host}: would be forgotten"))?;
        } else {
            session.fleet.store.remove(&npc_core::layout::report(host)).await?;
            console::data(format_args!("{host}: forgotten"))?;
        }
    }
    Ok(())
}
