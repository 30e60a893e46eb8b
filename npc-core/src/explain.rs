//! An error and its causes in words.

use std::error::Error;
use std::fmt::Write as _;

/// What failed, why, and what to do about it: a line each, for a person at a terminal.
pub fn at_length(program: &str, error: &(dyn Error + 'static), hint: Option<&str>) -> String {
    let mut text = format!("{program}: {}\n", plain(error, Lines::Kept));
    for reason in causes(error) {
        let _ = writeln!(text, "  because: {}", plain(reason, Lines::Kept));
    }
    if let Some(hint) = hint {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

/// What failed and why, in one line, for logs and reports.
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    causes(error).fold(plain(error, Lines::Joined), |mut text, reason| {
        let reason = plain(reason, Lines::Joined);
        if !text.ends_with(&reason) {
            let _ = write!(text, ": {reason}");
        }
        text
    })
}

/// No reason takes more of a reader's time, in characters.
const LONGEST: usize = 1000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Kept,
    Joined,
}

/// A reason as it may be shown: what it quotes may come from anybody, and could steer a terminal or fill a log.
fn plain(error: &dyn Error, lines: Lines) -> String {
    let text = error.to_string();
    let mut plain = String::with_capacity(text.len().min(LONGEST));
    for (place, char) in text.chars().enumerate() {
        if place == LONGEST {
            plain.push('…');
            break;
        }
        match char {
            '\n' if lines == Lines::Kept => plain.push(char),
            '\'' | '"' | '\\' => plain.push(char),
            _ => plain.extend(char.escape_debug()),
        }
    }
    plain
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

    #[derive(Debug, Error)]
    #[error("duplicate key `{0}`")]
    struct Quoting(String);

    #[test]
    fn what_is_quoted_steers_no_terminal_and_fills_no_log() {
        let error = Quoting("\u{1b}[2J\u{202e}Größe 'a\\b'\n".into());
        assert_eq!(in_one_line(&error), r"duplicate key `\u{1b}[2J\u{202e}Größe 'a\b'\n`");
        let long = Quoting("x".repeat(1_000_000));
        assert!(in_one_line(&long).len() < 1100);
        assert!(at_length("npc", &long, None).len() < 1100);
    }

    #[test]
    fn every_cause_is_told() {
        let error = Outer(io::ErrorKind::NotFound.into());
        assert_eq!(in_one_line(&error), "cannot read the map: entity not found");
        let told = at_length("npc", &error, Some("draw one"));
        assert_eq!(told, "npc: cannot read the map\n  because: entity not found\nhint: draw one\n");
    }
}
