//! The agent's entry: reads the command line and runs one command.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use npc_agent::{cli, commands};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let filter = EnvFilter::try_from_env("NPC_LOG").unwrap_or_else(|_| EnvFilter::new("npc_agent=info,npc_core=info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        // The journal has its own clock.
        log.without_time().init();
    } else {
        log.init();
    }
    match commands::run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
