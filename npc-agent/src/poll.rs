//! Asking the store what the host should run: first its assignment, then the release that this leads to.
//!
//! A poll that finds nothing new is two conditional requests, answered by 304 (or one of them by 404, where there is no
//! assignment), and touches nothing else: no disk, no Nix.

mod ahead;
mod answers;
mod archive;
mod assigned;
mod bench;
mod error;
mod initial;
mod judge;
mod pace;
mod told;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use npc_core::Timestamp;
use npc_core::document::{Believed, Obeyed, Serial};
use npc_core::limits;
use npc_core::store::{Answer, Fault, Read, Store};
use npc_core::trust::{Anchor, Refusal, Trusted};

use self::ahead::Ahead;
pub use self::ahead::Stays;
use self::bench::Bench;
pub use self::error::PollError;
pub use self::initial::Initial;
use self::judge::refused;
pub use self::pace::Pace;
pub use self::told::{Instructions, Ruler, Told};
use self::watched::Watched;
use crate::clock::Clock;
use crate::jitter::jitter;
use crate::machine::{Journal, Target};
use crate::settings::Following;
use crate::state::{Place, Replay, StateDirectory};

/// What a host's configuration is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// One of the flake's `nixosConfigurations`: a release that says what those evaluate to must have it.
    Configuration,
    /// Something that the host's own command makes sense of.
    Anything,
}

/// What a poll found.
#[derive(Debug)]
pub enum News {
    /// Nothing new.
    Nothing,
    /// Another assignment, or another place to follow in the end. What that holds is the next poll's to find.
    Assignment {
        /// Whether the host follows another remote, configuration or pinned release from now on.
        repointed: bool,
    },
    /// A release that passed every check, and had not been seen by this process.
    Release(Box<Target>),
}

/// What the last poll left behind.
#[derive(Debug)]
pub struct Poller {
    store: Arc<dyn Store>,
    anchor: Anchor,
    names: Names,
    pace: Pace,
    told: Told,
    /// What is followed: where the host was told to go last, or what it stays with until that is good.
    followed: Place,
    watched: Watched,
    ahead: Option<Ahead>,
    /// Whether there is something to stay with: a release of what is followed was believed, or is committed.
    has_arrived: bool,
    /// Whether what is followed is noted.
    is_kept: bool,
    store_waits: bool,
    /// The longest that the store is asked to have this poll wait.
    wait: Duration,
    outages: u32,
    /// When the release that was believed last expires.
    expires: Option<Timestamp>,
    /// The release that was believed last, of those that are to be followed.
    believed: Option<Believed>,
}

impl Poller {
    /// A poller that has seen nothing yet.
    pub fn new(store: Arc<dyn Store>, anchor: Anchor, told: Told, names: Names, pace: Pace) -> Self {
        let followed = told.instructions().place.clone();
        Self {
            store,
            anchor,
            names,
            pace,
            told,
            followed,
            watched: Watched::default(),
            ahead: None,
            has_arrived: false,
            is_kept: false,
            store_waits: false,
            wait: Duration::ZERO,
            outages: 0,
            expires: None,
            believed: None,
        }
    }

    /// What the host is told.
    pub fn instructions(&self) -> &Instructions {
        self.told.instructions()
    }

    /// What it follows.
    pub fn followed(&self) -> &Place {
        &self.followed
    }

    /// Takes in what the host's own settings say from now on. Returns whether it follows something else at once.
    pub fn set_own(&mut self, own: Following) -> bool {
        self.told.set_own(own);
        self.heed()
    }

    /// Has the host follow what it is told once the initial configuration, or anything else, is committed. Returns whether it
    /// does so only now.
    pub fn goes_on(&mut self, journal: &Journal) -> bool {
        let goes_on = journal.committed.is_some() && self.told.end_initial();
        if goes_on {
            self.heed();
        }
        goes_on
    }

    /// Has the next poll see everything as if for the first time.
    pub fn forget(&mut self) {
        self.told.watched.forget();
        self.watched.forget();
        self.ahead.as_mut().map(Ahead::watched).map(Watched::forget);
    }

    /// How long to pause before the next poll. `jitter` is a number from 0 to 1.
    pub fn pause(&self, jitter: f64) -> Duration {
        // What is refused is answered at once, however willing the store is to wait.
        self.pace().pause(self.store_waits && !self.has_refused(), self.outages, jitter)
    }

    /// How soon a store may be asked again that has just said what to ask for next.
    pub fn soonest(&self) -> Duration {
        self.pace.shortest
    }

    fn pace(&self) -> Pace {
        Pace { interval: self.instructions().poll_interval.unwrap_or(self.pace.interval), ..self.pace }
    }

    /// What is waited for beside the release ends a little earlier than the wait for that, so that its connection lives on.
    fn shorter_wait(&self) -> Duration {
        self.wait.saturating_sub(Duration::from_secs(1))
    }

