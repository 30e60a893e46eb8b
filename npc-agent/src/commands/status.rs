//! `npc-agent status`: what this host follows, runs and is doing.

use std::path::Path;

use npc_core::Timestamp;
use npc_core::document::Outcome;
use npc_core::name::ConfigurationName;
use serde_json::json;

use super::data;
use super::lost::STATE_LOST;
use crate::failure::Failure;
use crate::machine::{Journal, Phase};
use crate::poll::{Initial, Instructions, Ruler};
use crate::settings::Settings;
use crate::state::{Instance, Local, Lock, Place, Replay, StateDirectory};

pub(super) fn status(config: &Path, state: &Path, as_json: bool) -> Result<(), Failure> {
    let state = StateDirectory::open(state)
        .map_err(|error| Failure::from(error).hint("no agent has run with this state directory yet"))?;
    let settings = Settings::of_host(config, &state.path(""), &state.machine_name())?;
    let instance = Instance::read(&state)?;
    let local = Local::read(&state)?;
    let journal = state.read_journal()?;
    let pid = Lock::holder(&state);
    let own = local.following(&settings.following);
    let initial = Initial::of_host(&state, settings.initial_configuration.as_ref(), &journal);
    let floors = Replay::floors_in(&state);
    let instructions = Instructions::new(&state, &floors, &settings.assignment, &own, &initial);
    let told = &instructions.place;
    let followed = Place::of_host(&state, told, &journal).unwrap_or_else(|| told.clone());
    let paused = local.is_paused(Timestamp::now()) || instructions.paused;
    if as_json {
        let text = serde_json::to_string_pretty(&json!({
            "instance": instance.as_ref().map(Instance::id),
            "state_lost": Instance::of_a_loss(&state).is_some(),
            "process": pid,
            "store": settings.store.to_string(),
            "host": settings.host,
            "follows": {
                "remote": followed.remote,
                "configuration": followed.configuration,
                "then": then(&instructions),
                "assignment": instructions.assignment(),
                "pin": followed.pin,
            },
            "told": told,
            "paused": paused,
            "journal": journal,
        }));
        return data(text.map_err(Failure::other)?);
    }
    let running = pid.map_or("not running".to_owned(), |pid| format!("running as process {pid}"));
    data(format_args!("agent    {running}{}", if paused { ", paused" } else { "" }))?;
    if let Some(instance) = Instance::of_a_loss(&state) {
        let id = instance.id();
        data(format_args!(
            "trouble  {STATE_LOST}: nothing is believed until an assignment names the installation {id}"
        ))?;
    }
    data(format_args!("follows  {}", follows(&settings, &instructions, &followed)))?;
    if followed != *told && instructions.by != Ruler::Lost {
        data(format_args!("told     {}{}", told.beside(&followed), by(&settings, &instructions)))?;
    }
    if let Some(stays) = &journal.stays {
        data(format_args!("stays    since {}: {}", stays.since, stays.reason))?;
    }
    data(format_args!("runs     {}", runs(&journal)))?;
    data(format_args!("phase    {}", phase(&journal)))?;
    if let Some(by_hand) = &journal.by_hand {
        data(format_args!("by hand  {} since {}", by_hand.system.display(), by_hand.since))?;
    }
    if let Some(unproven) = &journal.unproven {
        data(format_args!("boots    {}, not proved by a boot yet", unproven.attempt.system.display()))?;
    }
    if let Some(reboot) = &journal.reboot {
        data(format_args!("reboot   needed since {}", reboot.since))?;
    }
    if let Some(ordered) = &journal.reboot_ordered {
        let waits = if paused { ", once the pause is over" } else { "" };
        data(format_args!("order    to reboot, heard at {}{waits}", ordered.since))?;
    }
    if let Some(trouble) = &journal.trouble {
        data(format_args!("trouble  since {}: {}", trouble.since, trouble.reason))?;
    }
    for (system, entry) in &journal.quarantine {
        data(format_args!("refuses  {system} since {}: {}", entry.at, entry.reason))?;
    }
    journal.outcomes.iter().enumerate().try_for_each(|(place, outcome)| show(outcome, place == 0))
}

fn follows(settings: &Settings, instructions: &Instructions, followed: &Place) -> String {
    if instructions.by == Ruler::Lost {
        return format!("nothing: assignment {} was believed and is lost", settings.assignment);
    }
    let Place { configuration, pin, .. } = followed;
    let release = pin.map_or(followed.to_string(), |_| format!("{followed} and no other"));
    let by = if *followed == instructions.place { by(settings, instructions) } else { ", as before".to_owned() };
    let then = then(instructions).map(|then| format!(" and then {then}")).unwrap_or_default();
    format!("{release} of {}, configuration {configuration}{then}{by}", settings.store)
}

/// What comes after the initial configuration, as long as that is due.
fn then(instructions: &Instructions) -> Option<&ConfigurationName> {
    Some(&instructions.configuration).filter(|then| **then != instructions.place.configuration)
}

/// Whose word it is.
fn by(settings: &Settings, instructions: &Instructions) -> String {
    let assignment = instructions.assignment();
    assignment.map(|serial| format!(", by assignment {}@{serial}", settings.assignment)).unwrap_or_default()
}

fn runs(journal: &Journal) -> String {
    match &journal.committed {
        None => "nothing of npc's yet".to_owned(),
        Some(committed) => {
            let target = &committed.target;
            let rev = target.rev.as_ref().map(|rev| format!(" (rev {rev})")).unwrap_or_default();
            format!(
                "{}@{}{rev}, {}, since {}",
                target.remote,
                target.serial,
                committed.system.display(),
                committed.since
            )
        }
    }
}

fn phase(journal: &Journal) -> String {
    let word = journal.phase.word();
    let target =
        journal.phase.target().map(|target| format!(" {}@{}", target.remote, target.serial)).unwrap_or_default();
    match journal.back_off {
        Some(back_off) if journal.phase != Phase::Steady => {
            format!("{word}{target}, failed {} times, next try at {}", back_off.failures, back_off.until)
        }
        _ => format!("{word}{target}"),
    }
}

/// The newest outcome is shown with its log.
fn show(outcome: &Outcome, with_log: bool) -> Result<(), Failure> {
    let kind = outcome.error.as_ref().map(|kind| format!(" [{kind}]")).unwrap_or_default();
    data(format_args!("{}  {}{kind}", outcome.at, outcome.message))?;
    let log = outcome.log.as_deref().filter(|_| with_log).unwrap_or_default();
    log.lines().try_for_each(|line| data(format_args!("    {line}")))
}
