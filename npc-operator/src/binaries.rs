//! Agents in the store, for machines that have none yet: each lies under its digest, and is never changed.

use std::fs::File;
use std::io;
use std::path::Path;

use npc_core::digest::{Digest, Hashing};
use npc_core::layout;
use npc_core::store::{Content, Fault, Precondition, Store};

use crate::failure::Failure;

/// No agent is larger, in bytes.
const LARGEST: u64 = 256 << 20;

/// An agent's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    /// Its digest.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Binary {
    /// Looks at a file.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |error: io::Error| {
            Failure::usage(format!("cannot read `{shown}`: {error}"))
                .hint("it is the program of a static agent, such as `nix build .#npc-agent-static` makes")
        };
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > LARGEST {
            return Err(Failure::usage(format!("`{shown}` is larger than any agent")));
        }
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut file, &mut hashing).map_err(failed)?;
        let (_, sha256, size) = hashing.finish();
        Ok(Self { sha256, size })
    }

    /// Puts it into a store, unless it is there.
    pub async fn upload(&self, path: &Path, store: &dyn Store) -> Result<(), Failure> {
        if self.is_in(store).await? {
            return Ok(());
        }
        let now = Self::of(path)?;
        if now != *self {
            return Err(Failure::usage(format!("`{}` has changed meanwhile", path.display())));
        }
        store.write(&layout::binary(&self.sha256), Content::File(path), Precondition::None).await?;
        Ok(())
    }

    /// Whether it is in a store.
    pub async fn is_in(&self, store: &dyn Store) -> Result<bool, Failure> {
        match store.open(&layout::binary(&self.sha256), self.size.saturating_sub(1), None).await {
            Ok(_) => Ok(true),
            Err(error) if error.fault == Fault::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
