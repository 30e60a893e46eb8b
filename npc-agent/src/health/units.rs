//! The units of systemd: which have failed, and which are restarted again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Output;

use crate::activation::unit::ask;
use crate::machine::{Failed, UnitsBefore};

/// The kind of a look at units that showed nothing.
const UNOBSERVABLE: &str = "units-unobservable";

/// systemd's words about one unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    active: String,
    sub: String,
    restarts: u64,
}

/// All units that are loaded, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed(BTreeMap<String, UnitState>);

/// Asks systemd.
pub(super) async fn observe() -> Result<Observed, Failed> {
    let properties = "--property=Id,ActiveState,SubState,NRestarts";
    let output = ask("systemctl", ["show", "--no-pager", properties, "*"]).await?;
    Ok(Observed::parse(&text_of(&output)?))
}

/// Asks systemd for failed units alone: a tenth of the work of [`observe`], for which it is asked about each unit by itself.
pub(super) async fn failed() -> Result<BTreeSet<String>, Failed> {
    let form = ["--full", "--plain", "--no-legend", "--no-pager"];
    let output = ask("systemctl", ["list-units", "--all", "--state=failed"].into_iter().chain(form)).await?;
    Ok(failed_in(&text_of(&output)?))
}

/// Reads what `systemctl list-units` prints: a line for each unit, with its name in front, or behind a mark.
fn failed_in(text: &str) -> BTreeSet<String> {
    let ids = text.lines().filter_map(|line| line.split_ascii_whitespace().find(|word| word.contains('.')));
    ids.filter(|id| is_counted(id)).map(str::to_owned).collect()
}

/// What npc itself runs is judged by its own end.
fn is_counted(id: &str) -> bool {
    !id.starts_with("npc-activation-")
}

fn text_of(output: &Output) -> Result<String, Failed> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Failed::new(UNOBSERVABLE, format!("systemd does not tell its units: {}", words.trim())))
}

/// Whether the host is still booting (`systemctl is-system-running`).
pub(super) async fn is_starting() -> bool {
    let state = ask("systemctl", ["is-system-running"]).await;
    state.is_ok_and(|state| matches!(String::from_utf8_lossy(&state.stdout).trim(), "initializing" | "starting"))
}

impl Observed {
    /// Reads what `systemctl show` prints: a paragraph of `Name=value` lines for each unit.
    fn parse(text: &str) -> Self {
        let paragraphs = text.split("\n\n").filter_map(|paragraph| {
            let mut state = UnitState::default();
            let mut id = None;
            for (name, value) in paragraph.lines().filter_map(|line| line.split_once('=')) {
                match name {
                    "Id" => id = Some(value.to_owned()),
                    "ActiveState" => value.clone_into(&mut state.active),
                    "SubState" => value.clone_into(&mut state.sub),
                    "NRestarts" => state.restarts = value.parse().unwrap_or(0),
                    _ => {}
                }
            }
            id.filter(|id| is_counted(id)).map(|id| (id, state))
        });
        Self(paragraphs.collect())
    }

    /// What there is to compare with later.
    pub fn baseline(&self) -> UnitsBefore {
        let named = |is: fn(&UnitState) -> bool| {
            self.0.iter().filter(move |(_, state)| is(state)).map(|(id, _)| id.clone()).collect()
        };
        UnitsBefore {
            failed: named(UnitState::has_failed),
            restarts: self
                .0
                .iter()
                .filter(|(_, state)| state.restarts > 0)
                .map(|(id, state)| (id.clone(), state.restarts))
                .collect(),
            restarting: named(UnitState::waits_for_restart),
        }
    }

    /// Units that have failed and had not before.
    pub fn newly_failed(&self, before: &UnitsBefore) -> Vec<&str> {
        self.those(|id, state| state.has_failed() && !before.failed.contains(id))
    }

    /// Units that were restarted at least twice since `earlier`, or wait for their next restart, and were not like that
    /// before.
    pub fn restarted_again_and_again(&self, earlier: &Self, before: &UnitsBefore) -> Vec<&str> {
        self.those(|id, state| {
            let since = earlier.0.get(id).map_or(0, |earlier| earlier.restarts);
            let again_and_again = state.restarts >= since.saturating_add(2) || state.waits_for_restart();
            again_and_again && !before.restarting.contains(id)
        })
    }

    /// Units that have failed now as before.
    pub fn still_failed(&self, before: &UnitsBefore) -> Vec<&str> {
        self.those(|id, state| state.has_failed() && before.failed.contains(id))
    }

    fn those(&self, are: impl Fn(&str, &UnitState) -> bool) -> Vec<&str> {
        self.0.iter().filter(|(id, state)| are(id, state)).map(|(id, _)| id.as_str()).collect()
    }
}

impl UnitState {
    fn has_failed(&self) -> bool {
        self.active == "failed"
    }

    fn waits_for_restart(&self) -> bool {
        self.sub.starts_with("auto-restart")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(units: &[(&str, &str, &str, u64)]) -> Observed {
        let text: Vec<_> = units
            .iter()
            .map(|(id, active, sub, restarts)| {
                format!("NRestarts={restarts}\nId={id}\nActiveState={active}\nSubState={sub}\n")
            })
            .collect();
        Observed::parse(&text.join("\n"))
    }

    #[test]
    fn only_what_has_failed_since_counts() {
        let before = observed(&[("old.service", "failed", "failed", 0), ("web.service", "active", "running", 0)]);
        let after = observed(&[
            ("old.service", "failed", "failed", 0),
            ("web.service", "failed", "failed", 5),
            ("npc-activation-1-aa.service", "failed", "failed", 0),
        ]);
        assert_eq!(after.newly_failed(&before.baseline()), ["web.service"]);
        assert_eq!(after.still_failed(&before.baseline()), ["old.service"]);
    }

    #[test]
    fn a_unit_that_crashes_again_and_again_is_noticed_and_one_stumble_forgiven() {
        let before = observed(&[("loop.service", "activating", "auto-restart", 90)]).baseline();
        let begin = observed(&[("web.service", "active", "running", 3), ("loop.service", "active", "running", 0)]);
        let after = |web, sub, looping| {
            observed(&[("web.service", "active", sub, web), ("loop.service", "active", "running", looping)])
        };
        let none: [&str; 0] = [];
        assert_eq!(after(4, "running", 9).restarted_again_and_again(&begin, &before), none);
        assert_eq!(after(5, "running", 9).restarted_again_and_again(&begin, &before), ["web.service"]);
        assert_eq!(after(4, "auto-restart", 9).restarted_again_and_again(&begin, &before), ["web.service"]);
    }

    #[test]
    fn failed_units_are_read_with_and_without_marks() {
        let text = "web.service loaded failed failed The web\n\u{25cf} srv-a\\x2db.mount not-found failed failed /srv/a-b\n\
                    npc-activation-1-aa.service loaded failed failed Ours\n";
        let failed: Vec<_> = failed_in(text).into_iter().collect();
        assert_eq!(failed, ["srv-a\\x2db.mount", "web.service"]);
        assert!(failed_in("").is_empty());
    }
}
