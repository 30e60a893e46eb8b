//! What operators see of their fleet.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use npc_tests::eventually;
use npc_tests::process::Ended;
use npc_tests::world::{Agent, Kind, World};
use serde_json::Value;

/// The second release fails where a file says so.
const APPLY: &str =
    "test ! -e \"$(dirname \"$0\")/fails\" || test $NPC_SERIAL != 2 || { printf 'no \\033[31mway\\n' >&2; exit 3; }\n";

fn status(world: &World, arguments: &[&str]) -> Value {
    let ended = world.in_fleet(&[&["status", "--json"], arguments].concat());
    assert!([Some(0), Some(7)].contains(&ended.code), "{ended:?}");
    let status: Value = serde_json::from_str(&ended.data).expect("JSON");
    assert_eq!(status["well"] == true, ended.code == Some(0), "the exit code says whether all is well");
    status
}

fn host<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["hosts"].as_array().expect("hosts").iter().find(|host| host["host"] == name)
}

/// Waits until this is how the host is.
fn is(world: &World, name: &str, standing: &str) -> Value {
    eventually(&format!("{name} is {standing}"), || {
        let status = status(world, &[]);
        host(&status, name).filter(|host| host["standing"] == standing).cloned()
    })
}

fn why(world: &World, name: &str) -> Ended {
    world.in_fleet(&["why", name])
}

/// Hosts `web-1` and `db-1`, which follow `prod` and have reported.
fn two_hosts(world: &World) -> [Agent<'_>; 2] {
    ["web-1", "db-1"].map(|name| world.command_agent(name, APPLY))
}

#[test]
fn the_status_says_of_every_host_what_it_should_run_and_whether_it_does() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let agents = two_hosts(&world);
    world.in_fleet(&["repoint", "web-9", "--remote", "prod"]).works();
    let running = agents.each_ref().map(Agent::start);
    let web = is(&world, "web-1", "current");
    is(&world, "db-1", "current");
    assert_eq!((&web["wanted"]["serial"], &web["report"]["runs"]["serial"]), (&1.into(), &1.into()));
    assert_eq!((&web["key"], &web["follows"]["remote"]), (&"unpinned".into(), &"prod".into()));
    let never = host(&status(&world, &[]), "web-9").expect("there").clone();
    assert_eq!((&never["standing"], &never["seen"]), (&"unknown".into(), &Value::Null));
    assert!(why(&world, "web-9").data.contains("never reported"));
    assert!(why(&world, "web-1").works().contains("web-1 runs prod@1, which is what it should"));
    let table = world.in_fleet(&["status"]);
    assert_eq!(table.code, Some(7));
    assert!(table.words.contains("3 hosts: 2 current, 1 unknown"), "{table:?}");
    let line = table.data.lines().find(|line| line.starts_with("web-1")).expect("a line");
    assert!(line.contains("current") && line.contains("prod@1") && line.contains("committed"), "{line}");
    world.in_fleet(&["status", "*-1", "--except", "web-*"]).works();
    world.in_fleet(&["status", "web-7"]).fails(2, &["`web-7` matches no host", "hint: "]);
    world.in_fleet(&["status", "all", "--except", "web-7"]).fails(2, &["`web-7` matches no host"]);
    drop(running);
}

#[test]
fn a_failure_is_shown_with_its_log_and_explained_and_tried_again_when_told() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let [web, _] = two_hosts(&world);
    let _running = web.start();
    is(&world, "web-1", "current");
    fs::write(web.path("fails"), "").expect("written");
    world.edit("which fails\n");
    world.publish();
    let failed = is(&world, "web-1", "failed");
    assert_eq!(failed["report"]["runs"]["serial"], 1);
    let page = world.in_fleet(&["status", "web-1"]);
    assert_eq!(page.code, Some(7));
    assert!(page.data.contains("[31mway") && !page.data.contains('\u{1b}'), "{}", page.data);
    let said = why(&world, "web-1");
    assert_eq!(said.code, Some(7));
    assert!(said.data.contains("web-1 does not run prod@2 because that failed there (activation-failed)"), "{said:?}");
    world.in_fleet(&["retry", "web-1"]).fails(2, &["is not assigned", "repoint web-1"]);
    world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    fs::remove_file(web.path("fails")).expect("removed");
    world.in_fleet(&["retry", "web-1"]).works();
    assert_eq!(is(&world, "web-1", "current")["report"]["runs"]["serial"], 2);
}

#[test]
fn a_host_that_is_paused_from_afar_stays_until_it_is_resumed() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let [web, db] = two_hosts(&world);
    let _running = [web.start(), db.start()];
    for name in ["web-1", "db-1"] {
        is(&world, name, "current");
    }
    world.in_fleet(&["hosts", "pause", "all"]).fails(2, &["is not assigned"]);
    world.in_fleet(&["repoint", "all", "--remote", "prod"]).works();
    let paused = world.in_fleet(&["hosts", "pause", "remote:prod", "--except", "db-1"]).works();
    assert_eq!(paused.trim(), "web-1: prod web-1 -> prod web-1, paused");
    world.edit("which some take in\n");
    world.publish();
    is(&world, "db-1", "current");
    is(&world, "web-1", "paused");
    assert!(why(&world, "web-1").data.contains("npc-publish hosts resume"));
    world.in_fleet(&["hosts", "resume", "web-*"]).works();
    is(&world, "web-1", "current");
}

