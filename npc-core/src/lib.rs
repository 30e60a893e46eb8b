//! The room of what publisher, agent and provider share: names, signed documents, trust, archives and stores.
//!
//! Nothing here prints, reads the environment or looks for a home directory: the clock, the store and every path are
//! passed in, so that each rule can be tested without a machine around it.
//!
//! Reading order: [`name`] and [`digest`] (the words), [`key`] and [`envelope`] (signatures), [`document`] (what is
//! signed), [`trust`] (whether to believe it), [`archive`] (a flake's files as bytes), [`store`] (where all of it lies),
//! [`fleet`] (reading what lies there), [`publish`] (adding to it) and [`enrolment`] (what a machine is told when it becomes a host).

pub mod archive;
pub mod digest;
pub mod document;
pub mod enrolment;
pub mod envelope;
pub mod explain;
pub mod files;
pub mod fleet;
pub mod json;
pub mod key;
pub mod layout;
pub mod limits;
pub mod name;
pub mod publish;
pub mod store;
pub mod text;
pub mod trust;

pub use jiff::Timestamp;
