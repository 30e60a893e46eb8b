//! Agents that follow a remote, with real Nix and real stores.

use std::fs;
use std::process::Command;
use std::time::Duration;

use npc_tests::eventually;
use npc_tests::parts::{Garage, Nix, tool};
use npc_tests::process::{Background, Ended, for_a_while};
use npc_tests::proxy::Proxy;
use npc_tests::world::{Agent, Kind, World, garage_kind, socket_of};
use rustix::process::Signal;

/// Publishes, switches, publishes again, switches again.
fn follows(kind: &Kind, nix: &Nix) {
    let world = World::new(kind);
    assert_eq!(world.publish(), "prod@1");
    let agent = world.agent("web-1", nix);
    let mut running = agent.start();
    agent.commits(1);
    let first = agent.running().expect("a system runs");
    assert!(first.join("etc/hostname").exists());
    assert!(agent.boot_default().contains(first.to_str().expect("a plain path")));
    world.edit("the second release\n");
    assert_eq!(world.publish(), "prod@2");
    agent.commits(2);
    assert_ne!(agent.running(), Some(first));
    assert!(agent.message().contains("the second release"));
    let profile = fs::canonicalize(agent.profile()).expect("a profile");
    assert_eq!(Some(profile), agent.running());
    assert!(running.runs());
    assert!(running.stop().success());
}

#[test]
fn a_host_follows_a_remote_in_garage() {
    if let (Some(kind), Some(nix)) = (garage_kind(), Nix::find()) {
        follows(&kind, &nix);
    }
}

#[test]
fn a_host_follows_a_remote_behind_the_embedded_server() {
    if let Some(nix) = Nix::find() {
        follows(&Kind::Served, &nix);
    }
}

#[test]
fn a_host_follows_a_remote_in_a_directory() {
    if let Some(nix) = Nix::find() {
        follows(&Kind::Directory, &nix);
    }
}

#[test]
fn a_host_with_a_newer_nix_follows_too() {
    if let Some(nix) = Nix::find_newer() {
        follows(&Kind::Served, &nix);
    }
}

/// Long before its next poll would be due: it waits in the request from the first one on.
#[test]
fn a_change_reaches_a_host_that_waits_in_a_blink() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    agent.poll_every(600);
    let _running = agent.start();
    agent.commits(1);
    for_a_while(Duration::from_millis(1500));
    let begun = std::time::Instant::now();
    world.edit("in a blink\n");
    world.publish();
    agent.commits(2);
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}

#[test]
fn an_unchanged_publish_causes_no_work() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    let (agent, running) = world.first_release("web-1", &nix);
    let before = (agent.journal(), agent.activations());
    let again = world.in_fleet(&["--remote", "prod"]);
    assert!(again.words.contains("unchanged"), "{again:?}");
    assert_eq!(again.works().trim(), "prod@1");
    world.in_fleet(&["--remote", "prod", "--record"]).works();
    agent.commits(2);
    assert_eq!(agent.outcome().as_deref(), Some("adopted"));
    assert_eq!(agent.activations(), before.1, "nothing was activated");
    let log = running.words();
    assert_eq!(log.matches("fetched prod@").count(), 1, "nothing was fetched again: {log}");
}

#[test]
fn a_store_that_was_down_is_followed_again_and_changed_nothing() {
    let (Some(garage), Some(nix)) = (Garage::find(), Nix::find()) else { return };
    let world = World::new(&Kind::Garage(garage.clone()));
    world.publish();
    let proxy = Proxy::start(socket_of(garage.endpoint())).expect("a proxy");
    let agent = world.agent("web-1", &nix);
    let prefix = world.path("").file_name().expect("a name").to_string_lossy().to_lowercase();
    let through = Garage::url_at(&format!("http://{}", proxy.address()), prefix.trim_start_matches('.'));
    let settings = fs::read_to_string(agent.path("agent.toml")).expect("read");
    let settings = settings.replace(&world.url().to_string(), &through.to_string());
    fs::write(agent.path("agent.toml"), settings).expect("written");
    let mut running = agent.start();
    agent.commits(1);
    let before = (agent.running(), agent.activations());
    proxy.go_down();
    eventually("the agent notices", || running.words().contains("unavailable").then_some(()));
    assert!(running.runs());
    assert_eq!((agent.running(), agent.activations()), before, "a dead store changes nothing");
    world.edit("after the outage\n");
    world.publish();
    proxy.come_back();
    agent.commits(2);
}

#[test]
fn a_server_that_comes_back_is_followed_again() {
    let Some(nix) = Nix::find() else { return };
    let mut world = World::new(&Kind::Served);
    world.publish();
    let home = world.path("host-web-1");
    let running = {
        let agent = world.agent("web-1", &nix);
        let running = agent.start();
        agent.commits(1);
        running
    };
    world.server().take().expect("a server").kill();
    eventually("the agent notices", || running.words().contains("unavailable").then_some(()));
    world.serve_again();
    world.edit("after the kill\n");
    world.publish();
    eventually("the agent catches up", || {
        let journal = fs::read_to_string(home.join("state/journal.json")).ok()?;
        journal.contains("prod@2 runs").then_some(())
    });
}

