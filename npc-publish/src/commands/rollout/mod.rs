//! `npc-publish rollout …`: bringing hosts to a release in waves.

mod control;
mod finish;

use std::collections::BTreeSet;

use jiff::Timestamp;
use npc_core::document::{Driver, Power, Rollout, RolloutState};
use npc_core::fleet::Intended;
use npc_core::key::SecretKey;
use npc_core::name::RolloutName;
use npc_core::publish::authorise;
use npc_core::store::ConditionalWrites;
use npc_operator::failure::{Exit, Failure};
use npc_operator::fleet::View;
use npc_operator::fleet::taken::Taken;
use npc_operator::session::Session;
use npc_operator::words;
use serde_json::{Value, json};

use self::control::{Resumption, abort, pause, resume};
use self::finish::Finish;
use crate::cli::{self, RolloutCommand};
use crate::console;
use crate::rollout::begin::{self, Brought};
use crate::rollout::course::Course;
use crate::rollout::drive::{Ended, drive, myself};
use crate::rollout::intent::{Operator, course, named};
use crate::rollout::progress::{Progress, Sight};
use crate::rollout::show::{Display, WATCHED_EVERY, planned, word};
use crate::rollout::sight::look;

pub(crate) async fn rollout(command: RolloutCommand) -> Result<(), Failure> {
    match command {
        RolloutCommand::List { place, json } => list(&Session::open(&place).await?, json).await,
        RolloutCommand::Plan(begin) => plan(begin).await,
        RolloutCommand::Start(begin) => start(begin).await,
        RolloutCommand::Status { which, place, json } => status(&Session::open(&place).await?, which, json).await,
        RolloutCommand::Watch { which, place } => watch(&Session::open(&place).await?, which).await,
        RolloutCommand::Pause { which, signing } => pause(which, &signing).await,
        RolloutCommand::Resume { which, signing, max_failed, same_release, force } => {
            resume(which, &signing, Resumption { max_failed, same_release, force }).await
        }
        RolloutCommand::Abort { which, signing, revert } => abort(which, &signing, revert).await,
        RolloutCommand::Finish { which, to, writing, yes, force } => {
            let session = Session::open(&writing.signing.place).await?;
            let finish = Finish { to, force, repeating: cli::Repeating { writing, yes, json: false } };
            finish.run(&session, named(&session, which.rollout).await?).await
        }
    }
}

/// The keys that are given, if they may order rollouts and assign hosts.
fn authorised(session: &Session, signing: &cli::Signing) -> Result<Vec<SecretKey>, Failure> {
    let keys = session.keys(&signing.key)?;
    let signers: Vec<&SecretKey> = keys.iter().collect();
    for power in [Power::Rollout, Power::Assignment] {
        authorise(session.fleet.trusted.trust(), power, &signers)?;
    }
    Ok(keys)
}

/// An operator whose keys may order rollouts and assign hosts.
async fn with_operator<T>(
    session: &Session,
    signing: &cli::Signing,
    act: impl AsyncFnOnce(Operator<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let keys = authorised(session, signing)?;
    let writes = session.conditional_writes().await?;
    if writes == ConditionalWrites::Ignored {
        console::warn(
            "this store cannot keep two operators from driving one rollout at the same time: see to it that only one does",
        );
    }
    act(Operator { session, keys: &keys, writes }).await
}

async fn list(session: &Session, as_json: bool) -> Result<(), Failure> {
    let found = session.fleet.rollouts().await?;
    if as_json {
        let value = |(id, intended): &(RolloutName, Intended)| match &intended.state {
            Ok(document) => json!({
                "rollout": id,
                "state": word(&document.body().state),
                "said": document.header().created,
                "remote": document.body().remote,
                "release": document.body().release,
                "members": document.body().waves.iter().flatten().count(),
            }),
            Err(refusal) => json!({ "rollout": id, "refused": refusal.kind() }),
        };
        return console::json(&found.iter().map(value).collect::<Vec<Value>>());
    }
    if found.is_empty() {
        console::say("there has never been a rollout");
    }
    let now = Timestamp::now();
    let row = |(id, intended): &(RolloutName, Intended)| match &intended.state {
        Ok(document) => {
            let Rollout { remote, release, waves, state, .. } = document.body();
            let noun = if waves.len() == 1 { "wave" } else { "waves" };
            let members = format!("{} in {} {noun}", waves.iter().flatten().count(), waves.len());
            let age = words::ago(document.header().created, now);
            vec![id.to_string(), age, word(state), format!("{remote}@{}", release.serial), members]
        }
        Err(refusal) => vec![id.to_string(), String::new(), format!("refused: {}", refusal.kind())],
    };
    console::table(&found.iter().map(row).collect::<Vec<_>>())
}

/// What the command line asks for, and the names that are in use.
async fn prepared(session: &Session, begin: &cli::Begin) -> Result<(RolloutName, Rollout), Failure> {
    let now = Timestamp::now();
    let brought = Brought::read(session, &begin.to, now).await?;
    let view = View::read(&session.fleet, now).await?;
    let rollout = begin::rollout(session, begin, &view, &brought)?;
    if !begin.force {
        Taken::read(session).await?.spare_members(&view, &rollout)?;
    }
    let in_use: BTreeSet<_> = session.fleet.rollouts().await?.into_iter().map(|(id, _)| id).collect();
    let id = match &begin.name {
        Some(name) if in_use.contains(name) => {
            return Err(Failure::usage(format!("there has been a rollout `{name}` already"))
                .hint("give this one another name; `npc-publish rollout list` lists them"));
        }
        Some(name) => name.clone(),
        None => begin::name(&begin.to, &brought, &in_use)?,
    };
    Ok((id, rollout))
}

fn show_plan(id: &RolloutName, rollout: &Rollout, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let waves: Vec<_> = rollout.waves.iter().map(|wave| json!(wave)).collect();
        let Rollout { remote, release, gates, .. } = rollout;
        return console::json(
            &json!({ "rollout": id, "remote": remote, "release": release, "gates": gates, "waves": waves }),
        );
    }
    console::say(format_args!("rollout `{id}` brings {}@{} to", rollout.remote, rollout.release.serial));
    console::table(&planned(rollout))
}

