//! The agent's entry: reads the command line and runs one command.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use npc_agent::{cli, commands};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    begin_to_log();
    match commands::run(cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn begin_to_log() {
    let filter = EnvFilter::try_from_env("NPC_LOG").unwrap_or_else(|_| EnvFilter::new("npc_agent=info,npc_core=info"));
    let registry = tracing_subscriber::registry().with(filter);
    match tracing_journald::layer() {
        // Fields keep their names there, such as NPC_KIND for the kind of an error.
        Ok(journal) if writes_to_the_journal() => {
            registry.with(journal.with_field_prefix(Some("NPC".to_owned()))).init();
        }
        _ => {
            let ansi = std::io::stderr().is_terminal();
            registry.with(fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(ansi)).init();
        }
    }
}

/// Whether stderr is a stream to systemd's journal: "the device and inode numbers of the file" (systemd.exec(5)).
fn writes_to_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = rustix::fs::fstat(std::io::stderr());
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}
