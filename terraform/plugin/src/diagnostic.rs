//! What a provider tells the person who runs Terraform: errors and warnings, at the attribute at fault.

use crate::messages;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing goes on.
    Error,
    /// It does.
    Warning,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    summary: String,
    detail: String,
    attribute: Vec<Step>,
}

/// A step on the way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an attribute, or into an element of a map.
    Name(String),
    /// Into an element of a list.
    Element(usize),
}

impl From<&str> for Step {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<usize> for Step {
    fn from(element: usize) -> Self {
        Self::Element(element)
    }
}

impl Diagnostic {
    /// An error: what is wrong, in one line.
    pub fn error(summary: impl Into<String>) -> Self {
        Self { severity: Severity::Error, summary: summary.into(), detail: String::new(), attribute: Vec::new() }
    }

    /// A warning: what to know, in one line.
    pub fn warning(summary: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(summary) }
    }

    /// Why, and what to do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The attribute at fault.
    #[must_use]
    pub fn at<S: Into<Step>>(mut self, attribute: impl IntoIterator<Item = S>) -> Self {
        self.attribute = attribute.into_iter().map(Into::into).collect();
        self
    }

    /// The attribute at fault, unless it is known better already.
    #[must_use]
    pub fn or_at(self, attribute: &str) -> Self {
        if self.attribute.is_empty() { self.at([attribute]) } else { self }
    }

    pub(crate) fn into_message(self) -> messages::Diagnostic {
        let severity = match self.severity {
            Severity::Error => messages::diagnostic::Severity::Error,
            Severity::Warning => messages::diagnostic::Severity::Warning,
        };
        messages::Diagnostic {
            severity: severity.into(),
            summary: self.summary,
            detail: self.detail,
            attribute: (!self.attribute.is_empty()).then(|| path(self.attribute)),
        }
    }
}

pub(crate) fn path(steps: impl IntoIterator<Item = Step>) -> messages::AttributePath {
    use messages::attribute_path::{Step as Message, step::Selector};
    let step = |step| {
        let selector = match step {
            Step::Name(name) => Selector::AttributeName(name),
            Step::Element(element) => Selector::ElementKeyInt(i64::try_from(element).unwrap_or(i64::MAX)),
        };
        Message { selector: Some(selector) }
    };
    messages::AttributePath { steps: steps.into_iter().map(step).collect() }
}

/// One error or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Fails with these, if there are any.
    pub fn none_of(errors: impl IntoIterator<Item = Diagnostic>) -> Outcome<()> {
        let errors: Vec<_> = errors.into_iter().collect();
        if errors.is_empty() { Ok(()) } else { Err(Self(errors)) }
    }

    /// Those without an attribute of their own are at this one.
    #[must_use]
    pub fn or_at(self, attribute: &str) -> Self {
        Self(self.0.into_iter().map(|diagnostic| diagnostic.or_at(attribute)).collect())
    }

    pub(crate) fn into_messages(self) -> Vec<messages::Diagnostic> {
        self.0.into_iter().map(Diagnostic::into_message).collect()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// What a provider does, or why it does not.
pub type Outcome<T> = Result<T, Diagnostics>;

/// What is told beside a result.
#[derive(Debug, Default)]
pub struct Warnings(Vec<Diagnostic>);

impl Warnings {
    /// Tells one.
    pub fn tell(&mut self, summary: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Diagnostic::warning(summary).detail(detail));
    }

    pub(crate) fn into_messages(self) -> Vec<messages::Diagnostic> {
        Diagnostics(self.0).into_messages()
    }
}
