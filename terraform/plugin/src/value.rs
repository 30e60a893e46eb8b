//! The values of Terraform's language, as configurations, plans and states have them, and how they travel: as `MessagePack` between
//! Terraform and a provider, as JSON in a state.
//!
//! Numbers are JSON's: what a provider counts fits. Terraform's own are wider. One that no 64 bits hold exactly, such as 0.1, travels as
//! a text, and only who knows that a number belongs there can tell: objects are held against their schemas, and it is refused, not
//! rounded.

use std::collections::BTreeMap;

use rmpv::{Integer, Value as MessagePack};
use serde_json::Value as Json;
use serde_json::value::Number;
use thiserror::Error;

/// How deeply values may be nested.
const DEPTH: usize = 64;

/// The `MessagePack` extension of a value that is unknown, and of one of which something is known, such as that it is not null.
const UNKNOWN: i8 = 0;
const REFINED_UNKNOWN: i8 = 12;

/// A value.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// None.
    #[default]
    Null,
    /// Known after apply.
    Unknown,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(String),
    /// A list, a set or a tuple.
    List(Vec<Self>),
    /// A map or an object.
    Object(Object),
}

/// Why bytes are no value.
#[derive(Debug, Error)]
pub enum ValueError {
    /// They are no `MessagePack`.
    #[error("a value is no MessagePack")]
    MessagePack(#[from] rmpv::decode::Error),
    /// They are no JSON.
    #[error("a value is no JSON")]
    Json(#[from] serde_json::Error),
    /// They are `MessagePack`, but no value of Terraform's.
    #[error("a value has {0} in it")]
    Strange(&'static str),
    /// There is something else where an object belongs.
    #[error("there is no object where one belongs")]
    NoObject,
}

/// An object: attributes by their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Object(BTreeMap<String, Value>);

impl Object {
    /// The value of an attribute; null, where there is none.
    pub fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// The same, with an attribute set.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// A text that is known and there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).as_str()
    }

    /// The attributes, by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether nothing in it is unknown.
    pub fn is_known(&self) -> bool {
        self.0.values().all(Value::is_known)
    }

    /// Reads one out of `MessagePack`; none, where that says null.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, ValueError> {
        match Value::from_message_pack(bytes)? {
            Value::Null => Ok(None),
            Value::Object(object) => Ok(Some(object)),
            _ => Err(ValueError::NoObject),
        }
    }
}

impl FromIterator<(String, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(attributes: I) -> Self {
        Self(attributes.into_iter().collect())
    }
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The number, if it is one that counts.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// Whether nothing in it is unknown.
    pub fn is_known(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::List(values) => values.iter().all(Self::is_known),
            Self::Object(object) => object.is_known(),
            _ => true,
        }
    }

