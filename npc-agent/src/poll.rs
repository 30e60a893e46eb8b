//! Asking the store what the host should run.
//!
//! A poll of an unchanged remote is one conditional request, answered by 304, and touches nothing else: no disk, no Nix.

use std::sync::Arc;
use std::time::Duration;

use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document;
use npc_core::document::{RemoteState, Standing};
use npc_core::explain;
use npc_core::layout;
use npc_core::limits;
use npc_core::store::{Answer, ETag, Fault, Read, Store, StoreError};
use npc_core::trust::walk::{self, WalkError};
use npc_core::trust::{Anchor, Refusal, Subject, Trusted, Verified, verify};
use thiserror::Error;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::machine::{Failed, Target};
use crate::settings::Following;
use crate::state::{Replay, StateDirectory, StateError};

/// How fast to poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long between two polls, on the average; and how long a store that can is asked to wait.
    pub interval: Duration,
    /// Never ask twice within this time, however eagerly the store answers.
    pub shortest: Duration,
}

impl Pace {
    /// The pace of an agent: never twice within a second.
    pub fn every(interval: Duration) -> Self {
        Self { interval, shortest: Duration::from_secs(1) }
    }
}

/// What a host's configuration is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// One of the flake's `nixosConfigurations`: a release that says what those evaluate to must have it.
    Configuration,
    /// Something that the host's own command makes sense of.
    Anything,
}

/// A refused document is looked at anew after this long even if it has not changed: the trust may have.
const REFUSAL_LASTS: Duration = Duration::from_mins(10);

/// A poll that found nothing to act upon.
#[derive(Debug, Error)]
pub enum PollError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The trust cannot be walked.
    #[error(transparent)]
    Trust(#[from] WalkError),
    /// The release is not to be believed.
    #[error("the release of `{remote}` is refused")]
    Refused {
        /// The remote.
        remote: String,
        /// Why.
        source: Refusal,
    },
    /// The remote was removed; the host stays as it is.
    #[error("remote `{0}` was removed")]
    Removed(String),
    /// The release has other configurations than this host's.
    #[error("the release of `{remote}` has no configuration `{configuration}`")]
    NoSuchConfiguration {
        /// The remote.
        remote: String,
        /// The host's configuration.
        configuration: String,
    },
    /// What was seen could not be remembered, and so must not be acted upon.
    #[error(transparent)]
    State(#[from] StateError),
}

impl PollError {
    /// The stable word for the failure.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) | Self::Trust(WalkError::Store(error)) => error.fault.kind(),
            Self::Trust(WalkError::Refused { source, .. }) | Self::Refused { source, .. } => source.kind(),
            Self::Trust(WalkError::TooLong) => "broken-trust",
            Self::Removed(_) => "remote-removed",
            Self::NoSuchConfiguration { .. } => "no-such-configuration",
            Self::State(_) => "state",
        }
    }

    /// Whether the store itself did not answer, as opposed to answering something unwelcome.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Store(error) | Self::Trust(WalkError::Store(error)) if error.fault != Fault::NotFound)
    }
}

impl From<&PollError> for Failed {
    fn from(error: &PollError) -> Self {
        Self::new(error.kind(), explain::in_one_line(error))
    }
}

/// What the last poll left behind.
#[derive(Debug)]
pub struct Poller {
    store: Arc<dyn Store>,
    anchor: Anchor,
    following: Following,
    names: Names,
    pace: Pace,
    etag: Option<ETag>,
    store_waits: bool,
    outages: u32,
    refused: Option<Instant>,
    /// What was refused last, and is believed to be what the store holds once it has come twice.
    doubted: Option<Digest>,
    /// When the release that was believed last expires.
    expires: Option<Timestamp>,
}

impl Poller {
    /// A poller that has seen nothing yet.
    pub fn new(store: Arc<dyn Store>, anchor: Anchor, following: Following, names: Names, pace: Pace) -> Self {
        Self {
            store,
            anchor,
            following,
            names,
            pace,
            etag: None,
            store_waits: false,
            outages: 0,
            refused: None,
            doubted: None,
            expires: None,
        }
    }

    /// What is followed.
    pub fn following(&self) -> &Following {
        &self.following
    }

    /// Follows this from now on. Returns whether that is something else than before.
    pub fn follow(&mut self, following: Following) -> bool {
        let changed = self.following != following;
        if changed {
            self.following = following;
            self.forget();
        }
        changed
    }

