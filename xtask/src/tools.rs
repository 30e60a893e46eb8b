//! What tests and benchmarks need beyond Rust: found, or installed where that can be done.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use npc_core::digest::Digest;

use crate::Outcome;
use crate::shell::{announce, cargo, command, root, run};

/// The Garage that stores are tested against.
const GARAGE_VERSION: &str = "2.5.0";

/// The moto that enforces the policies for S3.
const MOTO_VERSION: &str = "5.2.5";

/// The cargo-deny that checks licences and advisories.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// The Debian suites whose Nix is newer: 2.26 and, in 2026, 2.34. Evaluation reads files in another way in each.
const NEWER_SUITES: [&str; 2] = ["trixie", "forky"];

/// Debian's packages of what tests run: Nix, strace, git, a C compiler for what cargo installs, Python for moto and the AWS CLI,
/// and what makes and boots hosts.
const PACKAGES: [(&str, &str); 12] = [
    ("nix", "nix-bin"),
    ("strace", "strace"),
    ("git", "git"),
    ("gcc", "build-essential"),
    ("shellcheck", "shellcheck"),
    ("curl", "curl"),
    ("zstd", "zstd"),
    ("python3", "python3-venv"),
    ("unshare", "util-linux"),
    ("systemd-nspawn", "systemd-container"),
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
];

/// The tools that are there.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// The program.
    pub(crate) garage: Option<PathBuf>,
    /// The program of moto's server.
    pub(crate) moto: Option<PathBuf>,
    /// The directories above `bin/nix`, older versions first.
    pub(crate) newer_nix: Vec<PathBuf>,
    /// The root file system that test hosts have in common.
    pub(crate) host_base: Option<PathBuf>,
    /// The program.
    pub(crate) cargo_deny: Option<PathBuf>,
    /// What could not be had, and why.
    pub(crate) missing: Vec<String>,
}

/// Whether a missing part is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Where tools are kept from one run to the next, by name and version.
fn cache() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = cache.or_else(home).ok_or("there is no HOME to keep tools in")?.join("npc");
    fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    Ok(cache)
}

/// A program on the PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Provides everything that the tests need, as far as this machine allows.
pub(crate) fn provide() -> Result<Tools, String> {
    let mut tools = Tools::default();
    install_packages(&mut tools.missing);
    tools.garage =
        cargo_tool("garage", GARAGE_VERSION, &["--no-default-features", "--features", "bundled-libs,sqlite"])
            .map_err(|reason| tools.missing.push(reason))
            .ok();
    tools.cargo_deny =
        cargo_tool("cargo-deny", CARGO_DENY_VERSION, &[]).map_err(|reason| tools.missing.push(reason)).ok();
    tools.moto = moto().map_err(|reason| tools.missing.push(reason)).ok();
    for suite in NEWER_SUITES {
        tools.newer_nix.extend(newer_nix(suite).map_err(|reason| tools.missing.push(reason)).ok());
    }
    tools.host_base = host_base().map_err(|reason| tools.missing.push(reason)).ok();
    if on_path("terraform").is_none() {
        tools
            .missing
            .push("`terraform`, 1.11 or newer, which is in none of the places that tools are taken from".to_owned());
    }
    if is_ci() && !tools.missing.is_empty() {
        return Err(format!("with CI=true everything must be there:\n  {}", tools.missing.join("\n  ")));
    }
    Ok(tools)
}

/// The Garage alone.
pub(crate) fn garage() -> Result<PathBuf, String> {
    cargo_tool("garage", GARAGE_VERSION, &["--no-default-features", "--features", "bundled-libs,sqlite"])
}

/// The AWS CLI.
pub(crate) fn aws_cli() -> Result<PathBuf, String> {
    python_tool("awscli", "awscli", "aws")
}

/// The program of moto's server, as far as S3, IAM and STS go.
fn moto() -> Result<PathBuf, String> {
    let requirement = format!("moto[s3,iam,sts,server]=={MOTO_VERSION}");
    python_tool(&format!("moto-{MOTO_VERSION}"), &requirement, "moto_server")
}

