//! The host's room: the agent that follows a remote.
//!
//! [`machine`] decides what to do and touches nothing; [`driver`] does it and tells the machine how it went; [`poll`] asks
//! the store; [`activation`] builds and switches; [`state`] remembers across restarts; [`settings`] says what to follow.

pub mod activation;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod driver;
pub mod failure;
pub mod machine;
pub mod poll;
pub mod settings;
pub mod state;
pub mod supervisor;
