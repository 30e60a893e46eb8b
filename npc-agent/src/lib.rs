//! The host's room: the agent that follows a remote.
//!
//! [`machine`] decides what to do and touches nothing; [`driver`] does it and tells the machine how it went; [`poll`] asks
//! the store; [`activation`] builds and switches; [`health`] says whether the host is well; [`dead_man`] brings the system
//! before back if nobody commits; [`report`] says of the host what there is to say; [`state`] remembers across restarts;
//! [`settings`] says what to follow, and [`store`] opens it; [`assembly`] puts all of that together. [`stand_in`] has an agent run on a
//! host whose own system brings none yet.

pub mod activation;
pub mod assembly;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod dead_man;
pub mod driver;
pub mod failpoint;
pub mod failure;
pub mod health;
pub mod hooks;
mod jitter;
pub mod machine;
pub mod metrics;
pub mod poll;
#[cfg(test)]
mod pretended;
pub mod report;
pub mod settings;
pub mod stand_in;
pub mod state;
pub mod store;
pub mod supervisor;
