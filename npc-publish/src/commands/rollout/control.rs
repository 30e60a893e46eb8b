//! `npc-publish rollout pause|resume|abort`: what another operator may say of a rollout, from any machine.

use jiff::Timestamp;
use npc_core::document::{Rollout, RolloutState};
use npc_core::name::RolloutName;
use npc_operator::failure::Failure;
use npc_operator::session::Session;

use crate::cli;
use crate::console;
use crate::rollout::begin::{self, Brought};
use crate::rollout::drive::{myself, taken};
use crate::rollout::intent::{course, named};
use crate::rollout::tell::Sweep;

use super::{drive_on, is_not_running, show_plan, with_operator};

pub(super) async fn pause(which: cli::Which, signing: &cli::Signing) -> Result<(), Failure> {
    let session = Session::open(&signing.place).await?;
    let id = named(&session, which.rollout).await?;
    with_operator(&session, signing, async |operator| {
        let decide = |rollout: &Rollout| match rollout.state {
            RolloutState::Paused => Ok(None),
            RolloutState::Running => Ok(Some(Rollout { state: RolloutState::Paused, driver: None, ..rollout.clone() })),
            _ => Err(is_not_running(&id, &rollout.state)),
        };
        operator.change_for_good(&id, decide, |rollout| rollout.state == RolloutState::Paused).await?;
        console::data(format_args!("{id}: paused"))
    })
    .await
}

/// How a rollout is resumed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resumption {
    /// How many hosts may fail from now on, where that is to change.
    pub(super) max_failed: Option<u32>,
    /// Whether the pinned release stays, even if there is a newer one.
    pub(super) same_release: bool,
    /// Whether to take over from another operator.
    pub(super) force: bool,
}

pub(super) async fn resume(which: cli::Which, signing: &cli::Signing, how: Resumption) -> Result<(), Failure> {
    let session = Session::open(&signing.place).await?;
    let id = named(&session, which.rollout).await?;
    with_operator(&session, signing, async |operator| {
        let me = myself()?;
        let before = course(&session, &id).await?;
        let is_undone = before.intent.state == RolloutState::Reverting;
        let brought = if how.same_release || is_undone {
            None
        } else {
            Some(Brought::read(&session, &before.intent.remote, Timestamp::now()).await?)
        };
        let decide = |rollout: &Rollout| {
            let after = resumed(&id, rollout, brought.as_ref(), how.max_failed)?;
            taken(&id, after, &me, how.force).map(Some)
        };
        let course = operator.change(&id, decide).await?;
        if course.intent.release != before.intent.release {
            let (remote, serial) = (&course.intent.remote, course.intent.release.serial);
            console::say(format_args!("{remote}@{serial} is new: from the first wave on"));
            show_plan(&id, &course.intent, false)?;
        }
        drive_on(&operator, &id, me).await
    })
    .await
}

/// What a rollout is to do once it is resumed: with this release, if that is newer than its own.
fn resumed(
    id: &RolloutName,
    rollout: &Rollout,
    brought: Option<&Brought>,
    max_failed: Option<u32>,
) -> Result<Rollout, Failure> {
    let mut after = match rollout.state {
        // What is being undone is undone first.
        RolloutState::Reverting => rollout.clone(),
        RolloutState::Running | RolloutState::Paused | RolloutState::Halted => {
            let newer = brought.filter(|brought| brought.release().serial > rollout.release.serial);
            let rollout = newer.map_or_else(|| Ok(rollout.clone()), |brought| begin::again(rollout, brought))?;
            Rollout { state: RolloutState::Running, reason: None, ..rollout }
        }
        _ => return Err(is_not_running(id, &rollout.state)),
    };
    after.gates.max_failed = max_failed.unwrap_or(after.gates.max_failed);
    Ok(after)
}

pub(super) async fn abort(which: cli::Which, signing: &cli::Signing, revert: bool) -> Result<(), Failure> {
    let session = Session::open(&signing.place).await?;
    let id = named(&session, which.rollout).await?;
    with_operator(&session, signing, async |operator| {
        let me = myself()?;
        let decide = |rollout: &Rollout| {
            // One that was cut short is brought to its end.
            if rollout.state == RolloutState::Aborted && !revert {
                return Ok(None);
            }
            // Hosts that have gone on already are not called back, nor are the others left behind.
            let is_finishing = matches!(rollout.state, RolloutState::Finishing(_));
            if is_finishing || !rollout.state.is_active() {
                return Err(is_not_running(&id, &rollout.state));
            }
            let (state, driver) =
                if revert { (RolloutState::Reverting, Some(me.clone())) } else { (RolloutState::Aborted, None) };
            Ok(Some(Rollout { state, driver, reason: None, ..rollout.clone() }))
        };
        let is_so = |rollout: &Rollout| rollout.state == RolloutState::Aborted || revert;
        let course = operator.change_for_good(&id, decide, is_so).await?;
        if revert {
            return drive_on(&operator, &id, me.clone()).await;
        }
        operator.sweep(&course, Sweep::Nowhere, &mut |words| console::say(words)).await?;
        console::data(format_args!("{id}: aborted"))
    })
    .await
}
