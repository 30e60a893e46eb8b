//! A report: what a host last said about itself. Everything in it is untrusted input to whoever reads it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Body, Kind, Serial};
use crate::Timestamp;
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::name::{AssignmentName, ConfigurationName, RemoteName};
use crate::text;

/// A host's account of itself. The header's serial is the report's sequence number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the document by itself")]
pub struct Report {
    /// One installation of the host: new when the machine is re-created or cloned.
    pub instance: String,
    /// The boot it runs in.
    pub boot_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// The key that its reports are signed with, for whoever pins it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_key: Option<PublicKey>,
    /// The digest of the newest version of the trust that it has verified, as the object lies in the store; the header has
    /// the version's number. None as long as it has verified none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_digest: Option<Digest>,
    /// The assignment that it asks for: its own, or one that several hosts share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<AssignmentName>,
    /// Seconds after which it says so again, at the latest, even if nothing has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u64>,
    /// Whether the machine comes and goes: once it is silent, nobody need look for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
    /// What it was told to follow; none where it cannot know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obeys: Option<Obeyed>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Running>,
    /// The phase its agent is in.
    pub phase: String,
    /// Whether it was told to change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Why the store has brought nothing that could be acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Systems that failed on it and are not tried again, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Quarantined>,
    /// The last few outcomes, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Outcome>,
    /// Units that have failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_units: Vec<String>,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its SSH host public keys, so that secrets can be encrypted to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_host_keys: Vec<String>,
    /// Whether kernel, initrd or parameters wait for a reboot.
    #[serde(default)]
    pub reboot_needed: bool,
    /// Whether the boot default has never been booted.
    #[serde(default)]
    pub boot_unproven: bool,
    /// Fields of later versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Report {
    /// The report with nothing in its texts that could steer a terminal or deceive a reader.
    #[must_use]
    pub fn cleaned(self) -> Self {
        let mut value = serde_json::to_value(&self).expect("a report is a structure with text keys");
        text::clean(&mut value);
        // A name that was in order is untouched, so everything still is what it was.
        serde_json::from_value(value).unwrap_or_default()
    }
}

impl Outcome {
    /// Whether it was about this release. What names no remote was written down by an earlier version, and may have been.
    pub fn is_about(&self, remote: &RemoteName, serial: Serial) -> bool {
        self.serial == Some(serial) && self.remote.as_ref().is_none_or(|named| named == remote)
    }
}

impl Body for Report {
    const KIND: Kind = Kind::Report;
}

/// What a host obeys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obeyed {
    /// The assignment's serial; none where the host's own settings rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Serial>,
    /// The remote.
    pub remote: RemoteName,
    /// The configuration.
    pub configuration: ConfigurationName,
    /// The release that this leads to; none as long as none was believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Believed>,
}

/// A release that a host believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Believed {
    /// Its serial.
    pub serial: Serial,
    /// The digest of its payload.
    pub digest: Digest,
}

/// What a host runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The archive it was built from, where npc knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Digest>,
    /// The configuration that was built of it, likewise. Older agents do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationName>,
    /// The system's store path.
    pub system: String,
    /// The commit it was published from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// The remote that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteName>,
    /// The serial that it has there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// Since when it has been the host's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl Running {
    /// Whether it was built from this archive as this configuration, as far as the host tells.
    pub fn is_of(&self, archive: Digest, configuration: &ConfigurationName) -> bool {
        let is_told = self.configuration.as_ref();
        self.archive == Some(archive) && is_told.is_none_or(|built| built == configuration)
    }
}

/// What is wrong with the store, or with what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// The stable kind of the error.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

/// A system that failed on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its store path, else its derivation, else archive and configuration.
    pub system: String,
    /// When it failed.
    pub at: Timestamp,
    /// The stable kind of the error.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// The remote of the release it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteName>,
    /// The serial of that release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// What happened.
    pub kind: OutcomeKind,
    /// The stable kind of the error, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// A sentence for people.
    pub message: String,
    /// The end of the failing command's log, length-capped and without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The ways an attempt can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeKind {
    /// The system was activated, proved healthy and made the boot default.
    Committed,
    /// The release changes nothing on this host.
    Adopted,
    /// A document was not believed.
    Refused,
    /// Something failed before anything was activated.
    Failed,
    /// An activated system failed, and the one before it runs again.
    RolledBack,
    /// An activated system failed, and so did going back.
    Stranded,
    /// Said by a later version.
    #[serde(other)]
    Unknown,
}
