//! The script that turns a bare machine into a host, where something is missing, slow or broken: it waits, tries again, and says why.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use npc_tests::eventually;
use npc_tests::machine::{MOUNTS, Machine, ONCE, SHELLS, agent, digest, script};
use npc_tests::parts::{ACCESS_KEY, Garage, SECRET_KEY, missing, not_to_be_had, tool};
use npc_tests::process::{Background, Ended, free_port};
use npc_tests::world::{Kind, World};
use serde_json::Value;

/// Puts directories of a machine's own where the script and the agent write, but for a disk that holds no agent.
const ON_SMALL_MACHINE: &str = "mount -t tmpfs -o size=1m tmpfs /var/lib && mount --bind \"$1/etc\" /etc/systemd && \
                                mount --bind \"$1/run\" /run";

/// On a machine whose network comes up once there is the file `online`, with a server of the files in `$STORE`.
const ON_LATE_NETWORK: &str = "{ until [ -e \"$1/online\" ]; do sleep 0.1; done; ip link set lo up; \
                               exec python3 -m http.server \"$PORT\" --bind 127.0.0.1 --directory \"$STORE\"; } >&2 &";

#[test]
fn a_network_that_is_not_there_yet_is_waited_for() {
    let Some(_) = tool("ip").and_then(|_| tool("python3")) else { return };
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Directory);
        let port = free_port().expect("a port").to_string();
        let script = script(&world, &[]);
        let store = script.lines().find(|line| line.starts_with("NPC_STORE=")).expect("a store");
        let script = script.replace(store, &format!("NPC_STORE='http://127.0.0.1:{port}/'"));
        let on_machine = machine.command_on(&format!("{ON_LATE_NETWORK} {MOUNTS}"), shell, &script);
        let mut command = Command::new("unshare");
        command.arg("--net").arg(on_machine.get_program()).args(on_machine.get_args());
        command
            .env("PORT", port)
            .env("STORE", world.path("store"))
            .env_remove("http_proxy")
            .env_remove("JOURNAL_STREAM");
        let mut running = Background::start(&mut command, &machine.path("log"));
        eventually("it tries again", || running.words().contains("trying again in 2 s").then_some(()));
        assert!(!machine.is_enrolled());
        fs::write(machine.path("online"), "").expect("written");
        assert!(running.wait().success(), "{}", running.words());
        assert!(machine.is_enrolled());
    }
}

#[test]
fn a_store_that_is_not_there_yet_is_waited_for() {
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let mut world = World::new(&Kind::Served);
        let script = script(&world, &[]);
        world.server().take().expect("a server").stop();
        let mut running = Background::start(&mut machine.command(shell, &script), &machine.path("log"));
        eventually("it tries again", || running.words().contains("trying again in 2 s").then_some(()));
        assert!(!machine.is_enrolled());
        world.serve_again();
        assert!(running.wait().success(), "{}", running.words());
        assert!(machine.is_enrolled());
    }
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
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Served);
        let script = script(&world, &ONCE);
        let store = world.url().to_string();
        let address = store.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let slow = slow_way(address.clone(), 256 * 1024);
        let begun = std::time::Instant::now();
        machine.run(shell, &script.replace(&address, &slow)).works();
        assert!(machine.is_enrolled() && begun.elapsed() > Duration::from_secs(3));
    }
}

/// A control group with a limit of memory, removed when dropped: of version 1 or 2, or a loud skip.
struct SmallMemory(PathBuf);

impl SmallMemory {
    fn find(bytes: u64) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("npc-bootstrap-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
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
        let remove = || fs::remove_dir(&self.0).ok();
        // A test that fails has said why; otherwise what was killed in it is in it until it is reaped.
        if remove().is_none() && !std::thread::panicking() {
            eventually("the control group is empty", remove);
        }
    }
}

#[test]
fn four_hundred_megabytes_of_memory_are_enough() {
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let Some(memory) = SmallMemory::find(400 * 1024 * 1024) else { return };
        let world = World::new(&Kind::Served);
        let script = script(&world, &ONCE);
        Ended::of(&mut memory.around(&machine.command(shell, &script))).works();
        assert!(machine.is_enrolled());
    }
}

/// A machine's swap, which is the whole kernel's: ended when dropped.
struct Swap(PathBuf);

impl Swap {
    /// The swap of this machine, or a loud skip where no file can be swapped to.
    fn of(machine: &Machine) -> Option<Self> {
        let trial = machine.path("trial");
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
    let mut running = Background::start(&mut machine.command("dash", &script), &machine.path("log"));
    eventually("it waits for the store", || running.words().contains("trying again").then_some(()));
    assert!(swap_is_on(), "{}", running.words());
    assert_eq!(running.wait().code(), Some(1), "{}", running.words());
    assert!(!swap_is_on() && !swap.0.exists(), "it gave up");
    world.serve_again();

    // Where there is a systemd to start an agent, that is left the swap, unless the machine's own system has one.
    let path = |name: &str| machine.path(name);
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
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Served);
        let script = script(&world, &ONCE);
        let stored = world.path("store/binaries").join(digest().to_string());
        let run = machine.path("lib/was-run");
        for wrong in ["#!/bin/sh\ntouch /var/lib/was-run\n", ""] {
            fs::write(&stored, wrong).expect("written");
            let ended = machine.run(shell, &script);
            ended.fails(1, &["another SHA-256"]);
            assert!(!run.exists() && !machine.is_enrolled());
            assert!(!machine.state().join("bin/.tmp-agent").exists());
        }
        fs::copy(agent(), &stored).expect("copied");
        machine.run(shell, &script).works();
        assert!(machine.is_enrolled());
    }
}

#[test]
fn a_full_disk_is_a_failure_with_a_reason() {
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Served);
        let script = script(&world, &ONCE);
        let ended = Ended::of(&mut machine.command_on(ON_SMALL_MACHINE, shell, &script));
        ended.fails(1, &["cannot fetch the agent", "gave up"]);
        machine.run(shell, &script).works();
        assert!(machine.is_enrolled());
    }
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
    let in_the_way = machine.path("etc/system.attached");
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
    let running = Background::start(&mut run(&script), &machine.path("log"));
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
    let file = machine.path("lib/token");
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
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        command.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    });
}
