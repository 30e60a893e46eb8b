//! The script that turns a bare machine into a host, in file systems of its own: run by the shells that machines have.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use npc_core::digest::Digest;
use npc_tests::eventually;
use npc_tests::parts::{Garage, missing, not_to_be_had, program, tool};
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Kind, TOKEN, World};
use serde_json::Value;
use tempfile::TempDir;

/// Puts directories of a machine's own where the script and the agent write, and runs a program there. All that it starts ends with it.
const ON_MACHINE: &str = "mount --bind \"$1/lib\" /var/lib && mount --bind \"$1/etc\" /etc/systemd && \
                          mount --bind \"$1/run\" /run && shift && exec \"$@\"";

/// Likewise, on a disk that holds no agent.
const ON_SMALL_MACHINE: &str = "mount -t tmpfs -o size=1m tmpfs /var/lib && mount --bind \"$1/etc\" /etc/systemd && \
                                mount --bind \"$1/run\" /run && shift && exec \"$@\"";

/// Likewise, beside a metadata service that answers with `$INSTANCE` as EC2's does, version 2 alone.
const ON_INSTANCE: &str = "ip link set lo up && ip address add 169.254.169.254/32 dev lo && \
                           python3 -c \"$METADATA\" & until curl --silent --output /dev/null http://169.254.169.254/; do sleep 0.1; done; \
                           mount --bind \"$1/lib\" /var/lib && mount --bind \"$1/etc\" /etc/systemd && \
                           mount --bind \"$1/run\" /run && shift && exec \"$@\"";

const METADATA: &str = r#"
import http.server, os
class Metadata(http.server.BaseHTTPRequestHandler):
    def answer(self, code, text):
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def do_PUT(self):
        is_right = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self.answer(200 if is_right else 400, "a-session")
    def do_GET(self):
        if self.headers["X-aws-ec2-metadata-token"] != "a-session":
            return self.answer(401, "")
        self.answer(200 if self.path == "/latest/meta-data/instance-id" else 404, os.environ["INSTANCE"])
    def log_message(self, *_):
        pass
http.server.HTTPServer(("169.254.169.254", 80), Metadata).serve_forever()
"#;

const SHELLS: [&str; 2] = ["dash", "bash"];

/// A machine that nobody has enrolled.
struct Machine {
    folder: TempDir,
}

impl Machine {
    /// A new machine, or a loud skip.
    fn find() -> Option<Self> {
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

    fn command_on(&self, mounts: &str, shell: &str, script: &str) -> Command {
        let path = self.folder.path().join("script");
        fs::write(&path, script).expect("written");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", mounts, "sh"]);
        command.arg(self.folder.path()).arg(shell).arg(path);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "http_proxy", "JOURNAL_STREAM"]
        {
            command.env_remove(name);
        }
        command
    }

    fn command(&self, shell: &str, script: &str) -> Command {
        self.command_on(ON_MACHINE, shell, script)
    }

    fn run(&self, shell: &str, script: &str) -> Ended {
        Ended::of(&mut self.command(shell, script))
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("lib/npc-agent")
    }

    fn is_enrolled(&self) -> bool {
        let enrolment = fs::read_to_string(self.state().join("enrolment.toml")).unwrap_or_default();
        let unit = self.folder.path().join("etc/system.attached/npc-agent-bootstrap.service");
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
}

fn agent() -> PathBuf {
    program("npc-agent")
}

fn digest() -> Digest {
    Digest::of(&fs::read(agent()).expect("the agent"))
}

/// The script for `web-1`, with the agent in the store.
fn script(world: &World, more: &[&str]) -> String {
    world.publish();
    let machine = format!("{}={}", std::env::consts::ARCH, agent().display());
    let told = ["bootstrap", "--host", "web-1", "--remote", "prod", "--configuration", "web-1", "--upload", "--agent"];
    let told: Vec<_> = told.into_iter().chain([machine.as_str()]).chain(more.iter().copied()).collect();
    world.in_fleet(&told).works()
}

const ONCE: [&str; 2] = ["--patience", "0"];

#[test]
fn a_machine_is_enrolled_once_and_left_alone_from_then_on() {
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Served);
        let script = script(&world, &ONCE);
        assert!(script.len() <= 16 * 1024 && !script.contains(TOKEN));
        let ended = machine.run(shell, &script);
        assert!(machine.is_enrolled(), "{ended:?}");
        ended.works();
        let enrolment = fs::read_to_string(machine.state().join("enrolment.toml")).expect("an enrolment");
        assert!(enrolment.contains("[minimum_serials]\nprod = 1"), "{enrolment}");
        drop(world);
        let again = machine.run(shell, &script);
        assert_eq!((again.code, again.words.as_str()), (Some(0), ""), "without a word, and without the store");
    }
}

