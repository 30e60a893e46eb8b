//! What git knows of a flake: its tracked files, its commit, and whether the tree differs from it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use npc_core::document::Source;

use crate::failure::{Exit, Failure};

/// The longest remote address that is recorded, in bytes.
const URL_BYTES: usize = 512;

/// A directory below a git work tree.
pub struct Work<'a> {
    directory: &'a Path,
}

/// An entry of git's index.
#[derive(Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Relative to the flake's directory.
    pub path: PathBuf,
    /// A directory of another repository.
    pub is_submodule: bool,
}

impl Tracked {
    /// A line of `git ls-files --stage`: mode, object, stage, a tab, and the path.
    fn parse(line: &[u8]) -> Option<Self> {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let path = PathBuf::from(OsStr::from_bytes(&line[tab + 1..]));
        Some(Self { path, is_submodule: line.starts_with(b"160000 ") })
    }
}

/// The work tree that `directory` lies in, if it lies in one.
pub fn find(directory: &Path) -> Result<Option<Work<'_>>, Failure> {
    let work = Work { directory };
    let output = match work.command(&["rev-parse", "--is-inside-work-tree"]).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if has_git_above(directory) {
                Err(Failure::new(Exit::Flake, "the flake lies in a git repository, but there is no git")
                    .hint("install git: npc asks it which files belong to the flake"))
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(Failure::new(Exit::Flake, format!("cannot run git: {error}"))),
    };
    let words = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true if output.stdout.starts_with(b"true") => Ok(Some(work)),
        // A checkout that git cannot make sense of must not be taken for a plain directory, whose files are all packed.
        false if !words.contains("not a git repository") || has_git_above(directory) => Err(failed(&words)),
        _ => Ok(None),
    }
}

fn has_git_above(directory: &Path) -> bool {
    let full = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    full.ancestors().any(|ancestor| ancestor.join(".git").symlink_metadata().is_ok())
}

fn failed(words: &str) -> Failure {
    Failure::new(Exit::Flake, format!("git does not say which files belong to the flake: {}", words.trim()))
}

impl Work<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.directory).args(arguments).env("LC_ALL", "C").env("GIT_OPTIONAL_LOCKS", "0");
        // Set inside git's hooks, they would have git speak of another repository or another index than the flake's.
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE"]
        {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, Failure> {
        let output = self.command(arguments).output();
        let output = output.map_err(|error| Failure::new(Exit::Flake, format!("cannot run git: {error}")))?;
        if output.status.success() { Ok(output.stdout) } else { Err(failed(&String::from_utf8_lossy(&output.stderr))) }
    }

    /// The tracked files at and below the directory, relative to it, as they are in the index: what Nix takes for a flake.
    pub fn tracked(&self) -> Result<Vec<Tracked>, Failure> {
        let listed = self.ask(&["ls-files", "-z", "--stage", "--", "."])?;
        let mut tracked: Vec<Tracked> =
            listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()).filter_map(Tracked::parse).collect();
        // During a merge, a file is listed once per side.
        tracked.dedup();
        Ok(tracked)
    }

    /// Where the files come from.
    pub fn source(&self) -> Result<Source, Failure> {
        let text = |arguments: &[&str]| -> Option<String> {
            let output = self.command(arguments).output().ok().filter(|output| output.status.success())?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
        };
        let status = self.ask(&["status", "--porcelain", "--untracked-files=no", "--", "."])?;
        Ok(Source {
            rev: text(&["rev-parse", "--verify", "--quiet", "HEAD"]),
            dirty: !status.is_empty(),
            url: text(&["remote", "get-url", "origin"]).map(|url| without_credentials(&url)),
            message: None,
        })
    }
}

/// Whoever can read the store can read a release, so what is in front of the `@` of a URL stays out of it.
fn without_credentials(url: &str) -> String {
    let cleaned = match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    };
    cleaned.chars().take(URL_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_address_is_published_without_its_password() {
        assert_eq!(without_credentials("https://me:secret@example.org/a/b"), "https://example.org/a/b");
        assert_eq!(without_credentials("https://example.org/a/b"), "https://example.org/a/b");
        assert_eq!(without_credentials("git@example.org:a/b.git"), "git@example.org:a/b.git");
    }
}
