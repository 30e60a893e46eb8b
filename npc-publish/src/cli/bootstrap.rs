//! Arguments of what turns machines into hosts.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use npc_core::digest::Digest;
use npc_core::name::{AssignmentName, ConfigurationName, HostName, RemoteName};
use npc_operator::bootstrap::{Architecture, PATIENCE, SWAP_BELOW};

use super::{Place, pair};

#[derive(Debug, Args)]
pub(crate) struct Bootstrap {
    /// The host's name [default: what the machine is called]
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<HostName>,
    /// The remote to follow until it is assigned
    #[arg(long, value_name = "REMOTE")]
    pub(crate) remote: RemoteName,
    /// The configuration to follow until it is assigned [default: the one of the group's, the assignment's or the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) configuration: Option<ConfigurationName>,
    /// The configuration to build and activate before any other, until the machine has committed a release
    #[arg(long, value_name = "NAME")]
    pub(crate) initial_configuration: Option<ConfigurationName>,
    /// The assignment to obey, where several hosts share one [default: the one of the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) assignment: Option<AssignmentName>,
    /// The group of machines on EC2 that come and go, all with this script: each is called NAME and its instance id, and they obey
    /// the assignment NAME
    #[arg(long, value_name = "NAME", conflicts_with_all = ["host", "assignment"])]
    pub(crate) group: Option<AssignmentName>,
    /// The machine comes and goes: its silence is nobody's business
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// The file on the machine that will hold its token for an HTTP store
    #[arg(long, value_name = "PATH")]
    pub(crate) store_token_file: Option<PathBuf>,
    /// The static agent for an architecture, as `uname -m` has it: its file, or its SHA-256 in the store; several for several
    #[arg(long, value_name = "ARCH=FILE|SHA256", value_parser = pair::<Architecture, AgentSource>,
          required_unless_present = "agent_flake", conflicts_with = "agent_flake")]
    pub(crate) agent: Vec<(Architecture, AgentSource)>,
    /// Have the machine's own Nix build the agent from this reference instead, such as `git+https://…#npc-agent`
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) agent_flake: Option<String>,
    /// Put the agents' files into the store, where they are not there yet
    #[arg(long)]
    pub(crate) upload: bool,
    /// Below so many MiB of free memory, there is swap until the machine's own agent takes over
    #[arg(long, value_name = "MIB", default_value_t = SWAP_BELOW)]
    pub(crate) swap_below: u32,
    /// After pauses of so many seconds altogether the script gives up, until the next boot
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE)]
    pub(crate) patience: u32,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// An agent for machines that have none.
#[derive(Debug, Clone)]
pub(crate) enum AgentSource {
    /// One in the store.
    Stored(Digest),
    /// One in a file here.
    File(PathBuf),
}

impl FromStr for AgentSource {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Stored))
    }
}
