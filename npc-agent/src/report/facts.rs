//! What a machine says of itself.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use npc_core::files;

use crate::activation::{self, unit};
use crate::health;

/// How many units, addresses and keys a report names of each.
const MOST: usize = 32;

/// The longest public key that is taken for one, in bytes: RSA with 16384 bits needs 2.8 kB.
const KEY_BYTES: u64 = 8 * 1024;

/// What there is to say of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The boot that lasts; empty where that cannot be told.
    pub boot_id: String,
    /// Units that have failed.
    pub failed_units: BTreeSet<String>,
    /// How it is found.
    pub contact: Contact,
}

/// How others find a machine, and know that it is the one they look for. In what order a machine lists that means nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// Addresses at which others may reach it.
    pub addresses: BTreeSet<IpAddr>,
    /// Its SSH server's public keys, without the comments behind them.
    pub ssh_host_keys: BTreeSet<String>,
}

/// The machine that reports are about.
#[async_trait(?Send)]
pub trait Machine: Debug {
    /// The boot that lasts; empty where that cannot be told.
    fn boot_id(&self) -> String;

    /// How it is found now, which must be cheap to ask.
    fn contact(&self) -> Contact;

    /// Units that have failed by now, which may take a question to another program; none where that cannot be told.
    async fn failed_units(&self) -> Option<BTreeSet<String>>;
}

/// The machine that this process runs on.
#[derive(Debug, Clone)]
pub struct ThisMachine {
    /// Where its file system begins.
    pub root: PathBuf,
}

#[async_trait(?Send)]
impl Machine for ThisMachine {
    fn boot_id(&self) -> String {
        activation::boot_id().unwrap_or_default()
    }

    fn contact(&self) -> Contact {
        Contact { addresses: addresses(), ssh_host_keys: ssh_host_keys(&self.root) }
    }

    async fn failed_units(&self) -> Option<BTreeSet<String>> {
        // Without systemd there is none that could fail.
        if !unit::is_booted() {
            return Some(BTreeSet::new());
        }
        match health::failed_units().await {
            Ok(units) => Some(units.into_iter().take(MOST).collect()),
            Err(failed) => {
                tracing::debug!(kind = failed.kind, "{failed}");
                None
            }
        }
    }
}

/// Addresses at which others may reach the machine.
fn addresses() -> BTreeSet<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot list addresses");
        Vec::new()
    });
    let addresses: BTreeSet<_> = interfaces
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(if_addrs::Interface::ip)
        .collect();
    addresses.into_iter().take(MOST).collect()
}

/// The SSH server's public keys, without the comments behind them.
fn ssh_host_keys(root: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(root.join("etc/ssh")) else { return BTreeSet::new() };
    let is_host_key = |name: &str| name.starts_with("ssh_host_") && name.ends_with("_key.pub");
    let files = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_host_key));
    let keys: BTreeSet<_> = files.filter_map(|entry| public_key(&entry.path())).collect();
    keys.into_iter().take(MOST).collect()
}

fn public_key(path: &Path) -> Option<String> {
    let text = String::from_utf8(files::read_limited(path, KEY_BYTES).ok()?).ok()?;
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let is_kind = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| kind.starts_with(prefix));
    (is_kind && format!("{kind}{key}").bytes().all(|byte| byte.is_ascii_graphic())).then(|| format!("{kind} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_keys_are_found_without_their_comments_and_nothing_else_is_taken_for_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("etc/ssh");
        fs::create_dir_all(&directory).expect("created");
        for (name, text) in [
            ("ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAC3 root@web-1\n"),
            ("ssh_host_ecdsa_key.pub", "ecdsa-sha2-nistp256 AAAAE2\n"),
            ("ssh_host_odd_key.pub", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"),
            ("ssh_host_ed25519_key", "ssh-ed25519 secret\n"),
            ("authorized_key.pub", "ssh-ed25519 AAAAC4\n"),
        ] {
            fs::write(directory.join(name), text).expect("written");
        }
        let keys: Vec<_> = ssh_host_keys(folder.path()).into_iter().collect();
        assert_eq!(keys, ["ecdsa-sha2-nistp256 AAAAE2", "ssh-ed25519 AAAAC3"]);
        assert!(ssh_host_keys(&folder.path().join("nowhere")).is_empty());
    }

    #[test]
    fn nobody_is_told_to_come_to_a_loopback_address() {
        assert!(addresses().iter().all(|address| !address.is_loopback()));
    }
}
