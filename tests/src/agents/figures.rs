//! What a while of many agents' requests comes to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::{Answered, Class, Ledger, Request, Verb};
use super::polls::{Poll, polls_in};
use super::spread::Spread;

/// What was asked of the store for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// What happened meanwhile, in the words of whoever started the agents.
    pub phase: String,
    /// How many hosts there are.
    pub hosts: usize,
    /// How long the while was, in seconds.
    pub seconds: f64,
    /// The requests, by what they were and how they ended.
    pub requests: Vec<Requests>,
    /// The polls.
    pub polls: Polls,
    /// How all requests are spread.
    pub requests_spread: Spread,
    /// How much memory the whole process has, in KiB.
    pub resident: u64,
}

/// Requests of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// What was to be done.
    pub verb: Verb,
    /// To what.
    pub class: Class,
    /// How it ended.
    pub answered: Answered,
    /// How many.
    pub count: usize,
}

/// Polls, which are requests that belong together.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Polls {
    /// How many there were.
    pub count: usize,
    /// How many the store left unanswered.
    pub failed: usize,
    /// How many hosts asked at least once.
    pub hosts: usize,
    /// The requests from the beginning of a poll to that of the next in which nothing had changed, on the average; none where
    /// there was no such poll.
    pub requests_of_unchanged: Option<f64>,
    /// The most of them.
    pub most_requests_of_unchanged: Option<usize>,
    /// How long asking took, where it was answered.
    pub latency: Option<Latency>,
    /// The shortest time between two polls of one host, in milliseconds.
    pub shortest_pause: Option<f64>,
    /// How the polls are spread.
    pub spread: Spread,
}

/// How long something took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of it took no longer.
    pub p50: f64,
    /// All but a hundredth took no longer.
    pub p99: f64,
    /// Nothing took longer.
    pub max: f64,
}

impl Latency {
    fn of(mut took: Vec<Duration>) -> Option<Self> {
        took.sort();
        // The nearest rank.
        let rank = |percent: usize| Some(milliseconds(took[(took.len() * percent).div_ceil(100).checked_sub(1)?]));
        Some(Self { p50: rank(50)?, p99: rank(99)?, max: rank(100)? })
    }
}

impl Figures {
    /// What the ledger tells of the while from one time to another.
    pub fn of(phase: &str, hosts: usize, ledger: &Ledger, from: Duration, to: Duration) -> Self {
        let (requests, over) = (ledger.between(from, to), to.saturating_sub(from));
        let mut counts = BTreeMap::new();
        for request in &requests {
            *counts.entry((request.verb, request.class, request.answered)).or_default() += 1;
        }
        let requests_spread = Spread::of(requests.iter().map(|request| request.begun.saturating_sub(from)), over);
        Self {
            phase: phase.to_owned(),
            hosts,
            seconds: over.as_secs_f64(),
            requests: counts
                .into_iter()
                .map(|((verb, class, answered), count)| Requests { verb, class, answered, count })
                .collect(),
            polls: Polls::of(&requests, from, over),
            requests_spread,
            resident: resident(),
        }
    }

    /// How many requests there were of this kind, however they ended.
    pub fn count(&self, verb: Verb, class: Option<Class>) -> usize {
        let is_meant =
            |requests: &&Requests| requests.verb == verb && class.is_none_or(|class| requests.class == class);
        self.requests.iter().filter(is_meant).map(|requests| requests.count).sum()
    }
}

impl Polls {
    fn of(requests: &[Request], from: Duration, over: Duration) -> Self {
        let mut of_hosts: BTreeMap<usize, Vec<Request>> = BTreeMap::new();
        for request in requests {
            of_hosts.entry(request.host).or_default().push(*request);
        }
        let (mut polls, mut pauses, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
        for requests in of_hosts.values() {
            let own = polls_in(requests);
            for pair in own.windows(2) {
                pauses.push(pair[1].begun.saturating_sub(pair[0].begun));
                if pair[0].answered == Answered::Unchanged {
                    unchanged.push(reads_between(requests, pair[0], pair[1]));
                }
            }
            polls.extend(own);
        }
        let is_answered = |poll: &&Poll| !matches!(poll.answered, Answered::Failed | Answered::Unanswered);
        let hosts: std::collections::BTreeSet<_> = polls.iter().map(|poll| poll.host).collect();
        Self {
            count: polls.len(),
            failed: polls.iter().filter(|poll| poll.answered == Answered::Failed).count(),
            hosts: hosts.len(),
            requests_of_unchanged: average(&unchanged),
            most_requests_of_unchanged: unchanged.iter().max().copied(),
            latency: Latency::of(polls.iter().filter(is_answered).filter_map(|poll| poll.took).collect()),
            shortest_pause: pauses.into_iter().min().map(milliseconds),
            spread: Spread::of(polls.iter().map(|poll| poll.begun.saturating_sub(from)), over),
        }
    }
}

/// How often a host read from one poll to the next.
fn reads_between(requests: &[Request], one: Poll, next: Poll) -> usize {
    let is_meant = |request: &&Request| request.verb == Verb::Read && (one.begun..next.begun).contains(&request.begun);
    requests.iter().filter(is_meant).count()
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests fit a double")]
fn average(counts: &[usize]) -> Option<f64> {
    (!counts.is_empty()).then(|| counts.iter().sum::<usize>() as f64 / counts.len() as f64)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What of this process is in memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_by_the_nearest_rank() {
        let took: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(Latency::of(took), Some(Latency { p50: 100.0, p99: 198.0, max: 200.0 }));
        assert_eq!(Latency::of(vec![Duration::from_millis(7)]).map(|latency| latency.p50), Some(7.0));
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn requests_are_counted_by_kind_and_polls_by_host() {
        let ledger = Ledger::default();
        for host in [1, 2, 1] {
            for (class, may_wait) in [(Class::Assignment, false), (Class::Remote, true)] {
                let place = ledger.begin(host, Verb::Read, class, may_wait);
                ledger.end(place, Answered::Unchanged, false);
            }
        }
        ledger.begin(2, Verb::Write, Class::Report, false);
        let figures = Figures::of("trial", 2, &ledger, Duration::ZERO, ledger.now());
        assert_eq!((figures.count(Verb::Read, None), figures.count(Verb::Read, Some(Class::Remote))), (6, 3));
        assert_eq!(figures.count(Verb::Write, None), 1);
        assert_eq!((figures.polls.count, figures.polls.hosts, figures.polls.failed), (3, 2, 0));
        assert_eq!(figures.polls.most_requests_of_unchanged, Some(2));
    }
}
