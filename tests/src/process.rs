//! Programs under test: run to their end, or in the background until dropped.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;
use crate::parts::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, missing, tool};

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub data: String,
    /// What it wrote to stderr.
    pub words: String,
}

impl Ended {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("the program can be started");
        Self {
            code: output.status.code(),
            data: String::from_utf8_lossy(&output.stdout).into_owned(),
            words: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It must have worked. Returns what it wrote to stdout.
    #[track_caller]
    pub fn works(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.data
    }

    /// It must have failed with `code` and these words in its message.
    #[track_caller]
    #[allow(clippy::must_use_candidate, clippy::return_self_not_must_use, reason = "most tests ask no more")]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.words.contains(word), "no `{word}` in {self:?}");
        }
        self
    }
}

/// Runs `command` with a tiny file system mounted at `place`, in a mount namespace of its own, or skips loudly. The names of the
/// files that are in it afterwards are written to `left`.
pub fn on_a_tiny_disk(place: &Path, kilobytes: u32, command: &Command, left: &Path) -> Option<Ended> {
    let unshare = tool("unshare")?;
    if !rustix::process::geteuid().is_root() {
        return missing("root, which mounting takes,");
    }
    fs::create_dir_all(place).expect("created");
    let script = "mount -t tmpfs -o \"size=$1k\" none \"$2\"; shift 2; \"$@\"; code=$?; \
                  find \"$PLACE\" -type f -printf '%P\\n' > \"$LEFT\"; exit $code";
    let mut shell = Command::new(unshare);
    shell.args(["--mount", "sh", "-c", script, "sh", &kilobytes.to_string()]).arg(place);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("PLACE", place).env("LEFT", left);
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    Some(Ended::of(&mut shell))
}

/// A program in the background, killed when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts `command` with stdout and stderr in files named after `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let words = File::options().create(true).append(true).open(log).expect("a log");
        let data = File::create(log.with_extension("out")).expect("a log");
        let child =
            command.stdin(Stdio::null()).stdout(data).stderr(words).spawn().expect("the program can be started");
        Self { child, log: log.to_owned() }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    pub fn words(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// What it has written to stdout so far.
    pub fn data(&self) -> String {
        fs::read_to_string(self.log.with_extension("out")).expect("a log")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it is there");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the program ends", || self.child.try_wait().expect("it can be waited for"))
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }

    /// Ends it with SIGTERM.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its end, after it was signalled.
    pub fn stop_after_signal(mut self) -> ExitStatus {
        self.wait()
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it is there");
        self.wait();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> io::Result<u16> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr().map(|address| address.port())
}

/// Starts a Garage whose data lie in `directory`, and waits until it answers. Returns its address.
pub fn start_garage(program: &Path, directory: &Path) -> io::Result<(Background, String)> {
    let (s3, rpc) = (free_port()?, free_port()?);
    let config = directory.join("garage.toml");
    let text = format!(
        "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nmetadata_fsync = false\n\
         replication_factor = 1\nrpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\n\
         rpc_secret = \"{SECRET_KEY}\"\n[s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n",
        directory.display()
    );
    fs::write(&config, text)?;
    let address = format!("127.0.0.1:{s3}");
    Ok((start_garage_again(program, directory, &address), format!("http://{address}")))
}

/// Starts a Garage that was started in `directory` before, at its old address, and waits until it answers.
pub fn start_garage_again(program: &Path, directory: &Path, address: &str) -> Background {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(directory.join("garage.toml"))
        .args(["server", "--single-node", "--default-bucket"])
        .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY)
        .env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY)
        .env("GARAGE_DEFAULT_BUCKET", BUCKET)
        .env("RUST_LOG", "garage=warn");
    let mut garage = Background::start(&mut command, &directory.join("garage.log"));
    eventually("Garage answers", || {
        assert!(garage.runs(), "Garage ended: {}", garage.words());
        std::net::TcpStream::connect(address).ok()
    });
    garage
}

/// A pause for what has no condition to wait for: that something does *not* happen.
pub fn for_a_while(duration: Duration) {
    std::thread::sleep(duration);
}
