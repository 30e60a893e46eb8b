//! The script that turns a bare machine into a host: what it does on a machine of any kind, and where it gets the agent from.

use std::fs;
use std::path::Path;
use std::process::Command;

use npc_tests::machine::{MOUNTS, Machine, ONCE, SHELLS, agent, script, then_run};
use npc_tests::parts::{ACCESS_KEY, Garage, Nix, SECRET_KEY, tool};
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Kind, TOKEN, World};
use serde_json::Value;

/// Begins a metadata service that answers with `$INSTANCE` as EC2's does, version 2 alone.
const ON_INSTANCE: &str = "ip link set lo up && ip address add 169.254.169.254/32 dev lo && \
                           python3 -c \"$METADATA\" & until curl --silent --output /dev/null http://169.254.169.254/; do sleep 0.1; done";

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
fn a_machine_that_keeps_no_lock_is_enrolled_without() {
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Served);
        let lockless = format!("{MOUNTS} && mount -o remount,bind,ro /run");
        Ended::of(&mut machine.command_on(&lockless, shell, &script(&world, &ONCE))).works();
        assert!(machine.is_enrolled(), "{shell}");
        assert!(!machine.path("run/npc-bootstrap.lock").exists());
    }
}

#[test]
fn a_machine_without_a_name_is_called_and_configured_as_it_was_enrolled() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Served);
    let nameless = format!("hostname localhost && {MOUNTS}");
    Ended::of(&mut machine.command_on(&nameless, "dash", &script(&world, &ONCE))).works();
    assert!(machine.is_enrolled());
    let mut status = Command::new("unshare");
    status.args(["--uts", "sh", "-c", "hostname localhost && exec \"$@\"", "sh"]).arg(agent());
    status.arg("--state").arg(machine.state()).args(["--config", "/nowhere", "status", "--json"]);
    let status: Value = serde_json::from_str(&Ended::of(&mut status).works()).expect("JSON");
    assert_eq!((&status["host"], &status["follows"]["configuration"]), (&"web-1".into(), &"web-1".into()), "{status}");
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

/// Has bash end before a command of the script's own: without its traps, as a SIGKILL would end it.
const ENDS_BEFORE: &str = "set -o functrace\n\
                           cut() { [ \"$BASHPID\" = \"$$\" ] || return 0; \
                                   commands=$((commands + 1)); [ \"$commands\" -ne \"$CUT\" ] || exec false; }\n\
                           trap cut DEBUG\n";

#[test]
fn a_script_that_is_ended_before_any_command_goes_on_when_it_is_run_again() {
    let world = World::new(&Kind::Directory);
    let script = script(&world, &ONCE);
    let mut cut = 0;
    loop {
        cut += 1;
        let Some(machine) = Machine::find() else { return };
        fs::write(machine.path("environment"), ENDS_BEFORE).expect("written");
        let mut command = machine.command("bash", &script);
        command.env("BASH_ENV", machine.path("environment")).env("CUT", cut.to_string());
        let is_whole = Ended::of(&mut command).code == Some(0);
        // What is enrolled has all that it needs.
        machine.is_enrolled_or_not_at_all();
        machine.run("dash", &script).works();
        assert!(machine.is_enrolled(), "cut before command {cut}");
        if is_whole && cut > 10 {
            break;
        }
    }
    assert!(cut > 40, "{cut} commands are not the whole script");
}

#[test]
fn a_script_that_is_ended_at_any_moment_goes_on_when_it_is_run_again() {
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Directory);
        let script = script(&world, &ONCE);
        let begun = std::time::Instant::now();
        let other = Machine::find().expect("another one");
        other.run(shell, &script).works();
        let whole = begun.elapsed();
        for part in 1..12 {
            let log = machine.path("log");
            let running = Background::start(&mut machine.command(shell, &script), &log);
            npc_tests::process::for_a_while(whole * part / 12);
            running.kill();
            machine.is_enrolled_or_not_at_all();
        }
        machine.run(shell, &script).works();
        assert!(machine.is_enrolled());
    }
}

