//! The dead-man timer: brings the system before back when nobody commits to the new one in time.
//!
//! It is armed before an activation and disarmed by the commit, or by the end of a roll-back, alone. It lies outside the
//! agent: a transient timer of systemd's, which survives `daemon-reload`, or, without systemd, a process in a session of its
//! own. What it runs is the *old* system's agent, by its own path, with a copy of the settings that agent ran with, so that
//! neither the new system's agent nor its settings can keep it from working.
//!
//! Going off, it takes the lock that commits take and reads the journal anew, ends the agent, ends an activation that hangs,
//! activates the system before, and starts the agent again, which judges how the host is and notes the outcome.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use npc_core::{explain, files};
use tokio::process::Command;

use crate::activation::Platform;
use crate::activation::unit::{Units, ask, inherited, own_unit, tell};
use crate::clock::Clock;
use crate::failpoint;
use crate::failure::{Exit, Failure};
use crate::machine::{Attempt, Context, DEAD_MAN, Event, Failed, Journal, Phase, Policy, Stage, step};
use crate::settings::as_one_file;
use crate::stand_in;
use crate::state::{CommitLock, Held, Lock, LockError, StateDirectory};

/// How often a process that waits looks whether it is still wanted.
const LOOK: Duration = Duration::from_secs(2);

/// How long a commit may take beside the time of its boot loader: to set the profile, and to end a boot loader that hangs.
const COMMIT_PATIENCE: Duration = Duration::from_mins(11);

/// How long an agent that was ended may take to be gone.
const AGENT_PATIENCE: Duration = Duration::from_secs(30);

/// How often to try for a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// The timer, as the agent sees it.
#[derive(Debug, Clone)]
pub struct DeadMan {
    /// Where the agent remembers.
    pub state: StateDirectory,
    /// How units are run.
    pub units: Units,
    /// The settings that the agent runs with.
    pub config: PathBuf,
    /// From the beginning of an activation to the commit.
    pub activation: Duration,
    /// From the end of an activation to the commit.
    pub probation: Duration,
}

fn name_of(attempt: &Attempt, stage: Stage) -> String {
    let stage = match stage {
        Stage::Activation => "dead-man",
        Stage::Probation => "dead-man-probation",
    };
    format!("{}-{stage}", attempt.name())
}

impl DeadMan {
    fn settings_of(&self, attempt: &Attempt) -> PathBuf {
        self.state.path("units").join(format!("{}.toml", attempt.name()))
    }

    fn lease(&self, name: &str) -> PathBuf {
        self.state.path("units").join(format!("{name}.lock"))
    }

    /// Keeps the settings that this agent runs with for the rescuer, unless they are kept: they themselves may belong to the new
    /// system a moment later, and this agent need not understand that system's. What the host was enrolled with is part of them,
    /// so that a rescuer needs nothing else.
    pub fn keep_settings(&self, attempt: &Attempt) -> Result<(), Failed> {
        let settings = self.settings_of(attempt);
        if settings.exists() {
            return Ok(());
        }
        let failed = |error: String| {
            Failed::new(DEAD_MAN, format!("the settings cannot be kept for the dead-man timer: {error}"))
        };
        let text = as_one_file(&self.config, &self.state.path("")).map_err(|failure| failed(failure.to_string()))?;
        files::write_atomically(&settings, text.as_bytes(), 0o600).map_err(|error| failed(error.to_string()))
    }

    /// Sets the timer, unless it is set already.
    pub async fn arm(&self, attempt: &Attempt, stage: Stage) -> Result<(), Failed> {
        let failed = |reason: String| Failed::new(DEAD_MAN, format!("the dead-man timer cannot be set: {reason}"));
        // What the rescuer goes by if it cannot read the journal any more.
        self.state.note_attempt(attempt).map_err(|error| failed(explain::in_one_line(&error)))?;
        self.keep_settings(attempt)?;
        let (name, after) = match stage {
            Stage::Activation => (name_of(attempt, stage), self.activation),
            Stage::Probation => (name_of(attempt, stage), self.probation),
        };
        let agent = attempt.before.agent.as_deref().unwrap_or_else(|| self.units.agent());
        let result = if self.units.has_systemd() {
            self.set_timer(agent, attempt, &name, after).await.map_err(|error| failed(error.message))
        } else {
            self.start_waiting(agent, attempt, &name, after).await.map_err(|error| failed(error.to_string()))
        };
        failpoint::passed(failpoint::Step::TimerArmed);
        result
    }

