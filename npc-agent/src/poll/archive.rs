//! Whether a host that goes elsewhere could fetch what it is to run there.

use futures_util::StreamExt as _;
use npc_core::document::Archive;
use npc_core::layout;
use npc_core::store::{Fault, Operation, Store, StoreError};

use super::{PollError, Poller};
use crate::machine::Target;
use crate::state::{Place, StateDirectory};

impl Poller {
    /// Makes sure that the release's archive is there for this host, where the host would have to fetch it.
    pub(super) async fn ask_for_archive(
        &self,
        place: &Place,
        target: &Target,
        state: &StateDirectory,
    ) -> Result<(), PollError> {
        if is_at_hand(target, state) {
            return Ok(());
        }
        read_last_byte(&*self.store, &target.archive).await.map_err(|error| match error.fault {
            Fault::NotFound | Fault::Denied | Fault::Broken => {
                PollError::NoArchive { release: format!("{}@{}", place.remote, target.serial), source: error }
            }
            // It says nothing about the archive.
            _ => PollError::Store(error),
        })
    }
}

/// Whether the host has unpacked the archive, or takes the release in without it. This is asked seldom enough for the journal
/// to be read from the disk.
fn is_at_hand(target: &Target, state: &StateDirectory) -> bool {
    state.flake(&target.archive.sha256).is_dir()
        || state.read_journal().is_ok_and(|journal| journal.would_adopt(target))
}

/// Reads an archive's last byte: the smallest request that a store answers only to those who may read the archive, and that
/// one which was cut short does not answer. A store that cannot begin in the middle begins to send all of it, which is not
/// waited for.
async fn read_last_byte(store: &dyn Store, archive: &Archive) -> Result<(), StoreError> {
    let (key, last) = (layout::archive(&archive.sha256), archive.size.saturating_sub(1));
    let mut opened = store.open(&key, last, None).await?;
    if opened.start != last {
        return Ok(());
    }
    let mut found = 0;
    // To its end, so that the connection serves the next request.
    while found <= 1
        && let Some(piece) = opened.body.next().await
    {
        found += piece?.len();
    }
    if found == 1 {
        return Ok(());
    }
    Err(StoreError {
        fault: Fault::Broken,
        operation: Operation::Read,
        object: key.to_string(),
        store: store.url().to_string(),
        source: format!("it has not the {} bytes that were published", archive.size).into(),
    })
}
