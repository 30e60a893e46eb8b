//! `npc-publish rollout finish`: the release becomes another remote's, and the hosts go there.

use std::collections::BTreeSet;

use jiff::Timestamp;
use npc_core::document::{Origin, Rollout, RolloutState};
use npc_core::name::{RemoteName, RolloutName};

use crate::cli;
use crate::console;
use crate::failure::Failure;
use crate::fleet::View;
use crate::held::removed;
use crate::rollout::begin::shortened;
use crate::rollout::course::Course;
use crate::rollout::intent::course;
use crate::rollout::show::word;
use crate::session::Session;

use super::super::promote::{Repetition, current, repeat};
use super::{is_not_running, seen, with_operator};

/// Making the release of a rollout another remote's.
pub(super) struct Finish {
    pub(super) to: Option<RemoteName>,
    pub(super) force: bool,
    pub(super) repeating: cli::Repeating,
}

impl Finish {
    pub(super) async fn run(self, session: &Session, id: RolloutName) -> Result<(), Failure> {
        let course = course(session, &id).await?;
        if course.intent.state == RolloutState::Finished {
            console::say(format_args!("rollout `{id}` is finished already"));
            return Ok(());
        }
        let to = self.destination(&course)?;
        if !matches!(course.intent.state, RolloutState::Finishing(_)) {
            self.check(session, &course, &to).await?;
        }
        let before = current(session, &to).await?;
        let origin = Origin { remote: course.intent.remote.clone(), serial: course.intent.release.serial };
        let release = course.release().cloned().ok_or_else(|| removed(&course.intent.remote))?;
        let repetition = Repetition { to: to.clone(), before, origin, release };
        with_operator(session, &self.repeating.writing.signing, async |operator| {
            repeat(session, repetition, &self.repeating, async || {
                let decide = |rollout: &Rollout| {
                    let state = RolloutState::Finishing(to.clone());
                    Ok((rollout.state != state).then(|| Rollout { state, driver: None, ..rollout.clone() }))
                };
                operator.change(&id, decide).await.map(drop)
            })
            .await?;
            if self.repeating.writing.dry_run {
                return Ok(());
            }
            operator.point_to(&course, &to, &mut |words| console::say(words)).await?;
            let decide = |rollout: &Rollout| Ok(Some(Rollout { state: RolloutState::Finished, ..rollout.clone() }));
            operator.change(&id, decide).await?;
            console::say(format_args!("rollout `{id}` is finished: its hosts follow {to}"));
            Ok(())
        })
        .await
    }

    /// Where the hosts go: where they came from, if that is one place.
    fn destination(&self, course: &Course) -> Result<RemoteName, Failure> {
        if let RolloutState::Finishing(to) = &course.intent.state {
            return match &self.to {
                Some(other) if other != to => {
                    Err(Failure::usage(format!("`{}` is being finished to `{to}`", course.id))
                        .hint("bring that to its end first"))
                }
                _ => Ok(to.clone()),
            };
        }
        if let Some(to) = &self.to {
            return Ok(to.clone());
        }
        let came_from: BTreeSet<_> =
            course.members().filter_map(|member| Some(&member.before.as_ref()?.remote)).collect();
        match &came_from.into_iter().collect::<Vec<_>>()[..] {
            [only] => Ok((*only).clone()),
            [] => Err(Failure::usage("nobody knows what the hosts followed before").hint("name the remote with --to")),
            several => {
                let names: Vec<_> = several.iter().map(|name| name.as_str()).collect();
                Err(Failure::usage(format!("the hosts came from several remotes: {}", names.join(", ")))
                    .hint("name the one that they are to follow with --to"))
            }
        }
    }

    /// That every wave is done, and that nobody else would get the release without having been asked.
    async fn check(&self, session: &Session, course: &Course, to: &RemoteName) -> Result<(), Failure> {
        let id = &course.id;
        if !course.intent.state.is_active() {
            return Err(is_not_running(id, &course.intent.state));
        }
        if self.force {
            return Ok(());
        }
        let (_, progress) = seen(session, course).await?;
        if let Some(wave) = progress.wave() {
            let words = format!("wave {} of {} of `{id}` is not done yet", wave + 1, progress.waves.len());
            return Err(Failure::usage(words).hint("`npc-publish rollout watch` shows how far it has got"));
        }
        if course.intent.state != RolloutState::Running {
            return Err(Failure::usage(format!("rollout `{id}` is {}", word(&course.intent.state)))
                .hint("go on with it first: `npc-publish rollout resume`"));
        }
        let view = View::read(&session.fleet, Timestamp::now()).await?;
        let members: BTreeSet<_> = course.members().map(|member| &member.assignment).collect();
        let outside =
            view.hosts.values().filter(|host| host.remote() == Some(to) && !members.contains(&host.assignment));
        let outside: Vec<_> = outside.map(|host| host.name.as_str()).collect();
        if outside.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "hosts that were not part of the rollout follow `{to}` too: {}",
            shortened(&outside)
        ))
        .hint("they would get a release that nobody has tried on them; say --force if they may"))
    }
}
