//! The swap of a machine that is short of memory, which the script that enrolled it leaves to the agent that stands in: building
//! the first system takes more than running it.
//!
//! A file in the state directory, for as long as that agent is the one at work. When the host's own agent takes over, the swap
//! ends, and the file stays without content: should the first system be gone back on, the agent that stands in again has swap
//! again. Once a system with an agent of its own is committed, the next switch or boot removes the file.

use std::path::PathBuf;

use super::HOSTS_UNIT_FILE;
use crate::state::StateDirectory;

/// Its name in the state directory, which the script knows as well.
const FILE: &str = "bootstrap-swap";

/// How large it is, in MiB, which the script knows as well.
const SIZE: u32 = 1024;

/// The file.
#[derive(Debug)]
pub(super) struct Swap {
    file: PathBuf,
    /// The agent's journal, which tells whether anything is committed.
    journal: PathBuf,
}

/// Shell for units, without a double quote or anything else that systemd would expand.
impl Swap {
    pub(super) fn of(state: &StateDirectory) -> Self {
        Self { file: state.path(FILE), journal: state.path("journal.json") }
    }

    /// Has swap where there is the file: after a boot the one that is in it, and else a new one. Where there is no room for that,
    /// the machine must do without.
    pub(super) fn begin(&self) -> String {
        let file = self.file.display();
        format!(
            "test ! -e '{file}' || grep -q '^{file} ' /proc/swaps || swapon '{file}' || \
             {{ dd if=/dev/zero of='{file}' bs=1048576 count={SIZE} && mkswap '{file}' && swapon '{file}'; }} || : >'{file}'"
        )
    }

    /// Ends it if the host's own agent takes over. A swap that cannot end, for want of memory, goes on until the next boot: a file
    /// in use cannot be emptied.
    pub(super) fn end(&self) -> String {
        let file = self.file.display();
        format!("test ! -e {HOSTS_UNIT_FILE} || test ! -e '{file}' || {{ swapoff '{file}'; : >'{file}'; }}")
    }

    /// Removes the file if a system is committed: one that is being tried may be gone back on.
    pub(super) fn remove(&self) -> String {
        let (file, journal) = (self.file.display(), self.journal.display());
        format!("! grep -qs '.committed.:' '{journal}' || {{ swapoff '{file}' 2>/dev/null; rm -f '{file}'; }}")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::Command;

    use super::*;
    use crate::machine::Journal;
    use crate::machine::tests::committed;

    /// Runs a line with programs that write down how they were called. Only a file with content can be switched on.
    fn run(folder: &Path, line: &str) -> Vec<String> {
        let (programs, log) = (folder.join("programs"), folder.join("log"));
        fs::create_dir_all(&programs).expect("created");
        let dd = "for word; do case $word in of=*) echo swap >\"${word#of=}\" ;; esac; done\n";
        for (name, does) in [("mkswap", ""), ("swapon", "test -s \"$1\"\n"), ("swapoff", ""), ("dd", dd)] {
            let path = programs.join(name);
            fs::write(&path, format!("#!/bin/sh\necho {name} >>'{}'\n{does}", log.display())).expect("written");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
        }
        fs::write(&log, "").expect("written");
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
        let status = Command::new("sh").args(["-c", line]).env("PATH", path).status().expect("a shell");
        assert!(status.success(), "{line}");
        fs::read_to_string(log).expect("a log").lines().map(str::to_owned).collect()
    }

    #[test]
    fn there_is_swap_where_there_is_the_file_and_a_new_one_where_that_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let swap = Swap { file: folder.path().join(FILE), journal: folder.path().join("journal.json") };
        assert_eq!(run(folder.path(), &swap.begin()), [""; 0], "a machine with memory enough");
        assert!(!swap.file.exists());
        fs::write(&swap.file, "swap").expect("written");
        assert_eq!(run(folder.path(), &swap.begin()), ["swapon"]);
        assert_eq!(run(folder.path(), &swap.end()), [""; 0], "this machine's system has no agent");
        fs::write(&swap.file, "").expect("written");
        assert_eq!(run(folder.path(), &swap.begin()), ["swapon", "dd", "mkswap", "swapon"]);
        let taken_over = swap.end().replace(HOSTS_UNIT_FILE, "/dev/null");
        assert_eq!(run(folder.path(), &taken_over), ["swapoff"]);
        assert_eq!(fs::metadata(&swap.file).expect("it stays").len(), 0);
        assert_eq!(run(folder.path(), &swap.remove()), [""; 0], "nothing is committed");
        let write = |journal: &Journal| {
            fs::write(&swap.journal, serde_json::to_vec_pretty(journal).expect("JSON")).expect("written");
        };
        write(&Journal::default());
        run(folder.path(), &swap.remove());
        assert!(swap.file.exists());
        write(&committed("a"));
        run(folder.path(), &swap.remove());
        assert!(!swap.file.exists());
        assert_eq!(run(folder.path(), &taken_over), [""; 0]);
    }
}