    /// Has the next poll see the release as if for the first time.
    pub fn forget(&mut self) {
        self.etag = None;
        self.refused = None;
        self.doubted = None;
    }

    /// How long to pause before the next poll. `jitter` is a number from 0 to 1.
    ///
    /// Half to one and a half intervals, so that a fleet spreads out; hardly any time where the store makes the client wait.
    /// While the store is out of order, at least an interval, or pauses that grow up to it where the store makes clients wait:
    /// no longer, so that a host is back within an interval of the store.
    pub fn pause(&self, jitter: f64) -> Duration {
        if !self.store_waits {
            let least = if self.outages == 0 { 0.5 } else { 1.0 };
            return self.pace.interval.mul_f64((0.5 + jitter).max(least)).max(self.pace.shortest);
        }
        if self.outages == 0 {
            return self.pace.shortest.mul_f64(1.0 + jitter / 4.0);
        }
        let grown = self.pace.shortest.saturating_mul(2_u32.saturating_pow(self.outages)).min(self.pace.interval);
        grown.mul_f64(0.5 + jitter / 2.0).max(self.pace.shortest)
    }

    /// Asks once. `None` means that nothing changed.
    pub async fn poll(
        &mut self,
        replay: &mut Replay,
        state: &StateDirectory,
        clock: &dyn Clock,
    ) -> Result<Option<Box<Target>>, PollError> {
        if self.refused.is_some_and(|since| since.elapsed() >= REFUSAL_LASTS) {
            self.forget();
        }
        let key = layout::remote(&self.following.remote);
        let wait = self.pace.interval.min(limits::LONGEST_WAIT);
        let read = Read { unless: self.etag.as_ref(), wait: Some(wait), limit: limits::DOCUMENT_BYTES };
        let answer = match self.store.read(&key, read).await {
            Ok(answer) => answer,
            Err(error) => {
                self.outages = self.outages.saturating_add(1);
                return Err(error.into());
            }
        };
        self.outages = 0;
        let (bytes, etag) = match answer {
            Answer::Unchanged { waited } => {
                self.store_waits = waited;
                return self.unchanged(clock);
            }
            Answer::Found { bytes, etag, waited } => {
                self.store_waits |= waited;
                (bytes, etag)
            }
        };
        let target = self.judge(&bytes, replay, state, clock).await;
        match &target {
            // The store, or the disk, failed in between: the document has not been judged yet.
            Err(error) if error.is_outage() || matches!(error, PollError::State(_)) => self.outages += 1,
            Err(error) => self.note_refusal(error, &bytes, etag),
            Ok(target) => {
                (self.etag, self.refused, self.doubted, self.expires) = (etag, None, None, target.expires);
            }
        }
        target.map(|target| Some(Box::new(target)))
    }

    /// Time goes on where the store does not: a release that is served for ever expires all the same.
    fn unchanged(&self, clock: &dyn Clock) -> Result<Option<Box<Target>>, PollError> {
        match self.expires.filter(|expires| self.refused.is_none() && *expires <= clock.now()) {
            None => Ok(None),
            Some(expires) => {
                let remote = self.following.remote.to_string();
                Err(PollError::Refused { remote, source: Refusal::Expired(expires) })
            }
        }
    }

    /// What is refused is not asked for again until it changes; but once may have been anything on the way, such as a
    /// portal's page or a spoilt byte, and the trust is a document of its own.
    fn note_refusal(&mut self, error: &PollError, bytes: &[u8], etag: Option<ETag>) {
        let digest = Some(Digest::of(bytes));
        let is_certain = self.doubted == digest && !matches!(error, PollError::Trust(_));
        self.etag = etag.filter(|_| is_certain);
        self.refused = Some(Instant::now());
        self.doubted = digest;
    }

    async fn judge(
        &self,
        bytes: &[u8],
        replay: &mut Replay,
        state: &StateDirectory,
        clock: &dyn Clock,
    ) -> Result<Target, PollError> {
        let trusted = self.walk(replay, state).await?;
        let remote = &self.following.remote;
        let verified = verify::<RemoteState>(bytes, Subject::Remote(remote), &trusted, &replay.floors, clock.now())
            .map_err(|source| PollError::Refused { remote: remote.to_string(), source })?;
        let mut raised = replay.clone();
        if raised.floors.raise(document::Kind::Release, verified.header(), verified.digest()) {
            raised.write(state)?;
            *replay = raised;
        }
        self.target(&verified)
    }

