//! What cannot be a file: how the server answers for an object, in a layer's `serve.toml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A layer's `serve.toml`: how to answer for each of these objects.
pub(super) type Recipe = BTreeMap<String, Behaviour>;

/// How the server answers for an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Behaviour {
    /// With this status and no body.
    Status(u16),
    /// With a redirection to this object.
    Redirect(String),
    /// With a head that goes on for ever.
    EndlessHead,
    /// With a body that goes on for ever.
    EndlessBody,
    /// With one byte at a time, and so many milliseconds between two.
    Drip(u64),
    /// With a head that announces so many bytes, before the object's own bytes; then the connection ends.
    Announce(u64),
    /// With a head that announces the object's bytes, and a half or a third of them in turns, always from the first one.
    Anew,
    /// Twice with the object, and after that with one byte at a time, and so many milliseconds between two.
    DripLater(u64),
    /// With a JSON array of so many elements.
    Elements {
        /// One element.
        element: String,
        /// How many.
        count: usize,
    },
    /// With an archive of so many links.
    Entries(u64),
    /// With an archive of one file with so many zeros.
    Zeros(u64),
    /// With an archive of one small file, and so many zeros behind the end of the tar.
    ZerosBehind(u64),
}
