//! Agents in the store, for machines that have none yet: each lies under its digest, and is never changed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use npc_core::digest::{Digest, Hashing};
use npc_core::layout;
use npc_core::store::{Content, Fault, Precondition, Store};

use crate::bootstrap::Architecture;
use crate::failure::Failure;
use crate::voice;

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
    /// Looks at a file, which must be a program for such machines. One that is not static is warned of, and not refused: machines that
    /// have its loader and libraries run it.
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
        if is_dynamic(&mut file).map_err(failed)? {
            voice::warn(format_args!(
                "the agent `{shown}` is not static\nIt runs only where its loader and libraries are, which NixOS does not have: \
                 `nix build .#npc-agent-static-{}` makes one that runs anywhere",
                architecture.as_str()
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

/// Whether a program needs a loader: by `e_phoff`, `e_phentsize`, `e_phnum` and `PT_INTERP`, elf(5), in the little-endian files of 64 bits
/// that all agents are.
fn is_dynamic(file: &mut File) -> io::Result<bool> {
    const INTERPRETER: [u8; 4] = 3u32.to_le_bytes();
    let mut header = Vec::new();
    file.take(64).read_to_end(&mut header)?;
    let number = |at: usize| header.get(at..at + 2).map(|bytes| u64::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let table = header.get(0x20..0x28).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let mut is_dynamic = false;
    if let (Some(table), Some(size), Some(count)) = (table, number(0x36), number(0x38)) {
        file.seek(SeekFrom::Start(table))?;
        let mut entries = Vec::new();
        file.take(size * count).read_to_end(&mut entries)?;
        let size = usize::try_from(size.max(4)).expect("16 bits fit");
        is_dynamic = entries.chunks(size).any(|entry| entry.starts_with(&INTERPRETER));
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(is_dynamic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program whose only program header is of this type.
    fn program(kind: u32) -> File {
        let mut bytes = vec![0; 64];
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[0x20] = 64;
        bytes[0x36] = 56;
        bytes[0x38] = 1;
        bytes.extend(kind.to_le_bytes());
        bytes.extend([0; 52]);
        let mut file = tempfile::tempfile().expect("a file");
        io::Write::write_all(&mut file, &bytes).expect("written");
        file.seek(SeekFrom::Start(0)).expect("rewound");
        file
    }

    #[test]
    fn a_program_that_names_a_loader_is_dynamic() {
        for (kind, expected) in [(3, true), (1, false), (2, false)] {
            let mut file = program(kind);
            assert_eq!(is_dynamic(&mut file).expect("read"), expected, "{kind}");
            assert_eq!(file.stream_position().expect("a position"), 0);
        }
        let mut own = File::open("/proc/self/exe").expect("this test");
        assert!(is_dynamic(&mut own).expect("read"), "tests are linked dynamically");
    }

    #[test]
    fn what_is_cut_off_is_no_reason_to_stumble() {
        for length in [0, 20, 0x27, 64, 70] {
            let file = program(3);
            file.set_len(length).expect("cut");
            let mut file = file;
            assert_eq!(is_dynamic(&mut file).expect("read"), length == 70, "{length}");
        }
    }
}
