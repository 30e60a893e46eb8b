//! What a person or a pipe gets to see: data on stdout, words on stderr.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Span, Timestamp};
use npc_operator::failure::Failure;
use npc_operator::voice::{Moving, Voice};
use npc_operator::words::{printable, printable_lines};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

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

/// The terminal, or what stands in its place, as what operators' programs share sees it.
pub(crate) struct Console;

impl Voice for Console {
    fn say(&self, words: &str) {
        say(words);
    }

    fn warn(&self, words: &str) {
        warn(words);
    }

    fn begin(&self, what: &str) -> Box<dyn Moving> {
        Box::new(Bar::begin(what.to_owned()))
    }
}

/// Long work: a moving line on a terminal, a plain line now and then elsewhere.
struct Bar {
    spinner: ProgressBar,
    what: String,
    told: Instant,
}

impl Bar {
    fn begin(what: String) -> Self {
        let spinner = if io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
            spinner.set_style(style);
        }
        spinner.set_prefix(what.clone());
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self { spinner, what, told: Instant::now() }
    }
}

impl Moving for Bar {
    fn tell(&mut self, words: String) {
        if self.spinner.is_hidden() && self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            say(format_args!("{} {words}", self.what));
        }
        self.spinner.set_message(words);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
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
