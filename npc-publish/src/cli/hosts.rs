//! The command line of what hosts are told, and of what they say.

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use npc_core::name::{ConfigurationName, HostName, RemoteName};
use npc_operator::fleet::Selection;
use npc_operator::fleet::selector::Selector;

use super::{Place, Writing};

/// Hosts whose assignments are changed.
#[derive(Debug, Args)]
pub(crate) struct Choice {
    #[command(flatten)]
    pub(crate) hosts: Chosen,
    #[command(flatten)]
    pub(crate) writing: Writing,
    /// Say it again even if that is what stands in the store, and to hosts that a rollout has taken
    #[arg(long)]
    pub(crate) force: bool,
}

/// Hosts by name, glob, group:, role:, remote:, or all.
#[derive(Debug, Clone, Args)]
pub(crate) struct Chosen {
    /// Hosts: a name, a glob, group:NAME, role:NAME, remote:NAME or all; several are taken together
    #[arg(required = true, value_name = "SELECTOR")]
    pub(crate) hosts: Vec<Selector>,
    /// Hosts to leave out, named likewise
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) except: Vec<Selector>,
}

impl Chosen {
    /// Who is meant.
    pub(crate) fn selection(self) -> Selection {
        Selection { included: self.hosts, excluded: self.except }
    }
}

/// Hosts likewise, or all if none is named.
#[derive(Debug, Clone, Args)]
pub(crate) struct AnyHosts {
    /// Hosts: a name, a glob, group:NAME, role:NAME, remote:NAME or all; several are taken together [default: all]
    #[arg(value_name = "SELECTOR")]
    pub(crate) hosts: Vec<Selector>,
    /// Hosts to leave out, named likewise
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) except: Vec<Selector>,
}

impl AnyHosts {
    /// Who is meant.
    pub(crate) fn selection(self) -> Selection {
        Selection { included: self.hosts, excluded: self.except }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Reboot {
    #[command(flatten)]
    pub(crate) hosts: Chosen,
    /// How many hosts may be down at once, if their groups do not say less
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(crate) max_unavailable: NonZeroUsize,
    /// Only those that need a reboot for what they run
    #[arg(long)]
    pub(crate) needed: bool,
    /// How long a host may take to come back and be well, such as `30m`
    #[arg(long, value_name = "SPAN", default_value = "30m", value_parser = super::seconds)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) writing: Writing,
}

#[derive(Debug, Args)]
pub(crate) struct Repoint {
    #[command(flatten)]
    pub(crate) choice: Choice,
    /// The remote that they follow from now on
    #[arg(long, value_name = "REMOTE")]
    pub(crate) remote: RemoteName,
    /// The configuration that they build [default: the one they built so far, or else the one of their name]
    #[arg(long, value_name = "NAME")]
    pub(crate) configuration: Option<ConfigurationName>,
    /// The installation that lost its memory against replay, by its report or `npc-agent status`: it may begin anew with this
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// Several machines ask for this assignment, as those of a scaling group do: no host is expected by its name
    #[arg(long)]
    pub(crate) shared: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Hosts {
    #[command(subcommand)]
    pub(crate) command: Option<HostsCommand>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print the list as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostsCommand {
    /// Take assignments back: the hosts' own settings rule again
    Remove(Choice),
    /// Have hosts change nothing until they are resumed
    Pause(Choice),
    /// Let hosts go on
    Resume(Choice),
    /// Take the key that a host reports with now for its own: what another key signs is not believed any more
    Pin(Choice),
    /// Remove the reports of machines that are gone
    Forget {
        /// The machines
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<HostName>,
        #[command(flatten)]
        place: Place,
        /// Say what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) hosts: AnyHosts,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Show it again and again: redrawn on a terminal, what has changed elsewhere
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
    /// How often, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) interval: u64,
    /// Print it as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The host; several are named as everywhere
    #[arg(value_name = "HOST")]
    pub(crate) host: Selector,
    #[command(flatten)]
    pub(crate) place: Place,
}
