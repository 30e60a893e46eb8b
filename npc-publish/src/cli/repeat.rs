//! The command line of publishing an older release again.

use clap::Args;
use npc_core::document::Serial;
use npc_core::name::RemoteName;

use super::Writing;

/// How an older release is published again.
#[derive(Debug, Args)]
pub(crate) struct Repeating {
    #[command(flatten)]
    pub(crate) writing: Writing,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The remote whose release it is
    pub(crate) from: RemoteName,
    /// The remote that gets it
    pub(crate) to: RemoteName,
    /// The release to promote [default: the current one]
    #[arg(long, value_name = "SERIAL", value_parser = serial)]
    pub(crate) serial: Option<Serial>,
    #[command(flatten)]
    pub(crate) repeating: Repeating,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// The remote
    pub(crate) remote: RemoteName,
    /// The release to go back to [default: the newest before that held something else]
    #[arg(long, value_name = "SERIAL", value_parser = serial)]
    pub(crate) to: Option<Serial>,
    #[command(flatten)]
    pub(crate) repeating: Repeating,
}

fn serial(text: &str) -> Result<Serial, String> {
    text.parse().ok().and_then(Serial::new).ok_or_else(|| format!("`{text}` is not a serial, such as 3"))
}
