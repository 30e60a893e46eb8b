//! How far a rollout has got, for people and for programs: bars on a terminal, lines elsewhere, JSON where asked.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use npc_core::document::{Member, OutcomeKind, Rollout, RolloutState};
use npc_core::name::AssignmentName;
use npc_operator::failure::Failure;
use npc_operator::words;
use serde_json::{Value, json};

use super::course::Course;
use super::progress::{MemberProgress, Progress, Reached, Sight};
use crate::console;

/// What has been shown so far.
pub(crate) struct Display {
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    lines: bool,
    told: BTreeMap<AssignmentName, Reached>,
    /// The wave that was last said to be under way; all of them, once all are done.
    wave: Option<usize>,
}

impl Display {
    /// Bars if somebody looks at a terminal; lines if stdout is read by something else.
    pub(crate) fn begin() -> Self {
        let bars = std::io::stderr().is_terminal().then(|| (MultiProgress::new(), Vec::new()));
        let lines = bars.is_none() || !std::io::stdout().is_terminal();
        Self { bars, lines, told: BTreeMap::new(), wave: None }
    }

    /// Shows how far it has got.
    pub(crate) fn show(&mut self, course: &Course, progress: &Progress, left: SignedDuration) -> Result<(), Failure> {
        self.draw(progress, left);
        if !self.lines {
            return Ok(());
        }
        let waves = progress.waves.len();
        for (number, wave) in progress.waves.iter().enumerate() {
            for MemberProgress { assignment: name, reached, .. } in wave {
                let before = self.told.insert(name.clone(), reached.clone());
                let is_news =
                    before.as_ref().map_or(*reached != Reached::Waiting, |before| before.word() != reached.word());
                if is_news {
                    console::data(words::printable(&format!(
                        "wave {}/{waves}: {name} {}",
                        number + 1,
                        words(reached)
                    )))?;
                }
            }
        }
        let wave = progress.wave().unwrap_or(waves);
        if self.wave == Some(wave) {
            return Ok(());
        }
        if self.wave.is_some_and(|before| before < wave) {
            console::data(format_args!("wave {wave}/{waves} of {} is done", course.id))?;
        }
        if wave < waves {
            console::data(format_args!("wave {}/{waves} of {}: {} left at least", wave + 1, course.id, short(left)))?;
        }
        self.wave = Some(wave);
        Ok(())
    }

    fn draw(&mut self, progress: &Progress, left: SignedDuration) {
        let Some((all, bars)) = &mut self.bars else { return };
        bars.truncate(progress.waves.len());
        for (number, wave) in progress.waves.iter().enumerate() {
            if bars.len() == number {
                let bar = all.add(ProgressBar::new(0));
                if let Ok(style) = ProgressStyle::with_template("{prefix:10} [{bar:30}] {pos:>4}/{len:4} {msg}") {
                    bar.set_style(style.progress_chars("=> "));
                }
                bar.set_prefix(format!("wave {}", number + 1));
                bars.push(bar);
            }
            let bar = &bars[number];
            let hosts =
                |members: &mut dyn Iterator<Item = &MemberProgress>| members.map(|member| member.hosts as u64).sum();
            bar.set_length(hosts(&mut wave.iter()));
            bar.set_position(hosts(&mut wave.iter().filter(|member| member.reached.is_settled())));
            let is_current = progress.wave() == Some(number);
            let left = if is_current { format!("  {} left at least", short(left)) } else { String::new() };
            bar.set_message(words::printable(&format!("{}{left}", counts(wave))));
        }
    }

    /// Tells of something that was done.
    pub(crate) fn tell(&mut self, words: &str) -> Result<(), Failure> {
        match &self.bars {
            Some((all, _)) if !self.lines => all.println(words::printable(words)).map_err(Failure::other),
            _ => console::data(words::printable(words)),
        }
    }

    /// Leaves the bars as they are.
    pub(crate) fn end(&self) {
        for bar in self.bars.iter().flat_map(|(_, bars)| bars) {
            bar.abandon();
        }
    }
}

fn words(reached: &Reached) -> String {
    match reached {
        Reached::Failed(reason) | Reached::Lost(reason) => format!("failed: {reason}"),
        other => other.word().to_owned(),
    }
}

