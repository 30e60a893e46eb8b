//! What tells one machine from another, so that a copy of its disk is known for one.

use std::path::Path;

use npc_core::digest::Digest;
use npc_core::files;
use serde::{Deserialize, Serialize};

/// Either file is a line.
const FILE_BYTES: u64 = 256;

/// UUIDs that vendors ship on many machines, beside those that are one byte over and over.
const PLACEHOLDERS: [u128; 4] = [
    0x0300_0200_0400_0500_0006_0007_0008_0009,
    0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f,
    0x1234_5678_1234_5678_90ab_cdde_efaa_bbcc,
    0x1000_0000_0000_8000_0040_0000_0000_0000,
];

/// What a machine is known by, as digests: nobody need learn the values from the state directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The operating system's: `/etc/machine-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine_id: Option<Digest>,
    /// The hardware's, or the virtual machine's: the UUID that its firmware tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    product_uuid: Option<Digest>,
}

impl Marks {
    /// Those of the machine whose file system begins at `root`.
    pub fn of(root: &Path) -> Self {
        let line = |path: &str| {
            let bytes = files::read_limited(&root.join(path), FILE_BYTES).ok()?;
            Some(String::from_utf8(bytes).ok()?.trim().to_ascii_lowercase())
        };
        // A container sees the firmware of the machine that it is on.
        let is_container = root.join("run/systemd/container").exists();
        let uuid = line("sys/class/dmi/id/product_uuid").filter(|_| !is_container);
        Self {
            machine_id: line("etc/machine-id").and_then(|text| machine_id(&text)).map(|id| digest("machine-id", id)),
            product_uuid: uuid.and_then(|text| product_uuid(&text)).map(|uuid| digest("product-uuid", uuid)),
        }
    }

    /// Whether these are those of one machine, and `present` those of another.
    ///
    /// The firmware's mark decides where it was seen both times: a copy of a disk keeps the system's, and a system that is
    /// installed anew, or forgets its own with every boot, is on the same machine. Without firmware to ask either time, as in
    /// containers, the system's decides. A mark that comes or goes says nothing.
    pub fn are_not(&self, present: &Self) -> bool {
        match (&self.product_uuid, &present.product_uuid) {
            (Some(known), Some(found)) => known != found,
            (None, None) => self.machine_id.as_ref().zip(present.machine_id.as_ref()).is_some_and(|(a, b)| a != b),
            _ => false,
        }
    }

    /// These, as far as `present` does not know better.
    #[must_use]
    pub fn renewed(&self, present: &Self) -> Self {
        Self {
            machine_id: present.machine_id.or(self.machine_id),
            product_uuid: present.product_uuid.or(self.product_uuid),
        }
    }
}

fn digest(what: &str, value: u128) -> Digest {
    Digest::of(format!("npc {what} {value:032x}").as_bytes())
}

fn hexadecimal(text: &str) -> Option<u128> {
    let is_whole = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_whole.then(|| u128::from_str_radix(text, 16).ok()).flatten().filter(|number| !is_one_byte(*number))
}

/// One that systemd has not set up yet is none (machine-id(5)).
fn machine_id(text: &str) -> Option<u128> {
    hexadecimal(text)
}

/// The UUID, in one of the two ways in which its first three fields are read: which, depends on the version of SMBIOS that the
/// firmware says it has, and so may change with an update of either firmware or kernel.
fn product_uuid(text: &str) -> Option<u128> {
    let one_way = hexadecimal(&text.replace('-', ""))?;
    let either_way = one_way.min(the_other_way(one_way));
    let is_placeholder = PLACEHOLDERS.iter().any(|known| either_way == (*known).min(the_other_way(*known)));
    (!is_placeholder).then_some(either_way)
}

fn the_other_way(uuid: u128) -> u128 {
    let mut bytes = uuid.to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    u128::from_be_bytes(bytes)
}

