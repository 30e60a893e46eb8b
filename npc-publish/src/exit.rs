//! How the program ends: what it says, and its exit code.

use std::io::Write as _;
use std::process::ExitCode;

use npc_operator::failure::Failure;

/// The exit codes for the long help.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0  done, or nothing to do
  1  failed for a reason without a code of its own
  2  wrong usage: the command line, npc.toml, a name, an address or a key file
  3  the store cannot be reached, does not exist, or does not allow it
  4  keys may not sign this, or what lies in the store is not to be believed
  5  someone else wrote at the same time, or drives the rollout
  6  the flake cannot be packed
  7  some of the hosts that were asked about are not well
130, 143  interrupted by Ctrl-C, by SIGTERM";

/// Prints the chain of reasons and the hint, and gives the exit code.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    if let Some(text) = failure.at_length("npc-publish") {
        // With stderr gone there is nobody left to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    ExitCode::from(failure.exit() as u8)
}

/// Prints what is wrong with the command line, and for a value of the wrong form where its form is said.
pub(crate) fn misunderstood(error: &clap::Error) -> ExitCode {
    // With stderr gone there is nobody left to tell.
    let _ = error.print();
    if error.kind() == clap::error::ErrorKind::ValueValidation {
        let _ = writeln!(std::io::stderr(), "hint: `--help` says what each value looks like");
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
