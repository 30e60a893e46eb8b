//! Walking the chain of trust in a store, one version at a time.

use thiserror::Error;

use super::{Anchor, Refusal, Trusted};
use crate::document::Serial;
use crate::layout;
use crate::limits;
use crate::store::{Fault, Store, StoreError, read_document};

/// A walk that did not end at the newest version.
#[derive(Debug, Error)]
pub enum WalkError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A version that is there is not to be believed.
    #[error("trust version {version} is not to be believed")]
    Refused {
        /// The version.
        version: Serial,
        /// Why.
        source: Refusal,
    },
    /// There are more versions than one walk goes through.
    #[error("there are more than {limit} versions of the trust to walk through", limit = limits::TRUST_STEPS)]
    TooLong,
}

/// Reads and believes the version that `anchor` vouches for.
pub async fn first(store: &dyn Store, anchor: &Anchor) -> Result<Trusted, WalkError> {
    let (bytes, _) = read_document(store, &layout::trust(anchor.version)).await?;
    Trusted::anchored(anchor, &bytes).map_err(|source| WalkError::Refused { version: anchor.version, source })
}

/// Walks on from `trusted` to the newest version in the store.
///
/// That the next version is absent ends the walk; so does that it may not be read, since S3 answers so about objects that
/// are absent to those who may not list the bucket.
pub async fn newest(store: &dyn Store, mut trusted: Trusted) -> Result<Trusted, WalkError> {
    for _ in 0..limits::TRUST_STEPS {
        let Some(version) = trusted.version().next() else { return Ok(trusted) };
        let bytes = match read_document(store, &layout::trust(version)).await {
            Ok((bytes, _)) => bytes,
            Err(error) if matches!(error.fault, Fault::NotFound | Fault::Denied) => return Ok(trusted),
            Err(error) => return Err(error.into()),
        };
        trusted = trusted.followed_by(&bytes).map_err(|source| WalkError::Refused { version, source })?;
    }
    Err(WalkError::TooLong)
}
