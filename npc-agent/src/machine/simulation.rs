//! Random histories of a host that is pretended: releases good and bad, faults, crashes at any effect, power cuts, humans, a
//! timer that goes off, clocks that jump, disks that take no notes and lose those they have. Whatever happens, the rules hold.

mod host;

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::tests::{at, system, target};
use super::{Event, Failed, HandPolicy, Mode, Obstacle, Policy, RebootPolicy, RebootWhen};
use host::Host;

/// What a system is like, told by its name.
const GOOD: [&str; 2] = ["good-1", "good-2"];
const OTHER_KERNELS: [&str; 3] = ["good-kernel-1", "good-kernel-2", BAD_ONCE_BOOTED];
const BAD_ONCE_BOOTED: &str = "bad-once-booted";
const INHIBITED: &str = "good-inhibited";
const FAILS_TO_ACTIVATE: &str = "bad-activation";
const IS_UNWELL: &str = "bad-health";
const FAILS_TO_BOOT: &str = "bad-boot-loader";
const ALL: [&str; 9] = [
    GOOD[0],
    GOOD[1],
    OTHER_KERNELS[0],
    OTHER_KERNELS[1],
    BAD_ONCE_BOOTED,
    INHIBITED,
    FAILS_TO_ACTIVATE,
    IS_UNWELL,
    FAILS_TO_BOOT,
];

/// The system that a host begins with, which npc knows nothing about.
const FIRST: &str = "first";

#[derive(Debug, Clone)]
enum Happens {
    /// A release of this system is published, or the same one seen again.
    Release(&'static str),
    Again,
    /// The store goes away, or comes back.
    Store(bool),
    /// The agent is killed after so many effects, half of them undone or unsaid; what it has activated goes on for a while, or
    /// has ended.
    Crash(u32, Goes),
    PowerCut,
    /// The timer goes off, if it is set.
    DeadMan,
    /// A human has this system run, or be booted, or both.
    Human(&'static str, Hand),
    /// The clock is set, noticed or not.
    Clock(i64, bool),
    Repointed,
    Retried,
    /// An assignment orders that this boot end, or one that is over.
    Ordered {
        this: bool,
    },
    /// The disk takes no notes any more, or does again.
    Disk(bool),
    /// The journal is damaged while no agent runs.
    JournalLost,
}

/// How an activation is found whose agent was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    ToItsEnd,
}

/// What a human changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hand {
    Runs,
    Boots,
    Both,
}

fn release() -> impl Strategy<Value = Happens> {
    proptest::sample::select(&ALL[..]).prop_map(Happens::Release)
}

fn crash() -> impl Strategy<Value = Happens> {
    let goes = proptest::sample::select(&[Goes::On, Goes::ToItsEnd][..]);
    (0..16_u32, goes).prop_map(|(effects, goes)| Happens::Crash(effects, goes))
}

/// Often nothing else comes between an agent's end in the middle of an attempt and the next blow.
fn happen() -> impl Strategy<Value = Vec<Happens>> {
    prop_oneof![
        8 => happens().prop_map(|one| vec![one]),
        1 => (crash(), release(), happens()).prop_map(|(crash, release, next)| vec![crash, release, next]),
        1 => (crash(), release()).prop_map(|(crash, release)| vec![crash, release, Happens::JournalLost]),
    ]
}

