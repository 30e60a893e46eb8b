//! The agent that follows a fleet on a machine whose own system does not bring one yet: a copy of the one that enrolled the
//! machine, and units for it that no switch replaces.
//!
//! The units lie in `/etc/systemd/system.attached`, which systemd searches beside `/etc/systemd/system` (systemd.unit(5)). The
//! latter belongs to the system on NixOS, where a switch puts another in its place; `/usr/local/lib/systemd/system` is not
//! searched there; `/nix/var/nix/profiles/default` is, but is a profile that Nix writes; and what is in `/run` is gone with the boot,
//! after which a machine that has not committed to anything must still be followed.
//!
//! Of the two agents one runs at a time. Starting the host's own unit stops this one first, by the conflict between them, so
//! that the switch itself hands over; both go by the same journal and lock. Nothing starts this one while the host's own is
//! there: not a boot, which goes by way of a unit that looks first, since of two conflicting units that a boot wants systemd might drop
//! either; nor an agent that ends, which looks first. Where the first system is gone back on, its agent's unit is gone: whoever
//! went back, that agent or the dead-man timer, starts this one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use npc_core::digest::Digest;
use npc_core::files;

use self::swap::Swap;
use crate::activation::unit::{ask, is_booted, own_unit, tell};
use crate::machine::Failed;
use crate::state::StateDirectory;

mod swap;

/// The unit of the agent that a host's own system brings.
pub const HOSTS_UNIT: &str = "npc-agent.service";

/// The unit of the agent that stands in for it.
pub const UNIT: &str = "npc-agent-bootstrap.service";

/// The unit that starts it when the machine boots.
const STARTER: &str = "npc-agent-bootstrap-start.service";

/// Where they lie unless told otherwise.
pub const DEFAULT_UNITS: &str = "/etc/systemd/system.attached";

/// The unit file of the host's own agent.
const HOSTS_UNIT_FILE: &str = "/etc/systemd/system/npc-agent.service";

/// What units and Nix are found by, on NixOS, with Nix elsewhere, and on other Linux.
const PATH: &str = "/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:\
                    /sbin:/bin";

/// An agent that stands in.
#[derive(Debug)]
pub struct StandIn<'a> {
    /// The program.
    pub program: PathBuf,
    /// The configuration file that it would read.
    pub config: &'a Path,
    /// Its state directory.
    pub state: &'a StateDirectory,
    /// Directories in which Nix and what it calls are found, beside the usual ones.
    pub places: Vec<PathBuf>,
}

/// Puts a copy of a program into the state directory, by its digest, unless it is there.
pub fn keep_program(program: &Path, state: &StateDirectory) -> io::Result<PathBuf> {
    let bytes = fs::read(program)?;
    let digest = Digest::of(&bytes);
    let copy = state.path("bin").join(format!("npc-agent-{digest}"));
    // A name is no proof: a disk may have lost what was written, or somebody may have put another file there.
    if !fs::read(&copy).is_ok_and(|kept| Digest::of(&kept) == digest) {
        files::write_atomically(&copy, &bytes, 0o755)?;
    }
    Ok(copy)
}

/// Where this process, or the unit that is in `units` already, finds what the unit would find in none of the usual places: an image
/// for a cloud may have git for its user data alone, and Nix fetches private inputs with it.
pub fn unusual_places(units: &Path) -> Vec<PathBuf> {
    let known = fs::read_to_string(units.join(UNIT)).unwrap_or_default();
    let own = std::env::var_os("PATH").unwrap_or_default();
    let searched: Vec<_> = path_of(&known).map(PathBuf::from).chain(std::env::split_paths(&own)).collect();
    let usual: Vec<_> = std::env::split_paths(PATH).collect();
    unusual(&searched, &usual)
}

/// The directories that a unit searches.
fn path_of(unit: &str) -> impl Iterator<Item = &str> {
    let path = unit.lines().find_map(|line| line.strip_prefix("Environment=\"PATH=")?.strip_suffix('"'));
    path.into_iter().flat_map(|path| path.split(':'))
}