#[test]
fn a_script_that_is_cut_off_after_any_line_does_nothing() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Directory);
    let script = script(&world, &ONCE);
    let lines: Vec<_> = script.split_inclusive('\n').collect();
    let whole = lines.iter().rposition(|line| line.trim() == "main").expect("the last line");
    for end in 0..whole {
        for shell in SHELLS {
            let _ = machine.run(shell, &lines[..end].concat());
            assert!(!machine.state().exists(), "{shell} after line {end}");
        }
    }
    machine.run("dash", &script).works();
    assert!(machine.is_enrolled());
}

#[test]
fn a_script_that_is_ended_at_any_moment_goes_on_when_it_is_run_again() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Directory);
    let script = script(&world, &ONCE);
    let begun = std::time::Instant::now();
    let other = Machine::find().expect("another one");
    other.run("dash", &script).works();
    let whole = begun.elapsed();
    for part in 1..12 {
        let log = machine.folder.path().join("log");
        let running = Background::start(&mut machine.command("dash", &script), &log);
        npc_tests::process::for_a_while(whole * part / 12);
        running.kill();
        // What is enrolled has all that it needs.
        machine.is_enrolled_or_not_at_all();
    }
    machine.run("dash", &script).works();
    assert!(machine.is_enrolled());
}

impl Machine {
    /// Has a command write down how it calls curl, in the file that is returned.
    fn logs_curl(&self, command: &mut Command) -> PathBuf {
        let (programs, log) = (self.folder.path().join("programs"), self.folder.path().join("curl.log"));
        fs::create_dir(&programs).expect("created");
        let curl = tool("curl").expect("it was there");
        let script = format!("#!/bin/sh\necho \"$*\" >> {}\nexec {} \"$@\"\n", log.display(), curl.display());
        npc_core::files::write_atomically(&programs.join("curl"), script.as_bytes(), 0o755).expect("written");
        let path = std::env::var("PATH").expect("a path");
        command.env("PATH", format!("{}:{path}", programs.display()));
        log
    }

    /// The unit and the agent are whole wherever there is an enrolment; what lies beside them is removed by the next run.
    fn is_enrolled_or_not_at_all(&self) {
        if self.state().join("enrolment.toml").exists() {
            let _ = fs::remove_file(self.state().join("bin/.tmp-agent"));
            assert!(self.is_enrolled());
        }
    }
}

#[test]
fn a_store_that_is_not_there_yet_is_waited_for() {
    let Some(machine) = Machine::find() else { return };
    let mut world = World::new(&Kind::Served);
    let script = script(&world, &[]);
    world.server().take().expect("a server").stop();
    let mut running = Background::start(&mut machine.command("dash", &script), &machine.folder.path().join("log"));
    eventually("it tries again", || running.words().contains("trying again in 2 s").then_some(()));
    assert!(!machine.is_enrolled());
    world.serve_again();
    assert!(running.wait().success(), "{}", running.words());
    assert!(machine.is_enrolled());
}

/// A way to a store that begins to answer late, and then brings so many bytes at a time.
fn slow_way(store: String, bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    // It ends with the process, as the store that it leads to does before.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(mut server) = TcpStream::connect(&store) else { continue };
            let (mut asks, mut asked) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            std::thread::spawn(move || io::copy(&mut asks, &mut asked));
            let mut client = client;
            std::thread::spawn(move || -> io::Result<()> {
                npc_tests::process::for_a_while(Duration::from_secs(3));
                let mut part = vec![0; bytes];
                loop {
                    let read = server.read(&mut part)?;
                    if read == 0 {
                        return client.shutdown(Shutdown::Write);
                    }
                    client.write_all(&part[..read])?;
                    npc_tests::process::for_a_while(Duration::from_millis(5));
                }
            });
        }
    });
    address
}

#[test]
fn a_slow_store_is_no_failure() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Served);
    let script = script(&world, &ONCE);
    let store = world.url().to_string();
    let address = store.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let slow = slow_way(address.clone(), 256 * 1024);
    let begun = std::time::Instant::now();
    machine.run("dash", &script.replace(&address, &slow)).works();
    assert!(machine.is_enrolled() && begun.elapsed() > Duration::from_secs(3));
}

/// A control group with a limit of memory, removed when dropped: of version 1 or 2, or a loud skip.
struct SmallMemory(PathBuf);

