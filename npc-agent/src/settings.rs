//! What the host was told: `/etc/npc-agent/config.toml` and what it was enrolled with, validated.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use npc_core::document::Serial;
use npc_core::key::PublicKey;
use npc_core::name::{AssignmentName, ConfigurationName, FleetId, HostName, RemoteName};
use npc_core::store::StoreUrl;
use npc_core::trust::Anchor;
use serde::Deserialize;

use crate::activation::PlatformSettings;
use crate::failure::Failure;
use crate::health::Probation;
use crate::machine::Policy;

mod enrolled;
mod tables;

use tables::{
    ActivationTable, BuildTable, HooksTable, KeepTable, MetricsTable, ProbationTable, RebootTable, ReportTable,
};
pub use tables::{Hooks, Keep, Listen, Reporting};

/// Where the configuration lies unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/npc-agent/config.toml";

/// Where the state lies unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/npc-agent";

/// The shortest and the longest poll interval, in seconds.
const POLL_INTERVAL: std::ops::RangeInclusive<u64> = 1..=3600;

/// The least time that a commit is given after the longest probation.
const LEAST_COMMIT: Duration = Duration::from_secs(10);

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    fleet: Option<FleetId>,
    store: Option<String>,
    #[serde(rename = "store_token_file")]
    store_token: Option<PathBuf>,
    root_keys: Option<Vec<PublicKey>>,
    #[serde(default = "one")]
    root_threshold: usize,
    #[serde(default = "first")]
    minimum_trust: Serial,
    #[serde(default)]
    minimum_serials: BTreeMap<RemoteName, Serial>,
    remote: Option<RemoteName>,
    configuration: Option<ConfigurationName>,
    initial_configuration: Option<ConfigurationName>,
    host: Option<HostName>,
    assignment: Option<AssignmentName>,
    #[serde(default = "minute")]
    poll_interval: u64,
    #[serde(default = "slash")]
    root: PathBuf,
    profile: Option<PathBuf>,
    #[serde(default)]
    activation: ActivationTable,
    #[serde(default)]
    probation: ProbationTable,
    #[serde(default)]
    build: BuildTable,
    #[serde(default)]
    reboot: RebootTable,
    #[serde(default)]
    keep: KeepTable,
    #[serde(default)]
    hooks: HooksTable,
    #[serde(default)]
    metrics: MetricsTable,
    #[serde(default)]
    report: ReportTable,
}

fn one() -> usize {
    1
}

fn first() -> Serial {
    Serial::FIRST
}

fn minute() -> u64 {
    60
}

fn slash() -> PathBuf {
    PathBuf::from("/")
}

/// Validated settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the trust hangs on.
    pub anchor: Anchor,
    /// Serials below which no release is believed, told at bootstrap.
    pub minimum_serials: BTreeMap<RemoteName, Serial>,
    /// The store's address.
    pub store: StoreUrl,
    /// The file with what lets the host in there, where that is an HTTP store that asks for it.
    pub store_token_file: Option<PathBuf>,
    /// The host's name in the store.
    pub host: HostName,
    /// The assignment that it obeys once there is one.
    pub assignment: AssignmentName,
    /// What to follow until then.
    pub following: Following,
    /// The configuration to follow before any other, until something is committed.
    pub initial_configuration: Option<ConfigurationName>,
    /// How long between polls, on the average.
    pub poll_interval: Duration,
    /// How to activate.
    pub activation: Activation,
    /// What the platform is told.
    pub platform: PlatformSettings,
    /// The times of probation.
    pub probation: Probation,
    /// What was decided beforehand.
    pub policy: Policy,
    /// What is kept of the past.
    pub keep: Keep,
    /// Whom to tell.
    pub hooks: Hooks,
    /// Where figures are to be had.
    pub metrics: Option<Listen>,
    /// What to say of itself to the store; none where nothing.
    pub report: Option<Reporting>,
}

impl Settings {
    /// How long after the beginning of an activation the dead-man timer goes off.
    pub fn longest_attempt(&self) -> Duration {
        self.platform.timeout + self.longest_probation()
    }

    /// Where the host's file system begins.
    pub fn root(&self) -> &Path {
        match &self.activation {
            Activation::NixOs { root, .. } => root,
            Activation::Command(_) => Path::new("/"),
        }
    }

    /// How long after the end of an activation it does: a commit that has begun by then is waited for.
    pub fn longest_probation(&self) -> Duration {
        self.probation.limit + (self.probation.limit / 10).max(LEAST_COMMIT)
    }
}

/// What a host follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// The remote.
    pub remote: RemoteName,
    /// The configuration in its flake.
    pub configuration: ConfigurationName,
}

/// How a system is activated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// NixOS: build the configuration and switch to it.
    NixOs {
        /// The root of the file system that the system lives in: `/`, but for trials.
        root: PathBuf,
        /// The profile that the boot loader follows.
        profile: PathBuf,
    },
    /// Something else: run the operator's command.
    Command(Vec<String>),
}