    async fn set_timer(&self, agent: &Path, attempt: &Attempt, name: &str, after: Duration) -> Result<(), Failed> {
        let timer = format!("{name}.timer");
        if ask("systemctl", ["is-active", "--quiet", &timer]).await?.status.success() {
            return Ok(());
        }
        let mut arguments = vec![
            "--quiet".into(),
            "--no-ask-password".into(),
            "--collect".into(),
            format!("--unit={name}").into(),
            format!("--on-active={}s", after.as_secs()).into(),
            "--timer-property=AccuracySec=1s".into(),
            "--property=OOMScoreAdjust=-900".into(),
            // What keeps it from going back may pass; that nobody goes back would not.
            "--property=Restart=on-failure".into(),
            "--property=RestartSec=30".into(),
            "--property=StartLimitIntervalSec=0".into(),
        ];
        for (name, value) in inherited() {
            let mut setting = std::ffi::OsString::from(format!("--setenv={name}="));
            setting.push(value);
            arguments.push(setting);
        }
        arguments.extend([agent.into(), "--config".into(), self.settings_of(attempt).into_os_string()]);
        arguments.extend(["--state".into(), self.state.path("").into_os_string()]);
        arguments.extend(["dead-man".into(), attempt.name().into()]);
        if let Some(unit) = own_unit() {
            arguments.extend(["--agent-unit".into(), unit.into()]);
        }
        tell("systemd-run", arguments).await
    }

