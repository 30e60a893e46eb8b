//! What the host says of itself to the store: `reports/<host>.json`, signed with a key of its own.
//!
//! A report is written soon after something has changed, and otherwise once in a while, so that silence means something. All
//! that is a task beside the agent's work: a store that takes no reports keeps no host from anything, and whatever could not
//! be said is said later, with everything that has changed since.

mod account;
mod facts;
mod observer;
mod signer;

use std::sync::Arc;
use std::time::Duration;

use npc_core::Timestamp;
use npc_core::document::{Document, Header, Report, Serial};
use npc_core::explain;
use npc_core::layout;
use npc_core::name::{AssignmentName, FleetId, HostName};
use npc_core::store::{Content, Precondition, Store};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use account::Account;
pub use facts::{Contact, Facts, Machine, ThisMachine};
pub use signer::{NoNumberLeft, Signer, SignerError};

use self::observer::Observer;
use crate::jitter::jitter;
use crate::settings::Reporting;

/// How long to gather what changes at about the same time.
const GATHER: Duration = Duration::from_secs(1);

/// The first pause after a report that could not be written; each further failure doubles it, up to the heartbeat.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// How long the first report may hold up the first activation.
const FIRST_WORDS: Duration = Duration::from_secs(10);

/// How long the last report may hold up the agent's end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Who the host is, in all of its reports.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its fleet.
    pub fleet: FleetId,
    /// Its name.
    pub host: HostName,
    /// The assignment that it asks for.
    pub assignment: AssignmentName,
    /// Its installation.
    pub instance: String,
}

/// A report that could not be written.
#[derive(Debug, Error)]
enum ReportError {
    #[error(transparent)]
    Number(#[from] NoNumberLeft),
    #[error(transparent)]
    Store(#[from] npc_core::store::StoreError),
}

impl ReportError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "no-number-left",
            Self::Store(error) => error.fault.kind(),
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Number(_) => None,
            Self::Store(error) => error.fault.hint(),
        }
    }
}

/// Who is told of all changes.
#[derive(Debug)]
pub struct Reporter {
    accounts: watch::Sender<Account>,
    /// Whether the first report was written, or could not be.
    introduced: watch::Receiver<bool>,
    /// Somebody waits for it.
    awaited: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Begins to report, first of all this.
    pub fn begin(
        store: Arc<dyn Store>,
        signer: Signer,
        identity: Identity,
        machine: Box<dyn Machine>,
        settings: Reporting,
        account: Account,
    ) -> Self {
        let (accounts, heard) = watch::channel(account);
        let (first_written, introduced) = watch::channel(false);
        let observer = Observer::of(machine);
        let awaited = Arc::new(Notify::new());
        let scribe = Scribe {
            store,
            signer,
            identity,
            observer,
            settings,
            rollout: None,
            written: None,
            failed: None,
            first_written,
            awaited: Arc::clone(&awaited),
        };
        Self { accounts, introduced, awaited, task: tokio::task::spawn_local(scribe.write_all(heard)) }
    }

    /// Resolves once the first report has been written, or could not be, or takes too long. Whoever is to encrypt secrets for the
    /// host needs its keys before anything is activated that needs the secrets.
    pub async fn introduction(&self) {
        let mut introduced = self.introduced.clone();
        self.awaited.notify_one();
        if tokio::time::timeout(FIRST_WORDS, introduced.wait_for(|introduced| *introduced)).await.is_err() {
            tracing::debug!("the first report takes its time, and is not waited for");
        }
    }

    /// Takes note of how things stand.
    pub fn tell(&self, account: Account) {
        self.accounts.send_if_modified(|known| {
            let is_news = *known != account;
            if is_news {
                *known = account;
            }
            is_news
        });
    }

    /// Says what has not been said yet, if that does not take long.
    pub async fn end(self) {
        let Self { accounts, mut task, .. } = self;
        drop(accounts);
        if tokio::time::timeout(LAST_WORDS, &mut task).await.is_err() {
            tracing::warn!("the last report could not be written in time");
            task.abort();
        }
    }
}

