//! The tables of the configuration file, one for each concern.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::File;
use crate::activation::{Access, Build, PlatformSettings, Room, Ssh};
use crate::health::Probation;
use crate::machine::{HandPolicy, Obstacle, Policy, RebootPolicy, RebootWhen, Windows};

const MEBIBYTE: u64 = 1024 * 1024;

/// The shortest time between two reports that say the same, in seconds.
const LEAST_HEARTBEAT: u64 = 60;

/// `[activation]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ActivationTable {
    pub(super) command: Option<Vec<String>>,
    timeout: u64,
    boot_instead_of_switch: BTreeSet<Obstacle>,
    by_hand: HandWord,
    host_file: Option<PathBuf>,
}

impl Default for ActivationTable {
    fn default() -> Self {
        Self {
            command: None,
            timeout: 30 * 60,
            boot_instead_of_switch: BTreeSet::new(),
            by_hand: HandWord::Respect,
            host_file: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HandWord {
    Respect,
    Enforce,
}

/// `[probation]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProbationTable {
    settle: u64,
    store: u64,
    limit: u64,
    failed_units: UnitsWord,
}

impl Default for ProbationTable {
    fn default() -> Self {
        Self { settle: 30, store: 60, limit: 600, failed_units: UnitsWord::Judge }
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum UnitsWord {
    Judge,
    Tolerate,
}

/// `[build]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BuildTable {
    timeout: u64,
    memory_max: Option<String>,
    free_in_store: u64,
    free_in_boot: u64,
    free_memory: u64,
    netrc_file: Option<PathBuf>,
    access_tokens_file: Option<PathBuf>,
    ssh_key_file: Option<PathBuf>,
    ssh_known_hosts_file: Option<PathBuf>,
}

impl Default for BuildTable {
    fn default() -> Self {
        Self {
            timeout: 2 * 60 * 60,
            memory_max: None,
            free_in_store: 1024,
            free_in_boot: 32,
            free_memory: 128,
            netrc_file: None,
            access_tokens_file: None,
            ssh_key_file: None,
            ssh_known_hosts_file: None,
        }
    }
}

/// `[reboot]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RebootTable {
    when: WhenWord,
    windows: Vec<String>,
    time_zone: Option<String>,
    delay: u64,
    grace: u64,
    if_stranded: bool,
    command: Vec<String>,
}

impl Default for RebootTable {
    fn default() -> Self {
        Self {
            when: WhenWord::Never,
            windows: Vec::new(),
            time_zone: None,
            delay: 0,
            grace: 24 * 60 * 60,
            if_stranded: false,
            command: ["systemctl", "reboot"].map(str::to_owned).into(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WhenWord {
    Never,
    WhenNeeded,
    InWindow,
}

/// `[keep]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeepTable {
    releases: usize,
    days: u32,
}

impl Default for KeepTable {
    fn default() -> Self {
        Self { releases: 3, days: 30 }
    }
}

/// `[hooks]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HooksTable {
    committed: Option<Vec<String>>,
    rolled_back: Option<Vec<String>>,
}

/// `[metrics]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsTable {
    listen: Option<String>,
}

/// `[report]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReportTable {
    enable: bool,
    heartbeat: u64,
    logs: bool,
    ephemeral: bool,
}

impl Default for ReportTable {
    fn default() -> Self {
        Self { enable: true, heartbeat: 30 * 60, logs: true, ephemeral: false }
    }
}

/// What a host says of itself to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reporting {
    /// How often it says so even if nothing has changed, on the average.
    pub heartbeat: Duration,
    /// Whether the ends of failed commands' logs are part of it.
    pub logs: bool,
    /// Whether the machine comes and goes, so that its silence is nobody's business.
    pub ephemeral: bool,
}

/// What is kept of the past, beside what is needed to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// So many unpacked flakes and systems.
    pub releases: usize,
    /// None of them older than this.
    pub age: Duration,
}

/// The operator's own programs, each with its arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Run after a commit.
    pub committed: Option<Vec<String>>,
    /// Run after rolling back, or failing to.
    pub rolled_back: Option<Vec<String>>,
}

/// Where figures are to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// On a Unix socket.
    Unix(PathBuf),
    /// On an address.
    Tcp(SocketAddr),
}

/// The tables, validated.
pub(super) struct Tables {
    pub(super) platform: PlatformSettings,
    pub(super) probation: Probation,
    pub(super) policy: Policy,
    pub(super) keep: Keep,
    pub(super) hooks: Hooks,
    pub(super) metrics: Option<Listen>,
    pub(super) report: Option<Reporting>,
}

