//! What rollouts have taken: nobody else leads it elsewhere meanwhile, unless by force.

use std::collections::{BTreeMap, BTreeSet};

use npc_core::document::{Assignment, Following, Member, Placement, Rollout};
use npc_core::name::{AssignmentName, RolloutName};

use super::amend::Change;
use super::host::Told;
use super::{Host, View};
use crate::failure::Failure;
use crate::session::Session;
use crate::voice;

/// The rollouts that are under way.
#[derive(Debug)]
pub struct Taken {
    active: BTreeMap<RolloutName, Rollout>,
    /// Those that are known to have ended.
    ended: BTreeSet<RolloutName>,
}

impl Taken {
    /// Reads them.
    pub async fn read(session: &Session) -> Result<Self, Failure> {
        let (mut active, mut ended) = (BTreeMap::new(), BTreeSet::new());
        for (id, intended) in session.fleet.rollouts().await? {
            match intended.state {
                Ok(document) if document.body().state.is_active() => {
                    active.insert(id, document.into_document().body);
                }
                Ok(_) => drop(ended.insert(id)),
                Err(refusal) => voice::warn(format_args!(
                    "what rollout `{id}` is to do cannot be believed ({}), nor can whom it has taken be told",
                    refusal.kind()
                )),
            }
        }
        Ok(Self { active, ended })
    }

    /// Refuses changes that would lead elsewhere what a rollout has taken.
    pub fn spare(&self, changes: &[Change]) -> Result<(), Failure> {
        let mut redirected = changes.iter().filter(|change| change.redirects());
        redirected.try_for_each(|change| self.refuse_if_taken(&change.name, change.before()))
    }

    /// Refuses members that another rollout has taken.
    pub fn spare_members(&self, view: &View, rollout: &Rollout) -> Result<(), Failure> {
        let said = |name| view.assignments.get(name).and_then(Told::following);
        let mut members = rollout.waves.iter().flatten().map(|member| &member.assignment);
        members.try_for_each(|name| self.refuse_if_taken(name, said(name)))
    }

    /// Refuses hosts that a rollout has taken, which reboots them itself where they need it.
    pub fn spare_hosts(&self, view: &View, hosts: &[&Host]) -> Result<(), Failure> {
        let said = |name| view.assignments.get(name).and_then(Told::following);
        hosts.iter().try_for_each(|host| self.refuse_if_taken(&host.assignment, said(&host.assignment)))
    }

    /// Keeps the marks of assignments that were taken out of a rollout by force: as long as it lasts, they are no part of it.
    pub fn keep_marks(&self, changes: &mut [Change]) {
        for change in changes {
            let left = change.before().and_then(|before| before.rollout.clone());
            let left = left.filter(|placed| placed.left && !self.ended.contains(&placed.id));
            if let (Some(left), Assignment::Present(says)) = (left, &mut change.says)
                && says.rollout.is_none()
            {
                says.rollout = Some(left);
            }
        }
    }

    /// Leaves a mark in assignments that are taken out of a rollout by force, so that its driver does not take them back.
    pub fn mark(&self, changes: &mut [Change]) {
        for change in changes.iter_mut().filter(|change| change.redirects()) {
            let taken = self.takes(&change.name, change.before()).map(|(id, wave)| (id.clone(), wave));
            if let (Some((id, wave)), Assignment::Present(says)) = (taken, &mut change.says) {
                says.rollout = Some(Placement { id, wave, heartbeat: None, left: true });
            }
        }
    }

    fn refuse_if_taken(&self, name: &AssignmentName, before: Option<&Following>) -> Result<(), Failure> {
        match self.takes(name, before) {
            None => Ok(()),
            Some((id, wave)) => Err(Failure::usage(format!("`{name}` is in wave {wave} of rollout `{id}`"))
                .hint("end the rollout first, or take the host out of it with `npc-publish repoint --force`")),
        }
    }

    /// The rollout and the wave that an assignment is in, which says this.
    pub fn takes<'a>(&'a self, name: &AssignmentName, said: Option<&'a Following>) -> Option<(&'a RolloutName, u32)> {
        // One that cannot be read may still be under way.
        let placed = said.and_then(|following| following.rollout.as_ref());
        if let Some(placed) = placed.filter(|placed| !placed.left && !self.ended.contains(&placed.id)) {
            return Some((&placed.id, placed.wave));
        }
        let is_left = |id: &RolloutName| placed.is_some_and(|placed| placed.left && placed.id == *id);
        self.active.iter().filter(|(id, _)| !is_left(id)).find_map(|(id, rollout)| {
            let is_member = |member: &Member| member.assignment == *name && member.is_before(said);
            let wave = rollout.waves.iter().position(|wave| wave.iter().any(is_member))?;
            Some((id, u32::try_from(wave + 1).unwrap_or(u32::MAX)))
        })
    }

    /// Another rollout that has taken one of the members of the one called `id`, from the same place.
    pub fn beside(&self, id: &RolloutName) -> Option<(&RolloutName, &AssignmentName)> {
        let mine = self.active.get(id)?;
        let is_mine = |their: &&Member| {
            let mut members = mine.waves.iter().flatten();
            members.any(|my| my.assignment == their.assignment && my.before == their.before)
        };
        let mut others = self.active.iter().filter(|(other, _)| *other != id);
        others.find_map(|(other, rollout)| {
            let shared = rollout.waves.iter().flatten().find(is_mine)?;
            Some((other, &shared.assignment))
        })
    }
}
