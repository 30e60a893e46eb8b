//! The intents that lie in the store: finding them, and changing them over exactly what was read.

use std::time::Duration;

use jiff::Timestamp;
use npc_core::document::{Driver, Rollout, Standing};
use npc_core::fleet::Intended;
use npc_core::key::SecretKey;
use npc_core::name::RolloutName;
use npc_core::publish::rollout::intend;
use npc_core::store::ConditionalWrites;
use npc_core::trust::Verified;
use npc_operator::failure::{Exit, Failure};
use npc_operator::session::Session;

use super::course::Course;

/// How often to begin anew when another operator is faster.
const RACES: u32 = 5;

/// How long after a write another may still have been on its way, by one who had read before it.
const SETTLED: Duration = Duration::from_secs(2);

/// Someone who may change rollouts, and the assignments of their hosts.
pub(crate) struct Operator<'a> {
    /// Where.
    pub(crate) session: &'a Session,
    /// With which keys.
    pub(crate) keys: &'a [SecretKey],
    /// Whether the store keeps operators from overwriting each other.
    pub(crate) writes: ConditionalWrites,
}

/// The rollout that is meant: the one named, or else the only one that is under way.
pub(crate) async fn named(session: &Session, name: Option<RolloutName>) -> Result<RolloutName, Failure> {
    if let Some(name) = name {
        return Ok(name);
    }
    let all = session.fleet.rollouts().await?;
    let is_active =
        |intended: &Intended| intended.state.as_ref().is_ok_and(|document| document.body().state.is_active());
    let active: Vec<_> = all.into_iter().filter(|(_, intended)| is_active(intended)).map(|(id, _)| id).collect();
    match &active[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::usage("no rollout is under way").hint("`npc-publish rollout list` lists those that were")),
        several => {
            let names: Vec<_> = several.iter().map(RolloutName::as_str).collect();
            Err(Failure::usage("several rollouts are under way").hint(format!("name one of: {}", names.join(", "))))
        }
    }
}

/// What lies in the place of a rollout.
async fn stands(session: &Session, id: &RolloutName) -> Result<Intended, Failure> {
    session.fleet.rollout(id).await?.ok_or_else(|| {
        Failure::usage(format!("there is no rollout `{id}`")).hint("`npc-publish rollout list` lists them")
    })
}

/// A rollout, and the release that it brings.
pub(crate) async fn course(session: &Session, id: &RolloutName) -> Result<Course, Failure> {
    let document = stands(session, id).await?.state?;
    course_of(session, id, document).await
}

async fn course_of(session: &Session, id: &RolloutName, document: Verified<Rollout>) -> Result<Course, Failure> {
    let said = document.header().created;
    let intent = document.into_document().body;
    let (remote, serial) = (&intent.remote, intent.release.serial);
    let missing = || Failure::new(Exit::Store, format!("the store has lost {remote}@{serial}, which `{id}` brings"));
    let document = session.fleet.release(remote, serial).await?.ok_or_else(missing)?.state?;
    let is_it = document.digest() == intent.release.digest
        && matches!(document.body(), Standing::Present(release) if release.archive.sha256 == intent.archive);
    if !is_it {
        let reason = format!("{remote}@{serial} is not the release that `{id}` was planned with");
        return Err(Failure::new(Exit::Trust, reason).hint("the store shows something else than what was signed first"));
    }
    Ok(Course { id: id.clone(), intent, said, document })
}

impl Operator<'_> {
    /// Writes a new intent, where there is none of that name.
    pub(crate) async fn create(&self, id: &RolloutName, intent: Rollout) -> Result<(), Failure> {
        let keys: Vec<&SecretKey> = self.keys.iter().collect();
        intend(&self.session.fleet, id, None, intent, &keys, self.writes, Timestamp::now()).await?;
        Ok(())
    }

    /// Changes an intent as `decide` says, which may decline; and gives the rollout as it is then.
    pub(crate) async fn change(
        &self,
        id: &RolloutName,
        decide: impl Fn(&Rollout) -> Result<Option<Rollout>, Failure>,
    ) -> Result<Course, Failure> {
        let keys: Vec<&SecretKey> = self.keys.iter().collect();
        let mut races = 0;
        loop {
            let stands = stands(self.session, id).await?;
            let Intended { state, etag } = stands;
            let document = state?;
            let Some(after) = decide(document.body())? else { return course_of(self.session, id, document).await };
            let stands = Intended { state: Ok(document), etag };
            match intend(&self.session.fleet, id, Some(&stands), after, &keys, self.writes, Timestamp::now()).await {
                Ok(_) => return course(self.session, id).await,
                Err(error) if error.is_race() && races < RACES => races += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Operator<'_> {
    /// Likewise, until it stays so: where the store lets operators overwrite each other, a driver that was just saying that
    /// it is at work may take it back without knowing.
    pub(crate) async fn change_for_good(
        &self,
        id: &RolloutName,
        decide: impl Fn(&Rollout) -> Result<Option<Rollout>, Failure>,
        stays: impl Fn(&Rollout) -> bool,
    ) -> Result<Course, Failure> {
        let mut changed = self.change(id, &decide).await?;
        if self.writes == ConditionalWrites::Enforced {
            return Ok(changed);
        }
        for _ in 0..RACES {
            tokio::time::sleep(SETTLED).await;
            changed = course(self.session, id).await?;
            if stays(&changed.intent) {
                return Ok(changed);
            }
            self.change(id, &decide).await?;
        }
        Err(Failure::new(Exit::Raced, format!("another operator keeps changing rollout `{id}`")))
    }
}

/// Whether somebody else drives a rollout at this moment.
pub(crate) fn driven_by_another<'a>(intent: &'a Rollout, me: &str, now: Timestamp) -> Option<&'a Driver> {
    intent.driver.as_ref().filter(|driver| driver.id != me && driver.until > now)
}
