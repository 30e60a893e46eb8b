//! `npc-agent set`, `pause` and `resume`: what the operator says on the host itself.

use std::path::Path;

use jiff::SignedDuration;
use npc_core::Timestamp;
use npc_core::document::Standing;

use super::data;
use crate::cli::Set;
use crate::failure::Failure;
use crate::state::{HeldAssignment, Local, Lock, Pause, StateDirectory};

pub(super) fn set(state: &Path, set: Set) -> Result<(), Failure> {
    let is_assigned = StateDirectory::open(state).ok().and_then(|state| HeldAssignment::of_any_name(&state));
    if let Some(HeldAssignment { serial, says: Standing::Present(_), .. }) = is_assigned {
        tracing::warn!("the host obeys assignment {serial}: its own settings rule again once that is removed");
    }
    change(state, |local| {
        if set.reset {
            (local.remote, local.configuration) = (None, None);
            return "follows what the configuration file says".to_owned();
        }
        let mut words = Vec::new();
        if let Some(remote) = set.remote {
            words.push(format!("remote {remote}"));
            local.remote = Some(remote);
        }
        if let Some(configuration) = set.configuration {
            words.push(format!("configuration {configuration}"));
            local.configuration = Some(configuration);
        }
        format!("follows {}", words.join(", "))
    })
}

pub(super) fn pause(state: &Path, span: Option<SignedDuration>) -> Result<(), Failure> {
    let now = Timestamp::now();
    let until = match span {
        Some(span) if span.is_positive() => Some(now.checked_add(span).map_err(Failure::usage)?),
        Some(_) => return Err(Failure::usage("a pause has a length above zero")),
        None => None,
    };
    change(state, |local| {
        local.pause = Some(Pause { since: now, until });
        until.map_or("paused until resumed".to_owned(), |until| format!("paused until {until}"))
    })
}

pub(super) fn resume(state: &Path) -> Result<(), Failure> {
    change(state, |local| match local.pause.take() {
        Some(_) => "resumed".to_owned(),
        None => "was not paused here".to_owned(),
    })
}

pub(super) fn retry(state: &Path) -> Result<(), Failure> {
    change(state, |local| {
        local.retried = Some(Timestamp::now());
        "tries again what failed".to_owned()
    })
}

fn change(state: &Path, change: impl FnOnce(&mut Local) -> String) -> Result<(), Failure> {
    let state = StateDirectory::create(state)?;
    let mut local = Local::read(&state)?;
    let words = change(&mut local);
    local.write(&state)?;
    let told = Lock::poke(&state)
        .map_err(|error| Failure::other(format!("it is written down, but the agent could not be told: {error}")))?;
    let when = if told { "at once" } else { "when the agent runs" };
    data(format_args!("{words}, {when}"))
}
