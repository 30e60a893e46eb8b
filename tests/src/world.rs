//! A fleet to play with: the example flake, a store of some kind, a publisher, and agents with roots of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use npc_core::fleet::Fleet;
use npc_core::key::SecretKey;
use npc_core::name::FleetId;
use npc_core::store::{DirectoryStore, StoreUrl};
use npc_core::trust::Anchor;
use serde_json::Value;
use tempfile::TempDir;

use crate::moto::Keys;
use crate::parts::{ACCESS_KEY, Garage, Nix, SECRET_KEY, program};
use crate::process::{Background, Ended};
use crate::{eventually, journal};

/// Who may write to a served store.
pub const TOKEN: &str = "a-token-that-only-tests-know";

/// The file that names hosts to a server, where there is one.
const HOST_TOKENS: &str = "host-tokens";

/// Where the fleet's store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A directory behind `npc-publish serve`.
    Served,
    /// A prefix in Garage's bucket.
    Garage(Garage),
    /// A place in some other bucket.
    Bucket(Box<Bucket>),
}

/// A place in a bucket, and an operator who may write there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Where it is.
    pub url: StoreUrl,
    /// The operator's credentials.
    pub operator: Keys,
}

/// A fleet in a temp folder.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    url: StoreUrl,
    host_settings: String,
    keys: Keys,
    server: Option<Background>,
    /// Whether its own Nix store has been made.
    nix_store: OnceLock<()>,
}

impl World {
    /// The example fleet with a store of this kind and nothing published yet.
    pub fn new(kind: &Kind) -> Self {
        Self::of(&example(), kind)
    }

    /// The fleet in this flake, with a store of this kind and nothing published yet.
    pub fn of(flake: &Path, kind: &Kind) -> Self {
        let mut world = Self::without_fleet(flake, kind);
        let address = world.url.to_string();
        let fleet = world.path("fleet");
        let init = ["init", "--store", &address, "--flake", fleet.to_str().expect("a plain path")];
        world.host_settings = world.npc_publish(&init).works();
        world
    }

    /// This flake, and an empty store of this kind, in which nobody has made a fleet yet.
    pub fn without_fleet(flake: &Path, kind: &Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["home", "store"] {
            fs::create_dir(path(name)).expect("created");
        }
        copy_tree(flake, &path("fleet"));
        for_this_machine(&path("fleet/system.nix"));
        let (server, url) = match kind {
            Kind::Directory => (None, format!("file://{}", path("store").display()).parse().expect("an address")),
            Kind::Garage(garage) => {
                let unique = folder.path().file_name().expect("a name").to_string_lossy().to_lowercase();
                (None, garage.url(unique.trim_start_matches('.')))
            }
            Kind::Bucket(bucket) => (None, bucket.url.clone()),
            Kind::Served => {
                let (server, url) = serve(folder.path(), "127.0.0.1:0");
                (Some(server), url.parse().expect("an address"))
            }
        };
        let keys = match kind {
            Kind::Bucket(bucket) => bucket.operator.clone(),
            _ => Keys { id: ACCESS_KEY.to_owned(), secret: SECRET_KEY.to_owned(), session: None },
        };
        Self { folder, url, host_settings: String::new(), keys, server, nix_store: OnceLock::new() }
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The store's address.
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// Takes in the fleet that somebody has made meanwhile, which the flake's `npc.toml` describes.
    pub fn adopt_fleet(&mut self) {
        let described = fs::read_to_string(self.path("fleet/npc.toml")).expect("a description");
        let is_told = |line: &&str| ["fleet", "store", "root_keys"].iter().any(|field| line.starts_with(field));
        self.host_settings = described.lines().filter(is_told).collect::<Vec<_>>().join("\n");
    }

    /// What `init` printed for hosts.
    pub fn host_settings(&self) -> &str {
        &self.host_settings
    }

    /// The environment that every program here runs in.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .env("HOME", self.path("home"))
            .env("NPC_STORE_TOKEN", TOKEN)
            .env("NPC_NIX", "none")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_CONFIG_HOME");
        self.keys.give(&mut command);
        command
    }

