//! What both back ends that cross a network share.

use std::time::Duration;

use super::Patience;

/// Makes ring the process's source of cryptography, unless one was chosen already.
pub fn install_crypto() {
    // It fails only where another provider was installed first, which then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An upload may take a second for every 16 KiB, beside the usual patience.
pub(super) fn upload_patience(patience: Patience, length: u64) -> Duration {
    patience.stall + Duration::from_secs(length / (16 * 1024))
}
