//! The Terraform room: fleets, remotes and hosts as Terraform's resources.
//!
//! A thin shell: what is packed, signed, refused and written here is what `npc-publish` packs, signs, refuses and writes, by the same
//! code and the same conditional writes, so both can be used on one fleet at once.

mod arguments;
mod binary;
mod bootstrap;
mod fleet;
mod foreign;
mod host;
mod mirror;
mod operator;
mod plan_file;
mod planned;
mod provider;
mod remote;
mod remote_data;
mod report;
mod told;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use npc_operator::failure::Failure;
use npc_operator::{interrupt, voice};
use terraform_plugin::{ServeError, serve};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Terraform reads standard error, and shows it where `TF_LOG` says so.
    let filter = EnvFilter::try_from_env("NPC_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match &arguments[..] {
        [] => provide(),
        [command, directory] if command == "mirror" => mirror::write(Path::new(directory)),
        _ => Err(Failure::usage("terraform-provider-npc takes `mirror DIR`, or nothing where Terraform starts it")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With stderr gone there is nobody left to tell.
            let text = failure.at_length("terraform-provider-npc").unwrap_or_default();
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(failure.exit() as u8)
        }
    }
}

/// Is the provider, until Terraform needs it no longer.
fn provide() -> Result<(), Failure> {
    voice::speak_through(told::Voice);
    interrupt::leave_to_others();
    provider::Npc::new().and_then(serve).map_err(|error| match error {
        error @ ServeError::NotTerraform => {
            Failure::usage(error).hint("`terraform-provider-npc mirror DIR` lays it where Terraform finds it")
        }
        error => Failure::other(error),
    })
}
