//! The operator's room: `npc-publish` packs, signs and publishes, shows what a fleet's store holds, and serves one.

mod cli;
mod commands;
mod console;
mod exit;
mod gc;
mod rollout;
mod server;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use npc_operator::failure::Failure;
use npc_operator::{interrupt, voice};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::misunderstood(&error),
    };
    let filter =
        EnvFilter::try_from_env("NPC_LOG").unwrap_or_else(|_| EnvFilter::new("npc_publish=info,npc_operator=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    voice::speak_through(console::Console);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&Failure::other(error)),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => match interrupt::exit_code() {
            // What failed did so for that reason.
            Some(code) => {
                console::say("interrupted");
                ExitCode::from(code)
            }
            None => exit::report(&failure),
        },
    }
}