/// All zeros, all ones, `fe` throughout: nobody has set it.
fn is_one_byte(number: u128) -> bool {
    let bytes = number.to_be_bytes();
    bytes.iter().all(|byte| *byte == bytes[0])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "91267c52-9f02-4cfe-b1f4-a4da7ebac2cd";
    const ONE_SWAPPED: &str = "527C2691-029F-FE4C-B1F4-A4DA7EBAC2CD";
    const OTHER: &str = "0d3b1c6e-55aa-4e0f-9c1d-2f7b8a6c5d4e";
    const ID: &str = "4f5e6d7c8b9a4f5e6d7c8b9a4f5e6d7c";
    const OTHER_ID: &str = "1f5e6d7c8b9a4f5e6d7c8b9a4f5e6d71";

    /// The marks of a machine with these values, where it has them.
    fn marks(machine_id: Option<&str>, uuid: Option<&str>) -> Marks {
        let root = tempfile::tempdir().expect("a folder");
        for (path, value) in [("etc/machine-id", machine_id), ("sys/class/dmi/id/product_uuid", uuid)] {
            if let Some(value) = value {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().expect("a folder")).expect("created");
                fs::write(path, format!("{value}\n")).expect("written");
            }
        }
        Marks::of(root.path())
    }

    #[test]
    fn another_machine_is_told_from_the_same_one_that_has_changed() {
        let known = marks(Some(ID), Some(ONE));
        for (machine_id, uuid, is_another, why) in [
            (Some(ID), Some(ONE), false, "nothing has changed"),
            (Some(ID), Some(OTHER), true, "a copy of the disk"),
            (Some(OTHER_ID), Some(OTHER), true, "a machine that was made anew"),
            (Some(OTHER_ID), Some(ONE), false, "a system that was installed anew"),
            (Some(ID), Some(ONE_SWAPPED), false, "a firmware that says it has another version"),
            (Some(ID), Some("03000200-0400-0500-0006-000700080009"), false, "a firmware that forgot"),
            (Some(ID), None, false, "a firmware that cannot be asked"),
            (Some(OTHER_ID), None, false, "nobody can tell"),
            (None, Some(ONE), false, "a system without its mark"),
            (None, Some(OTHER), true, "a copy without its mark"),
            (None, None, false, "nothing to go by"),
        ] {
            assert_eq!(known.are_not(&marks(machine_id, uuid)), is_another, "{why}");
        }
        assert!(marks(Some(ID), None).are_not(&marks(Some(OTHER_ID), None)), "a container that was copied");
        assert!(
            !marks(Some(ID), None).are_not(&marks(Some(OTHER_ID), Some(ONE))),
            "a firmware that can be asked by now"
        );
        assert!(!Marks::default().are_not(&known), "an older agent noted nothing");
    }

    #[test]
    fn what_nobody_has_set_is_no_mark() {
        let placeholders = ["", "uninitialized", "not-a-uuid", "00000000-0000-0000-0000-000000000000"];
        let shipped = [
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "fefefefe-fefe-fefe-fefe-fefefefefefe",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
            "03020100-0504-0706-0809-0a0b0c0d0e0f",
            "12345678-1234-5678-90ab-cddeefaabbcc",
        ];
        for uuid in placeholders.into_iter().chain(shipped) {
            assert_eq!(marks(Some(&uuid.replace('-', "")), Some(uuid)).product_uuid, None, "{uuid}");
        }
        for id in placeholders {
            assert_eq!(marks(Some(&id.replace('-', "")), None), Marks::default(), "{id}");
        }
    }

    #[test]
    fn a_container_is_not_known_by_the_machine_that_it_is_on() {
        let root = tempfile::tempdir().expect("a folder");
        for (path, value) in [("sys/class/dmi/id/product_uuid", ONE), ("run/systemd/container", "lxc")] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(path, value).expect("written");
        }
        assert_eq!(Marks::of(root.path()), Marks::default());
    }

    #[test]
    fn a_mark_that_cannot_be_read_for_once_is_not_forgotten() {
        let known = marks(Some(ID), Some(ONE));
        let renewed = known.renewed(&marks(Some(OTHER_ID), None));
        assert_eq!(renewed, marks(Some(OTHER_ID), Some(ONE)));
        assert!(renewed.are_not(&marks(Some(OTHER_ID), Some(OTHER))));
    }
}