/// What whoever starts the agent happens to have set must not reach the build.
#[test]
fn nix_is_given_no_settings_by_the_environment() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.publish();
    let agent = world.agent("web-1", &nix);
    let mut once = agent.command();
    once.args(["run", "--once"]).env("NIX_CONFIG", "max-jobs = 0").env("NIX_PATH", "nixpkgs=/nowhere");
    Ended::of(&mut once).works();
    assert_eq!(agent.committed(), Some(1));
}

#[test]
fn a_host_is_set_to_another_remote_and_back() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Served);
    let (agent, _running) = world.first_release("web-1", &nix);
    let prod = agent.running();
    world.edit("canary\n");
    world.in_fleet(&["--remote", "canary"]).works();
    agent.run(&["set", "--remote", "canary"]).works();
    eventually("canary runs", || agent.message().contains("canary").then_some(()));
    agent.run(&["set", "--reset"]).works();
    eventually("prod runs again", || (agent.running() == prod).then_some(()));
    agent.run(&["set", "--configuration", "db-1"]).works();
    eventually("another configuration runs", || {
        let name = fs::read_to_string(agent.path("root/run/current-system/etc/hostname")).ok()?;
        (name.trim() == "db-1").then_some(())
    });
    agent.run(&["set"]).fails(2, &["--remote"]);
}

#[test]
fn a_host_whose_system_does_not_change_adopts_the_release_without_fetching_it() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    world.evaluating(&nix, &["--remote", "prod"]).works();
    let (web, db) = (world.agent("web-1", &nix), world.agent("db-1", &nix));
    web.once().works();
    db.once().works();
    assert_eq!(web.outcome().as_deref(), Some("committed"), "nothing unexpected");
    let host = world.path("fleet/hosts/db-1.nix");
    let text = fs::read_to_string(&host).expect("read");
    fs::write(&host, text.replace("8GB", "16GB")).expect("written");
    let published = world.evaluating(&nix, &["--remote", "prod"]);
    assert!(published.words.contains("1 of 3 configurations evaluated"), "{published:?}");
    let archives = || fs::read_dir(web.path("state/flakes")).expect("listed").count();
    let before = (web.activations(), archives());
    web.once().works();
    assert_eq!(web.outcome().as_deref(), Some("adopted"));
    assert_eq!((web.activations(), archives()), before, "nothing fetched, nothing activated");
    db.once().works();
    assert_eq!(db.outcome().as_deref(), Some("committed"));
}

#[test]
fn a_flake_that_would_need_its_lock_changed_is_not_built() {
    let Some(nix) = Nix::find() else { return };
    let world = World::new(&Kind::Directory);
    let flake = world.path("fleet/flake.nix");
    let text = fs::read_to_string(&flake).expect("read");
    fs::create_dir(world.path("fleet/sub")).expect("made");
    fs::write(world.path("fleet/sub/flake.nix"), "{ outputs = _: { }; }").expect("written");
    let opening = text.find('{').expect("a set") + 1;
    let (before, after) = text.split_at(opening);
    fs::write(&flake, format!("{before}\n  inputs.sub.url = \"path:./sub\";{after}")).expect("written");
    world.publish();
    let agent = world.agent("web-1", &nix);
    agent.once().fails(5, &["could not build", "hint: "]);
    let log = agent.journal().expect("a journal")["outcomes"][0]["log"].clone();
    assert!(log.as_str().is_some_and(|log| log.contains("requires lock file changes")), "{log}");
}

#[test]
fn a_host_that_evaluates_to_something_else_says_so() {
    let (Some(nix), Some(newer)) = (Nix::find(), Nix::find_newer()) else { return };
    let world = World::new(&Kind::Directory);
    // Another version of Nix is told the flake, and gets another derivation.
    let flake = world.path("fleet/lib/toplevel.nix");
    let text = fs::read_to_string(&flake).expect("read");
    let with_version =
        text.replace("boot.kernelParams = [ ];", "boot.kernelParams = [ \"nix=${builtins.nixVersion}\" ];");
    assert_ne!(text, with_version);
    fs::write(&flake, with_version).expect("written");
    world.evaluating(&nix, &["--remote", "prod"]).works();
    let agent = world.agent("web-1", &newer);
    agent.once().works();
    assert_eq!(agent.outcome().as_deref(), Some("committed derivation-mismatch"));
    assert!(agent.run(&["status"]).works().contains("[derivation-mismatch]"));
}

