//! Going to another place: only once a release of it was read and believed, has the host's configuration, and could be
//! fetched.
//!
//! Until then the host stays with what it follows, asks the other place again with every poll, and says why it stays. So an
//! assignment that leads nowhere costs a host nothing but words.

use std::time::Duration;

use npc_core::document::Believed;
use npc_core::limits;
use npc_core::store::{Answer, Fault, Read};

use super::bench::Bench;
use super::watched::Watched;
use super::{PollError, Poller, Ruler};
use crate::clock::Clock;
use crate::machine::{Failed, Staying, Target};
use crate::state::{Place, Replay, StateDirectory};

/// How long a store may take to say whether the host is to go elsewhere while something was being built.
const MEANWHILE: Duration = Duration::from_secs(5);

/// Whether a host stays with what it follows although it was told to go elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stays {
    /// It is where it was told to be.
    No,
    /// It was told to go elsewhere, and has not asked there yet.
    Unknown,
    /// It was told to go elsewhere, which cannot be followed.
    Yes(Staying),
}

/// Where the host was told to go, and has not gone yet.
#[derive(Debug)]
pub(super) struct Ahead {
    place: Place,
    watched: Watched,
    /// Why it has not; none before the first try.
    why: Option<PollError>,
}

impl Ahead {
    fn to(place: Place) -> Self {
        Self { place, watched: Watched::default(), why: None }
    }

    pub(super) fn watched(&mut self) -> &mut Watched {
        &mut self.watched
    }

    /// An outage says nothing about the place, if something is known of it.
    fn fails(&mut self, error: PollError) {
        let is_silent = |error: &PollError| error.is_outage() && error.kind() != Fault::Denied.kind();
        if self.why.as_ref().is_none_or(|why| is_silent(why) || !is_silent(&error)) {
            self.why = Some(error);
        }
    }
}

impl Poller {
    /// Begins where the host was, if it has something to stay with.
    #[must_use]
    pub fn from_where(mut self, it_was: Option<Place>, state: &StateDirectory) -> Self {
        if let Some(place) = it_was {
            (self.has_arrived, self.is_kept) = (true, place.is_kept(state));
            self.followed = place;
            self.heed();
        }
        self
    }

    /// Takes in what the host is told by now. Returns whether it follows something else at once, with nothing to stay with.
    pub(super) fn heed(&mut self) -> bool {
        let told = self.told.instructions();
        if told.by == Ruler::Lost || told.place == self.followed {
            self.ahead = None;
            return false;
        }
        let place = told.place.clone();
        if self.has_arrived {
            if self.ahead.as_ref().is_none_or(|ahead| ahead.place != place) {
                self.ahead = Some(Ahead::to(place));
            }
            return false;
        }
        (self.followed, self.ahead) = (place, None);
        self.watched.forget();
        (self.expires, self.believed) = (None, None);
        true
    }

    /// Whether the host stays although it was told to go elsewhere, and why.
    pub fn stays(&self) -> Stays {
        match &self.ahead {
            None => Stays::No,
            Some(Ahead { why: None, .. }) => Stays::Unknown,
            Some(Ahead { place, why: Some(why), .. }) => {
                let elsewhere = place.beside(&self.followed);
                let reason = Failed::from(why);
                let message =
                    format!("stays with `{}`: {elsewhere} cannot be followed: {}", self.followed, reason.message);
                Stays::Yes(Staying { place: elsewhere, reason: Failed::new(&reason.kind, message) })
            }
        }
    }

    /// Why the host stays, where it does.
    pub fn reason_to_stay(&self) -> Option<&PollError> {
        self.ahead.as_ref()?.why.as_ref()
    }

    /// Asks for the assignment and for the place that it leads to, after work that took a while. Returns whether the host has
    /// gone there.
    pub async fn leaves_meanwhile(&mut self, replay: &mut Replay, state: &StateDirectory, clock: &dyn Clock) -> bool {
        let mut bench = Bench { replay, state, clock };
        let asked = async {
            // What is wrong with it is the next poll's to tell.
            drop(self.ask_for_assignment(&mut bench).await);
            self.asks_ahead(&mut bench).await
        };
        tokio::time::timeout(MEANWHILE, asked).await.unwrap_or(false)
    }

    /// Asks the place where the host was told to go, and has it go there if that is good. Returns whether it has.
    pub(super) async fn asks_ahead(&mut self, bench: &mut Bench<'_>) -> bool {
        let Some(ahead) = &self.ahead else { return false };
        let place = ahead.place.clone();
        let read = Read { unless: ahead.watched.etag(), wait: None, limit: limits::DOCUMENT_BYTES };
        let judged = match self.store.read(&place.release_key(), read).await {
            // What was refused is refused still.
            Ok(Answer::Unchanged { .. }) => return false,
            Ok(Answer::Found { bytes, etag, .. }) => {
                let judged = self.judge_place(&place, &bytes, bench).await;
                if let (Err(error), Some(ahead)) = (&judged, &mut self.ahead)
                    && !error.came_before_judgement()
                {
                    ahead.watched.refuse(error, &bytes, etag);
                }
                judged
            }
            Err(error) => {
                if let Some(ahead) = self.ahead.as_mut().filter(|_| error.fault == Fault::NotFound) {
                    ahead.watched.forget();
                }
                Err(error.into())
            }
        };
        // What cannot be noted would be forgotten by the next agent, which would go back.
        let noted = judged.and_then(|target| place.keep(bench.state).map(|()| target).map_err(PollError::from));
        match noted {
            Ok(target) => {
                self.arrive(place, &target);
                true
            }
            Err(error) => {
                if let Some(ahead) = &mut self.ahead {
                    ahead.fails(error);
                }
                false
            }
        }
    }

    async fn judge_place(&self, place: &Place, bytes: &[u8], bench: &mut Bench<'_>) -> Result<Target, PollError> {
        let target = self.judge_release(place, bytes, bench).await?;
        self.ask_for_archive(place, &target, bench.state).await?;
        Ok(target)
    }

    /// The release itself is the next poll's to find.
    fn arrive(&mut self, place: Place, target: &Target) {
        tracing::info!("follows `{place}` from now on, and `{}` no more", self.followed);
        (self.followed, self.ahead) = (place, None);
        (self.has_arrived, self.is_kept) = (true, true);
        self.watched.forget();
        self.expires = target.expires;
        self.believed = Some(Believed { serial: target.serial, digest: target.digest });
    }

    /// Notes what is followed, once a release of it is believed, so that the host has something to stay with. Without room for
    /// that it is noted later.
    pub(super) fn keep_followed(&mut self, state: &StateDirectory) {
        if self.is_kept || self.believed.is_none() {
            return;
        }
        match self.followed.keep(state) {
            Ok(()) => self.is_kept = true,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(kind = "state", error, "cannot note what is followed");
            }
        }
    }

    /// Ends when a store that has its clients wait has something else where the host was told to go.
    pub(super) async fn place_ahead_changes(&self) {
        if let Some(ahead) = self.ahead.as_ref().filter(|_| self.store_waits)
            && let Some(etag) = ahead.watched.etag()
        {
            let read = Read { unless: Some(etag), wait: Some(self.shorter_wait()), limit: limits::DOCUMENT_BYTES };
            match self.store.read(&ahead.place.release_key(), read).await {
                // Something on the way may not know what a condition is.
                Ok(Answer::Found { bytes, .. }) if !ahead.watched.doubts(&bytes) => return,
                _ => {}
            }
        }
        std::future::pending::<()>().await;
    }
}
