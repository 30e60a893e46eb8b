//! `data npc_bootstrap`: the script that turns a bare machine into a host.
//!
//! The newest trust is part of it, as a floor against replay; a release is so only where `minimum_serial` says it, since a script that
//! changed with every release would have Terraform replace machines that keep themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use npc_core::digest::Digest;
use npc_core::document::Serial;
use npc_core::enrolment::{Enrolment, Reported};
use npc_core::name::{AssignmentName, ConfigurationName, HostName, RemoteName};
use npc_operator::bootstrap::{Agent, Architecture, Bootstrap, BootstrapError, PATIENCE, SWAP_BELOW};
use terraform_plugin::{
    Attribute, DataSource, Diagnostic, Diagnostics, Object, Outcome, Schema, SetBy, Type, Value, Warnings,
};

use crate::arguments::{Given, check, needed, not_in_order, parsed, whole_number};
use crate::operator::{Operator, check_place, with_place};

pub(crate) struct BootstrapData(pub(crate) Arc<Operator>);

impl DataSource for BootstrapData {
    fn schema(&self) -> Schema {
        let user = |kind, words: &str| Attribute::new(SetBy::UserOrNobody, kind, words);
        with_place(Schema::new("The script that turns a bare machine into a host: user data, or something to run by hand as root."))
            .with("remote", Attribute::new(SetBy::User, Type::String, "The remote to follow until there is an assignment."))
            .with("host", user(Type::String, "The host's name. Unless said, what the machine is called."))
            .with(
                "configuration",
                user(
                    Type::String,
                    "The configuration to build until there is an assignment. Unless said, the one of the group's, the assignment's or \
                     the host's name.",
                ),
            )
            .with(
                "initial_configuration",
                user(
                    Type::String,
                    "The configuration to build and activate before any other, until the machine has committed a release. Unless said, none.",
                ),
            )
            .with(
                "group",
                user(
                    Type::String,
                    "The group on EC2 whose machines all have this script: each is called by it and its instance id, and they obey the \
                     assignment of its name. Goes with neither `host` nor `assignment`.",
                ),
            )
            .with("assignment", user(Type::String, "The assignment to obey, such as one that a group shares. Unless said, the host's own."))
            .with(
                "agents",
                user(
                    Type::String.map(),
                    "The agents in the store: their SHA-256, by the architectures `x86_64` and `aarch64`. Either this or `agent_flake`.",
                ),
            )
            .with("agent_flake", user(Type::String, "The flake reference of an agent that the machine's own Nix builds."))
            .with("store_token_file", user(Type::String, "The file on the machine with its token for an HTTP store."))
            .with("ephemeral", user(Type::Bool, "Whether the machine comes and goes, so that nobody looks for it once it is silent."))
            .with("minimum_serial", user(Type::Number, "The serial below which no release of the remote is believed."))
            .with(
                "swap_below",
                user(Type::Number, "Below so many MiB of free memory, there is swap until its own agent takes over. 400 unless said."),
            )
            .with(
                "patience",
                user(Type::Number, "How long to try again, in seconds of pauses, before the next boot does. 3600 unless said."),
            )
            .with("script", Attribute::new(SetBy::Provider, Type::String, "The script. It holds no secrets, and at most 16 KiB."))
    }

