//! Ten thousand polls of the agent's own poller through a store that fails in every way it can, in turns with calm.
//!
//! The process that polls is measured as a whole, so nothing else may run in it: this file holds one test.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use npc_agent::clock::SystemClock;
use npc_agent::poll::{Initial, Names, News, Pace, Poller, Told};
use npc_agent::settings::Settings;
use npc_agent::state::{Replay, StateDirectory};
use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{Archive, Release, Source};
use npc_core::fleet::Fleet;
use npc_core::key::SecretKey;
use npc_core::publish::{Over, Publication, Published, Record, publish};
use npc_core::store::{ConditionalWrites, Options, Patience, Retries, open};
use npc_tests::fault_proxy::{Fault, FaultProxy, Mix, Passed};
use npc_tests::parts::Garage;
use npc_tests::world::{Kind, World, socket_of};

/// Polls in all.
const POLLS: u64 = 10_000;

/// The least polls of each storm, and of each calm behind it.
const POLLS_OF_A_PHASE: u64 = 250;

/// Hosts that poll side by side.
const HOSTS: usize = 10;

/// The seed of the proxy's schedule.
const SEED: u64 = 0x5eed;

/// Like an agent's, where a second takes a third of a millisecond.
const PACE: Pace = Pace { interval: Duration::from_millis(20), shortest: Duration::from_millis(1) };

/// What a process may grow by once it has met everything: a hundred bytes a poll would be more.
const GROWTH: u64 = 512 * 1024;

/// One storm after another.
const STORMS: [&Mix; 9] = [
    &[(1, Fault::None), (1, Fault::Late(Duration::from_millis(5))), (1, Fault::Late(Duration::from_millis(40)))],
    &[
        (1, Fault::None),
        (1, Fault::Reset(Passed::Nothing)),
        (1, Fault::Reset(Passed::Half)),
        (1, Fault::Reset(Passed::Everything)),
    ],
    &[(1, Fault::None), (2, Fault::CutOff)],
    &[(1, Fault::None), (1, Fault::Noise)],
    &[
        (1, Fault::None),
        (1, Fault::Status(500, None)),
        (1, Fault::Status(503, None)),
        (1, Fault::Status(503, Some(3600))),
        (1, Fault::Status(429, None)),
        (1, Fault::Status(429, Some(3600))),
    ],
    &[
        (57, Fault::None),
        (1, Fault::Silence(Passed::Nothing)),
        (1, Fault::Silence(Passed::Half)),
        (1, Fault::Silence(Passed::Everything)),
    ],
    &[(6, Fault::None), (1, Fault::Drip(Duration::from_millis(1)))],
    // The store is gone altogether.
    &[(1, Fault::Reset(Passed::Nothing))],
    &[
        (8, Fault::None),
        (4, Fault::Late(Duration::from_millis(10))),
        (4, Fault::Reset(Passed::Nothing)),
        (4, Fault::Reset(Passed::Half)),
        (4, Fault::CutOff),
        (4, Fault::Noise),
        (4, Fault::Status(503, Some(3600))),
        (1, Fault::Silence(Passed::Half)),
        (1, Fault::Drip(Duration::from_millis(1))),
    ],
];

/// An agent's options, where a second takes a hundredth of one, or a tenth.
fn hasty() -> Options {
    let (first_pause, longest_pause) = (Duration::from_millis(2), Duration::from_millis(20));
    let retries = Retries { attempts: 3, first_pause, longest_pause };
    let patience = Patience { connect: Duration::from_secs(5), stall: PATIENCE };
    Options { retries, patience, ..Options::default() }
}

/// How long a poller puts up with silence: longer than a busy machine takes to answer, and so the dearest of all faults.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is so, as opposed to what a poller is told.
#[derive(Debug, Default)]
struct Truth {
    /// Every release that may be seen, by serial.
    published: RefCell<BTreeMap<u64, Digest>>,
    /// The serial that every poll from now on must see.
    newest: Cell<u64>,
    /// How many storms have begun.
    storms: Cell<usize>,
    /// Whether the last of them still lasts.
    is_stormy: Cell<bool>,
    polls: Cell<u64>,
    failures: RefCell<BTreeMap<&'static str, u64>>,
    is_over: Cell<bool>,
}

impl Truth {
    /// What a poll that begins now is judged by.
    fn now(&self) -> Moment {
        Moment { newest: self.newest.get(), storms: self.storms.get(), is_stormy: self.is_stormy.get() }
    }
}