fn unusual(searched: &[PathBuf], usual: &[PathBuf]) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for program in ["nix", "git", "ssh"] {
        let has = |directory: &&PathBuf| directory.is_absolute() && directory.join(program).exists();
        if !usual.iter().any(|directory| has(&directory)) {
            places.extend(searched.iter().find(has).cloned());
        }
    }
    places.dedup();
    places
}

impl StandIn<'_> {
    /// Writes its units. Returns whether any of them is new.
    pub fn write_units(&self, directory: &Path) -> io::Result<bool> {
        let wants = directory.join("multi-user.target.wants");
        fs::create_dir_all(&wants)?;
        let mut is_new = false;
        for (name, text) in [(UNIT, self.unit()), (STARTER, self.starter())] {
            let path = directory.join(name);
            if !fs::read(&path).is_ok_and(|kept| kept == text.as_bytes()) {
                files::write_atomically(&path, text.as_bytes(), 0o644)?;
                is_new = true;
            }
        }
        match std::os::unix::fs::symlink(Path::new("..").join(STARTER), wants.join(STARTER)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => {
                linked?;
                files::sync_directory(&wants)?;
                is_new = true;
            }
        }
        Ok(is_new)
    }

    fn unit(&self) -> String {
        let usual = std::env::split_paths(PATH);
        let path = std::env::join_paths(self.places.iter().cloned().chain(usual));
        let path = path.expect("what was split off a path can be joined again");
        let path = path.display();
        let (program, config) = (self.program.display(), self.config.display());
        let swap = Swap::of(self.state);
        let (swap_begins, swap_ends) = (swap.begin(), swap.end());
        let state = self.state.path("");
        let state = state.display();
        format!(
            "[Unit]\n\
             Description=Follow the fleet until this host's own system does\n\
             Wants=network-online.target\n\
             After=network-online.target sshd-keygen.service sshd.service ssh.service\n\
             ConditionPathExists=!{HOSTS_UNIT_FILE}\n\
             # The host's own agent takes over when it is started, once this one has ended.\n\
             Conflicts={HOSTS_UNIT}\n\
             Before={HOSTS_UNIT}\n\
             StartLimitIntervalSec=0\n\
             # Where a switch does look at it.\n\
             X-RestartIfChanged=false\n\
             X-StopOnRemoval=false\n\
             \n\
             [Service]\n\
             Type=notify\n\
             Environment=\"PATH={path}\"\n\
             ExecStartPre=-/bin/sh -c \"{swap_begins}\"\n\
             ExecStart=\"{program}\" --config \"{config}\" --state \"{state}\" run\n\
             ExecStopPost=-/bin/sh -c \"{swap_ends}\"\n\
             Restart=always\n\
             RestartSec=1\n\
             WatchdogSec=60\n\
             TimeoutStartSec=5min\n\
             KillMode=mixed\n\
             TimeoutStopSec=45min\n\
             OOMPolicy=continue\n\
             LimitCORE=0\n"
        )
    }

    fn starter(&self) -> String {
        let remove_swap = Swap::of(self.state).remove();
        format!(
            "[Unit]\n\
             Description=Start the agent that follows the fleet until this host's own system does\n\
             \n\
             [Service]\n\
             Type=oneshot\n\
             Environment=\"PATH={PATH}\"\n\
             ExecStart=/bin/sh -c \"if test -e {HOSTS_UNIT_FILE}; then {remove_swap}; \
             else exec systemctl --no-block start {UNIT}; fi\"\n"
        )
    }
}

/// Has systemd start whichever agent this host has anew: its own, or else the one that stands in.
pub async fn begin(units_are_new: bool) -> Result<(), Failed> {
    if units_are_new {
        tell("systemctl", ["daemon-reload"]).await?;
    }
    // One that runs has read its settings, and one that does not may have been given up for want of them.
    let unit = if Path::new(HOSTS_UNIT_FILE).exists() { HOSTS_UNIT } else { UNIT };
    tell("systemctl", ["restart", "--no-block", unit]).await
}

