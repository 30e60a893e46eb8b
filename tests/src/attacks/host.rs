//! A host with the real agent, whose activation is a command that leaves a trace.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use npc_core::document::{Document, Report};
use npc_core::envelope::Envelope;
use npc_core::key::SecretKey;
use serde_json::Value;
use tempfile::TempDir;

use super::corpus::names;
use super::fleet::{FLEET, HOST, ROOT, anchor};
use super::server::HostileServer;
use super::snapshot::{self, Found};
use super::trial::{Asked, Reader};
use crate::parts::program;
use crate::process::Ended;

/// How much memory the agent may write to, in KiB (`RLIMIT_DATA`): what a hostile store makes it take in must fit.
const MEMORY: u32 = 64 * 1024;

/// How long asking once may take, in seconds, on a slow machine and with others beside it.
const PATIENCE: u32 = 300;

/// How much the agent may say about it, in bytes.
const WORDS: usize = 16 * 1024;

/// Where no attack must ever get, although some aim at it.
pub(super) const OUTSIDE: &str = "/tmp/npc-attack-got-out";

/// What the name of a file is that must never be unpacked.
pub(super) const SMUGGLED: &str = "smuggled";

/// Leaves a trace whenever it runs.
const APPLY: &str = "echo \"$NPC_SERIAL\" >> \"$(dirname \"$0\")/trace\"\n";

/// All that an agent makes in its state directory.
const STATE: [&str; 19] = [
    "assignment.json",
    "bin",
    "commit.lock",
    "units",
    "downloads",
    "flakes",
    "followed.json",
    "home",
    "instance",
    "journal.json",
    "local.json",
    "lock",
    "logs",
    "machine",
    "replay.copy.json",
    "replay.json",
    "report.json",
    "report.key",
    "roots",
];

/// What a host's folder lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// Memory, where enough of it can be had: on a disk, very many names, and waiting for each state file to be safe from
    /// power cuts, take minutes.
    Quick,
    /// The disk of all temp folders, for what would take too much memory.
    Large,
}

impl Disk {
    /// Where Linux has a file system in memory.
    const MEMORY: &str = "/dev/shm";

    /// How much must be free in it, in bytes.
    const ENOUGH: u64 = 1 << 30;

    fn folder(self) -> TempDir {
        let free = || rustix::fs::statvfs(Self::MEMORY).map_or(0, |found| found.f_bavail * found.f_frsize);
        let folder = match self {
            Self::Quick if free() >= Self::ENOUGH => tempfile::tempdir_in(Self::MEMORY),
            Self::Quick | Self::Large => tempfile::tempdir(),
        };
        folder.expect("a folder")
    }
}

/// A host in a folder of its own, with neighbours that are none of the agent's business.
#[derive(Debug)]
pub(super) struct AgentHost {
    folder: TempDir,
    server: Arc<HostileServer>,
}

