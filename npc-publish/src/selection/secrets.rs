//! Files that look like secrets: every host, and every process on it, can read what is published.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use npc_core::archive::Keep;

use super::Chosen;
use super::tree::Tree;
use crate::console;

/// How much of a file is looked at, in bytes.
const LOOKED_AT: u64 = 16 * 1024;

/// What stands before a secret, and what that is. A mention alone is none: something long must follow.
const MARKS: [(&str, &str); 5] = [
    ("AGE-SECRET-KEY-", "an age key"),
    ("PRIVATE KEY-----", "a private key"),
    ("PRIVATE KEY BLOCK-----", "a private key"),
    ("PuTTY-User-Key-File-", "a private key"),
    ("aws_secret_access_key", "AWS credentials"),
];

/// How much of it must follow to be one, in characters.
const SECRET_LENGTH: usize = 20;

/// Warns of each chosen file whose content looks like a secret.
pub(super) fn warn_of(tree: &Tree, chosen: &BTreeMap<PathBuf, Chosen>) {
    for (path, chosen) in chosen {
        if chosen.keep == Keep::Content
            && let Some(what) = looks_like(path, &beginning(&tree.root().join(path)))
        {
            console::warn(format_args!(
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

fn looks_like(path: &Path, content: &[u8]) -> Option<&'static str> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let text = String::from_utf8_lossy(content);
    let is_secret = |mark: &str| {
        text.match_indices(mark).any(|(at, _)| {
            let rest =
                text[at + mark.len()..].trim_start_matches(|char: char| char.is_whitespace() || "=:\"'".contains(char));
            let is_part = |char: &char| char.is_ascii_alphanumeric() || "+/=-".contains(*char);
            rest.chars().take_while(is_part).count() >= SECRET_LENGTH
        })
    };
    if let Some((_, what)) = MARKS.iter().find(|(mark, _)| is_secret(mark)) {
        return Some(what);
    }
    match name.as_str() {
        ".env" | ".netrc" | ".pgpass" | ".htpasswd" | ".git-credentials" => Some("a file of passwords"),
        _ if [".kdbx", ".p12", ".pfx"].iter().any(|ending| name.ends_with(ending)) => Some("a store of secrets"),
        _ if name.starts_with(".env.") && !name.ends_with(".example") => Some("a file of passwords"),
        _ if name.ends_with(".tfstate") || name.ends_with(".tfstate.backup") => {
            Some("Terraform's state, which holds secrets")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_what_speaks_of_them() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n";
        let cases: [(&str, &str, bool); 14] = [
            ("secrets/host.key", key, true),
            ("modules/host.nix", key, true),
            ("README.md", "-----BEGIN OPENSSH PRIVATE KEY-----\n...\n", false),
            ("age.txt", "# created\nAGE-SECRET-KEY-1QQPQYQZRXQ0QQPQYQZRXQ0", true),
            ("credentials", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", true),
            ("mirror.pl", "$aws_secret_access_key = $ENV{'KEY'};", false),
            ("vault.kdbx", "", true),
            (".env", "A=b", true),
            (".env.production", "A=b", true),
            (".env.example", "A=", false),
            ("terraform.tfstate", "{}", true),
            ("modules/ssh.nix", "# -----BEGIN OPENSSH PRIVATE KEY-----", false),
            ("secrets/web.yaml", "sops:\n    age: []", false),
            ("keys/host.pub", "ssh-ed25519 AAAA", false),
        ];
        for (path, content, expected) in cases {
            assert_eq!(looks_like(Path::new(path), content.as_bytes()).is_some(), expected, "{path}");
        }
    }
}
