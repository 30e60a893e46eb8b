//! `npc_host`: an assignment: which remote and which configuration a host follows.
//!
//! As long as a rollout has taken the host, it goes by the rollout: a plan shows what stood there before, and nothing can be changed.

use std::slice;
use std::sync::Arc;

use npc_core::document::{Assignment, Following};
use npc_core::fleet::{Assigned, Inquiry, KeyStanding};
use npc_core::key::PublicKey;
use npc_core::name::{AssignmentName, ConfigurationName, HostName, RemoteName};
use npc_operator::failure::Failure;
use npc_operator::fleet::amend::{self, Amending, following};
use npc_operator::fleet::host::Heard;
use npc_operator::held::{believable, holds_all, removed, unknown};
use npc_operator::session::Session;
use terraform_plugin::{Attribute, Change, Object, Outcome, Resource, Schema, SetBy, Type, Unfinished, Warnings};

use crate::arguments::{check, needed, whole_number};
use crate::operator::{Operator, check_place, with_place};
use crate::told::warning;

pub(crate) struct Host(pub(crate) Arc<Operator>);

impl Resource for Host {
    fn schema(&self) -> Schema {
        let user = |kind, words: &str| Attribute::new(SetBy::UserOrNobody, kind, words);
        with_place(Schema::new("An assignment: what a host, or all machines of a group, follow."))
            .with(
                "name",
                Attribute::new(SetBy::User, Type::String, "The name of the host, or of the group.").replaces(),
            )
            .with("remote", Attribute::new(SetBy::User, Type::String, "The remote to follow."))
            .with(
                "configuration",
                Attribute::new(
                    SetBy::UserOrProvider,
                    Type::String,
                    "The configuration to build. Unless said, the one of the host's name.",
                ),
            )
            .with("paused", user(Type::Bool, "Whether the host is to change nothing until this is `false` again."))
            .with("poll_interval", user(Type::Number, "How often it asks for something new, in seconds: 10 to 3600."))
            .with("shared", user(Type::Bool, "Whether several machines share this assignment, as those of a group do."))
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check_place(config)?;
        check::<AssignmentName>(config, "name")?;
        check::<RemoteName>(config, "remote")?;
        check::<ConfigurationName>(config, "configuration")?;
        whole_number(config, "poll_interval", 10..=3600).map(drop)
    }

    fn read(&self, state: Object, warnings: &mut Warnings) -> Outcome<Option<Object>> {
        let name: AssignmentName = needed(&state, "name")?;
        let session = self.0.session_now(&state)?;
        let stands = self.0.wait(async { Ok(session.fleet.assignment(&name).await?) })?;
        if let Some(Err(refusal)) = stands.as_ref().map(|stands| &stands.state) {
            warnings.tell(
                format!("What `{name}` is assigned to cannot be believed"),
                format!("{refusal} ({}). It is told anew with the next apply.", refusal.kind()),
            );
            return Ok(Some(state.with("remote", "")));
        }
        let Some(said) = following(stands.as_ref()) else { return Ok(None) };
        // A rollout leads hosts elsewhere for a while, and back, or on.
        let is_taken = said.rollout.as_ref().is_some_and(|placed| !placed.left);
        if is_taken && state.text("remote").is_some() {
            return Ok(Some(state));
        }
        Ok(Some(seen(&state, said)))
    }

    fn plan(&self, change: Change, _: &mut Warnings) -> Outcome<Object> {
        let mut planned = change.proposed;
        if change.config.get("configuration").is_null() {
            planned.set("configuration", planned.get("name").clone());
        }
        Ok(planned)
    }

    fn apply(&self, change: Change, warnings: &mut Warnings) -> Result<Object, Unfinished> {
        let planned = change.proposed;
        warning(warnings, || self.assign(&planned, change.prior.is_none()))?;
        Ok(planned)
    }

    fn remove(&self, state: Object, warnings: &mut Warnings) -> Outcome<()> {
        let (name, session) = (needed::<AssignmentName>(&state, "name")?, self.0.session_now(&state)?);
        warning(warnings, || {
            self.amend(&session, &name, |stands| {
                // What is not there any more need not be taken back.
                Ok(following(stands).map(|_| Assignment::Removed))
            })
        })
    }

    fn import(&self, id: &str) -> Outcome<Object> {
        let name = Object::default().with("name", id);
        check::<AssignmentName>(&name, "name")?;
        Ok(name)
    }
}

