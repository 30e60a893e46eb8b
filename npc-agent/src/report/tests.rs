use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;

use async_trait::async_trait;
use npc_core::document::Obeyed;
use npc_core::envelope::Envelope;
use tempfile::TempDir;
use tokio::task::LocalSet;

use super::observer::{LOOK, SELDOM};
use super::*;
use crate::machine::Journal;
use crate::pretended::{PretendedStore, Writes};
use crate::state::StateDirectory;

const HEARTBEAT: Duration = Duration::from_mins(30);

/// A host that reports to a store.
struct World {
    folder: TempDir,
    store: Arc<PretendedStore>,
}

impl World {
    fn new(writes: Writes) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = PretendedStore::new(folder.path().join("store"));
        fs::create_dir(folder.path().join("store")).expect("created");
        *store.writes.lock().expect("unharmed") = writes;
        Self { folder, store: Arc::new(store) }
    }

    fn report(&self) -> Reporter {
        self.report_of(Box::new(ThisMachine { root: self.folder.path().to_owned() }))
    }

    fn report_of(&self, machine: Box<dyn Machine>) -> Reporter {
        let state = StateDirectory::create(&self.folder.path().join("state")).expect("a state directory");
        let host: HostName = "web-1".parse().expect("a name");
        let signer = Signer::open(&state, &host).expect("a signer");
        let fleet = FleetId::from_random([7; 16]);
        let assignment = "web-1".parse().expect("a name");
        let identity = Identity { fleet, host, assignment, instance: "one".to_owned() };
        let settings = Reporting { heartbeat: HEARTBEAT, logs: true, ephemeral: false };
        let store = Arc::<PretendedStore>::clone(&self.store);
        Reporter::begin(store, signer, identity, machine, settings, account(0))
    }

    /// The report in the store, if there is one.
    fn read(&self) -> Option<Report> {
        let bytes = fs::read(self.folder.path().join("store/reports/web-1.json")).ok()?;
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        let report: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
        Some(report.body)
    }

    /// Whether it says that the host is paused.
    fn told(&self) -> Option<bool> {
        self.read().map(|report| report.paused)
    }

    fn tries(&self) -> usize {
        self.store.tries.lock().expect("unharmed").len()
    }
}

/// How things stand: one way after an even number of changes, another way after an odd one.
fn account(changes: u32) -> Account {
    let (remote, configuration) = ("prod".parse().expect("a name"), "web-1".parse().expect("a name"));
    let obeyed = Obeyed { assignment: None, remote, configuration, release: None };
    let (journal, paused) = (Journal::default(), changes % 2 == 1);
    Account { journal, paused, heartbeat: None, obeyed, running: None, trust: Serial::FIRST, trust_digest: None }
}

async fn after(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[tokio::test(start_paused = true)]
async fn what_changes_at_about_the_same_time_is_one_report_and_silence_is_none() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Kept);
            let reporter = world.report();
            for changes in 1..=9 {
                reporter.tell(account(changes));
            }
            after(GATHER * 2).await;
            assert_eq!((world.tries(), world.told()), (1, Some(true)));
            reporter.tell(account(9));
            after(HEARTBEAT / 2).await;
            assert_eq!(world.tries(), 1, "nothing has changed");
            after(HEARTBEAT).await;
            assert_eq!(world.tries(), 2, "and it says so once in a while");
            reporter.tell(account(0));
            after(GATHER * 2).await;
            assert_eq!((world.tries(), world.told()), (3, Some(false)));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_first_report_has_it_at_once_and_waits_for_no_store_that_never_answers() {
    LocalSet::new()
        .run_until(async {
            for (writes, seconds) in
                [(Writes::Kept, 0), (Writes::Denied, 0), (Writes::Unanswered, FIRST_WORDS.as_secs())]
            {
                let is_kept = matches!(writes, Writes::Kept);
                let world = World::new(writes);
                let reporter = world.report();
                let begun = Instant::now();
                reporter.introduction().await;
                assert_eq!((begun.elapsed().as_secs(), world.read().is_some()), (seconds, is_kept));
                let begun = Instant::now();
                reporter.introduction().await;
                assert!(begun.elapsed().as_secs() <= seconds, "later ones wait for no more");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_reports_is_asked_less_and_less_often_whatever_changes() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Denied);
            let reporter = world.report();
            for changes in 0..4 * 3600 {
                reporter.tell(account(changes));
                after(Duration::from_secs(1)).await;
            }
            let pauses = world.store.pauses();
            assert!(pauses[0] >= FIRST_PAUSE.mul_f64(0.75), "{pauses:?}");
            assert!(pauses.iter().all(|pause| *pause <= HEARTBEAT.mul_f64(1.3)), "{pauses:?}");
            assert!(pauses.len() < 20, "{pauses:?}");
            *world.store.writes.lock().expect("unharmed") = Writes::Kept;
            after(HEARTBEAT * 2).await;
            assert_eq!(world.told(), Some(true), "what could not be said is said later");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ends_has_its_last_words_but_does_not_wait_for_a_store_that_never_answers() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Kept);
            let reporter = world.report();
            after(GATHER * 2).await;
            reporter.tell(account(1));
            reporter.end().await;
            assert_eq!(world.told(), Some(true));
            for begun in [false, true] {
                let world = World::new(Writes::Unanswered);
                let reporter = world.report();
                if begun {
                    after(GATHER * 2).await;
                }
                let end = Instant::now();
                reporter.end().await;
                assert_eq!(end.elapsed().as_secs(), LAST_WORDS.as_secs(), "{begun}");
            }
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_host_reports_as_often_as_a_rollout_wants_for_as_long_as_it_does() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Kept);
            let reporter = world.report();
            after(GATHER * 2).await;
            let heartbeat = Duration::from_mins(1);
            reporter.tell(Account { heartbeat: Some(heartbeat), ..account(0) });
            after(heartbeat * 100).await;
            let (tries, pauses) = (world.tries(), world.store.pauses());
            assert!((100..=115).contains(&tries), "{tries}");
            assert!(
                pauses[1..].iter().all(|pause| *pause <= heartbeat && *pause >= heartbeat.mul_f64(0.85)),
                "{pauses:?}"
            );
            reporter.tell(account(0));
            after(HEARTBEAT / 2).await;
            assert_eq!(
                world.tries(),
                tries + 1,
                "it says that there will be fewer, and the host's own settings rule again"
            );
            after(HEARTBEAT).await;
            assert_eq!(world.tries(), tries + 2);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn no_rollout_has_a_store_that_takes_no_reports_asked_for_ever() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Denied);
            let reporter = world.report();
            reporter.tell(Account { heartbeat: Some(Duration::from_secs(5)), ..account(0) });
            after(HEARTBEAT * 8).await;
            assert!((10..30).contains(&world.tries()), "{}", world.tries());
        })
        .await;
}

