//! Numbers, times, names and texts from elsewhere, for people.

use jiff::Timestamp;
use npc_core::text;
use unit_prefix::NumberPrefix;

/// How many names are told; of the others, how many there are.
const NAMED: usize = 5;

/// A number of bytes: `1.20 MiB`.
pub fn bytes(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    match NumberPrefix::binary(number as f64) {
        NumberPrefix::Standalone(number) => format!("{number:.0} B"),
        NumberPrefix::Prefixed(prefix, number) => format!("{number:.2} {prefix}B"),
    }
}

/// How long ago, in the largest unit.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    match seconds {
        ..60 => format!("{}s", seconds.max(0)),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Text from elsewhere without what could steer a terminal.
pub fn printable(text: &str) -> String {
    text::line(text)
}

/// Likewise, keeping its lines.
pub fn printable_lines(text: &str) -> String {
    text::lines(text)
}

/// Some names, and how many more there are.
pub fn shortened(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
