//! Doing what the machine decides, and telling it how it went.
//!
//! The journal is written before the effect that it announces begins. Whatever changes the host runs in units of its own,
//! which the agent's end does not stop, so SIGTERM is heeded at once, and the next agent goes on from the journal; only a
//! commit that has begun is brought to its end first.

mod fetch;
mod heed;
mod once;
mod perform;
mod remember;
mod signals;
mod tell;
mod words;

use std::rc::Rc;
use std::time::Duration;

use npc_core::Timestamp;
use tokio::time::Instant;

use crate::activation::{self, Platform};
use crate::clock::{Clock, Jumps};
use crate::failpoint::UnderWay;
use crate::failure::Failure;
use crate::health::Probation;
use crate::jitter::jitter;
use crate::machine::{Attempt, Context, Effect, Event, Failed, Journal, Phase, Policy, RebootWhen, step, waits};
use crate::metrics::Metrics;
use crate::poll::{News, PollError, Poller};
use crate::report::Reporter;
use crate::settings::{Following, Hooks, Keep};
use crate::state::{CommitLock, Local, Replay, StateDirectory, StateError};
use crate::supervisor::Supervisor;
use perform::Performed;
use signals::Said;
pub use signals::Signals;

/// The least pause before something is tried again while nothing can be written down.
const UNWRITTEN_PAUSE: Duration = Duration::from_secs(30);

/// How often to look whether a reboot that is due may begin.
const REBOOT_LOOK: Duration = Duration::from_secs(30);

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
    /// The attempt that is under way although there is no journal any more.
    pub recovered: Option<Attempt>,
    /// The id of the installation.
    pub instance: String,
    /// What the operator said on the host.
    pub local: Local,
    /// What the configuration file says to follow.
    pub configured: Following,
    /// What the operator decided beforehand.
    pub policy: Policy,
    /// How it asks the store.
    pub poller: Poller,
    /// How it builds and activates.
    pub platform: P,
    /// The times of probation.
    pub probation: Probation,
    /// What is kept of the past.
    pub keep: Keep,
    /// Whom to tell how attempts end.
    pub hooks: Hooks,
    /// The figures to keep.
    pub metrics: Rc<Metrics>,
    /// What time it is.
    pub clock: Box<dyn Clock>,
    /// Whom it tells.
    pub supervisor: Supervisor,
    /// Who writes the host's reports.
    pub reporter: Option<Reporter>,
}

/// The agent at work.
pub struct Driver<P> {
    parts: Parts<P>,
    /// Why the last decision could not be written down, and so was not acted upon.
    unwritten: Option<StateError>,
    /// The system that this process began to run under.
    began_under: Option<std::path::PathBuf>,
    /// The boot that lasts, where Linux tells.
    boot_id: Option<String>,
    /// The system that was found running last.
    running: Option<std::path::PathBuf>,
    /// Whether the journal was held against the host, and what came of that could be written down.
    has_begun: bool,
    jumps: Jumps,
    /// Held from before a commit until the journal says that it is done.
    commit: Option<CommitLock>,
}

impl<P: Platform> Driver<P> {
    /// An agent that has not begun.
    pub fn new(parts: Parts<P>) -> Self {
        Self {
            parts,
            unwritten: None,
            began_under: None,
            boot_id: activation::boot_id(),
            running: None,
            has_begun: false,
            jumps: Jumps::default(),
            commit: None,
        }
    }

