//! What the files of a NixOS host say: which system runs, which was booted, and what tells two systems apart.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

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
    pub(super) fn obstacles(&self, system: &Path) -> BTreeSet<Obstacle> {
        let Some(running) = self.running() else { return BTreeSet::new() };
        let init_interface = |system: &Path| fs::read(system.join("init-interface-version")).ok();
        let has_other_init =
            init_interface(system).is_some_and(|new| init_interface(&running).unwrap_or_default() != new);
        let found = [
            (Obstacle::Inhibited, inhibits_switching(&running, system)),
            (Obstacle::InitInterface, has_other_init),
            (Obstacle::Kernel, self.needs_reboot(system)),
        ];
        found.into_iter().filter(|(_, is_there)| *is_there).map(|(obstacle, _)| obstacle).collect()
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

/// Whether NixOS would refuse to switch from one system to the other: where a name that both have in `system.switch.inhibitors`
/// stands for something else. One that is new, or is gone, forbids nothing.
fn inhibits_switching(running: &Path, system: &Path) -> bool {
    let read = |system: &Path| fs::read(system.join("switch-inhibitors")).ok();
    let (Some(before), Some(after)) = (read(running), read(system)) else { return false };
    let named = |text: &[u8]| serde_json::from_slice::<Map<String, Value>>(text).ok();
    match (named(&before), named(&after)) {
        (Some(before), Some(after)) => {
            before.iter().any(|(name, value)| after.get(name).is_some_and(|other| other != value))
        }
        // What is not understood must at least not have changed.
        _ => before != after,
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
        assert_eq!(host.obstacles(&root.join("b")), [].into());
        assert_eq!(host.obstacles(&root.join("c")), [Obstacle::Kernel].into());
    }

    #[test]
    fn only_inhibitors_that_both_systems_name_and_that_differ_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let booted = system(root, "a", "6.6", "", Some(r#"{"systemd": "257", "dbus-implementation": "dbus"}"#));
        let host = host(root, &booted);
        let inhibited = |name: &str, text| !host.obstacles(&system(root, name, "6.6", "", text)).is_empty();
        assert!(!inhibited("b", Some(r#"{"dbus-implementation": "dbus", "systemd": "257"}"#)));
        assert!(inhibited("c", Some(r#"{"systemd": "258", "dbus-implementation": "dbus"}"#)));
        assert!(!inhibited("d", Some(r#"{"systemd": "257", "zfs": "2.3"}"#)), "one more, one less");
        assert!(!inhibited("e", None), "an older NixOS knows no inhibitors");
        assert!(inhibited("f", Some("/nix/store/systemd-257")), "what is not understood");
    }

    #[test]
    fn one_obstacle_hides_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let versioned = |name: &str, kernel: &str, systemd: &str, init: &str| {
            let system = system(root, name, kernel, "", Some(&format!("{{\"systemd\": \"{systemd}\"}}")));
            fs::write(system.join("init-interface-version"), init).expect("written");
            system
        };
        let host = host(root, &versioned("a", "6.6", "257", "1"));
        let obstacles = |name: &str, kernel: &str, systemd: &str, init: &str| {
            host.obstacles(&versioned(name, kernel, systemd, init)).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(obstacles("b", "6.6", "257", "1"), []);
        assert_eq!(obstacles("c", "6.6", "257", "2"), [Obstacle::InitInterface]);
        let all = [Obstacle::Inhibited, Obstacle::Kernel, Obstacle::InitInterface];
        assert_eq!(obstacles("d", "6.12", "258", "2"), all);
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
