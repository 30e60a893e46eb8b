//! One file per command.

mod copied;
mod install;
mod local;
mod lost;
mod run;
mod status;
mod units;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command};
use crate::failure::{Exit, Failure};
use crate::settings::Settings;
use crate::state::{LockError, ReplayError, StateDirectory, StateError, current_machine_name};

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run { once } => run::run(&cli.config, &cli.state, once)?,
        Command::Status { json } => status::status(&cli.config, &cli.state, json)?,
        Command::Set(set) => local::set(&cli.state, set)?,
        Command::Pause { span } => local::pause(&cli.state, span)?,
        Command::Resume => local::resume(&cli.state)?,
        Command::Retry => local::retry(&cli.state)?,
        Command::Install(told) => install::install(&cli.config, &cli.state, &told)?,
        Command::Check => drop(Settings::of_host(&cli.config, &cli.state, &machine_name(&cli.state))?),
        Command::DeadMan(dead_man) => units::dead_man(&cli.config, &cli.state, &dead_man)?,
        Command::Perform { name, timeout, command } => units::perform(&cli.state, &name, timeout, &command)?,
        Command::NoteEnd { name } => units::note_end(&cli.state, &name)?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "npc-agent", &mut io::stdout());
        }
        Command::Man { directory } => fs::create_dir_all(&directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &directory))
            .map_err(|error| Failure::other(format!("cannot write to `{}`: {error}", directory.display())))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the machine is called to npc.
fn machine_name(state: &Path) -> String {
    StateDirectory::open(state).map_or_else(|_| current_machine_name(), |state| state.machine_name())
}

/// Writes one line of data to stdout.
fn data(line: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| Failure::other(format!("cannot write to stdout: {error}")))
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let kind = error.source.kind();
        let failure = Self::other(error);
        match kind {
            io::ErrorKind::PermissionDenied => failure.hint("run it as root, or name another directory with --state"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failure.hint("make room for the state directory, or name another with --state")
            }
            _ => failure,
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            error @ LockError::Held(_) => {
                Self::new(Exit::Locked, error).hint("one agent serves one state directory; `npc-agent status` shows it")
            }
            error @ LockError::Io(_) => Self::other(error),
        }
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::State(error) => error.into(),
            error @ ReplayError::Lost => Self::new(Exit::StateLost, error).hint(
                "nothing new is believed, since an old release could pass for a new one; to enrol the host again, assign it by \
                 the name of its installation: `npc-publish repoint HOST --remote R --instance ID`, with the ID that \
                 `npc-agent status` shows",
            ),
            error @ ReplayError::Trust(_) => Self::new(Exit::Refused, error)
                .hint("the state belongs to another fleet; to move the host, remove the state directory"),
        }
    }
}
