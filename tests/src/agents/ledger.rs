//! What agents have asked of their store, and when.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use npc_core::layout::ObjectKey;
use serde::{Deserialize, Serialize};

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// GET.
    Read,
    /// PUT.
    Write,
    /// DELETE.
    Remove,
    /// LIST.
    List,
}

/// What kind of object it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A host's assignment.
    Assignment,
    /// A remote's current release, or a release that is followed for good.
    Remote,
    /// A version of the trust.
    Trust,
    /// A release's files.
    Archive,
    /// What a host says of itself.
    Report,
    /// Anything else.
    Other,
}

impl Class {
    /// The class of the objects below this folder.
    pub fn of(key: &ObjectKey) -> Self {
        match key.folder() {
            "assignments" => Self::Assignment,
            "remotes" | "releases" => Self::Remote,
            "trust" => Self::Trust,
            "archives" => Self::Archive,
            "reports" => Self::Report,
            _ => Self::Other,
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// With what was asked for.
    Done,
    /// The reader has the object already: 304.
    Unchanged,
    /// There is no such object: 404.
    Absent,
    /// The store did not answer, or something unwelcome.
    Failed,
    /// It has not been answered, or nobody wanted to know any more.
    Unanswered,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Whose it is, by the host's number.
    pub host: usize,
    /// What was to be done.
    pub verb: Verb,
    /// To what.
    pub class: Class,
    /// Whether the store was allowed to wait for a change.
    pub may_wait: bool,
    /// Whether the store did so.
    pub waited: bool,
    /// How it ended.
    pub answered: Answered,
    /// When it began, since the ledger was opened.
    pub begun: Duration,
    /// How long it took.
    pub took: Duration,
}

/// Every request of every agent.
#[derive(Debug)]
pub struct Ledger {
    opened: Instant,
    requests: Mutex<Vec<Request>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { opened: Instant::now(), requests: Mutex::default() }
    }
}

impl Ledger {
    /// The time since the ledger was opened.
    pub fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    /// A host's request begins. Gives its place in the ledger.
    pub fn begin(&self, host: usize, verb: Verb, class: Class, may_wait: bool) -> usize {
        let (begun, took) = (self.now(), Duration::ZERO);
        let answered = Answered::Unanswered;
        let mut requests = self.requests();
        requests.push(Request { host, verb, class, may_wait, waited: false, answered, begun, took });
        requests.len() - 1
    }

    /// The request at this place was answered.
    pub fn end(&self, place: usize, answered: Answered, waited: bool) {
        let now = self.now();
        let request = &mut self.requests()[place];
        (request.answered, request.waited, request.took) = (answered, waited, now.saturating_sub(request.begun));
    }

    /// What began from one time until before another, in the order in which it began.
    pub fn between(&self, from: Duration, to: Duration) -> Vec<Request> {
        let mut requests: Vec<_> =
            self.requests().iter().filter(|request| (from..to).contains(&request.begun)).copied().collect();
        requests.sort_by_key(|request| request.begun);
        requests
    }

    /// A panic elsewhere leaves the entries whole.
    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
