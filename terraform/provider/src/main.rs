//! The Terraform room: fleets, remotes and hosts as Terraform's resources.
//!
//! A thin shell: what is packed, signed, refused and written here is what `npc-publish` packs, signs, refuses and writes, by the same
//! code and the same conditional writes, so both can be used on one fleet at once.

mod arguments;
mod binary;
mod fleet;
mod host;
mod operator;
mod provider;
mod remote;
mod remote_data;
mod report;
mod told;

use std::io::{self, Write as _};
use std::process::ExitCode;

use npc_operator::{interrupt, voice};
use terraform_plugin::serve;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Terraform reads standard error, and shows it where `TF_LOG` says so.
    let filter = EnvFilter::try_from_env("NPC_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    voice::speak_through(told::Voice);
    interrupt::leave_to_others();
    let served = provider::Npc::new().and_then(serve);
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr gone there is nobody left to tell.
            let _ =
                io::stderr().write_all(npc_core::explain::at_length("terraform-provider-npc", &error, None).as_bytes());
            ExitCode::FAILURE
        }
    }
}
