//! Whether the agent that a system brings would start there: nobody else could go back on a system that is booted unproved.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::process::Program;
use super::unit::own_unit;
use crate::machine::Failed;
use crate::settings::DEFAULT_CONFIG;
use crate::stand_in::{self, HOSTS_UNIT as UNIT};

/// The kind of a system whose agent would not start.
pub(super) const AGENT_UNFIT: &str = "agent-unfit";

/// How long an agent may take to read its settings.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The agent of a system, as its unit there starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    program: PathBuf,
    config: PathBuf,
}

impl Agent {
    /// The agent that `system` brings. `None` where it brings none. What it finds below `/etc` that the system which is `running`
    /// brings, it will not find there any more.
    pub(super) fn of(system: &Path, running: Option<&Path>) -> Option<Self> {
        let unit = own_unit().filter(|unit| unit != stand_in::UNIT).unwrap_or_else(|| UNIT.to_owned());
        let text = fs::read_to_string(system.join("etc/systemd/system").join(unit)).ok()?;
        let start =
            text.lines().filter_map(|line| line.trim().strip_prefix("ExecStart=")).rfind(|line| !line.is_empty())?;
        let mut words = start.split_whitespace().map(|word| word.trim_matches('"'));
        // What stands before the path tells systemd how to run it.
        let program = words.next()?.trim_start_matches(['@', '-', ':', '+', '!', '|']);
        let config = words
            .clone()
            .find_map(|word| word.strip_prefix("--config="))
            .or_else(|| words.skip_while(|word| *word != "--config").nth(1));
        let config = in_system(system, running, config.unwrap_or(DEFAULT_CONFIG));
        Some(Self { program: program.into(), config })
    }

    /// Has it read its settings, and do nothing else.
    pub(super) async fn check(&self, log: &Path, state: &Path) -> Result<(), Failed> {
        let run = async |arguments: &[&str]| {
            let mut command = Command::new(&self.program);
            command.arg("--config").arg(&self.config).args(arguments).env("NPC_AGENT_STATE", state);
            let purpose = "have the new system's agent check its settings";
            Program { purpose, kind: AGENT_UNFIT, command, log, timeout: TIMEOUT }.run().await
        };
        let Err(failed) = run(&["check"]).await else { return Ok(()) };
        // An agent from before there was that command can only be seen to start.
        if run(&["check", "--help"]).await.is_err() && run(&["--version"]).await.is_ok() {
            return Ok(());
        }
        Err(failed)
    }
}

/// Where a file of a system's will be once that is booted. One that neither it nor the running system brings is the host's own.
fn in_system(system: &Path, running: Option<&Path>, path: &str) -> PathBuf {
    let Some(relative) = path.strip_prefix('/') else { return path.into() };
    let is_brought = |system: &Path| system.join(relative).exists();
    if is_brought(system) || running.is_some_and(is_brought) { system.join(relative) } else { path.into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A system whose agent's unit has this `ExecStart`.
    fn system(root: &Path, start: &str) -> PathBuf {
        let system = root.join("system");
        fs::create_dir_all(system.join("etc/systemd/system")).expect("created");
        fs::create_dir_all(system.join("etc/npc-agent")).expect("created");
        fs::write(system.join("etc/npc-agent/config.toml"), "").expect("written");
        let unit = format!("[Unit]\n[Service]\nExecStart=\nExecStart={start}\nRestart=always\n");
        fs::write(system.join("etc/systemd/system").join(UNIT), unit).expect("written");
        system
    }

    #[test]
    fn the_agent_is_found_by_its_unit_and_its_settings_in_its_system() {
        let folder = tempfile::tempdir().expect("a folder");
        let found = |start: &str| {
            let system = system(folder.path(), start);
            let agent = Agent::of(&system, None).expect("an agent");
            let config = agent.config.strip_prefix(&system).map_or_else(|_| agent.config.clone(), Path::to_owned);
            (agent.program.display().to_string(), config.display().to_string())
        };
        let config = "etc/npc-agent/config.toml";
        assert_eq!(found("/x/bin/npc-agent run"), ("/x/bin/npc-agent".into(), config.into()));
        assert_eq!(found("-/x/npc-agent --config /no/such run"), ("/x/npc-agent".into(), "/no/such".into()));
        assert_eq!(found("/x/npc-agent run --config=/etc/npc-agent/config.toml").1, config);
        assert_eq!(Agent::of(folder.path(), None), None, "a system without one");
        let running = system(folder.path(), "/x/npc-agent run");
        let next = folder.path().join("next");
        fs::create_dir_all(next.join("etc/systemd/system")).expect("created");
        fs::copy(running.join("etc/systemd/system").join(UNIT), next.join("etc/systemd/system").join(UNIT))
            .expect("copied");
        let without_settings = Agent::of(&next, Some(&running)).expect("an agent");
        assert_eq!(without_settings.config, next.join(config), "what the running system brings will be gone");
    }

    #[tokio::test]
    async fn an_agent_is_fit_if_it_reads_its_settings_or_is_too_old_to_be_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let fits = async |script: &str| {
            let program = folder.path().join("npc-agent");
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
            let agent = Agent { program, config: "/settings".into() };
            agent.check(&folder.path().join("log"), folder.path()).await.map_err(|failed| failed.kind)
        };
        assert_eq!(fits("test \"$*\" = '--config /settings check'").await, Ok(()));
        assert_eq!(fits("case $* in *check) exit 2;; esac").await, Err(AGENT_UNFIT.into()), "it complains");
        assert_eq!(fits("case $* in *check*) exit 2;; esac").await, Ok(()), "it does not know the command");
        assert_eq!(fits("exit 1").await, Err(AGENT_UNFIT.into()), "it does not start");
        let missing = Agent { program: "/no/such/agent".into(), config: "/settings".into() };
        assert!(missing.check(&folder.path().join("log"), folder.path()).await.is_err());
    }
}