#[test]
fn a_host_is_known_by_the_key_that_it_had_when_it_was_first_assigned() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let [web, db] = two_hosts(&world);
    let running = web.start();
    is(&world, "web-1", "current");
    world.in_fleet(&["repoint", "web-1", "--remote", "prod"]).works();
    assert_eq!(is(&world, "web-1", "current")["key"], "pinned");
    drop(running);
    // Another machine reports under its name.
    let settings = fs::read_to_string(db.path("agent.toml")).expect("read");
    fs::write(db.path("agent.toml"), settings.replace("db-1", "web-1").replace("host-web-1", "host-db-1"))
        .expect("written");
    let _running = db.start();
    let refused = is(&world, "web-1", "refused");
    assert_eq!(refused["key"], "wrong");
    assert!(refused["why"].as_str().expect("words").contains("another key than the pinned one"), "{refused}");
    world.in_fleet(&["hosts", "pin", "web-1"]).fails(4, &["another key", "--force"]);
    world.in_fleet(&["hosts", "pin", "web-1", "--force"]).works();
    assert_eq!(is(&world, "web-1", "current")["key"], "pinned");
    world.in_fleet(&["hosts", "forget", "web-1"]).works();
}

#[test]
fn two_machines_under_one_name_are_shown_as_such_once_both_were_seen_again() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let machines = ["web-1", "web-2"].map(|name| world.command_agent(name, APPLY));
    let settings = machines[1].path("agent.toml");
    let text = fs::read_to_string(&settings).expect("read").replace("\"web-2\"", "\"web-1\"");
    fs::write(&settings, text).expect("written");
    let seen = |machine: &Agent<'_>| {
        machine.once().works();
        host(&status(&world, &[]), "web-1").expect("there")["standing"].as_str().expect("a word").to_owned()
    };
    assert_eq!([&machines[0], &machines[1]].map(seen), ["current", "current"], "it may have been made anew");
    assert_eq!(seen(&machines[0]), "rivals", "but that one is still there");
    let said = why(&world, "web-1");
    assert_eq!(said.code, Some(7));
    assert!(said.data.contains("two machines report as web-1"), "{said:?}");
}

/// The assignments and reports that one `status` has the server read for it.
fn reads(world: &World) -> Vec<String> {
    let before = world.served().len();
    let status = status(world, &[]);
    for name in ["web-1", "db-1"] {
        let host = host(&status, name).expect("there");
        assert_eq!((&host["key"], &host["report"]["runs"]["serial"]), (&"pinned".into(), &1.into()), "{host}");
    }
    let log = world.served();
    let asked = log[before..].lines().filter_map(|line| line.split_once(" GET /")?.1.split_once(' '));
    let asked = asked.filter(|(path, _)| path.starts_with("assignments/") || path.starts_with("reports/"));
    let mut paths: Vec<_> = asked.filter(|(path, _)| !path.ends_with('/')).map(|(path, _)| path.to_owned()).collect();
    paths.sort_unstable();
    paths
}

#[test]
fn only_what_has_changed_is_read_again_and_only_what_was_signed_is_believed() {
    let mut world = World::new(&Kind::Served);
    let token = |host: &str| format!("the-token-of-{host}-0123456789");
    world.serve_hosts(&format!("web-1 {}\ndb-1 {}\n", token("web-1"), token("db-1")));
    world.publish();
    let agents = two_hosts(&world);
    for (agent, host) in agents.iter().zip(["web-1", "db-1"]) {
        let file = agent.path("token");
        npc_core::files::write_atomically(&file, token(host).as_bytes(), 0o600).expect("written");
        agent.add_settings(&format!("store_token_file = \"{}\"", file.display()));
    }
    let running = agents.each_ref().map(Agent::start);
    for name in ["web-1", "db-1"] {
        is(&world, name, "current");
    }
    world.in_fleet(&["repoint", "web-1", "db-1", "--remote", "prod"]).works();
    for agent in running {
        agent.stop();
    }
    let all = ["assignments/db-1.json", "assignments/web-1.json", "reports/db-1.json", "reports/web-1.json"];
    let documents = world.path("home/.cache/npc/documents");
    fs::remove_dir_all(&documents).expect("there is a cache");
    assert_eq!(reads(&world), all);
    assert_eq!(reads(&world), [""; 0]);
    world.in_fleet(&["hosts", "pause", "web-1"]).works();
    assert_eq!(reads(&world), ["assignments/web-1.json"]);
    assert_eq!(reads(&world), [""; 0]);

    let file = fs::read_dir(&documents).expect("there").next().expect("a file").expect("listed").path();
    let remembered = fs::read(&file).expect("read");
    let signature = remembered.windows(7).position(|bytes| bytes == b"\"sig\":\"").expect("signed") + 7;
    let mut forged = remembered.clone();
    forged[signature] = if forged[signature] == b'A' { b'B' } else { b'A' };
    fs::write(&file, forged).expect("written");
    assert_eq!(reads(&world).len(), 1, "what is not believed is read from the store");
    assert_eq!(reads(&world), [""; 0], "and remembered rightly");
    fs::write(&file, "not a cache").expect("written");
    assert_eq!(reads(&world), all);
}

#[test]
fn a_status_that_is_watched_ends_once_nobody_reads_it() {
    let world = World::new(&Kind::Directory);
    world.publish();
    world.in_fleet(&["repoint", "web-9", "--remote", "prod"]).works();
    let mut command = world.command("npc-publish");
    command.args(["status", "--watch", "--interval", "1"]).current_dir(world.path("fleet"));
    let mut watching = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("started");
    let mut line = String::new();
    BufReader::new(watching.stdout.take().expect("a pipe")).read_line(&mut line).expect("read");
    assert!(line.starts_with("web-9: unknown"), "{line}");
    let status = eventually("it has ended", || watching.try_wait().expect("a child"));
    assert!(status.success(), "{status}");
}