/// What an agent does at its end: where the unit that it ran as is gone, nobody else would start one.
pub async fn follows_this_process() {
    if own_unit().as_deref() == Some(HOSTS_UNIT) {
        start_where_needed().await;
    }
}

/// Starts the agent that stands in, if the host has one, and its system none.
pub async fn start_where_needed() {
    if !is_booted() || Path::new(HOSTS_UNIT_FILE).exists() {
        return;
    }
    // How the agent of a system that is gone ended is no trouble of this one's. A machine that was never enrolled like that has no
    // unit to start, which is as well; a shutdown starts none.
    for arguments in [&["reset-failed", HOSTS_UNIT][..], &["start", "--no-block", UNIT]] {
        if let Err(failed) = ask("systemctl", arguments).await {
            tracing::warn!(kind = failed.kind, "{failed}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDirectory::create(&folder.path().join("state")).expect("a state directory");
        (folder, state)
    }

    #[test]
    fn the_program_is_kept_by_its_digest_and_mended_if_it_is_damaged() {
        let (folder, state) = state();
        let program = folder.path().join("program");
        fs::write(&program, "one").expect("written");
        let one = keep_program(&program, &state).expect("kept");
        fs::write(&one, "").expect("damaged");
        assert_eq!(keep_program(&program, &state).expect("kept"), one);
        assert_eq!(fs::read(&one).expect("there"), b"one");
        fs::write(&program, "two").expect("written");
        assert_ne!(keep_program(&program, &state).expect("kept"), one);
        assert!(one.exists(), "a timer may have been set with it");
    }

    #[test]
    fn what_is_in_none_of_the_usual_places_is_found_where_it_was_found_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str, programs: &[&str]| {
            let place = folder.path().join(name);
            fs::create_dir(&place).expect("created");
            for program in programs {
                fs::write(place.join(program), "").expect("written");
            }
            place
        };
        let usual = [place("usual", &["ssh"])];
        let (none, git, all) = (place("none", &[]), place("git", &["git"]), place("all", &["nix", "git", "ssh"]));
        assert_eq!(unusual(&[none.clone(), git.clone(), all.clone()], &usual), [all.clone(), git.clone()]);
        assert_eq!(unusual(&[all.clone(), git], &usual).len(), 1, "one place that has both");
        assert!(unusual(&[none, "relative".into()], &usual).is_empty());
        assert!(unusual(&usual, &[all]).is_empty(), "what the unit finds anyway is no other place's to tell");
        assert_eq!(path_of("[Service]\nEnvironment=\"PATH=/a:/b\"\n").collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(path_of("").count(), 0);
    }

    #[test]
    fn units_are_written_once_and_are_what_systemd_takes_for_units() {
        let (folder, state) = state();
        let stand_in = StandIn {
            program: "/bin/true".into(),
            config: Path::new("/etc/npc-agent/config.toml"),
            state: &state,
            places: vec!["/opt/nix/bin".into()],
        };
        let units = folder.path().join("units");
        assert!(stand_in.write_units(&units).expect("written"));
        assert!(!stand_in.write_units(&units).expect("there"), "nothing is new");
        assert!(fs::read(units.join("multi-user.target.wants").join(STARTER)).is_ok(), "a boot finds it");
        let verify = std::process::Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .args([units.join(UNIT), units.join(STARTER)])
            .output();
        // Where there is no systemd there is nobody to ask.
        if let Ok(output) = verify {
            let words = String::from_utf8_lossy(&output.stderr);
            let own: Vec<_> = words.lines().filter(|line| line.contains("npc-agent-bootstrap")).collect();
            assert!(own.is_empty(), "{own:?}");
        }
    }
}
