//! `data npc_report`: what a host last said of itself, now, or once it runs what its remote holds.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use npc_core::document::Serial;
use npc_core::name::HostName;
use npc_operator::failure::Failure;
use npc_operator::fleet::host::Heard;
use npc_operator::fleet::{Host, Standing, View};
use npc_operator::session::Session;
use serde_json::json;
use terraform_plugin::{Attribute, DataSource, Diagnostic, Object, Outcome, Schema, SetBy, Type, Warnings};
use tokio::time::Instant;

use crate::arguments::{Given, check, needed, not_in_order, whole_number};
use crate::operator::{Operator, check_place, with_place};

pub(crate) struct Report(pub(crate) Arc<Operator>);

/// How often to look while waiting.
const LOOKS: Duration = Duration::from_secs(5);

/// How long a configuration may have Terraform wait, in seconds.
const LONGEST: u64 = 6 * 60 * 60;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Nothing: however it is.
    Now,
    /// That it has reported at all.
    Reported,
    /// That it runs what it should.
    Current,
}

impl Until {
    fn of(config: &Object) -> Outcome<Self> {
        match config.text("wait_for") {
            None => Ok(Self::Now),
            Some("report") => Ok(Self::Reported),
            Some("current") => Ok(Self::Current),
            Some(word) => {
                let detail = format!("\"{word}\" is neither `report` nor `current`.");
                Err(not_in_order("wait_for", detail))
            }
        }
    }

    fn is_reached(self, host: Option<&Host>) -> bool {
        match self {
            Self::Now => true,
            Self::Reported => host.is_some_and(|host| host.heard.report().is_some()),
            Self::Current => host.is_some_and(|host| host.standing.is_well()),
        }
    }

    /// Whether waiting longer is in vain.
    fn is_hopeless(self, host: Option<&Host>) -> bool {
        self == Self::Current
            && host.is_some_and(|host| matches!(host.standing, Standing::Failed(_) | Standing::Refused(_)))
    }
}

impl DataSource for Report {
    fn schema(&self) -> Schema {
        let user = |kind, words: &str| Attribute::new(SetBy::UserOrNobody, kind, words);
        let own = |kind, words: &str| Attribute::new(SetBy::Provider, kind, words);
        with_place(Schema::new("What a host last said of itself, and how it is by that."))
            .with("host", Attribute::new(SetBy::User, Type::String, "The host's name."))
            .with(
                "wait_for",
                user(
                    Type::String,
                    "What to wait for: `report`, that the host has reported at all, or `current`, that it runs what its remote \
                     holds. Unless said, nothing is waited for.",
                ),
            )
            .with("timeout", user(Type::Number, "How long to wait for that, in seconds; 600 unless said."))
            .with("standing", own(Type::String, "How it is, in the word that `npc-publish status` has for it."))
            .with("reported", own(Type::Bool, "Whether it has reported at all."))
            .with("reported_at", own(Type::String, "When it did so last, by the store's clock, as RFC 3339 has it."))
            .with("remote", own(Type::String, "The remote that brought what it runs."))
            .with("serial", own(Type::Number, "The serial that this has there."))
            .with("system", own(Type::String, "The store path of the system that it runs."))
            .with("addresses", own(Type::String.list(), "Its addresses."))
            .with("ssh_host_keys", own(Type::String.list(), "Its SSH server's public keys."))
            .with("agent_version", own(Type::String, "The version of its agent."))
            .with("json", own(Type::String, "The whole report, as JSON."))
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check_place(config)?;
        check::<HostName>(config, "host")?;
        Until::of(config)?;
        patience(config).map(drop)
    }

    fn read(&self, config: Object, _: &mut Warnings) -> Outcome<Object> {
        let name: HostName = needed(&config, "host")?;
        let until = Until::of(&config)?;
        let patience = Duration::from_secs(patience(&config)?.now().unwrap_or(600));
        let session = self.0.session_now(&config)?;
        let host = self.0.wait(look(&session, &name, until, patience))?;
        if !until.is_reached(host.as_ref()) {
            let standing = host.as_ref().map_or("unknown", |host| host.standing.word());
            let detail = format!(
                "It is `{standing}`, after {} s at most. `npc-publish why {name}` tells more, and so do the console and the journal \
                 of a machine that has never reported.",
                patience.as_secs()
            );
            return Err(Diagnostic::error(format!("`{name}` is not there yet")).detail(detail).at(["wait_for"]).into());
        }
        Ok(seen(config, host.as_ref()))
    }
}

/// How long to wait, in seconds.
fn patience(config: &Object) -> Outcome<Given<u64>> {
    whole_number(config, "timeout", 0..=LONGEST)
}

/// Looks at a host until it is as it should be, or will not be. A store that is silent for a moment does not end a wait.
async fn look(session: &Session, name: &HostName, until: Until, patience: Duration) -> Result<Option<Host>, Failure> {
    let end = Instant::now() + patience;
    loop {
        let view = View::read(&session.fleet, Timestamp::now()).await.map_err(Failure::from);
        let seen = view.map(|mut view| view.hosts.remove(name));
        let is_done = match &seen {
            Ok(host) => until.is_reached(host.as_ref()) || until.is_hopeless(host.as_ref()),
            Err(failure) => until == Until::Now || !failure.may_pass(),
        };
        if is_done || Instant::now() + LOOKS > end {
            return seen;
        }
        match seen {
            Ok(_) => tracing::info!("waiting for `{name}`"),
            Err(failure) => tracing::warn!("trying again: {}", failure.words()),
        }
        tokio::time::sleep(LOOKS).await;
    }
}

fn seen(config: Object, host: Option<&Host>) -> Object {
    let standing = host.map_or("unknown", |host| host.standing.word());
    let mut seen = config.with("standing", standing).with("reported", false);
    let heard = host.map(|host| &host.heard);
    let Some(report) = heard.and_then(|heard| heard.report()) else { return seen };
    seen.set("reported", true);
    seen.set("reported_at", heard.and_then(Heard::at).map(|at| at.to_string()));
    let runs = report.runs.as_ref();
    seen.set("remote", runs.and_then(|runs| runs.remote.as_ref()).map(ToString::to_string));
    seen.set("serial", runs.and_then(|runs| runs.serial).map(Serial::get));
    seen.set("system", runs.map(|runs| runs.system.clone()));
    seen.set("addresses", report.addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
    seen.set("ssh_host_keys", report.ssh_host_keys.clone());
    seen.set("agent_version", report.agent_version.clone());
    seen.set("json", json!(report).to_string());
    seen
}
