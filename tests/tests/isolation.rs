//! What a host can do with its token at the embedded HTTP store, and what it cannot: everything else.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use npc_core::document::{Document, Report};
use npc_core::envelope::Envelope;
use npc_core::layout;
use npc_core::limits;
use npc_tests::eventually;
use npc_tests::http::{Answer, ask};
use npc_tests::parts::program;
use npc_tests::process::Ended;
use npc_tests::world::{Agent, Kind, TOKEN, World};

/// The token of `web-1`.
const WEB: &str = "token-of-web-1-0123456789";

/// The token of `w-7`, which obeys the shared assignment `workers`.
const WORKER: &str = "token-of-w-7-0123456789";

/// A store with an object of every kind, served to two hosts.
fn served() -> World {
    let mut world = World::new(&Kind::Served);
    world.publish();
    world.in_fleet(&["repoint", "web-1", "web-2", "--remote", "prod", "--configuration", "web-1"]).works();
    world.in_fleet(&["repoint", "workers", "--remote", "prod", "--configuration", "web-2"]).works();
    for (folder, name) in
        [("reports", "web-1.json"), ("reports", "web-2.json"), ("rollouts", "one.json"), ("binaries", "agent")]
    {
        fs::create_dir_all(world.path("store").join(folder)).expect("created");
        fs::write(world.path("store").join(folder).join(name), "content").expect("written");
    }
    world.serve_hosts(&format!("# hosts\nweb-1 {WEB}\n\nw-7 {WORKER} workers\n"));
    world
}

fn bearing(world: &World, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    let authorization = format!("Bearer {token}");
    ask(world.url(), method, path, &[("authorization", &authorization)], body)
}

/// Every object that is in the store, and as many of the same kinds that are not.
fn objects(world: &World) -> Vec<String> {
    let archives = fs::read_dir(world.path("store/archives")).expect("listed");
    let archive = archives.flatten().next().expect("an archive").file_name().into_string().expect("plain");
    let archive = format!("archives/{archive}");
    let there = [
        "trust/1.json",
        "remotes/prod.json",
        "releases/prod/1.json",
        "assignments/web-1.json",
        "assignments/web-2.json",
        "assignments/workers.json",
        "reports/web-1.json",
        "reports/web-2.json",
        "rollouts/one.json",
        "binaries/agent",
        &archive,
    ];
    for object in there {
        assert!(world.path("store").join(object).exists(), "{object}");
    }
    let absent = [
        "trust/9.json",
        "remotes/none.json",
        "releases/prod/9.json",
        "assignments/w-7.json",
        "assignments/none.json",
        "reports/w-7.json",
        "reports/workers.json",
        "reports/none.json",
        "rollouts/none.json",
        "binaries/none",
        "archives/none.tar.gz",
        "probe/none",
    ];
    there.iter().chain(&absent).map(|object| format!("/{object}")).collect()
}

/// Whether a host that is called so and obeys that assignment is to be let through: stated anew, not taken from the server.
fn is_meant(host: &str, assignment: &str, method: &str, path: &str) -> bool {
    let shared = ["/trust/", "/remotes/", "/releases/", "/archives/", "/binaries/"];
    match method {
        "GET" | "HEAD" => {
            shared.iter().any(|folder| path.starts_with(folder)) || path == format!("/assignments/{assignment}.json")
        }
        "PUT" => path == format!("/reports/{host}.json"),
        _ => false,
    }
}

#[test]
fn a_host_reads_what_it_follows_and_writes_its_report_and_nothing_else() {
    let world = served();
    for (host, assignment, token) in [("web-1", "web-1", WEB), ("w-7", "workers", WORKER)] {
        for path in objects(&world) {
            for method in ["GET", "HEAD", "PUT", "DELETE"] {
                let status = bearing(&world, token, method, &path, b"content").status();
                if is_meant(host, assignment, method, &path) {
                    assert!(matches!(status, 200 | 204 | 404), "{host} {method} {path}: {status}");
                    let is_there = world.path("store").join(&path[1..]).exists();
                    assert_eq!(status == 404, !is_there, "{host} {method} {path}: {status}");
                } else {
                    assert_eq!(status, 403, "{host} {method} {path}");
                }
            }
        }
        for folder in layout::FOLDERS {
            for path in [format!("/{folder}/"), format!("/{folder}/prod/")] {
                assert_eq!(bearing(&world, token, "GET", &path, b"").status(), 403, "{host} lists {path}");
            }
        }
        assert_eq!(bearing(&world, token, "GET", "/", b"").status(), 403);
        for method in ["POST", "PATCH", "OPTIONS", "MOVE"] {
            assert_eq!(bearing(&world, token, method, "/reports/web-2.json", b"x").status(), 405, "{method}");
        }
    }
    assert_eq!(fs::read(world.path("store/reports/web-2.json")).expect("read"), b"content");
    assert_eq!(fs::read(world.path("store/reports/w-7.json")).expect("it was written"), b"content");
}

