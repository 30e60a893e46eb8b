//! What the agent says about itself in a sentence.

use npc_core::document::{Outcome, OutcomeKind};
use npc_core::name::ConfigurationName;
use npc_core::store::Fault;

use crate::failure::{Exit, Failure};
use crate::machine::{Failed, Journal, Phase, Target};
use crate::poll::PollError;
use crate::state::Place;

pub(super) fn sentence(journal: &Journal, followed: &Place, paused: bool, trouble: Option<&Failed>) -> String {
    let configuration: &ConfigurationName = &followed.configuration;
    let release = |target: &Target| format!("{}@{}", target.remote, target.serial);
    let runs =
        journal.committed.as_ref().map_or("nothing of npc's yet".to_owned(), |committed| release(&committed.target));
    let doing = match (&journal.phase, trouble) {
        (Phase::Steady, Some(trouble)) => format!("trouble: {trouble}"),
        (Phase::Steady, None) => {
            journal.stays.as_ref().map_or_else(|| format!("follows {followed}"), |stays| stays.reason.to_string())
        }
        (phase, _) => {
            let target = phase.target().map(release).unwrap_or_default();
            match journal.back_off {
                Some(back_off) => format!("{} {target}, next try at {}", phase.word(), back_off.until),
                None => format!("{} {target}", phase.word()),
            }
        }
    };
    let paused = if paused { ", paused" } else { "" };
    format!("{configuration} runs {runs}, {doing}{paused}")
}

pub(super) fn poll_failure(error: PollError) -> Failure {
    match error {
        PollError::Store(error) => {
            let unknown =
                "check `remote` in the configuration, or the assignment; `npc-publish remotes` lists what there is";
            let hint = if error.fault == Fault::NotFound { Some(unknown) } else { error.fault.hint() };
            let failure = Failure::new(Exit::Store, error);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        error @ PollError::State(_) => Failure::new(Exit::Other, error).hint("make room for the state directory"),
        error @ PollError::AssignmentLost(_) => Failure::new(Exit::Store, error)
            .hint("the host stays as it is until it is assigned anew: `npc-publish repoint HOST --remote R --force`"),
        error => {
            let kind = error.kind();
            let hint =
                format!("the refusal is called `{kind}`; the host stays as it is until the store holds something else");
            Failure::new(Exit::Refused, error).hint(hint)
        }
    }
}

/// A host that does not go where it was told to go, told by a sentence, and for this reason.
pub(super) fn stays_failure(sentence: &Failed, why: &PollError) -> Failure {
    let exit = match why {
        PollError::State(_) => Exit::Other,
        PollError::Store(_) | PollError::NoArchive { .. } => Exit::Store,
        _ if why.is_outage() => Exit::Store,
        _ => Exit::Refused,
    };
    Failure::new(exit, sentence.to_string())
        .hint("it goes there by itself once that can be read and believed; `npc-publish remotes` lists what there is")
}

pub(super) fn judge(outcome: &Outcome) -> Result<(), Failure> {
    match outcome.kind {
        OutcomeKind::Committed | OutcomeKind::Adopted => {
            Err(Failure::new(Exit::Failed, "the release was not activated"))
        }
        OutcomeKind::Refused => Err(Failure::new(Exit::Refused, outcome.message.clone())),
        OutcomeKind::Failed | OutcomeKind::RolledBack | OutcomeKind::Stranded | OutcomeKind::Unknown => {
            let failure = Failure::new(Exit::Failed, outcome.message.clone());
            Err(match outcome.error.as_deref() {
                Some("disk-full") => failure.hint("make room for the state directory; it is tried again"),
                _ if outcome.log.is_some() => failure.hint("`npc-agent status` shows the end of its log"),
                _ => failure.hint("`npc-agent status` shows when it is tried again"),
            })
        }
    }
}
