//! The host, and what its agent does there, pretended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{BAD_ONCE_BOOTED, FAILS_TO_ACTIVATE, FAILS_TO_BOOT, FIRST, Goes, INHIBITED, IS_UNWELL, OTHER_KERNELS};
use crate::machine::tests::{system, under};
use crate::machine::{
    Activation, Attempt, Baseline, Built, Context, Effect, Ended, Errand, Event, Failed, Found, Journal, Mode,
    Obstacle, Phase, Policy, RebootWhen, STORE_UNREACHABLE, Target, step,
};

/// Effects that a run takes at most until it comes to rest.
const MANY: u32 = 500;

/// What outlives a crash of the agent is here; what a power cut ends as well is said there.
pub(super) struct Host {
    pub(super) policy: Policy,
    /// On its disk: the journal, the attempt that is under way, and how activations ended.
    pub(super) disk: Option<Journal>,
    noted: Option<Attempt>,
    ended: BTreeMap<String, Ended>,
    pub(super) profile: PathBuf,
    /// Whether the disk takes notes.
    pub(super) takes_notes: bool,
    /// Only until the power is cut.
    pub(super) running: PathBuf,
    booted: PathBuf,
    boot: u32,
    armed: Option<String>,
    activating: Option<Attempt>,
    proved: BTreeSet<(String, u32)>,
    /// The world around it.
    pub(super) store: bool,
    pub(super) now: i64,
    pub(super) released: Option<Target>,
    pub(super) serial: u64,
    /// The boot that is ordered to end.
    ordered: Option<u32>,
    /// What the agent that runs has in mind, and after how many effects it is killed.
    memory: Option<Journal>,
    recovered: Option<Attempt>,
    has_begun: bool,
    pub(super) dies_after: Option<(u32, Goes)>,
    nonce: u32,
}

/// The kernel that a system brings.
fn kernel(of: &PathBuf) -> Option<usize> {
    OTHER_KERNELS.iter().position(|name| system(name) == *of)
}

