//! An assignment: which remote and which configuration a host follows.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Kind, Serial, Standing, Statement};
use crate::Timestamp;
use crate::digest::Digest;
use crate::key::PublicKey;
use crate::name::{ConfigurationName, RemoteName, RolloutName};

/// What a host is told to follow; removed, the host's own settings rule again.
pub type Assignment = Standing<Following>;

impl Statement for Following {
    const KIND: Kind = Kind::Assignment;
}

/// The content of a standing assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The remote to follow.
    pub remote: RemoteName,
    /// The configuration to build.
    pub configuration: ConfigurationName,
    /// The one installation of the host that may begin a new memory against replay with this, having lost its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Follow exactly this release instead of the remote's current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// Poll, but change nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Seconds between polls; clamped by the agent to 10 s – 1 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<u64>,
    /// Whether several hosts ask for it: then none of them has its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// The key with which the host signs its reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_key: Option<PublicKey>,
    /// The rollout that made this assignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Placement>,
    /// What the host shall do once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orders: Option<Orders>,
    /// Fields of later versions.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Following {
    /// To follow a remote with a configuration, and nothing beside.
    pub fn new(remote: RemoteName, configuration: ConfigurationName) -> Self {
        Self {
            remote,
            configuration,
            instance: None,
            pin: None,
            paused: false,
            poll_interval: None,
            shared: false,
            report_key: None,
            rollout: None,
            orders: None,
            other: Map::new(),
        }
    }

    /// To follow another remote: what was said of the hosts stays, and what was said of where they were goes.
    #[must_use]
    pub fn led_to(self, remote: RemoteName, configuration: ConfigurationName) -> Self {
        Self { remote, configuration, instance: None, pin: None, rollout: None, orders: None, ..self }
    }
}

/// One release, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its serial.
    pub serial: Serial,
    /// Its archive.
    pub archive: Digest,
}

/// A place in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The rollout.
    pub id: RolloutName,
    /// The wave, counted from 1.
    pub wave: u32,
    /// Seconds between reports as long as the rollout waits for the host; clamped by the agent to 5 s – 30 min.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<u64>,
    /// Whether somebody has taken it out of the rollout since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

/// Orders that act once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The one installation of the host that they are meant for; without it, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Reboot, if the host still runs the named boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Reboot>,
    /// Try again what failed before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Timestamp>,
}

/// An order to reboot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reboot {
    /// The boot that shall end: Linux's `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}