#[test]
fn a_token_lets_a_machine_in_and_is_not_shown() {
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let mut world = World::new(&Kind::Served);
        let token = "0123456789abcdef-of-web-1";
        let script = script(&world, &["--store-token-file", "/var/lib/token", "--patience", "0"]);
        world.serve_hosts(&format!("web-1 {token}"));
        let file = machine.path("lib/token");
        fs::write(&file, "0123456789abcdef-of-nobody\n").expect("written");
        machine.run(shell, &script).fails(1, &["cannot fetch the agent"]);
        npc_core::files::write_atomically(&file, format!("{token}\n").as_bytes(), 0o600).expect("written");
        let mut command = machine.command(shell, &script);
        let commands = machine.logs_curl(&mut command);
        let ended = Ended::of(&mut command);
        assert!(machine.is_enrolled(), "{ended:?}");
        assert!(!ended.words.contains(token), "{ended:?}");
        let commands = fs::read_to_string(commands).expect("what curl was told");
        assert!(commands.contains("binaries/") && !commands.contains(token), "{commands}");
    }
}

#[test]
fn a_machine_fetches_its_agent_from_a_bucket_by_signed_requests() {
    let Some(garage) = Garage::find() else { return };
    for shell in SHELLS {
        let Some(machine) = Machine::find() else { return };
        let world = World::new(&Kind::Garage(garage.clone()));
        let script = script(&world, &ONCE);
        machine.run(shell, &script).fails(1, &["no credentials"]);
        let mut command = machine.command(shell, &script);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY);
        command.env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        let commands = machine.logs_curl(&mut command);
        Ended::of(&mut command).works();
        assert!(machine.is_enrolled());
        let commands = fs::read_to_string(commands).expect("what curl was told");
        assert!(commands.contains("binaries/") && !commands.contains(SECRET_KEY), "{commands}");
    }
}

/// A flake whose package is the agent.
const FLAKE: &str = r#"{
  outputs = _: {
    packages.SYSTEM.default = derivation {
      name = "npc-agent";
      system = "SYSTEM";
      builder = "/bin/sh";
      args = [ "-euc" "mkdir -p $out/bin; cp AGENT $out/bin/npc-agent" ];
      PATH = "/usr/bin:/bin";
    };
  };
}
"#;

#[test]
fn a_machine_builds_its_agent_from_a_flake() {
    let Some(machine) = Machine::find() else { return };
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.publish();
    let flake = machine.path("flake");
    fs::create_dir(&flake).expect("created");
    let system = format!("{}-linux", std::env::consts::ARCH);
    let text = FLAKE.replace("SYSTEM", &system).replace("AGENT", &agent().display().to_string());
    fs::write(flake.join("flake.nix"), text).expect("written");
    let reference = format!("path:{}", flake.display());
    let told =
        ["bootstrap", "--host", "web-1", "--configuration", "web-1", "--remote", "prod", "--agent-flake", &reference];
    let script = world.in_fleet(&[&told[..], &ONCE].concat()).works();
    let mut command = machine.command("dash", &script);
    nix.with_store(&mut command, &machine.path("nix"));
    let ended = Ended::of(&mut command);
    assert!(machine.is_enrolled(), "{ended:?}");
    let kept = fs::read_link(machine.state().join("bin/flake")).expect("a link that keeps it from being collected");
    assert!(kept.starts_with(machine.path("nix/store")), "{}", kept.display());
}

#[test]
fn a_curl_that_cannot_sign_is_not_asked_to() {
    let Some(garage) = Garage::find() else { return };
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Garage(garage));
    let script = script(&world, &ONCE);
    for (version, is_tried) in [("7.86.0", false), ("7.9.8", false), ("7.87.0", true), ("8.0.0", true)] {
        let mut command = machine.command("dash", &script);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        let _ = fs::remove_dir_all(machine.path("programs"));
        machine.has_curl(&mut command, &format!("[ \"$1\" != --version ] || exec echo 'curl {version} (x)'\nexit 7"));
        let ended = Ended::of(&mut command);
        assert_eq!(ended.words.contains("curl is older than 7.87"), !is_tried, "{version}: {ended:?}");
        ended.fails(1, &["cannot fetch the agent"]);
    }
}

#[test]
fn two_at_once_do_no_harm() {
    let Some(machine) = Machine::find() else { return };
    let world = World::new(&Kind::Directory);
    let script = script(&world, &ONCE);
    let log = |name: &str| machine.path(name);
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
            let path = machine.path("script");
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
                &then_run(&format!("{ON_INSTANCE}; {MOUNTS}")),
                "sh",
            ]);
            command.arg(machine.path("")).arg(shell).arg(path).env("METADATA", METADATA).env("INSTANCE", instance);
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
