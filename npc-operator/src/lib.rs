//! The operators' room: what `npc-publish` and the Terraform provider do alike.
//!
//! [`session`] is an operator at a fleet. [`flake`] packs a flake, of which [`selection`] chooses the files that its configurations
//! need, and [`archives`] are what becomes of it. [`founding`] makes a fleet, [`bootstrap`] the script by which a machine becomes a
//! host of it, and [`binaries`] are the agents that such machines fetch. [`fleet`] is what all hosts are told and say, and how to
//! change the first. Nothing here prints: who uses this says through [`voice`] how people are to be told, and [`failure`] says what
//! went wrong and what to do about it.

pub mod archives;
pub mod binaries;
pub mod bootstrap;
pub mod config;
pub mod failure;
pub mod flake;
pub mod fleet;
pub mod founding;
pub mod git;
pub mod held;
pub mod interrupt;
pub mod keys;
pub mod selection;
pub mod session;
pub mod voice;
pub mod words;