impl Settings {
    /// Reads and validates what the host was told: by its configuration, and by what it was enrolled with below its state directory.
    pub fn of_host(config: &Path, state: &Path, machine: &str) -> Result<Self, Failure> {
        let (table, sources) = enrolled::read(config, state)?;
        let wrong = |reason: String| not_in_order(&sources, &reason);
        let file = table.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        Self::validate(file, machine).map_err(wrong)
    }

    /// Reads and validates `path` alone, on a machine that is called so.
    pub fn read(path: &Path, machine: &str) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        Self::parse(&text, machine).map_err(|reason| not_in_order(&format!("`{}`", path.display()), &reason))
    }

    /// Reads and validates the text of a configuration, on a machine that is called so. The error is a sentence about what is not in
    /// order.
    pub fn parse(text: &str, machine: &str) -> Result<Self, String> {
        Self::validate(toml::from_str(text).map_err(|error| error.to_string())?, machine)
    }

    fn validate(file: File, machine: &str) -> Result<Self, String> {
        let missing = |field: &str| format!("missing field `{field}`");
        let fleet = file.fleet.clone().ok_or_else(|| missing("fleet"))?;
        let store = file.store.clone().ok_or_else(|| missing("store"))?;
        let root_keys = file.root_keys.clone().ok_or_else(|| missing("root_keys"))?;
        let remote = file.remote.clone().ok_or_else(|| missing("remote"))?;
        if file.root_threshold == 0 || file.root_threshold > root_keys.len() {
            return Err(format!("root_threshold is {}, of {} root_keys", file.root_threshold, root_keys.len()));
        }
        if !POLL_INTERVAL.contains(&file.poll_interval) {
            return Err(format!(
                "poll_interval is {}, but lies between {} and {} seconds",
                file.poll_interval,
                POLL_INTERVAL.start(),
                POLL_INTERVAL.end()
            ));
        }
        let activation = match file.activation.command.clone() {
            Some(command) if command.is_empty() => return Err("activation.command is empty".to_owned()),
            Some(command) => Activation::Command(command),
            None if !file.root.is_absolute() => return Err("root is not an absolute path".to_owned()),
            None => Activation::NixOs {
                profile: file.profile.clone().unwrap_or_else(|| file.root.join("nix/var/nix/profiles/system")),
                root: file.root.clone(),
            },
        };
        let store = store.parse().map_err(|error: npc_core::store::StoreUrlError| error.to_string())?;
        match &file.store_token {
            Some(path) if !path.is_absolute() => return Err("store_token_file is not an absolute path".to_owned()),
            Some(_) if !matches!(store, StoreUrl::Http(_)) => {
                return Err("store_token_file is set, and the store is none that takes tokens: https://…".to_owned());
            }
            _ => {}
        }
        let tables = file.tables()?;
        let configuration = file.configuration.map_or_else(|| own_configuration(file.host.as_ref(), machine), Ok)?;
        let host = match file.host {
            Some(host) => host,
            None => {
                own_name(machine)?.to_lowercase().parse().map_err(|error| format!("host is not set, and {error}"))?
            }
        };
        let assignment = match file.assignment {
            Some(assignment) => assignment,
            None => host.as_str().parse().expect("the names of hosts and of assignments have one grammar"),
        };
        Ok(Self {
            anchor: Anchor { fleet, root_keys, root_threshold: file.root_threshold, version: file.minimum_trust },
            minimum_serials: file.minimum_serials,
            store,
            store_token_file: file.store_token,
            host,
            assignment,
            following: Following { remote, configuration },
            initial_configuration: file.initial_configuration,
            poll_interval: Duration::from_secs(file.poll_interval),
            activation,
            platform: tables.platform,
            probation: tables.probation,
            policy: tables.policy,
            keep: tables.keep,
            hooks: tables.hooks,
            metrics: tables.metrics,
            report: tables.report,
        })
    }
}