async fn plan(begin: cli::Begin) -> Result<(), Failure> {
    let session = Session::open(&begin.writing.signing.place).await?;
    let (id, rollout) = prepared(&session, &begin).await?;
    show_plan(&id, &rollout, begin.json)
}

async fn start(begin: cli::Begin) -> Result<(), Failure> {
    let session = Session::open(&begin.writing.signing.place).await?;
    if begin.writing.dry_run {
        return plan(begin).await;
    }
    with_operator(&session, &begin.writing.signing, async |operator| {
        let (id, rollout) = prepared(&session, &begin).await?;
        show_plan(&id, &rollout, false)?;
        let me = myself()?;
        operator.create(&id, Rollout { driver: Some(me.clone()), ..rollout }).await?;
        if !begin.force {
            give_way(&operator, &id).await?;
        }
        drive_on(&operator, &id, me).await
    })
    .await
}

/// Two operators may have begun at the same moment with the same hosts: whoever sees the other gives way, and the one that wrote
/// last always does. Both may.
async fn give_way(operator: &Operator<'_>, id: &RolloutName) -> Result<(), Failure> {
    let taken = Taken::read(operator.session).await?;
    let Some((other, name)) = taken.beside(id) else { return Ok(()) };
    let words = format!("rollout `{other}`, which began at the same time, has taken `{name}` too");
    let reason = words.clone();
    let aborted = |rollout: &Rollout| {
        let (state, reason) = (RolloutState::Aborted, Some(reason.clone()));
        Ok(Some(Rollout { state, reason, driver: None, ..rollout.clone() }))
    };
    operator.change(id, aborted).await?;
    Err(Failure::new(Exit::Raced, words).hint("nobody was told anything; begin again when that one is done"))
}

/// Drives a rollout, and says how that ended.
async fn drive_on(operator: &Operator<'_>, id: &RolloutName, me: Driver) -> Result<(), Failure> {
    let ended = drive(operator, id, me).await?;
    ending(operator.session, id, ended).await
}

async fn ending(session: &Session, id: &RolloutName, ended: Ended) -> Result<(), Failure> {
    let unwell = |words: String| Failure::new(Exit::Unwell, words);
    match ended {
        Ended::Complete => {
            console::say(format_args!(
                "every wave of `{id}` is done: `npc-publish rollout finish {id}` makes the release its hosts' own remote's"
            ));
            Ok(())
        }
        Ended::Finished => Ok(()),
        Ended::Reverted => {
            console::say(format_args!("the hosts of `{id}` follow what they did before"));
            Ok(())
        }
        Ended::Failed => {
            let course = course(session, id).await?;
            let reason = course.intent.reason.unwrap_or_default();
            Err(unwell(format!("rollout `{id}` is {}: {reason}", word(&course.intent.state))).hint(
                "`npc-publish why HOST` says more; publish what mends it, then `rollout resume`, or end it with `rollout abort`",
            ))
        }
        Ended::Stopped(state) => {
            let words = format!("rollout `{id}` is {}: another operator has said so", word(&state));
            Err(Failure::new(Exit::Raced, words).hint("`npc-publish rollout status` shows how far it has got"))
        }
    }
}

