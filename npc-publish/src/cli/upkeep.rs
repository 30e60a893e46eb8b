//! Arguments of what looks after a fleet's store.

use clap::Args;

use super::Place;
use crate::fleet::selector::Selector;

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
    /// Hosts: a name, a glob, group:NAME, role:NAME, remote:NAME or all [default: all]
    #[arg(value_name = "SELECTOR")]
    pub(crate) hosts: Vec<Selector>,
    /// Hosts to leave out, named likewise
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) except: Vec<Selector>,
    #[command(flatten)]
    pub(crate) place: Place,
}
