//! The fleet as its operators see it: who should run what, what everybody says that they run, and how to change the first.
//!
//! [`view`] reads all of it at once: remotes, assignments, reports. [`standing`] judges each host by that alone, so the same
//! store gives every operator the same answer. [`selector`] names hosts in bulk, and [`amend`] changes what they are told,
//! unless a rollout has [`taken`] them.

pub(crate) mod amend;
pub(crate) mod host;
pub(crate) mod rivals;
pub(crate) mod selector;
pub(crate) mod standing;
pub(crate) mod taken;
pub(crate) mod trusting;
pub(crate) mod view;

#[cfg(test)]
mod tests;

pub(crate) use self::host::Host;
pub(crate) use self::selector::Selection;
pub(crate) use self::standing::Standing;
pub(crate) use self::view::View;