/// What was so at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    newest: u64,
    storms: usize,
    is_stormy: bool,
}

/// A host that polls.
struct Host {
    poller: Poller,
    replay: Replay,
    state: StateDirectory,
    /// The serial that it saw last.
    known: u64,
}

impl Host {
    async fn new(number: usize, settings: &Settings, folder: &Path) -> Self {
        let state = StateDirectory::create(&folder.join(format!("state-{number}"))).expect("a state directory");
        let (replay, _) = Replay::open(&state, settings).expect("a memory");
        let store = open(&settings.store, hasty()).await.expect("a store");
        let told =
            Told::open(&state, &replay.floors, settings.assignment.clone(), settings.following.clone(), Initial::None);
        let poller = Poller::new(store, settings.anchor.clone(), told, Names::Anything, PACE);
        Self { poller, replay, state, known: 0 }
    }

    /// Polls at its own pace until all is over, and judges every answer.
    async fn poll_on(&mut self, truth: &Truth, caught_up: &Cell<usize>) {
        let mut jitter = 0.0;
        while !truth.is_over.get() {
            let begun = truth.now();
            let polled = self.poller.poll(&mut self.replay, &self.state, &SystemClock).await;
            truth.polls.set(truth.polls.get() + 1);
            let was_calm = !begun.is_stormy && begun.storms == truth.storms.get();
            match polled {
                Ok(News::Assignment { .. }) => unreachable!("nobody assigned this host"),
                Ok(news) => {
                    self.judge(&news, truth, begun);
                    if was_calm {
                        caught_up.set(begun.storms);
                    }
                }
                Err(error) => {
                    assert!(!was_calm, "storm {} had ended before this began: {error:?}", begun.storms);
                    assert!(error.is_outage(), "{error:?}");
                    *truth.failures.borrow_mut().entry(error.kind()).or_default() += 1;
                }
            }
            let pause = self.poller.pause(jitter);
            assert!(pause <= PACE.interval.mul_f64(1.5), "the next poll is not within an interval, give or take half");
            tokio::time::sleep(pause).await;
            jitter = (jitter + 0.37) % 1.0;
        }
    }

    /// Whatever the weather: what is believed was published, is no older than what was seen before, and is not missed.
    fn judge(&mut self, news: &News, truth: &Truth, begun: Moment) {
        if let News::Release(target) = news {
            let serial = target.serial.get();
            assert_eq!(truth.published.borrow().get(&serial), Some(&target.archive.sha256), "serial {serial}");
            assert!(serial >= self.known, "serial {serial} after {}", self.known);
            self.known = serial;
        }
        assert!(self.known >= begun.newest, "{} is said to be the newest, which is {}", self.known, begun.newest);
    }
}

/// Publishes, and raises and ends storms.
struct Conductor<'a> {
    truth: &'a Truth,
    proxy: &'a FaultProxy,
    fleet: Fleet,
    key: SecretKey,
    folder: &'a Path,
}

impl Conductor<'_> {
    async fn publish(&self) {
        let serial = self.truth.newest.get() + 1;
        let content = format!("the archive of release {serial}").into_bytes();
        let file = self.folder.join("archive");
        fs::write(&file, &content).expect("written");
        let archive = Archive { sha256: Digest::of(&content), size: content.len() as u64 };
        // Hosts see it before publishing has come to its end.
        self.truth.published.borrow_mut().insert(serial, archive.sha256);
        let remote = "prod".parse().expect("a name");
        let publication = Publication {
            remote: &remote,
            release: Release::new(archive, Source::default(), BTreeMap::new()),
            file: &file,
            expires: None,
            record: Record::Everything,
            over: Over::Anything,
        };
        let writes = ConditionalWrites::Ignored;
        let published = publish(&self.fleet, publication, &[&self.key], writes, Timestamp::now()).await;
        match published.expect("the publisher has no storm") {
            Published::Released { serial: given, .. } => assert_eq!(given.get(), serial),
            Published::Unchanged(_) => panic!("every archive is another"),
        }
        self.truth.newest.set(serial);
    }

    /// One storm, with a release in it, and the calm behind it, with another.
    async fn storm(&self, mix: &Mix, caught_up: &[&Cell<usize>]) {
        let storm = self.truth.storms.get() + 1;
        self.truth.storms.set(storm);
        self.truth.is_stormy.set(true);
        self.proxy.storm(mix);
        let begun = self.truth.polls.get();
        self.publish().await;
        until("the storm's polls", || self.truth.polls.get() >= begun + POLLS_OF_A_PHASE).await;
        self.proxy.calm();
        self.truth.is_stormy.set(false);
        until("every host knows the truth again", || caught_up.iter().all(|host| host.get() == storm)).await;
        self.publish().await;
        let enough = begun + 2 * POLLS_OF_A_PHASE;
        until("the calm's polls", || self.truth.polls.get() >= enough).await;
    }
}

