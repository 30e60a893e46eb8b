//! Asking the store what the host should run: first its assignment, then the release that this leads to.
//!
//! A poll that finds nothing new is two conditional requests, answered by 304 (or one of them by 404, where there is no
//! assignment), and touches nothing else: no disk, no Nix.

mod assigned;
mod bench;
mod error;
mod pace;
mod told;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use npc_core::Timestamp;
use npc_core::document::{Believed, Obeyed, Pin, RemoteState, Serial, Standing};
use npc_core::layout::{self, ObjectKey};
use npc_core::limits;
use npc_core::store::{Answer, Fault, Read, Store, read_document};
use npc_core::trust::{Anchor, Floors, Refusal, Subject, Trusted, Verified, verify, walk};

use self::bench::Bench;
pub use self::error::PollError;
pub use self::pace::Pace;
pub use self::told::{Instructions, Ruler, Told};
use self::watched::Watched;
use crate::clock::Clock;
use crate::machine::Target;
use crate::settings::Following;
use crate::state::{Replay, StateDirectory};

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
    /// Another assignment; whether it leads elsewhere than the one before. What it leads to is the next poll's to find.
    Assignment {
        /// Whether remote, configuration or pin are others.
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
    watched: Watched,
    store_waits: bool,
    outages: u32,
    /// When the release that was believed last expires.
    expires: Option<Timestamp>,
    /// The release that was believed last, of those that are to be followed.
    believed: Option<Believed>,
}

impl Poller {
    /// A poller that has seen nothing yet.
    pub fn new(store: Arc<dyn Store>, anchor: Anchor, told: Told, names: Names, pace: Pace) -> Self {
        let watched = Watched::default();
        Self {
            store,
            anchor,
            names,
            pace,
            told,
            watched,
            store_waits: false,
            outages: 0,
            expires: None,
            believed: None,
        }
    }

    /// What is followed, and how.
    pub fn instructions(&self) -> &Instructions {
        self.told.instructions()
    }

    /// Takes in what the host's own settings say from now on. Returns whether that leads elsewhere.
    pub fn set_own(&mut self, own: Following) -> bool {
        let before = self.instructions().clone();
        self.told.set_own(own);
        self.follow_if_other(&before)
    }

    fn follow_if_other(&mut self, before: &Instructions) -> bool {
        let repointed = !self.instructions().leads_where(before);
        if repointed {
            self.watched.forget();
            (self.expires, self.believed) = (None, None);
        }
        repointed
    }

