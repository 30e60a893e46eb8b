//! A statement that can be withdrawn: what stands under a name, or a tombstone.
//!
//! Deleting the object would let an old one be replayed in its place; a tombstone has a serial of its own, so what is
//! withdrawn can come back later under a higher one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Body, Kind};

/// What a [`Standing`] is about.
pub trait Statement: Serialize + DeserializeOwned {
    /// The kind of its documents.
    const KIND: Kind;
}

/// A statement, or its withdrawal: in JSON the statement's own fields, or `removed: true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire", bound = "T: Statement + Clone")]
pub enum Standing<T> {
    /// This holds.
    Present(Box<T>),
    /// Nothing holds any more; whoever acted on it stays as it is.
    Removed,
}

impl<T: Statement + Clone> Body for Standing<T> {
    const KIND: Kind = T::KIND;
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<T: Statement> TryFrom<Wire> for Standing<T> {
    type Error = serde_json::Error;

    fn try_from(wire: Wire) -> serde_json::Result<Self> {
        if wire.removed {
            return Ok(Self::Removed);
        }
        serde_json::from_value(wire.fields.into()).map(Self::Present)
    }
}

impl<T: Statement> From<Standing<T>> for Wire {
    fn from(standing: Standing<T>) -> Self {
        match standing {
            Standing::Removed => Self { removed: true, fields: Map::new() },
            Standing::Present(statement) => match serde_json::to_value(statement) {
                Ok(Value::Object(fields)) => Self { removed: false, fields },
                other => unreachable!("a statement is a structure with text keys, not {other:?}"),
            },
        }
    }
}