impl File {
    pub(super) fn tables(&self) -> Result<Tables, String> {
        let policy = Policy {
            reboot: self.reboot.policy()?,
            reboot_when_stranded: self.reboot.if_stranded,
            boot_instead: self.activation.boot_instead_of_switch.clone(),
            by_hand: match self.activation.by_hand {
                HandWord::Respect => HandPolicy::Respect,
                HandWord::Enforce => HandPolicy::Enforce,
            },
        };
        Ok(Tables {
            platform: PlatformSettings {
                timeout: Duration::from_secs(self.activation.timeout),
                room: self.build.room(),
                build: Build {
                    timeout: Duration::from_secs(self.build.timeout),
                    memory_max: self.build.memory_max.clone(),
                    access: self.build.access()?,
                },
                reboot: not_empty("reboot.command", self.reboot.command.clone())?,
                host_file: self.activation.host_file.clone(),
            },
            probation: self.probation.validated()?,
            policy,
            keep: Keep {
                releases: self.keep.releases,
                age: Duration::from_secs(u64::from(self.keep.days) * 24 * 60 * 60),
            },
            hooks: self.hooks.validated()?,
            metrics: self.metrics.listen.as_deref().map(listen).transpose()?,
            report: self.report.validated()?,
        })
    }
}

impl BuildTable {
    fn room(&self) -> Room {
        let bytes = |mebibytes: u64| mebibytes.saturating_mul(MEBIBYTE);
        Room { store: bytes(self.free_in_store), boot: bytes(self.free_in_boot), memory: bytes(self.free_memory) }
    }

    fn access(&self) -> Result<Access, String> {
        let key = plain_path("build.ssh_key_file", self.ssh_key_file.as_deref())?;
        let known_hosts = plain_path("build.ssh_known_hosts_file", self.ssh_known_hosts_file.as_deref())?;
        let ssh = match (key, known_hosts) {
            (None, Some(_)) => {
                return Err("build.ssh_known_hosts_file is set, and build.ssh_key_file is not".to_owned());
            }
            (key, known_hosts) => key.map(|key| Ssh { key, known_hosts }),
        };
        Ok(Access {
            netrc: plain_path("build.netrc_file", self.netrc_file.as_deref())?,
            access_tokens: plain_path("build.access_tokens_file", self.access_tokens_file.as_deref())?,
            ssh,
        })
    }
}

impl ProbationTable {
    fn validated(&self) -> Result<Probation, String> {
        if self.settle >= self.limit {
            let (settle, limit) = (self.settle, self.limit);
            return Err(format!(
                "probation.settle is {settle} s and probation.limit {limit} s: it could never be passed"
            ));
        }
        Ok(Probation {
            settle: Duration::from_secs(self.settle),
            store: Duration::from_secs(self.store),
            limit: Duration::from_secs(self.limit),
            tolerate_failed_units: self.failed_units == UnitsWord::Tolerate,
        })
    }
}

impl RebootTable {
    fn policy(&self) -> Result<RebootPolicy, String> {
        let zone = match &self.time_zone {
            Some(name) => TimeZone::get(name).map_err(|error| format!("reboot.time_zone: {error}"))?,
            None => TimeZone::system(),
        };
        let windows = Windows::new(zone, self.windows.iter().map(String::as_str));
        let windows = windows.map_err(|error| format!("reboot.windows: {error}"))?;
        let seconds = |seconds: u64| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        Ok(RebootPolicy {
            when: match self.when {
                WhenWord::Never => RebootWhen::Never,
                WhenWord::WhenNeeded => RebootWhen::WhenNeeded,
                WhenWord::InWindow if self.windows.is_empty() => {
                    return Err("reboot.when is `in-window`, and reboot.windows names none".to_owned());
                }
                WhenWord::InWindow => RebootWhen::InWindow(windows),
            },
            delay: seconds(self.delay),
            grace: seconds(self.grace),
        })
    }
}

impl HooksTable {
    fn validated(&self) -> Result<Hooks, String> {
        let hook =
            |name, command: &Option<Vec<String>>| command.clone().map(|command| not_empty(name, command)).transpose();
        Ok(Hooks {
            committed: hook("hooks.committed", &self.committed)?,
            rolled_back: hook("hooks.rolled_back", &self.rolled_back)?,
        })
    }
}

impl ReportTable {
    fn validated(&self) -> Result<Option<Reporting>, String> {
        if self.heartbeat < LEAST_HEARTBEAT {
            return Err(format!("report.heartbeat is {} s, and at least {LEAST_HEARTBEAT} s", self.heartbeat));
        }
        let heartbeat = Duration::from_secs(self.heartbeat);
        Ok(self.enable.then_some(Reporting { heartbeat, logs: self.logs, ephemeral: self.ephemeral }))
    }
}

fn not_empty(name: &str, command: Vec<String>) -> Result<Vec<String>, String> {
    if command.is_empty() { Err(format!("{name} is empty")) } else { Ok(command) }
}

/// A path that is passed on in a command of git's and in a list of Nix's, either of which takes others apart.
fn plain_path(name: &str, path: Option<&Path>) -> Result<Option<PathBuf>, String> {
    let Some(path) = path else { return Ok(None) };
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(byte);
    if path.is_absolute() && path.as_os_str().as_encoded_bytes().iter().all(is_plain) {
        return Ok(Some(path.to_owned()));
    }
    Err(format!("{name} is not an absolute path of letters, digits and `/`, `.`, `_`, `-`, `+`, `@`"))
}

fn listen(text: &str) -> Result<Listen, String> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        return Ok(Listen::Unix(path.into()));
    }
    let wrong = || format!("metrics.listen is `{text}`, not `unix:/a/path` or an address such as `127.0.0.1:9475`");
    text.parse().map(Listen::Tcp).map_err(|_| wrong())
}
