//! Running other programs: bounded, with their output in a file, and never with a pipe that an agent's end could close.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::unit::Ending;
use crate::machine::Failed;

/// How much of the end of a log is kept, in bytes.
const TAIL_BYTES: u64 = 8 * 1024;

/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// A program to run.
pub(crate) struct Program<'a> {
    /// What it does, for messages: "build the system".
    pub(crate) purpose: &'static str,
    /// The stable word for its failure.
    pub(crate) kind: &'static str,
    /// The command.
    pub(crate) command: Command,
    /// Where its output goes.
    pub(crate) log: &'a Path,
    /// How long it may take.
    pub(crate) timeout: Duration,
}

impl Program<'_> {
    fn failed(&self, reason: impl std::fmt::Display) -> Failed {
        let log = tail(self.log).ok().filter(|log| !log.is_empty());
        Failed { kind: self.kind.to_owned(), message: format!("could not {}: {reason}", self.purpose), log }
    }

    /// A disk that has no room for a log must not keep a host from going back to its old system.
    fn open_log(&self) -> Result<File, Failed> {
        File::create(self.log).or_else(|error| {
            tracing::warn!(path = %self.log.display(), %error, "cannot keep a log");
            File::options().write(true).open("/dev/null").map_err(|error| self.failed(error))
        })
    }

    /// Runs it to its end with all output in the log. Dropping the future ends the program and what it started.
    pub(crate) async fn run(mut self) -> Result<(), Failed> {
        let log = self.open_log()?;
        let errors = log.try_clone().map_err(|error| self.failed(error))?;
        self.command.stdout(log).stderr(errors);
        let status = self.spawn_and_wait().await?;
        self.judge(status)
    }

    /// Runs it to its end, with all output in the log, or until `told` to end it; says how it ended.
    pub(super) async fn run_until(mut self, told: impl Future<Output = ()>) -> Result<Ending, Failed> {
        let log = self.open_log()?;
        let errors = log.try_clone().map_err(|error| self.failed(error))?;
        self.command.stdout(log).stderr(errors);
        let mut group = self.spawn()?;
        let result = tokio::select! {
            status = group.0.wait() => return status.map(ending).map_err(|error| self.failed(error)),
            () = told => "stopped",
            () = tokio::time::sleep(self.timeout) => "timeout",
        };
        group.end().await;
        Ok(Ending::other(result, "TERM"))
    }

    /// Runs it to its end and gives what it wrote to stdout, which goes to a file as well; stderr goes to the log.
    pub(super) async fn output(mut self, limit: u64) -> Result<Vec<u8>, Failed> {
        let log = self.open_log()?;
        let path: PathBuf = self.log.with_extension("out");
        let mut out = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| self.failed(format_args!("{}: {error}", path.display())))?;
        self.command.stdout(out.try_clone().map_err(|error| self.failed(error))?).stderr(log);
        let status = self.spawn_and_wait().await?;
        self.judge(status)?;
        let mut bytes = Vec::new();
        let read = out.rewind().and_then(|()| out.take(limit).read_to_end(&mut bytes));
        read.map_err(|error| self.failed(error))?;
        Ok(bytes)
    }

    fn judge(&self, status: ExitStatus) -> Result<(), Failed> {
        if status.success() { Ok(()) } else { Err(self.failed(status)) }
    }

    fn spawn(&mut self) -> Result<Group, Failed> {
        self.command.stdin(Stdio::null()).process_group(0);
        let child = self.command.spawn().map_err(|error| {
            let program = self.command.as_std().get_program().display();
            self.failed(format_args!("`{program}`: {error}"))
        })?;
        Ok(Group(child))
    }

    async fn spawn_and_wait(&mut self) -> Result<ExitStatus, Failed> {
        let mut group = self.spawn()?;
        if let Ok(status) = tokio::time::timeout(self.timeout, group.0.wait()).await {
            status.map_err(|error| self.failed(error))
        } else {
            group.end().await;
            Err(self.failed(format_args!("it took longer than {} s", self.timeout.as_secs())))
        }
    }
}

/// A child and everything that it started, in a process group of its own.
struct Group(Child);

impl Group {
    fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The group may have ended by itself meanwhile.
            let _ = kill_process_group(pid, signal);
        }
    }

    async fn end(&mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, self.0.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = self.0.wait().await;
        }
    }
}

impl Drop for Group {
    /// A child that was waited for has no id any more, and nothing is signalled.
    fn drop(&mut self) {
        self.signal(Signal::TERM);
    }
}

/// The end of a log, without what could steer a terminal.
pub(super) fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(printable_end(&bytes))
}

/// The end of what a program wrote, without what could steer a terminal.
pub(super) fn printable_end(bytes: &[u8]) -> String {
    let end = &bytes[bytes.len().saturating_sub(usize::try_from(TAIL_BYTES).unwrap_or(usize::MAX))..];
    let text = String::from_utf8_lossy(end);
    let printable = |char: &char| *char == '\n' || !char.is_control();
    text.chars().filter(printable).collect::<String>().trim().to_owned()
}

/// How a program ended, in the words of units.
fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::exited(code),
        (None, signal) => Ending::other("signal", signal.unwrap_or_default().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program<'a>(script: &str, log: &'a Path, timeout: Duration) -> Program<'a> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program { purpose: "try", kind: "trial-failed", command, log, timeout }
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_failure_carries_the_end_of_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let failed = program("echo one; printf '\\033[31mtwo\\n' >&2; exit 3", &log, LONG).run().await;
        let failed = failed.expect_err("exit 3");
        assert!(failed.message.contains("exit status: 3"), "{failed}");
        assert_eq!(failed.log.as_deref(), Some("one\n[31mtwo"));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut missing = program("", &log, LONG);
        missing.command = Command::new("no-such-program");
        let failed = missing.run().await.expect_err("not there");
        assert!(failed.message.contains("no-such-program"), "{failed}");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended_with_all_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let script = "sleep 1000 & echo $!; wait";
        let failed = program(script, &log, Duration::from_secs(3)).run().await.expect_err("hangs");
        assert!(failed.message.contains("longer"), "{failed}");
        let child: i32 = std::fs::read_to_string(&log).expect("read").trim().parse().expect("a process id");
        // The orphan is reaped by somebody else, a little later.
        for _ in 0..500 {
            let gone =
                std::fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
            if gone {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {child} is still there");
    }

    #[tokio::test]
    async fn stdout_is_data_and_stdin_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let output = program("cat; echo words >&2; echo data", &log, LONG).output(100).await.expect("works");
        assert_eq!(output, b"data\n");
    }
}
