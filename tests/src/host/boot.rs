//! One boot of a host, from power on to power off.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::NAME_PREFIX;
use super::disk::Disk;
use super::relay::{Relay, WayOut};
use crate::eventually;
use crate::process::Ended;

/// What nspawn exits with when the host asks to be booted again, where nobody but its caller can do that (systemd-nspawn(1)).
const BOOT_AGAIN: i32 = 133;

/// What a host wants when it has ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To stay off.
    Off,
    /// To be booted again.
    Reboot,
}

/// A host that is on. Power is cut when it is dropped.
///
/// Everything in it lives in a process namespace whose first process is nspawn: the kernel ends them all with that one, and ends
/// that one if the test's thread is no more.
#[derive(Debug)]
pub(super) struct Boot {
    /// `unshare`, which waits for nspawn.
    child: Child,
    nspawn: Pid,
    init: Option<Pid>,
    groups: Vec<PathBuf>,
    // Held for its end.
    _relays: Vec<Relay>,
}

impl Boot {
    /// Switches the host `name` on, with these ways out of its network. Returns as soon as its first process is there.
    pub(super) fn begin(disk: &Disk, name: &str, ways_out: &[WayOut]) -> Self {
        let network = disk.path("network");
        let _ = fs::remove_file(&network);
        let log = |name: &str| File::options().create(true).append(true).open(disk.path(name)).expect("a log");
        let groups = control_groups(name);
        remove_stale_groups(&groups);
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--mount-proc"])
            .args(["--fork", "--kill-child", "sh"])
            .args(disk.power_script("on"))
            .arg(name)
            .args(&groups)
            .stdin(Stdio::piped())
            .stdout(log("console"))
            .stderr(log("console"));
        let mut child = command.spawn().expect("the host can be started");
        let nspawn = eventually("the host has a network", || {
            let ended = child.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "the host ended: {}", console(disk));
            network.exists().then(|| children(child.id()).first().copied()).flatten()
        });
        let namespace = format!("/proc/{}/ns/net", nspawn.as_raw_nonzero());
        let relays = ways_out.iter().map(|way| {
            if !way.inside.ip().is_loopback() {
                add_address(&namespace, way.inside.ip());
            }
            Relay::start(Path::new(&namespace), *way).expect("a way out")
        });
        let mut boot = Self { child, nspawn, init: None, groups, _relays: relays.collect() };
        boot.child.stdin.take().expect("a pipe").write_all(b"go on\n").expect("written");
        boot.init = Some(eventually("the host has a first process", || {
            assert!(boot.runs(), "the host ended: {}", console(disk));
            let id = |pid: &Pid| pid.as_raw_nonzero().get().unsigned_abs();
            children(id(&boot.nspawn)).into_iter().find(|pid| is_first(id(pid)))
        }));
        boot
    }

    /// Whether it is still on.
    pub(super) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// Waits until it has ended by itself.
    pub(super) fn wait(mut self) -> Wish {
        let ended = eventually("the host ends", || self.child.try_wait().expect("it can be waited for"));
        if ended.code() == Some(BOOT_AGAIN) { Wish::Reboot } else { Wish::Off }
    }

    /// The start of a command that runs inside.
    pub(super) fn enter(&self) -> Command {
        let init = self.init.expect("it has begun");
        let mut command = Command::new("nsenter");
        command.args(["--target", &init.as_raw_nonzero().to_string(), "--all", "--root", "--wd"]);
        command
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        // Its number cannot have been given away meanwhile: `unshare` waits for it, and is waited for below.
        if self.runs() {
            let _ = kill_process(self.nspawn, Signal::KILL);
        }
        let _ = self.child.wait();
        for group in &self.groups {
            remove_group(group);
        }
    }
}

/// Gives the loopback device of a network an address.
fn add_address(namespace: &str, address: IpAddr) {
    let mut add = Command::new("nsenter");
    add.arg(format!("--net={namespace}")).args(["ip", "address", "add", &format!("{address}/32"), "dev", "lo"]);
    Ended::of(&mut add).works();
}

/// What the host has written to its console, over all boots.
pub(super) fn console(disk: &Disk) -> String {
    fs::read(disk.path("console")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Groups of its own in systemd's hierarchies, below the test's: the named one of version 1, the one of version 2, or both.
fn control_groups(name: &str) -> Vec<PathBuf> {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let unified = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
    let own = fs::read_to_string("/proc/self/cgroup").expect("control groups");
    let group = |line: &str| {
        let (hierarchy, path) = line.split_once(':')?.1.split_once(':')?;
        let root = match hierarchy {
            "" => unified,
            "name=systemd" => Path::new("/sys/fs/cgroup/systemd"),
            _ => return None,
        };
        Some(root.join(path.trim_start_matches('/')).join(name))
    };
    own.lines().filter_map(group).collect()
}

/// The groups that systemd made inside are left when all processes are gone.
fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// What hosts of test processes that were killed have left: their groups, which are empty, and whose names hold the process's id.
fn remove_stale_groups(groups: &[PathBuf]) {
    for parent in groups.iter().filter_map(|group| group.parent()) {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(NAME_PREFIX)?.split('-').next());
            if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
                remove_group(&entry.path());
            }
        }
    }
}

fn children(pid: u32) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// Whether a process is a host's first: numbered so in its own namespace, and not nspawn any more, which has yet to lock itself in.
fn is_first(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if !["firmware", "init", "systemd"].contains(&name.trim()) {
        return false;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    ids.is_some_and(|ids| ids.split_whitespace().last() == Some("1"))
}
