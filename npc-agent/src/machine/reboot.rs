//! When a host may reboot.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use npc_core::Timestamp;
use thiserror::Error;

/// When to reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebootPolicy {
    /// On what occasion.
    pub when: RebootWhen,
    /// How long to wait after a reboot has become necessary.
    pub delay: SignedDuration,
    /// How long, beyond that, to wait for users to log out.
    pub grace: SignedDuration,
}

/// On what occasion to reboot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RebootWhen {
    /// On none.
    #[default]
    Never,
    /// As soon as it is needed.
    WhenNeeded,
    /// When it is needed, within one of these.
    InWindow(Windows),
}

impl Default for RebootPolicy {
    fn default() -> Self {
        Self { when: RebootWhen::Never, delay: SignedDuration::ZERO, grace: SignedDuration::from_hours(24) }
    }
}

impl RebootPolicy {
    /// Whether a reboot that has been needed `since` may begin `now`.
    pub fn is_due(&self, since: Timestamp, now: Timestamp) -> bool {
        let delayed = now.duration_since(since) >= self.delay;
        match &self.when {
            RebootWhen::Never => false,
            RebootWhen::WhenNeeded => delayed,
            RebootWhen::InWindow(windows) => delayed && windows.is_open(now),
        }
    }

    /// Whether users who are logged in have had their time.
    pub fn insists(&self, since: Timestamp, now: Timestamp) -> bool {
        now.duration_since(since) >= self.delay.saturating_add(self.grace)
    }
}

/// Weekly windows in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    zone: TimeZone,
    windows: Vec<Window>,
}

/// A window that no day could have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no weekly window; one looks like `Sat 02:00-05:00`, `Mon..Fri 22:30-04:00` or `daily 03:00-04:00`")]
pub struct WindowError(String);

/// The days on which it opens, from when to when. One that ends before it begins ends on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    first: Weekday,
    last: Weekday,
    opens: Time,
    closes: Time,
}

impl Windows {
    /// Windows by the clocks of this time zone.
    pub fn new<'a>(zone: TimeZone, windows: impl IntoIterator<Item = &'a str>) -> Result<Self, WindowError> {
        let windows = windows.into_iter().map(Window::parse).collect::<Result<_, _>>()?;
        Ok(Self { zone, windows })
    }

    /// Whether one is open.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let here = now.to_zoned(self.zone.clone());
        self.windows.iter().any(|window| window.is_open(&here))
    }
}

impl Window {
    fn parse(text: &str) -> Result<Self, WindowError> {
        let parsed = || {
            let (days, times) = text.trim().split_once(' ')?;
            let (opens, closes) = times.trim().split_once('-')?;
            let (first, last) = match days.split_once("..") {
                Some((first, last)) => (weekday(first)?, weekday(last)?),
                None if days == "daily" => (Weekday::Monday, Weekday::Sunday),
                None => (weekday(days)?, weekday(days)?),
            };
            Some(Self { first, last, opens: time(opens)?, closes: time(closes)? })
        };
        parsed().ok_or_else(|| WindowError(text.to_owned()))
    }

    fn opens_on(self, day: Weekday) -> bool {
        self.first.until(day) <= self.first.until(self.last)
    }

    fn is_open(self, here: &Zoned) -> bool {
        let (day, time) = (here.weekday(), here.time());
        if self.opens < self.closes {
            return self.opens_on(day) && self.opens <= time && time < self.closes;
        }
        self.opens_on(day) && self.opens <= time || self.opens_on(day.previous()) && time < self.closes
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text {
        "Mon" => Weekday::Monday,
        "Tue" => Weekday::Tuesday,
        "Wed" => Weekday::Wednesday,
        "Thu" => Weekday::Thursday,
        "Fri" => Weekday::Friday,
        "Sat" => Weekday::Saturday,
        "Sun" => Weekday::Sunday,
        _ => return None,
    })
}

fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(text: &str) -> Windows {
        let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::fixed(jiff::tz::offset(1)));
        Windows::new(zone, [text]).expect("a window")
    }

    fn open(text: &str, at: &str) -> bool {
        windows(text).is_open(at.parse().expect("a time"))
    }

    #[test]
    fn a_window_is_open_by_the_clocks_of_its_zone() {
        // 2026-01-03 is a Saturday; Berlin is an hour ahead.
        assert!(open("Sat 02:00-05:00", "2026-01-03T01:00:00Z"));
        assert!(!open("Sat 02:00-05:00", "2026-01-03T00:59:59Z"));
        assert!(!open("Sat 02:00-05:00", "2026-01-03T04:00:00Z"), "the end does not belong to it");
        assert!(!open("Sat 02:00-05:00", "2026-01-04T02:00:00Z"));
    }

    #[test]
    fn a_window_may_end_on_the_next_day() {
        for (at, expected) in [
            ("2026-01-02T21:29:00Z", false),
            ("2026-01-02T21:30:00Z", true),
            ("2026-01-03T02:59:00Z", true),
            ("2026-01-03T03:00:00Z", false),
            ("2026-01-03T21:30:00Z", false),
        ] {
            assert_eq!(open("Mon..Fri 22:30-04:00", at), expected, "{at}");
        }
        assert!(open("Sat..Mon 00:00-23:59", "2026-01-04T12:00:00Z"), "a week goes round");
        assert!(!open("Sat..Mon 00:00-23:59", "2026-01-06T12:00:00Z"));
        assert!(open("daily 03:00-04:00", "2026-01-06T02:30:00Z"));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in ["", "Sat", "Sat 2-5", "Samstag 02:00-05:00", "Sat 25:00-26:00", "Mon...Fri 01:00-02:00"] {
            assert!(Windows::new(TimeZone::UTC, [text]).is_err(), "{text}");
        }
    }

    #[test]
    fn users_have_their_time_after_the_delay() {
        let policy = RebootPolicy {
            when: RebootWhen::WhenNeeded,
            delay: SignedDuration::from_mins(10),
            grace: SignedDuration::from_hours(1),
        };
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let after = |minutes: i64| since + SignedDuration::from_mins(minutes);
        assert!(!policy.is_due(since, after(9)));
        assert!(policy.is_due(since, after(10)));
        assert!(!policy.insists(since, after(69)));
        assert!(policy.insists(since, after(70)));
    }
}
