//! `npc-publish status`: what hosts should run, what they do run, and how they are.

mod page;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::time::Duration;

use jiff::Timestamp;
use npc_core::name::HostName;
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::host::{Heard, WantedRelease, key_word};
use npc_operator::fleet::selector::{Selector, Strangers};
use npc_operator::fleet::{Host, Selection, View, rivals, standing};
use npc_operator::session::Session;
use serde_json::{Value, json};

use crate::cli;
use crate::console;

/// Moves a terminal's cursor home, and clears what is below.
const HOME: &str = "\u{1b}[H\u{1b}[J";

pub(crate) async fn status(arguments: cli::Status) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    // One name asks for one host in full.
    let in_full = matches!(&arguments.hosts.hosts[..], [Selector::Name(_)]);
    let selection = arguments.hosts.selection();
    if arguments.watch {
        return watch(&session, &selection, in_full, Duration::from_secs(arguments.interval)).await;
    }
    let view = rivals::read(&session).await?;
    let hosts = chosen(&view, &selection)?;
    match (arguments.json, &hosts[..]) {
        (true, _) => console::json(&value(&view, &hosts))?,
        (false, [host]) if in_full => page::lines(host, view.now).iter().try_for_each(console::data)?,
        (false, _) => table::lines(&hosts, view.now).iter().try_for_each(console::data)?,
    }
    let summary = summary(&hosts);
    if !arguments.json {
        console::say(&summary);
    }
    let all_well = hosts.iter().all(|host| host.standing.is_well());
    if all_well { Ok(()) } else { Err(Failure::said(Exit::Unwell, summary)) }
}

fn chosen<'a>(view: &'a View, selection: &Selection) -> Result<Vec<&'a Host>, Failure> {
    let names = selection.hosts(view, Strangers::Refused)?;
    Ok(names.iter().filter_map(|name| view.hosts.get(name)).collect())
}

/// How many hosts there are, and how many of them are how.
fn summary(hosts: &[&Host]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for host in hosts {
        *counts.entry(host.standing.word()).or_default() += 1;
    }
    let current = counts.remove("current").unwrap_or_default();
    let rest: Vec<_> = counts.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    let noun = if hosts.len() == 1 { "host" } else { "hosts" };
    let rest = if rest.is_empty() { String::new() } else { format!(", {}", rest.join(", ")) };
    format!("{} {noun}: {current} current{rest}", hosts.len())
}

/// Until somebody has seen enough.
async fn watch(session: &Session, selection: &Selection, in_full: bool, interval: Duration) -> Result<(), Failure> {
    let mut told = BTreeMap::new();
    loop {
        let pause = match show(session, selection, in_full, &mut told).await {
            Ok(()) => interval,
            Err(failure) if failure.may_pass() => {
                console::say(format_args!("trying again: {}", failure.words()));
                interval.max(console::TRIED_AGAIN_AFTER)
            }
            Err(failure) => return Err(failure),
        };
        if !console::is_read() {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
}

/// Redraws a terminal, or tells what has changed since it was told.
async fn show(
    session: &Session,
    selection: &Selection,
    in_full: bool,
    told: &mut BTreeMap<HostName, String>,
) -> Result<(), Failure> {
    let view = rivals::read(session).await?;
    let hosts = chosen(&view, selection)?;
    if !std::io::stdout().is_terminal() {
        return tell_changes(&hosts, told);
    }
    let lines = match &hosts[..] {
        [host] if in_full => page::lines(host, view.now),
        hosts => table::lines(hosts, view.now),
    };
    console::data(format_args!("{HOME}{}\n{}", lines.join("\n"), summary(&hosts)))
}

/// A line for each host that is not as it was.
fn tell_changes(hosts: &[&Host], told: &mut BTreeMap<HostName, String>) -> Result<(), Failure> {
    for host in hosts {
        let line = table::in_a_line(host);
        if told.get(&host.name) != Some(&line) {
            console::data(&line)?;
            told.insert(host.name.clone(), line);
        }
    }
    let present: BTreeSet<_> = hosts.iter().map(|host| &host.name).collect();
    let gone: Vec<_> = told.keys().filter(|name| !present.contains(name)).cloned().collect();
    for name in gone {
        told.remove(&name);
        console::data(format_args!("{name}: gone"))?;
    }
    Ok(())
}

fn value(view: &View, hosts: &[&Host]) -> Value {
    json!({
        "at": view.now,
        "well": hosts.iter().all(|host| host.standing.is_well()),
        "summary": summary(hosts),
        "hosts": hosts.iter().map(|host| host_value(host, view.now)).collect::<Vec<_>>(),
    })
}

fn host_value(host: &Host, now: Timestamp) -> Value {
    let wanted = host.wanted.as_ref();
    let trust = match &host.heard {
        Heard::Report { header, .. } => Some(header.trust),
        Heard::Nothing | Heard::Refused { .. } => None,
    };
    json!({
        "host": host.name,
        "standing": host.standing.word(),
        "well": host.standing.is_well(),
        "why": standing::why(host, now),
        "assignment": host.assignment,
        "assigned": host.told.following(),
        "follows": wanted.map(|wanted| json!({ "remote": wanted.remote, "configuration": wanted.configuration })),
        "wanted": host.wanted_release().map(WantedRelease::value),
        "seen": host.heard.at(),
        "trust": trust,
        "key": host.heard.key().map(key_word),
        "report": host.heard.report(),
        "role": host.metadata.role,
        "groups": host.metadata.groups,
    })
}