impl Host {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            disk: None,
            noted: None,
            ended: BTreeMap::new(),
            profile: system(FIRST),
            takes_notes: true,
            running: system(FIRST),
            booted: system(FIRST),
            boot: 1,
            armed: None,
            activating: None,
            proved: BTreeSet::new(),
            store: true,
            now: 0,
            released: None,
            serial: 0,
            ordered: None,
            memory: None,
            recovered: None,
            has_begun: false,
            dies_after: None,
            nonce: 0,
        }
    }

    /// The journal of the agent that runs.
    pub(super) fn journal(&self) -> &Journal {
        self.memory.as_ref().expect("an agent runs")
    }

    pub(super) fn has_agent(&self) -> bool {
        self.memory.is_some()
    }

    pub(super) fn found(&self, attempt: Option<&Attempt>) -> Found {
        let is_it = |activating: &&Attempt| attempt.is_some_and(|attempt| attempt.name() == activating.name());
        let ended = attempt.and_then(|attempt| self.ended.get(&attempt.name())).cloned();
        let activation = match self.activating.as_ref().filter(is_it) {
            Some(_) => Activation::Running,
            None => ended.map_or(Activation::Absent, Activation::Ended),
        };
        Found {
            running: Some(self.running.clone()),
            booted: Some(self.booted.clone()),
            profile: Some(self.profile.clone()),
            boot_id: Some(self.boot.to_string()),
            reboot_needed: kernel(&self.profile) != kernel(&self.booted),
            activation,
            failed_at_boot: Some(BTreeSet::new()),
        }
    }

    pub(super) fn cut_power(&mut self) {
        self.memory = None;
        self.armed = None;
        self.activating = None;
        self.boot += 1;
        self.booted = self.profile.clone();
        self.running = self.profile.clone();
    }

    /// An assignment names this boot, or one that is over.
    pub(super) fn order(&mut self, this: bool) {
        self.ordered = Some(if this { self.boot } else { self.boot - 1 });
    }

    /// Whether the boot that lasts is ordered to end.
    pub(super) fn is_to_reboot(&self) -> bool {
        self.ordered == Some(self.boot)
    }

    pub(super) fn lose_journal(&mut self) {
        self.memory = None;
        self.disk = None;
    }

    pub(super) fn start(&mut self) {
        if self.has_agent() {
            return;
        }
        self.memory = Some(self.disk.clone().unwrap_or_default());
        self.recovered = self.noted.clone().filter(|_| self.disk.is_none());
        self.has_begun = false;
        self.begin_or_look();
    }

    pub(super) fn begin_or_look(&mut self) {
        let event = match self.recovered.clone() {
            _ if self.has_begun => Event::Looked(self.found(None)),
            Some(attempt) => Event::Recovered(Box::new(attempt.clone()), self.found(Some(&attempt))),
            None => Event::Started(self.found(self.journal().phase.attempt())),
        };
        self.handle(event);
    }

    /// Whether the agent is killed at this place.
    fn dies(&mut self) -> bool {
        let Some((left, goes)) = self.dies_after else { return false };
        self.dies_after = left.checked_sub(1).map(|left| (left, goes));
        if self.dies_after.is_none() {
            self.memory = None;
        }
        self.dies_after.is_none()
    }

    pub(super) fn handle(&mut self, event: Event) {
        let mut next = Some(event);
        for _ in 0..MANY {
            let Some(event) = next.take() else { return };
            let before = self.journal().clone();
            let is_quiet = before.reboot.is_none() && before.pending.is_empty() && !self.is_to_reboot();
            let idle = before.phase == Phase::Steady && is_quiet;
            let is_outage = matches!(event, Event::PollFailed(_));
            let is_done = matches!(event, Event::ErrandDone(_));
            let begins = matches!(event, Event::Started(_) | Event::Recovered(..));
            self.nonce += 1;
            let boot = self.boot.to_string();
            let to_end = self.is_to_reboot().then_some(&*boot);
            let context = Context { nonce: self.nonce, to_end, ..under(&self.policy, self.now) };
            let (journal, effects) = step(before, event, &context);
            assert!(!(idle && is_outage) || effects.is_empty(), "a dead store moves nothing: {effects:?}");
            if !self.remember(journal, is_done) {
                return;
            }
            self.has_begun |= begins;
            for effect in effects {
                if self.dies() {
                    return;
                }
                next = self.perform(effect);
                if !self.has_agent() || self.dies() {
                    return;
                }
                if next.is_some() {
                    break;
                }
            }
        }
        panic!("it never comes to rest: {:?}", self.journal().phase);
    }

    /// What cannot be written down is not begun; what has begun goes on, and what is done is done.
    fn remember(&mut self, journal: Journal, is_done: bool) -> bool {
        let text = serde_json::to_vec(&journal).expect("JSON");
        assert_eq!(serde_json::from_slice::<Journal>(&text).expect("a journal"), journal, "it survives its file");
        let may_go_on = self.takes_notes || is_done || self.journal().phase.must_finish();
        if self.takes_notes {
            self.disk = Some(journal.clone());
        }
        if may_go_on || journal == *self.journal() {
            self.memory = Some(journal);
        }
        may_go_on
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        let store = || Failed::new("unavailable", "no answer");
        match effect {
            Effect::Fetch(_) if !self.store => Some(Event::PreparationFailed(store())),
            Effect::Fetch(_) => Some(Event::Unpacked),
            Effect::Build(target) => Some(Event::Built(Built::from(system(target.rev.as_deref().expect("its name"))))),
            Effect::Survey { system } => Some(Event::Surveyed(self.survey(&system))),
            Effect::Arm { attempt, .. } => self.arm(attempt),
            Effect::Disarm(attempt) => {
                if self.armed == Some(attempt.name()) {
                    self.armed = None;
                }
                self.noted = self.noted.take().filter(|noted| noted.name() != attempt.name());
                None
            }
            Effect::Activate(attempt) => self.activate(&attempt).map(Event::Activated),
            Effect::Prove(attempt) => Some(self.prove(&attempt)),
            Effect::Commit(attempt) => self.commit(&attempt),
            Effect::RollBack { attempt, boot, rescued } => Some(self.roll_back(&attempt, boot, rescued)),
            Effect::Reboot { .. } => {
                let journal = self.journal();
                let is_stranded = journal.reboot.as_ref().is_some_and(|wanted| wanted.stranded_in.is_some());
                let may_reboot = self.policy.reboot.when != RebootWhen::Never;
                assert!(self.is_to_reboot() || may_reboot || is_stranded, "nobody asked for that: {journal:?}");
                assert!(!journal.phase.must_finish(), "{:?}", journal.phase);
                self.cut_power();
                None
            }
            Effect::Errand(errand) => {
                if errand == Errand::TidyUp {
                    self.noted = None;
                }
                Some(Event::ErrandDone(errand))
            }
            Effect::CheckRoom | Effect::HandOver => None,
        }
    }

    /// A timer needs its attempt written down, but goes off without that as well, once it is set.
    fn arm(&mut self, attempt: Attempt) -> Option<Event> {
        if self.takes_notes {
            self.armed = Some(attempt.name());
            self.noted = Some(attempt);
            return None;
        }
        let failed = Failed::new("dead-man", "no space left");
        match self.journal().phase {
            Phase::Activating(_) => Some(Event::Activated(Ended::NeverBegan(failed))),
            _ if attempt.mode == Mode::FirstBoot => Some(Event::AttemptFailed(failed)),
            _ => None,
        }
    }

    fn survey(&self, new: &PathBuf) -> Baseline {
        let inhibited = |path: &PathBuf| *path == system(INHIBITED);
        let obstacles = [
            (Obstacle::Kernel, kernel(new) != kernel(&self.booted)),
            (Obstacle::Inhibited, inhibited(new) != inhibited(&self.running)),
        ];
        let baseline = Baseline {
            running: Some(self.running.clone()),
            store_answers: self.store,
            profile: Some(self.profile.clone()),
            boot_id: Some(self.boot.to_string()),
            ..Baseline::default()
        };
        baseline.with_obstacles(obstacles.into_iter().filter(|(_, is_there)| *is_there).map(|(obstacle, _)| obstacle))
    }

    /// `None` where the agent is killed meanwhile, and the activation goes on.
    fn activate(&mut self, attempt: &Attempt) -> Option<Ended> {
        if let Some(ended) = self.ended.get(&attempt.name()) {
            return Some(ended.clone());
        }
        assert_eq!(self.armed, Some(attempt.name()), "nothing is activated without a way back");
        let has_begun = self.activating.take().is_some_and(|activating| activating.name() == attempt.name());
        if !has_begun {
            self.assert_may_activate(attempt);
            if let Some((0, Goes::On)) = self.dies_after {
                self.activating = Some(attempt.clone());
                return None;
            }
        }
        self.running = attempt.system.clone();
        let ended = if attempt.system == system(FAILS_TO_ACTIVATE) {
            Ended::Failed(Failed::new("activation-failed", "exit status: 2"))
        } else {
            Ended::Well
        };
        self.ended.insert(attempt.name(), ended.clone());
        Some(ended)
    }

    fn assert_may_activate(&self, attempt: &Attempt) {
        let (key, tries) = (attempt.target.key(), attempt.target.attempt);
        let is_quarantined = self.journal().quarantine.iter().any(|(known, entry)| {
            (*known == key || entry.system.as_ref() == Some(&attempt.system)) && entry.attempt >= tries
        });
        assert!(!is_quarantined, "{} is in quarantine", attempt.system.display());
        assert!(!attempt.before.obstacles.contains(&Obstacle::Inhibited), "NixOS refuses {}", attempt.system.display());
    }

    /// Whether the host has booted what works as long as it is only switched to.
    pub(super) fn is_bad_as_booted(&self) -> bool {
        [&self.running, &self.booted].map(|found| *found == system(BAD_ONCE_BOOTED)) == [true; 2]
    }

    fn prove(&mut self, attempt: &Attempt) -> Event {
        let is_bad = [IS_UNWELL, FAILS_TO_ACTIVATE].map(system).contains(&self.running);
        if is_bad || self.is_bad_as_booted() {
            return Event::AttemptFailed(Failed::new("units-failed", "failed: web.service"));
        }
        if attempt.before.store_answers && !self.store {
            return Event::AttemptFailed(Failed::new(STORE_UNREACHABLE, "silence"));
        }
        self.proved.insert((attempt.name(), self.boot));
        Event::Proved(Vec::new())
    }

    /// Ends the agent where somebody else has changed the journal.
    fn commit(&mut self, attempt: &Attempt) -> Option<Event> {
        let disk = self.disk.as_ref().map(|journal| &journal.phase);
        let is_ours = disk == Some(&self.journal().phase);
        if !is_ours && (self.takes_notes || disk.and_then(Phase::attempt) != Some(attempt)) {
            self.memory = None;
            return None;
        }
        let found = self.found(None);
        if !attempt.may_commit(&found) {
            return Some(Event::Overtaken(found));
        }
        let is_proved = self.proved.contains(&(attempt.name(), self.boot));
        assert!(is_proved || attempt.mode == Mode::Boot, "{} has not proved itself", attempt.system.display());
        self.profile = attempt.system.clone();
        if attempt.system == system(FAILS_TO_BOOT) {
            return Some(Event::AttemptFailed(Failed::new("boot-failed", "no space left")));
        }
        Some(Event::Committed(self.found(None)))
    }

    fn roll_back(&mut self, attempt: &Attempt, boot: bool, rescued: bool) -> Event {
        let found = self.found(None);
        if !attempt.owns_running(&found) {
            return Event::Overtaken(found);
        }
        let boot = attempt.takes_back_boot_default(boot, &found);
        self.activating = None;
        let previous = attempt.before.running.clone().expect("a system ran");
        if !rescued || self.running != previous {
            if boot {
                self.profile = previous.clone();
            }
            if attempt.mode != Mode::Boot {
                self.running = previous;
            }
        }
        Event::RolledBack { store_answers: self.store, unwell: None }
    }

    /// What the timer runs, without the agent.
    pub(super) fn rescue(&mut self) {
        let Some(name) = self.armed.take() else { return };
        let noted = || Some(Journal { phase: Phase::Probation(self.noted.clone()?), ..Journal::default() });
        let Some(journal) = self.disk.clone().or_else(noted) else { return };
        let Some(attempt) = journal.phase.attempt().filter(|attempt| attempt.name() == name).cloned() else { return };
        self.memory = None;
        let found = self.found(Some(&attempt));
        let (mut journal, _) = step(journal, Event::DeadlinePassed(found), &under(&self.policy, self.now));
        if let Phase::RollingBack { attempt, boot, .. } = journal.phase.clone() {
            let event = self.roll_back(&attempt, boot, false);
            if let (Phase::RollingBack { rescued, .. }, Event::RolledBack { .. }) = (&mut journal.phase, event) {
                *rescued = true;
            }
        }
        if self.takes_notes {
            self.disk = Some(journal);
        }
    }
}
