//! Whether to believe a document: the bucket is not trusted, keys are.
//!
//! [`Trusted`] is the newest version of the trust that a reader has walked to ([`chain`]); [`verify()`] is the whole
//! order of checks for every other document; [`Floors`] remember the highest serials seen, so that nothing old is
//! believed twice.

pub mod chain;
mod floors;
mod refusal;
mod verify;
pub mod walk;

#[cfg(test)]
mod tests;

pub use chain::{Anchor, Trusted};
pub use floors::{Floor, Floors};
pub use refusal::Refusal;
pub use verify::{Subject, Verified, verify};
