//! Arguments of what looks after a fleet's store.

use clap::Args;

use super::Place;
use super::hosts::AnyHosts;

#[derive(Debug, Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Keep what releases name that were made so long ago, or later
    #[arg(long, value_name = "SPAN", default_value = "30d")]
    pub(crate) keep_releases: jiff::Span,
    /// Keep the last so many different archives of each remote, however old they are, to roll back to
    #[arg(long, value_name = "NUMBER", default_value = "10", value_parser = at_least_two)]
    pub(crate) keep_last: usize,
    /// Do it; without this, it is only said what would be removed
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a remote holds, and what it held before.
fn at_least_two(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 2..) => Ok(number),
        _ => Err("2 or more are kept: what the remote holds, and what it would be rolled back to".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Inventory {
    #[command(flatten)]
    pub(crate) hosts: AnyHosts,
    #[command(flatten)]
    pub(crate) place: Place,
}
