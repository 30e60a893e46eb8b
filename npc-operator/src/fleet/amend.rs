//! Changing what hosts are told, many at a time.
//!
//! Every change is written over exactly what was read before it was decided upon, so that of two operators at once, one is told.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use npc_core::document::{Assignment, Following, Power, Standing};
use npc_core::fleet::{Assigned, CONCURRENT};
use npc_core::key::SecretKey;
use npc_core::name::{AssignmentName, HostName};
use npc_core::publish::assign::assign;
use npc_core::publish::authorise;
use npc_core::store::ConditionalWrites;
use npc_core::trust::Verified;

use super::View;
use super::taken::Taken;
use super::view::own_assignment;
use crate::failure::{Exit, Failure};
use crate::session::Session;
use crate::voice;
use crate::words;

/// How many assignments are written at once.
const WRITTEN_AT_ONCE: usize = 16;

/// A change to one assignment.
#[derive(Debug)]
pub struct Change {
    /// The assignment.
    pub name: AssignmentName,
    /// What stands there.
    pub stands: Option<Assigned>,
    /// What is to stand there.
    pub says: Assignment,
}

impl Change {
    /// What is believed to stand there.
    pub fn before(&self) -> Option<&Following> {
        following(self.stands.as_ref())
    }

    /// What is to stand there.
    pub fn after(&self) -> Option<&Following> {
        match &self.says {
            Standing::Present(following) => Some(following),
            Standing::Removed => None,
        }
    }

    /// Whether it leads hosts elsewhere, rather than telling them something beside.
    pub(super) fn redirects(&self) -> bool {
        let place = |following: &Following| {
            let Following { remote, configuration, pin, rollout, .. } = following.clone();
            (remote, configuration, pin, rollout)
        };
        self.before().map(place) != self.after().map(place)
    }

    fn is_needed(&self) -> bool {
        let stands = self.stands.as_ref().and_then(|stands| stands.state.as_ref().ok());
        stands.map(Verified::body) != Some(&self.says)
    }

    /// From what to what.
    pub fn words(&self) -> String {
        let refused = self.stands.as_ref().is_some_and(|stands| stands.state.is_err());
        let unknown = if refused { "something refused" } else { "its own settings" };
        let shown = |following: Option<&Following>, unknown: &str| following.map_or(unknown.to_owned(), summary);
        let (before, after) = (shown(self.before(), unknown), shown(self.after(), "its own settings"));
        words::printable(&format!("{}: {before} -> {after}", self.name))
    }
}

/// What is believed to stand in an assignment's place.
pub fn following(stands: Option<&Assigned>) -> Option<&Following> {
    match stands?.state.as_ref().ok()?.body() {
        Standing::Present(following) => Some(following),
        Standing::Removed => None,
    }
}

/// What an assignment says, in a few words.
fn summary(following: &Following) -> String {
    let pin = following.pin.map(|pin| format!("@{}", pin.serial)).unwrap_or_default();
    let paused = if following.paused { ", paused" } else { "" };
    let rollout = following.rollout.as_ref();
    let rollout = rollout.map_or_else(String::new, |place| format!(", wave {} of {}", place.wave, place.id));
    format!("{}{pin} {}{paused}{rollout}", following.remote, following.configuration)
}

/// The assignments that these hosts ask for. One that is shared with hosts which are not meant is a mistake, or said twice.
pub fn assignments_of(
    view: &View,
    hosts: &BTreeSet<HostName>,
    force: bool,
) -> Result<BTreeSet<AssignmentName>, Failure> {
    let names: BTreeSet<_> = hosts
        .iter()
        .map(|host| view.hosts.get(host).map_or_else(|| own_assignment(host), |host| host.assignment.clone()))
        .collect();
    let others: BTreeMap<_, _> = view
        .hosts
        .values()
        .filter(|host| names.contains(&host.assignment) && !hosts.contains(&host.name))
        .map(|host| (&host.assignment, &host.name))
        .collect();
    match others.iter().next() {
        Some((assignment, other)) if !force => Err(Failure::new(
            Exit::Usage,
            format!("assignment `{assignment}` is shared with hosts that were not named, such as `{other}`"),
        )
        .hint("name them too, or all of them by the assignment's name, or say --force")),
        _ => Ok(names),
    }
}

