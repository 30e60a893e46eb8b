//! Reading what hosts say of themselves.
//!
//! An assignment may pin the key that a host signs its reports with. As long as none does, a report is held against the key
//! that it names itself: then it is the word of whoever may write there, but at least of one and the same.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{CONCURRENT, Fleet, aside, names};
use crate::document::{Document, Report};
use crate::envelope::Envelope;
use crate::key::PublicKey;
use crate::layout;
use crate::limits;
use crate::name::HostName;
use crate::store::{Answer, Fault, Read, StoreError};
use crate::trust::{Floors, Refusal, Subject, Verified, verify};

/// What lies at the place of a report.
#[derive(Debug)]
pub struct Reported {
    /// The document, or why it is not to be believed.
    pub state: Result<Verified<Report>, Refusal>,
    /// The key that signed it, according to itself.
    pub claimed: Option<PublicKey>,
    /// Whether that is the key that the host is known by.
    pub key: KeyStanding,
}

/// How the key of a report is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    /// It is the one in the host's assignment.
    Pinned,
    /// No assignment says which it should be.
    Unpinned,
    /// The host's assignment says that it is another one.
    Wrong,
}

impl Fleet {
    /// Reads what a host says of itself; none where it has never said anything. `pinned` is the key that it is known by.
    pub async fn report(&self, host: &HostName, pinned: Option<&PublicKey>) -> Result<Option<Reported>, StoreError> {
        let found = self.report_bytes(host).await?;
        Ok(found.map(|found| found.map_or_else(Reported::too_large, |bytes| self.judge_report(host, pinned, &bytes))))
    }

    /// The bytes at the place of a report; within them none where they are too many.
    async fn report_bytes(&self, host: &HostName) -> Result<Option<Option<Bytes>>, StoreError> {
        let read = Read { limit: limits::REPORT_BYTES, ..Read::DOCUMENT };
        match self.store.read(&layout::report(host), read).await {
            Ok(Answer::Found { bytes, .. }) => Ok(Some(Some(bytes))),
            Ok(Answer::Unchanged { .. }) => Ok(None),
            Err(error) if error.fault == Fault::NotFound => Ok(None),
            Err(error) if error.fault == Fault::TooLarge => Ok(Some(None)),
            Err(error) => Err(error),
        }
    }

    /// The names of all hosts that have ever reported.
    pub async fn reporting_hosts(&self) -> Result<Vec<HostName>, StoreError> {
        Ok(names(&self.store.list(layout::REPORTS).await?))
    }

    /// Reads the reports of many hosts, each with the key that it is known by.
    pub async fn reports<'a>(
        &self,
        hosts: impl IntoIterator<Item = (&'a HostName, Option<&'a PublicKey>)>,
    ) -> Result<Vec<(HostName, Reported)>, StoreError> {
        let judge = &Arc::new(self.clone());
        let read = hosts.into_iter().map(|(host, pinned)| async move {
            let Some(found) = self.report_bytes(host).await? else { return Ok(None) };
            let Some(bytes) = found else { return Ok(Some((host.clone(), Reported::too_large()))) };
            let (judge, host, pinned) = (Arc::clone(judge), host.clone(), pinned.cloned());
            Ok(Some(aside(move || (host.clone(), judge.judge_report(&host, pinned.as_ref(), &bytes))).await))
        });
        stream::iter(read).buffered(CONCURRENT).try_filter_map(async |found| Ok(found)).try_collect().await
    }

    /// Whether to believe what was read at the place of a report. `pinned` is the key that the host is known by.
    pub fn judge_report(&self, host: &HostName, pinned: Option<&PublicKey>, bytes: &[u8]) -> Reported {
        if bytes.len() as u64 > limits::REPORT_BYTES {
            return Reported::too_large();
        }
        // A host says what it is like, which does not expire, and is no instruction.
        let signed_by = |key: &PublicKey| {
            let subject = Subject::Report(host, key);
            verify::<Report>(bytes, subject, &self.trusted, &Floors::default(), crate::Timestamp::MIN)
        };
        let Some(pinned) = pinned else {
            let claimed = claimed_key(bytes);
            let nobody = || Err(Refusal::NoRole { power: format!("report for `{host}`") });
            let state = claimed.as_ref().map_or_else(nobody, signed_by);
            return Reported { state, claimed, key: KeyStanding::Unpinned };
        };
        match signed_by(pinned) {
            Ok(document) => Reported { state: Ok(document), claimed: Some(pinned.clone()), key: KeyStanding::Pinned },
            Err(refusal) => {
                let claimed = claimed_key(bytes);
                let is_other = claimed.as_ref().is_some_and(|claimed| claimed.bytes() != pinned.bytes());
                let key = if is_other { KeyStanding::Wrong } else { KeyStanding::Pinned };
                Reported { state: Err(refusal), claimed, key }
            }
        }
    }
}

impl Reported {
    fn too_large() -> Self {
        let state = Err(Refusal::TooLarge { limit: limits::REPORT_BYTES });
        Self { state, claimed: None, key: KeyStanding::Unpinned }
    }
}

/// The key that a report says it is signed with: believed only as far as that goes.
fn claimed_key(bytes: &[u8]) -> Option<PublicKey> {
    let envelope = Envelope::parse(bytes).ok()?;
    let report: Document<Report> = Document::from_payload(envelope.payload()).ok()?;
    report.body.report_key
}