    /// Walks to the newest trust before anything is judged by it, and remembers it before it is relied on.
    async fn walk(&self, replay: &mut Replay, state: &StateDirectory) -> Result<Trusted, PollError> {
        let known = replay.trusted.as_ref().map(Trusted::version);
        let trusted = match replay.trusted.clone() {
            Some(trusted) => trusted,
            None => walk::first(&*self.store, &self.anchor).await?,
        };
        let trusted = walk::newest(&*self.store, trusted).await?;
        if trusted.version() < self.anchor.version {
            let source = Refusal::UnknownTrust { named: self.anchor.version, newest: trusted.version() };
            return Err(PollError::Refused { remote: self.following.remote.to_string(), source });
        }
        if known != Some(trusted.version()) {
            tracing::info!(version = trusted.version().get(), "the trust is new");
            let mut renewed = replay.clone();
            renewed.trusted = Some(trusted.clone());
            renewed.write(state)?;
            *replay = renewed;
        }
        Ok(trusted)
    }

    fn target(&self, verified: &Verified<RemoteState>) -> Result<Target, PollError> {
        let (remote, configuration) = (self.following.remote.clone(), self.following.configuration.clone());
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

    /// Whether the store answers at all: any authenticated answer will do.
    pub async fn store_answers(&self) -> Result<(), StoreError> {
        let key = layout::remote(&self.following.remote);
        let read = Read { unless: self.etag.as_ref(), wait: None, limit: limits::DOCUMENT_BYTES };
        match self.store.read(&key, read).await {
            Ok(_) => Ok(()),
            Err(error) if error.fault == Fault::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the store has the agent wait for changes, so that a poll takes as long as it likes.
    pub fn has_waited(&self) -> bool {
        self.store_waits
    }

    /// Whether what the store holds was refused, and has not changed since.
    pub fn has_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether the last poll found something wrong.
    pub fn is_in_trouble(&self) -> bool {
        self.outages > 0 || self.refused.is_some()
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use npc_core::document::Serial;
    use npc_core::name::FleetId;
    use npc_core::store::DirectoryStore;

    fn poller() -> Poller {
        let anchor = Anchor {
            fleet: FleetId::from_random([0; 16]),
            root_keys: Vec::new(),
            root_threshold: 1,
            version: Serial::FIRST,
        };
        let following =
            Following { remote: "prod".parse().expect("a name"), configuration: "web-1".parse().expect("a name") };
        let store = Arc::new(DirectoryStore::new("/nowhere".into()));
        Poller::new(store, anchor, following, Names::Configuration, Pace::every(Duration::from_mins(1)))
    }

    #[test]
    fn a_fleet_spreads_over_half_to_one_and_a_half_intervals() {
        let poller = poller();
        assert_eq!(poller.pause(0.0), Duration::from_secs(30));
        assert_eq!(poller.pause(1.0), Duration::from_secs(90));
        let mut failing = poller;
        failing.outages = 1;
        assert_eq!(failing.pause(0.0), Duration::from_mins(1), "a store that fails is not asked early");
    }

    #[test]
    fn a_store_that_waits_is_asked_again_at_once_but_never_twice_within_a_second() {
        let mut poller = poller();
        poller.store_waits = true;
        assert_eq!(poller.pause(0.0), Duration::from_secs(1));
    }

    #[test]
    fn a_store_that_fails_is_asked_less_and_less_often_up_to_the_interval() {
        let mut poller = poller();
        poller.store_waits = true;
        let pauses: Vec<_> = (1..40)
            .map(|outages| {
                poller.outages = outages;
                poller.pause(1.0)
            })
            .collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[38]), (Duration::from_secs(2), Duration::from_mins(1)));
        poller.outages = 40;
        assert_eq!(poller.pause(0.0), Duration::from_secs(30), "with jitter");
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_an_outage_with_a_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(folder.path()).expect("a state directory");
        let mut poller = poller();
        poller.store = Arc::new(DirectoryStore::new(folder.path().join("none")));
        let mut replay = Replay::for_tests();
        let error = poller.poll(&mut replay, &state, &crate::clock::SystemClock).await.expect_err("nothing there");
        assert_eq!(error.kind(), "not-found");
        assert!(poller.is_in_trouble());
    }
}