fn happens() -> impl Strategy<Value = Happens> {
    let name = || proptest::sample::select(&ALL[..]);
    let hand = proptest::sample::select(&[Hand::Runs, Hand::Boots, Hand::Both][..]);
    prop_oneof![
        8 => release(),
        4 => Just(Happens::Again),
        2 => any::<bool>().prop_map(Happens::Store),
        8 => crash(),
        4 => Just(Happens::PowerCut),
        4 => Just(Happens::DeadMan),
        2 => (name(), hand).prop_map(|(name, hand)| Happens::Human(name, hand)),
        4 => (-200_000..200_000_i64, any::<bool>()).prop_map(|(seconds, is_noticed)| Happens::Clock(seconds, is_noticed)),
        2 => Just(Happens::Repointed),
        2 => Just(Happens::Retried),
        2 => any::<bool>().prop_map(|this| Happens::Ordered { this }),
        3 => any::<bool>().prop_map(Happens::Disk),
        1 => Just(Happens::JournalLost),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let obstacles = proptest::sample::subsequence(vec![Obstacle::Kernel, Obstacle::Inhibited], 0..=2);
    (obstacles, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(obstacles, enforces, reboots, stranded)| {
        let when = if reboots { RebootWhen::WhenNeeded } else { RebootWhen::Never };
        Policy {
            boot_instead: obstacles.into_iter().collect::<BTreeSet<_>>(),
            by_hand: if enforces { HandPolicy::Enforce } else { HandPolicy::Respect },
            reboot: RebootPolicy { when, ..RebootPolicy::default() },
            reboot_when_stranded: stranded,
        }
    })
}

impl Host {
    fn live_through(&mut self, happens: &Happens) {
        match happens {
            Happens::Crash(effects, goes) => return self.dies_after = Some((*effects, *goes)),
            Happens::PowerCut => return self.cut_power(),
            Happens::DeadMan => return self.rescue(),
            Happens::Store(answers) => return self.store = *answers,
            Happens::Ordered { this } => self.order(*this),
            Happens::Disk(takes_notes) => return self.takes_notes = *takes_notes,
            Happens::JournalLost => return self.lose_journal(),
            Happens::Clock(seconds, _) => self.now += seconds,
            Happens::Human(name, hand) => {
                if *hand != Hand::Boots {
                    self.running = system(name);
                }
                if *hand != Hand::Runs {
                    self.profile = system(name);
                }
            }
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
            Happens::Clock(seconds, true) => Event::ClockJumped(SignedDuration::from_secs(*seconds)),
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
        if self.has_agent() {
            self.begin_or_look();
        }
        for event in [said, answer] {
            if self.has_agent() {
                self.handle(event);
            }
        }
    }

    /// Everything is well again, and time goes by.
    fn come_to_rest(&mut self) {
        (self.store, self.takes_notes, self.dies_after) = (true, true, None);
        self.start();
        for _ in 0..5 {
            self.now += 100_000;
            self.start();
            self.poll(Event::Woke);
        }
        self.start();
        // A crash just before it was taken back leaves the timer set; then it finds nothing to do.
        let before = (self.disk.clone(), self.running.clone(), self.profile.clone());
        self.rescue();
        assert_eq!((&self.disk, &self.running, &self.profile), (&before.0, &before.1, &before.2));
    }
}

/// What must be so in the end, whatever happened before.
fn assert_whole(host: &Host, was_touched: bool) {
    let journal = host.journal();
    assert_eq!(host.disk.as_ref(), Some(journal), "what it knows is written down");
    assert_eq!(journal.pending, [], "every errand is run");
    assert!(!host.is_to_reboot() && journal.reboot_ordered.is_none(), "every order is obeyed: {journal:?}");
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
    assert!(
        GOOD.iter().chain(&OTHER_KERNELS).chain(&[INHIBITED]).any(is_good),
        "{} was committed",
        committed.system.display()
    );
}

/// Neither what runs nor what would be booted is what failed.
fn assert_nothing_bad(host: &Host) {
    let bad = [FAILS_TO_ACTIVATE, IS_UNWELL, FAILS_TO_BOOT].map(system);
    assert!(!bad.contains(&host.running) && !bad.contains(&host.profile), "{:?}", host.journal());
}

/// What has failed here neither runs nor would be booted.
fn assert_quarantine_holds(host: &Host) {
    for entry in host.journal().quarantine.values() {
        let system = entry.system.as_ref();
        assert!(system != Some(&host.running) && system != Some(&host.profile), "{:?}", host.journal());
    }
}

#[test]
fn what_an_agent_has_undone_without_being_able_to_note_it_is_nobody_elses_work() {
    use Happens::{Clock, Crash, Disk, PowerCut, Release};
    let policy = Policy { reboot: RebootPolicy::default(), ..Policy::default() };
    let mut host = Host::new(policy);
    let history = [
        Release("good-kernel-1"),
        Crash(8, Goes::On),
        Release("good-kernel-2"),
        Disk(false),
        Release("good-1"),
        PowerCut,
        Crash(0, Goes::On),
        Release("good-1"),
        Clock(0, false),
        PowerCut,
        Crash(0, Goes::On),
        Release("good-1"),
        Release("good-inhibited"),
    ];
    for happens in &history {
        host.live_through(happens);
    }
    host.come_to_rest();
    assert_whole(&host, false);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_the_rules(policy in policy(), history in proptest::collection::vec(happen(), 0..30)) {
        let history: Vec<_> = history.into_iter().flatten().collect();
        let mut host = Host::new(policy);
        for happens in &history {
            host.live_through(happens);
        }
        host.come_to_rest();
        let has = |is: fn(&Happens) -> bool| history.iter().any(is);
        let (by_human, is_lost) = (has(|one| matches!(one, Happens::Human(..))), has(|one| matches!(one, Happens::JournalLost)));
        assert_whole(&host, by_human || is_lost);
        // A system that is to be booted unproved is the boot default for a while, and with the journal all is lost that says so.
        if !by_human && host.policy.boot_instead.is_empty() {
            assert_nothing_bad(&host);
        }
        // With the journal it is lost what failed here, and that a boot was to prove something.
        if !by_human && !is_lost {
            assert_quarantine_holds(&host);
            assert!(!host.is_bad_as_booted(), "{:?}", host.journal());
        }
    }
}