    fn validate(&self, config: &Object) -> Outcome<()> {
        check_place(config)?;
        check::<RemoteName>(config, "remote")?;
        check::<HostName>(config, "host")?;
        check::<ConfigurationName>(config, "configuration")?;
        check::<ConfigurationName>(config, "initial_configuration")?;
        check::<AssignmentName>(config, "assignment")?;
        check::<AssignmentName>(config, "group")?;
        let alone = ["host", "assignment"].into_iter().find(|name| !config.get(name).is_null());
        if let (Some(name), false) = (alone, config.get("group").is_null()) {
            let detail = format!("`{name}` says of one machine what `group` says of many.");
            return Err(Diagnostic::error("A script is for one machine or for a group")
                .detail(detail)
                .at([name])
                .into());
        }
        if let Value::Object(agents) = config.get("agents") {
            agents_of(agents)?;
        }
        minimum_serial(config)?;
        number(config, "swap_below")?;
        number(config, "patience")?;
        match (config.get("agents").is_null(), config.get("agent_flake").is_null()) {
            (true, true) => Err(Diagnostic::error("Nobody says where the machine gets its agent")
                .detail("Say either `agents`, such as `{ x86_64 = npc_agent_binary.x86_64.sha256 }`, or `agent_flake`.")
                .at(["agents"])
                .into()),
            (false, false) => Err(Diagnostic::error("A machine gets its agent from one place")
                .detail("Say either `agents` or `agent_flake`.")
                .at(["agent_flake"])
                .into()),
            _ => Ok(()),
        }
    }

    fn read(&self, config: Object, _: &mut Warnings) -> Outcome<Object> {
        let session = self.0.session_now(&config)?;
        let remote: RemoteName = needed(&config, "remote")?;
        let minimum = minimum_serial(&config)?.now().and_then(Serial::new);
        let enrolment = Enrolment {
            fleet: session.config.fleet.clone(),
            store: session.config.store.clone(),
            store_token_file: config.text("store_token_file").map(PathBuf::from),
            root_keys: session.config.root_keys.clone(),
            root_threshold: session.config.root_threshold,
            minimum_trust: session.fleet.trusted.version(),
            configuration: parsed(&config, "configuration")?.now(),
            initial_configuration: parsed(&config, "initial_configuration")?.now(),
            host: parsed(&config, "host")?.now(),
            assignment: parsed(&config, "assignment")?.now(),
            minimum_serials: minimum.map(|serial| (remote.clone(), serial)).into_iter().collect(),
            report: Reported { ephemeral: config.get("ephemeral").as_bool().unwrap_or(false) },
            remote,
        };
        let agent = match config.get("agents") {
            Value::Object(agents) => Agent::Store(agents_of(agents)?),
            _ => Agent::Flake(config.text("agent_flake").unwrap_or_default().to_owned()),
        };
        let swap_below = number(&config, "swap_below")?.unwrap_or(SWAP_BELOW);
        let patience = number(&config, "patience")?.unwrap_or(PATIENCE);
        let group = parsed(&config, "group")?.now();
        let script = Bootstrap { enrolment, group, agent, swap_below, patience }.render();
        Ok(config.with("script", script.map_err(|error| not_rendered(&error))?))
    }
}

fn agents_of(agents: &Object) -> Outcome<BTreeMap<Architecture, Digest>> {
    let wrong = |error: String| not_in_order("agents", error);
    let known = agents.iter().filter_map(|(architecture, digest)| Some((architecture, digest.as_str()?)));
    let agent = |(architecture, digest): (&str, &str)| {
        let architecture = architecture.parse().map_err(wrong)?;
        let digest = digest.parse().map_err(|_| wrong(format!("\"{digest}\" is no SHA-256 in hexadecimal digits")))?;
        Ok((architecture, digest))
    };
    known.map(agent).collect()
}

/// A floor that were not understood would be none.
fn minimum_serial(config: &Object) -> Outcome<Given<u64>> {
    whole_number(config, "minimum_serial", 1..=u64::MAX)
}

fn number(config: &Object, name: &str) -> Outcome<Option<u32>> {
    let number = whole_number(config, name, 0..=u32::MAX.into())?.now();
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

fn not_rendered(error: &BootstrapError) -> Diagnostics {
    let attribute = match error {
        BootstrapError::Store(_) => "store",
        BootstrapError::NoAgent => "agents",
        BootstrapError::TooLong(_) | BootstrapError::Value(_) => "remote",
    };
    Diagnostic::error("No script can be made of this").detail(error.to_string()).at([attribute]).into()
}
