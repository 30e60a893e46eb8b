//! Rollouts: bringing hosts to one release in waves, each once the one before is well.
//!
//! The store holds the signed intent: who is a member, in which wave, of which release. How far it has got is nowhere written
//! down: a member was told if its assignment says so, which names the rollout, the wave and the pinned release, and it is done
//! if its host's own report says so ([`progress`]). [`next`] decides from that what to do, and [`drive`] does it, as long as the
//! intent says that this operator is the one who drives. So a driver that dies loses nothing, and another goes on from the store.
//!
//! A newer release is a new beginning: an assignment that pins another release than the intent is one that was not told yet.

pub(crate) mod begin;
pub(crate) mod course;
pub(crate) mod drive;
pub(crate) mod intent;
mod next;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod reboots;
pub(crate) mod show;
pub(crate) mod sight;
pub(crate) mod tell;

#[cfg(test)]
mod tests;
