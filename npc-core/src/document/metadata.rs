//! What a release says of the host that a configuration is for, beside its system: what operators choose hosts by, and in
//! which order and how many at a time they are changed.
//!
//! It is what the configuration writes to `/etc/npc/host.json`, as the publisher found it, without the health checks.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::name::HostName;

/// A host's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// What it is there for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What it belongs to.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Hosts with lower numbers reboot before hosts with higher ones.
    pub reboot_order: i64,
    /// Hosts that are changed before it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub dependencies: BTreeSet<HostName>,
    /// How it is changed.
    pub orchestration: Orchestration,
    /// Fields of later versions, and of the operator's own.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How a host is changed together with others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Orchestration {
    /// Whether hosts like it are changed some at a time, or all at once.
    pub deploy_strategy: DeployStrategy,
    /// Seconds to wait before it reboots after the host before it is back.
    pub reboot_delay: u64,
    /// How much depends on it.
    pub criticality_level: CriticalityLevel,
    /// At most so many hosts of a group are changed at once; what any of the group's hosts says counts for all.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_unavailable: BTreeMap<String, u32>,
}

/// Whether hosts like this one are changed some at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployStrategy {
    /// Some at a time.
    #[default]
    Rolling,
    /// All hosts of the same role and groups at once.
    Recreate,
}

/// How much depends on a host: what is more critical is changed later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CriticalityLevel {
    /// Little.
    Low,
    /// As much as usual.
    #[default]
    Normal,
    /// Much.
    High,
    /// Everything.
    Critical,
}

impl Metadata {
    /// The fields of the file that are not for operators.
    const NOT_KEPT: [&str; 2] = ["healthChecks", "version"];

    /// Reads the text of a host's `/etc/npc/host.json`; the error is a sentence about what is not in order.
    pub fn from_host_file(text: &str) -> Result<Self, String> {
        let mut metadata: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        metadata.other.retain(|name, _| !Self::NOT_KEPT.contains(&name.as_str()));
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_file_gives_what_operators_need_and_keeps_what_is_their_own() {
        let text = r#"{"version":1,"role":"web","groups":["eu","web"],"healthChecks":{"a":{"type":"tcp"}},"site":"ams",
            "orchestration":{"criticalityLevel":"critical","maxUnavailable":{"web":1}}}"#;
        let metadata = Metadata::from_host_file(text).expect("metadata");
        assert_eq!(metadata.role.as_deref(), Some("web"));
        assert_eq!(metadata.orchestration.criticality_level, CriticalityLevel::Critical);
        assert_eq!(metadata.orchestration.max_unavailable["web"], 1);
        assert_eq!(metadata.other.keys().collect::<Vec<_>>(), ["site"]);
        assert_eq!(Metadata::from_host_file("{}").expect("metadata"), Metadata::default());
    }

    #[test]
    fn what_is_no_host_file_is_said_to_be_none() {
        for bad in ["", "[]", r#"{"groups":"web"}"#, r#"{"orchestration":{"criticalityLevel":"very"}}"#] {
            assert!(Metadata::from_host_file(bad).is_err(), "{bad}");
        }
    }
}