    /// Runs `npc-publish` with these arguments.
    pub fn npc_publish(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command("npc-publish").args(arguments))
    }

    /// Runs `npc-publish` on the world's flake.
    pub fn in_fleet(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command("npc-publish").args(arguments).current_dir(self.path("fleet")))
    }

    /// Publishes the flake to `prod`, and gives `prod@SERIAL`.
    #[track_caller]
    pub fn publish(&self) -> String {
        self.in_fleet(&["--remote", "prod"]).works().trim().to_owned()
    }

    /// Changes the message of the day, which every host shows.
    pub fn edit(&self, words: &str) {
        fs::write(self.path("fleet/modules/motd.txt"), words).expect("written");
    }

    /// A secret key that `init` made: `npc-root-1` or `npc-publish-1`.
    pub fn key(&self, name: &str) -> SecretKey {
        fs::read_to_string(self.key_file(name)).expect("a key file").parse().expect("a key")
    }

    /// The file of that key.
    pub fn key_file(&self, name: &str) -> PathBuf {
        let directory = fs::read_dir(self.path("home/.config/npc")).expect("keys").next().expect("one fleet");
        directory.expect("one fleet").path().join(format!("{name}.secret"))
    }

    /// The fleet's id.
    pub fn fleet_id(&self) -> FleetId {
        let line = self.host_settings.lines().find(|line| line.starts_with("fleet")).expect("a fleet");
        line.split('"').nth(1).expect("an id").parse().expect("an id")
    }

    /// What the fleet's trust hangs on.
    pub fn anchor(&self) -> Anchor {
        let root_keys = vec![self.key("npc-root-1").public()];
        let version = npc_core::document::Serial::FIRST;
        Anchor { fleet: self.fleet_id(), root_keys, root_threshold: 1, version }
    }

    /// The fleet, opened; only where the store is a directory.
    pub async fn open(&self) -> Fleet {
        let store = std::sync::Arc::new(DirectoryStore::new(self.path("store")));
        Fleet::open(store, &self.anchor()).await.expect("a fleet")
    }

    /// What the server has logged so far.
    pub fn served(&self) -> String {
        self.server.as_ref().expect("the store is served").words()
    }

    /// The server, where there is one.
    pub fn server(&mut self) -> &mut Option<Background> {
        &mut self.server
    }

    /// Starts the server again at its old address.
    pub fn serve_again(&mut self) {
        let address = self.url.to_string();
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        self.server = Some(serve(self.folder.path(), &address).0);
    }

    /// Serves anew, at the old address, for hosts with these tokens alone beside the operators: `HOST TOKEN [ASSIGNMENT]` a line.
    pub fn serve_hosts(&mut self, lines: &str) {
        self.name_hosts(lines);
        if let Some(server) = self.server.take() {
            server.stop();
        }
        self.serve_again();
    }

    /// Replaces the file of the hosts' tokens, also while it is in use.
    pub fn name_hosts(&self, lines: &str) {
        npc_core::files::write_atomically(&self.path(HOST_TOKENS), lines.as_bytes(), 0o600).expect("written");
    }

    /// Has Nix make the world's own store, which two that come first at the same time disturb each other at.
    fn make_nix_store(&self, nix: &Nix) {
        self.nix_store.get_or_init(|| {
            // By the path: what stands in for Nix in a test is one program.
            let mut init = Command::new("nix-store");
            nix.with_store(init.arg("--init"), &self.path("nix"));
            Ended::of(&mut init).works();
        });
    }

    /// Has a command use the world's own Nix store, which its publisher and its hosts share.
    fn with_nix(&self, command: &mut Command, nix: &Nix) {
        nix.with_store(command, &self.path("nix"));
        command.env("NPC_NIX", nix.program());
    }

    /// Runs `npc-publish` on the world's flake, with Nix to evaluate it.
    pub fn evaluating(&self, nix: &Nix, arguments: &[&str]) -> Ended {
        let mut command = self.command("npc-publish");
        command.args(arguments).current_dir(self.path("fleet"));
        self.with_nix(&mut command, nix);
        Ended::of(&mut command)
    }

    /// An agent for `configuration`, with a root and a state of its own.
    pub fn agent(&self, configuration: &str, nix: &Nix) -> Agent<'_> {
        self.agent_called(&format!("host-{configuration}"), configuration, nix)
    }

    /// One of several agents for `configuration`.
    pub fn agent_called(&self, name: &str, configuration: &str, nix: &Nix) -> Agent<'_> {
        let home = self.path(name);
        fs::create_dir_all(home.join("root")).expect("created");
        self.make_nix_store(nix);
        let agent = Agent { world: self, home, nix: Some(nix.clone()) };
        let (root, profile) = (agent.home.join("root"), agent.profile());
        let host = name.trim_start_matches("host-");
        agent.configure(&format!(
            "remote = \"prod\"\nconfiguration = \"{configuration}\"\nhost = \"{host}\"\npoll_interval = 1\n\
             root = \"{}\"\nprofile = \"{}\"\n[probation]\nsettle = 0\nstore = 10",
            root.display(),
            profile.display()
        ));
        agent
    }

    /// A host's agent in the background, which has committed the first release.
    pub fn first_release(&self, host: &str, nix: &Nix) -> (Agent<'_>, Background) {
        self.publish();
        let agent = self.agent(host, nix);
        let running = agent.start();
        agent.commits(1);
        (agent, running)
    }

    /// Has a host's next system fail while it is activated.
    pub fn break_activation(&self, host: &str) {
        let path = self.path(&format!("fleet/hosts/{host}.nix"));
        let text = fs::read_to_string(&path).expect("read");
        let broken = text.replace("# activation.fail", "activation.fail");
        assert_ne!(text, broken, "the example has a switch for this");
        fs::write(path, broken).expect("written");
    }

    /// An agent that runs `script` with `sh` in place of Nix.
    pub fn command_agent(&self, configuration: &str, script: &str) -> Agent<'_> {
        let home = self.path(&format!("host-{configuration}"));
        fs::create_dir_all(&home).expect("created");
        fs::write(home.join("apply"), script).expect("written");
        let agent = Agent { world: self, home, nix: None };
        agent.configure(&format!(
            "remote = \"prod\"\nconfiguration = \"{configuration}\"\nhost = \"{configuration}\"\npoll_interval = 1\n\
             [probation]\nsettle = 0\nstore = 10\n[activation]\ncommand = [\"sh\", \"{}\"]",
            agent.home.join("apply").display()
        ));
        agent
    }
}