/// Waits for what the hosts do meanwhile.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_mins(4), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What this process has open, by descriptor.
fn descriptors() -> BTreeMap<OsString, PathBuf> {
    let entries = fs::read_dir("/proc/self/fd").expect("Linux").map(|entry| entry.expect("Linux").path());
    // The listing's own descriptor is gone by the time it is looked at.
    let open = entries.filter_map(|path| Some((path.file_name()?.to_owned(), fs::read_link(&path).ok()?)));
    open.filter(|(_, target)| !target.starts_with("/proc")).collect()
}

/// What of this process is in memory, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}

/// The settings of an agent that reaches the store through the proxy.
fn settings_through(world: &World, garage: &Garage, proxy: &FaultProxy) -> Settings {
    let agent = world.command_agent("web-1", "true");
    let file = agent.path("agent.toml");
    let text = fs::read_to_string(&file).expect("read");
    let through = text.replace(&format!("{}/", garage.endpoint()), &format!("http://{}/", proxy.address()));
    assert_ne!(text, through, "the address of the store is in the settings");
    fs::write(&file, through).expect("written");
    Settings::read(&file, "web-1").expect("settings")
}

/// All storms twice, and then calm until there were polls enough. Returns what was resident before the second turn, by when
/// everything has been met once and what is allocated once has been, and at the end.
async fn weather(conductor: &Conductor<'_>, caught_up: &[&Cell<usize>]) -> (u64, u64) {
    let truth = conductor.truth;
    for mix in STORMS {
        conductor.storm(mix, caught_up).await;
    }
    let before = resident();
    for mix in STORMS {
        conductor.storm(mix, caught_up).await;
    }
    until("the last polls", || truth.polls.get() >= POLLS).await;
    truth.is_over.set(true);
    (before, resident())
}

async fn endure(world: &World, garage: &Garage, folder: &Path) {
    let proxy = FaultProxy::start(socket_of(garage.endpoint()), SEED).expect("a proxy");
    let settings = settings_through(world, garage, &proxy);
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        hosts.push(Host::new(number, &settings, folder).await);
    }
    let truth = Truth::default();
    let store = open(world.url(), Options::default()).await.expect("a store");
    let fleet = Fleet::open(store, &world.anchor()).await.expect("a fleet");
    let conductor = Conductor { truth: &truth, proxy: &proxy, fleet, key: world.key("npc-publish-1"), folder };
    conductor.publish().await;
    let caught_up: Vec<_> = hosts.iter().map(|_| Cell::new(0)).collect();
    let caught_up: Vec<_> = caught_up.iter().collect();
    let polling = join_all(hosts.iter_mut().zip(&caught_up).map(|(host, caught_up)| host.poll_on(&truth, caught_up)));
    let ((before, after), _) = tokio::join!(weather(&conductor, &caught_up), polling);
    for (weight, fault) in STORMS.concat() {
        assert!(weight > 0 && proxy.met().contains_key(&fault), "{fault:?} never occurred");
    }
    assert!(truth.failures.borrow().contains_key("unavailable"), "no storm was strong enough to fail a poll");
    let polls = truth.polls.get();
    assert!(after <= before + GROWTH, "{before} bytes were resident, and after {polls} polls {after}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn ten_thousand_polls_through_every_fault_believe_nothing_wrong_and_leak_nothing() {
    let Some(garage) = Garage::find() else { return };
    let world = World::new(&Kind::Garage(garage.clone()));
    let folder = tempfile::tempdir().expect("a folder");
    // What a first runtime opens for signals, the process keeps.
    drop(runtime());
    let before = descriptors();
    runtime().block_on(endure(&world, &garage, folder.path()));
    assert_eq!(descriptors(), before, "file descriptors are left open");
}
