//! Random histories of a host that is pretended: releases good and bad, faults, crashes at any effect, power cuts, humans, a
//! timer that goes off, clocks that jump. Whatever happens, the rules hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proptest::prelude::*;

use super::tests::{at, system, target, under};
use super::{
    Activation, Attempt, Baseline, Built, Effect, Ended, Event, Failed, Found, HandPolicy, Journal, Mode, Obstacle,
    Phase, Policy, RebootPolicy, RebootWhen, STORE_UNREACHABLE, Target, step,
};

/// What a system is like, told by its name.
const GOOD: [&str; 2] = ["good-1", "good-2"];
const OTHER_KERNEL: &str = "good-kernel";
const FAILS_TO_ACTIVATE: &str = "bad-activation";
const IS_UNWELL: &str = "bad-health";
const FAILS_TO_BOOT: &str = "bad-boot-loader";
const ALL: [&str; 6] = [GOOD[0], GOOD[1], OTHER_KERNEL, FAILS_TO_ACTIVATE, IS_UNWELL, FAILS_TO_BOOT];

/// The system that a host begins with, which npc knows nothing about.
const FIRST: &str = "first";

/// Effects that a run takes at most until it comes to rest.
const MANY: u32 = 500;

#[derive(Debug, Clone)]
enum Happens {
    /// A release of this system is published, or the same one seen again.
    Release(&'static str),
    Again,
    /// The store goes away, or comes back.
    Store(bool),
    /// The agent is killed after so many effects, half of them undone or unsaid.
    Crash(u32),
    PowerCut,
    /// The timer goes off, if it is set.
    DeadMan,
    /// A human switches to this system.
    Human(&'static str),
    Clock(i64),
    Repointed,
    Retried,
}

fn happens() -> impl Strategy<Value = Happens> {
    let name = || proptest::sample::select(&ALL[..]);
    prop_oneof![
        4 => name().prop_map(Happens::Release),
        2 => Just(Happens::Again),
        1 => any::<bool>().prop_map(Happens::Store),
        4 => (0..14_u32).prop_map(Happens::Crash),
        2 => Just(Happens::PowerCut),
        2 => Just(Happens::DeadMan),
        1 => name().prop_map(Happens::Human),
        2 => (-200_000..200_000_i64).prop_map(Happens::Clock),
        1 => Just(Happens::Repointed),
        1 => Just(Happens::Retried),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(boots, enforces, reboots, stranded)| {
        let when = if reboots { RebootWhen::WhenNeeded } else { RebootWhen::Never };
        Policy {
            boot_instead: if boots { [Obstacle::Kernel].into() } else { BTreeSet::new() },
            by_hand: if enforces { HandPolicy::Enforce } else { HandPolicy::Respect },
            reboot: RebootPolicy { when, ..RebootPolicy::default() },
            reboot_when_stranded: stranded,
        }
    })
}

/// What outlives a crash of the agent is here; what a power cut ends as well is said there.
struct Host {
    policy: Policy,
    /// On its disk.
    journal: Journal,
    profile: PathBuf,
    ended: BTreeMap<String, Ended>,
    /// Only until the power is cut.
    running: PathBuf,
    booted: PathBuf,
    boot: u32,
    armed: Option<String>,
    proved: BTreeSet<(u64, u32)>,
    /// The world around it.
    store: bool,
    now: i64,
    released: Option<Target>,
    serial: u64,
    /// Whether the agent runs, and after how many effects it is killed.
    agent: bool,
    dies_after: Option<u32>,
    nonce: u32,
}

impl Host {
    fn new(policy: Policy) -> Self {
        Self {
            policy,
            journal: Journal::default(),
            profile: system(FIRST),
            ended: BTreeMap::new(),
            running: system(FIRST),
            booted: system(FIRST),
            boot: 1,
            armed: None,
            proved: BTreeSet::new(),
            store: true,
            now: 0,
            released: None,
            serial: 0,
            agent: false,
            dies_after: None,
            nonce: 0,
        }
    }

    fn found(&self, attempt: Option<&Attempt>) -> Found {
        let ended = attempt.and_then(|attempt| self.ended.get(&attempt.name())).cloned();
        let other_kernel = |path: &PathBuf| *path == system(OTHER_KERNEL);
        Found {
            running: Some(self.running.clone()),
            booted: Some(self.booted.clone()),
            profile: Some(self.profile.clone()),
            boot_id: Some(self.boot.to_string()),
            reboot_needed: other_kernel(&self.profile) != other_kernel(&self.booted),
            activation: ended.map_or(Activation::Absent, Activation::Ended),
            ..Found::default()
        }
    }

    fn cut_power(&mut self) {
        self.agent = false;
        self.armed = None;
        self.boot += 1;
        self.booted = self.profile.clone();
        self.running = self.profile.clone();
    }

    fn start(&mut self) {
        if !self.agent {
            self.agent = true;
            let found = self.found(self.journal.phase.attempt().cloned().as_ref());
            self.handle(Event::Started(found));
        }
    }

    /// Whether the agent is killed at this place.
    fn dies(&mut self) -> bool {
        let Some(left) = self.dies_after else { return false };
        self.dies_after = left.checked_sub(1);
        if self.dies_after.is_none() {
            self.agent = false;
        }
        self.dies_after.is_none()
    }

    fn handle(&mut self, event: Event) {
        let mut next = Some(event);
        for _ in 0..MANY {
            let Some(event) = next.take() else { return };
            let idle = self.journal.phase == Phase::Steady && self.journal.reboot.is_none();
            let is_outage = matches!(event, Event::PollFailed(_));
            self.nonce += 1;
            let context = super::Context { nonce: self.nonce, ..under(&self.policy, self.now) };
            let (journal, effects) = step(self.journal.clone(), event, &context);
            assert!(!(idle && is_outage) || effects.is_empty(), "a dead store moves nothing: {effects:?}");
            let text = serde_json::to_vec(&journal).expect("JSON");
            assert_eq!(serde_json::from_slice::<Journal>(&text).expect("a journal"), journal, "it survives its file");
            self.journal = journal;
            for effect in effects {
                if self.dies() {
                    return;
                }
                next = self.perform(effect);
                if !self.agent || self.dies() {
                    return;
                }
                if next.is_some() {
                    break;
                }
            }
        }
        panic!("it never comes to rest: {:?}", self.journal.phase);
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        let store = || Failed::new("unavailable", "no answer");
        match effect {
            Effect::Fetch(_) if !self.store => Some(Event::PreparationFailed(store())),
            Effect::Fetch(_) => Some(Event::Unpacked),
            Effect::Build(target) => Some(Event::Built(Built::from(system(target.rev.as_deref().expect("its name"))))),
            Effect::Survey { system } => Some(Event::Surveyed(self.survey(&system))),
            Effect::Arm { attempt, .. } => {
                self.armed = Some(attempt.name());
                None
            }
            Effect::Disarm(attempt) => {
                if self.armed == Some(attempt.name()) {
                    self.armed = None;
                }
                None
            }
            Effect::Activate(attempt) => Some(Event::Activated(self.activate(&attempt))),
            Effect::Prove(attempt) => Some(self.prove(&attempt)),
            Effect::Commit(attempt) => Some(self.commit(&attempt)),
            Effect::RollBack { attempt, boot, rescued } => Some(self.roll_back(&attempt, boot, rescued)),
            Effect::Reboot { .. } => {
                self.cut_power();
                None
            }
            Effect::Errand(errand) => Some(Event::ErrandDone(errand)),
            Effect::CheckRoom | Effect::HandOver => None,
        }
    }

    fn survey(&self, new: &PathBuf) -> Baseline {
        let is_other = (*new == system(OTHER_KERNEL)) != (self.booted == system(OTHER_KERNEL));
        let baseline = Baseline {
            running: Some(self.running.clone()),
            store_answers: self.store,
            profile: Some(self.profile.clone()),
            boot_id: Some(self.boot.to_string()),
            ..Baseline::default()
        };
        baseline.with_obstacles(is_other.then_some(Obstacle::Kernel))
    }

    fn activate(&mut self, attempt: &Attempt) -> Ended {
        if let Some(ended) = self.ended.get(&attempt.name()) {
            return ended.clone();
        }
        assert_eq!(self.armed, Some(attempt.name()), "nothing is activated without a way back");
        let (key, tries) = (attempt.target.key(), attempt.target.attempt);
        let is_quarantined = self.journal.quarantine.iter().any(|(known, entry)| {
            (*known == key || entry.system.as_ref() == Some(&attempt.system)) && entry.attempt >= tries
        });
        assert!(!is_quarantined, "{} is in quarantine", attempt.system.display());
        self.running = attempt.system.clone();
        let ended = if attempt.system == system(FAILS_TO_ACTIVATE) {
            Ended::Failed(Failed::new("activation-failed", "exit status: 2"))
        } else {
            Ended::Well
        };
        self.ended.insert(attempt.name(), ended.clone());
        ended
    }

    fn prove(&mut self, attempt: &Attempt) -> Event {
        if [IS_UNWELL, FAILS_TO_ACTIVATE].map(system).contains(&self.running) {
            return Event::AttemptFailed(Failed::new("units-failed", "failed: web.service"));
        }
        if attempt.before.store_answers && !self.store {
            return Event::AttemptFailed(Failed::new(STORE_UNREACHABLE, "silence"));
        }
        self.proved.insert((attempt.number, self.boot));
        Event::Proved(Vec::new())
    }

    fn commit(&mut self, attempt: &Attempt) -> Event {
        let found = self.found(None);
        if !attempt.may_commit(&found) {
            return Event::Overtaken(found);
        }
        let is_proved = self.proved.contains(&(attempt.number, self.boot));
        assert!(is_proved || attempt.mode == Mode::Boot, "{} has not proved itself", attempt.system.display());
        self.profile = attempt.system.clone();
        if attempt.system == system(FAILS_TO_BOOT) {
            return Event::AttemptFailed(Failed::new("boot-failed", "no space left"));
        }
        Event::Committed(self.found(None))
    }

    fn roll_back(&mut self, attempt: &Attempt, boot: bool, rescued: bool) -> Event {
        let found = self.found(None);
        if !attempt.owns_running(&found) {
            return Event::Overtaken(found);
        }
        let boot = boot && attempt.owns_boot_default(&found);
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
    fn rescue(&mut self) {
        let Some(name) = self.armed.take() else { return };
        let Some(attempt) = self.journal.phase.attempt().filter(|attempt| attempt.name() == name).cloned() else {
            return;
        };
        self.agent = false;
        let found = self.found(Some(&attempt));
        let (journal, _) = step(self.journal.clone(), Event::DeadlinePassed(found), &under(&self.policy, self.now));
        self.journal = journal;
        if let Phase::RollingBack { attempt, boot, .. } = self.journal.phase.clone() {
            let event = self.roll_back(&attempt, boot, false);
            if let (Phase::RollingBack { rescued, .. }, Event::RolledBack { .. }) = (&mut self.journal.phase, event) {
                *rescued = true;
            }
        }
    }

    fn live_through(&mut self, happens: &Happens) {
        match happens {
            Happens::Crash(effects) => return self.dies_after = Some(*effects),
            Happens::PowerCut => return self.cut_power(),
            Happens::DeadMan => return self.rescue(),
            Happens::Store(answers) => return self.store = *answers,
            Happens::Clock(seconds) => self.now += seconds,
            Happens::Human(name) => (self.running, self.profile) = (system(name), system(name)),
            Happens::Release(name) => {
                self.serial += 1;
                let mut release = target(self.serial, &format!("{name} {}", self.serial));
                release.rev = Some((*name).to_owned());
                self.released = Some(release);
            }
            Happens::Again | Happens::Repointed | Happens::Retried => {}
        }
        self.start();
        self.poll(match happens {
            Happens::Repointed => Event::Repointed,
            Happens::Retried => Event::Retried { at: at(self.now).now },
            _ => Event::Woke,
        });
    }

    /// A look around, what is said, and a poll.
    fn poll(&mut self, said: Event) {
        let answer = match self.released.clone() {
            _ if !self.store => Event::PollFailed(Failed::new("unavailable", "no answer")),
            Some(target) => Event::Release(target),
            None => Event::PollAnswered,
        };
        for event in [Event::Looked(self.found(None)), said, answer] {
            if !self.agent {
                return;
            }
            self.handle(event);
        }
    }

    /// Everything is well again, and time goes by.
    fn come_to_rest(&mut self) {
        (self.store, self.dies_after) = (true, None);
        self.start();
        for _ in 0..4 {
            self.now += 100_000;
            self.start();
            self.poll(Event::Woke);
        }
        self.start();
        // A crash just before it was taken back leaves the timer set; then it finds nothing to do.
        let before = (self.journal.clone(), self.running.clone(), self.profile.clone());
        self.rescue();
        assert_eq!((&self.journal, &self.running, &self.profile), (&before.0, &before.1, &before.2));
    }
}

/// What must be so in the end, whatever happened before.
fn assert_whole(host: &Host, was_touched: bool) {
    let journal = &host.journal;
    assert!(!journal.phase.must_finish(), "{:?}", journal.phase);
    let Some(committed) = &journal.committed else {
        assert!(was_touched || host.running == system(FIRST), "{} runs", host.running.display());
        return;
    };
    if journal.by_hand.is_some() {
        assert!(was_touched);
        return;
    }
    let awaits_boot = journal.unproven.as_ref().is_some_and(|unproven| unproven.attempt.mode == Mode::Boot);
    assert!(host.running == committed.system || awaits_boot, "{journal:?}");
    let boots_next = journal.unproven.as_ref().map(|unproven| &unproven.attempt.system);
    assert!(host.profile == committed.system || Some(&host.profile) == boots_next, "{journal:?}");
    let is_good = |name: &&str| system(name) == committed.system;
    assert!(GOOD.iter().chain(&[OTHER_KERNEL]).any(is_good), "{} was committed", committed.system.display());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_the_rules(policy in policy(), history in proptest::collection::vec(happens(), 0..40)) {
        let mut host = Host::new(policy);
        for happens in &history {
            host.live_through(happens);
        }
        host.come_to_rest();
        assert_whole(&host, history.iter().any(|happens| matches!(happens, Happens::Human(_))));
    }
}