impl AgentHost {
    /// A host that has never met its store.
    pub(super) fn new(server: &Arc<HostileServer>, minimum_serial: Option<u64>, disk: Disk) -> Self {
        let folder = disk.folder();
        let host = Self { folder, server: Arc::clone(server) };
        let store = server.url();
        for name in ["host", "home", "tmp", "neighbour"] {
            fs::create_dir(host.path(name)).expect("created");
        }
        fs::write(host.path("neighbour/precious"), "precious\n").expect("written");
        fs::set_permissions(host.path("neighbour/precious"), Permissions::from_mode(0o640)).expect("set");
        std::os::unix::fs::symlink("precious", host.path("neighbour/link")).expect("linked");
        fs::write(host.path("host/apply"), APPLY).expect("written");
        let keys: Vec<_> = anchor().root_keys.iter().map(ToString::to_string).collect();
        let minimum = minimum_serial.map(|serial| format!("minimum_serials = {{ prod = {serial} }}\n"));
        let settings = format!(
            "fleet = \"{FLEET}\"\nstore = \"{store}\"\nroot_keys = {keys:?}\nroot_threshold = {}\nremote = \"nowhere\"\n\
             configuration = \"{HOST}\"\nhost = \"{HOST}\"\n{}[probation]\nsettle = 0\nstore = 5\nlimit = 20\n[activation]\ncommand = [\"sh\", \"{}\"]\n",
            ROOT.len(),
            minimum.unwrap_or_default(),
            host.path("host/apply").display()
        );
        fs::write(host.path("host/agent.toml"), settings).expect("written");
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The agent with these arguments, short of memory and of time.
    fn agent(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", &PATIENCE.to_string(), "sh", "-c", "ulimit -d \"$0\" && exec \"$@\""]);
        command.arg(MEMORY.to_string()).arg(program("npc-agent")).args(arguments);
        command
            .env_remove("NPC_STORE_TOKEN")
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("NPC_AGENT_CONFIG", self.path("host/agent.toml"))
            .env("NPC_AGENT_STATE", self.path("host/state"))
            .current_dir(self.path("neighbour"));
        Ended::of(&mut command)
    }

    /// What the host last said of itself to the store, signed with its own key.
    fn report(&self) -> Report {
        let bytes = self.server.written(&format!("reports/{HOST}.json")).expect("it reports, whatever the store holds");
        let key: SecretKey =
            fs::read_to_string(self.path("host/state/report.key")).expect("a key").parse().expect("a key");
        let envelope = Envelope::parse(&bytes).expect("an envelope");
        assert_eq!(envelope.signers([&key.public()]).len(), 1, "it is signed by the host");
        let report: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
        assert_eq!((report.header.fleet.as_str(), report.header.name.as_str()), (FLEET, HOST));
        report.body
    }

    /// What the report calls the trouble with the store, or else the error of the newest outcome.
    fn kind(&self) -> Option<String> {
        let report = self.report();
        let error = || report.outcomes.first()?.error.clone();
        report.trouble.as_ref().map(|trouble| trouble.kind.clone()).or_else(error)
    }

    /// Nothing lies in the state directory but what an agent puts there, nothing half-done, and of flakes only good ones.
    fn assert_tidy(&self) {
        let state = self.path("host/state");
        let found = names(&state).expect("listed");
        assert!(found.iter().all(|name| STATE.contains(&name.as_str())), "the state directory holds {found:?}");
        assert!(names(&state.join("downloads")).expect("listed").is_empty(), "a download is left");
        let flakes = state.join("flakes");
        for (path, found) in snapshot::of(&flakes, Path::new("")).into_iter().filter(|(path, _)| *path != flakes) {
            let good = match found {
                Found::Directory(mode) => mode == 0o755,
                Found::File(mode, ..) => matches!(mode, 0o644 | 0o755),
                Found::Link(target) => target.is_relative(),
                Found::Special(_) => false,
            };
            let name = path.file_name().unwrap_or_default();
            let good = good && name != SMUGGLED && (path.parent() != Some(&*flakes) || name.len() == 64);
            assert!(good, "`{}` must not be there like that", path.display());
        }
        // Removed at once, so that no other attack is blamed for it.
        assert!(fs::remove_file(OUTSIDE).is_err(), "it got out, to `{OUTSIDE}`");
    }

    fn committed(&self) -> Option<u64> {
        let journal = fs::read(self.path("host/state/journal.json")).ok()?;
        let journal: Value = serde_json::from_slice(&journal).expect("the journal is always whole");
        journal.pointer("/committed/target/serial")?.as_u64()
    }
}

/// What the agent says goes to terminals and logs: no attacker may move the cursor there, or fill the disk.
fn assert_harmless(words: &str) {
    let control = words.chars().find(|char| char.is_control() && *char != '\n');
    assert_eq!(control, None, "the agent passes on control characters: {words:?}");
    assert!(words.len() < WORDS, "the agent says {} bytes", words.len());
}

impl Reader for AgentHost {
    fn ask(&mut self) -> Asked {
        let ended = self.agent(&["run", "--once"]);
        let asked = match ended.code {
            Some(0) => Asked::Followed,
            Some(3..=5) => Asked::Refused(self.kind().unwrap_or_default()),
            _ => panic!("the agent neither followed nor refused within {MEMORY} KiB and {PATIENCE} s: {ended:?}"),
        };
        self.assert_tidy();
        assert_harmless(&ended.words);
        assert_harmless(&self.agent(&["status"]).works());
        asked
    }

    fn followed(&self) -> Vec<u64> {
        let trace = fs::read_to_string(self.path("host/trace")).unwrap_or_default();
        let activated: Vec<u64> = trace.lines().map(|line| line.parse().expect("a serial")).collect();
        assert_eq!(activated.last().copied(), self.committed(), "what was activated last is what is committed");
        activated
    }

    fn surroundings(&self) -> BTreeMap<PathBuf, Found> {
        let mut found = snapshot::of(self.folder.path(), &self.path("host/state"));
        found.remove(&self.path("host/trace"));
        found
    }
}
