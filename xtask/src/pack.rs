//! `cargo xtask bench pack`: packing what hosts need out of a repository that holds much more.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use npc_tests::parts::Nix;

use crate::Outcome;
use crate::shell::{announce, build_programs};
use crate::tools::{is_ci, on_path};

/// How many hosts the flake has.
const HOSTS: usize = 50;

/// Modules that every host reads.
const SHARED: usize = 250;

/// Files that a host reads alone, beside its own module.
const OWN: usize = 48;

/// The length of a file that no host needs, in bytes: 100,000 of them are a gigabyte.
const FILLER_BYTES: usize = 10_000;

/// How often what can be repeated is measured.
const REPEATS: usize = 5;

/// What CI lets a publish with nothing to do take: a second is enough for it where nothing else runs.
const WARM_IN_CI: Duration = Duration::from_secs(3);

/// What npc itself may take of memory, in kilobytes.
const PEAK: u64 = 100_000;

/// What one run took.
#[derive(Debug)]
struct Run {
    seconds: f64,
    peak: u64,
    evaluated: u64,
    bytes: u64,
}

pub(crate) fn pack(files: usize) -> Outcome {
    announce("building npc-publish, optimised");
    let program = build_programs("release")?.join("npc-publish");
    let nix = on_path("nix").and_then(|path| Some(Nix { programs: path.parent()?.to_owned() }));
    let nix = nix.ok_or("there is no Nix")?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    announce(&format!("a repository of {files} files that nobody needs, and {HOSTS} hosts"));
    let repository = Repository::generate(folder.path(), files).map_err(|error| error.to_string())?;
    let bench = Bench { program, nix, folder: folder.path().to_owned(), repository: repository.root.clone() };
    bench.prepare().map_err(|error| error.to_string())?;
    println!("| publishing out of {files} files | wall time | peak memory of npc | evaluated | archive |");
    println!("|---|---|---|---|---|");
    let cold = bench.show("for the first time", &[])?;
    let warm = bench.show_fastest("again, nothing changed")?;
    repository.touch("filler/0/0", "something that no host reads")?;
    let unread = bench.show_fastest("after a change that no host reads")?;
    repository.touch("hosts/h7.nix", "{ changed = true; }")?;
    let one = bench.show("after a change to one host", &[])?;
    let only = bench.show("for one host of them, for the first time", &["--configuration", "h3"])?;
    for (name, script) in [
        ("git archive, gzip -9", "git archive HEAD | gzip -9 | wc -c"),
        ("tar, zstd", "tar -c --exclude .git . | zstd -q | wc -c"),
    ] {
        let begun = Instant::now();
        let output = Command::new("sh").args(["-c", script]).current_dir(&repository.root).output();
        let output = output.map_err(|error| error.to_string())?;
        let bytes = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
        println!("| {name}, everything | {:.2} s | - | - | {} |", begun.elapsed().as_secs_f64(), size(bytes));
    }
    let (read, packed) = bench.files_read()?;
    println!("\nTo pack {packed} files for {HOSTS} hosts, knowing nothing, npc opens {read} files of the repository.");
    if is_ci() {
        check(&cold, &warm, &unread, &one)?;
        // Beside the files themselves: npc.toml, and the lock file that is looked for.
        if only.evaluated > 1 || read > packed + 2 {
            return Err(format!("packing {packed} files read {read}; for one host, {} were evaluated", only.evaluated));
        }
    }
    Ok(())
}

fn check(cold: &Run, warm: &Run, unread: &Run, one: &Run) -> Outcome {
    let slow = [warm, unread].into_iter().any(|run| run.seconds > WARM_IN_CI.as_secs_f64());
    let counts = [cold, warm, unread, one].map(|run| run.evaluated);
    let heavy = [cold, warm, unread, one].into_iter().any(|run| run.peak > PEAK);
    if slow || heavy || counts != [HOSTS as u64, 0, 0, 1] {
        return Err(format!("packing takes more than it may: {cold:?} {warm:?} {unread:?} {one:?}"));
    }
    Ok(())
}

/// Bytes that do not compress (xorshift64*, Vigna 2016).
fn filler(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(FILLER_BYTES + 8);
    while bytes.len() < FILLER_BYTES {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(FILLER_BYTES);
    bytes
}

/// A git repository in which hosts need little.
struct Repository {
    root: PathBuf,
}

impl Repository {
    fn generate(folder: &Path, files: usize) -> std::io::Result<Self> {
        let root = folder.join("repository");
        let write = |path: String, content: &[u8]| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a parent"))?;
            fs::write(path, content)
        };
        for number in 0..files {
            write(format!("filler/{}/{number}", number / 500), &filler(number as u64))?;
        }
        for number in 0..SHARED {
            write(format!("modules/m{number}.nix"), format!("{{ option{number} = {number}; }}").as_bytes())?;
        }
        let mut hosts = Vec::new();
        for host in 0..HOSTS {
            hosts.push(format!("h{host} = host \"h{host}\" ./hosts/h{host}.nix ./own/h{host};"));
            write(format!("hosts/h{host}.nix"), b"{ }")?;
            for number in 0..OWN {
                write(format!("own/h{host}/{number}.txt"), format!("{host} {number}").as_bytes())?;
            }
        }
        let shared: Vec<_> = (0..SHARED).map(|number| format!("./modules/m{number}.nix")).collect();
        let (shared, hosts) = (shared.join("\n"), hosts.join("\n"));
        let flake = format!(
            "{{ outputs = {{ self }}: let\n\
             shared = map import [\n{shared}\n];\n\
             host = name: module: own: {{ config.system.build.toplevel = derivation {{\n\
             inherit name; system = \"x86_64-linux\"; builder = \"/bin/sh\";\n\
             value = builtins.toJSON [ shared (import module)\n\
             (map (file: builtins.readFile (own + \"/${{file}}\")) (builtins.attrNames (builtins.readDir own))) ];\n\
             }}; }};\nin {{ nixosConfigurations = {{\n{hosts}\n}}; }}; }}\n"
        );
        write("flake.nix".to_owned(), flake.as_bytes())?;
        let repository = Self { root };
        for arguments in [
            &["init", "-q"][..],
            &["add", "."],
            &["-c", "user.name=Bench", "-c", "user.email=bench@example.org", "commit", "-qm", "all"],
        ] {
            let mut git = Command::new("git");
            git.args(["-c", "core.compression=0", "-c", "core.fsync=none"]).args(arguments);
            git.current_dir(&repository.root).env("GIT_CONFIG_GLOBAL", "/dev/null");
            if !git.status()?.success() {
                return Err(std::io::Error::other("git failed"));
            }
        }
        Ok(repository)
    }

    fn touch(&self, path: &str, content: &str) -> Outcome {
        fs::write(self.root.join(path), content).map_err(|error| error.to_string())
    }
}