#[test]
fn a_command_applies_the_flake_where_there_is_no_nixos() {
    let world = World::new(&Kind::Garage(match Garage::find() {
        Some(garage) => garage,
        None => return,
    }));
    world.publish();
    let script = "here=$(dirname \"$0\")\n\
                  test -f flake.nix && test \"$PWD\" = \"$NPC_FLAKE\" || exit 7\n\
                  if grep -q broken modules/motd.txt; then echo cannot apply that; exit 9; fi\n\
                  cp modules/motd.txt \"$here/applied\"\n\
                  echo \"$NPC_ACTION $NPC_CONFIGURATION $NPC_REMOTE $NPC_SERIAL\" >> \"$here/trace\"\n";
    let agent = world.command_agent("laptop", script);
    agent.once().works();
    world.edit("applied by a command\n");
    world.publish();
    agent.once().works();
    assert_eq!(fs::read_to_string(agent.path("applied")).expect("applied"), "applied by a command\n");
    world.edit("broken\n");
    world.publish();
    agent.once().fails(5, &["could not apply the flake", "exit status: 9"]);
    assert_eq!(agent.outcome().as_deref(), Some("rolled-back activation-failed"));
    let trace = fs::read_to_string(agent.path("trace")).expect("a trace");
    let expected = "activate laptop prod 1\nactivate laptop prod 2\nroll-back laptop prod 2\n";
    assert_eq!(trace, expected, "the release before was applied again");
}

/// Counts the calls that touch files while an agent polls.
#[test]
fn a_304_never_touches_the_disk() {
    let Some(strace) = tool("strace") else { return };
    for kind in [Some(Kind::Served), garage_kind()].into_iter().flatten() {
        let world = World::new(&kind);
        world.publish();
        let agent = world.command_agent("web-1", "true");
        let running = agent.start();
        agent.commits(1);
        // The release that made the agent switch is asked for once more at the most, then answered by 304.
        for_a_while(Duration::from_secs(5));
        let trace = agent.path("strace");
        let mut command = Command::new(&strace);
        let calls = "trace=%file,%desc,fsync,fdatasync,sync,pwrite64,writev";
        command.args(["-f", "-y", "-e", calls, "-o"]).arg(&trace).args(["-p", &running.id().to_string()]);
        let tracer = Background::start(&mut command, &agent.path("strace.log"));
        for_a_while(Duration::from_secs(4));
        tracer.stop();
        running.stop();
        let text = fs::read_to_string(trace).expect("a trace");
        let polls = text.lines().filter(|line| line.contains("socket:") || line.contains("TCP:")).count();
        assert!(polls > 0, "it polled while it was watched: {text}");
        let harmless = ["socket:", "TCP:", "anon_inode:", "pipe:", "UNIX", "SIGTERM", "+++", "---", "resumed>"];
        let touching: Vec<_> = text.lines().filter(|line| !harmless.iter().any(|word| line.contains(word))).collect();
        let own = world.path("");
        let of_files: Vec<_> = touching
            .into_iter()
            .filter(|line| {
                line.contains(own.to_str().expect("a plain path")) || line.contains("sync(") || line.contains("open")
            })
            .collect();
        assert!(of_files.is_empty(), "files were touched: {of_files:#?}");
    }
}

#[test]
fn systemd_is_told_what_the_agent_does() {
    let world = World::new(&Kind::Served);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let path = agent.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut command = agent.command();
    command.arg("run").env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    let running = Background::start(&mut command, &agent.path("agent.log"));
    let mut seen = String::new();
    let wanted = ["READY=1", "STATUS=web-1 runs prod@1, follows prod", "WATCHDOG=1"];
    let mut stopping = Some(running);
    while !wanted.iter().all(|word| seen.contains(word)) || !seen.contains("STOPPING=1") {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}, after {seen}"));
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        seen.push('\n');
        if wanted.iter().all(|word| seen.contains(word))
            && let Some(running) = stopping.take()
        {
            running.signal(Signal::TERM);
            drop(std::thread::spawn(move || {
                let mut running = running;
                running.wait();
            }));
        }
    }
}

fn completions(agent: &Agent<'_>, shell: &str) -> Ended {
    agent.run(&["completions", shell])
}

#[test]
fn completions_and_manual_pages_are_made() {
    let world = World::new(&Kind::Directory);
    let agent = world.command_agent("web-1", "true");
    for shell in ["bash", "zsh", "fish"] {
        assert!(completions(&agent, shell).works().contains("npc-agent"));
        assert!(world.npc_publish(&["completions", shell]).works().contains("npc-publish"));
    }
    let directory = world.path("man");
    let directory = directory.to_str().expect("a plain path");
    agent.run(&["man", directory]).works();
    world.npc_publish(&["man", directory]).works();
    assert!(world.path("man/npc-publish.1").exists() && world.path("man/npc-agent-run.1").exists());
}
