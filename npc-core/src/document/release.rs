//! A release: what a remote holds at one serial.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Kind, Metadata, Serial, Standing, Statement};
use crate::digest::Digest;
use crate::name::{ConfigurationName, RemoteName};

/// What a remote holds: a release, or nothing any more.
pub type RemoteState = Standing<Release>;

impl Statement for Release {
    const KIND: Kind = Kind::Release;
}

/// An archive and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The flake's files.
    pub archive: Archive,
    /// Where they came from.
    #[serde(default)]
    pub source: Source,
    /// What each configuration evaluates to, as far as the publisher evaluated it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurations: BTreeMap<ConfigurationName, System>,
    /// Locked flake inputs that the store carries, so that hosts need no other network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// The release that it repeats, where it was promoted or rolled back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Raised to try systems again that hosts have quarantined.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// Fields of later versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Metadata of a later version is none to this one, but no reason to refuse a release: no agent needs any.
fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Metadata>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The name and the length of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The digest of the `.tar.gz`, which is its name in the store.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// A release that another one repeats. It is for people, and for rolling back further, and decides nothing on hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its remote.
    pub remote: RemoteName,
    /// Its serial there.
    pub serial: Serial,
}

/// Where a release's files came from. All of it is for people and decides nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// Whether the working tree differed from the commit.
    #[serde(default)]
    pub dirty: bool,
    /// The repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the publisher said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a configuration evaluates to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// The Nix system double, such as `x86_64-linux`.
    pub system: String,
    /// The store path of its derivation.
    pub drv_path: String,
    /// The store path it builds to, where known before building.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_path: Option<String>,
    /// How the derivation compares with the one that the publisher's whole tree gives; none where nobody compared them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// The metadata of the host that it is for, as far as the configuration has any.
    #[serde(default, deserialize_with = "readable", skip_serializing_if = "Option::is_none")]
    pub host: Option<Metadata>,
}

/// How a configuration's derivation in the archive compares with the one in the whole tree that the archive is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It is the same.
    WholeTree,
    /// It holds for the archive alone: the configuration uses what tells one flake from another, as its store path, its
    /// hash or its commit.
    Archive,
    /// Said by a later version.
    #[serde(other)]
    Unknown,
}

/// A locked flake input that the store carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name in the flake's lock file.
    pub name: String,
    /// Its NAR hash, as the lock file has it.
    pub nar_hash: String,
    /// The digest of its archive.
    pub sha256: Digest,
    /// The archive's length in bytes.
    pub size: u64,
}

impl Release {
    /// A release of these files.
    pub fn new(archive: Archive, source: Source, configurations: BTreeMap<ConfigurationName, System>) -> Self {
        Self { archive, source, configurations, inputs: Vec::new(), origin: None, attempt: 0, other: Map::new() }
    }

    /// Whether the release already says what these configurations evaluate to; nothing said adds nothing.
    pub fn knows(&self, configurations: &BTreeMap<ConfigurationName, System>) -> bool {
        configurations.is_empty() || self.configurations == *configurations
    }

    /// Whether hosts of any configuration would find nothing to do going from `self` to `other`: the same archive, read
    /// the same way.
    pub fn same_content(&self, other: &Self) -> bool {
        self.archive == other.archive && self.inputs == other.inputs && self.attempt == other.attempt
    }
}