    /// Has the next poll see everything as if for the first time.
    pub fn forget(&mut self) {
        self.told.watched.forget();
        self.watched.forget();
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

    /// The longest that a store is asked to have the agent wait.
    fn wait(&self) -> Duration {
        self.pace().interval.min(limits::LONGEST_WAIT)
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
        let mut bench = Bench { replay, state, clock };
        let polled = match self.ask_for_assignment(&mut bench).await {
            Ok(News::Nothing) if self.told.watched.is_refused() => Ok(News::Nothing),
            Ok(News::Nothing) => self.ask_for_release(&mut bench).await,
            news => news,
        };
        match &polled {
            Err(error) if error.came_before_judgement() || error.kind() == Fault::NotFound.kind() => {
                self.outages = self.outages.saturating_add(1);
            }
            _ => self.outages = 0,
        }
        polled
    }

    /// The object that says what to run.
    fn release_key(&self) -> ObjectKey {
        let instructions = self.instructions();
        match instructions.pin {
            Some(pin) => layout::release(&instructions.following.remote, pin.serial),
            None => layout::remote(&instructions.following.remote),
        }
    }

    async fn ask_for_release(&mut self, bench: &mut Bench<'_>) -> Result<News, PollError> {
        let key = self.release_key();
        let read = Read { unless: self.watched.etag(), wait: Some(self.wait()), limit: limits::DOCUMENT_BYTES };
        let answer = tokio::select! {
            biased;
            () = self.assignment_changes() => return Ok(News::Nothing),
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
        let judged = self.judge_release(&bytes, bench).await;
        match &judged {
            Err(error) if error.came_before_judgement() => {}
            Err(error) => self.watched.refuse(error, &bytes, etag),
            Ok(target) => {
                self.watched.believe(etag);
                self.expires = target.expires;
                self.believed = Some(Believed { serial: target.serial, digest: target.digest });
            }
        }
        judged.map(|target| News::Release(Box::new(target)))
    }

    /// Time goes on where the store does not: a release that is served for ever expires all the same.
    fn unchanged(&self, clock: &dyn Clock) -> Result<News, PollError> {
        match self.expires.filter(|expires| !self.watched.is_refused() && *expires <= clock.now()) {
            None => Ok(News::Nothing),
            Some(expires) => Err(self.refused(Refusal::Expired(expires))),
        }
    }

    fn refused(&self, source: Refusal) -> PollError {
        PollError::Refused { document: format!("the release of `{}`", self.instructions().following.remote), source }
    }

    async fn judge_release(&self, bytes: &[u8], bench: &mut Bench<'_>) -> Result<Target, PollError> {
        let trusted = self.walk(bench).await?;
        let subject = Subject::Remote(&self.instructions().following.remote);
        let judged = verify::<RemoteState>(bytes, subject, &trusted, &bench.replay.floors, bench.clock.now());
        match (judged, self.instructions().pin) {
            (Ok(verified), pin) => {
                pin.map_or(Ok(()), |pin| agrees(pin, &verified)).map_err(|refusal| self.refused(refusal))?;
                bench.raise(&verified)?;
                self.target(&verified)
            }
            // Whoever may assign said which release it shall be: then it may be older than others that were seen.
            (Err(Refusal::Rollback { .. }), Some(pin)) => {
                let verified = verify(bytes, subject, &trusted, &Floors::default(), bench.clock.now())
                    .and_then(|verified| agrees(pin, &verified).map(|()| verified))
                    .map_err(|refusal| self.refused(refusal))?;
                self.target(&verified)
            }
            (Err(refusal), _) => Err(self.refused(refusal)),
        }
    }

    /// Walks to the newest trust before anything is judged by it, and remembers it before it is relied on.
    async fn walk(&self, bench: &mut Bench<'_>) -> Result<Trusted, PollError> {
        let known = bench.replay.trusted.as_ref().map(Trusted::version);
        let trusted = match bench.replay.trusted.clone() {
            Some(trusted) => trusted,
            None => walk::first(&*self.store, &self.anchor).await?,
        };
        let trusted = walk::newest(&*self.store, trusted).await?;
        if trusted.version() < self.anchor.version {
            return Err(self.refused(Refusal::UnknownTrust { named: self.anchor.version, newest: trusted.version() }));
        }
        if known != Some(trusted.version()) {
            tracing::info!(version = trusted.version().get(), "the trust is new");
            bench.remember(|replay| replay.trusted = Some(trusted.clone()))?;
        }
        Ok(trusted)
    }

    fn target(&self, verified: &Verified<RemoteState>) -> Result<Target, PollError> {
        let Following { remote, configuration } = self.instructions().following.clone();
        let header = verified.header();
        let Standing::Present(release) = verified.body() else { return Err(PollError::Removed(remote.to_string())) };
        let system = release.configurations.get(&configuration);
        if self.names == Names::Configuration && system.is_none() && !release.configurations.is_empty() {
            let (remote, configuration) = (remote.to_string(), configuration.to_string());
            return Err(PollError::NoSuchConfiguration { remote, configuration });
        }
        Ok(Target {
            remote,
            serial: header.serial,
            digest: verified.digest(),
            archive: release.archive,
            configuration,
            drv_path: system.map(|system| system.drv_path.clone()),
            out_path: system.and_then(|system| system.out_path.clone()),
            rev: release.source.rev.clone(),
            expires: header.expires,
            attempt: release.attempt,
        })
    }

    /// Whether the store answers at all. Any authenticated answer will do: a release that is refused for its age is one, and
    /// the page of a portal between the host and its store is none.
    pub async fn store_answers(&self, replay: &Replay) -> Result<(), PollError> {
        let read = Read { unless: self.watched.etag(), wait: None, limit: limits::DOCUMENT_BYTES };
        let trusted = replay.trusted.as_ref();
        let bytes = match (self.store.read(&self.release_key(), read).await, trusted) {
            (Ok(Answer::Found { bytes, .. }), _) => bytes,
            (Ok(Answer::Unchanged { .. }), _) => return Ok(()),
            (Err(error), Some(trusted)) if error.fault == Fault::NotFound => return self.knows(trusted).await,
            (Err(error), None) if error.fault == Fault::NotFound => return Ok(()),
            (Err(error), _) => return Err(error.into()),
        };
        let Some(trusted) = trusted else { return Ok(()) };
        match self.authenticate(&bytes, trusted, replay) {
            // The keys may have been exchanged in this very moment.
            Err(_) => {
                let newest = walk::newest(&*self.store, trusted.clone()).await?;
                self.authenticate(&bytes, &newest, replay).map_err(|refusal| self.refused(refusal))
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether a release is by somebody who may speak for the remote, whatever else is wrong with it.
    fn authenticate(&self, bytes: &[u8], trusted: &Trusted, replay: &Replay) -> Result<(), Refusal> {
        let subject = Subject::Remote(&self.instructions().following.remote);
        match verify::<RemoteState>(bytes, subject, trusted, &replay.floors, Timestamp::now()) {
            Err(
                refusal @ (Refusal::TooLarge { .. }
                | Refusal::Envelope(_)
                | Refusal::BadSignature { .. }
                | Refusal::NoRole { .. }),
            ) => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Whether what answers is the store: it has the trust that it had, if it is.
    async fn knows(&self, trusted: &Trusted) -> Result<(), PollError> {
        let (bytes, _) = read_document(&*self.store, &layout::trust(trusted.version())).await?;
        if bytes == trusted.bytes() {
            return Ok(());
        }
        let (named, newest) = (trusted.version(), trusted.version());
        Err(self.refused(Refusal::UnknownTrust { named, newest }))
    }

    /// The newest version of the trust that was verified, or else the one below which nothing is believed.
    pub fn trust(&self, replay: &Replay) -> Serial {
        replay.trusted.as_ref().map_or(self.anchor.version, Trusted::version)
    }

    /// What is obeyed: the assignment or the host's own settings, and the release that they lead to.
    pub fn obeyed(&self) -> Obeyed {
        let Instructions { following, .. } = self.instructions();
        Obeyed {
            assignment: self.instructions().assignment(),
            remote: following.remote.clone(),
            configuration: following.configuration.clone(),
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

/// Whether the release is the one that the assignment names.
fn agrees(pin: Pin, verified: &Verified<RemoteState>) -> Result<(), Refusal> {
    let different = |what, found: String, expected: String| Err(Refusal::WrongSubject { what, found, expected });
    let serial = verified.header().serial;
    match verified.body() {
        _ if serial != pin.serial => different("serial", serial.to_string(), pin.serial.to_string()),
        Standing::Present(release) if release.archive.sha256 != pin.archive => {
            different("archive", release.archive.sha256.to_string(), pin.archive.to_string())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