impl SmallMemory {
    fn find(bytes: u64) -> Option<Self> {
        let name = format!("npc-bootstrap-{}", std::process::id());
        let roots = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        for (root, limit) in roots {
            let group = Path::new(root).join(&name);
            if Path::new(root).join("cgroup.procs").exists() && fs::create_dir(&group).is_ok() {
                let group = Self(group);
                if fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                    return Some(group);
                }
            }
        }
        missing("a control group for memory")
    }

    /// The command in the group.
    fn around(&self, command: &Command) -> Command {
        let mut within = Command::new("sh");
        within.args(["-c", "echo 0 > \"$1/cgroup.procs\" && shift && exec \"$@\"", "sh"]).arg(&self.0);
        within.arg(command.get_program()).args(command.get_args());
        within
    }
}

impl Drop for SmallMemory {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn four_hundred_megabytes_of_memory_are_enough() {
    let Some(machine) = Machine::find() else { return };
    let Some(memory) = SmallMemory::find(400 * 1024 * 1024) else { return };
    let world = World::new(&Kind::Served);
    let script = script(&world, &ONCE);
    Ended::of(&mut memory.around(&machine.command("dash", &script))).works();
    assert!(machine.is_enrolled());
}

/// A machine's swap, which is the whole kernel's: ended when dropped.
struct Swap(PathBuf);

impl Swap {
    /// The swap of this machine, or a loud skip where no file can be swapped to.
    fn of(machine: &Machine) -> Option<Self> {
        let trial = machine.folder.path().join("trial");
        let script = "dd if=/dev/zero of=\"$1\" bs=65536 count=16 && chmod 600 \"$1\" && mkswap \"$1\" && \
                      swapon \"$1\" && swapoff \"$1\"";
        let tried = Ended::of(Command::new("sh").args(["-c", script, "sh"]).arg(&trial));
        if tried.code != Some(0) {
            return not_to_be_had("a file system that takes swap files");
        }
        Some(Self(machine.state().join("bootstrap-swap")))
    }
}

/// A mount of the machine's own has another path there.
fn swap_is_on() -> bool {
    fs::read_to_string("/proc/swaps").expect("swaps").contains("bootstrap-swap")
}

impl Drop for Swap {
    fn drop(&mut self) {
        if self.0.exists() {
            let _ = Ended::of(Command::new("swapoff").arg(&self.0));
        }
    }
}

/// More than any machine has.
const MEMORY_IS_SHORT: [&str; 2] = ["--swap-below", "1000000000"];

#[test]
fn a_machine_short_of_memory_has_swap_until_the_script_ends_or_an_agent_stands_in_that_needs_it() {
    let Some(machine) = Machine::find() else { return };
    let Some(swap) = Swap::of(&machine) else { return };
    let mut world = World::new(&Kind::Served);
    let script = script(&world, &[&MEMORY_IS_SHORT[..], &["--patience", "7"]].concat());
    world.server().take().expect("a server").stop();
    let mut running = Background::start(&mut machine.command("dash", &script), &machine.folder.path().join("log"));
    eventually("it waits for the store", || running.words().contains("trying again").then_some(()));
    assert!(swap_is_on(), "{}", running.words());
    assert_eq!(running.wait().code(), Some(1), "{}", running.words());
    assert!(!swap_is_on() && !swap.0.exists(), "it gave up");
    world.serve_again();

    // Where there is a systemd to start an agent, that is left the swap, unless the machine's own system has one.
    let path = |name: &str| machine.folder.path().join(name);
    let run = |programs: &str| {
        let mut command = machine.command("dash", &script);
        command.env("PATH", format!("{}:{}", path(programs).display(), std::env::var("PATH").expect("a path")));
        Ended::of(&mut command).works();
        assert!(machine.is_enrolled());
        fs::remove_file(machine.state().join("enrolment.toml")).expect("removed");
        (swap_is_on(), swap.0.exists())
    };
    assert_eq!(run("none"), (false, false), "nobody runs an agent");
    fs::create_dir_all(path("run/systemd/system")).expect("created");
    fs::create_dir(path("programs")).expect("created");
    npc_core::files::write_atomically(&path("programs/systemctl"), b"#!/bin/sh\n", 0o755).expect("written");
    assert_eq!(run("programs"), (true, true));
    fs::create_dir_all(path("etc/system")).expect("created");
    fs::write(path("etc/system/npc-agent.service"), "").expect("written");
    assert_eq!(run("programs"), (false, false), "its own agent is at work");
}

#[test]
fn an_agent_with_another_digest_is_never_run() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Served);
    let script = script(&world, &ONCE);
    let stored = world.path("store/binaries").join(digest().to_string());
    let run = machine.folder.path().join("lib/was-run");
    for wrong in ["#!/bin/sh\ntouch /var/lib/was-run\n", ""] {
        fs::write(&stored, wrong).expect("written");
        let ended = machine.run("dash", &script);
        ended.fails(1, &["another SHA-256"]);
        assert!(!run.exists() && !machine.is_enrolled());
        assert!(!machine.state().join("bin/.tmp-agent").exists());
    }
    fs::copy(agent(), &stored).expect("copied");
    machine.run("dash", &script).works();
    assert!(machine.is_enrolled());
}

