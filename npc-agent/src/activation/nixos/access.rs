//! What lets Nix in where a flake's private inputs are.
//!
//! The secrets stay in files, and only the paths of these are passed on: every process can read a program's arguments, and what a
//! build says ends up in reports.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use npc_core::files;
use tokio::process::Command;

use crate::machine::Failed;

/// The kind of what Nix could not be given.
const ACCESS_UNUSABLE: &str = "access-unusable";

/// A file with access tokens is short.
const TOKENS_BYTES: u64 = 64 * 1024;

/// The settings that a file with access tokens may hold.
const TOKEN_SETTINGS: [&str; 2] = ["access-tokens", "extra-access-tokens"];

/// Files that let Nix fetch private inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// User names and passwords by host, as netrc(5) has them.
    pub netrc: Option<PathBuf>,
    /// Tokens for GitHub and its like, as nix.conf has them.
    pub access_tokens: Option<PathBuf>,
    /// What git shows over SSH.
    pub ssh: Option<Ssh>,
}

/// An identity for SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// The secret key, which has no passphrase.
    pub key: PathBuf,
    /// The public keys of servers, beside those that the machine knows.
    pub known_hosts: Option<PathBuf>,
}

impl Access {
    /// Whether the files can be used. Nix would pass over one that is missing, and quote from one that it cannot read.
    pub(super) fn check(&self) -> Result<(), Failed> {
        let ssh = self.ssh.as_ref();
        let secrets = [
            ("build.netrc_file", self.netrc.as_deref()),
            ("build.access_tokens_file", self.access_tokens.as_deref()),
            ("build.ssh_key_file", ssh.map(|ssh| ssh.key.as_path())),
        ];
        for (setting, path) in secrets {
            let Some(path) = path else { continue };
            if files::is_readable_by_others(path).map_err(|error| unusable(setting, path, &error.to_string()))? {
                return Err(unusable(setting, path, "others than its owner can read it"));
            }
        }
        if let Some(path) = &self.access_tokens {
            let wrong = |reason: String| unusable("build.access_tokens_file", path, &reason);
            let bytes = files::read_limited(path, TOKENS_BYTES).map_err(|error| wrong(error.to_string()))?;
            check_tokens(&String::from_utf8_lossy(&bytes)).map_err(wrong)?;
        }
        match ssh.and_then(|ssh| ssh.known_hosts.as_deref()) {
            Some(path) if !path.is_file() => Err(unusable("build.ssh_known_hosts_file", path, "there is no such file")),
            _ => Ok(()),
        }
    }

    /// Adds it to a command of Nix's.
    pub(super) fn give(&self, command: &mut Command) {
        if let Some(netrc) = &self.netrc {
            command.args(["--option", "netrc-file"]).arg(netrc);
        }
        if let Some(tokens) = &self.access_tokens {
            // Read like the settings of a user, after the machine's own and before the arguments.
            command.env("NIX_USER_CONF_FILES", tokens);
        }
        if let Some(ssh) = &self.ssh {
            command.env("GIT_SSH_COMMAND", ssh.command());
        }
    }
}

impl Ssh {
    /// What git has a shell run. The settings allow no path that a shell or ssh would take apart.
    fn command(&self) -> OsString {
        let mut command = OsString::from(
            "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o IdentityAgent=none -i ",
        );
        command.push(&self.key);
        if let Some(known_hosts) = &self.known_hosts {
            command.push(" -o UserKnownHostsFile=");
            command.push(known_hosts);
        }
        command
    }
}

fn unusable(setting: &str, path: &Path, reason: &str) -> Failed {
    Failed::new(ACCESS_UNUSABLE, format!("{setting}, which is `{}`, cannot be used: {reason}", path.display()))
}

