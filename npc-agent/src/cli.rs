//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use npc_core::name::{ConfigurationName, RemoteName};

use crate::failure::EXIT_CODES;
use crate::settings::{DEFAULT_CONFIG, DEFAULT_STATE};
use crate::stand_in::DEFAULT_UNITS;

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
    /// Try again what failed on this host: lift every quarantine and end the pause before the next try
    Retry,
    /// Enrol this machine in a fleet, and have an agent follow it until the host's own system brings one
    Install(Install),
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
    /// Read the configuration file, and do nothing else: what the agent before asks of one that is to be booted unproved
    #[command(hide = true)]
    Check,
    /// Bring the system before back unless the attempt was ended: what the dead-man timer runs
    #[command(hide = true)]
    DeadMan(DeadMan),
    /// Run a program, and write down how it ended: what activates where there is no systemd
    #[command(hide = true)]
    Perform {
        /// The name under which its end is found again
        name: String,
        /// How long it may take, in seconds
        #[arg(long)]
        timeout: u64,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Write down how a unit ended, which its environment tells: what units run when they stop
    #[command(hide = true)]
    NoteEnd {
        /// The unit's name
        name: String,
    },
}

/// The dead-man timer's own settings.
#[derive(Debug, Args)]
pub struct DeadMan {
    /// The name of the attempt
    pub attempt: String,
    /// The agent's unit, where systemd runs it
    #[arg(long)]
    pub agent_unit: Option<String>,
    /// Wait so long first, in seconds
    #[arg(long, requires = "lease")]
    pub after: Option<u64>,
    /// Wait only while this file is there
    #[arg(long, requires = "after")]
    pub lease: Option<PathBuf>,
}

/// What makes a machine a host.
#[derive(Debug, Args)]
pub struct Install {
    /// What `npc-publish bootstrap` or `npc-publish init` printed, in TOML; `-` for what is piped in
    #[arg(long, value_name = "FILE")]
    pub enrolment: PathBuf,
    /// Replace the enrolment in another fleet
    #[arg(long)]
    pub force: bool,
    /// Where the units go that have this agent run until the host has one of its own
    #[arg(long, value_name = "DIR", default_value = DEFAULT_UNITS)]
    pub units: PathBuf,
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
