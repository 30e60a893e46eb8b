//! `npc-publish bootstrap`: prints the script that turns a bare machine into a host.

use std::collections::BTreeMap;

use npc_core::digest::Digest;
use npc_core::document::Serial;
use npc_core::enrolment::{Enrolment, Reported};
use npc_core::name::RemoteName;
use npc_operator::binaries::{Binary, is_stored};
use npc_operator::bootstrap::{Agent, Architecture, Bootstrap, BootstrapError};
use npc_operator::failure::Failure;
use npc_operator::session::Session;

use crate::cli::{self, AgentSource};
use crate::console;

pub(crate) async fn bootstrap(arguments: cli::Bootstrap) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let agent = match arguments.agent_flake {
        Some(reference) => Agent::Flake(reference),
        None => Agent::Store(agents(&session, &arguments.agent, arguments.upload).await?),
    };
    let config = &session.config;
    let minimum_serials = floor(&session, &arguments.remote).await?;
    let enrolment = Enrolment {
        fleet: config.fleet.clone(),
        store: config.store.clone(),
        store_token_file: arguments.store_token_file,
        root_keys: config.root_keys.clone(),
        root_threshold: config.root_threshold,
        minimum_trust: session.fleet.trusted.version(),
        remote: arguments.remote,
        configuration: arguments.configuration,
        initial_configuration: arguments.initial_configuration,
        host: arguments.host,
        assignment: arguments.assignment,
        minimum_serials,
        report: Reported { ephemeral: arguments.ephemeral },
    };
    let script = Bootstrap {
        enrolment,
        group: arguments.group,
        agent,
        swap_below: arguments.swap_below,
        patience: arguments.patience,
    };
    let script = script.render().map_err(|error| {
        let hint = match &error {
            BootstrapError::Store(_) => "the store's address is in npc.toml; --agent-flake takes no agent from there",
            _ => "--help says what the script can be told",
        };
        Failure::usage(error).hint(hint)
    })?;
    console::data(script.trim_end())
}

/// The serial below which a new host believes no release of the remote: the newest that can be believed now.
async fn floor(session: &Session, remote: &RemoteName) -> Result<BTreeMap<RemoteName, Serial>, Failure> {
    let Some(pointer) = session.fleet.remote(remote).await? else {
        console::warn(format_args!("nothing has been published to {remote} yet: the host waits for that"));
        return Ok(BTreeMap::new());
    };
    let serial = pointer.state?.header().serial;
    Ok([(remote.clone(), serial)].into())
}

/// The agents' digests. Each is in the store when this returns.
async fn agents(
    session: &Session,
    told: &[(Architecture, AgentSource)],
    upload: bool,
) -> Result<BTreeMap<Architecture, Digest>, Failure> {
    let store = &*session.fleet.store;
    let mut agents = BTreeMap::new();
    for (architecture, source) in told {
        let digest = match source {
            AgentSource::Stored(digest) => *digest,
            AgentSource::File(file) => {
                let binary = Binary::of(file, *architecture)?;
                if upload && binary.upload(file, store).await? {
                    let (name, digest) = (architecture.as_str(), binary.sha256);
                    console::say(format_args!("the agent for {name} is in the store as {digest}"));
                }
                binary.sha256
            }
        };
        if agents.insert(*architecture, digest).is_some() {
            return Err(Failure::usage(format!("there are two agents for {}", architecture.as_str())));
        }
        if !is_stored(&digest, store).await? {
            let hint = "name its file, and say --upload to put that there";
            return Err(Failure::usage(format!("the store has no agent {digest}")).hint(hint));
        }
    }
    Ok(agents)
}
