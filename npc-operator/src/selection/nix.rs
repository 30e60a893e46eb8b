//! Nix at the publisher: making a store copy of a tree, and evaluating it under the eyes of strace.
//!
//! Evaluation runs as it will on hosts: no registry, no settings from the flake, no change to the lock file, pure. What is
//! evaluated is the store copy. Each evaluation has a cache directory of its own, since a warm cache hides reads: results of
//! earlier evaluations, and (2.26 and later) files that were copied to the store before. Only that the store copy and the
//! inputs are in the store is in that cache from the start: Nix 2.20 and later would hash them first, reading every file,
//! and look at none a second time.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::trace::{self, Trace};
use crate::failure::{Exit, Failure};
use crate::interrupt::{self, Litter};
use crate::voice;
use crate::words;

/// How much of Nix's complaint is shown, in bytes.
const COMPLAINT_BYTES: usize = 6 * 1024;

/// How older versions end a complaint: npc has no such flag.
const SHOW_TRACE: &str = "(use '--show-trace' to show detailed location information)";

/// Settings that decide about a result: the store that derivations are written to is part of their names.
const DECIDING: [&str; 3] = ["store", "system", "experimental-features"];

const EMPTY_REGISTRY: &str = r#"{"flakes":[],"version":2}"#;

/// Which Nix to evaluate with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NixChoice {
    /// The one on the PATH, if there is one.
    #[default]
    Path,
    /// None, also where there is one.
    None,
    /// This program.
    Program(PathBuf),
}

impl FromStr for NixChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "none" => Self::None,
            program => Self::Program(program.into()),
        })
    }
}

/// A Nix that works.
#[derive(Debug)]
pub(super) struct Nix {
    program: PathBuf,
    /// What it calls itself: `nix (Nix) 2.8.0`.
    version: String,
    /// The settings that decide.
    configured: String,
    scratch: TempDir,
    _litter: Litter,
    knows_the_dot: AtomicBool,
}

/// A flake in the Nix store.
#[derive(Debug)]
pub(super) struct StoreCopy {
    /// Where it lies there.
    pub(super) path: PathBuf,
    /// A cache that knows of it, and of its inputs, and of nothing else.
    cache: TempDir,
}

impl StoreCopy {
    /// Copies the cache's databases: an evaluation adds to its own alone.
    fn lend_cache(&self, to: &Path) -> io::Result<()> {
        let to = to.join("nix");
        std::fs::create_dir_all(&to)?;
        let Ok(entries) = std::fs::read_dir(self.cache.path().join("nix")) else { return Ok(()) };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}

/// What evaluating an expression gave.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) outcome: Result<Value, Complaint>,
    /// What it did below the flake's store copy; empty where nobody watched.
    pub(super) trace: Trace,
}

/// What Nix said when it failed.
#[derive(Debug, Clone)]
pub(super) struct Complaint(pub(super) String);

impl Complaint {
    /// Whether the flake simply has no such output, in Nix's own words rather than in those of something that was thrown.
    pub(super) fn lacks_the_output(&self) -> bool {
        self.0.starts_with("error: flake '") && self.0.contains("' does not provide attribute '")
    }

    /// Whether it could not write: to its store, or to the cache that npc lends it.
    pub(super) fn lacks_room(&self) -> bool {
        ["disk I/O error", "disk is full", "No space left on device"].iter().any(|words| self.0.contains(words))
    }

    /// Whether it asked for a path that does not belong to the flake.
    pub(super) fn forbids_a_path(&self) -> bool {
        self.0.contains("forbidden in pure eval") || self.0.contains("does not exist")
    }
}

/// Whether strace watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    Yes,
    No,
}

/// The commands of `nix flake` that copy a flake to the store, with its inputs and without them.
const WITH_INPUTS: &str = "archive";
const ALONE: &str = "metadata";

/// What both say of the flake itself.
#[derive(Debug, Deserialize)]
struct Copied {
    path: PathBuf,
}

impl Nix {
    /// The chosen Nix, if there is one.
    pub(super) fn find(choice: &NixChoice) -> Result<Option<Self>, Failure> {
        let program = match choice {
            NixChoice::None => return Ok(None),
            NixChoice::Path => Path::new("nix"),
            NixChoice::Program(program) => program,
        };
        let Some(version) = version_of(program, choice)? else { return Ok(None) };
        // Parts of the flake are laid out in it, which are no other user's business.
        let private = Permissions::from_mode(0o700);
        let scratch =
            tempfile::Builder::new().prefix("npc-").permissions(private).tempdir().map_err(Failure::scratch)?;
        std::fs::write(scratch.path().join("registry.json"), EMPTY_REGISTRY).map_err(Failure::scratch)?;
        Ok(Some(Self {
            program: program.to_owned(),
            version,
            configured: settings_of(program)?,
            _litter: Litter::at(scratch.path()),
            scratch,
            knows_the_dot: AtomicBool::new(true),
        }))
    }