/// Serves the world's store.
fn serve(folder: &Path, address: &str) -> (Background, String) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let tokens = folder.join("tokens");
    if !tokens.exists() {
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&tokens);
        std::io::Write::write_all(&mut file.expect("created"), TOKEN.as_bytes()).expect("written");
    }
    let mut command = Command::new(program("npc-publish"));
    command.arg("serve").arg(folder.join("store")).args(["--listen", address]).arg("--tokens").arg(tokens);
    if folder.join(HOST_TOKENS).exists() {
        command.arg("--host-tokens").arg(folder.join(HOST_TOKENS));
    }
    command.env("NPC_LOG", "info,npc_publish=debug");
    let mut server = Background::start(&mut command, &folder.join("server.log"));
    let url = eventually("the server says where it is", || {
        assert!(server.runs(), "the server ended: {}", server.words());
        let data = server.data();
        data.ends_with('\n').then(|| data.trim().to_owned())
    });
    (server, url)
}

/// The example flake of this repository.
pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet")
}

/// Has the example build where it is.
fn for_this_machine(system: &Path) {
    let text = fs::read_to_string(system).expect("the example says its system");
    let here = format!("{}-linux", std::env::consts::ARCH);
    fs::write(system, text.replace("x86_64-linux", &here)).expect("written");
}