    async fn start_waiting(&self, agent: &Path, attempt: &Attempt, name: &str, after: Duration) -> std::io::Result<()> {
        let lease = self.lease(name);
        if Held::by(&lease).is_some() {
            return Ok(());
        }
        fs::write(&lease, "")?;
        let mut command = Command::new(agent);
        command
            .arg("--config")
            .arg(self.settings_of(attempt))
            .arg("--state")
            .arg(self.state.path(""))
            .args(["dead-man", &attempt.name(), "--after", &after.as_secs().to_string(), "--lease"])
            .arg(&lease)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = command.spawn()?;
        // It holds the lease for as long as it waits.
        while Held::by(&lease).is_none() {
            if let Some(status) = child.try_wait()? {
                return Err(std::io::Error::other(format!("`{}`: {status}", agent.display())));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Takes the timer back.
    pub async fn disarm(&self, attempt: &Attempt) {
        for stage in [Stage::Activation, Stage::Probation] {
            let name = name_of(attempt, stage);
            if self.units.has_systemd() {
                let timer = format!("{name}.timer");
                // A timer that never was, or has gone off, is as good as disarmed.
                if let Err(failed) = ask("systemctl", ["stop", "--quiet", &timer]).await {
                    tracing::warn!(kind = failed.kind, "{failed}");
                }
            } else {
                // Who waits ends once its lease is gone.
                let _ = fs::remove_file(self.lease(&name));
            }
        }
        self.state.forget_attempt(attempt);
    }
}

/// What the timer runs.
#[derive(Debug)]
pub struct Rescue<'a, P> {
    /// The name of the attempt that it was set for.
    pub attempt: &'a str,
    /// The agent's unit, where it is one.
    pub agent_unit: Option<&'a str>,
    /// Where the agent remembers.
    pub state: &'a StateDirectory,
    /// How to get back.
    pub platform: P,
    /// What the operator decided beforehand.
    pub policy: &'a Policy,
    /// How long installing a boot loader may take: a commit that has begun is waited for.
    pub activation_timeout: Duration,
}

/// Waits for the time, and returns whether it has come while the lease lasted.
pub async fn wait(after: Duration, lease: &Path) -> Result<bool, Failure> {
    let _held = Held::take(lease).map_err(Failure::other)?;
    let due = tokio::time::Instant::now() + after;
    while lease.exists() {
        let now = tokio::time::Instant::now();
        if now >= due {
            return Ok(true);
        }
        tokio::time::sleep(LOOK.min(due - now)).await;
    }
    Ok(false)
}

impl<P: Platform> Rescue<'_, P> {
    /// Brings the system before back, if the journal still says that nobody has ended the attempt.
    pub async fn run(&self, clock: &dyn Clock) -> Result<(), Failure> {
        if !self.is_wanted() {
            return Ok(());
        }
        let commit = patiently(self.activation_timeout + COMMIT_PATIENCE, || CommitLock::take(self.state)).await;
        if !self.is_wanted() {
            return Ok(());
        }
        self.end_agent().await;
        // From here on there is no agent, so that nothing may keep one from being started again in the end.
        let agent = patiently(AGENT_PATIENCE, || Lock::take(self.state)).await;
        let result = match &agent {
            Some(_) if self.is_wanted() => self.go_back(clock).await,
            Some(_) => Ok(()),
            None => Err(Failure::new(Exit::Locked, "the agent could not be ended")),
        };
        drop((agent, commit));
        self.start_agent().await;
        result
    }

    fn is_wanted(&self) -> bool {
        self.journal().phase.attempt().is_some_and(|attempt| attempt.name() == self.attempt)
    }

    /// The journal. Where it is damaged or gone, the attempt that the timer was set for goes on if nobody has noted its end.
    fn journal(&self) -> Journal {
        match self.state.find_journal() {
            Ok(Some(journal)) => return journal,
            Ok(None) => tracing::error!(kind = "state", "the journal is gone"),
            Err(error) => {
                tracing::error!(kind = "state", error = &error as &dyn std::error::Error, "the journal cannot be read");
            }
        }
        match self.state.noted_attempt(self.attempt) {
            Ok(Some(attempt)) => Journal { phase: Phase::Probation(attempt), ..Journal::default() },
            Ok(None) => Journal::default(),
            Err(error) => {
                tracing::error!(kind = "state", error = &error as &dyn std::error::Error, "nor can the attempt");
                Journal::default()
            }
        }
    }

    async fn go_back(&self, clock: &dyn Clock) -> Result<(), Failure> {
        let journal = self.journal();
        let found = self.platform.look(journal.phase.attempt()).await;
        // Whether the assignment orders a reboot is the agent's to know.
        let context =
            Context { now: clock.now(), jitter: 0.5, nonce: 0, paused: false, to_end: None, policy: self.policy };
        let (mut journal, _) = step(journal, Event::DeadlinePassed(found), &context);
        // A disk that takes no more must not keep a host from going back.
        self.note(&journal);
        failpoint::passed(failpoint::Step::RescueBegun);
        let Phase::RollingBack { attempt, boot, rescued, .. } = &mut journal.phase else { return Ok(()) };
        tracing::error!(kind = "deadline-passed", attempt = self.attempt, "nobody has committed in time; going back");
        let back = self.platform.roll_back(attempt, *boot).await;
        *rescued = matches!(back, Ok(None));
        self.note(&journal);
        failpoint::passed(failpoint::Step::RescueEnded);
        match back {
            Ok(None) => Ok(()),
            Ok(Some(failed)) | Err(failed) => Err(Failure::new(Exit::Failed, failed.to_string())),
        }
    }

    fn note(&self, journal: &Journal) {
        if let Err(error) = self.state.write_journal(journal) {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot write the journal");
        }
    }

    /// Whatever the agent is doing, or trying to end first.
    async fn end_agent(&self) {
        if let Some(unit) = self.agent_unit {
            for arguments in [&["stop", "--no-block", unit][..], &["kill", "--signal=SIGKILL", unit]] {
                // One that does not run cannot be killed.
                if let Err(failed) = ask("systemctl", arguments).await {
                    tracing::warn!(kind = failed.kind, "{failed}");
                }
            }
        }
        if let Err(error) = Lock::kill(self.state) {
            tracing::warn!(%error, "the agent could not be ended");
        }
    }

    async fn start_agent(&self) {
        let Some(unit) = self.agent_unit else { return };
        // It may have failed so often that systemd had given it up.
        for arguments in [["reset-failed", unit], ["start", unit]] {
            if let Err(failed) = ask("systemctl", arguments).await {
                tracing::error!(kind = failed.kind, "{failed}");
            }
        }
        stand_in::start_where_needed().await;
    }
}

/// Tries for a lock. `None` where it cannot be had in time.
async fn patiently<L>(patience: Duration, take: impl Fn() -> Result<L, LockError>) -> Option<L> {
    let begun = tokio::time::Instant::now();
    loop {
        match take() {
            Ok(lock) => return Some(lock),
            Err(error) if begun.elapsed() >= patience => {
                tracing::error!(error = &error as &dyn std::error::Error, "the lock cannot be had");
                return None;
            }
            Err(_) => tokio::time::sleep(LOCK_PAUSE).await,
        }
    }
}
