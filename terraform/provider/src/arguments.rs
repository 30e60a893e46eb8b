//! What configurations say, parsed: every mistake is told at its attribute, and what is not known yet is no mistake.

use std::fmt::Display;
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
            Err(error) => Err(Diagnostic::error(format!("`{name}` is not in order"))
                .detail(error_sentence(text, &error))
                .at([name])
                .into()),
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
    let parsed = values.iter().filter_map(Value::as_str).map(|text| {
        text.parse().map_err(|error| {
            let detail = error_sentence(text, &error);
            Diagnostics::from(Diagnostic::error(format!("`{name}` is not in order")).detail(detail).at([name]))
        })
    });
    parsed.collect::<Result<_, _>>().map(Given::Now)
}
