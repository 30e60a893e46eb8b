//! Reading what hosts say of themselves.
//!
//! An assignment may pin the key that a host signs its reports with. As long as none does, a report is held against the key
//! that it names itself: then it is the word of whoever may write there, but at least of one and the same.

use super::{CONCURRENT, Fleet, names};
use crate::document::{Document, Report};
use crate::envelope::Envelope;
use crate::key::PublicKey;
use crate::layout;
use crate::limits;
use crate::name::HostName;
use crate::store::{Answer, Fault, Read, StoreError};
use crate::trust::{Floors, Refusal, Subject, Verified, verify};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

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
        let read = Read { limit: limits::REPORT_BYTES, ..Read::DOCUMENT };
        match self.store.read(&layout::report(host), read).await {
            Ok(Answer::Found { bytes, .. }) => Ok(Some(self.judge_report(host, pinned, &bytes))),
            Ok(Answer::Unchanged { .. }) => Ok(None),
            Err(error) if error.fault == Fault::NotFound => Ok(None),
            Err(error) if error.fault == Fault::TooLarge => {
                let state = Err(Refusal::TooLarge { limit: limits::REPORT_BYTES });
                Ok(Some(Reported { state, claimed: None, key: KeyStanding::Unpinned }))
            }
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
        let read = hosts.into_iter().map(|(host, pinned)| async move {
            Ok(self.report(host, pinned).await?.map(|reported| (host.clone(), reported)))
        });
        stream::iter(read).buffered(CONCURRENT).try_filter_map(async |found| Ok(found)).try_collect().await
    }

    fn judge_report(&self, host: &HostName, pinned: Option<&PublicKey>, bytes: &[u8]) -> Reported {
        let claimed = claimed_key(bytes);
        let key = match (pinned, &claimed) {
            (None, _) => KeyStanding::Unpinned,
            (Some(pinned), Some(claimed)) if pinned.bytes() != claimed.bytes() => KeyStanding::Wrong,
            (Some(_), _) => KeyStanding::Pinned,
        };
        let Some(known) = pinned.or(claimed.as_ref()) else {
            let state = Err(Refusal::NoRole { power: format!("report for `{host}`") });
            return Reported { state, claimed, key };
        };
        // A host says what it is like, which does not expire, and is no instruction.
        let subject = Subject::Report(host, known);
        let state = verify(bytes, subject, &self.trusted, &Floors::default(), crate::Timestamp::MIN);
        Reported { state, claimed, key }
    }
}

/// The key that a report says it is signed with: believed only as far as that goes.
fn claimed_key(bytes: &[u8]) -> Option<PublicKey> {
    let envelope = Envelope::parse(bytes).ok()?;
    let report: Document<Report> = Document::from_payload(envelope.payload()).ok()?;
    report.body.report_key
}