/// Whoever writes the reports.
struct Scribe {
    store: Arc<dyn Store>,
    signer: Signer,
    identity: Identity,
    observer: Observer,
    settings: Reporting,
    /// How often a rollout that waits for the host wants to hear of it.
    rollout: Option<Duration>,
    /// What the store was told last, and when.
    written: Option<(Report, Instant)>,
    /// How often writing has failed in a row, and why.
    failed: Option<(u32, &'static str)>,
    /// Says that the first report was written, or could not be.
    first_written: watch::Sender<bool>,
    /// Somebody waits for that.
    awaited: Arc<Notify>,
}

impl Scribe {
    /// Writes what there is to say until nobody can say anything more.
    async fn write_all(mut self, mut accounts: watch::Receiver<Account>) {
        let mut goes_on = tokio::select! {
            goes_on = waits(&mut accounts, GATHER) => goes_on,
            () = self.awaited.notified() => true,
        };
        loop {
            let account = accounts.borrow_and_update().clone();
            let trust = account.trust;
            // Whoever wants to hear of the host more often counts.
            self.rollout = account.heartbeat.filter(|heartbeat| *heartbeat < self.settings.heartbeat);
            let settings = Reporting { heartbeat: self.heartbeat(), ..self.settings };
            let facts = self.observer.facts().await;
            let report = self.identity.report(account, facts, self.signer.key().public(), settings);
            if !self.is_said(&report) {
                let result = self.write(&report, trust).await;
                self.note(report, result);
                self.first_written.send_replace(true);
            }
            if !goes_on {
                return;
            }
            let pause = self.pause();
            // A store that took none is not asked again for every change.
            goes_on = match self.failed {
                Some(_) => waits(&mut accounts, pause).await,
                None => match tokio::time::timeout(pause, self.news(&mut accounts)).await {
                    Ok(true) => waits(&mut accounts, GATHER).await,
                    Ok(false) => return,
                    Err(_) => true,
                },
            };
        }
    }

    /// Ends when something has changed, here or with the machine; with `false` once nobody can say anything more.
    async fn news(&mut self, accounts: &mut watch::Receiver<Account>) -> bool {
        tokio::select! {
            biased;
            changed = accounts.changed() => changed.is_ok(),
            () = self.observer.changes() => true,
        }
    }

    fn is_said(&self, report: &Report) -> bool {
        let is_recent = |at: &Instant| at.elapsed() < self.heartbeat() / 2;
        self.written.as_ref().is_some_and(|(written, at)| written == report && is_recent(at))
    }

    async fn write(&mut self, report: &Report, trust: Serial) -> Result<(), ReportError> {
        let (Identity { fleet, host, .. }, now) = (&self.identity, Timestamp::now());
        let header = Header {
            fleet: fleet.clone(),
            name: host.to_string(),
            serial: self.signer.next_number(now)?,
            created: now,
            trust,
            requires: Vec::new(),
            expires: None,
        };
        let signed = Document { header, body: report.clone() }.sign(&[self.signer.key()]);
        self.store.write(&layout::report(host), Content::Bytes(&signed.bytes), Precondition::None).await?;
        Ok(())
    }

    fn note(&mut self, report: Report, result: Result<(), ReportError>) {
        let Err(error) = result else {
            (self.written, self.failed) = (Some((report, Instant::now())), None);
            return;
        };
        let (failures, known) = self.failed.map_or((0, None), |(failures, kind)| (failures, Some(kind)));
        // Said once: a store that takes no reports, as a plain web server, is nothing that a log must be filled with.
        if known != Some(error.kind()) {
            let (kind, hint) = (error.kind(), error.hint());
            tracing::warn!(kind, hint, "cannot report to the store: {}", explain::in_one_line(&error));
        }
        self.failed = Some((failures.saturating_add(1), error.kind()));
    }

    fn heartbeat(&self) -> Duration {
        self.rollout.unwrap_or(self.settings.heartbeat)
    }

    /// How long to wait for something new: three quarters of a heartbeat to one and a quarter, so that a fleet spreads out; and
    /// hardly less than one, but never more, where a rollout waits.
    fn pause(&self) -> Duration {
        let jitter = jitter();
        match (self.failed, self.rollout) {
            (None, None) => self.settings.heartbeat.mul_f64(0.75 + jitter / 2.0),
            (None, Some(heartbeat)) => heartbeat.mul_f64(0.9 + jitter / 20.0),
            (Some((failures, _)), _) => {
                let first = FIRST_PAUSE.min(self.heartbeat());
                let pause = first.saturating_mul(1 << (failures.saturating_sub(1)).min(16));
                pause.min(self.settings.heartbeat).mul_f64(0.75 + jitter / 2.0)
            }
        }
    }
}

/// Waits so long, whatever changes; not any longer once nobody can say anything more, of which it gives `false`.
async fn waits(accounts: &mut watch::Receiver<Account>, pause: Duration) -> bool {
    tokio::time::timeout(pause, async { while accounts.changed().await.is_ok() {} }).await.is_err()
}

#[cfg(test)]
mod tests;
