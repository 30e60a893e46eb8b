//! What the agent of version 0.1.0 asks of a journal. It is frozen: a journal that this cannot read is lost on a host that goes
//! back to that agent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use npc_core::Timestamp;
use npc_core::digest::Digest;
use npc_core::document::{Archive, Serial};
use npc_core::name::{ConfigurationName, RemoteName};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Failed {
    kind: String,
    message: String,
    #[serde(default)]
    log: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Target {
    remote: RemoteName,
    serial: Serial,
    digest: Digest,
    archive: Archive,
    configuration: ConfigurationName,
    #[serde(default)]
    drv_path: Option<String>,
    #[serde(default)]
    out_path: Option<String>,
    #[serde(default)]
    rev: Option<String>,
    #[serde(default)]
    expires: Option<Timestamp>,
    #[serde(default)]
    attempt: u32,
}

#[derive(Debug, Deserialize)]
struct Committed {
    target: Target,
    system: PathBuf,
    since: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Built {
    system: PathBuf,
    #[serde(default)]
    unexpected: Option<Failed>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    number: u64,
    target: Target,
    system: PathBuf,
    since: Timestamp,
    before: Baseline,
    #[serde(default)]
    unexpected: Option<Failed>,
}

#[derive(Debug, Deserialize)]
struct Baseline {
    running: Option<PathBuf>,
    store_answers: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
enum Phase {
    Steady,
    Fetched {
        target: Target,
    },
    Verified {
        target: Target,
    },
    Built {
        target: Target,
        #[serde(flatten)]
        built: Built,
    },
    Activating(Attempt),
    Probation(Attempt),
    Committing(Attempt),
    RollingBack {
        attempt: Attempt,
        reason: Failed,
        boot: bool,
    },
}

#[derive(Debug, Deserialize)]
struct BackOff {
    failures: u32,
    until: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Quarantined {
    at: Timestamp,
    reason: Failed,
    attempt: u32,
}

#[derive(Debug, Deserialize)]
struct Trouble {
    since: Timestamp,
    reason: Failed,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    at: Timestamp,
    #[serde(default)]
    serial: Option<Serial>,
    kind: OutcomeKind,
    #[serde(default)]
    error: Option<String>,
    message: String,
    #[serde(default)]
    log: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OutcomeKind {
    Committed,
    Adopted,
    Refused,
    Failed,
    RolledBack,
    Stranded,
}

/// The journal, as far as that version knew it.
#[derive(Debug, Deserialize)]
pub(super) struct Journal {
    #[serde(flatten)]
    phase: Phase,
    #[serde(default)]
    committed: Option<Committed>,
    #[serde(default)]
    back_off: Option<BackOff>,
    #[serde(default)]
    quarantine: BTreeMap<String, Quarantined>,
    #[serde(default)]
    interrupted: Option<String>,
    #[serde(default)]
    trouble: Option<Trouble>,
    #[serde(default)]
    attempts: u64,
    #[serde(default)]
    outcomes: Vec<Outcome>,
}