    /// Reads one out of `MessagePack`.
    pub fn from_message_pack(mut bytes: &[u8]) -> Result<Self, ValueError> {
        let value = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH)?;
        Self::of_message_pack(value)
    }

    /// Writes it as `MessagePack`.
    pub fn to_message_pack(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &self.as_message_pack()).expect("a vector takes all bytes");
        bytes
    }

    fn of_message_pack(value: MessagePack) -> Result<Self, ValueError> {
        Ok(match value {
            MessagePack::Nil => Self::Null,
            MessagePack::Boolean(truth) => Self::Bool(truth),
            MessagePack::Integer(number) => Self::Number(integer(number)?),
            MessagePack::F32(number) => Self::Number(float(number.into())?),
            MessagePack::F64(number) => Self::Number(float(number)?),
            MessagePack::String(text) => Self::String(string(text)?),
            MessagePack::Array(values) => {
                Self::List(values.into_iter().map(Self::of_message_pack).collect::<Result<_, _>>()?)
            }
            MessagePack::Map(entries) => {
                let entry = |(name, value)| match name {
                    MessagePack::String(name) => Ok((string(name)?, Self::of_message_pack(value)?)),
                    _ => Err(ValueError::Strange("a key that is no text")),
                };
                Self::Object(entries.into_iter().map(entry).collect::<Result<_, _>>()?)
            }
            MessagePack::Ext(UNKNOWN | REFINED_UNKNOWN, _) => Self::Unknown,
            MessagePack::Ext(..) => return Err(ValueError::Strange("an extension that nobody knows")),
            MessagePack::Binary(_) => return Err(ValueError::Strange("bytes")),
        })
    }

    fn as_message_pack(&self) -> MessagePack {
        match self {
            Self::Null => MessagePack::Nil,
            Self::Unknown => MessagePack::Ext(UNKNOWN, vec![0]),
            Self::Bool(truth) => MessagePack::Boolean(*truth),
            Self::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => number.into(),
                (_, Some(number), _) => number.into(),
                (_, _, number) => number.unwrap_or_default().into(),
            },
            Self::String(text) => text.as_str().into(),
            Self::List(values) => MessagePack::Array(values.iter().map(Self::as_message_pack).collect()),
            Self::Object(object) => {
                MessagePack::Map(object.iter().map(|(name, value)| (name.into(), value.as_message_pack())).collect())
            }
        }
    }

    /// Reads one out of JSON, which has no word for what is unknown.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(Self::from(serde_json::from_slice::<Json>(bytes)?))
    }
}

/// Terraform writes whole numbers as integers if they fit.
fn integer(number: Integer) -> Result<Number, ValueError> {
    let unsigned = number.as_u64().map(Number::from);
    unsigned.or_else(|| number.as_i64().map(Number::from)).ok_or(ValueError::Strange("a number too large"))
}

fn float(number: f64) -> Result<Number, ValueError> {
    Number::from_f64(number).ok_or(ValueError::Strange("a number without end"))
}

fn string(text: rmpv::Utf8String) -> Result<String, ValueError> {
    text.into_str().ok_or(ValueError::Strange("a text that is no UTF-8"))
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Bool(truth),
            Json::Number(number) => Self::Number(number),
            Json::String(text) => Self::String(text),
            Json::Array(values) => Self::List(values.into_iter().map(Self::from).collect()),
            Json::Object(entries) => {
                Self::Object(entries.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(Value::Unknown),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(|number| Value::Number(number.into())),
            (-1e300..1e300).prop_map(|number| Value::Number(Number::from_f64(number).expect("finite"))),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::btree_map(".*", inner, 0..6).prop_map(|map| Value::Object(Object(map))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in values()) {
            prop_assert_eq!(Value::from_message_pack(&value.to_message_pack()).expect("a value"), value);
        }

        #[test]
        fn no_bytes_are_too_strange_to_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Value::from_message_pack(&bytes);
        }
    }

    #[test]
    fn a_value_of_which_something_is_known_is_unknown() {
        // `{1: false}`: it will not be null.
        let refined = MessagePack::Ext(REFINED_UNKNOWN, vec![0x81, 0x01, 0xc2]);
        assert_eq!(Value::of_message_pack(refined).expect("a value"), Value::Unknown);
        let mut object = Object::default().with("list", vec!["one"]);
        assert!(object.is_known());
        object.set("list", Value::List(vec![Value::Unknown]));
        assert!(!object.is_known());
    }

    #[test]
    fn what_would_be_rounded_or_misread_is_refused() {
        for strange in [
            MessagePack::F64(f64::INFINITY),
            MessagePack::Binary(vec![1]),
            MessagePack::Ext(7, vec![]),
            MessagePack::Map(vec![(MessagePack::Nil, MessagePack::Nil)]),
        ] {
            assert!(Value::of_message_pack(strange).is_err());
        }
        let deep = vec![0x91; 10_000];
        assert!(Value::from_message_pack(&deep).is_err());
        assert!(matches!(Object::read(&Value::from("text").to_message_pack()), Err(ValueError::NoObject)));
    }
}