/// Whether a file holds access tokens and nothing else. A line that is not in order is told by its number, as it may be a secret:
/// Nix itself would quote it.
fn check_tokens(text: &str) -> Result<(), String> {
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(setting) = words.next() else { continue };
        if !TOKEN_SETTINGS.contains(&setting) || words.next() != Some("=") {
            return Err(format!("line {number} does not begin with `access-tokens = `"));
        }
        let is_token =
            |word: &str| word.split_once('=').is_some_and(|(host, token)| !host.is_empty() && !token.is_empty());
        if !words.all(is_token) {
            return Err(format!("line {number} holds something else than `HOST=TOKEN`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a secret, and what is said if it is of no use.
    fn said(text: &str, mode: u32, access: fn(PathBuf) -> Access) -> Option<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        files::write_atomically(&path, text.as_bytes(), mode).expect("written");
        let failed = access(path).check().err()?;
        assert_eq!(failed.kind, ACCESS_UNUSABLE);
        Some(failed.message)
    }

    fn tokens(path: PathBuf) -> Access {
        Access { access_tokens: Some(path), ..Access::default() }
    }

    #[test]
    fn files_of_access_tokens_are_told_from_others_and_never_quoted() {
        let good = "# the fleet's\naccess-tokens = github.com=ghp_secret gitlab.com=PAT:secret\n\
                    extra-access-tokens = git.example.org=secret # expires\n\n";
        assert_eq!(said(good, 0o600, tokens), None);
        for (bad, part) in [
            ("ghp_secret\n", "line 1"),
            ("\ngithub.com=ghp_secret\n", "line 2"),
            ("access-tokens = ghp_secret\n", "HOST=TOKEN"),
            ("access-tokens=github.com=ghp_secret\n", "line 1"),
            ("access-tokens = =ghp_secret\n", "HOST=TOKEN"),
            ("sandbox = ghp_secret\n", "access-tokens"),
            ("include /a/ghp_secret\n", "line 1"),
        ] {
            let said = said(bad, 0o600, tokens).expect(bad);
            assert!(said.contains(part) && said.contains("access_tokens_file") && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn secrets_that_others_can_read_are_refused_and_missing_ones_named() {
        let netrc = |path| Access { netrc: Some(path), ..Access::default() };
        let key = |path| Access { ssh: Some(Ssh { key: path, known_hosts: None }), ..Access::default() };
        for (access, name) in
            [(netrc as fn(_) -> _, "netrc_file"), (key, "ssh_key_file"), (tokens, "access_tokens_file")]
        {
            assert_eq!(said("", 0o400, access), None);
            let exposed = said("", 0o440, access).expect("others can read it");
            assert!(exposed.contains(name) && exposed.contains("owner"), "{exposed}");
            let missing = access("/no/such/file".into()).check().expect_err("it is not there");
            assert!(missing.message.contains(name), "{missing}");
        }
        let ssh = Ssh { key: "/dev/null".into(), known_hosts: Some("/no/such/file".into()) };
        let access = Access { ssh: Some(ssh), ..Access::default() };
        assert!(access.check().is_err(), "anybody can read /dev/null");
    }

    #[test]
    fn a_command_names_files_alone() {
        let ssh = Ssh { key: "/a/key".into(), known_hosts: Some("/known".into()) };
        let access = Access { netrc: Some("/a/netrc".into()), access_tokens: Some("/a/tokens".into()), ssh: Some(ssh) };
        let mut command = Command::new("nix");
        access.give(&mut command);
        let command = command.as_std();
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["--option", "netrc-file", "/a/netrc"]);
        let set = |name: &str| command.get_envs().find(|(set, _)| *set == name).and_then(|(_, value)| value);
        assert_eq!(set("NIX_USER_CONF_FILES"), Some("/a/tokens".as_ref()));
        let ssh = set("GIT_SSH_COMMAND").and_then(|value| value.to_str()).expect("a command");
        assert!(
            ssh.starts_with("ssh -o BatchMode=yes ") && ssh.ends_with(" -i /a/key -o UserKnownHostsFile=/known"),
            "{ssh}"
        );
    }
}