#[test]
fn a_full_disk_is_a_failure_with_a_reason() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Served);
    let script = script(&world, &ONCE);
    let ended = Ended::of(&mut machine.command_on(ON_SMALL_MACHINE, "dash", &script));
    ended.fails(1, &["cannot fetch the agent", "gave up"]);
    machine.run("dash", &script).works();
    assert!(machine.is_enrolled());
}

#[test]
fn a_token_lets_a_machine_in_and_is_not_shown() {
    let Some(machine) = Machine::find() else { return };
    let mut world = World::new(&Kind::Served);
    let token = "0123456789abcdef-of-web-1";
    let script = script(&world, &["--store-token-file", "/var/lib/token", "--patience", "0"]);
    world.serve_hosts(&format!("web-1 {token}"));
    let file = machine.folder.path().join("lib/token");
    fs::write(&file, "0123456789abcdef-of-nobody\n").expect("written");
    machine.run("dash", &script).fails(1, &["cannot fetch the agent"]);
    npc_core::files::write_atomically(&file, format!("{token}\n").as_bytes(), 0o600).expect("written");
    let mut command = machine.command("dash", &script);
    let commands = machine.logs_curl(&mut command);
    let ended = Ended::of(&mut command);
    assert!(machine.is_enrolled(), "{ended:?}");
    assert!(!ended.words.contains(token), "{ended:?}");
    let commands = fs::read_to_string(commands).expect("what curl was told");
    assert!(commands.contains("binaries/") && !commands.contains(token), "{commands}");
}

#[test]
fn a_machine_fetches_its_agent_from_a_bucket_by_signed_requests() {
    let Some(garage) = Garage::find() else { return };
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Garage(garage));
    let script = script(&world, &ONCE);
    machine.run("dash", &script).fails(1, &["no credentials"]);
    let mut command = machine.command("dash", &script);
    command.env("AWS_ACCESS_KEY_ID", npc_tests::parts::ACCESS_KEY);
    command.env("AWS_SECRET_ACCESS_KEY", npc_tests::parts::SECRET_KEY);
    let commands = machine.logs_curl(&mut command);
    Ended::of(&mut command).works();
    assert!(machine.is_enrolled());
    let commands = fs::read_to_string(commands).expect("what curl was told");
    assert!(commands.contains("binaries/") && !commands.contains(npc_tests::parts::SECRET_KEY), "{commands}");
}

/// What the host's report in the store tells of trouble: its kind, or `no trouble`. None where there is no report.
fn reported_trouble(world: &World) -> Option<String> {
    let status: Value = serde_json::from_str(&world.in_fleet(&["status", "--json"]).data).expect("JSON");
    let hosts = status["hosts"].as_array().expect("hosts");
    let report = &hosts.iter().find(|host| host["host"] == "web-1")?["report"];
    let kind = report.pointer("/trouble/kind").and_then(Value::as_str);
    report.is_object().then(|| kind.unwrap_or("no trouble").to_owned())
}

/// Has an installation fail, looks for its report in the store, and again once the machine could be enrolled after all.
fn reports_failure_until_it_is_mended(world: &World, machine: &Machine, script: &str, give: impl Fn(&mut Command)) {
    let run = |script: &str| {
        let mut command = machine.command("dash", script);
        give(&mut command);
        command
    };
    let in_the_way = machine.folder.path().join("etc/system.attached");
    fs::write(&in_the_way, "a file where a directory must be").expect("written");
    assert_eq!(reported_trouble(world), None);
    Ended::of(&mut run(script)).fails(1, &["cannot write units", "gave up"]);
    assert!(!machine.is_enrolled());
    assert_eq!(reported_trouble(world), Some("install-failed".to_owned()));
    fs::remove_file(&in_the_way).expect("removed");
    Ended::of(&mut run(script)).works();
    assert!(machine.is_enrolled());
    // Nobody starts the agent on a machine without systemd. It changes nothing here, and says so.
    let agent = format!("/var/lib/npc-agent/bin/npc-agent-{}", digest());
    let script = format!("{agent} pause && exec {agent} run");
    let running = Background::start(&mut run(&script), &machine.folder.path().join("log"));
    eventually("nothing is wrong any more", || (reported_trouble(world)? == "no trouble").then_some(()));
    running.kill();
}