/// Reads what stands in the place of assignments.
pub async fn read(
    session: &Session,
    names: BTreeSet<AssignmentName>,
) -> Result<Vec<(AssignmentName, Option<Assigned>)>, Failure> {
    let read = names.into_iter().map(async |name| {
        let stands = session.fleet.assignment(&name).await?;
        Ok::<_, Failure>((name, stands))
    });
    stream::iter(read).buffered(CONCURRENT).try_collect().await
}

/// Reads what stands in the place of assignments, and decides what is to stand there.
pub async fn plan(
    session: &Session,
    names: BTreeSet<AssignmentName>,
    mut decide: impl FnMut(&AssignmentName, Option<&Assigned>) -> Result<Assignment, Failure>,
) -> Result<Vec<Change>, Failure> {
    let decided = read(session, names).await?.into_iter().map(|(name, stands)| {
        let says = decide(&name, stands.as_ref())?;
        Ok(Change { name, stands, says })
    });
    decided.collect()
}

/// Who changes assignments, and how firmly.
pub struct Amending<'a> {
    /// The operator.
    pub session: &'a Session,
    /// Keys that may assign hosts.
    pub keys: &'a [SecretKey],
    /// Whether to say it again where it stands already, and to hosts that a rollout has taken.
    pub force: bool,
    /// Whether only to say what would change.
    pub dry_run: bool,
}

impl Amending<'_> {
    /// Whether the keys may do so at all.
    pub fn authorise(&self) -> Result<(), Failure> {
        let keys: Vec<&SecretKey> = self.keys.iter().collect();
        Ok(authorise(self.session.fleet.trusted.trust(), Power::Assignment, &keys)?)
    }

    /// Writes the changes, and tells each.
    pub async fn carry_out(
        &self,
        mut changes: Vec<Change>,
        mut tell: impl FnMut(String) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let taken = Taken::read(self.session).await?;
        taken.keep_marks(&mut changes);
        if self.force {
            taken.mark(&mut changes);
        } else {
            taken.spare(&changes)?;
        }
        if self.dry_run {
            return changes.iter().try_for_each(|change| tell(change.words()));
        }
        let (needed, vain): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| self.force || change.is_needed());
        for change in vain {
            voice::say(format_args!("unchanged: {}", change.words()));
        }
        if needed.is_empty() {
            return Ok(());
        }
        self.write(needed, tell).await
    }

    /// Writes changes that lead nobody elsewhere, and tells each.
    pub async fn write(
        &self,
        changes: Vec<Change>,
        tell: impl FnMut(String) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let writes = self.session.conditional_writes().await?;
        write(self.session, self.keys, writes, changes, tell).await
    }
}

/// Writes changes, each over exactly what was read before, and tells of each.
pub async fn write(
    session: &Session,
    keys: &[SecretKey],
    writes: ConditionalWrites,
    changes: Vec<Change>,
    mut tell: impl FnMut(String) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let keys: Vec<&SecretKey> = keys.iter().collect();
    let (total, mut written) = (changes.len(), 0);
    let mut ahead = stream::iter(changes.into_iter().map(async |change| {
        let words = change.words();
        let Change { name, stands, says } = change;
        assign(&session.fleet, &name, stands, says, &keys, writes, Timestamp::now()).await.map(|_| words)
    }))
    .buffered(WRITTEN_AT_ONCE);
    let mut failed = Vec::new();
    while let Some(ended) = ahead.next().await {
        match ended {
            Ok(words) => {
                written += 1;
                tell(words)?;
            }
            Err(error) => failed.push(Failure::from(error)),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    if total > 1 {
        voice::warn(format_args!("{written} of {total} assignments were written"));
    }
    Err(Failure::of_all(failed))
}
