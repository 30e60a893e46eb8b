//! What Nix refuses, in an operator's words.

use std::path::Path;

use super::nix::Complaint;
use super::subject::Subject;
use super::tree::Tree;
use crate::failure::{Exit, Failure};

const MAKE_ROOM: &str = "make room in the Nix store and where temporary files go (TMPDIR), then try again";

pub(super) fn unlocked(complaint: &Complaint) -> Failure {
    let failure = Failure::new(Exit::Flake, format!("Nix does not accept the flake: {}", complaint.0));
    if complaint.lacks_room() {
        return failure.hint(MAKE_ROOM);
    }
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
        Some((path, Missing::Unchosen)) => failure.hint(format!(
            "`{path}` was not chosen: `include = [\"{path}\"]` in npc.toml adds it, and --selection tracked takes every file"
        )),
        Some((path, Missing::Untracked)) => failure.hint(format!(
            "`{path}` is there, but git does not track it, so Nix does not see it: git add {path}"
        )),
        Some((path, Missing::OfSubmodule)) => failure.hint(format!(
            "`{path}` belongs to a submodule, which is not packed: make it an input of the flake, or move the file"
        )),
        Some((path, Missing::Deleted)) => failure.hint(format!(
            "git tracks `{path}`, but it is not in the working tree: deleted, or left out by a sparse checkout"
        )),
        None if complaint.lacks_room() => failure.hint(MAKE_ROOM),
        None if *subject == Subject::Names && complaint.lacks_the_output() => failure.hint("the flake has no `nixosConfigurations`"),
        None if complaint.forbids_a_path() && lies_below_its_repository(tree) => failure.hint(
            "the flake lies in a subdirectory, and hosts get nothing from above it: move flake.nix up, or what it needs down",
        ),
        None => failure.hint("nothing was published; --configuration leaves other configurations out"),
    }
}

/// Why a file that Nix asked for was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// The strategy did not choose it.
    Unchosen,
    /// Git does not track it.
    Untracked,
    /// Another repository tracks it.
    OfSubmodule,
    /// Git tracks it, and there is no such file.
    Deleted,
}

/// A file that Nix says is missing and that belongs to the flake, or lies where it would if git tracked it.
fn missing(tree: &Tree, words: &str, copy: &Path) -> Option<(String, Missing)> {
    let prefix = format!("{}/", copy.display());
    words.match_indices(&prefix).find_map(|(at, _)| {
        let rest = &words[at + prefix.len()..];
        let (path, after) = rest.split_once(['\'', '"'])?;
        let is_missing = after.starts_with(" does not exist") || after.starts_with(": No such file");
        let kind = match Path::new(path) {
            path if tree.kind(path).is_some() => Missing::Unchosen,
            path if tree.lists(path) => Missing::Deleted,
            path if path
                .ancestors()
                .any(|above| above != Path::new("") && tree.root().join(above).join(".git").exists()) =>
            {
                Missing::OfSubmodule
            }
            path if tree.root().join(path).symlink_metadata().is_ok() => Missing::Untracked,
            _ => return None,
        };
        is_missing.then(|| (path.to_owned(), kind))
    })
}

/// Whether the flake is a part of a repository, of which more lies above it.
fn lies_below_its_repository(tree: &Tree) -> bool {
    let above = tree.root().ancestors().skip(1);
    !tree.root().join(".git").exists() && above.into_iter().any(|above| above.join(".git").exists())
}
