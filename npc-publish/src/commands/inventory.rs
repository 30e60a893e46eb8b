//! `npc-publish inventory`: what is known of the fleet, for other programs.
//!
//! What hosts say of themselves is untrusted: addresses are parsed as such, SSH keys are one line of known form, and no text has
//! anything in it that could steer a terminal. Whose word it is, `key` says: only what is `pinned` is the host's own.

use std::collections::{BTreeMap, BTreeSet};

use npc_core::document::{Report, Standing};
use npc_core::fleet::KeyStanding;
use npc_core::text;
use npc_operator::failure::Failure;
use npc_operator::fleet::host::{NoRelease, key_word};
use npc_operator::fleet::selector::Strangers;
use npc_operator::fleet::view::{Held, rev};
use npc_operator::fleet::{Host, View, rivals};
use npc_operator::session::Session;
use serde_json::{Value, json};

use crate::cli;
use crate::console;

pub(crate) async fn inventory(arguments: cli::Inventory) -> Result<(), Failure> {
    let session = Session::open(&arguments.place).await?;
    let selection = arguments.hosts.selection();
    let view = rivals::read(&session).await?;
    let names = selection.hosts(&view, Strangers::Refused)?;
    let hosts: Vec<_> = names.iter().filter_map(|name| view.hosts.get(name)).collect();
    let claims = hosts.iter().filter(|host| host.heard.key() == Some(KeyStanding::Unpinned)).count();
    if claims > 0 {
        console::say(format_args!(
            "{claims} of {} hosts are told of by reports under keys that nobody has pinned: `key` is `unpinned` there",
            hosts.len()
        ));
    }
    console::json(&value(&view, &hosts))
}

fn value(view: &View, hosts: &[&Host]) -> Value {
    let mut value = json!({
        "at": view.now,
        "hosts": hosts.iter().map(|host| (host.name.to_string(), of_host(host))).collect::<BTreeMap<_, _>>(),
        "groups": members(hosts, |host| host.metadata.groups.iter().map(String::as_str).collect()),
        "roles": members(hosts, |host| host.metadata.role.as_deref().into_iter().collect()),
        "remotes": view.remotes().map(|(name, held)| (name.to_string(), of_remote(held))).collect::<BTreeMap<_, _>>(),
    });
    text::clean(&mut value);
    value
}

/// The names of hosts under those of what they belong to.
fn members<'a>(hosts: &[&'a Host], belongs_to: impl Fn(&'a Host) -> Vec<&'a str>) -> BTreeMap<String, Vec<&'a str>> {
    let mut members: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for host in hosts {
        for name in belongs_to(host).into_iter().map(text::line).collect::<BTreeSet<_>>() {
            members.entry(name).or_default().push(host.name.as_str());
        }
    }
    members
}

fn of_host(host: &Host) -> Value {
    let report = host.heard.report();
    let wanted = host.wanted.as_ref();
    let release = host.wanted_release().zip(host.remote());
    let ssh_host_keys: Vec<_> =
        report.map_or(&[][..], |report| &report.ssh_host_keys).iter().filter_map(|key| ssh_key(key)).collect();
    json!({
        "name": host.name,
        "standing": host.standing.word(),
        "well": host.standing.is_well(),
        "assignment": host.assignment,
        "remote": wanted.map(|wanted| &wanted.remote),
        "configuration": wanted.map(|wanted| &wanted.configuration),
        "wanted": release.map(|(release, remote)| {
            let mut value = release.value();
            value["remote"] = json!(remote);
            value
        }),
        "role": host.metadata.role,
        "groups": host.metadata.groups,
        "metadata": host.metadata,
        "key": host.heard.key().map(key_word),
        "seen": host.heard.at(),
        "running": report.and_then(|report| report.runs.as_ref()),
        "addresses": report.map_or(&[][..], |report: &Report| &report.addresses),
        "ssh_host_keys": ssh_host_keys,
        "reboot_needed": report.map(|report| report.reboot_needed),
    })
}

fn of_remote(held: &Held) -> Value {
    let document = match held {
        Ok(document) => document,
        Err(NoRelease::Refused(kind)) => return json!({ "refused": kind }),
        Err(_) => return Value::Null,
    };
    let header = document.header();
    match document.body() {
        Standing::Present(release) => {
            json!({ "serial": header.serial, "rev": rev(&release.source), "created": header.created })
        }
        Standing::Removed => json!({ "serial": header.serial, "created": header.created, "removed": true }),
    }
}

/// Type and key of a line such as a host's `ssh_host_ed25519_key.pub`, without the comment; none of what is no such line, since
/// others may write it into files in which every line counts.
fn ssh_key(line: &str) -> Option<String> {
    let is_type = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.@".contains(&byte);
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    if line.chars().any(text::steers) {
        return None;
    }
    let mut words = line.split(' ');
    let (kind, key) = (words.next()?, words.next()?);
    let is_one = kind.starts_with(|first: char| first.is_ascii_lowercase())
        && kind.bytes().all(is_type)
        // Every key's first field is its type, after a length of four bytes.
        && key.starts_with("AAAA")
        && key.bytes().all(is_base64);
    is_one.then(|| format!("{kind} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ssh_key_is_one_line_of_two_words() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Xa2yN8gYp7o2vUXkIpt0Zc4y7O3FvVvHq4c0b1kQe";
        assert_eq!(ssh_key(key).as_deref(), Some(key));
        assert_eq!(ssh_key(&format!("{key} root@web-1")).as_deref(), Some(key));
        let certified = "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNr";
        assert_eq!(ssh_key(certified).as_deref(), Some(certified));
        for other in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 not/a/key",
            "@cert-authority * ssh-ed25519 AAAA",
            "command=\"sh\" ssh-ed25519 AAAA",
            "* AAAA",
            "ssh-ed25519  AAAA",
            "ssh-ed25519 AAAA\n* ssh-ed25519 AAAA",
            "ssh-ed25519 AAAA\u{1b}[2J",
        ] {
            assert_eq!(ssh_key(other), None, "{other}");
        }
    }
}
