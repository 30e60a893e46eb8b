//! Doing what the machine decides, and telling it how it went.
//!
//! The journal is written before the effect that it announces begins. SIGTERM ends waiting, fetching and building at once;
//! from activation to commit or roll-back the driver goes on to the end first.

mod fetch;

use std::collections::BTreeSet;
use std::time::Duration;

use npc_core::Timestamp;
use npc_core::document::{Outcome, OutcomeKind};
use npc_core::explain;
use npc_core::name::ConfigurationName;
use npc_core::store::Fault;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::activation::Platform;
use crate::clock::Clock;
use crate::failure::{Exit, Failure};
use crate::machine::{
    Attempt, Baseline, Context, Effect, Event, Failed, Journal, Phase, STORE_UNREACHABLE, Target, step, waits,
};
use crate::poll::{PollError, Poller};
use crate::settings::Following;
use crate::state::{Local, Replay, StateDirectory, StateError};
use crate::supervisor::Supervisor;

/// How long to wait between two questions to a silent store.
const PROBATION_PAUSE: Duration = Duration::from_secs(2);

/// What the agent is told from outside.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    Stop,
}

/// Everything that the driver works with.
pub struct Parts<P> {
    /// Where it remembers.
    pub state: StateDirectory,
    /// Its memory against replay.
    pub replay: Replay,
    /// Where it is.
    pub journal: Journal,
    /// What the operator said on the host.
    pub local: Local,
    /// What the configuration file says to follow.
    pub configured: Following,
    /// How it asks the store.
    pub poller: Poller,
    /// How it builds and activates.
    pub platform: P,
    /// How long a store that answered before an activation may stay silent after it.
    pub probation: Duration,
    /// What time it is.
    pub clock: Box<dyn Clock>,
    /// Whom it tells.
    pub supervisor: Supervisor,
}

/// The agent at work.
pub struct Driver<P> {
    parts: Parts<P>,
    /// Why the last decision could not be written down, and so was not acted upon.
    unwritten: Option<StateError>,
}

impl<P: Platform> Driver<P> {
    /// An agent that has not begun.
    pub fn new(parts: Parts<P>) -> Self {
        Self { parts, unwritten: None }
    }

    /// Follows the remote until told to stop.
    pub async fn run(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        self.parts.supervisor.ready();
        if self.begin(signals).await == Flow::Stop {
            return Ok(());
        }
        let mut next_poll = Instant::now();
        loop {
            self.tell_status(None);
            let wake = self.until_wake();
            let occurred = tokio::select! {
                biased;
                told = signals.next() => Occurred::Told(told),
                () = sleep_or_never(wake) => Occurred::Woke,
                polled = Self::poll_at(&mut self.parts, next_poll) => Occurred::Polled(polled),
            };
            let flow = match occurred {
                Occurred::Told(Told::Stop) => Flow::Stop,
                Occurred::Told(Told::Reload) => {
                    next_poll = Instant::now();
                    let event = self.reload();
                    self.parts.poller.forget();
                    self.handle(event, signals).await
                }
                Occurred::Woke => self.handle(Event::Woke, signals).await,
                Occurred::Polled(polled) => {
                    next_poll = Instant::now() + self.parts.poller.pause(jitter());
                    self.after_poll(polled, signals).await
                }
            };
            if flow == Flow::Stop {
                self.parts.supervisor.stopping();
                return Ok(());
            }
        }
    }

    async fn begin(&mut self, signals: &mut Signals) -> Flow {
        let running = self.parts.platform.running();
        self.handle(Event::Started { running }, signals).await
    }

