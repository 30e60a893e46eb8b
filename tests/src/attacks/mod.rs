//! The hostile store: a corpus of attacks, what makes it, and what runs it against the real agent.
//!
//! Every attack is a folder below `tests/attacks`: an `attack.toml` that says what is claimed ([`Attack`]), and a folder per
//! state of the store ([`Layer`]), laid over the honest store in `tests/honest`. What cannot be a file, as a body without
//! end, is a recipe in the layer's `serve.toml` ([`Behaviour`]), which the [`HostileServer`] follows.
//!
//! All of it is made by [`catalogue`], out of fixed keys and fixed times: `cargo run -p npc-tests --bin forge` writes it, and
//! a test holds the folders against it. [`trial`] is what happens to a host that meets an attack.

mod archives;
pub mod catalogue;
mod corpus;
mod deflate;
mod documents;
mod expectation;
mod fleet;
mod host;
mod large;
mod layer;
mod recipe;
mod server;
mod snapshot;
pub mod trial;
mod verification;

pub use corpus::{Corpus, Folder, ReadError, read_folder};
pub use expectation::{Afterwards, Attack, Before, Expected, Judge, Step};
pub use layer::Layer;
pub use recipe::Behaviour;
pub use server::HostileServer;

use std::path::{Path, PathBuf};

/// Where the attacks lie.
pub fn attacks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("attacks")
}

/// Where the honest store lies that they are laid over.
pub fn honest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("honest")
}
