//! The agent behind a store that fails: the whole program through a storm, and its poller through single spoilt answers.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use npc_agent::clock::SystemClock;
use npc_agent::machine::Target;
use npc_agent::poll::{Initial, Names, News, Pace, PollError, Poller, Told};
use npc_agent::settings::Settings;
use npc_agent::state::{Replay, StateDirectory};
use npc_core::store::{Options, Patience, Retries, open};
use npc_tests::eventually;
use npc_tests::fault_proxy::{Fault, FaultProxy, Mix, Passed};
use npc_tests::parts::Garage;
use npc_tests::process::for_a_while;
use npc_tests::world::{Agent, Kind, World, socket_of};

/// Has an agent reach its Garage through a proxy.
fn through_a_proxy(agent: &Agent<'_>, garage: &Garage, seed: u64) -> FaultProxy {
    let proxy = FaultProxy::start(socket_of(garage.endpoint()), seed).expect("a proxy");
    let text = fs::read_to_string(agent.path("agent.toml")).expect("read");
    let through = text.replace(&format!("{}/", garage.endpoint()), &format!("http://{}/", proxy.address()));
    assert_ne!(text, through, "the address of the store is in the settings");
    // What is asked in which order is known, and whether a fault met a question or a report would not be.
    fs::write(agent.path("agent.toml"), format!("{through}\n[report]\nenable = false\n")).expect("written");
    proxy
}

/// A storm is no reason to roll back: some answer gets through within this time.
fn with_patience_in_probation(agent: &Agent<'_>) {
    let text = fs::read_to_string(agent.path("agent.toml")).expect("read");
    let patient = text.replace("settle = 0\nstore = 10", "settle = 0\nstore = 30");
    assert_ne!(text, patient, "the patience is in the settings");
    fs::write(agent.path("agent.toml"), patient).expect("written");
}

/// What may befall an agent with its own patience: silence would take it half a minute to notice, and servers that ask it to
/// stay away keep it away for five seconds at a time.
const STORM: &Mix = &[
    (8, Fault::None),
    (1, Fault::Late(Duration::from_millis(300))),
    (1, Fault::Reset(Passed::Nothing)),
    (1, Fault::Reset(Passed::Half)),
    (1, Fault::Reset(Passed::Everything)),
    (1, Fault::CutOff),
    (1, Fault::Noise),
    (1, Fault::Status(500, None)),
    (1, Fault::Status(503, None)),
    (1, Fault::Status(429, None)),
    (1, Fault::Drip(Duration::from_millis(2))),
];

/// The store is gone altogether.
const OUTAGE: &Mix = &[(1, Fault::Reset(Passed::Nothing))];

/// How long each part of the storm lasts, from one release to the next.
const A_PART: Duration = Duration::from_secs(10);

/// A few pauses between two polls, and what is under way to fail, and the activation; and less than the thirty seconds before
/// a release that failed is tried again.
const AN_INTERVAL: Duration = Duration::from_secs(20);

#[test]
fn an_agent_in_a_storm_goes_forward_only_and_has_caught_up_an_interval_after_it() {
    let Some(garage) = Garage::find() else { return };
    let world = World::new(&Kind::Garage(garage.clone()));
    let script = "echo \"$NPC_ACTION $NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n";
    let agent = world.command_agent("web-1", script);
    let proxy = through_a_proxy(&agent, &garage, 0x5eed);
    with_patience_in_probation(&agent);
    world.publish();
    let mut running = agent.start();
    agent.commits(1);
    let befall = |mix, words| {
        let begun = Instant::now();
        proxy.storm(mix);
        world.edit(words);
        world.publish();
        for_a_while(A_PART.saturating_sub(begun.elapsed()));
    };
    let catches_up = |serial| {
        proxy.calm();
        let calm = Instant::now();
        agent.commits(serial);
        calm.elapsed()
    };
    befall(STORM, "the second release\n");
    befall(STORM, "the third release\n");
    // A store that fell silent in the middle of a probation would be a reason to roll back: here it does so between two.
    let late = catches_up(3);
    assert!(late < AN_INTERVAL, "{late:?}: {}", running.words());
    befall(OUTAGE, "the fourth release\n");
    assert_eq!(agent.committed(), Some(3), "nobody could reach the store");
    let late = catches_up(4);
    assert!(late < AN_INTERVAL, "{late:?}: {}", running.words());
    assert!(running.runs());
    let trace = fs::read_to_string(agent.path("trace")).expect("it ran");
    let serials: Vec<u64> = trace
        .lines()
        .map(|line| line.strip_prefix("activate ").expect("nothing is rolled back").parse().expect("a serial"))
        .collect();
    assert!(serials.is_sorted_by(|one, two| one < two), "each once, and none after a newer one: {serials:?}");
    assert!(serials.iter().collect::<BTreeSet<_>>().is_subset(&BTreeSet::from([&1, &2, &3, &4])), "{serials:?}");
    let met = proxy.met().into_iter().filter(|(fault, _)| *fault != Fault::None).map(|(_, times)| times).sum::<u64>();
    assert!(met > 20, "a storm of {met} faults is none");
}

