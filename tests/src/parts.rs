//! The real parts, as far as they are on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use npc_core::store::StoreUrl;

/// Where the built programs lie.
pub const PROGRAMS: &str = "NPC_TEST_PROGRAMS";

/// The address of a running Garage.
pub const GARAGE: &str = "NPC_TEST_GARAGE";

/// The program of moto's server.
pub const MOTO: &str = "NPC_TEST_MOTO";

/// The directories of newer versions of Nix, with `bin/nix` below, separated as in a PATH.
pub const NEWER_NIX: &str = "NPC_TEST_NEWER_NIX";

/// The root file system that test hosts have in common.
pub const HOST_BASE: &str = "NPC_TEST_HOST_BASE";

/// The directory `lib` of nixpkgs, which is too large to be fetched for tests.
pub const NIXPKGS_LIB: &str = "NIXPKGS_LIB";

/// The file that names every skipped test and the part that it misses, as `test: part`.
pub const SKIPPED: &str = "NPC_TEST_SKIPPED";

/// What Garage is started with: nothing secret, as it only ever listens on loopback.
pub const ACCESS_KEY: &str = "GK31c2f218a2e44f485b94239e";

/// Likewise.
pub const SECRET_KEY: &str = "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835";

/// The bucket in it.
pub const BUCKET: &str = "my-bucket";

/// The region that it says it is in.
pub const REGION: &str = "eu-central-1";

/// Says loudly that a test skips for want of `part`; with `CI=true`, fails it.
pub fn missing<T>(part: &str) -> Option<T> {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "{part} is missing; `cargo xtask test` provides it");
    eprintln!("SKIPPED: {part} is missing; `cargo xtask test` provides it");
    note_skipped(part)
}

/// Says loudly that a test skips for want of `part`, which nobody can install for it, so that not even CI has to have it.
pub fn not_to_be_had<T>(part: &str) -> Option<T> {
    eprintln!("SKIPPED: {part} is missing, and `cargo xtask test` cannot provide it");
    note_skipped(part)
}

fn note_skipped<T>(part: &str) -> Option<T> {
    // The test runner swallows what a passing test says; `cargo xtask test` tells it at the end.
    if let Some(file) = std::env::var_os(SKIPPED) {
        let file = fs::File::options().create(true).append(true).open(file);
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        std::io::Write::write_all(&mut file.expect("a file"), format!("{test}: {part}\n").as_bytes()).expect("written");
    }
    None
}

/// Where cargo puts programs: beside xtask, and above the tests.
fn beside_this_one() -> PathBuf {
    let this = std::env::current_exe().expect("a program has a path");
    let directory = this.parent().expect("a program lies in a directory");
    if directory.ends_with("deps") { directory.join("..") } else { directory.to_owned() }
}

/// A built program of this workspace.
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os(PROGRAMS).map_or_else(beside_this_one, PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is not built; run `cargo build --workspace` first", path.display());
    path
}

/// A Garage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garage {
    endpoint: String,
}

impl Garage {
    /// The Garage that runs, or a loud skip.
    pub fn find() -> Option<Self> {
        match std::env::var(GARAGE) {
            Ok(endpoint) => Some(Self { endpoint }),
            Err(_) => missing("Garage"),
        }
    }

    /// The Garage at this address.
    pub fn at(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned() }
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A place in its bucket.
    pub fn url(&self, prefix: &str) -> StoreUrl {
        Self::url_at(&self.endpoint, prefix)
    }

    /// A place in the bucket, by way of another address.
    pub fn url_at(endpoint: &str, prefix: &str) -> StoreUrl {
        format!("s3://{BUCKET}/{prefix}?region={REGION}&endpoint={endpoint}").parse().expect("an address")
    }
}

/// A Nix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nix {
    /// The directory of its programs.
    pub programs: PathBuf,
}

impl Nix {
    /// The machine's own Nix, or a loud skip.
    pub fn find() -> Option<Self> {
        let found = std::env::var_os("PATH")
            .and_then(|path| std::env::split_paths(&path).find(|directory| works(&directory.join("nix"))));
        found.map(|programs| Self { programs }).or_else(|| missing("Nix"))
    }

    /// A newer Nix, or a loud skip.
    pub fn find_newer() -> Option<Self> {
        Self::newer().into_iter().next().or_else(|| missing("a newer Nix"))
    }

    /// Every Nix at hand, or a loud skip.
    pub fn all() -> Option<Vec<Self>> {
        let newer = Self::newer();
        if newer.is_empty() {
            return missing("a newer Nix");
        }
        Some(Self::find().into_iter().chain(newer).collect())
    }

    fn newer() -> Vec<Self> {
        let places = std::env::var_os(NEWER_NIX).unwrap_or_default();
        let programs = std::env::split_paths(&places).map(|place| place.join("bin"));
        programs.filter(|programs| works(&programs.join("nix"))).map(|programs| Self { programs }).collect()
    }

    /// Its `nix-instantiate`, with a store and settings of its own below `folder`.
    pub fn instantiate(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.programs.join("nix-instantiate"));
        for name in ["STORE", "STATE", "LOG", "CONF"] {
            command.env(format!("NIX_{name}_DIR"), folder.join(name));
        }
        command.env("NIX_REMOTE", "").env("HOME", folder);
        command
    }

    /// Has a command find it first on its path, with a store and settings of its own below `folder`, in which anything may be built.
    pub fn with_store(&self, command: &mut Command, folder: &Path) {
        for name in ["state/profiles", "conf"] {
            fs::create_dir_all(folder.join(name)).expect("created");
        }
        // Two builds of the same thing at once: the second looks again every second, not every five.
        let settings = "sandbox = false\nbuild-users-group =\nsubstituters =\nbuild-poll-interval = 1\n";
        fs::write(folder.join("conf/nix.conf"), settings).expect("written");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).expect("a path")).env("NIX_REMOTE", "");
        for (variable, name) in [("STORE", "store"), ("STATE", "state"), ("LOG", "log"), ("CONF", "conf")] {
            command.env(format!("NIX_{variable}_DIR"), folder.join(name));
        }
    }

    /// The program itself.
    pub fn program(&self) -> PathBuf {
        self.programs.join("nix")
    }
}

/// The directory `lib` of nixpkgs, or a loud skip. A directory that holds something else is a mistake.
pub fn nixpkgs_lib() -> Option<PathBuf> {
    let Some(directory) = std::env::var_os(NIXPKGS_LIB).map(PathBuf::from) else {
        return not_to_be_had("nixpkgs' lib, which NIXPKGS_LIB names,");
    };
    assert!(
        directory.join("modules.nix").is_file(),
        "{NIXPKGS_LIB} names no `lib` of nixpkgs: {}",
        directory.display()
    );
    Some(directory)
}

/// What a test host is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBase {
    /// The root file system that hosts have in common: a Debian with systemd and Nix.
    pub root: PathBuf,
}

impl HostBase {
    /// The base, and what it takes to boot it, or a loud skip.
    pub fn find() -> Option<Self> {
        let Some(root) = std::env::var_os(HOST_BASE).map(PathBuf::from) else {
            return missing("a base for test hosts");
        };
        if !rustix::process::geteuid().is_root() {
            return missing("root, which test hosts take,");
        }
        for program in ["systemd-nspawn", "unshare", "nsenter", "setpriv"] {
            tool(program)?;
        }
        Some(Self { root })
    }
}

fn works(nix: &Path) -> bool {
    let mut command = Command::new(nix);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    nix.is_file() && command.status().is_ok_and(|status| status.success())
}

/// A program of the machine's, or a loud skip.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .or_else(|| missing(name))
}
