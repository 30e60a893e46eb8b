//! What Nix refuses, in an operator's words.

use std::path::{Path, PathBuf};

use super::nix::Complaint;
use super::subject::Subject;
use super::tree::Tree;
use crate::failure::{Exit, Failure};

pub(super) fn unlocked(complaint: &Complaint) -> Failure {
    let failure = Failure::new(Exit::Flake, format!("Nix does not accept the flake: {}", complaint.0));
    if complaint.0.contains("lock file") {
        return failure.hint("hosts never change a lock file: run `nix flake lock`, and `git add flake.lock`");
    }
    failure.hint("try `nix flake metadata` in the flake's directory")
}

/// What Nix refused, with the host's name, and what often helps.
pub(super) fn refused(tree: &Tree, subject: &Subject, complaint: &Complaint, copy: &Path) -> Failure {
    let what = subject.describe();
    let failure = Failure::new(Exit::Flake, format!("{what} does not evaluate: {}", complaint.0));
    match missing(tree, &complaint.0, copy) {
        Some(path) if tree.kind(&path).is_some() => failure.hint(format!(
            "`{0}` was not chosen: `include = [\"{0}\"]` in npc.toml adds it, and --selection tracked takes every file",
            path.display()
        )),
        Some(path) => failure.hint(format!(
            "`{0}` is there, but git does not track it, so Nix does not see it: git add {0}",
            path.display()
        )),
        None if complaint.lacks_the_output() => failure.hint("the flake has no `nixosConfigurations`"),
        None => failure.hint("nothing was published; --configuration leaves other configurations out"),
    }
}

/// A file that Nix says is missing and that lies in the working tree all the same.
fn missing(tree: &Tree, words: &str, copy: &Path) -> Option<PathBuf> {
    let prefix = format!("{}/", copy.display());
    words.match_indices(&prefix).find_map(|(at, _)| {
        let rest = &words[at + prefix.len()..];
        let end = rest.find(['\'', '"', '\n']).unwrap_or(rest.len());
        let path = Path::new(rest[..end].split(':').next()?);
        let is_there = tree.root().join(path).symlink_metadata().is_ok();
        is_there.then(|| path.to_owned())
    })
}
