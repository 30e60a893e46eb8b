//! What a person or a pipe gets to see: data on stdout, words on stderr.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Span, Timestamp};
use npc_core::text;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::failure::Failure;

/// How often progress is told where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How long to leave a store alone that has just failed, by those who only look at it.
pub(crate) const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Whether anybody may still read what is written to stdout: not once the other end of a pipe or a terminal is closed.
pub(crate) fn is_read() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    // What cannot be asked may be read.
    let is_asked = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok();
    !(is_asked && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// Writes one line of data to stdout.
pub(crate) fn data(line: impl std::fmt::Display) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        // Whoever read has read enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::other(format!("cannot write to stdout: {error}"))),
    }
}

/// Writes a value to stdout as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    data(serde_json::to_string_pretty(value).map_err(Failure::other)?)
}

/// Says something to whoever watches.
pub(crate) fn say(words: impl std::fmt::Display) {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}", printable_lines(&words.to_string()));
}

/// Warns whoever watches.
pub(crate) fn warn(words: impl std::fmt::Display) {
    say(format_args!("warning: {words}"));
}

/// Long work: a moving line on a terminal, a plain line now and then elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
    told: Instant,
}

impl Progress {
    /// Begins to show that `what` is under way.
    pub(crate) fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, what, told: Instant::now() }
    }

    /// Shows how far it has come.
    pub(crate) fn tell(&mut self, words: impl Into<String>) {
        let words = words.into();
        if self.bar.is_hidden() && self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            say(format_args!("{} {words}", self.what));
        }
        self.bar.set_message(words);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A number of bytes for people: `1.2 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

/// A time for people: how long ago, in its largest unit.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The time a span from now; spans of days are days of 24 hours.
pub(crate) fn after(now: Timestamp, span: Span) -> Result<Timestamp, Failure> {
    let zoned = now.to_zoned(jiff::tz::TimeZone::UTC);
    let later = zoned.checked_add(span).map_err(|error| Failure::usage(format!("cannot expire then: {error}")))?;
    if later.timestamp() <= now {
        return Err(Failure::usage("a release cannot expire before it is made"));
    }
    Ok(later.timestamp())
}

/// Text from elsewhere without what could steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text::line(text)
}

/// Likewise, keeping its lines.
pub(crate) fn printable_lines(text: &str) -> String {
    text::lines(text)
}

/// Prints rows in columns as wide as their widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> Result<(), Failure> {
    columns(rows).iter().try_for_each(data)
}

/// Rows in columns as wide as their widest cell, a line each, with nothing in them that could steer a terminal.
pub(crate) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        printable(cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