/// What an assignment says, as far as this resource can say it.
fn seen(state: &Object, said: &Following) -> Object {
    let mut seen = state
        .clone()
        .with("remote", said.remote.to_string())
        .with("configuration", said.configuration.as_str().to_owned());
    // What nobody has set, and does not hold, is as good as not set.
    for (name, holds) in [("paused", said.paused), ("shared", said.shared)] {
        if holds || !state.get(name).is_null() {
            seen.set(name, holds);
        }
    }
    seen.set("poll_interval", said.poll_interval);
    seen
}

impl Host {
    fn assign(&self, planned: &Object, is_new: bool) -> Outcome<()> {
        let name: AssignmentName = needed(planned, "name")?;
        let (remote, configuration) = (needed(planned, "remote")?, needed(planned, "configuration")?);
        let session = self.0.session_now(planned)?;
        self.check_remote(&session, &remote, &configuration).map_err(|errors| errors.or_at("remote"))?;
        let known = self.key_of(&session, &name)?;
        self.amend(&session, &name, |stands| {
            let said = following(stands);
            if is_new && said.is_some() {
                return Err(Failure::usage(format!("`{name}` is assigned already"))
                    .hint(format!("import it: `terraform import … {name}`")));
            }
            let led = match said {
                Some(said) => said.clone().led_to(remote.clone(), configuration.clone()),
                None => Following::new(remote.clone(), configuration.clone()),
            };
            let is_elsewhere = said.is_none_or(|said| said.remote != remote || said.configuration != configuration);
            // Where hosts stay, a pin and what a rollout has left there stay too.
            let base = if is_elsewhere { led } else { said.cloned().unwrap_or(led) };
            Ok(Some(Assignment::Present(Box::new(Following {
                paused: planned.get("paused").as_bool().unwrap_or(false),
                shared: planned.get("shared").as_bool().unwrap_or(false),
                poll_interval: planned.get("poll_interval").as_u64(),
                report_key: base.report_key.clone().or_else(|| known.clone()),
                ..base
            }))))
        })
    }

    /// Hosts stay where they are rather than follow what they cannot: whoever assigns them is told at once.
    fn check_remote(&self, session: &Session, remote: &RemoteName, configuration: &ConfigurationName) -> Outcome<()> {
        self.0.wait(async {
            let pointer = session.fleet.remote(remote).await?.ok_or_else(|| unknown(remote))?;
            let document = pointer.state?;
            let release = believable(&document).ok_or_else(|| removed(remote))?;
            holds_all(remote, document.header().serial, release, slice::from_ref(configuration).iter())
        })
    }

    /// The key that the host signs its reports with, if it reports already: known from the first time that it is assigned.
    fn key_of(&self, session: &Session, name: &AssignmentName) -> Outcome<Option<PublicKey>> {
        let host: HostName = name.as_str().parse().expect("the names of hosts and of assignments have one grammar");
        self.0.wait(async {
            let inquiry = Inquiry { host: &host, pinned: None, listed: None };
            let Ok(mut reported) = session.fleet.reports([inquiry]).await else {
                // Those who may assign hosts need not be allowed to read reports.
                return Ok(None);
            };
            let Some((_, reported)) = reported.pop() else { return Ok(None) };
            let heard = Heard::from(reported);
            let is_new = heard.key() == Some(KeyStanding::Unpinned);
            Ok(heard.report().filter(|_| is_new).and_then(|report| report.report_key.clone()))
        })
    }

    /// Changes what stands there, if `decide` says so, unless a rollout has taken the host.
    fn amend(
        &self,
        session: &Session,
        name: &AssignmentName,
        decide: impl FnOnce(Option<&Assigned>) -> Result<Option<Assignment>, Failure>,
    ) -> Outcome<()> {
        let keys = self.0.keys(session)?;
        let amending = Amending { session, keys: &keys, force: false, dry_run: false };
        self.0.wait(async {
            amending.authorise()?;
            let stands = session.fleet.assignment(name).await?;
            let Some(says) = decide(stands.as_ref())? else { return Ok(()) };
            let change = amend::Change { name: name.clone(), stands, says };
            let log = |words| {
                tracing::info!("{words}");
                Ok(())
            };
            amending.carry_out(vec![change], log).await
        })
    }
}