#[test]
fn an_agent_that_a_download_failed_has_caught_up_an_interval_after_the_store_is_back() {
    let Some(garage) = Garage::find() else { return };
    let world = World::new(&Kind::Garage(garage.clone()));
    let agent = world.command_agent("web-1", "true");
    let proxy = through_a_proxy(&agent, &garage, 1);
    world.publish();
    // That there is no assignment, the release, the first trust, and that there is no second one.
    proxy.script(&[Fault::None, Fault::None, Fault::None, Fault::None]);
    proxy.storm(OUTAGE);
    let running = agent.start();
    eventually("the download fails", || (agent.outcome()? == "failed unavailable").then_some(()));
    proxy.calm();
    let calm = Instant::now();
    agent.commits(1);
    assert!(calm.elapsed() < AN_INTERVAL, "{:?}: {}", calm.elapsed(), running.words());
}

#[test]
fn a_refused_release_stays_in_the_status_for_as_long_as_it_is_there() {
    let world = World::new(&Kind::Directory);
    let agent = world.command_agent("web-1", "true");
    world.publish();
    let _running = agent.start();
    agent.commits(1);
    fs::write(world.path("store/remotes/prod.json"), "no release").expect("written");
    let is_told = || agent.run(&["status"]).works().contains("is refused");
    eventually("the trouble is told", || is_told().then_some(()));
    // Some polls later.
    for_a_while(Duration::from_secs(5));
    assert!(is_told(), "it is refused still");
}

/// An agent's poller, to be asked poll by poll.
struct Asked {
    poller: Poller,
    replay: Replay,
    state: StateDirectory,
}

impl Asked {
    async fn new(agent: &Agent<'_>) -> Self {
        let settings = Settings::read(&agent.path("agent.toml"), "web-1").expect("settings");
        let state = StateDirectory::create(&agent.path("state")).expect("a state directory");
        let (replay, _) = Replay::open(&state, &settings).expect("a memory");
        let pause = Duration::from_millis(2);
        let retries = Retries { attempts: 3, first_pause: pause, longest_pause: pause };
        let patience = Patience { connect: Duration::from_secs(5), stall: Duration::from_secs(3) };
        let store = open(&settings.store, Options { retries, patience, ..Options::default() }).await.expect("a store");
        let pace = Pace::every(settings.poll_interval);
        let told =
            Told::open(&state, &replay.floors, settings.assignment.clone(), settings.following.clone(), Initial::None);
        let poller = Poller::new(store, settings.anchor.clone(), told, Names::Anything, pace);
        Self { poller, replay, state }
    }

    async fn poll(&mut self) -> Result<Option<Box<Target>>, PollError> {
        match self.poller.poll(&mut self.replay, &self.state, &SystemClock).await? {
            News::Release(target) => Ok(Some(target)),
            News::Nothing => Ok(None),
            News::Assignment { .. } => unreachable!("nobody assigned this host"),
        }
    }

    async fn sees(&mut self) -> Option<u64> {
        self.poll().await.expect("an answer").map(|target| target.serial.get())
    }
}

/// Publishes a release, has the first answers about it be spoilt so, and asks until one poll meets no fault. The first
/// question is always for the assignment, of which there is none.
async fn spoil_once(faults: &[Fault]) {
    let Some(garage) = Garage::find() else { return };
    let world = World::new(&Kind::Garage(garage.clone()));
    let agent = world.command_agent("web-1", "true");
    let proxy = through_a_proxy(&agent, &garage, 1);
    world.publish();
    let mut asked = Asked::new(&agent).await;
    assert_eq!(asked.sees().await, Some(1));
    assert_eq!(asked.sees().await, None, "nothing is new");
    world.edit("the second release\n");
    world.publish();
    proxy.script(faults);
    let spoilt = asked.poll().await;
    assert!(spoilt.is_err(), "{spoilt:?}");
    assert_eq!(asked.sees().await, Some(2), "the first poll that meets no fault sees the release");
}

#[tokio::test]
async fn a_page_in_place_of_a_release_is_forgotten_with_the_next_poll() {
    spoil_once(&[Fault::None, Fault::Portal]).await;
}

#[tokio::test]
async fn a_page_in_place_of_an_assignment_is_forgotten_with_the_next_poll() {
    spoil_once(&[Fault::Portal]).await;
}

#[tokio::test]
async fn a_page_in_place_of_the_trust_is_forgotten_with_the_next_poll() {
    spoil_once(&[Fault::None, Fault::None, Fault::Portal]).await;
}

#[tokio::test]
async fn a_spoilt_body_under_its_true_tag_is_forgotten_with_the_next_poll() {
    spoil_once(&[Fault::None, Fault::Garbled]).await;
}

/// Has the agent's connection fall silent between two polls, after an outage of so many polls.
async fn fall_silent_after_an_outage(polls: usize) {
    let Some(garage) = Garage::find() else { return };
    let world = World::new(&Kind::Garage(garage.clone()));
    let agent = world.command_agent("web-1", "true");
    let proxy = through_a_proxy(&agent, &garage, 1);
    world.publish();
    let mut asked = Asked::new(&agent).await;
    assert_eq!(asked.sees().await, Some(1));
    proxy.storm(OUTAGE);
    for _ in 0..polls {
        assert!(asked.poll().await.is_err(), "the store is gone");
    }
    proxy.storm(&[]);
    proxy.script(&[Fault::Silence(Passed::Everything)]);
    assert_eq!(asked.sees().await, None, "nothing is new");
    assert_eq!(asked.sees().await, None, "the connection is dead, and another one is made");
}

#[tokio::test]
async fn a_connection_that_fell_silent_costs_a_poll_some_patience_and_no_more() {
    fall_silent_after_an_outage(0).await;
}

#[tokio::test]
async fn a_connection_that_fell_silent_after_a_long_outage_costs_no_more_either() {
    fall_silent_after_an_outage(200).await;
}
