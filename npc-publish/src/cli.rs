//! The command line.

mod bootstrap;
mod hosts;
mod repeat;
mod rollout;
mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use npc_core::key::{KeyName, PublicKey};
use npc_core::name::{ConfigurationName, RemoteName};
use npc_core::publish::trust::RoleName;
use npc_core::store::StoreUrl;
use npc_operator::selection::{NixChoice, Strategy};
use npc_operator::{flake, session};

pub(crate) use self::bootstrap::{AgentSource, Bootstrap};
pub(crate) use self::hosts::{Choice, Hosts, HostsCommand, Reboot, Repoint, Status, Why};
pub(crate) use self::repeat::{Promote, Repeating, Rollback};
pub(crate) use self::rollout::{Begin, Bounds, RolloutCommand, Which};
pub(crate) use self::upkeep::{Gc, Inventory};
use crate::exit::EXIT_CODES;

/// Publish a flake's NixOS configurations to the hosts of a fleet
#[derive(Debug, Parser)]
#[command(
    name = "npc-publish",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_long_help = EXIT_CODES
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) publish: Publish,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Where the fleet is described.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The directory of flake.nix and npc.toml
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) flake: PathBuf,
    /// The store, instead of the one in npc.toml
    #[arg(long, value_name = "URL", env = "NPC_STORE")]
    pub(crate) store: Option<StoreUrl>,
}

impl From<&Place> for session::Place {
    fn from(place: &Place) -> Self {
        Self { flake: place.flake.clone(), store: place.store.clone() }
    }
}

/// Where something is written, and by whom.
#[derive(Debug, Clone, Args)]
pub(crate) struct Signing {
    #[command(flatten)]
    pub(crate) place: Place,
    /// A secret key that may sign this, instead of the one in npc.toml; several for a threshold
    #[arg(long, value_name = "FILE", env = "NPC_KEY")]
    pub(crate) key: Vec<PathBuf>,
}

/// Where something is written, by whom, and whether at all.
#[derive(Debug, Clone, Args)]
pub(crate) struct Writing {
    #[command(flatten)]
    pub(crate) signing: Signing,
    /// Say what would change, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Which files of the flake are published.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Picking {
    /// How the files are chosen, instead of what npc.toml says
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) selection: Option<Strategy>,
    /// The configuration to publish for; several for several [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) configuration: Vec<ConfigurationName>,
    /// The Nix to evaluate with, or `none` to evaluate nothing [default: the one on the PATH]
    #[arg(long, value_name = "PROGRAM", env = "NPC_NIX")]
    pub(crate) nix: Option<NixChoice>,
}

impl From<&Picking> for flake::Picking {
    fn from(picking: &Picking) -> Self {
        let Picking { selection, configuration, nix } = picking.clone();
        Self { selection, configurations: configuration, nix }
    }
}