#[test]
fn what_is_refused_is_refused_in_the_same_words_whether_it_is_there_or_not() {
    let world = served();
    let told = |token: &str, method: &str, path: &str| {
        let answer = bearing(&world, token, method, path, b"content");
        let head: Vec<_> = answer.head.lines().filter(|line| !line.to_lowercase().starts_with("date:")).collect();
        (head.join("\n"), answer.body)
    };
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        for (there, absent) in
            [("/assignments/web-2.json", "/assignments/none.json"), ("/rollouts/one.json", "/rollouts/none.json")]
        {
            for token in [WEB, "a-token-that-nobody-has"] {
                assert_eq!(told(token, method, there), told(token, method, absent), "{method} {there}");
            }
        }
    }
    for token in [WEB, "a-token-that-nobody-has"] {
        assert_eq!(told(token, "GET", "/reports/web-2.json"), told(token, "GET", "/reports/none.json"));
        assert_eq!(told(token, "GET", "/releases/prod/"), told(token, "GET", "/releases/none/"));
    }
}

#[test]
fn whoever_has_no_token_is_told_nothing_and_an_operator_everything() {
    let world = served();
    for path in objects(&world).iter().map(String::as_str).chain(["/", "/reports/", "/../outside", "/nonsense"]) {
        for method in ["GET", "HEAD", "PUT", "DELETE", "POST"] {
            let strangers: [&[(&str, &str)]; 4] = [
                &[],
                &[("authorization", "Bearer a-token-that-nobody-has")],
                &[("authorization", "Bearer web-1")],
                &[("authorization", WEB)],
            ];
            for headers in strangers {
                let answer = ask(world.url(), method, path, headers, b"content");
                assert_eq!(answer.status(), 401, "{method} {path} {headers:?}");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
    }
    for path in objects(&world) {
        let is_there = world.path("store").join(&path[1..]).exists();
        let status = bearing(&world, TOKEN, "GET", &path, b"").status();
        assert_eq!(status, if is_there { 200 } else { 404 }, "{path}");
    }
    for (method, path) in [("PUT", "/reports/web-2.json"), ("DELETE", "/reports/web-2.json"), ("PUT", "/probe/0")] {
        assert_eq!(bearing(&world, TOKEN, method, path, b"x").status(), 204, "{method} {path}");
    }
    assert_eq!(bearing(&world, TOKEN, "GET", "/reports/", b"").status(), 200);
    world.edit("published with an operator's token\n");
    assert_eq!(world.publish(), "prod@2");
}

#[test]
fn a_report_is_no_larger_than_a_document() {
    let world = served();
    let most = usize::try_from(limits::DOCUMENT_BYTES).expect("it fits");
    let largest = vec![b'x'; most];
    assert_eq!(bearing(&world, WEB, "PUT", "/reports/web-1.json", &largest).status(), 204);
    let larger = vec![b'y'; most + 1];
    assert_eq!(bearing(&world, WEB, "PUT", "/reports/web-1.json", &larger).status(), 413);
    assert_eq!(fs::read(world.path("store/reports/web-1.json")).expect("read"), largest);
    assert_eq!(bearing(&world, TOKEN, "PUT", "/reports/web-1.json", &larger).status(), 204, "operators may");
}

#[test]
fn a_host_is_added_and_a_token_revoked_while_the_server_runs() {
    let world = served();
    let status = |token: &str| bearing(&world, token, "GET", "/remotes/prod.json", b"").status();
    let new = "token-of-db-1-0123456789";
    assert_eq!((status(WEB), status(new)), (200, 401));
    world.name_hosts(&format!("w-7 {WORKER} workers\ndb-1 {new}\n"));
    eventually("the change counts", || (status(new) == 200).then_some(()));
    assert_eq!((status(WEB), status(WORKER)), (401, 200));
    assert!(world.served().contains("the tokens are read anew"));
    world.name_hosts(&format!("w-7 {WORKER} workers\ndb-1 {WORKER}\n"));
    eventually("the mistake is told", || {
        let words = world.served();
        (words.contains("NOT read anew") && words.contains("line 2 ")).then_some(())
    });
    assert_eq!((status(WORKER), status(new)), (200, 200), "what held still holds");
    assert!(![WEB, WORKER, new, TOKEN].iter().any(|token| world.served().contains(token)), "no token is told");
}

#[test]
fn who_waits_with_a_token_that_is_revoked_meanwhile_gets_nothing() {
    let world = served();
    let etag = bearing(&world, WEB, "GET", "/remotes/prod.json", b"").header("etag").expect("a tag").to_owned();
    let authorization = format!("Bearer {WEB}");
    let headers = [("authorization", authorization.as_str()), ("if-none-match", &etag), ("prefer", "wait=120")];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(world.url(), "GET", "/remotes/prod.json", &headers, b""));
        eventually("somebody waits", || world.served().contains("waiting for a change").then_some(()));
        world.name_hosts("");
        eventually("it is revoked", || world.served().contains("read anew").then_some(()));
        world.edit("not for everybody\n");
        world.publish();
        assert_eq!(waiting.join().expect("answered").status(), 401);
    });
    assert!(begun.elapsed() < Duration::from_mins(1), "it was woken, and did not wait to the end");
}

