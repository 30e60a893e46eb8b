//! Transient units of systemd.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::{Ending, InShutdown, Job, inherited};
use crate::machine::Failed;
use crate::state::StateDirectory;

/// How often to look for a unit's own word about its end.
const LOOK: Duration = Duration::from_millis(200);

/// After so many looks in vain, systemd is asked whether the unit is still there.
const LOOKS: u32 = 10;

/// A manager that does not answer within this time does not answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a unit may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// The longest that a shutdown waits for a program which it must not end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_mins(5);

/// How many of the last lines of a unit's output are read.
const LOG_LINES: &str = "100";

/// Whether systemd runs this host (`sd_booted(3)`), and will do as we say.
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir() && rustix::process::geteuid().is_root()
}

/// Asks a program of systemd's.
pub(crate) async fn ask(
    program: &str,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Output, Failed> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let failed = |reason: String| Failed::new("systemd", format!("`{program}` failed: {reason}"));
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// Asks for something that must be done.
pub(crate) async fn tell(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(), Failed> {
    let output = ask(program, arguments).await?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Failed::new("systemd", format!("`{program}` failed: {}", words.trim())))
}

/// The value of a unit's property; empty where there is none.
pub async fn show(unit: &str, property: &str) -> String {
    let arguments = ["show", "--value", "--property", property, "--", unit];
    match ask("systemctl", arguments).await {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(failed) => {
            tracing::warn!(kind = failed.kind, "{failed}");
            String::new()
        }
    }
}

/// Whether systemd is taking the host down: it starts no units any more.
pub(crate) async fn is_shutting_down() -> bool {
    // Its exit code says no more than that it is not running as usual.
    ask("systemctl", ["is-system-running"]).await.is_ok_and(|output| output.stdout.starts_with(b"stopping"))
}

pub(super) async fn runs(name: &str) -> bool {
    is_there(&format!("{name}.service")).await
}

/// Whether anything of a unit is left. A manager that does not answer has not said that it is gone.
async fn is_there(unit: &str) -> bool {
    !matches!(show(unit, "ActiveState").await.as_str(), "inactive" | "failed")
}

pub(super) async fn start(state: &StateDirectory, agent: &Path, job: &Job) -> Result<(), Failed> {
    let mut arguments: Vec<OsString> =
        ["--quiet", "--no-ask-password", "--collect", "--service-type=exec"].map(OsString::from).into();
    let mut property = |name: &str, value: &OsStr| {
        let mut property = OsString::from(format!("--property={name}="));
        property.push(value);
        arguments.push(property);
    };
    property("RuntimeMaxSec", OsStr::new(&format!("{}s", job.timeout.as_secs())));
    property("WorkingDirectory", job.directory.as_os_str());
    property("ExecStopPost", &note_end(state, agent, &job.name));
    if job.in_shutdown == InShutdown::Awaited {
        // Whoever stops the unit only waits for it; `stop` sends what does end it.
        property("KillMode", OsStr::new("mixed"));
        property("KillSignal", OsStr::new("SIGCONT"));
        let patience = job.timeout.min(SHUTDOWN_PATIENCE);
        property("TimeoutStopSec", OsStr::new(&format!("{}s", patience.as_secs())));
    }
    arguments.push(format!("--unit={}", job.name).into());
    for (name, value) in inherited().chain(job.environment.iter().cloned()) {
        let mut setting = OsString::from(format!("--setenv={name}="));
        setting.push(value);
        arguments.push(setting);
    }
    arguments.push("--".into());
    arguments.extend(job.command.iter().cloned());
    tell("systemd-run", arguments).await
}

/// A command line as unit files have it; none of the paths can hold what would need quoting.
fn note_end(state: &StateDirectory, agent: &Path, name: &str) -> OsString {
    let mut line = agent.as_os_str().to_owned();
    line.push(" --state ");
    line.push(state.path("").as_os_str());
    line.push(" note-end ");
    line.push(name);
    line
}

/// Waits for a unit's end. `None` where the unit is gone and has left no word.
pub(super) async fn ended(state: &StateDirectory, name: &str) -> Option<Ending> {
    loop {
        for _ in 0..LOOKS {
            if let Some(ending) = Ending::read(state, name) {
                return Some(ending);
            }
            tokio::time::sleep(LOOK).await;
        }
        if !runs(name).await {
            return Ending::read(state, name);
        }
    }
}

pub(super) async fn stop(name: &str) {
    end(&format!("{name}.service")).await;
}

/// Ends a unit by signals rather than by a stop: one that a shutdown waits for heeds nothing else.
pub(crate) async fn end(unit: &str) {
    for (signal, patience) in [("--signal=SIGTERM", GRACE), ("--signal=SIGKILL", PATIENCE)] {
        if !is_there(unit).await {
            return;
        }
        // It may have ended by itself meanwhile.
        if let Err(failed) = tell("systemctl", ["kill", signal, unit]).await {
            tracing::warn!(kind = failed.kind, "{failed}");
        }
        if tokio::time::timeout(patience, gone(unit)).await.is_ok() {
            return;
        }
    }
    tracing::error!(kind = "systemd", unit, "a unit could not be ended");
}

/// A unit's word about its end comes before its end, and what it started may be there for longer than either.
pub(super) async fn clear_away(name: &str) {
    let unit = format!("{name}.service");
    if tokio::time::timeout(GRACE, gone(&unit)).await.is_err() {
        end(&unit).await;
    }
}

async fn gone(unit: &str) {
    while is_there(unit).await {
        tokio::time::sleep(LOOK).await;
    }
}

/// The end of a unit's output, from the journal.
pub(super) async fn log(name: &str) -> Option<String> {
    let unit = format!("--unit={name}.service");
    let arguments = ["--quiet", "--no-pager", "--output=cat", "--lines", LOG_LINES, unit.as_str()];
    let output = ask("journalctl", arguments).await.ok()?;
    Some(crate::activation::process::printable_end(&output.stdout))
}

/// The service that this process belongs to (`/proc/self/cgroup`, cgroups(7)), if it is one.
pub fn own_unit() -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
    Some(unit.to_owned())
}
