//! What the files of a NixOS host say: which system runs, which was booted, and what tells two systems apart.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::machine::Obstacle;

/// What only a boot can replace, as links in a system.
const KERNEL: [&str; 3] = ["kernel", "initrd", "kernel-modules"];

/// The file system of a NixOS host.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// Where it begins.
    pub(super) root: PathBuf,
    /// The profile that the boot loader follows.
    pub(super) profile: PathBuf,
}

impl Host {
    pub(super) fn running(&self) -> Option<PathBuf> {
        fs::read_link(self.root.join("run/current-system")).ok()
    }

    pub(super) fn booted(&self) -> Option<PathBuf> {
        fs::read_link(self.root.join("run/booted-system")).ok()
    }

    pub(super) fn boot_default(&self) -> Option<PathBuf> {
        fs::canonicalize(&self.profile).ok()
    }

    /// Whether `system` would bring another kernel, initrd or kernel parameters than were booted.
    pub(super) fn needs_reboot(&self, system: &Path) -> bool {
        let Some(booted) = self.booted() else { return false };
        let differs = |name: &str| fs::read_link(booted.join(name)).ok() != fs::read_link(system.join(name)).ok();
        let parameters = |system: &Path| fs::read(system.join("kernel-params")).ok();
        KERNEL.into_iter().any(differs) || parameters(&booted) != parameters(system)
    }

    /// What speaks against activating `system` while the host runs.
    pub(super) fn obstacle(&self, system: &Path) -> Option<Obstacle> {
        let inhibitors = |system: &Path| fs::read(system.join("switch-inhibitors")).ok();
        let running = self.running()?;
        match (inhibitors(&running), inhibitors(system)) {
            // `system.switch.inhibitors` of NixOS: a system that names others than the running one refuses to be activated.
            (Some(before), Some(after)) if before != after => Some(Obstacle::Inhibited),
            _ => self.needs_reboot(system).then_some(Obstacle::Kernel),
        }
    }

    /// Whether somebody is switching at this moment: what `switch-to-configuration` locks.
    pub(super) fn is_being_switched(&self) -> bool {
        let lock = File::open(self.root.join("run/nixos/switch-to-configuration.lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The boot that lasts (random(4)).
    pub(super) fn boot_id() -> Option<String> {
        Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn system(root: &Path, name: &str, kernel: &str, parameters: &str, inhibitors: Option<&str>) -> PathBuf {
        let system = root.join(name);
        fs::create_dir_all(&system).expect("created");
        for link in KERNEL {
            let target = root.join(format!("{link}-{kernel}"));
            fs::write(&target, "").expect("written");
            symlink(target, system.join(link)).expect("linked");
        }
        fs::write(system.join("kernel-params"), parameters).expect("written");
        if let Some(text) = inhibitors {
            fs::write(system.join("switch-inhibitors"), text).expect("written");
        }
        system
    }

    fn host(root: &Path, booted: &Path) -> Host {
        fs::create_dir_all(root.join("run")).expect("created");
        for link in ["run/current-system", "run/booted-system"] {
            symlink(booted, root.join(link)).expect("linked");
        }
        Host { root: root.to_owned(), profile: root.join("profile") }
    }

    #[test]
    fn another_kernel_initrd_or_parameter_needs_a_reboot() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let booted = system(root, "a", "6.6", "quiet", None);
        let host = host(root, &booted);
        assert!(!host.needs_reboot(&system(root, "b", "6.6", "quiet", None)));
        assert!(host.needs_reboot(&system(root, "c", "6.12", "quiet", None)));
        assert!(host.needs_reboot(&system(root, "d", "6.6", "quiet panic=1", None)));
        assert_eq!(host.obstacle(&root.join("b")), None);
        assert_eq!(host.obstacle(&root.join("c")), Some(Obstacle::Kernel));
    }

    #[test]
    fn other_inhibitors_are_seen_before_anything_is_activated() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let booted = system(root, "a", "6.6", "", Some("/nix/store/systemd-257"));
        let host = host(root, &booted);
        let obstacle = |name: &str, text| host.obstacle(&system(root, name, "6.6", "", text));
        assert_eq!(obstacle("b", Some("/nix/store/systemd-257")), None);
        assert_eq!(obstacle("c", Some("/nix/store/systemd-258")), Some(Obstacle::Inhibited));
        assert_eq!(obstacle("d", None), None, "an older NixOS knows no inhibitors");
    }

    #[test]
    fn a_switch_by_somebody_else_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let host = Host { root: folder.path().to_owned(), profile: folder.path().join("profile") };
        assert!(!host.is_being_switched());
        let directory = folder.path().join("run/nixos");
        fs::create_dir_all(&directory).expect("created");
        let lock = File::create(directory.join("switch-to-configuration.lock")).expect("created");
        assert!(!host.is_being_switched());
        lock.lock().expect("locked");
        assert!(host.is_being_switched());
    }
}
