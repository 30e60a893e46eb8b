//! An error and its causes in words.

use std::error::Error;
use std::fmt::Write as _;

/// What failed, why, and what to do about it: a line each, for a person at a terminal.
pub fn at_length(program: &str, error: &(dyn Error + 'static), hint: Option<&str>) -> String {
    let mut text = format!("{program}: {error}\n");
    for reason in causes(error) {
        let _ = writeln!(text, "  because: {reason}");
    }
    if let Some(hint) = hint {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

/// What failed and why, in one line, for logs and reports.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    causes(error).fold(error.to_string(), |mut text, reason| {
        let reason = reason.to_string();
        if !text.ends_with(&reason) {
            let _ = write!(text, ": {reason}");
        }
        text
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("cannot read the map")]
    struct Outer(#[source] io::Error);

    #[test]
    fn every_cause_is_told() {
        let error = Outer(io::ErrorKind::NotFound.into());
        assert_eq!(in_one_line(&error), "cannot read the map: entity not found");
        let told = at_length("npc", &error, Some("draw one"));
        assert_eq!(told, "npc: cannot read the map\n  because: entity not found\nhint: draw one\n");
    }
}