/// A machine that changes when it is told to.
#[derive(Debug, Default)]
struct Changing {
    contact: RefCell<Contact>,
    failed_units: RefCell<Option<BTreeSet<String>>>,
    /// How often it was asked for its units.
    asked: Cell<usize>,
}

impl Changing {
    /// It has one address, which ends like this.
    fn moves(&self, end: u8) {
        self.contact.borrow_mut().addresses = [[192, 0, 2, end].into()].into();
    }
}

#[async_trait(?Send)]
impl Machine for Rc<Changing> {
    fn boot_id(&self) -> String {
        String::new()
    }

    fn contact(&self) -> Contact {
        self.contact.borrow().clone()
    }

    async fn failed_units(&self) -> Option<BTreeSet<String>> {
        self.asked.set(self.asked.get() + 1);
        self.failed_units.borrow().clone()
    }
}

/// A machine that a reporter has reported of once.
async fn changing(world: &World) -> (Rc<Changing>, Reporter) {
    let machine = Rc::new(Changing::default());
    let reporter = world.report_of(Box::new(Rc::clone(&machine)));
    after(GATHER * 2).await;
    assert_eq!(world.tries(), 1);
    (machine, reporter)
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_moves_or_gets_its_keys_says_so_soon_and_once() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Kept);
            let (machine, _reporter) = changing(&world).await;
            machine.moves(1);
            after(LOOK + GATHER * 2).await;
            let report = world.read().expect("a report");
            assert_eq!((world.tries(), report.addresses), (2, vec![[192, 0, 2, 1].into()]));
            after(SELDOM).await;
            let key = "ssh-ed25519 AAAAC3".to_owned();
            machine.contact.borrow_mut().ssh_host_keys = [key.clone()].into();
            after(LOOK + GATHER * 2).await;
            let report = world.read().expect("a report");
            assert_eq!((world.tries(), report.ssh_host_keys), (3, vec![key]));
            after(HEARTBEAT / 2).await;
            assert_eq!(world.tries(), 3, "nothing has changed");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn addresses_that_come_and_go_are_no_reason_to_report_all_the_time() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Kept);
            let (machine, reporter) = changing(&world).await;
            for end in 0..240 {
                machine.moves(end);
                after(Duration::from_secs(30)).await;
            }
            let pauses = world.store.pauses();
            assert!(pauses.len() > 12, "two hours of change: {pauses:?}");
            assert!(pauses[1..].iter().all(|pause| *pause >= SELDOM), "{pauses:?}");
            let tries = world.tries();
            reporter.tell(account(1));
            after(GATHER * 2).await;
            assert_eq!(
                (world.tries(), world.told()),
                (tries + 1, Some(true)),
                "what else there is to say does not wait"
            );
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn failed_units_are_reported_within_minutes_and_systemd_is_asked_seldom() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(Writes::Kept);
            let (machine, _reporter) = changing(&world).await;
            after(HEARTBEAT / 2).await;
            assert!(machine.asked.get() <= 1 + 3, "{}", machine.asked.get());
            machine.failed_units.replace(Some(["web.service".to_owned()].into()));
            after(SELDOM + LOOK + GATHER * 2).await;
            let report = world.read().expect("a report");
            assert_eq!((world.tries(), report.failed_units), (2, vec!["web.service".to_owned()]));
            machine.failed_units.replace(None);
            after(HEARTBEAT * 2).await;
            assert!(world.tries() > 2);
            let known = world.read().expect("a report").failed_units;
            assert_eq!(known, ["web.service"], "that nobody can tell does not mean that all is well again");
        })
        .await;
}
