//! What an agent does whose memory against replay is lost: it says so, and believes nothing until it may begin anew.
//!
//! Any old document could pass for a new one now. So the host becomes a new installation, and only an assignment that names
//! that installation, which nobody can have made before, stands in for what was forgotten.

use std::sync::Arc;

use npc_core::document::{Assignment, Obeyed, Standing};
use npc_core::store::{Store, StoreError, read_if_present};
use npc_core::trust::walk::{self, WalkError};
use npc_core::trust::{Floors, Refusal, Subject, Trusted, Verified, verify};
use npc_core::{Timestamp, explain, layout};
use thiserror::Error;

use super::run::give_signs_of_life;
use crate::assembly::reporter;
use crate::driver::Signals;
use crate::failure::Failure;
use crate::machine::{Failed, Trouble};
use crate::poll::Pace;
use crate::report::{Account, ThisMachine};
use crate::settings::Settings;
use crate::state::{HeldAssignment, Instance, Place, Replay, ReplayError, StateDirectory};
use crate::store;
use crate::supervisor::Supervisor;

/// The kind of the trouble.
pub(super) const STATE_LOST: &str = "state-lost";

/// An assignment that could not be read or believed.
#[derive(Debug, Error)]
enum AskError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Trust(#[from] WalkError),
    #[error("the assignment is refused")]
    Refused(#[from] Refusal),
}

/// Reports that the memory is lost until an assignment names this installation. Gives the memory that begins with it, or `None`
/// where the agent was told to end.
pub(super) async fn begin_anew(
    settings: &Settings,
    state: &StateDirectory,
    once: bool,
) -> Result<Option<(Replay, Instance)>, Failure> {
    let mut signals = Signals::listen().map_err(Failure::other)?;
    let instance = Instance::after_a_loss(state)?;
    // What it holds may be old by now: only what is committed can be stayed with.
    Place::forget(state)?;
    let store = store::open(settings).await?;
    let words = format!("{}; this installation is called {}", ReplayError::Lost, instance.id());
    tracing::error!(kind = STATE_LOST, "{words}");
    let mut supervisor = if once { Supervisor::default() } else { Supervisor::of_this_process().await };
    supervisor.ready();
    supervisor.status(words.clone());
    if let Some(interval) = Supervisor::watchdog_interval() {
        tokio::spawn(give_signs_of_life(interval));
    }
    let machine = Box::new(ThisMachine { root: settings.root().to_owned() });
    let account = account(settings, state, words);
    let reporter = reporter(settings, state, &instance, Arc::clone(&store), machine, account);
    let pace = Pace::every(settings.poll_interval);
    let begun: Result<_, Failure> = loop {
        match ask(&*store, settings, instance.id()).await {
            Ok(Some((trusted, bytes, verified))) => {
                HeldAssignment::keep(state, &bytes)?;
                break Ok(Some(Replay::after_a_loss(state, settings, trusted, &verified)?));
            }
            Ok(None) if once => break Err(ReplayError::Lost.into()),
            Ok(None) => {}
            Err(error) if once => {
                tracing::warn!(kind = STATE_LOST, "{}", explain::in_one_line(&error));
                break Err(ReplayError::Lost.into());
            }
            Err(error) => tracing::warn!(kind = STATE_LOST, "{}", explain::in_one_line(&error)),
        }
        tokio::select! {
            () = signals.stop() => break Ok(None),
            () = tokio::time::sleep(pace.interval) => {}
        }
    };
    if let Some(reporter) = reporter {
        reporter.end().await;
    }
    Ok(begun?.map(|replay| (replay, instance)))
}

/// What there is to say of the host meanwhile.
fn account(settings: &Settings, state: &StateDirectory, words: String) -> Account {
    let mut journal = state.read_journal().unwrap_or_default();
    journal.trouble = Some(Trouble { since: Timestamp::now(), reason: Failed::new(STATE_LOST, words) });
    let own = Place::from(&settings.following);
    let Place { remote, configuration, .. } = Place::of_host(state, &own, &journal).unwrap_or(own.clone());
    let is_initial = settings.initial_configuration.as_ref() == Some(&configuration);
    let configuration = if is_initial { own.configuration } else { configuration };
    let obeyed = Obeyed { assignment: None, remote, configuration, release: None };
    Account {
        journal,
        paused: true,
        heartbeat: None,
        obeyed,
        running: None,
        trust: settings.anchor.version,
        trust_digest: None,
    }
}

type Named = (Trusted, Vec<u8>, Verified<Assignment>);

/// The assignment, if it names this installation.
async fn ask(store: &dyn Store, settings: &Settings, instance: &str) -> Result<Option<Named>, AskError> {
    let name = &settings.assignment;
    let Some((bytes, _)) = read_if_present(store, &layout::assignment(name)).await? else { return Ok(None) };
    let trusted = walk::newest(store, walk::first(store, &settings.anchor).await?).await?;
    let verified =
        verify::<Assignment>(&bytes, Subject::Assignment(name), &trusted, &Floors::default(), Timestamp::now())?;
    let is_meant = matches!(verified.body(), Standing::Present(said) if said.instance.as_deref() == Some(instance));
    Ok(is_meant.then(|| (trusted, bytes.to_vec(), verified)))
}
