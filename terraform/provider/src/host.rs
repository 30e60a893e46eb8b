//! `npc_host`: an assignment: which remote and which configuration a host follows.
//!
//! As long as a rollout has taken the host, it goes by the rollout: a plan shows what stood there before, and nothing can be changed.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;

use jiff::Timestamp;
use npc_core::document::{Assignment, Following};
use npc_core::fleet::{Assigned, KeyStanding};
use npc_core::key::PublicKey;
use npc_core::name::{AssignmentName, ConfigurationName, HostName, RemoteName};
use npc_operator::failure::Failure;
use npc_operator::fleet::amend::{self, Amending, following};
use npc_operator::fleet::host::Heard;
use npc_operator::fleet::taken::Taken;
use npc_operator::fleet::{View, trusting, view};
use npc_operator::held::{believable, holds_all, removed, unknown};
use npc_operator::session::Session;
use terraform_plugin::{
    Attribute, Change, Diagnostic, Diagnostics, Object, Outcome, Resource, Schema, SetBy, Type, Unfinished, Value,
    Warnings,
};

use crate::arguments::{check, needed, whole_number};
use crate::operator::{Operator, check_place, with_place};
use crate::told::{told, warning};

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
            .with(
                "pinned_serial",
                Attribute::new(
                    SetBy::Provider,
                    Type::Number,
                    "The serial of the one release that it is held at, as by a rollout that was aborted. The next apply ends that.",
                ),
            )
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
        let Some(session) = self.0.session(&state)? else { return Ok(Some(state)) };
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
        if state.text("remote").is_some() && warning(warnings, || self.is_taken(&session, &name, said))? {
            return Ok(Some(state));
        }
        Ok(Some(seen(&state, said)))
    }

    fn plan(&self, change: Change, _: &mut Warnings) -> Outcome<Object> {
        let mut planned = change.proposed;
        if change.config.get("configuration").is_null() {
            planned.set("configuration", planned.get("name").clone());
        }
        planned.set("pinned_serial", Value::Null);
        Ok(planned)
    }

    fn replacing(&self, prior: &Object, planned: &Object) -> Outcome<Vec<&'static str>> {
        self.0.moving(prior, planned)
    }

    fn apply(&self, change: Change, warnings: &mut Warnings) -> Result<Object, Unfinished> {
        warning(warnings, || self.assign(&change))?;
        Ok(change.proposed)
    }

    fn remove(&self, state: Object, warnings: &mut Warnings) -> Outcome<()> {
        let (name, session) = (needed::<AssignmentName>(&state, "name")?, self.0.session_now(&state)?);
        warning(warnings, || {
            self.amend(&session, &name, |stands| {
                match following(stands) {
                    Some(said) => self.check_seen(&session, &name, said, &[&state])?,
                    // What is not there any more need not be taken back; what nobody believes any more, some hosts may obey.
                    None if stands.is_none_or(|stands| stands.state.is_ok()) => return Ok(None),
                    None => {}
                }
                Ok(Some(Assignment::Removed))
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
    seen.set("pinned_serial", said.pin.map(|pin| pin.serial.get()));
    seen
}

impl Host {
    fn assign(&self, change: &Change) -> Outcome<()> {
        let planned = &change.proposed;
        let name: AssignmentName = needed(planned, "name")?;
        let (remote, configuration) = (needed(planned, "remote")?, needed(planned, "configuration")?);
        let session = self.0.session_now(planned)?;
        let says_configuration = !change.config.get("configuration").is_null();
        self.check_remote(&session, &remote, &configuration, says_configuration)?;
        let shared = planned.get("shared").as_bool().unwrap_or(false);
        let heard = self.heard(&session, &name, shared)?;
        self.amend(&session, &name, |stands| {
            let said = following(stands);
            // As after an apply whose answer was lost.
            if change.prior.is_none() && said.is_some_and(|said| is_planned(said, planned)) {
                return Ok(None);
            }
            self.check_prior(&session, &name, stands, change)?;
            let led = match said {
                Some(said) => said.clone().led_to(remote.clone(), configuration.clone()),
                None => Following::new(remote.clone(), configuration.clone()),
            };
            let is_elsewhere = said.is_none_or(|said| said.remote != remote || said.configuration != configuration);
            // Where hosts stay, what a rollout has left there stays too, and a pin that was not seen in the plan.
            let base = if is_elsewhere { led } else { said.cloned().unwrap_or(led) };
            let ended = change.prior.as_ref().and_then(|prior| prior.get("pinned_serial").as_u64());
            Ok(Some(Assignment::Present(Box::new(Following {
                paused: planned.get("paused").as_bool().unwrap_or(false),
                shared,
                poll_interval: planned.get("poll_interval").as_u64(),
                report_key: base.report_key.clone().or_else(|| key_of(&name, &heard)),
                pin: base.pin.filter(|pin| Some(pin.serial.get()) != ended),
                ..base
            }))))
        })
    }

    /// Refuses to change what was not seen when that was planned.
    fn check_prior(
        &self,
        session: &Session,
        name: &AssignmentName,
        stands: Option<&Assigned>,
        change: &Change,
    ) -> Outcome<()> {
        match (&change.prior, following(stands)) {
            (None, Some(_)) => Err(Diagnostic::error(format!("`{name}` is assigned already"))
                .detail(format!("Import it: `terraform import … {name}`."))
                .at(["name"])
                .into()),
            (Some(prior), Some(said)) => self.check_seen(session, name, said, &[prior, &change.proposed]),
            // Nobody believes what is refused, so that nobody's word is lost.
            (Some(_), None) if stands.is_none_or(|stands| stands.state.is_ok()) => {
                Err(unseen(name, "nobody assigns it any more"))
            }
            (_, None) => Ok(()),
        }
    }

    /// Refuses to change what tells a host something else than one of these does. What a rollout has taken is refused as such.
    fn check_seen(&self, session: &Session, name: &AssignmentName, said: &Following, known: &[&Object]) -> Outcome<()> {
        let is_place = |known: &&Object| {
            known.text("remote") == Some(said.remote.as_str())
                && known.text("configuration") == Some(said.configuration.as_str())
        };
        let is_known = |name, holds| known.iter().any(|known| known.get(name).as_bool().unwrap_or(false) == holds);
        let is_seen = known.iter().any(is_place)
            && is_known("paused", said.paused)
            && is_known("shared", said.shared)
            && known.iter().any(|known| known.get("poll_interval").as_u64() == said.poll_interval);
        if is_seen || self.is_taken(session, name, said)? {
            return Ok(());
        }
        let paused = if said.paused { ", and is paused" } else { "" };
        let how = format!("it follows `{}` with the configuration `{}`{paused}", said.remote, said.configuration);
        Err(unseen(name, &how))
    }

    /// Whether a rollout leads hosts elsewhere that is not known to have ended.
    fn is_taken(&self, session: &Session, name: &AssignmentName, said: &Following) -> Outcome<bool> {
        if said.rollout.as_ref().is_none_or(|placed| placed.left) {
            return Ok(false);
        }
        self.0.wait(async { Ok(Taken::read(session).await?.takes(name, Some(said)).is_some()) })
    }

    /// Hosts stay where they are rather than follow what they cannot: whoever assigns them is told at once.
    fn check_remote(
        &self,
        session: &Session,
        remote: &RemoteName,
        configuration: &ConfigurationName,
        says_configuration: bool,
    ) -> Outcome<()> {
        let document = self.0.wait(async {
            let pointer = session.fleet.remote(remote).await?.ok_or_else(|| unknown(remote))?;
            Ok::<_, Failure>(pointer.state?)
        });
        let document = document.map_err(|errors| errors.or_at("remote"))?;
        let release = believable(&document).ok_or_else(|| told(&removed(remote)).or_at("remote"))?;
        let at_fault = if says_configuration { "configuration" } else { "remote" };
        holds_all(remote, document.header().serial, release, slice::from_ref(configuration).iter())
            .map_err(|failure| told(&failure).or_at(at_fault))
    }

    /// What the hosts say that ask for an assignment, as far as this operator may read it. Those that would refuse what is about to
    /// be signed are warned of.
    fn heard(&self, session: &Session, name: &AssignmentName, shared: bool) -> Outcome<Vec<(HostName, Heard)>> {
        let read = self.0.wait(async {
            if shared {
                let view = View::read(&session.fleet, Timestamp::now()).await?;
                let hosts = view.hosts.into_iter().filter(|(_, host)| host.assignment == *name);
                return Ok(hosts.map(|(name, host)| (name, host.heard)).collect());
            }
            let host: HostName = name.as_str().parse().expect("the names of hosts and of assignments have one grammar");
            Ok(view::reports(&session.fleet, &BTreeSet::from([host])).await?)
        });
        // Those who may assign hosts need not be allowed to read reports.
        let heard: Vec<_> = read.unwrap_or_default();
        trusting::check(&session.fleet.trusted, heard.iter().map(|(host, heard)| (host, heard)))
            .map_err(|failure| told(&failure))?;
        Ok(heard)
    }

    /// Changes what stands there, if `decide` says so, unless a rollout has taken the host.
    fn amend(
        &self,
        session: &Session,
        name: &AssignmentName,
        decide: impl FnOnce(Option<&Assigned>) -> Outcome<Option<Assignment>>,
    ) -> Outcome<()> {
        let keys = self.0.keys(session)?;
        let amending = Amending { session, keys: &keys, force: false, dry_run: false };
        let stands = self.0.wait(async {
            amending.authorise()?;
            Ok::<_, Failure>(session.fleet.assignment(name).await?)
        })?;
        let Some(says) = decide(stands.as_ref())? else { return Ok(()) };
        let change = amend::Change { name: name.clone(), stands, says };
        let log = |words| {
            tracing::info!("{words}");
            Ok(())
        };
        self.0.wait(amending.carry_out(vec![change], log)).map_err(|errors| errors.or_at("remote"))
    }
}

/// Whether hosts are told just what is planned, and nobody has taken or held them.
fn is_planned(said: &Following, planned: &Object) -> bool {
    planned.text("remote") == Some(said.remote.as_str())
        && planned.text("configuration") == Some(said.configuration.as_str())
        && planned.get("paused").as_bool().unwrap_or(false) == said.paused
        && planned.get("shared").as_bool().unwrap_or(false) == said.shared
        && planned.get("poll_interval").as_u64() == said.poll_interval
        && said.instance.is_none()
        && said.pin.is_none()
        && said.rollout.as_ref().is_none_or(|placed| placed.left)
}

/// The key that the host signs its reports with, if it reports already: known from the first time that it is assigned.
fn key_of(name: &AssignmentName, heard: &[(HostName, Heard)]) -> Option<PublicKey> {
    let (_, heard) = heard.iter().find(|(host, _)| host.as_str() == name.as_str())?;
    let is_new = heard.key() == Some(KeyStanding::Unpinned);
    heard.report().filter(|_| is_new)?.report_key.clone()
}

fn unseen(name: &AssignmentName, how: &str) -> Diagnostics {
    Diagnostic::error(format!("Somebody else has changed what `{name}` follows since the plan"))
        .detail(format!("Now {how}. Nothing was changed: plan again."))
        .at(["remote"])
        .into()
}