/// A rollout as it is now.
async fn seen(session: &Session, course: &Course) -> Result<(Sight, Progress), Failure> {
    let sight = look(&session.fleet, course).await?;
    let progress = course.progress(&sight, Timestamp::now());
    Ok((sight, progress))
}

async fn status(session: &Session, which: cli::Which, as_json: bool) -> Result<(), Failure> {
    let course = course(session, &named(session, which.rollout).await?).await?;
    let (sight, progress) = seen(session, &course).await?;
    let left = course.left(&progress, &sight);
    if as_json {
        console::json(&course.value(&progress, left))?;
    } else {
        course.lines(&progress, left, Timestamp::now()).iter().try_for_each(console::data)?;
    }
    verdict(&course, &progress)
}

/// Whether somebody has to see to it.
fn verdict(course: &Course, progress: &Progress) -> Result<(), Failure> {
    let failed = progress.failed().count();
    let is_stopped =
        matches!(course.intent.state, RolloutState::Halted | RolloutState::Reverting | RolloutState::Reverted);
    if is_stopped || failed > 0 && course.intent.state.is_active() {
        return Err(Failure::said(Exit::Unwell, format!("{failed} hosts of `{}` have failed", course.id)));
    }
    Ok(())
}

/// Until it is done, or has stopped, or nobody reads any more.
async fn watch(session: &Session, which: cli::Which) -> Result<(), Failure> {
    let id = named(session, which.rollout).await?;
    let mut watching = Watching { session, id, display: Display::begin(), is_alone: false };
    loop {
        let pause = match watching.look().await {
            Ok(Some(ended)) => {
                watching.display.end();
                return ending(session, &watching.id, ended).await;
            }
            Ok(None) => WATCHED_EVERY,
            Err(failure) if failure.may_pass() => {
                watching.display.tell(&format!("trying again: {}", failure.words()))?;
                console::TRIED_AGAIN_AFTER
            }
            Err(failure) => return Err(failure),
        };
        if !console::is_read() {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
}

/// Looking at a rollout that somebody else drives.
struct Watching<'a> {
    session: &'a Session,
    id: RolloutName,
    display: Display,
    /// Whether it was said that nobody drives it.
    is_alone: bool,
}

impl Watching<'_> {
    /// Shows how far it has got; and how it has ended, once it has.
    async fn look(&mut self) -> Result<Option<Ended>, Failure> {
        let course = course(self.session, &self.id).await?;
        let (sight, progress) = seen(self.session, &course).await?;
        self.display.show(&course, &progress, course.left(&progress, &sight))?;
        self.tell_of_nobody(&course, &progress)?;
        Ok(match &course.intent.state {
            RolloutState::Running if course.is_complete(&progress) => Some(Ended::Complete),
            RolloutState::Running | RolloutState::Reverting | RolloutState::Finishing(_) => None,
            RolloutState::Reverted if course.intent.reason.is_none() => Some(Ended::Reverted),
            RolloutState::Halted | RolloutState::Reverted => Some(Ended::Failed),
            RolloutState::Finished => Some(Ended::Finished),
            state => Some(Ended::Stopped(state.clone())),
        })
    }

    /// Whoever watches may be the only one who could go on.
    fn tell_of_nobody(&mut self, course: &Course, progress: &Progress) -> Result<(), Failure> {
        let is_alone = course.wants_a_driver(progress) && course.driver(Timestamp::now()).is_none();
        if is_alone && !self.is_alone {
            let id = &self.id;
            self.display.tell(&format!("nobody drives it: `npc-publish rollout resume {id}` goes on with it"))?;
        }
        self.is_alone = is_alone;
        Ok(())
    }
}

fn is_not_running(id: &RolloutName, state: &RolloutState) -> Failure {
    let failure = Failure::usage(format!("rollout `{id}` is {}", word(state)));
    match state {
        RolloutState::Finishing(_) => failure.hint(format!("`npc-publish rollout finish {id}` brings that to its end")),
        RolloutState::Halted => failure.hint(format!("`npc-publish rollout resume {id}` goes on with it")),
        RolloutState::Reverting => failure.hint(format!("`npc-publish rollout resume {id}` brings that to its end")),
        _ => failure.hint("begin another with `npc-publish rollout start`"),
    }
}
