//! The bounds on everything that comes from outside. A peer that exceeds one is refused, never accommodated.

use std::time::Duration;

/// The largest signed document (envelope included), in bytes. A release of 1,000 configurations takes about 300 KiB.
pub const DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// The largest report (envelope included), in bytes.
pub const REPORT_BYTES: u64 = 512 * 1024;

/// The most signatures that an envelope may carry.
pub const SIGNATURES: usize = 32;

/// The largest compressed archive, in bytes.
pub const ARCHIVE_BYTES: u64 = 512 * 1024 * 1024;

/// The most bytes that an archive may unpack to, tar headers included.
pub const UNPACKED_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The most files, directories and links in an archive.
pub const ARCHIVE_ENTRIES: u64 = 200_000;

/// The longest path inside an archive, and the longest link target, in bytes (Linux's `PATH_MAX` less its NUL).
pub const PATH_BYTES: usize = 4095;

/// The deepest nesting of directories inside an archive.
pub const PATH_DEPTH: usize = 128;

/// The most versions of the trust that one walk of the chain steps through.
pub const TRUST_STEPS: u64 = 1024;

/// The most objects that one listing returns.
pub const LISTED_OBJECTS: usize = 1_000_000;

/// How long connecting to a store may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a store may stay silent: before its answer begins, and between two pieces of a body.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a body must bring in a second, on the average and beyond [`STALL_TIMEOUT`], in bytes: less than any line that could be
/// used at all.
pub const LEAST_RATE: u64 = 1024;

/// The longest `Prefer: wait` that a client asks for and a server grants.
pub const LONGEST_WAIT: Duration = Duration::from_mins(5);
