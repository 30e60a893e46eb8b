//! A document that is asked for again and again.

use std::time::Duration;

use npc_core::digest::Digest;
use npc_core::store::ETag;
use tokio::time::Instant;

use super::PollError;

/// A refused document is looked at anew after this long even if it has not changed: the trust may have.
const REFUSAL_LASTS: Duration = Duration::from_mins(10);

/// The newest version of a document that was seen, and what was thought of it.
#[derive(Debug, Default)]
pub(super) struct Watched {
    etag: Option<ETag>,
    refused: Option<Instant>,
    /// What was refused last, and is believed to be what the store holds once it has come twice.
    doubted: Option<Digest>,
}

impl Watched {
    /// The version that need not be sent again.
    pub(super) fn etag(&self) -> Option<&ETag> {
        self.etag.as_ref()
    }

    /// Whether the version that was seen last is refused.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Whether these are the bytes that were refused last.
    pub(super) fn doubts(&self, bytes: &[u8]) -> bool {
        self.doubted == Some(Digest::of(bytes))
    }

    /// This version is believed.
    pub(super) fn believe(&mut self, etag: Option<ETag>) {
        *self = Self { etag, refused: None, doubted: None };
    }

    /// What is refused is not asked for again until it changes; but once may have been anything on the way, such as a
    /// portal's page or a spoilt byte, and the trust is a document of its own.
    pub(super) fn refuse(&mut self, error: &PollError, bytes: &[u8], etag: Option<ETag>) {
        let digest = Some(Digest::of(bytes));
        let is_certain = self.doubted == digest && !matches!(error, PollError::Trust(_));
        *self = Self { etag: etag.filter(|_| is_certain), refused: Some(Instant::now()), doubted: digest };
    }

    /// Has the next answer judged as if it were the first.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Forgets a refusal that has lasted long enough.
    pub(super) fn reconsider(&mut self) {
        if self.refused.is_some_and(|since| since.elapsed() >= REFUSAL_LASTS) {
            self.forget();
        }
    }
}
