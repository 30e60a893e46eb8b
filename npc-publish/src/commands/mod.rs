//! One file per command.

mod bootstrap;
mod diff;
mod gc;
mod hosts;
mod init;
mod inventory;
mod key;
mod log;
mod pack;
mod promote;
mod publish;
mod reboot;
mod remotes;
mod repoint;
mod retry;
mod rollout;
mod serve;
mod status;
mod trust;
mod why;

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use npc_operator::failure::Failure;

use crate::cli::{Cli, Command};

/// Does what the command line says.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => publish::publish(cli.publish).await,
        Some(Command::Init(arguments)) => init::init(arguments).await,
        Some(Command::Key(command)) => key::key(&command),
        Some(Command::Trust(command)) => trust::trust(command).await,
        Some(Command::Pack(arguments)) => pack::pack(&arguments),
        Some(Command::Remotes(arguments)) => remotes::remotes(arguments).await,
        Some(Command::Log(arguments)) => log::log(arguments).await,
        Some(Command::Diff(arguments)) => diff::diff(arguments).await,
        Some(Command::Promote(arguments)) => promote::promote(arguments).await,
        Some(Command::Rollback(arguments)) => promote::rollback(arguments).await,
        Some(Command::Repoint(arguments)) => repoint::repoint(arguments).await,
        Some(Command::Hosts(arguments)) => hosts::hosts(arguments).await,
        Some(Command::Status(arguments)) => status::status(arguments).await,
        Some(Command::Why(arguments)) => why::why(arguments).await,
        Some(Command::Retry(choice)) => retry::retry(choice).await,
        Some(Command::Reboot(arguments)) => reboot::reboot(arguments).await,
        Some(Command::Rollout(command)) => Box::pin(rollout::rollout(command)).await,
        Some(Command::Inventory(arguments)) => inventory::inventory(arguments).await,
        Some(Command::Bootstrap(arguments)) => bootstrap::bootstrap(arguments).await,
        Some(Command::Gc(arguments)) => gc::gc(arguments).await,
        Some(Command::Serve(arguments)) => serve::serve(arguments).await,
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "npc-publish", &mut io::stdout());
            Ok(())
        }
        Some(Command::Man { directory }) => manual(&directory),
    }
}

fn manual(directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| Failure::other(format!("cannot write to `{}`: {error}", directory.display())))
}
