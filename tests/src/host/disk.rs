//! A host's files: a layer of its own over the base that all hosts share.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::parts::{HostBase, program};

/// What a host's Nix must know before there is a system, and under every one: it has no other users, and no network.
const NIX_SETTINGS: &str =
    "sandbox = false\nbuild-users-group =\nsubstituters =\nexperimental-features = nix-command flakes\n";

/// The files of one host, gone when dropped.
#[derive(Debug)]
pub(super) struct Disk {
    folder: TempDir,
    base: PathBuf,
}

impl Disk {
    /// The base as it is, the firmware, the agent under test, and a flake at `/mnt`.
    pub(super) fn new(base: &HostBase, flake: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Self { folder, base: base.root.clone() };
        for name in ["work", "root", "programs", "upper/etc/nix", "upper/opt/npc"] {
            fs::create_dir_all(disk.path(name)).expect("created");
        }
        fs::write(disk.path("upper/etc/nix/nix.conf"), NIX_SETTINGS).expect("written");
        fs::copy(script("host-firmware.sh"), disk.path("upper/firmware")).expect("copied");
        fs::set_permissions(disk.path("upper/firmware"), fs::Permissions::from_mode(0o755)).expect("set");
        symlink(flake, disk.path("flake")).expect("linked");
        disk.add_program("npc-agent", &program("npc-agent"));
        disk
    }

    /// Where everything is, outside the host.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a copy of a program where the host sees it as `/opt/npc/NAME`.
    pub(super) fn add_program(&self, name: &str, program: &Path) {
        fs::copy(program, self.path("programs").join(name)).expect("copied");
    }

    /// `host-power.sh MODE` for this disk.
    pub(super) fn power_script(&self, mode: &str) -> [PathBuf; 4] {
        [script("host-power.sh"), mode.into(), self.folder.path().to_owned(), self.base.clone()]
    }

    /// The start of a command that runs in the file system while the host is off.
    pub(super) fn enter(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh"]).args(self.power_script("off"));
        command
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name)
}
