//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use npc_core::name::{ConfigurationName, RemoteName};

use crate::failure::EXIT_CODES;
use crate::settings::{DEFAULT_CONFIG, DEFAULT_STATE};

/// Keep this host in the configuration that its fleet's operators published
#[derive(Debug, Parser)]
#[command(name = "npc-agent", version, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "NPC_AGENT_CONFIG", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The directory of the agent's state
    #[arg(long, global = true, value_name = "DIR", env = "NPC_AGENT_STATE", default_value = DEFAULT_STATE)]
    pub state: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the remote
    Run {
        /// Ask once, do what that leads to, and end
        #[arg(long)]
        once: bool,
    },
    /// Show what this host follows, runs and is doing
    Status {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Follow another remote or configuration than the configuration file says
    Set(Set),
    /// Change nothing, but go on asking
    Pause {
        /// Resume by itself after this long, such as `2h`
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<jiff::SignedDuration>,
    },
    /// Make changes again
    Resume,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages
    Man {
        /// Where to
        directory: PathBuf,
    },
}

/// What to follow.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Set {
    /// The remote
    #[arg(long)]
    pub remote: Option<RemoteName>,
    /// The configuration
    #[arg(long)]
    pub configuration: Option<ConfigurationName>,
    /// Follow what the configuration file says again
    #[arg(long, conflicts_with_all = ["remote", "configuration"])]
    pub reset: bool,
}
