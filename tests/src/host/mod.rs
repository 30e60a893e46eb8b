//! A real host: a Debian in a container, with systemd as its first process and Nix, on which the agent is a unit like any other
//! and systems behave like NixOS's (`tests/systems`).
//!
//! ```no_run
//! # use npc_tests::{host::Host, parts::HostBase, world::Kind};
//! let Some(base) = HostBase::find() else { return };
//! let world = npc_tests::host::world(&Kind::Served);
//! let mut host = Host::boot(&base, &world, &world.system());
//! let serial = world.publish_system(|system| system.unit("good.service", "[Service]\nExecStart=/bin/sleep infinity"));
//! host.commits(serial);
//! host.power_cycle();
//! assert_eq!(host.unit_state("good.service"), "active");
//! ```
//!
//! Each host has its own layer of files, process tree, control groups and network; the network holds nothing but a loopback on
//! which the store is where it is outside, so that `ip link set lo down` inside cuts the host off and nobody else; and a metadata
//! service, if the host is an instance in a cloud. A power cut
//! ends all processes at once, but what they wrote to files is there afterwards: writes that a real disk would have lost for want
//! of a sync are not.

mod boot;
mod disk;
mod relay;
mod slots;
mod system;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use self::boot::{Boot, Wish};
use self::disk::Disk;
use self::relay::WayOut;
pub use self::system::{System, world, world_without_fleet};
use crate::parts::HostBase;
use crate::process::Ended;
use crate::world::{Kind, World};
use crate::{eventually, journal};

/// A world's flake as seen from inside, and what to build of it.
const TOPLEVEL: &str = "path:/mnt#nixosConfigurations.host.config.system.build.toplevel";

/// Where the system profile is.
const PROFILE: &str = "/nix/var/nix/profiles/system";

/// Where instances find their metadata (Amazon EC2 User Guide, "Access instance metadata for an EC2 instance").
const METADATA: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80));

/// The agent's unit.
pub const AGENT: &str = "npc-agent.service";

/// How the names of hosts begin; the id of the test's process follows.
const NAME_PREFIX: &str = "npc-host-";

/// How long a command inside may take, in seconds; then its exit code is 124.
const COMMAND_TIMEOUT: &str = "120";

/// A world, and a host in it that runs a system like this, with nothing left to start.
pub fn running(choose: impl FnOnce(System) -> System) -> Option<(World, Host)> {
    let base = HostBase::find()?;
    let world = world(&Kind::Served);
    let host = Host::boot(&base, &world, &choose(world.system()));
    Some((world, host))
}

/// A host, on or off. Nothing is left of it when it is dropped.
#[derive(Debug)]
pub struct Host {
    // Dropped in this order: its files are free once the power is cut.
    boot: Option<Boot>,
    disk: Disk,
    name: String,
    ways_out: Vec<WayOut>,
    _slot: Rc<File>,
}

impl Host {
    /// Installs `system` on a new host and boots it, with the world's store in its network.
    pub fn boot(base: &HostBase, world: &World, system: &System) -> Self {
        let mut host = Self::install(base, world, system);
        host.power_on();
        host
    }

    /// Installs `system` on a new host, which stays off.
    pub fn install(base: &HostBase, world: &World, system: &System) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let slot = slots::take(&base.root);
        let name = format!("{NAME_PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let disk = Disk::new(base, &world.path("fleet"));
        let store = store_socket(world);
        let ways_out = vec![WayOut { inside: store, outside: store }];
        let host = Self { boot: None, disk, name, ways_out, _slot: slot };
        let built = host.build(world, system);
        host.set_profile(&built);
        host.switch(&built, "boot").works();
        host
    }

    /// Makes it an instance with this metadata service, from when it is switched on the next time.
    #[must_use]
    pub fn with_metadata(mut self, metadata: SocketAddr) -> Self {
        self.ways_out.push(WayOut { inside: METADATA, outside: metadata });
        self
    }

    /// Builds a system on the host, by hand, and gives its store path. Makes it the next one of the world's flake.
    pub fn build(&self, world: &World, system: &System) -> PathBuf {
        system.choose(world);
        let json = self.run(["nix", "build", "--json", "--no-link", "--no-write-lock-file", TOPLEVEL]).works();
        let built: Value = serde_json::from_str(&json).expect("JSON");
        built.pointer("/0/outputs/out").and_then(Value::as_str).expect("one system").into()
    }