/// Copies files and directories.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// An agent and its host.
#[derive(Debug)]
pub struct Agent<'world> {
    world: &'world World,
    home: PathBuf,
    nix: Option<Nix>,
}

impl Agent<'_> {
    /// Writes the configuration: what `init` printed, and this.
    pub fn configure(&self, settings: &str) {
        self.configure_for(self.world.host_settings(), settings);
    }

    /// Writes the configuration for another fleet.
    pub fn configure_for(&self, fleet: &str, settings: &str) {
        fs::write(self.home.join("agent.toml"), format!("{fleet}\n{settings}\n")).expect("written");
    }

    /// Adds settings that belong to no table.
    pub fn add_settings(&self, lines: &str) {
        let path = self.path("agent.toml");
        let settings = fs::read_to_string(&path).expect("read");
        fs::write(path, format!("{lines}\n{settings}")).expect("written");
    }

    /// Polls so often, instead of every second.
    pub fn poll_every(&self, seconds: u64) {
        let path = self.path("agent.toml");
        let settings = fs::read_to_string(&path).expect("read");
        let often = format!("poll_interval = {seconds}");
        fs::write(path, settings.replace("poll_interval = 1", &often)).expect("written");
    }

    /// A path in the host's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// The system profile of the host.
    pub fn profile(&self) -> PathBuf {
        let name = self.home.file_name().expect("a name");
        self.world.path("nix/state/profiles").join(name)
    }

    /// The agent's command, to run under something else.
    pub fn command(&self) -> Command {
        let mut command = self.world.command("npc-agent");
        command.env("NPC_AGENT_CONFIG", self.path("agent.toml")).env("NPC_AGENT_STATE", self.path("state"));
        if let Some(nix) = &self.nix {
            self.world.with_nix(&mut command, nix);
        }
        command
    }

    /// Runs the agent with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command().args(arguments))
    }

    /// Runs `run --once`.
    pub fn once(&self) -> Ended {
        self.run(&["run", "--once"])
    }

    /// Starts `run`.
    pub fn start(&self) -> Background {
        Background::start(self.command().arg("run"), &self.path("agent.log"))
    }

    /// What the agent's status says.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--json"]).works()).expect("JSON")
    }

    /// The journal, if there is one yet.
    pub fn journal(&self) -> Option<Value> {
        let bytes = fs::read(self.path("state/journal.json")).ok()?;
        Some(serde_json::from_slice(&bytes).expect("the journal is always whole"))
    }

    /// The serial that is committed.
    pub fn committed(&self) -> Option<u64> {
        journal::committed(&self.journal()?)
    }

    /// Waits until this serial is committed and nothing is under way.
    pub fn commits(&self, serial: u64) {
        eventually(&format!("{} commits {serial}", self.home.display()), || {
            journal::is_steady_at(&self.journal()?, serial).then_some(())
        });
    }

    /// Kind and error of the newest outcome, such as `rolled-back activation-failed`.
    pub fn outcome(&self) -> Option<String> {
        journal::outcome(&self.journal()?)
    }

    /// The system that runs.
    pub fn running(&self) -> Option<PathBuf> {
        fs::read_link(self.path("root/run/current-system")).ok()
    }

    /// What the boot loader would start.
    pub fn boot_default(&self) -> String {
        fs::read_to_string(self.path("root/boot/loader/entries/default")).unwrap_or_default()
    }

    /// The activations so far, one `action path` a line.
    pub fn activations(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("root/var/log/activations")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The message of the day of the system that runs.
    pub fn message(&self) -> String {
        fs::read_to_string(self.path("root/run/current-system/etc/motd")).unwrap_or_default()
    }
}

/// The address of a Garage as the proxy needs it.
pub fn socket_of(endpoint: &str) -> std::net::SocketAddr {
    endpoint.trim_start_matches("http://").parse().expect("an address")
}

/// Whether the parts for Garage are there.
pub fn garage_kind() -> Option<Kind> {
    Garage::find().map(Kind::Garage)
}