#[test]
fn what_is_wrong_with_the_hosts_tokens_is_said_at_the_start() {
    let world = World::new(&Kind::Directory);
    let tokens = world.path("host-tokens");
    let serve = |arguments: &[&str]| {
        let mut command = Command::new(program("npc-publish"));
        command.arg("serve").arg(world.path("store")).arg("--host-tokens").arg(&tokens).args(arguments);
        Ended::of(&mut command)
    };
    serve(&[]).fails(2, &["cannot read", "hint: "]);
    world.name_hosts(&format!("web-1 {WEB}\n# again\nweb-1 {WORKER}\n"));
    serve(&[]).fails(2, &["line 3", "`web-1` has a line already"]);
    world.name_hosts(&format!("web-1 {WEB}\n"));
    serve(&["--listen", "0.0.0.0:0"]).fails(2, &["in the clear", "--behind-tls-proxy"]);
    let operators = world.path("operators");
    npc_core::files::create_private(&operators, WEB.as_bytes()).expect("made");
    let operators = operators.to_str().expect("plain");
    serve(&["--tokens", operators]).fails(2, &["line 1 of", "somebody else's"]);
    Ended::of(Command::new("chmod").arg("640").arg(&tokens)).works();
    serve(&[]).fails(2, &["can be read by others", "chmod 600"]);
}

/// A command agent that bears a token.
fn agent_bearing<'world>(world: &'world World, host: &str, token: &str, more: &str) -> Agent<'world> {
    let agent = world.command_agent(host, "true");
    let file = agent.path("token");
    npc_core::files::write_atomically(&file, format!("{token}\n").as_bytes(), 0o600).expect("written");
    agent.add_settings(&format!("store_token_file = \"{}\"\n{more}", file.display()));
    agent
}

/// Waits until the host reports that it runs this release by that assignment.
fn reports(world: &World, host: &str, remote: &str, serial: u64) {
    eventually(&format!("{host} reports {remote}@{serial}"), || {
        let bytes = fs::read(world.path(&format!("store/reports/{host}.json"))).ok()?;
        let envelope = Envelope::parse(&bytes).ok()?;
        let report: Document<Report> = Document::from_payload(envelope.payload()).expect("a report");
        let obeyed = report.body.obeys?;
        let release = obeyed.release?;
        let is_there =
            obeyed.remote.as_str() == remote && release.serial.get() == serial && obeyed.assignment.is_some();
        (is_there && report.body.phase == "steady").then_some(())
    });
}

#[test]
fn hosts_with_tokens_are_assigned_follow_and_report() {
    let mut world = World::new(&Kind::Served);
    world.publish();
    world.edit("for canaries\n");
    world.in_fleet(&["--remote", "canary"]).works();
    world.in_fleet(&["repoint", "web-1", "--remote", "canary"]).works();
    world.in_fleet(&["repoint", "workers", "--remote", "canary", "--configuration", "web-2"]).works();
    world.serve_hosts(&format!("web-1 {WEB}\nw-7 {WORKER} workers\n"));
    let web = agent_bearing(&world, "web-1", WEB, "");
    let worker = agent_bearing(&world, "w-7", WORKER, "assignment = \"workers\"");
    let (web_runs, worker_runs) = (web.start(), worker.start());
    reports(&world, "web-1", "canary", 1);
    reports(&world, "w-7", "canary", 1);
    world.edit("for canaries, again\n");
    world.in_fleet(&["--remote", "canary"]).works();
    reports(&world, "web-1", "canary", 2);
    reports(&world, "w-7", "canary", 2);
    for running in [web_runs, worker_runs] {
        let words = running.words();
        assert!(
            !words.contains("denied") && !words.contains("cannot report") && !words.contains("token-of-"),
            "{words}"
        );
        running.stop();
    }
}

#[test]
fn a_replaced_token_is_read_anew_and_a_missing_one_is_told() {
    let world = served();
    let agent = agent_bearing(&world, "web-1", WEB, "");
    let running = agent.start();
    agent.commits(1);
    let new = "another-token-of-web-1-0123456789";
    world.name_hosts(&format!("web-1 {new}\n"));
    eventually("the agent is refused", || running.words().contains("bad-credentials").then_some(()));
    npc_core::files::write_atomically(&agent.path("token"), new.as_bytes(), 0o600).expect("written");
    world.edit("for those with the new token\n");
    world.publish();
    agent.commits(2);
    assert!(running.words().contains("its file holds another one"));
    running.stop();
    npc_core::files::write_atomically(&agent.path("token"), WEB.as_bytes(), 0o600).expect("written");
    agent.once().fails(3, &["401", "hint: ", "store_token_file"]);
    Ended::of(Command::new("chmod").arg("644").arg(agent.path("token"))).works();
    agent.once().fails(2, &["can be read by others", "hint: chmod 600"]);
    fs::remove_file(agent.path("token")).expect("removed");
    agent.once().fails(2, &["cannot read the store's token", "hint: "]);
}