    /// Asks once, does what that leads to, and says how it ended.
    pub async fn run_once(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        if self.begin(signals).await == Flow::Stop {
            return Ok(());
        }
        let polled = tokio::select! {
            () = signals.stop() => return Ok(()),
            polled = Self::poll_at(&mut self.parts, Instant::now()) => polled,
        };
        let target = match polled {
            Ok(Some(target)) => target,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.handle(Event::PollFailed(Failed::from(&error)), signals).await;
                return Err(poll_failure(error));
            }
        };
        let wanted = target.digest;
        self.handle(Event::Release(*target), signals).await;
        if let Some(error) = self.unwritten.take() {
            return Err(error.into());
        }
        let runs = self.parts.journal.committed.as_ref().is_some_and(|committed| committed.target.digest == wanted);
        match self.parts.journal.outcomes.first() {
            _ if runs => Ok(()),
            _ if self.context().paused => {
                Err(Failure::new(Exit::Failed, "the host is paused").hint("npc-agent resume"))
            }
            Some(outcome) => judge(outcome),
            None => Err(Failure::new(Exit::Failed, "the release was not activated")),
        }
    }

    async fn poll_at(parts: &mut Parts<P>, at: Instant) -> Polled {
        tokio::time::sleep_until(at).await;
        parts.poller.poll(&mut parts.replay, &parts.state, &*parts.clock).await
    }

    async fn after_poll(&mut self, polled: Polled, signals: &mut Signals) -> Flow {
        match polled {
            Ok(None) if self.parts.journal.trouble.is_none() => Flow::GoOn,
            Ok(None) => self.handle(Event::PollAnswered, signals).await,
            Ok(Some(target)) => self.handle(Event::Release(*target), signals).await,
            Err(error) => {
                let reason = Failed::from(&error);
                let flow = self.handle(Event::PollFailed(reason.clone()), signals).await;
                self.tell_status(Some(&reason));
                flow
            }
        }
    }

    /// Steps from event to effect to event until there is nothing to do now.
    async fn handle(&mut self, mut event: Event, signals: &mut Signals) -> Flow {
        loop {
            let (journal, effect) = step(self.parts.journal.clone(), event, &self.context());
            if !self.remember(journal) {
                return Flow::GoOn;
            }
            let Some(effect) = effect else { return Flow::GoOn };
            self.tell_status(None);
            event = if self.parts.journal.phase.must_finish() {
                self.perform(effect).await
            } else {
                tokio::select! {
                    () = signals.stop() => return Flow::Stop,
                    event = self.perform(effect) => event,
                }
            };
            // It took a while: what was said meanwhile counts before anything is activated.
            if !self.parts.journal.phase.must_finish() && self.reload() == Event::Repointed {
                event = Event::Repointed;
            }
        }
    }

    fn context(&self) -> Context {
        let now = self.parts.clock.now();
        Context { now, jitter: jitter(), paused: self.parts.local.is_paused(now) }
    }

    /// Takes over the journal that was decided upon, once it is on the disk. Returns whether to go on.
    ///
    /// If it cannot be written, nothing new begins; but what has begun goes on, since the older journal on the disk leads
    /// back to the old system, and stopping half way would not.
    fn remember(&mut self, journal: Journal) -> bool {
        if journal == self.parts.journal {
            return true;
        }
        self.unwritten = self.parts.state.write_journal(&journal).err();
        if let Some(error) = &self.unwritten {
            tracing::error!(error = error as &dyn std::error::Error, "cannot write the journal");
            if !self.parts.journal.phase.must_finish() {
                self.parts.poller.forget();
                return false;
            }
        }
        let before = std::mem::replace(&mut self.parts.journal, journal);
        self.report_news(&before);
        true
    }

    fn report_news(&self, before: &Journal) {
        let journal = &self.parts.journal;
        if journal.outcomes.first() == before.outcomes.first() {
            return;
        }
        let Some(outcome) = journal.outcomes.first() else { return };
        let kind = outcome.error.as_deref().unwrap_or("none");
        match outcome.kind {
            OutcomeKind::Committed if outcome.error.is_some() => tracing::warn!(kind, "{}", outcome.message),
            OutcomeKind::Committed | OutcomeKind::Adopted => tracing::info!("{}", outcome.message),
            _ => tracing::error!(kind, log = outcome.log.as_deref().unwrap_or(""), "{}", outcome.message),
        }
    }

    async fn perform(&mut self, effect: Effect) -> Event {
        let Parts { state, poller, platform, .. } = &self.parts;
        match effect {
            Effect::Fetch(target) => match fetch::fetch(&**poller.store(), state, &target.archive).await {
                Ok(()) => Event::Unpacked,
                Err(failed) => Event::PreparationFailed(failed),
            },
            Effect::Build(target) => match platform.build(&target, &state.flake(&target.archive.sha256)).await {
                Ok(built) => Event::Built(built),
                Err(failed) => Event::PreparationFailed(failed),
            },
            Effect::Survey => match platform.secure_running().await {
                Ok(running) => {
                    Event::Surveyed(Baseline { running, store_answers: poller.store_answers().await.is_ok() })
                }
                Err(failed) => Event::PreparationFailed(failed),
            },
            Effect::Activate(attempt) => ended(platform.activate(&attempt).await, Event::Activated),
            Effect::Prove(attempt) => self.prove(&attempt).await,
            Effect::Commit(attempt) => {
                let committed = platform.commit(&attempt).await;
                if committed.is_ok() {
                    self.tidy_up(&attempt);
                }
                ended(committed, Event::Committed)
            }
            Effect::RollBack { attempt, boot } => match platform.roll_back(&attempt, boot).await {
                Ok(()) => Event::RolledBack { store_answers: poller.store_answers().await.is_ok() },
                Err(failed) => Event::RollBackFailed(failed),
            },
        }
    }

    /// Whether the store can still be polled under the new system.
    async fn prove(&self, attempt: &Attempt) -> Event {
        if !attempt.before.store_answers {
            return Event::Proved;
        }
        let begun = Instant::now();
        loop {
            match self.parts.poller.store_answers().await {
                Ok(()) => return Event::Proved,
                Err(error) if begun.elapsed() >= self.parts.probation => {
                    let message = format!("the store cannot be reached any more: {}", explain::in_one_line(&error));
                    return Event::AttemptFailed(Failed::new(STORE_UNREACHABLE, message));
                }
                Err(_) => tokio::time::sleep(PROBATION_PAUSE).await,
            }
        }
    }

    /// Keeps the committed system and the one before; the rest can be fetched and built again.
    fn tidy_up(&self, attempt: &Attempt) {
        let before = self.parts.journal.committed.as_ref();
        let flakes = std::iter::once(&attempt.target)
            .chain(before.map(|before| &before.target))
            .map(|target| target.archive.sha256);
        let roots = [Some(&attempt.system), attempt.before.running.as_ref(), before.map(|before| &before.system)];
        self.parts.state.keep_only(&flakes.collect::<BTreeSet<_>>(), &roots.into_iter().flatten().cloned().collect());
    }

    /// Takes in what the operator has said on the host meanwhile.
    fn reload(&mut self) -> Event {
        match Local::read(&self.parts.state) {
            Ok(local) => {
                self.parts.local = local;
                if self.parts.poller.follow(self.parts.local.following(&self.parts.configured)) {
                    Event::Repointed
                } else {
                    Event::Woke
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the local settings");
                Event::Woke
            }
        }
    }

    /// When something is due that no poll would bring: the end of a pause.
    fn until_wake(&self) -> Option<Duration> {
        let now = self.parts.clock.now();
        let waits_for_time =
            matches!(self.parts.journal.phase, Phase::Fetched { .. } | Phase::Verified { .. } | Phase::Built { .. });
        let back_off = self.parts.journal.back_off.filter(|_| waits_for_time).map(|back_off| back_off.until);
        let pause = self.parts.local.pause.filter(|_| self.parts.local.is_paused(now)).and_then(|pause| pause.until);
        let due = if self.parts.local.is_paused(now) { pause } else { back_off };
        // A pause that no clock can have meant is over, as the machine sees it.
        let is_over = !self.parts.local.is_paused(now) && !waits(&self.parts.journal, now);
        let left = |due: Timestamp| Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO);
        due.map(|due| if is_over { Duration::ZERO } else { left(due) })
    }

    fn tell_status(&mut self, trouble: Option<&Failed>) {
        let sentence = sentence(
            &self.parts.journal,
            self.parts.poller.following(),
            self.parts.local.is_paused(self.parts.clock.now()),
            trouble,
        );
        // Trouble stays in the status until a poll brings something else.
        if trouble.is_some() || self.parts.journal.phase != Phase::Steady || !self.parts.poller.is_in_trouble() {
            self.parts.supervisor.status(sentence);
        }
    }
}

