//! What a machine is told when it becomes a host: what it believes, what it follows at first, and what it is called.
//!
//! It holds no secrets: user data, by which it comes, is there for any process on the machine to read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::document::Serial;
use crate::key::PublicKey;
use crate::name::{AssignmentName, ConfigurationName, FleetId, HostName, RemoteName};
use crate::store::StoreUrl;

/// What the agent calls its copy, in its state directory.
pub const FILE: &str = "enrolment.toml";

/// An enrolment. Fields that it does not know are ignored, since a system that is rolled back may have an older agent; whoever
/// writes one holds its fields against [`Enrolment::FIELDS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The fleet.
    pub fleet: FleetId,
    /// The store's address.
    #[serde(deserialize_with = "address", serialize_with = "text")]
    pub store: StoreUrl,
    /// The file with the host's token for an HTTP store that asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_token_file: Option<PathBuf>,
    /// The root keys that vouch for the first trust.
    pub root_keys: Vec<PublicKey>,
    /// How many of them must have signed it.
    #[serde(default = "one")]
    pub root_threshold: usize,
    /// The version of the trust below which none is believed.
    #[serde(default = "first")]
    pub minimum_trust: Serial,
    /// The remote to follow until there is an assignment.
    pub remote: RemoteName,
    /// The configuration, unless it is called what the host is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationName>,
    /// The configuration to build and activate before that, until the machine has committed a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_configuration: Option<ConfigurationName>,
    /// The host's name, unless it is what the machine is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    /// The assignment to obey, unless it is the one of the host's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignment: Option<AssignmentName>,
    /// The serials below which no release of a remote is believed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub minimum_serials: BTreeMap<RemoteName, Serial>,
    /// What the host's reports say of it.
    #[serde(default, skip_serializing_if = "Reported::is_nothing")]
    pub report: Reported,
}

/// What the host's reports say of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Whether the machine comes and goes.
    #[serde(default)]
    pub ephemeral: bool,
}

impl Reported {
    /// The names of all its fields.
    pub const FIELDS: [&str; 1] = ["ephemeral"];

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Enrolment {
    /// The names of all fields.
    pub const FIELDS: [&str; 13] = [
        "fleet",
        "store",
        "store_token_file",
        "root_keys",
        "root_threshold",
        "minimum_trust",
        "remote",
        "configuration",
        "initial_configuration",
        "host",
        "assignment",
        "minimum_serials",
        "report",
    ];
}

fn one() -> usize {
    1
}

fn first() -> Serial {
    Serial::FIRST
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StoreUrl, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn text<S: Serializer>(url: &StoreUrl, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}
