//! The operator's room: `npc-publish` packs, signs and publishes, shows what a fleet's store holds, and serves one.

mod cli;
mod commands;
mod config;
mod console;
mod failure;
mod flake;
mod fleet;
mod gc;
mod git;
mod held;
mod interrupt;
mod keys;
mod rollout;
mod selection;
mod server;
mod session;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::misunderstood(&error),
    };
    let filter = EnvFilter::try_from_env("NPC_LOG").unwrap_or_else(|_| EnvFilter::new("npc_publish=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::other(error).report(),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => match interrupt::exit_code() {
            // What failed did so for that reason.
            Some(code) => {
                console::say("interrupted");
                ExitCode::from(code)
            }
            None => failure.report(),
        },
    }
}
