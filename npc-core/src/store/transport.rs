//! What both back ends that cross a network share.

use std::time::Duration;

use tokio::time::Instant;

use super::error::Asked;
use super::{Fault, Patience, StoreError};
use crate::limits;

/// Makes ring the process's source of cryptography, unless one was chosen already.
pub fn install_crypto() {
    // It fails only where another provider was installed first, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// How a body arrives. One that only drips is not waited for, however steadily it does.
#[derive(Debug)]
pub(super) struct Arrival {
    begun: Instant,
    bytes: u64,
}

impl Arrival {
    /// Nothing has come yet.
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), bytes: 0 }
    }

    /// A piece has come. Fails where all of it, beyond a usual patience, came more slowly than bodies must.
    pub(super) fn takes(&mut self, piece: &[u8], asked: Asked<'_>, patience: Duration) -> Result<(), StoreError> {
        self.bytes += piece.len() as u64;
        let counted = self.begun.elapsed().saturating_sub(patience).as_secs();
        if self.bytes >= counted.saturating_mul(limits::LEAST_RATE) {
            return Ok(());
        }
        let message = format!("the body comes more slowly than {} bytes a second", limits::LEAST_RATE);
        Err(asked.failed(Fault::TooSlow, message))
    }
}

/// The answer to a request without a condition cannot be that nothing changed.
pub(super) fn unasked(asked: Asked<'_>) -> StoreError {
    asked.failed(Fault::Broken, "the store answered 304 Not Modified to a request without a condition")
}

/// An upload may take a second for every 16 KiB, beside the usual patience.
pub(super) fn upload_patience(patience: Patience, length: u64) -> Duration {
    patience.stall + Duration::from_secs(length / (16 * 1024))
}
