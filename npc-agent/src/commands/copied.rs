//! What an agent does whose state directory comes from another machine: a copy of its disk, or the disk itself.
//!
//! What the fleet said holds on either machine: the trust, the memory against replay, the assignment. So does what is about the
//! disk, which is the same: the journal, what is unpacked, built and committed, and what an operator said there; the journal
//! takes it for a boot, which it is. What is about the machine is another's: the installation's id, the key of its reports, and
//! its name.

use crate::failure::Failure;
use crate::report::Signer;
use crate::state::{Instance, Marks, StateDirectory};

/// Begins a new installation where the state directory comes from another machine. Returns whether it does.
pub(super) fn begins_anew(state: &StateDirectory, machine: &Marks) -> Result<bool, Failure> {
    if !Instance::is_of_another(state, machine) {
        return Ok(false);
    }
    // Until the new id stands, which is last, the next agent finds the same: so nothing is ever signed for the other machine.
    Signer::forget(state)?;
    state.forget_machine_name()?;
    Instance::forget_loss(state)?;
    let instance = Instance::create_on(state, machine.clone())?;
    tracing::warn!(
        instance = instance.id(),
        "the state directory comes from another machine: this one is a new installation, with a key of its own for its reports"
    );
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn machine(root: &Path, uuid: &str) -> Marks {
        let directory = root.join("sys/class/dmi/id");
        fs::create_dir_all(&directory).expect("created");
        fs::write(directory.join("product_uuid"), uuid).expect("written");
        Marks::of(root)
    }

    #[test]
    fn a_copied_state_directory_gets_a_new_id_and_key_and_keeps_the_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(&folder.path().join("state")).expect("a state directory");
        let first = Instance::create(&state).expect("an id");
        let host = "web-1".parse().expect("a name");
        let key = || fs::read(state.path("report.key")).ok();
        Signer::open(&state, &host).expect("a key");
        let kept =
            ["journal.json", "replay.json", "replay.copy.json", "assignment.json", "local.json", "followed.json"];
        for name in kept.into_iter().chain(["machine", "lost"]) {
            fs::write(state.path(name), "{}").expect("written");
        }
        let one = machine(folder.path(), "91267c52-9f02-4cfe-b1f4-a4da7ebac2cd");
        assert!(!begins_anew(&state, &one).expect("looked"), "an older agent noted nothing");
        Instance::note_machine(&state, &one);
        assert!(!begins_anew(&state, &one).expect("looked"), "it is this one");
        let of_the_first = key().expect("a key");
        let other = machine(folder.path(), "0d3b1c6e-55aa-4e0f-9c1d-2f7b8a6c5d4e");
        assert!(begins_anew(&state, &other).expect("renewed"));
        let second = Instance::read(&state).expect("readable").expect("an id");
        assert_ne!(second.id(), first.id());
        assert_eq!(key(), None, "nobody signs for the first machine");
        assert!(!state.path("machine").exists() && !state.path("lost").exists());
        assert!(kept.iter().all(|name| state.path(name).exists()));
        assert!(!begins_anew(&state, &other).expect("looked"), "once");
        Signer::open(&state, &host).expect("a key");
        assert_ne!(key().expect("a key"), of_the_first);
    }
}
