//! Files that look like secrets: every host, and every process on it, can read what is published.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;
use regex::bytes::{RegexSet, RegexSetBuilder};

use super::Chosen;
use super::tree::Tree;
use crate::voice;

/// How much of a file is looked at, in bytes.
const LOOKED_AT: u64 = 1024 * 1024;

/// What a secret looks like, and what it is. A mention alone is none: something long follows.
const SECRETS: [(&str, &str); 8] = [
    (r"AGE-SECRET-KEY-1[0-9A-Z]{20}", "an age key"),
    // After lines like `Version: 2`, and with `\n` for the end of a line, as in JSON.
    (r"PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]|[A-Za-z-]+: [^\n]*\n)*[A-Za-z0-9+/=]{20}", "a private key"),
    (r"(?s)PuTTY-User-Key-File-.*Private-Lines: [1-9]", "a private key"),
    (r#"(?i)aws_secret_access_key["'\s]*[=:]["'\s]*[A-Za-z0-9+/]{20}"#, "AWS credentials"),
    (r#"(?i)private_?key["'\s]*[=:]["'\s]*[A-Za-z0-9+/]{43}="#, "a WireGuard key"),
    (r"(?m)(?:^|\s|[\x22'])[\w.-]+:[A-Za-z0-9+/]{86}==", "a secret key of a Nix cache"),
    (r"\b(?:gh[opsu]|github_pat)_[A-Za-z0-9_]{36}", "a GitHub token"),
    (r#""terraform_version":[^{]*"lineage":"#, "Terraform's state, which holds secrets"),
];

/// Warns of each chosen file whose content looks like a secret.
pub(super) fn warn_of(tree: &Tree, chosen: &BTreeMap<PathBuf, Chosen>) {
    let secrets = secrets();
    for (path, chosen) in chosen {
        if chosen.keep == Keep::Content
            && let Some(what) = looks_like(&secrets, path, &beginning(&tree.root().join(path)))
        {
            voice::warn(format_args!(
                "`{}` looks like {what}, and everyone on every host will be able to read it ({}); \
                 encrypt it, or leave it out with `exclude` in npc.toml",
                path.display(),
                chosen.reason
            ));
        }
    }
}

fn beginning(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What cannot be read was refused when it was packed.
    let _ = File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut bytes));
    bytes
}

fn secrets() -> RegexSet {
    let patterns = RegexSetBuilder::new(SECRETS.map(|(pattern, _)| pattern)).unicode(false).build();
    patterns.expect("the patterns are patterns")
}

fn looks_like(secrets: &RegexSet, path: &Path, content: &[u8]) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    if let Some(first) = secrets.matches(content).iter().next() {
        return Some(SECRETS[first].1);
    }
    match name.as_str() {
        ".env" | ".netrc" | ".pgpass" | ".htpasswd" | ".git-credentials" => Some("a file of passwords"),
        _ if [".kdbx", ".p12", ".pfx"].iter().any(|ending| name.ends_with(ending)) => Some("a store of secrets"),
        _ if [".env", ".netrc"].iter().any(|ending| name.ends_with(ending)) => Some("a file of passwords"),
        _ if name.starts_with(".env.") && !name.ends_with(".example") => Some("a file of passwords"),
        _ if name.ends_with(".tfstate") || name.contains(".tfstate.") => Some("Terraform's state, which holds secrets"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_what_speaks_of_them() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n";
        let cached = format!("secret-key-files = cache-1:{}==", "A".repeat(86));
        let wireguard = format!("PrivateKey = {}=\n", "A".repeat(43));
        let token = format!("token = ghp_{}", "a".repeat(36));
        let cases: [(&str, &str, bool); 27] = [
            ("ci.nix", &token, true),
            ("ci.nix", "token = \"ghp_\" + secret", false),
            ("state.json", r#"{"version": 4, "terraform_version": "1.11.0", "serial": 3, "lineage": "a"}"#, true),
            ("secrets/host.key", key, true),
            ("modules/host.nix", key, true),
            ("README.md", "-----BEGIN OPENSSH PRIVATE KEY-----\n...\n", false),
            ("gcp.json", r#"{"private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B"}"#, true),
            ("key.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 2\n\nlQOYBGOjAAAAAAABCADAAAAAAAAAA", true),
            ("host.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAA\n", true),
            ("age.txt", "# created\nAGE-SECRET-KEY-1QQPQYQZRXQ0QQPQYQZRXQ0", true),
            ("credentials", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", true),
            ("run.sh", "export AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", true),
            ("mirror.pl", "$aws_secret_access_key = $ENV{'KEY'};", false),
            ("wg0.conf", &wireguard, true),
            ("wg.nix", "privateKeyFile = \"/run/secrets/wireguard-private-key-of-the-host\";", false),
            ("nix.conf", &cached, true),
            ("nix.conf", "trusted-public-keys = cache-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", false),
            ("vault.kdbx", "", true),
            (".env", "A=b", true),
            ("prod.env", "A=b", true),
            (".env.production", "A=b", true),
            (".env.example", "A=", false),
            ("terraform.tfstate", "{}", true),
            ("terraform.tfstate.123.backup", "{}", true),
            ("modules/ssh.nix", "# -----BEGIN OPENSSH PRIVATE KEY-----", false),
            ("secrets/web.yaml", "sops:\n    age: []", false),
            ("keys/host.pub", "ssh-ed25519 AAAA", false),
        ];
        let secrets = secrets();
        for (path, content, expected) in cases {
            assert_eq!(
                looks_like(&secrets, Path::new(path), content.as_bytes()).is_some(),
                expected,
                "{path}: {content}"
            );
        }
    }
}