/// Publishing.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The remote to publish to
    #[arg(long, value_name = "REMOTE", required = true)]
    pub(crate) remote: Option<RemoteName>,
    #[command(flatten)]
    pub(crate) writing: Writing,
    #[command(flatten)]
    pub(crate) picking: Picking,
    /// What to say about this release
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Publish although the remote holds exactly this already
    #[arg(long)]
    pub(crate) record: bool,
    /// Let the release expire after this long, such as `30d`: later it activates nothing new
    #[arg(long, value_name = "SPAN")]
    pub(crate) expires_in: Option<jiff::Span>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Everything but publishing.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a fleet: its id, its keys, its first trust, and npc.toml
    Init(Init),
    /// Make and show keys
    #[command(subcommand)]
    Key(Key),
    /// Show and change who may sign what
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Pack the flake into an archive without publishing it
    Pack(Pack),
    /// List the remotes and what they hold
    Remotes(Remotes),
    /// List the releases of a remote, newest first
    Log(Log),
    /// List the files that differ between two of: a directory, REMOTE, REMOTE@SERIAL
    Diff(Diff),
    /// Make what one remote holds another remote's next release
    Promote(Promote),
    /// Make what a remote held before its next release
    Rollback(Rollback),
    /// Have hosts follow another remote, or another configuration
    Repoint(Repoint),
    /// List what hosts are assigned to, take assignments back, pause, resume and pin
    Hosts(Hosts),
    /// Show what hosts should run, what they do run, and how they are; one that is named by itself, in full
    Status(Status),
    /// Say why a host does not run the latest release
    Why(Why),
    /// Have hosts try again what failed on them
    Retry(Choice),
    /// Bring hosts to a release in waves, each once the one before is well
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Have hosts reboot in the order of their metadata, some at a time, each wave once the one before is back and well
    Reboot(Reboot),
    /// Print what is known of the hosts as JSON, for other programs
    Inventory(Inventory),
    /// Print a script that turns a bare machine into a host
    Bootstrap(Bootstrap),
    /// Remove archives that nothing names any more, and reports of machines that came and went
    Gc(Gc),
    /// Serve a directory as an HTTP store
    Serve(Serve),
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

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The store: `s3://bucket/prefix?region=…`, `https://host/path` or `file:///directory`
    #[arg(long, value_name = "URL", env = "NPC_STORE")]
    pub(crate) store: StoreUrl,
    /// The directory of flake.nix, where npc.toml is written
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) flake: PathBuf,
    /// Where the secret keys are written [default: a directory of its own below ~/.config/npc]
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a secret key and print its public half
    Generate {
        /// The key's name, such as npc-publish-2
        name: KeyName,
        /// The new file for the secret half
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the public half of a secret key
    Public {
        /// The file of the secret half
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Print the newest trust
    Show {
        #[command(flatten)]
        place: Place,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make and write the next version of the trust
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    pub(crate) place: Place,
    /// A root key's secret half; old and new root keys must all sign
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) root_key: Vec<PathBuf>,
    /// Give a key a role: root, assignment, rollout, release or release:PATTERN
    #[arg(long, value_name = "ROLE=PUBLIC_KEY", value_parser = pair::<RoleName, PublicKey>)]
    pub(crate) add: Vec<(RoleName, PublicKey)>,
    /// Put a key in the place of another in all its roles
    #[arg(long, value_name = "NAME=PUBLIC_KEY", value_parser = pair::<KeyName, PublicKey>)]
    pub(crate) replace: Vec<(KeyName, PublicKey)>,
    /// Take a key out of all its roles
    #[arg(long, value_name = "NAME")]
    pub(crate) revoke: Vec<KeyName>,
    /// Take away a role for releases, such as release:prod; the next pattern that matches decides then
    #[arg(long, value_name = "ROLE")]
    pub(crate) remove_role: Vec<RoleName>,
    /// Set how many keys of a role must sign
    #[arg(long, value_name = "ROLE=NUMBER", value_parser = pair::<RoleName, usize>)]
    pub(crate) threshold: Vec<(RoleName, usize)>,
    /// Say what would change, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Parses `LEFT=RIGHT`.
fn pair<L, R>(text: &str) -> Result<(L, R), String>
where
    L: std::str::FromStr<Err: std::fmt::Display>,
    R: std::str::FromStr<Err: std::fmt::Display>,
{
    let (left, right) = text.split_once('=').ok_or("there is no `=` in it")?;
    let left = left.parse().map_err(|error: L::Err| error.to_string())?;
    let right = right.parse().map_err(|error: R::Err| error.to_string())?;
    Ok((left, right))
}

#[derive(Debug, Args)]
pub(crate) struct Pack {
    /// The directory of flake.nix
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) flake: PathBuf,
    #[command(flatten)]
    pub(crate) picking: Picking,
    /// The archive to write
    #[arg(long, short, value_name = "FILE", required_unless_present_any = ["list", "why"])]
    pub(crate) output: Option<PathBuf>,
    /// List every file in the archive, with its size and why it is in
    #[arg(long)]
    pub(crate) list: bool,
    /// Say why a file is in the archive, or that it is not
    #[arg(long, value_name = "PATH", conflicts_with = "list")]
    pub(crate) why: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remotes {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Print the list as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Log {
    /// The remote
    pub(crate) remote: RemoteName,
    #[command(flatten)]
    pub(crate) place: Place,
    /// How many releases to list
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 20)]
    pub(crate) number: usize,
    /// Print the list as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A directory (with a slash or a dot in front), REMOTE or REMOTE@SERIAL
    pub(crate) old: String,
    /// Likewise
    pub(crate) new: String,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) picking: Picking,
    /// Print the list as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The directory that holds the store; made if it is not there
    pub(crate) directory: PathBuf,
    /// The address to listen on; port 0 picks a free one, and the address is printed
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8420")]
    pub(crate) listen: SocketAddr,
    /// A file with one token a line, for operators, who may write and list; without it, none may. Read anew when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
    /// A file with `HOST TOKEN [ASSIGNMENT]` a line, for hosts: each reads what it follows and writes its own report, and
    /// reading takes a token from then on. Read anew when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) host_tokens: Option<PathBuf>,
    /// Accept tokens off this machine, since a proxy in front encrypts the traffic
    #[arg(long)]
    pub(crate) behind_tls_proxy: bool,
    /// The longest time that a client may wait for a change, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(0..=300))]
    pub(crate) longest_wait: u64,
    /// How many clients may wait at once; the others are answered at once
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub(crate) most_waiting: usize,
}

/// The longest time that hosts are given for anything, in seconds.
const LONGEST: i64 = 30 * 24 * 3600;

/// Parses a length of time into whole seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    let seconds = u64::try_from(span.as_secs()).map_err(|_| "it is negative".to_owned())?;
    if span.as_secs() > LONGEST { Err("that is longer than 30 days".to_owned()) } else { Ok(seconds) }
}
