//! Telling the operator's own programs how attempts ended.
//!
//! They are told in their environment: `NPC_OUTCOME` (`committed` or `rolled-back`), `NPC_REMOTE`, `NPC_SERIAL`,
//! `NPC_CONFIGURATION`, and after a failure `NPC_ERROR` and `NPC_MESSAGE`. What becomes of them decides nothing.
//!
//! Each is run at least once: an agent that ends before it has noted that a program ran has the next one run it again.

use std::time::Duration;

use tokio::process::Command;

use crate::activation::Program;
use crate::machine::{Hook, Target};
use crate::settings::Hooks;
use crate::state::StateDirectory;

/// How long a hook may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Runs the program for this occasion, if there is one.
pub async fn run(hooks: &Hooks, hook: &Hook, state: &StateDirectory) {
    let (command, outcome, target, failed) = match hook {
        Hook::Committed(target) => (&hooks.committed, "committed", target, None),
        Hook::RolledBack(target, failed) => (&hooks.rolled_back, "rolled-back", target, Some(failed)),
    };
    let Some((program, arguments)) = command.as_ref().and_then(|command| command.split_first()) else { return };
    let Target { remote, serial, configuration, .. } = target;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir("/")
        .env("NPC_OUTCOME", outcome)
        .env("NPC_REMOTE", remote.as_str())
        .env("NPC_SERIAL", serial.to_string())
        .env("NPC_CONFIGURATION", configuration.as_str());
    if let Some(failed) = failed {
        command.env("NPC_ERROR", &failed.kind).env("NPC_MESSAGE", &failed.message);
    }
    let log = state.path("logs").join(format!("hook-{outcome}.log"));
    let program = Program { purpose: "run the hook", kind: "hook-failed", command, log: &log, timeout: TIMEOUT };
    if let Err(failed) = program.run().await {
        tracing::warn!(kind = failed.kind, log = failed.log.as_deref().unwrap_or(""), "{failed}");
    }
}
