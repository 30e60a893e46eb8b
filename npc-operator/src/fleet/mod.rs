//! The fleet as its operators see it: who should run what, what everybody says that they run, and how to change the first.
//!
//! [`view`] reads all of it at once: remotes, assignments, reports. [`standing`] judges each host by that alone, so the same
//! store gives every operator the same answer. [`selector`] names hosts in bulk, and [`amend`] changes what they are told,
//! unless a rollout has [`taken`] them.

pub mod amend;
pub mod host;
pub mod rivals;
pub mod selector;
pub mod standing;
pub mod taken;
pub mod trusting;
pub mod view;

#[cfg(test)]
mod tests;

pub use self::host::Host;
pub use self::selector::Selection;
pub use self::standing::Standing;
pub use self::view::View;