/// Installs a program from `PyPI` into the cache, once, in a Python environment of its own.
fn python_tool(name: &str, requirement: &str, program: &str) -> Result<PathBuf, String> {
    let place = cache()?.join(name);
    let program = place.join("bin").join(program);
    let complete = place.join("complete");
    if complete.is_file() {
        return Ok(program);
    }
    announce(&format!("installing {requirement} from PyPI, once"));
    let environment = || run(command("python3", &["-m", "venv", "--clear", &place.to_string_lossy()]));
    let made = environment().or_else(|reason| {
        if !is_root() || on_path("apt-get").is_none() {
            return Err(reason);
        }
        // Debian has what makes environments in a package of its own, which a Python on the PATH says nothing of.
        install(&["python3-venv"])?;
        environment()
    });
    let pip = place.join("bin/pip");
    made.and_then(|()| run(command(&pip.to_string_lossy(), &["install", "--quiet", requirement])))
        .and_then(|()| fs::write(&complete, "").map_err(|error| error.to_string()))
        .map_err(|reason| format!("{name}: {reason}"))?;
    Ok(program)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn install_packages(missing: &mut Vec<String>) {
    let wanted: Vec<_> = PACKAGES.iter().filter(|(program, _)| on_path(program).is_none()).collect();
    if wanted.is_empty() {
        return;
    }
    let packages: Vec<_> = wanted.iter().map(|(_, package)| *package).collect();
    if is_root() && on_path("apt-get").is_some() {
        announce(&format!("installing {}", packages.join(", ")));
        missing.extend(install(&packages).err());
    }
    let absent = wanted.iter().filter(|(program, _)| on_path(program).is_none());
    missing.extend(absent.map(|(program, package)| format!("`{program}`, of the package {package}")));
}

/// Installs Debian's packages.
fn install(packages: &[&str]) -> Outcome {
    let mut install = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    install.extend(packages);
    // What the lists on the machine say may do, where they cannot be had anew.
    let apt = |arguments: &[&str]| {
        let mut apt = command("apt-get", arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
        run(apt)
    };
    let updated = apt(&["update", "--quiet"]);
    apt(&install).map_err(|reason| updated.err().unwrap_or(reason))
}

/// Installs a program from crates.io into the cache, once per version.
fn cargo_tool(name: &str, version: &str, options: &[&str]) -> Result<PathBuf, String> {
    let place = cache()?.join(format!("{name}-{version}"));
    let program = place.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    announce(&format!("building {name} {version}, once; this takes minutes"));
    let build = tempfile::tempdir().map_err(|error| error.to_string())?;
    let install = |locked: &[&str]| {
        let mut install = command(&cargo(), &["install", name, "--version", version, "--quiet"]);
        install.args(locked).args(options).arg("--root").arg(&place).env("CARGO_TARGET_DIR", build.path());
        // What cargo sets for this workspace must not reach another package's build.
        install.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").stdout(std::io::stderr());
        run(install)
    };
    // The versions that its authors locked may have been withdrawn since.
    install(&["--locked"]).or_else(|_| install(&[])).map_err(|reason| format!("{name} {version}: {reason}"))?;
    Ok(program)
}

/// A Nix of a later Debian, unpacked beside the system.
fn newer_nix(suite: &str) -> Result<PathBuf, String> {
    let place = cache()?.join(format!("nix-{suite}"));
    if place.join("bin/nix").is_file() {
        return Ok(place);
    }
    if on_path("apt-get").is_none() {
        return Err("a newer Nix: it is taken from Debian, and there is no apt-get".to_owned());
    }
    announce(&format!("unpacking a newer Nix from Debian {suite}, once"));
    from_debian("newer-nix.sh", &place, &[suite]).map_err(|reason| format!("a newer Nix: {reason}"))?;
    Ok(place)
}

/// A Debian with systemd and Nix, named after the script that makes it: another one makes another.
fn host_base() -> Result<PathBuf, String> {
    const SCRIPT: &str = "host-base.sh";
    let script = fs::read(root().join("tests/tools").join(SCRIPT)).map_err(|error| format!("{SCRIPT}: {error}"))?;
    let place = cache()?.join(format!("host-base-{}-{}", debian_version()?, Digest::of(&script).short()));
    if place.is_dir() {
        return Ok(place);
    }
    announce("making the base for test hosts with debootstrap, once; this takes a minute");
    from_debian(SCRIPT, &place, &[]).map_err(|reason| format!("a base for test hosts: {reason}"))?;
    Ok(place)
}

/// The version of the Debian that runs here.
fn debian_version() -> Result<String, String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let version = field("VERSION_ID").filter(|_| field("ID") == Some("debian"));
    let version = version.ok_or("a base for test hosts: it is taken from Debian, which this machine does not run")?;
    Ok(version.trim_matches('"').to_owned())
}

/// Runs a script of `tests/tools` that makes `place` out of packages from the machine's mirror.
fn from_debian(script: &str, place: &Path, arguments: &[&str]) -> Result<(), String> {
    let make = || {
        let mut command = Command::new("sh");
        command.arg(root().join("tests/tools").join(script)).arg(place).args(arguments).stdout(std::io::stderr());
        run(command)
    };
    if make().is_ok() {
        return Ok(());
    }
    if is_root() {
        // It reads the mirror's address off the package lists, which a fresh machine may lack.
        run(command("apt-get", &["update", "--quiet"]))?;
    }
    make()
}
