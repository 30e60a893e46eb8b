//! Agents in the store, for machines that have none yet: each lies under its digest, and is never changed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use npc_core::digest::{Digest, Hashing};
use npc_core::layout;
use npc_core::store::{Content, Fault, Precondition, Store};

use crate::bootstrap::Architecture;
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
    /// Looks at a file, which must be a program for such machines.
    pub fn of(path: &Path, architecture: Architecture) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |error: io::Error| Failure::usage(format!("cannot read the agent `{shown}`: {error}"));
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > LARGEST {
            return Err(Failure::usage(format!("`{shown}` is larger than any agent")));
        }
        if !is_program(&mut file, architecture).map_err(failed)? {
            let name = architecture.as_str();
            return Err(Failure::usage(format!("`{shown}` is no program for Linux on {name}")).hint(
                "the flake builds agents that run anywhere: `nix build .#npc-agent-static-x86_64`, or -aarch64",
            ));
        }
        let mut hashing = Hashing::new(io::sink());
        io::copy(&mut file, &mut hashing).map_err(failed)?;
        let (_, sha256, size) = hashing.finish();
        Ok(Self { sha256, size })
    }

    /// Puts the file that was looked at into a store, unless it is there. Gives whether it was not.
    pub async fn upload(&self, path: &Path, store: &dyn Store) -> Result<bool, Failure> {
        if is_stored(&self.sha256, store).await? {
            return Ok(false);
        }
        store.write(&layout::binary(&self.sha256), Content::File(path), Precondition::None).await?;
        Ok(true)
    }
}

/// Whether a store has this agent.
pub async fn is_stored(agent: &Digest, store: &dyn Store) -> Result<bool, Failure> {
    match store.open(&layout::binary(agent), 0, None).await {
        Ok(_) => Ok(true),
        Err(error) if error.fault == Fault::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// By `e_machine`, elf(5).
fn is_program(file: &mut File, architecture: Architecture) -> io::Result<bool> {
    let expected: [u8; 2] = match architecture {
        Architecture::X86 => 62u16.to_le_bytes(),
        Architecture::Arm => 183u16.to_le_bytes(),
    };
    let mut header = Vec::new();
    file.take(20).read_to_end(&mut header)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(header.starts_with(b"\x7fELF") && header.get(18..20) == Some(&expected[..]))
}
