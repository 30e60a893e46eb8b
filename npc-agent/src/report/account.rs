//! From the agent's journal to a report.

use std::path::PathBuf;
use std::time::Duration;

use npc_core::digest::Digest;
use npc_core::document::{Obeyed, Outcome, Quarantined, Report, Running, Serial, Trouble};
use npc_core::key::PublicKey;
use serde_json::Map;

use super::{Facts, Identity};
use crate::machine::Journal;
use crate::settings::Reporting;

/// How many outcomes a report tells of.
const OUTCOMES: usize = 5;

/// How many quarantined systems it names.
const QUARANTINED: usize = 10;

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Where the agent is.
    pub journal: Journal,
    /// Whether it was told to change nothing.
    pub paused: bool,
    /// How often to report, as long as a rollout waits for the host.
    pub heartbeat: Option<Duration>,
    /// What it obeys.
    pub obeyed: Obeyed,
    /// The system that runs.
    pub running: Option<PathBuf>,
    /// The newest version of the trust that it has verified, or else the one below which it believes nothing.
    pub trust: Serial,
    /// The digest of that version, where it has verified one.
    pub trust_digest: Option<Digest>,
}

impl Account {
    fn runs(&self) -> Option<Running> {
        let committed = self.journal.committed.as_ref();
        let system = self.running.as_ref().or(committed.map(|committed| &committed.system))?;
        let committed = committed.filter(|committed| committed.system == *system);
        let target = committed.map(|committed| &committed.target);
        Some(Running {
            archive: target.map(|target| target.archive.sha256),
            configuration: target.map(|target| target.configuration.clone()),
            system: system.to_string_lossy().into_owned(),
            rev: target.and_then(|target| target.rev.clone()),
            remote: target.map(|target| target.remote.clone()),
            serial: target.map(|target| target.serial),
            since: committed.map(|committed| committed.since),
        })
    }

    fn outcomes(&self, logs: bool) -> Vec<Outcome> {
        let outcomes = self.journal.outcomes.iter().take(OUTCOMES).cloned();
        outcomes.map(|outcome| Outcome { log: outcome.log.filter(|_| logs), ..outcome }).collect()
    }

    fn quarantined(&self) -> Vec<Quarantined> {
        let entry = |(key, entry): (&crate::machine::SystemKey, &crate::machine::Quarantined)| Quarantined {
            system: key.to_string(),
            at: entry.at,
            kind: entry.reason.kind.clone(),
            message: entry.reason.message.clone(),
        };
        let mut quarantined: Vec<_> = self.journal.quarantine.iter().map(entry).collect();
        quarantined.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        quarantined.truncate(QUARANTINED);
        quarantined
    }

    /// What is wrong with the store, or with what is followed, comes first: without that, the host cannot go anywhere either.
    fn trouble(&self) -> Option<Trouble> {
        let trouble = self.journal.trouble.as_ref().map(|trouble| (trouble.since, &trouble.reason));
        let stays = self.journal.stays.as_ref().map(|stays| (stays.since, &stays.reason));
        let (since, reason) = trouble.or(stays)?;
        let besides = trouble.and(stays).map(|(_, reason)| format!("; besides, it {reason}")).unwrap_or_default();
        Some(Trouble { since, kind: reason.kind.clone(), message: format!("{}{besides}", reason.message) })
    }
}

impl Identity {
    /// What there is to say now.
    pub(super) fn report(&self, account: Account, facts: Facts, key: PublicKey, settings: Reporting) -> Report {
        Report {
            instance: self.instance.clone(),
            boot_id: facts.boot_id,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            report_key: Some(key),
            trust_digest: account.trust_digest,
            assignment: Some(self.assignment.clone()),
            heartbeat: Some(settings.heartbeat.as_secs()),
            ephemeral: settings.ephemeral,
            runs: account.runs(),
            phase: account.journal.phase.word().to_owned(),
            paused: account.paused,
            trouble: account.trouble(),
            quarantined: account.quarantined(),
            outcomes: account.outcomes(settings.logs),
            failed_units: facts.failed_units.into_iter().collect(),
            addresses: facts.contact.addresses.into_iter().collect(),
            ssh_host_keys: facts.contact.ssh_host_keys.into_iter().collect(),
            reboot_needed: account.journal.reboot.is_some(),
            boot_unproven: account.journal.unproven.is_some(),
            obeys: Some(account.obeyed),
            other: Map::new(),
        }
    }
}
