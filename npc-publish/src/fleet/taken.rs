//! What rollouts have taken: nobody else leads it elsewhere meanwhile, unless by force.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use npc_core::document::{Following, Member, Rollout};
use npc_core::name::{AssignmentName, RolloutName};

use super::View;
use super::amend::Change;
use super::host::Told;
use crate::console;
use crate::failure::Failure;
use crate::session::Session;

/// The rollouts that are under way.
#[derive(Debug)]
pub(crate) struct Taken {
    active: BTreeMap<RolloutName, Active>,
    /// Those that are known to have ended.
    ended: BTreeSet<RolloutName>,
}

#[derive(Debug)]
struct Active {
    said: Timestamp,
    rollout: Rollout,
}

impl Taken {
    /// Reads them.
    pub(crate) async fn read(session: &Session) -> Result<Self, Failure> {
        let (mut active, mut ended) = (BTreeMap::new(), BTreeSet::new());
        for (id, intended) in session.fleet.rollouts().await? {
            match intended.state {
                Ok(document) if document.body().state.is_active() => {
                    let said = document.header().created;
                    active.insert(id, Active { said, rollout: document.into_document().body });
                }
                Ok(_) => drop(ended.insert(id)),
                Err(refusal) => console::warn(format_args!(
                    "what rollout `{id}` is to do cannot be believed ({}), nor can whom it has taken be told",
                    refusal.kind()
                )),
            }
        }
        Ok(Self { active, ended })
    }

    /// Refuses changes that would lead elsewhere what a rollout has taken.
    pub(crate) fn spare(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut redirected = changes.iter().filter(|change| change.redirects());
        redirected.try_for_each(|change| self.refuse_if_taken(&change.name, change.before()))
    }

    /// Refuses members that another rollout has taken.
    pub(crate) fn spare_members(&self, view: &View, rollout: &Rollout) -> Result<(), Failure> {
        let said = |name| view.assignments.get(name).and_then(Told::following);
        let mut members = rollout.waves.iter().flatten().map(|member| &member.assignment);
        members.try_for_each(|name| self.refuse_if_taken(name, said(name)))
    }

    fn refuse_if_taken(&self, name: &AssignmentName, before: Option<&Following>) -> Result<(), Failure> {
        match self.takes(name, before) {
            None => Ok(()),
            Some((id, wave)) => Err(Failure::usage(format!("`{name}` is in wave {wave} of rollout `{id}`"))
                .hint("end the rollout first, or take the host out of it with --force")),
        }
    }

    /// The rollout and the wave that an assignment is in, which says this.
    fn takes<'a>(&'a self, name: &AssignmentName, said: Option<&'a Following>) -> Option<(&'a RolloutName, u32)> {
        // One that cannot be read may still be under way.
        let placed = said.and_then(|following| following.rollout.as_ref());
        if let Some(placed) = placed.filter(|placed| !self.ended.contains(&placed.id)) {
            return Some((&placed.id, placed.wave));
        }
        self.active.iter().find_map(|(id, active)| {
            let is_member = |member: &Member| member.assignment == *name && member.is_before(said);
            let wave = active.rollout.waves.iter().position(|wave| wave.iter().any(is_member))?;
            Some((id, u32::try_from(wave + 1).unwrap_or(u32::MAX)))
        })
    }

    /// A rollout that began before the one called `id`, and has taken one of its members from the same place.
    pub(crate) fn before(&self, id: &RolloutName) -> Option<(&RolloutName, &AssignmentName)> {
        let mine = self.active.get(id)?;
        let earlier = self.active.iter().filter(|(other, active)| (active.said, *other) < (mine.said, id));
        let members = || mine.rollout.waves.iter().flatten();
        earlier.into_iter().find_map(|(other, active)| {
            let theirs = active.rollout.waves.iter().flatten();
            let both =
                |their: &&Member| members().any(|my| my.assignment == their.assignment && my.before == their.before);
            theirs.into_iter().find(both).map(|their| (other, &their.assignment))
        })
    }
}
