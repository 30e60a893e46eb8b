//! A flake's needed files as one deterministic `.tar.gz`.
//!
//! **Form.** Members are sorted by path; every directory is a member of its own, before what it holds. Owner and group
//! are 0 and unnamed, times are 0, modes are 644, or 755 for directories, links and what its owner may execute. Links are
//! kept as they are, dangling ones too. Names above 100 bytes use GNU's long-name members; nothing else of tar's history
//! occurs, and nothing else is accepted. So the same tree gives the same bytes on any machine. Of what was not read but
//! listed, the name alone is kept: a file is empty then.
//!
//! **Compression** is zlib-rs at its default level: of flate2's pure-Rust back ends the faster, at 33 MB/s of Rust source,
//! twice the speed of `miniz_oxide` (`cargo xtask bench archive`, AMD64). zlib-ng does not give the same bytes everywhere:
//! its hash function depends on the processor. C zlib was not measured: zlib-rs needs no C compiler, and its authors measure
//! it ahead.

mod links;
mod members;
mod pack;
mod unpack;

pub use links::EscapingLink;
pub use members::{ArchiveError, Limits, Manifest, Member, MemberKind, manifest};
pub use pack::{Keep, PackError, Packed, Progress, Selected, pack};
pub use unpack::{UnpackError, unpack};

#[cfg(test)]
mod tests;