    /// Calls a system's `switch-to-configuration`, by hand.
    pub fn switch(&self, system: &Path, action: &str) -> Ended {
        self.run([system.join("bin/switch-to-configuration").as_os_str(), action.as_ref()])
    }

    /// Points the system profile at a system, by hand.
    pub fn set_profile(&self, system: &Path) {
        let set = ["nix-env", "--profile", PROFILE, "--set"].map(OsStr::new);
        self.run(set.into_iter().chain([system.as_os_str()])).works();
    }

    /// Its name, which is part of what its processes and control groups are called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its files are kept, outside.
    pub fn folder(&self) -> &Path {
        self.disk.folder()
    }

    /// Switches it on, and waits until systemd has nothing left to start.
    pub fn power_on(&mut self) {
        self.press_power();
        eventually("the host is up", || {
            let state = self.run(["systemctl", "is-system-running"]).data;
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
    }

    /// Switches it on, and waits for nothing.
    pub fn press_power(&mut self) {
        assert!(self.boot.is_none(), "it is on");
        self.boot = Some(Boot::begin(&self.disk, &self.name, &self.ways_out));
    }

    /// Cuts its power: all processes end at once, and have no chance to do anything about it.
    pub fn cut_power(&mut self) {
        assert!(self.boot.take().is_some(), "it is off");
    }

    /// Cuts its power and switches it on again.
    pub fn power_cycle(&mut self) {
        self.cut_power();
        self.power_on();
    }

    /// Has systemd stop all units and switch the host off.
    pub fn shut_down(&mut self) {
        self.run(["systemctl", "poweroff", "--no-block"]).works();
        assert_eq!(self.boot.take().expect("it is on").wait(), Wish::Off);
    }

    /// Has systemd stop all units and reboot, and returns when that has begun.
    pub fn begin_reboot(&self) {
        self.run(["systemctl", "reboot", "--no-block"]).works();
    }

    /// Waits until it reboots, whoever had it do so, and then until systemd has nothing left to start.
    pub fn reboots(&mut self) {
        assert_eq!(self.boot.take().expect("it is on").wait(), Wish::Reboot);
        self.power_on();
    }

    /// Runs a program as root: inside while the host is on, in its files alone while it is off.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// The command that [`Host::run`] runs, for the background.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.boot.as_ref().map_or_else(|| self.disk.enter(), Boot::enter);
        command
            .args(["timeout", COMMAND_TIMEOUT])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8");
        command
    }

    /// What is in a file, if there is one.
    pub fn read(&self, path: &str) -> Option<String> {
        let ended = self.run(["cat", path]);
        (ended.code == Some(0)).then_some(ended.data)
    }

    /// Puts a file there, and the directories above it.
    pub fn write(&self, path: &str, text: &str) {
        let input = self.disk.path("input");
        fs::write(&input, text).expect("written");
        let mut command = self.command(["sh", "-c", "mkdir -p \"${1%/*}\" && cat > \"$1\"", "sh", path]);
        let status = command.stdin(File::open(input).expect("just written")).stdout(Stdio::null()).status();
        assert!(status.expect("the program can be started").success(), "{path} cannot be written");
    }

    /// Puts a copy of a program there as `/opt/npc/NAME`, for [`System::agent_program`].
    pub fn add_program(&self, name: &str, program: &Path) {
        self.disk.add_program(name, program);
    }

    /// The state of a unit in systemd's words, such as `active` or `failed`.
    pub fn unit_state(&self, unit: &str) -> String {
        self.unit_property(unit, "ActiveState")
    }

    /// A property of a unit, such as `MainPID` or `NRestarts`, as soon as systemd answers: a host that boots has no bus yet.
    pub fn unit_property(&self, unit: &str, property: &str) -> String {
        eventually(&format!("systemd tells of {unit}"), || {
            let shown = self.run(["systemctl", "show", "--value", "--property", property, unit]);
            (shown.code == Some(0)).then(|| shown.data.trim().to_owned())
        })
    }

    /// What systemd's journal holds, of all boots.
    pub fn log(&self) -> String {
        self.run(["journalctl", "--no-pager", "--quiet", "--output", "short-precise"]).data
    }

    /// The system that runs; none while the host is off.
    pub fn running(&self) -> Option<PathBuf> {
        self.link("/run/current-system")
    }

    /// The system that was booted; none while the host is off.
    pub fn booted(&self) -> Option<PathBuf> {
        self.link("/run/booted-system")
    }

    /// The system that the profile names.
    pub fn profile(&self) -> Option<PathBuf> {
        self.link(PROFILE)
    }

    /// The system that would be booted next.
    pub fn boot_default(&self) -> Option<PathBuf> {
        let loader = self.read("/boot/loader/loader.conf")?;
        let name = loader.lines().find_map(|line| line.strip_prefix("default "))?;
        let entry = self.read(&format!("/boot/loader/entries/{name}"))?;
        let options = entry.lines().find_map(|line| line.strip_prefix("options init="))?;
        options.split_whitespace().next()?.strip_suffix("/init").map(PathBuf::from)
    }

    /// Has the boot loader find `/boot` full, or not any more.
    pub fn fill_boot(&self, is_full: bool) {
        self.run([if is_full { "touch" } else { "rm" }, "/boot/full"]).works();
    }

    /// What runs, what was booted, what the profile names and what would be booted next.
    pub fn systems(&self) -> [Option<PathBuf>; 4] {
        [self.running(), self.booted(), self.profile(), self.boot_default()]
    }

    /// How `switch-to-configuration` was called so far, one `action path` a line.
    pub fn activations(&self) -> Vec<String> {
        self.read("/var/log/activations").unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The agent's journal, if there is one yet.
    pub fn journal(&self) -> Option<Value> {
        let text = self.read("/var/lib/npc-agent/journal.json")?;
        Some(serde_json::from_str(&text).expect("the journal is always whole"))
    }

    /// The serial that the agent has committed.
    pub fn committed(&self) -> Option<u64> {
        journal::committed(&self.journal()?)
    }

    /// Waits until the agent has committed this serial and has nothing under way.
    pub fn commits(&self, serial: u64) {
        let what = format!("{} commits {serial}", self.name);
        eventually(&what, || journal::is_steady_at(&self.journal()?, serial).then_some(()));
    }

    /// Kind and error of the agent's newest outcome, such as `rolled-back activation-failed`.
    pub fn outcome(&self) -> Option<String> {
        journal::outcome(&self.journal()?)
    }

    /// Waits until that is the newest outcome.
    pub fn comes_to(&self, outcome: &str) {
        eventually(outcome, || (self.outcome()? == outcome).then_some(()));
    }

    /// Kills the agent. Whoever looks after it starts it again.
    pub fn kill_agent(&self) {
        self.run(["systemctl", "kill", "--signal=SIGKILL", AGENT]).works();
    }

    /// Kills the agent, and has systemd leave it dead until somebody asks for it.
    pub fn kill_agent_for_good(&self) {
        self.write(&format!("/run/systemd/system/{AGENT}.d/dies.conf"), "[Service]\nRestart=no\n");
        self.run(["systemctl", "daemon-reload"]).works();
        eventually("it is dead", || {
            // It may be about to be started again.
            self.run(["systemctl", "kill", "--signal=SIGKILL", AGENT]);
            (self.unit_state(AGENT) == "failed").then_some(())
        });
    }

    /// Has a dead-man timer of the attempt that is under way go off before its time.
    pub fn time_is_up(&self, timer: &str) {
        let journal = self.journal().expect("a journal");
        let attempt = journal["unit"].as_str().expect("an attempt");
        self.run(["systemctl", "start", "--no-block", &format!("{attempt}-{timer}.service")]).works();
    }

    /// Has the agent try again what failed.
    pub fn retry(&self) {
        let process = self.unit_property(AGENT, "MainPID");
        self.run([&format!("/proc/{process}/exe"), "retry"]).works();
    }

    fn link(&self, path: &str) -> Option<PathBuf> {
        let ended = self.run(["readlink", "--canonicalize-existing", path]);
        (ended.code == Some(0)).then(|| ended.data.trim().into())
    }
}

impl Drop for Host {
    /// What a failed test would have to be tried again for.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let end = |text: String| text.lines().rev().take(60).map(str::to_owned).collect::<Vec<_>>();
            for line in end(boot::console(&self.disk)).iter().rev() {
                eprintln!("{} console: {line}", self.name);
            }
            for line in end(self.log()).iter().rev() {
                eprintln!("{} journal: {line}", self.name);
            }
        }
    }
}

/// Where the world's store listens.
fn store_socket(world: &World) -> SocketAddr {
    let url = world.url().to_string();
    let (_, rest) = url.split_once("http://").expect("hosts need a store that listens on loopback");
    rest.split(['/', '&']).next().and_then(|address| address.parse().ok()).expect("an address")
}
