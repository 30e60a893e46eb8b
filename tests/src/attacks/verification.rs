//! A reader of reports that is no program yet: npc-core's verification with floors of its own, over the network as it will be.
//!
//! Once a program reads reports, it is the [`Reader`] that `trial::run` gives these attacks to, and their folders stay as they
//! are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use npc_core::Timestamp;
use npc_core::document::{Kind, Report};
use npc_core::layout;
use npc_core::name::HostName;
use npc_core::store::{self, Answer, Options, Read};
use npc_core::trust::{Floors, Refusal, Subject, Verified, verify, walk};
use tokio::runtime::{Builder, Runtime};

use super::fleet::{REPORT, anchor, key};
use super::snapshot::Found;
use super::trial::{Asked, Reader};

/// What a reader of one document has: its store's address, and its memory.
#[derive(Debug)]
pub(super) struct Verifier {
    host: HostName,
    store: String,
    floors: Floors,
    followed: Vec<u64>,
    runtime: Runtime,
}

impl Verifier {
    /// A reader that has believed nothing yet.
    pub(super) fn new(host: &HostName, store: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { host: host.clone(), store: store.to_owned(), floors: Floors::default(), followed: Vec::new(), runtime }
    }

    /// Reads, verifies and remembers, as a program would. Gives the kind of what it failed for.
    async fn read(&self) -> Result<(Floors, u64), String> {
        let url = self.store.parse().expect("an address");
        let store = store::open(&url, Options::default()).await.expect("it can be opened");
        let first = walk::first(&*store, &anchor()).await.expect("the first trust");
        let trusted = walk::newest(&*store, first).await.expect("the newest trust");
        let bytes = match store.read(&layout::report(&self.host), Read::DOCUMENT).await {
            Ok(Answer::Found { bytes, .. }) => bytes,
            Ok(Answer::Unchanged { .. }) => unreachable!("it was asked without a condition"),
            Err(error) => return Err(error.fault.kind().to_owned()),
        };
        let report_key = key(REPORT[0]).public();
        let subject = Subject::Report(&self.host, &report_key);
        self.raised(verify(&bytes, subject, &trusted, &self.floors, Timestamp::now()))
    }

    fn raised(&self, verified: Result<Verified<Report>, Refusal>) -> Result<(Floors, u64), String> {
        let verified = verified.map_err(|refusal| refusal.kind().to_owned())?;
        let mut floors = self.floors.clone();
        floors.raise(Kind::Report, verified.header(), verified.digest());
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
        let remembered = self.floors.get(Kind::Report, self.host.as_str()).map(|floor| floor.serial.get());
        assert_eq!(self.followed.last().copied(), remembered, "what was believed last is what is remembered");
        self.followed.clone()
    }

    fn surroundings(&self) -> BTreeMap<PathBuf, Found> {
        BTreeMap::new()
    }
}