#[test]
fn a_failed_installation_is_reported_to_a_served_store_until_it_is_mended() {
    let Some(machine) = Machine::find() else { return };
    let mut world = World::new(&Kind::Served);
    let script = script(&world, &["--store-token-file", "/var/lib/token", "--patience", "0"]);
    let token = "0123456789abcdef-of-web-1";
    world.serve_hosts(&format!("web-1 {token}"));
    let file = machine.folder.path().join("lib/token");
    npc_core::files::write_atomically(&file, token.as_bytes(), 0o600).expect("written");
    reports_failure_until_it_is_mended(&world, &machine, &script, |_| {});
}

#[test]
fn a_failed_installation_is_reported_to_a_bucket_until_it_is_mended() {
    let Some(garage) = Garage::find() else { return };
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Garage(garage));
    let script = script(&world, &ONCE);
    reports_failure_until_it_is_mended(&world, &machine, &script, |command| {
        command.env("AWS_ACCESS_KEY_ID", npc_tests::parts::ACCESS_KEY);
        command.env("AWS_SECRET_ACCESS_KEY", npc_tests::parts::SECRET_KEY);
    });
}

#[test]
fn two_at_once_do_no_harm() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Directory);
    let script = script(&world, &ONCE);
    let log = |name: &str| machine.folder.path().join(name);
    let mut both = SHELLS.map(|shell| Background::start(&mut machine.command(shell, &script), &log(shell)));
    assert!(both.iter_mut().all(|one| one.wait().success()));
    assert!(machine.is_enrolled());
}

#[test]
fn the_script_as_it_lies_in_the_repository_is_what_is_rendered_but_for_its_values() {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../bootstrap/bootstrap.sh"));
    let source = source.expect("the script");
    let world = World::new(&Kind::Directory);
    world.publish();
    let told = ["bootstrap", "--remote", "prod", "--agent-flake", "git+https://git.example.org/it's#npc-agent"];
    let rendered = world.in_fleet(&told).works();
    let values = |line: &&str| !line.starts_with("NPC_");
    let own: Vec<_> = source.lines().filter(values).collect();
    assert!(own.iter().all(|line| rendered.lines().any(|other| other == *line)));
    assert!(rendered.contains(r"NPC_AGENT_FLAKE='git+https://git.example.org/it'\''s#npc-agent'"), "{rendered}");
}

#[test]
fn a_machine_of_a_group_is_called_by_its_instance() {
    let Some(_) = tool("ip").and_then(|_| tool("python3")) else { return };
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = format!("{}={}", std::env::consts::ARCH, agent().display());
    let told = [
        "bootstrap",
        "--group",
        "workers",
        "--remote",
        "prod",
        "--configuration",
        "web-1",
        "--upload",
        "--agent",
        &agent,
    ];
    let script = world.in_fleet(&[&told[..], &ONCE].concat()).works();
    for shell in SHELLS {
        for (instance, is_one) in [("i-0123456789abcdef0", true), ("i-", false), ("\"\nremote = \"elsewhere", false)] {
            let Some(machine) = Machine::find() else { return };
            let path = machine.folder.path().join("script");
            fs::write(&path, &script).expect("written");
            let mut command = Command::new("unshare");
            command.args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                ON_INSTANCE,
                "sh",
            ]);
            command.arg(machine.folder.path()).arg(shell).arg(path).env("METADATA", METADATA).env("INSTANCE", instance);
            command.env_remove("http_proxy").env_remove("JOURNAL_STREAM");
            let ended = Ended::of(&mut command);
            let enrolment = fs::read_to_string(machine.state().join("enrolment.toml")).unwrap_or_default();
            assert_eq!(ended.code == Some(0), is_one, "{ended:?}");
            assert_eq!(enrolment.starts_with("host = \"workers-i-0123456789abcdef0\"\n"), is_one, "{enrolment}");
            assert_eq!(
                enrolment.contains("assignment = \"workers\"") && enrolment.contains("ephemeral = true"),
                is_one
            );
        }
    }
    world.in_fleet(&["bootstrap", "--group", "workers", "--host", "web-1", "--remote", "prod"]).fails(2, &["--host"]);
}