/// How many hosts of a wave have got how far.
fn counts(wave: &[MemberProgress]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for member in wave {
        let failed = member.failures.len().min(member.hosts);
        let others = if member.reached.failure().is_some() { "well" } else { member.reached.word() };
        for (word, count) in [("failed", failed), (others, member.hosts - failed)] {
            *counts.entry(word).or_default() += count;
        }
    }
    counts.retain(|_, count| *count > 0);
    counts.into_iter().map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// A length of time for people, in its largest unit.
fn short(span: SignedDuration) -> String {
    let now = Timestamp::UNIX_EPOCH;
    words::ago(now, now.saturating_add(span).unwrap_or(Timestamp::MAX))
}

impl Course {
    /// How long it will take at least: what is left of the waves, as fast as hosts have been so far.
    pub(crate) fn left(&self, progress: &Progress, sight: &Sight) -> SignedDuration {
        let waves = progress.wave().map_or(0, |wave| progress.waves.len() - wave);
        let took: Vec<SignedDuration> = self.members().filter_map(|member| self.took(member, sight)).collect();
        let pace = i64::try_from(took.len()).ok().filter(|count| *count > 0);
        let pace = pace.map_or(SignedDuration::ZERO, |count| {
            let total = took.iter().map(SignedDuration::as_secs).sum::<i64>();
            SignedDuration::from_secs(total / count)
        });
        let soak = SignedDuration::from_secs(i64::try_from(self.intent.gates.soak).unwrap_or(i64::MAX));
        (soak.saturating_add(pace)).saturating_mul(i32::try_from(waves).unwrap_or(i32::MAX))
    }

    /// How long a member took from being told to running the release.
    fn took(&self, member: &Member, sight: &Sight) -> Option<SignedDuration> {
        let seen = sight.get(&member.assignment)?;
        let npc_operator::fleet::host::Told::Following { following, created, .. } = &seen.told else { return None };
        let report = seen.heard.values().find_map(|heard| heard.report()).filter(|_| self.has_told(following))?;
        let committed = report.outcomes.iter().find(|outcome| {
            outcome.kind == OutcomeKind::Committed && outcome.serial == Some(self.intent.release.serial)
        })?;
        Some(committed.at.duration_since(*created)).filter(SignedDuration::is_positive)
    }

    /// Whether it goes on only while somebody drives it.
    pub(crate) fn wants_a_driver(&self, progress: &Progress) -> bool {
        match self.intent.state {
            RolloutState::Running => !self.is_complete(progress),
            RolloutState::Reverting => true,
            _ => false,
        }
    }

    /// All that there is to know of it, as JSON.
    pub(crate) fn value(&self, progress: &Progress, left: SignedDuration) -> Value {
        let Rollout { remote, release, gates, state, reason, driver, .. } = &self.intent;
        let hosts: BTreeMap<_, _> = self.members().map(|member| (&member.assignment, &member.hosts)).collect();
        let member = |member: &MemberProgress| {
            let MemberProgress { assignment, reached, failures, .. } = member;
            json!({
                "assignment": assignment,
                "hosts": hosts.get(assignment),
                "reached": reached.word(),
                "reason": reached.failure().or(failures.first().map(String::as_str)),
                "failed": failures.len(),
            })
        };
        let waves: Vec<_> = progress.waves.iter().map(|wave| wave.iter().map(member).collect::<Vec<_>>()).collect();
        json!({
            "rollout": self.id,
            "state": word(state),
            "reason": reason,
            "said": self.said,
            "driver": driver,
            "remote": remote,
            "release": release,
            "gates": gates,
            "wave": progress.wave().map(|wave| wave + 1),
            "waves": waves,
            "complete": *state == RolloutState::Finished || self.is_complete(progress),
            "seconds_left_at_least": left.as_secs(),
        })
    }

    /// It in a few lines.
    pub(crate) fn lines(&self, progress: &Progress, left: SignedDuration, now: Timestamp) -> Vec<String> {
        let Rollout { remote, release, state, reason, .. } = &self.intent;
        if !state.is_active() {
            let because = reason.as_ref().map_or_else(String::new, |reason| format!(", because {reason}"));
            return vec![words::printable(&format!(
                "{}: {remote}@{}, {}{because}",
                self.id,
                release.serial,
                word(state)
            ))];
        }
        let wave = match progress.wave() {
            Some(wave) => format!("wave {} of {}, {} left at least", wave + 1, progress.waves.len(), short(left)),
            None if self.is_complete(progress) => "all waves are done".to_owned(),
            None => "too many hosts have failed".to_owned(),
        };
        let driver = match self.driver(now) {
            Some(driver) => format!(", driven by {}", driver.name),
            None if self.wants_a_driver(progress) => ", driven by nobody".to_owned(),
            None => String::new(),
        };
        let mut lines = vec![format!("{}: {remote}@{}, {}, {wave}{driver}", self.id, release.serial, word(state))];
        lines.extend(reason.iter().map(|reason| format!("  because {reason}")));
        for (number, wave) in progress.waves.iter().enumerate() {
            lines.push(format!("  wave {}: {}", number + 1, counts(wave)));
            let worth_a_line = |reached: &Reached| !matches!(reached, Reached::Waiting | Reached::Done);
            for member in wave.iter().filter(|member| worth_a_line(&member.reached)) {
                lines.push(format!("    {}: {}", member.assignment, words(&member.reached)));
                let known = member.reached.failure();
                let others = member.failures.iter().filter(|failure| Some(failure.as_str()) != known);
                lines.extend(others.take(1).map(|failure| format!("      one of its hosts failed: {failure}")));
            }
        }
        lines.iter().map(|line| words::printable(line)).collect()
    }
}

/// The stable word of a state.
pub(crate) fn word(state: &RolloutState) -> String {
    match state {
        RolloutState::Running => "running".to_owned(),
        RolloutState::Paused => "paused".to_owned(),
        RolloutState::Halted => "halted".to_owned(),
        RolloutState::Reverting => "reverting".to_owned(),
        RolloutState::Reverted => "reverted".to_owned(),
        RolloutState::Aborted => "aborted".to_owned(),
        RolloutState::Finishing(remote) => format!("finishing to {remote}"),
        RolloutState::Finished => "finished".to_owned(),
    }
}

/// The waves of a rollout that has not begun.
pub(crate) fn planned(rollout: &Rollout) -> Vec<Vec<String>> {
    let mut told = 0;
    let total: usize = rollout.waves.iter().flatten().map(|member| member.hosts.len().max(1)).sum();
    let row = |(number, wave): (usize, &Vec<Member>)| {
        told += wave.iter().map(|member| member.hosts.len().max(1)).sum::<usize>();
        let names: Vec<_> = wave.iter().map(|member| member.assignment.as_str()).collect();
        vec![format!("wave {}", number + 1), format!("{told} of {total}"), names.join(" ")]
    };
    rollout.waves.iter().enumerate().map(row).collect()
}

/// How often to look at a rollout that somebody else drives.
pub(crate) const WATCHED_EVERY: Duration = Duration::from_secs(2);