/// What both sources come to, as one configuration file that needs no other: whoever reads it later reads the same, whatever
/// has become of them.
pub fn as_one_file(config: &Path, state: &Path) -> Result<String, Failure> {
    let (table, _) = enrolled::read(config, state)?;
    toml::to_string(&table).map_err(Failure::other)
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::usage(format!("cannot read `{}`: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.hint("run it as root"),
        _ => failure.hint(
            "name the configuration with --config or NPC_AGENT_CONFIG, or enrol the host with `npc-agent install`; \
             `npc-publish init` prints what either needs",
        ),
    }
}

fn not_in_order(sources: &str, reason: &str) -> Failure {
    Failure::usage(format!("{sources} is not in order: {reason}"))
        .hint("the README lists the settings; `npc-publish init` prints those of the fleet")
}

/// Whether a machine that is called so has been given a name yet.
pub fn is_a_name_of_its_own(machine: &str) -> bool {
    !matches!(machine, "" | "localhost" | "(none)")
}

fn own_name(machine: &str) -> Result<&str, String> {
    let unnamed = || "host is not set, and the machine has no name yet".to_owned();
    is_a_name_of_its_own(machine).then_some(machine).ok_or_else(unnamed)
}

/// The configuration where none is said: most flakes name it after its host. A machine and its configuration may have capitals,
/// which the names of hosts have not.
fn own_configuration(host: Option<&HostName>, machine: &str) -> Result<ConfigurationName, String> {
    let other = host.map(HostName::as_str).filter(|name| !name.eq_ignore_ascii_case(machine));
    let name = other.map_or_else(|| own_name(machine), Ok)?;
    name.parse().map_err(|error| format!("configuration is not set, and {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        fleet = "00000000000000000000000000000000"
        store = "https://store.example.org/"
        root_keys = ["npc-example-1:MFHzTurg4IF8xTWeLgeXNyHOBKXsYBGCm9lR/dr43wE="]
        remote = "prod"
        configuration = "web-1"
    "#;

    #[test]
    fn the_smallest_configuration_means_nixos_and_a_minute() {
        let settings = Settings::parse(GOOD, "Web-1").expect("good settings");
        assert_eq!(settings.poll_interval, Duration::from_mins(1));
        let profile = PathBuf::from("/nix/var/nix/profiles/system");
        assert_eq!(settings.activation, Activation::NixOs { root: "/".into(), profile });
    }

    #[test]
    fn a_host_is_called_what_the_machine_is_unless_its_settings_say_so() {
        let settings = |more: &str, machine| Settings::parse(&format!("{more}{GOOD}"), machine);
        let named = settings("", "Web-1").expect("good settings");
        assert_eq!((named.host.as_str(), named.assignment.as_str()), ("web-1", "web-1"));
        let told = settings("host = \"db-1\"\n", "localhost").expect("good settings");
        assert_eq!((told.host.as_str(), told.assignment.as_str()), ("db-1", "db-1"));
        let shared = settings("assignment = \"workers\"\n", "w-7").expect("good settings");
        assert_eq!((shared.host.as_str(), shared.assignment.as_str()), ("w-7", "workers"));
        for machine in ["", "localhost"] {
            assert!(settings("", machine).expect_err("nobody knows who this is").contains("host"));
        }
    }

    #[test]
    fn a_configuration_is_called_what_the_host_is_in_the_machines_letters() {
        let unconfigured = GOOD.replace("configuration = \"web-1\"", "");
        let configuration = |more: &str, machine| {
            let settings = Settings::parse(&format!("{more}{unconfigured}"), machine).expect("good settings");
            settings.following.configuration.to_string()
        };
        assert_eq!(configuration("host = \"web-1\"\n", "ip-10-0-0-5"), "web-1");
        assert_eq!(configuration("host = \"web-1\"\n", "localhost"), "web-1", "the machine needs no name");
        assert_eq!(configuration("", "Web-1"), "Web-1");
        assert_eq!(configuration("host = \"web-1\"\n", "Web-1"), "Web-1");
    }

    #[test]
    fn mistakes_are_named() {
        for (addition, part) in [
            ("pol_interval = 5", "pol_interval"),
            ("poll_interval = 0", "poll_interval"),
            ("root_threshold = 2", "root_threshold"),
            ("root = \"relative\"", "absolute"),
            ("store_token_file = \"relative\"", "store_token_file"),
            ("[activation]\ncommand = []", "empty"),
            ("[activation]\nboot_instead_of_switch = [\"never\"]", "boot_instead_of_switch"),
            ("[probation]\nsettle = 700", "limit"),
            ("[reboot]\nwhen = \"in-window\"", "windows"),
            ("[reboot]\nwhen = \"in-window\"\nwindows = [\"Caturday 02:00-05:00\"]", "Caturday"),
            ("[reboot]\ntime_zone = \"Mars/Olympus\"", "Mars"),
            ("[metrics]\nlisten = \"somewhere\"", "somewhere"),
            ("[hooks]\ncommitted = []", "empty"),
            ("[build]\nnetrc_file = \"relative\"", "build.netrc_file"),
            ("[build]\naccess_tokens_file = \"/a:/b\"", "build.access_tokens_file"),
            ("[build]\nssh_key_file = \"/a $(key)\"", "build.ssh_key_file"),
            ("[build]\nssh_known_hosts_file = \"/known\"", "build.ssh_key_file is not"),
        ] {
            let error = Settings::parse(&format!("{GOOD}\n{addition}"), "web-1").expect_err(addition);
            assert!(error.contains(part), "{error}");
        }
        let bucket = GOOD.replace("https://store.example.org/", "s3://bucket/fleet");
        let error = Settings::parse(&format!("{bucket}\nstore_token_file = \"/a/token\""), "web-1");
        assert!(error.expect_err("S3 takes no tokens").contains("store_token_file"));
        let error = Settings::parse(&GOOD.replace("https://store.example.org/", "nonsense"), "web-1")
            .expect_err("a bad address");
        assert!(error.contains("nonsense"), "{error}");
    }
}