    /// Follows the remote until told to stop.
    pub async fn run(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        self.parts.supervisor.ready();
        if self.begin(signals).await == Flow::Stop {
            self.parts.supervisor.stopping();
            return Ok(());
        }
        let mut next_poll = Instant::now();
        self.tell_status(None);
        loop {
            if self.parts.poller.goes_on(&self.parts.journal) {
                next_poll = Instant::now();
            }
            let wake = self.until_wake();
            let occurred = tokio::select! {
                told = signals.next() => Occurred::Told(told),
                () = sleep_or_never(wake) => Occurred::Woke,
                polled = Self::poll_at(&mut self.parts, next_poll) => Occurred::Polled(polled),
            };
            let flow = match occurred {
                Occurred::Told(Said::Stop) => Flow::Stop,
                Occurred::Told(Said::Reload) => {
                    next_poll = Instant::now();
                    let events = self.reload();
                    self.parts.poller.forget();
                    self.handle_all(events, signals).await
                }
                Occurred::Woke => self.look(Event::Woke, signals).await,
                Occurred::Polled(polled) => {
                    let is_assigned = matches!(polled, Ok(News::Assignment { .. }));
                    let pause =
                        if is_assigned { self.parts.poller.soonest() } else { self.parts.poller.pause(jitter()) };
                    next_poll = Instant::now() + pause;
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
        self.jumps.since_last(&*self.parts.clock);
        self.drop_what_is_not_followed().await;
        let begun = self.begin_or_look().await;
        self.parts.metrics.reflect(&self.parts.journal, self.context().paused);
        let retried = self.parts.local.retried.map(|at| Event::Retried { at });
        let ordered = self.ordered_retry();
        self.handle_all([begun].into_iter().chain(retried).chain(ordered), signals).await
    }

    async fn poll_at(parts: &mut Parts<P>, at: Instant) -> Polled {
        tokio::time::sleep_until(at).await;
        let begun = Instant::now();
        let polled = parts.poller.poll(&mut parts.replay, &parts.state, &*parts.clock).await;
        // A store that has its clients wait says nothing about how long asking takes.
        let took = (!parts.poller.has_waited()).then(|| begun.elapsed());
        let error = polled.as_ref().err().or(parts.poller.reason_to_stay()).map(PollError::kind);
        parts.metrics.polled(error, took, parts.clock.now());
        polled
    }

    async fn after_poll(&mut self, polled: Polled, signals: &mut Signals) -> Flow {
        let event = match polled {
            Ok(News::Nothing) if self.parts.journal.trouble.is_none() || self.parts.poller.has_refused() => Event::Woke,
            Ok(News::Nothing) => Event::PollAnswered,
            Ok(News::Assignment { repointed: true }) => Event::Repointed,
            Ok(News::Assignment { repointed: false }) => Event::Woke,
            Ok(News::Release(target)) => Event::Release(*target),
            Err(error) => {
                let reason = Failed::from(&error);
                let flow = self.look(Event::PollFailed(reason.clone()), signals).await;
                self.tell_status(Some(&reason));
                return flow;
            }
        };
        self.look(event, signals).await
    }

    /// Counts on from where a clock that was set has put everything, before anything more is decided or dated.
    fn mind_the_clock(&mut self) {
        if let Some(by) = self.jumps.since_last(&*self.parts.clock) {
            let (journal, _) = step(self.parts.journal.clone(), Event::ClockJumped(by), &self.context());
            self.remember(journal, true);
        }
    }

    /// Has a look at what runs, before anything is decided upon it.
    async fn look(&mut self, event: Event, signals: &mut Signals) -> Flow {
        let looked = self.begin_or_look().await;
        let events = [Some(looked), self.stays(), self.ordered_retry(), Some(event)];
        self.handle_all(events.into_iter().flatten(), signals).await
    }

    async fn handle_all(&mut self, events: impl IntoIterator<Item = Event>, signals: &mut Signals) -> Flow {
        for event in events {
            let begins = matches!(event, Event::Started(_) | Event::Recovered(..));
            if self.handle(event, signals).await == Flow::Stop {
                return Flow::Stop;
            }
            // What could not be begun is not overtaken by what comes after it.
            if begins && !self.has_begun {
                break;
            }
        }
        Flow::GoOn
    }

    /// Steps from event to effects to event until there is nothing to do now.
    async fn handle(&mut self, event: Event, signals: &mut Signals) -> Flow {
        let mut next = Some(event);
        while let Some(event) = next {
            if let Some(found) = event.found() {
                self.running.clone_from(&found.running);
            }
            self.mind_the_clock();
            // What is done is done, and is not repeated because a disk takes no notes of it.
            let is_done = matches!(event, Event::ErrandDone(_));
            let begins = matches!(event, Event::Started(_) | Event::Recovered(..));
            let (journal, effects) = step(self.parts.journal.clone(), event, &self.context());
            if !self.remember(journal, is_done) {
                return Flow::GoOn;
            }
            self.has_begun |= begins;
            if !matches!(self.parts.journal.phase, Phase::Committing(_) | Phase::RollingBack { .. }) {
                self.commit = None;
            }
            if !effects.is_empty() {
                self.tell_status(None);
            }
            next = match self.perform_all(effects, signals).await {
                Performed::Nothing => None,
                Performed::Event(event) => Some(self.unless_repointed(*event).await),
                Performed::Stop => return Flow::Stop,
            };
        }
        self.tell_status(None);
        Flow::GoOn
    }

    /// The first effect that leads to an event ends the list.
    async fn perform_all(&mut self, effects: Vec<Effect>, signals: &mut Signals) -> Performed {
        for effect in effects {
            let under_way = UnderWay::begins(&effect);
            let must_finish = matches!(effect, Effect::Commit(_));
            let performed = if must_finish {
                self.perform(effect).await
            } else {
                tokio::select! {
                    () = signals.stop() => return Performed::Stop,
                    performed = self.perform(effect) => performed,
                }
            };
            under_way.ends();
            match performed {
                Performed::Nothing => {}
                done => return done,
            }
        }
        Performed::Nothing
    }

    fn context(&self) -> Context<'_> {
        let now = self.parts.clock.now();
        let paused = self.is_paused(now);
        let nonce = getrandom::u32().unwrap_or_default();
        Context { now, jitter: jitter(), nonce, paused, to_end: self.boot_to_end(), policy: &self.parts.policy }
    }

    /// When something is due that no poll would bring: the end of a pause, or a reboot.
    fn until_wake(&self) -> Option<Duration> {
        let now = self.parts.clock.now();
        let journal = &self.parts.journal;
        let waits_for_time =
            matches!(journal.phase, Phase::Fetched { .. } | Phase::Verified { .. } | Phase::Built { .. });
        let back_off = journal.back_off.filter(|_| waits_for_time).map(|back_off| back_off.until);
        let pause = self.parts.local.pause.filter(|_| self.parts.local.is_paused(now)).and_then(|pause| pause.until);
        let due = if self.is_paused(now) { pause } else { back_off };
        // A pause that no clock can have meant is over, as the machine sees it.
        let is_over = !self.is_paused(now) && !waits(journal, now);
        let left = |due: Timestamp| Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO);
        let due = due.map(|due| if is_over { Duration::ZERO } else { left(due) });
        let policy = &self.parts.policy;
        let may_reboot = journal.reboot.as_ref().is_some_and(|wanted| match wanted.stranded_in {
            Some(_) => policy.reboot_when_stranded,
            None => policy.reboot.when != RebootWhen::Never,
        });
        let is_ordered = journal.reboot_ordered.is_some() && !journal.phase.must_finish() && !self.is_paused(now);
        let reboot = (is_ordered || may_reboot && journal.phase == Phase::Steady).then_some(REBOOT_LOOK);
        // A disk that takes no notes of failures must not have them repeated at once.
        let least = if self.unwritten.is_some() { UNWRITTEN_PAUSE } else { Duration::ZERO };
        due.into_iter().chain(reboot).min().map(|due| due.max(least))
    }
}

/// How a poll ended.
type Polled = Result<News, PollError>;

enum Occurred {
    Told(Said),
    Woke,
    Polled(Polled),
}

async fn sleep_or_never(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
