//! `npc-publish bootstrap`: prints the script that turns a bare machine into a host.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use npc_core::digest::Digest;
use npc_core::document::Serial;
use npc_core::enrolment::{Enrolment, Reported};
use npc_core::layout;
use npc_core::name::RemoteName;
use npc_core::store::{Content, Fault, Precondition};
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
        host: arguments.host,
        assignment: arguments.assignment,
        minimum_serials,
        report: Reported { ephemeral: arguments.ephemeral },
    };
    let script = Bootstrap { enrolment, agent, swap_below: arguments.swap_below, patience: arguments.patience };
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
    let mut agents = BTreeMap::new();
    for (architecture, source) in told {
        let digest = match source {
            AgentSource::Stored(digest) => *digest,
            AgentSource::File(file) => digest_of(*architecture, file)?,
        };
        if agents.insert(*architecture, digest).is_some() {
            return Err(Failure::usage(format!("there are two agents for {}", architecture.as_str())));
        }
        let key = layout::binary(&digest);
        match session.fleet.store.open(&key, 0, None).await {
            Ok(_) => {}
            Err(error) if error.fault == Fault::NotFound => match source {
                AgentSource::File(file) if upload => {
                    session.fleet.store.write(&key, Content::File(file), Precondition::None).await?;
                    console::say(format_args!("the agent for {} is in the store as {digest}", architecture.as_str()));
                }
                _ => {
                    let hint = "name its file, and say --upload to put that there";
                    return Err(Failure::usage(format!("the store has no agent {digest}")).hint(hint));
                }
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(agents)
}

fn digest_of(architecture: Architecture, file: &Path) -> Result<Digest, Failure> {
    let bytes = fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read the agent `{}`: {error}", file.display())))?;
    let machine = bytes.starts_with(b"\x7fELF").then(|| bytes.get(18..20)).flatten();
    let expected: [u8; 2] = match architecture {
        Architecture::X86 => 62u16.to_le_bytes(),
        Architecture::Arm => 183u16.to_le_bytes(),
    };
    // `e_machine`, elf(5).
    if machine != Some(&expected[..]) {
        let name = architecture.as_str();
        return Err(Failure::usage(format!("`{}` is no program for Linux on {name}", file.display()))
            .hint("the flake builds agents that run anywhere: `nix build .#npc-agent-static-x86_64`, or -aarch64"));
    }
    Ok(Digest::of(&bytes))
}
