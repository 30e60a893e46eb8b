//! `npc-publish rollout finish`: the release becomes another remote's, and the hosts go there.

use std::collections::BTreeSet;

use jiff::Timestamp;
use npc_core::document::{Origin, Rollout, RolloutState};
use npc_core::name::{RemoteName, RolloutName};
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::View;
use npc_operator::held::{believable, removed};
use npc_operator::session::Session;
use npc_operator::words::shortened;

use crate::cli;
use crate::console;
use crate::rollout::course::Course;
use crate::rollout::intent::{Operator, course};
use crate::rollout::show::word;
use crate::rollout::tell::Sweep;

use super::super::promote::{Repetition, current, repeat};
use super::{authorised, is_not_running, seen, with_operator};

/// How many releases are looked through for one that was published before npc was interrupted.
const LOOKED_THROUGH: usize = 64;

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
        let is_finishing = matches!(course.intent.state, RolloutState::Finishing(_));
        if !is_finishing {
            self.check(session, &course, &to).await?;
        }
        let before = current(session, &to).await?;
        let origin = Origin { remote: course.intent.remote.clone(), serial: course.intent.release.serial };
        let release = course.release().cloned().ok_or_else(|| removed(&course.intent.remote))?;
        let repetition = Repetition { to: to.clone(), before, origin, release };
        let is_published = is_finishing && holds_or_held(session, &to, &repetition.origin).await?;
        let signing = &self.repeating.writing.signing;
        if self.repeating.writing.dry_run {
            authorised(session, signing)?;
            if !is_published {
                return repeat(session, repetition, &self.repeating, async || Ok(())).await;
            }
            console::say(format_args!("{to} has the release of `{id}` already: only its hosts would be led there"));
            return Ok(());
        }
        with_operator(session, signing, async |operator| {
            if !is_published {
                repeat(session, repetition, &self.repeating, async || {
                    let finishing = RolloutState::Finishing(to.clone());
                    self.say(&operator, &course, &course.intent.state, finishing).await
                })
                .await?;
            }
            operator.sweep(&course, Sweep::To(&to), &mut |words| console::say(words)).await?;
            self.say(&operator, &course, &RolloutState::Finishing(to.clone()), RolloutState::Finished).await?;
            console::say(format_args!("rollout `{id}` is finished: its hosts follow {to}"));
            Ok(())
        })
        .await
    }

    /// Changes the state, as long as everything is as it was when that was decided upon.
    async fn say(
        &self,
        operator: &Operator<'_>,
        course: &Course,
        before: &RolloutState,
        after: RolloutState,
    ) -> Result<(), Failure> {
        let decide = |rollout: &Rollout| {
            if rollout.state == after {
                return Ok(None);
            }
            if rollout.state != *before || rollout.release != course.intent.release {
                let words = format!("rollout `{}` is {} by now", course.id, word(&rollout.state));
                return Err(
                    Failure::new(Exit::Raced, words).hint("look at `npc-publish rollout status`, then decide again")
                );
            }
            Ok(Some(Rollout { state: after.clone(), driver: None, ..rollout.clone() }))
        };
        operator.change(&course.id, decide).await.map(drop)
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
        let (sight, progress) = seen(session, course).await?;
        if let Some(reason) = course.failure(&progress) {
            return Err(Failure::new(Exit::Unwell, format!("too many hosts of `{id}` have failed: {reason}"))
                .hint("publish what mends it, then `rollout resume`, or end it with `rollout abort`"));
        }
        if let Some(wave) = progress.wave() {
            let words = format!("wave {} of {} of `{id}` is not done yet", wave + 1, progress.waves.len());
            return Err(Failure::usage(words).hint("`npc-publish rollout watch` shows how far it has got"));
        }
        if course.intent.state != RolloutState::Running {
            return Err(Failure::usage(format!("rollout `{id}` is {}", word(&course.intent.state)))
                .hint("go on with it first: `npc-publish rollout resume`"));
        }
        let view = View::read(&session.fleet, Timestamp::now()).await?;
        // Members that were never told are outside as well: nobody has tried it on them.
        let told = sight.iter().filter(|(_, seen)| seen.told.following().is_some_and(|said| course.has_told(said)));
        let members: BTreeSet<_> = told.map(|(name, _)| name).collect();
        let outside =
            view.hosts.values().filter(|host| host.remote() == Some(to) && !members.contains(&host.assignment));
        let outside: Vec<_> = outside.map(|host| host.name.as_str()).collect();
        if outside.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!("hosts that the rollout has not told follow `{to}` too: {}", shortened(&outside)))
            .hint("they would get a release that nobody has tried on them; say --force if they may"))
    }
}

/// Whether a remote's newest releases have one that repeats this: then it has got there already, whatever came after it.
async fn holds_or_held(session: &Session, remote: &RemoteName, origin: &Origin) -> Result<bool, Failure> {
    // An entry above the pointer was never current: it belongs to a publication that did not come to its end.
    let Some((held, _)) = current(session, remote).await? else { return Ok(false) };
    let serials = session.fleet.serials(remote).await?;
    for serial in serials.into_iter().filter(|serial| *serial <= held).take(LOOKED_THROUGH) {
        let document = session.fleet.release(remote, serial).await?.and_then(|entry| entry.state.ok());
        let release = document.as_ref().and_then(believable);
        if release.is_some_and(|release| release.origin.as_ref() == Some(origin)) {
            return Ok(true);
        }
    }
    Ok(false)
}
