//! A machine that nobody has enrolled, in file systems of its own, and the script that enrols it: run by the shells that machines
//! have.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use npc_core::digest::Digest;
use tempfile::TempDir;

use crate::parts::{missing, program, tool};
use crate::process::Ended;
use crate::world::World;

/// Puts directories of a machine's own where the script and the agent write.
pub const MOUNTS: &str =
    "mount --bind \"$1/lib\" /var/lib && mount --bind \"$1/etc\" /etc/systemd && mount --bind \"$1/run\" /run";

/// Runs a program on the machine that these commands have prepared. All that it starts ends with it.
pub fn then_run(prepared: &str) -> String {
    format!("{prepared} && shift && exec \"$@\"")
}

/// The shells that run it.
pub const SHELLS: [&str; 2] = ["dash", "bash"];

/// A machine that nobody has enrolled.
#[derive(Debug)]
pub struct Machine {
    folder: TempDir,
}

impl Machine {
    /// A new machine, or a loud skip.
    pub fn find() -> Option<Self> {
        for name in ["unshare", "curl", "dash", "bash", "flock"] {
            tool(name)?;
        }
        if !rustix::process::geteuid().is_root() {
            return missing("root, which mounting takes,");
        }
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["lib", "etc", "run"] {
            fs::create_dir(folder.path().join(name)).expect("created");
        }
        Some(Self { folder })
    }

    /// The command that runs the script there, after these commands in file systems of its own.
    pub fn command_on(&self, prepared: &str, shell: &str, script: &str) -> Command {
        let path = self.path("script");
        fs::write(&path, script).expect("written");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
        command.args([&then_run(prepared), "sh"]).arg(self.folder.path()).arg(shell).arg(path);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "http_proxy", "JOURNAL_STREAM"]
        {
            command.env_remove(name);
        }
        command
    }

    /// The command that runs the script there.
    pub fn command(&self, shell: &str, script: &str) -> Command {
        self.command_on(MOUNTS, shell, script)
    }

    /// Runs the script there.
    pub fn run(&self, shell: &str, script: &str) -> Ended {
        Ended::of(&mut self.command(shell, script))
    }

    /// The agent's state directory, outside.
    pub fn state(&self) -> PathBuf {
        self.path("lib/npc-agent")
    }

    /// Whether it is enrolled as `web-1`, and then with all that takes.
    pub fn is_enrolled(&self) -> bool {
        let enrolment = fs::read_to_string(self.state().join("enrolment.toml")).unwrap_or_default();
        let unit = self.path("etc/system.attached/npc-agent-bootstrap.service");
        if enrolment.is_empty() {
            return false;
        }
        assert!(enrolment.contains("host = \"web-1\""), "{enrolment}");
        let unit = fs::read_to_string(unit).expect("the unit comes before the enrolment");
        let digest = digest();
        assert!(unit.contains(&format!("npc-agent-{digest}")), "{unit}");
        let kept = self.state().join(format!("bin/npc-agent-{digest}"));
        assert_eq!(fs::metadata(kept).expect("the agent").len(), fs::metadata(agent()).expect("the agent").len());
        assert!(!self.state().join("bin/.tmp-agent").exists(), "nothing else is left");
        true
    }

    /// A path in its folder, outside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has a command write down how it calls curl, in the file that is returned.
    pub fn logs_curl(&self, command: &mut Command) -> PathBuf {
        let log = self.path("curl.log");
        let curl = tool("curl").expect("it was there");
        self.has_curl(command, &format!("echo \"$*\" >> {}\nexec {} \"$@\"", log.display(), curl.display()));
        log
    }

    /// Has a command find this shell in place of curl.
    pub fn has_curl(&self, command: &mut Command, does: &str) {
        let programs = self.path("programs");
        fs::create_dir(&programs).expect("created");
        let script = format!("#!/bin/sh\n{does}\n");
        npc_core::files::write_atomically(&programs.join("curl"), script.as_bytes(), 0o755).expect("written");
        let path = std::env::var("PATH").expect("a path");
        command.env("PATH", format!("{}:{path}", programs.display()));
    }

    /// The unit and the agent are whole wherever there is an enrolment; what lies beside them is removed by the next run.
    pub fn is_enrolled_or_not_at_all(&self) {
        if self.state().join("enrolment.toml").exists() {
            let _ = fs::remove_file(self.state().join("bin/.tmp-agent"));
            assert!(self.is_enrolled());
        }
    }
}

/// The agent that it gets.
pub fn agent() -> PathBuf {
    program("npc-agent")
}

/// Its digest.
pub fn digest() -> Digest {
    Digest::of(&fs::read(agent()).expect("the agent"))
}

/// The script for `web-1`, with the agent in the store.
pub fn script(world: &World, more: &[&str]) -> String {
    world.publish();
    let machine = format!("{}={}", std::env::consts::ARCH, agent().display());
    let told = ["bootstrap", "--host", "web-1", "--remote", "prod", "--upload", "--agent"];
    let told: Vec<_> = told.into_iter().chain([machine.as_str()]).chain(more.iter().copied()).collect();
    world.in_fleet(&told).works()
}

/// The script gives up at once.
pub const ONCE: [&str; 2] = ["--patience", "0"];
