//! A reader that is no program yet: npc-core's verification with floors of its own, over the network as it will be.
//!
//! It stands in for the agent where that does not read assignments, or for the publisher where that does not read reports.
//! Once a program does, it is the [`Reader`] that `trial::run` gives these attacks to, and their folders stay as they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use npc_core::Timestamp;
use npc_core::document::{Assignment, Body, Kind, Report};
use npc_core::layout::ObjectKey;
use npc_core::store::{self, Answer, Options, Read};
use npc_core::trust::{Floors, Subject, verify, walk};
use tokio::runtime::{Builder, Runtime};

use super::expectation::Judge;
use super::fleet::{REPORT, anchor, key};
use super::snapshot::Found;
use super::trial::{Asked, Reader};

/// What a reader of one document has: its store's address, and its memory.
#[derive(Debug)]
pub(super) struct Verifier {
    judge: Judge,
    store: String,
    floors: Floors,
    followed: Vec<u64>,
    runtime: Runtime,
}

impl Verifier {
    /// A reader that has believed nothing yet.
    pub(super) fn new(judge: &Judge, store: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { judge: judge.clone(), store: store.to_owned(), floors: Floors::default(), followed: Vec::new(), runtime }
    }

    fn subject(&self) -> (Kind, &str, ObjectKey) {
        let (kind, name, folder) = match &self.judge {
            Judge::Assignment(name) => (Kind::Assignment, name.as_str(), "assignments"),
            Judge::Report(name) => (Kind::Report, name.as_str(), "reports"),
            Judge::Agent => unreachable!("the agent judges for itself"),
        };
        (kind, name, format!("{folder}/{name}.json").parse().expect("a key"))
    }

    /// Reads, verifies and remembers, as a program would. Gives the kind of what it failed for.
    async fn read(&self) -> Result<(Floors, u64), String> {
        let (_, _, object) = self.subject();
        let url = self.store.parse().expect("an address");
        let store = store::open(&url, Options::default()).await.expect("it can be opened");
        let first = walk::first(&*store, &anchor()).await.expect("the first trust");
        let trusted = walk::newest(&*store, first).await.expect("the newest trust");
        let bytes = match store.read(&object, Read::DOCUMENT).await {
            Ok(Answer::Found { bytes, .. }) => bytes,
            Ok(Answer::Unchanged { .. }) => unreachable!("it was asked without a condition"),
            Err(error) => return Err(error.fault.kind().to_owned()),
        };
        let report_key = key(REPORT[0]).public();
        let subject = match &self.judge {
            Judge::Assignment(name) => Subject::Assignment(name),
            Judge::Report(name) => Subject::Report(name, &report_key),
            Judge::Agent => unreachable!("the agent judges for itself"),
        };
        match subject {
            Subject::Report(..) => {
                self.raised(verify::<Report>(&bytes, subject, &trusted, &self.floors, Timestamp::now()))
            }
            _ => self.raised(verify::<Assignment>(&bytes, subject, &trusted, &self.floors, Timestamp::now())),
        }
    }

    fn raised<B: Body>(
        &self,
        verified: Result<npc_core::trust::Verified<B>, npc_core::trust::Refusal>,
    ) -> Result<(Floors, u64), String> {
        let verified = verified.map_err(|refusal| refusal.kind().to_owned())?;
        let mut floors = self.floors.clone();
        floors.raise(B::KIND, verified.header(), verified.digest());
        Ok((floors, verified.header().serial.get()))
    }
}

impl Reader for Verifier {
    fn ask(&mut self) -> Asked {
        match self.runtime.block_on(self.read()) {
            Ok((floors, serial)) => {
                self.floors = floors;
                self.followed.push(serial);
                Asked::Followed
            }
            Err(kind) => Asked::Refused(kind),
        }
    }

    fn followed(&self) -> Vec<u64> {
        let (kind, name, _) = self.subject();
        let remembered = self.floors.get(kind, name).map(|floor| floor.serial.get());
        assert_eq!(self.followed.last().copied(), remembered, "what was believed last is what is remembered");
        self.followed.clone()
    }

    fn surroundings(&self) -> BTreeMap<PathBuf, Found> {
        BTreeMap::new()
    }
}