    /// Asks once.
    pub async fn poll(
        &mut self,
        replay: &mut Replay,
        state: &StateDirectory,
        clock: &dyn Clock,
    ) -> Result<News, PollError> {
        self.told.watched.reconsider();
        self.watched.reconsider();
        self.ahead.as_mut().map(Ahead::watched).map(Watched::reconsider);
        self.keep_followed(state);
        self.wait = self.pace().wait(jitter());
        let mut bench = Bench { replay, state, clock };
        let polled = self.ask(&mut bench).await;
        // What comes before all others is all others' at once where there is no such thing, rather than nobody's for ever.
        if matches!(polled, Err(PollError::NoSuchConfiguration { .. })) && self.told.end_initial() {
            tracing::warn!("there is no initial configuration: going on to what is told");
            self.heed();
        }
        match &polled {
            Err(error) if error.came_before_judgement() || error.kind() == Fault::NotFound.kind() => {
                self.outages = self.outages.saturating_add(1);
            }
            _ => self.outages = 0,
        }
        polled
    }

    async fn ask(&mut self, bench: &mut Bench<'_>) -> Result<News, PollError> {
        match self.ask_for_assignment(bench).await? {
            News::Nothing if self.told.watched.is_refused() => Ok(News::Nothing),
            News::Nothing if self.asks_ahead(bench).await => Ok(News::Assignment { repointed: true }),
            News::Nothing => self.ask_for_release(bench).await,
            News::Assignment { repointed } => {
                Ok(News::Assignment { repointed: self.asks_ahead(bench).await || repointed })
            }
            news @ News::Release(_) => Ok(news),
        }
    }

    async fn ask_for_release(&mut self, bench: &mut Bench<'_>) -> Result<News, PollError> {
        let key = self.followed.release_key();
        let read = Read { unless: self.watched.etag(), wait: Some(self.wait), limit: limits::DOCUMENT_BYTES };
        let answer = tokio::select! {
            biased;
            () = self.assignment_changes() => return Ok(News::Nothing),
            () = self.place_ahead_changes() => return Ok(News::Nothing),
            answer = self.store.read(&key, read) => answer?,
        };
        let (bytes, etag) = match answer {
            Answer::Unchanged { waited } => {
                self.store_waits = waited;
                return self.unchanged(bench.clock);
            }
            Answer::Found { bytes, etag, waited } => {
                self.store_waits |= waited;
                (bytes, etag)
            }
        };
        // It may have been waited for, and the host have been assigned meanwhile.
        if self.store_waits && self.watched.etag().is_some() {
            match self.ask_for_assignment(bench).await? {
                News::Nothing if !self.told.watched.is_refused() => {}
                news => return Ok(news),
            }
        }
        let judged = self.judge_release(&self.followed, &bytes, bench).await;
        match &judged {
            Err(error) if error.came_before_judgement() => {}
            Err(error) => self.watched.refuse(error, &bytes, etag),
            Ok(target) => {
                self.watched.believe(etag);
                self.expires = target.expires;
                self.believed = Some(Believed { serial: target.serial, digest: target.digest });
                self.has_arrived = true;
                self.keep_followed(bench.state);
            }
        }
        judged.map(|target| News::Release(Box::new(target)))
    }

    /// Time goes on where the store does not: a release that is served for ever expires all the same.
    fn unchanged(&self, clock: &dyn Clock) -> Result<News, PollError> {
        match self.expires.filter(|expires| !self.watched.is_refused() && *expires <= clock.now()) {
            None => Ok(News::Nothing),
            Some(expires) => Err(refused(&self.followed, Refusal::Expired(expires))),
        }
    }

    /// The newest version of the trust that was verified, or else the one below which nothing is believed.
    pub fn trust(&self, replay: &Replay) -> Serial {
        replay.trusted.as_ref().map_or(self.anchor.version, Trusted::version)
    }

    /// What is obeyed: the assignment that was believed last, and what is followed in the end.
    pub fn obeyed(&self) -> Obeyed {
        Obeyed {
            assignment: self.instructions().assignment(),
            remote: self.followed.remote.clone(),
            configuration: self.told.in_the_end(&self.followed.configuration).clone(),
            release: self.believed,
        }
    }

    /// Whether the store has the agent wait for changes, so that a poll takes as long as it likes.
    pub fn has_waited(&self) -> bool {
        self.store_waits
    }

    /// Whether what the store holds was refused, and has not changed since.
    pub fn has_refused(&self) -> bool {
        self.told.watched.is_refused() || self.watched.is_refused()
    }

    /// Whether the last poll found something wrong.
    pub fn is_in_trouble(&self) -> bool {
        self.outages > 0 || self.has_refused() || self.instructions().by == Ruler::Lost
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

#[cfg(test)]
mod tests;
