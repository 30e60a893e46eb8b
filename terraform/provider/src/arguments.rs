//! What configurations say, parsed: every mistake is told at its attribute, and what is not known yet is no mistake.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use terraform_plugin::{Diagnostic, Diagnostics, Object, Outcome, Value};

/// An argument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// There is none.
    #[default]
    Nothing,
    /// It is known after apply.
    Later,
    /// This.
    Now(T),
}

impl<T> Given<T> {
    /// The first of the two that is not nothing.
    pub(crate) fn or(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Nothing => other(),
            given => given,
        }
    }

    /// What is given by now.
    pub(crate) fn now(self) -> Option<T> {
        match self {
            Self::Now(value) => Some(value),
            Self::Nothing | Self::Later => None,
        }
    }
}

/// A text with a meaning, such as a name.
pub(crate) fn parsed<T: FromStr<Err: Display>>(object: &Object, name: &str) -> Outcome<Given<T>> {
    match object.get(name) {
        Value::Unknown => Ok(Given::Later),
        Value::String(text) => match text.parse() {
            Ok(value) => Ok(Given::Now(value)),
            Err(error) => Err(not_in_order(name, error_sentence(text, &error))),
        },
        _ => Ok(Given::Nothing),
    }
}

fn error_sentence(text: &str, error: &impl Display) -> String {
    let error = error.to_string();
    if error.contains(text) { error } else { format!("\"{text}\": {error}") }
}

/// Checks texts with a meaning, as far as they are known.
pub(crate) fn check<T: FromStr<Err: Display>>(object: &Object, name: &str) -> Outcome<()> {
    parsed::<T>(object, name).map(drop)
}

/// A text with a meaning that must be there and known: where something is about to be done.
pub(crate) fn needed<T: FromStr<Err: Display>>(object: &Object, name: &str) -> Outcome<T> {
    parsed(object, name)?.now().ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Diagnostics {
    Diagnostic::error(format!("`{name}` is missing")).at([name]).into()
}

/// How a mistake in an argument is told.
pub(crate) fn not_in_order(name: &str, detail: impl Into<String>) -> Diagnostics {
    Diagnostic::error(format!("`{name}` is not in order")).detail(detail).at([name]).into()
}

/// A whole number that lies in this range.
pub(crate) fn whole_number(object: &Object, name: &str, range: RangeInclusive<u64>) -> Outcome<Given<u64>> {
    match object.get(name) {
        Value::Unknown => Ok(Given::Later),
        Value::Null => Ok(Given::Nothing),
        value => value.as_u64().filter(|number| range.contains(number)).map(Given::Now).ok_or_else(|| {
            let (least, most) = range.into_inner();
            let bounds =
                if most == u64::MAX { format!("{least} or more") } else { format!("between {least} and {most}") };
            not_in_order(name, format!("It is a whole number, {bounds}."))
        }),
    }
}

/// A path.
pub(crate) fn path(object: &Object, name: &str) -> Given<PathBuf> {
    match object.get(name) {
        Value::Unknown => Given::Later,
        Value::String(text) => Given::Now(PathBuf::from(text)),
        _ => Given::Nothing,
    }
}

/// Texts with a meaning; nothing is an empty list.
pub(crate) fn list<T: FromStr<Err: Display>>(object: &Object, name: &str) -> Outcome<Given<Vec<T>>> {
    let value = object.get(name);
    if !value.is_known() {
        return Ok(Given::Later);
    }
    let Some(values) = value.as_list() else { return Ok(Given::Now(Vec::new())) };
    let parsed = values
        .iter()
        .filter_map(Value::as_str)
        .map(|text| text.parse().map_err(|error| not_in_order(name, error_sentence(text, &error))));
    parsed.collect::<Result<_, _>>().map(Given::Now)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_whole_numbers_in_their_range_are_taken() {
        let said = |value: serde_json::Value| {
            whole_number(&Object::default().with("number", Value::from(value)), "number", 1..=10)
        };
        assert_eq!(said(json!(10)), Ok(Given::Now(10)));
        assert_eq!(said(json!(null)), Ok(Given::Nothing));
        for wrong in [json!(0), json!(11), json!(-3), json!(1.5), json!("1.1")] {
            assert!(said(wrong.clone()).is_err(), "{wrong}");
        }
        let later = Object::default().with("number", Value::Unknown);
        assert_eq!(whole_number(&later, "number", 1..=10), Ok(Given::Later));
    }
}