/// How a poll ended.
type Polled = Result<Option<Box<Target>>, PollError>;

enum Occurred {
    Told(Told),
    Woke,
    Polled(Polled),
}

fn ended(result: Result<(), Failed>, good: Event) -> Event {
    match result {
        Ok(()) => good,
        Err(failed) => Event::AttemptFailed(failed),
    }
}

async fn sleep_or_never(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// A number from 0 to 1. Without randomness to be had, the middle.
fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

fn sentence(journal: &Journal, following: &Following, paused: bool, trouble: Option<&Failed>) -> String {
    let configuration: &ConfigurationName = &following.configuration;
    let release = |target: &Target| format!("{}@{}", target.remote, target.serial);
    let runs =
        journal.committed.as_ref().map_or("nothing of npc's yet".to_owned(), |committed| release(&committed.target));
    let doing = match (&journal.phase, trouble) {
        (Phase::Steady, Some(trouble)) => format!("trouble: {trouble}"),
        (Phase::Steady, None) => format!("follows {}", following.remote),
        (phase, _) => {
            let target = phase.target().map(release).unwrap_or_default();
            match journal.back_off {
                Some(back_off) => format!("{} {target}, next try at {}", phase.word(), back_off.until),
                None => format!("{} {target}", phase.word()),
            }
        }
    };
    let paused = if paused { ", paused" } else { "" };
    format!("{configuration} runs {runs}, {doing}{paused}")
}

fn poll_failure(error: PollError) -> Failure {
    match error {
        PollError::Store(error) => {
            let unknown = "check `remote` in the configuration; `npc-publish remotes` lists what there is";
            let hint = if error.fault == Fault::NotFound { Some(unknown) } else { error.fault.hint() };
            let failure = Failure::new(Exit::Store, error);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        error @ PollError::State(_) => Failure::new(Exit::Other, error).hint("make room for the state directory"),
        error => {
            let kind = error.kind();
            let hint =
                format!("the refusal is called `{kind}`; the host stays as it is until the store holds something else");
            Failure::new(Exit::Refused, error).hint(hint)
        }
    }
}

fn judge(outcome: &Outcome) -> Result<(), Failure> {
    match outcome.kind {
        OutcomeKind::Committed | OutcomeKind::Adopted => {
            Err(Failure::new(Exit::Failed, "the release was not activated"))
        }
        OutcomeKind::Refused => Err(Failure::new(Exit::Refused, outcome.message.clone())),
        OutcomeKind::Failed | OutcomeKind::RolledBack | OutcomeKind::Stranded => {
            let failure = Failure::new(Exit::Failed, outcome.message.clone());
            Err(match outcome.error.as_deref() {
                Some("disk-full") => failure.hint("make room for the state directory; it is tried again"),
                _ if outcome.log.is_some() => failure.hint("`npc-agent status` shows the end of its log"),
                _ => failure.hint("`npc-agent status` shows when it is tried again"),
            })
        }
    }
}