    /// What decides about the result of an evaluation beside what it reads: the version, and settings.
    pub(super) fn circumstances(&self) -> [&str; 2] {
        [&self.version, &self.configured]
    }

    /// Whether strace is there and may watch other programs.
    pub(super) fn can_be_watched() -> bool {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-o", "/dev/null", "true"]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        strace.status().is_ok_and(|status| status.success())
    }

    /// A place for a tree that Nix is to read.
    pub(super) fn place(&self, name: &str) -> Result<PathBuf, Failure> {
        let place = self.scratch.path().join(name);
        let plain = |char: char| char.is_ascii_alphanumeric() || "/._-+~@:".contains(char);
        if !place.to_str().is_some_and(|text| text.chars().all(plain)) {
            let reason = format!("Nix cannot read a flake below `{}`", self.scratch.path().display());
            return Err(Failure::usage(reason).hint("point TMPDIR to a directory with a plain name"));
        }
        Ok(place)
    }

    fn settings(&self, command: &mut Command) {
        command
            .args(["--extra-experimental-features", "nix-command flakes"])
            // Without `--no-write-lock-file`, beside which Nix takes missing locks for allowed as long as it keeps them in mind.
            .args(["--no-update-lock-file", "--option", "pure-eval", "true"])
            .args(["--option", "accept-flake-config", "false", "--option", "use-registries", "false"])
            .args(["--option", "warn-dirty", "false", "--option", "eval-cache", "false"])
            .args(["--option", "flake-registry"])
            .arg(self.scratch.path().join("registry.json"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
    }

    /// Copies a flake, and the inputs that it locks, to the Nix store.
    ///
    /// An input that cannot be had is no reason to fail: evaluation fetches those that it reads, and may not read this one.
    pub(super) fn store_copy(&self, flake: &Path) -> Result<StoreCopy, Complaint> {
        let with_inputs = self.copy(flake, WITH_INPUTS, None).ok();
        let how = if with_inputs.is_some() { WITH_INPUTS } else { ALONE };
        let path = with_inputs.map_or_else(|| self.copy(flake, ALONE, None), Ok)?;
        let cache = TempDir::new_in(self.scratch.path()).map_err(|error| Complaint(error.to_string()))?;
        self.copy(&path, how, Some(cache.path()))?;
        Ok(StoreCopy { path, cache })
    }

    fn copy(&self, flake: &Path, what: &str, cache: Option<&Path>) -> Result<PathBuf, Complaint> {
        let mut command = Command::new(&self.program);
        command.arg("flake").arg(what).arg("--json");
        self.settings(&mut command);
        if let Some(cache) = cache {
            keep_cache_in(&mut command, cache);
        }
        command.arg(installable(flake, ""));
        let output = interrupt::output(&mut command).map_err(|error| Complaint(error.to_string()))?;
        if !output.status.success() {
            return Err(complaint(&String::from_utf8_lossy(&output.stderr)));
        }
        let copied: Copied = serde_json::from_slice(&output.stdout)
            .map_err(|error| Complaint(format!("`nix flake {what}`: {error}")))?;
        Ok(copied.path)
    }

    /// Applies `function` to an output of a flake.
    ///
    /// A leading dot keeps Nix from looking for the output in `packages` first, which would read what no host needs; Nix 2.8
    /// does not know it.
    pub(super) fn evaluate(
        &self,
        copy: &StoreCopy,
        output: &str,
        function: &str,
        watch: Watch,
    ) -> Result<Evaluated, Failure> {
        if self.knows_the_dot.load(Ordering::Relaxed) {
            let evaluated = self.evaluate_at(copy, &format!(".{output}"), function, watch)?;
            let unknown = |complaint: &Complaint| complaint.0.contains(&format!("..{output}"));
            if !evaluated.outcome.as_ref().is_err_and(unknown) {
                return Ok(evaluated);
            }
            self.knows_the_dot.store(false, Ordering::Relaxed);
        }
        self.evaluate_at(copy, output, function, watch)
    }

    fn evaluate_at(&self, copy: &StoreCopy, output: &str, function: &str, watch: Watch) -> Result<Evaluated, Failure> {
        let own = TempDir::new_in(self.scratch.path()).map_err(Failure::scratch)?;
        let (seen, said) = (own.path().join("trace"), own.path().join("log"));
        copy.lend_cache(&own.path().join("cache")).map_err(Failure::scratch)?;
        let mut command = match watch {
            Watch::No => Command::new(&self.program),
            Watch::Yes => {
                let mut strace = Command::new("strace");
                strace.args(["-f", "--seccomp-bpf", "-y", "-s", trace::SHOWN_BYTES, "-e", trace::CALLS]);
                strace.args(["-e", "signal=none", "-o"]).arg(&seen).arg("--").arg(&self.program);
                strace
            }
        };
        command.args(["eval", "-vv", "--json"]);
        self.settings(&mut command);
        command.arg(installable(&copy.path, output)).arg("--apply").arg(function);
        keep_cache_in(&mut command, &own.path().join("cache"));
        command.stderr(File::create(&said).map_err(Failure::scratch)?);
        let output = interrupt::output(&mut command).map_err(|error| cannot_start(&error))?;
        let outcome = if output.status.success() {
            Ok(serde_json::from_slice(&output.stdout).map_err(Failure::other)?)
        } else {
            Err(complaint(&String::from_utf8_lossy(&std::fs::read(&said).map_err(Failure::scratch)?)))
        };
        let trace = match watch {
            Watch::No => Trace::default(),
            Watch::Yes => {
                let read = |file| trace::read(BufReader::new(file), &copy.path);
                File::open(&seen)
                    .and_then(read)
                    .map_err(|error| Failure::scratch(format!("strace did not write down all that Nix did: {error}")))?
            }
        };
        Ok(Evaluated { outcome, trace })
    }

    /// Everything that building `derivation` takes, itself among it, as the store holds it: derivations and sources.
    pub(super) fn closure(&self, derivation: &str) -> Result<Vec<PathBuf>, Failure> {
        let mut command = Command::new(&self.program);
        command.args(["--extra-experimental-features", "nix-command", "path-info", "--derivation", "--recursive"]);
        command.arg(derivation).stdin(Stdio::null()).stderr(Stdio::piped());
        let output = interrupt::output(&mut command).map_err(|error| cannot_start(&error))?;
        if !output.status.success() {
            let words = words::printable_lines(&String::from_utf8_lossy(&output.stderr));
            let reason = format!("Nix does not say what building `{derivation}` takes: {words}");
            return Err(Failure::new(Exit::Flake, reason));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect())
    }
}

/// What a Nix calls itself; none where the chosen one is that on the PATH, and there is none that works.
fn version_of(program: &Path, choice: &NixChoice) -> Result<Option<String>, Failure> {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stderr(Stdio::piped());
    let output = match interrupt::output(&mut command) {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound && *choice == NixChoice::Path => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("cannot run `{}`: {error}", program.display()))),
    };
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
    }
    let ended = format!("`{} --version` ended with {}", program.display(), output.status);
    if *choice != NixChoice::Path {
        return Err(Failure::usage(ended));
    }
    voice::warn(format_args!("the Nix on the PATH does not work: {ended}"));
    Ok(None)
}

