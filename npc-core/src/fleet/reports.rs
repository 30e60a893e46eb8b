//! Reading what hosts say of themselves.
//!
//! An assignment may pin the key that a host signs its reports with. As long as none does, a report is held against the key
//! that it names itself: then it is the word of whoever may write there, but at least of one and the same.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{CONCURRENT, Fleet, Judged, names};
use crate::Timestamp;
use crate::document::{Document, Report};
use crate::envelope::Envelope;
use crate::key::PublicKey;
use crate::layout;
use crate::limits;
use crate::name::HostName;
use crate::store::{ETag, Fault, Listed, Read, StoreError};
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
    /// When it was written, by the store's clock; none if no listing has told.
    pub written: Option<Timestamp>,
}

/// Whose report is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Inquiry<'a> {
    /// The host.
    pub host: &'a HostName,
    /// The key that it is known by.
    pub pinned: Option<&'a PublicKey>,
    /// What a listing has just said of its report: if that version is remembered, it is not read again.
    pub listed: Option<&'a Listed>,
}

impl Judged for Reported {
    fn is_believed(&self) -> bool {
        self.state.is_ok()
    }
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
        self.inquire(&Arc::new(self.clone()), Inquiry { host, pinned, listed: None }).await
    }

    /// Reads a report, which `judge` judges elsewhere.
    async fn inquire(&self, judge: &Arc<Self>, inquiry: Inquiry<'_>) -> Result<Option<Reported>, StoreError> {
        let read = Read { limit: limits::REPORT_BYTES, ..Read::DOCUMENT };
        let key = layout::report(inquiry.host);
        let (judge, host, pinned) = (Arc::clone(judge), inquiry.host.clone(), inquiry.pinned.cloned());
        let listed = inquiry.listed.and_then(|listed| listed.etag.clone());
        let written = inquiry.listed.and_then(|listed| listed.modified);
        let version = listed.clone();
        let judged = move |bytes: Bytes, etag: Option<ETag>| {
            // What has been written since the listing is younger than that says.
            let is_listed = version.is_none() || etag.is_none() || version == etag;
            Reported { written: written.filter(|_| is_listed), ..judge.judge_report(&host, pinned.as_ref(), &bytes) }
        };
        match self.known_or_read(&key, listed.as_ref(), read, judged).await {
            Err(error) if error.fault == Fault::TooLarge => Ok(Some(Reported { written, ..Reported::too_large() })),
            found => found,
        }
    }

    /// All hosts that have ever reported, and what the store's listing says of their reports.
    pub async fn reporting_hosts(&self) -> Result<Vec<(HostName, Listed)>, StoreError> {
        Ok(names(self.list(layout::REPORTS).await?).collect())
    }

    /// Reads the reports of many hosts.
    pub async fn reports<'a>(
        &self,
        inquiries: impl IntoIterator<Item = Inquiry<'a>>,
    ) -> Result<Vec<(HostName, Reported)>, StoreError> {
        let judge = &Arc::new(self.clone());
        let read = inquiries.into_iter().map(|inquiry| async move {
            let found = self.inquire(judge, inquiry).await?;
            Ok(found.map(|reported| (inquiry.host.clone(), reported)))
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
            verify::<Report>(bytes, subject, &self.trusted, &Floors::default(), Timestamp::MIN)
        };
        let Some(pinned) = pinned else {
            let claimed = claimed_key(bytes);
            let nobody = || Err(Refusal::NoRole { power: format!("report for `{host}`") });
            let state = claimed.as_ref().map_or_else(nobody, signed_by);
            return Reported { state, claimed, key: KeyStanding::Unpinned, written: None };
        };
        match signed_by(pinned) {
            Ok(document) => {
                let claimed = Some(pinned.clone());
                Reported { state: Ok(document), claimed, key: KeyStanding::Pinned, written: None }
            }
            Err(refusal) => {
                let claimed = claimed_key(bytes);
                let is_other = claimed.as_ref().is_some_and(|claimed| claimed.bytes() != pinned.bytes());
                let key = if is_other { KeyStanding::Wrong } else { KeyStanding::Pinned };
                Reported { state: Err(refusal), claimed, key, written: None }
            }
        }
    }
}

impl Reported {
    fn too_large() -> Self {
        let state = Err(Refusal::TooLarge { limit: limits::REPORT_BYTES });
        Self { state, claimed: None, key: KeyStanding::Unpinned, written: None }
    }
}

/// The key that a report says it is signed with: believed only as far as that goes.
fn claimed_key(bytes: &[u8]) -> Option<PublicKey> {
    let envelope = Envelope::parse(bytes).ok()?;
    let report: Document<Report> = Document::from_payload(envelope.payload()).ok()?;
    report.body.report_key
}