struct Bench {
    program: PathBuf,
    nix: Nix,
    folder: PathBuf,
    repository: PathBuf,
}

impl Bench {
    fn prepare(&self) -> std::io::Result<()> {
        for name in ["home", "store", "nix/conf"] {
            fs::create_dir_all(self.folder.join(name))?;
        }
        let settings = "sandbox = false\nbuild-users-group =\nsubstituters =\n";
        fs::write(self.folder.join("nix/conf/nix.conf"), settings)?;
        let store = format!("file://{}", self.folder.join("store").display());
        let mut init = self.command(&self.program);
        init.args(["init", "--store", &store]).stdout(Stdio::null()).stderr(Stdio::null());
        if init.status()?.success() { Ok(()) } else { Err(std::io::Error::other("init failed")) }
    }

    fn command(&self, program: &Path) -> Command {
        let path = |name: &str| self.folder.join(name);
        let mut command = Command::new(program);
        command.current_dir(&self.repository).env("HOME", path("home")).env_remove("XDG_CACHE_HOME");
        command
            .env("NPC_NIX", self.nix.program())
            .env("NIX_STORE_DIR", path("nix/store"))
            .env("NIX_STATE_DIR", path("nix/state"))
            .env("NIX_LOG_DIR", path("nix/log"))
            .env("NIX_CONF_DIR", path("nix/conf"))
            .env("NIX_REMOTE", "");
        command
    }

    fn show(&self, name: &str, more: &[&str]) -> Result<Run, String> {
        Ok(Self::tell(name, self.publish(more)?))
    }

    /// What changes nothing can be repeated: the fastest tells least of what else the machine does.
    fn show_fastest(&self, name: &str) -> Result<Run, String> {
        let mut runs = (0..REPEATS).map(|_| self.publish(&[])).collect::<Result<Vec<_>, _>>()?;
        runs.sort_by(|one, two| one.seconds.total_cmp(&two.seconds));
        Ok(Self::tell(name, runs.swap_remove(0)))
    }

    fn tell(name: &str, run: Run) -> Run {
        println!(
            "| npc-publish, {name} | {:.2} s | {:.0} MB | {} of {HOSTS} | {} |",
            run.seconds,
            f64::from(u32::try_from(run.peak).unwrap_or(u32::MAX)) / 1000.0,
            run.evaluated,
            size(run.bytes)
        );
        run
    }

    /// Publishes, watching how much memory the program itself takes, once the disk has written what came before.
    fn publish(&self, more: &[&str]) -> Result<Run, String> {
        rustix::fs::sync();
        let mut command = self.command(&self.program);
        command.args(["--remote", "prod", "--json"]).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let status = PathBuf::from(format!("/proc/{}/status", child.id()));
        let mut peak = 0;
        while child.try_wait().map_err(|error| error.to_string())?.is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let now = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
            peak = peak.max(now);
            std::thread::sleep(Duration::from_millis(2));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let number = |pointer: &str| json.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(u64::MAX);
        Ok(Run { seconds, peak, evaluated: number("/evaluated"), bytes: number("/archive/size") })
    }

    /// How many of the repository's files packing for all hosts opens, knowing nothing, and how many it packs.
    fn files_read(&self) -> Result<(usize, usize), String> {
        let trace = self.folder.join("trace");
        fs::remove_dir_all(self.folder.join("home/.cache")).map_err(|error| error.to_string())?;
        let mut strace = self.command(Path::new("strace"));
        // Without `-f`: npc reads files in its main thread, and what it starts is watched by itself.
        strace.args(["-e", "trace=openat", "-o"]).arg(&trace).arg(&self.program);
        let output = strace.args(["pack", "--list", "--json"]).stderr(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        let listed: Vec<serde_json::Value> =
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
        let packed = listed.iter().filter(|entry| entry["keep"] == "content").count();
        let text = fs::read_to_string(&trace).map_err(|error| error.to_string())?;
        let prefix = format!("\"{}/", self.repository.display());
        let opened = text.lines().filter_map(|line| {
            let at = line.find(&prefix)? + prefix.len();
            let path = line[at..].split('"').next()?;
            (!path.starts_with(".git") && !line.contains("O_DIRECTORY") && !line.contains("ENOENT")).then_some(path)
        });
        Ok((opened.collect::<std::collections::BTreeSet<_>>().len(), packed))
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000_000 => format!("{:.1} kB", f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1e3),
        _ => format!("{:.1} MB", f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1e3),
    }
}