/// What a Nix's settings, wherever they come from, say of where and how it evaluates.
fn settings_of(program: &Path) -> Result<String, Failure> {
    let mut refusals = Vec::new();
    // Before Nix 2.20, the command has one word.
    for name in [&["config", "show"][..], &["show-config"]] {
        let mut command = Command::new(program);
        command.args(["--extra-experimental-features", "nix-command flakes"]).args(name).arg("--json");
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let output = interrupt::output(&mut command).map_err(|error| cannot_start(&error))?;
        if output.status.success() {
            let all: BTreeMap<String, Value> = serde_json::from_slice(&output.stdout).map_err(Failure::other)?;
            let told = DECIDING.map(|setting| all.get(setting).map(|told| told["value"].to_string()));
            return Ok(format!("{:?} {told:?}", std::env::var_os("NIX_STORE_DIR")));
        }
        refusals.push(complaint(&String::from_utf8_lossy(&output.stderr)).0);
    }
    Err(Failure::new(Exit::Flake, format!("Nix does not tell its settings: {}", refusals.join("\n"))))
}

fn cannot_start(error: &io::Error) -> Failure {
    Failure::new(Exit::Flake, format!("cannot start Nix: {error}"))
}

/// Nix 2.34 prefers a variable of its own, and puts the cache itself there.
fn keep_cache_in(command: &mut Command, directory: &Path) {
    command.env("XDG_CACHE_HOME", directory).env("NIX_CACHE_HOME", directory.join("nix"));
}

fn installable(flake: &Path, output: &str) -> String {
    let hash = if output.is_empty() { "" } else { "#" };
    format!("path:{}{hash}{output}", flake.display())
}

/// The error in what Nix said, without what came before it: newer versions first tell how they got there.
fn complaint(words: &str) -> Complaint {
    let begin = words.find("\nerror:").map_or(0, |at| at + 1);
    let begin = words[begin..].rfind("\n       error:").map_or(begin, |at| begin + at + 1);
    let words = words::printable_lines(words[begin..].trim());
    let words = words.trim_end_matches(SHOW_TRACE).trim_end().to_owned();
    if words.len() <= COMPLAINT_BYTES {
        return Complaint(words);
    }
    let end = words.floor_char_boundary(COMPLAINT_BYTES);
    Complaint(format!("{} …", &words[..end]))
}
