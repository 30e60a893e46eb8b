//! Whether the store answers at all, which a host in probation must know.

use npc_core::Timestamp;
use npc_core::document::RemoteState;
use npc_core::layout;
use npc_core::limits;
use npc_core::store::{Answer, Fault, Read, read_document};
use npc_core::trust::{Refusal, Subject, Trusted, verify, walk};

use super::judge::refused;
use super::{PollError, Poller};
use crate::state::Replay;

impl Poller {
    /// Whether the store answers at all. Any authenticated answer will do: a release that is refused for its age is one, and
    /// the page of a portal between the host and its store is none.
    pub async fn store_answers(&self, replay: &Replay) -> Result<(), PollError> {
        let read = Read { unless: self.watched.etag(), wait: None, limit: limits::DOCUMENT_BYTES };
        let trusted = replay.trusted.as_ref();
        let bytes = match (self.store.read(&self.followed.release_key(), read).await, trusted) {
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
                self.authenticate(&bytes, &newest, replay).map_err(|refusal| refused(&self.followed, refusal))
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether a release is by somebody who may speak for the remote, whatever else is wrong with it.
    fn authenticate(&self, bytes: &[u8], trusted: &Trusted, replay: &Replay) -> Result<(), Refusal> {
        let subject = Subject::Remote(&self.followed.remote);
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
        Err(refused(&self.followed, Refusal::UnknownTrust { named, newest }))
    }
}
