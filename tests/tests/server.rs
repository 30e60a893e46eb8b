//! The embedded HTTP store, asked by hand.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use npc_core::digest::Digest;
use npc_tests::http::{self, Answer};
use npc_tests::parts::program;
use npc_tests::process::{Background, Ended};
use npc_tests::world::{Kind, TOKEN, World};
use npc_tests::{eventually, noise};
use rustix::process::Signal;

fn ask(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    http::ask(world.url(), method, path, headers, body)
}

fn somebody_waits(log: impl Fn() -> String) {
    eventually("somebody waits", || log().contains("waiting for a change").then_some(()));
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

#[test]
fn who_waits_is_answered_when_the_object_changes() {
    let world = World::new(&Kind::Served);
    world.publish();
    let etag = ask(&world, "GET", "/remotes/prod.json", &[], b"").header("etag").expect("a tag").to_owned();
    let headers = [("if-none-match", etag.as_str()), ("prefer", "wait=120")];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&world, "GET", "/remotes/prod.json", &headers, b""));
        somebody_waits(|| world.served());
        assert!(!waiting.is_finished());
        world.edit("changed\n");
        world.publish();
        let answer = waiting.join().expect("answered");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("preference-applied"), Some("wait=120"));
        assert_ne!(answer.header("etag"), Some(etag.as_str()));
    });
    assert!(begun.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_change_made_behind_the_servers_back_wakes_who_waits() {
    let world = World::new(&Kind::Served);
    world.publish();
    let etag = ask(&world, "GET", "/remotes/prod.json", &[], b"").header("etag").expect("a tag").to_owned();
    std::thread::scope(|scope| {
        let headers = [("if-none-match", etag.as_str()), ("prefer", "wait=120")];
        let begun = Instant::now();
        let waiting = scope.spawn({
            let world = &world;
            move || ask(world, "GET", "/remotes/prod.json", &headers, b"")
        });
        somebody_waits(|| world.served());
        world.edit("changed\n");
        let directory = format!("file://{}", world.path("store").display());
        world.in_fleet(&["--remote", "prod", "--store", &directory]).works();
        assert_eq!(waiting.join().expect("answered").status(), 200);
        assert!(begun.elapsed() < Duration::from_mins(1));
    });
}

#[test]
fn a_wait_ends_and_nobody_waits_without_asking() {
    let world = World::new(&Kind::Served);
    world.publish();
    let etag = ask(&world, "GET", "/remotes/prod.json", &[], b"").header("etag").expect("a tag").to_owned();
    let begun = Instant::now();
    let answer = ask(&world, "GET", "/remotes/prod.json", &[("if-none-match", &etag), ("prefer", "wait=1")], b"");
    assert_eq!(answer.status(), 304);
    assert!(answer.body.is_empty());
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let answer = ask(&world, "GET", "/remotes/prod.json", &[("if-none-match", &etag)], b"");
    assert_eq!((answer.status(), answer.header("preference-applied")), (304, None));
    let answer = ask(&world, "GET", "/remotes/none.json", &[("if-none-match", &etag), ("prefer", "wait=9")], b"");
    assert_eq!(answer.status(), 404);
}

#[test]
fn only_so_many_may_wait() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let mut command = Command::new(program("npc-publish"));
    command.arg("serve").arg(world.path("store")).args(["--listen", "127.0.0.1:0", "--most-waiting", "0"]);
    let server = Background::start(&mut command, &world.path("second.log"));
    let url = eventually("it serves", || server.data().strip_suffix('\n').map(str::to_owned));
    let agent = world.command_agent("web-1", "true");
    let settings = fs::read_to_string(agent.path("agent.toml")).expect("read");
    fs::write(agent.path("agent.toml"), settings.replace(&world.url().to_string(), &url)).expect("written");
    let _running = agent.start();
    agent.commits(1);
    eventually("it is polled, not waited for", || server.words().contains(" 304 ").then_some(()));
    world.edit("found by polling\n");
    world.publish();
    agent.commits(2);
}

#[test]
fn nobody_writes_or_lists_without_the_token() {
    let world = World::new(&Kind::Served);
    world.publish();
    for (method, path) in [("PUT", "/remotes/prod.json"), ("DELETE", "/remotes/prod.json"), ("GET", "/releases/prod/")]
    {
        for headers in
            [&[][..], &[("authorization", "Bearer wrong-wrong-wrong-wrong")], &[("authorization", "Basic x")]]
        {
            assert_eq!(ask(&world, method, path, headers, b"x").status(), 401, "{method} {path} {headers:?}");
        }
    }
    let mut command = world.command("npc-publish");
    command.env("NPC_STORE_TOKEN", "wrong-wrong-wrong-wrong").args(["remotes"]).current_dir(world.path("fleet"));
    Ended::of(&mut command).fails(3, &["401", "hint: "]);
    assert_eq!(ask(&world, "GET", "/remotes/prod.json", &[], b"").status(), 200, "reading takes none");
}

#[test]
fn a_store_on_this_machine_is_not_asked_through_a_proxy() {
    let world = World::new(&Kind::Served);
    world.publish();
    // Nobody listens there.
    let nowhere = "http://127.0.0.1:1";
    let mut remotes = world.command("npc-publish");
    remotes.arg("remotes").current_dir(world.path("fleet"));
    remotes.env_remove("no_proxy").env("http_proxy", nowhere).env("ALL_PROXY", nowhere);
    assert!(Ended::of(&mut remotes).works().contains("prod"));
}

#[test]
fn files_that_are_not_finished_wake_nobody() {
    let mut world = World::new(&Kind::Served);
    world.publish();
    let etag = ask(&world, "GET", "/remotes/prod.json", &[], b"").header("etag").expect("a tag").to_owned();
    let server = world.server().take().expect("a server");
    let headers = [("if-none-match", etag.as_str()), ("prefer", "wait=2")];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&world, "GET", "/remotes/prod.json", &headers, b""));
        somebody_waits(|| server.words());
        fs::write(world.path("store/.tmp-upload"), "half").expect("written");
        assert_eq!(waiting.join().expect("answered").status(), 304);
    });
    assert_eq!(server.words().matches("waiting for a change").count(), 1);
}

#[test]
fn a_server_without_tokens_can_only_be_read() {
    let world = World::new(&Kind::Directory);
    world.publish();
    let serve = |arguments: &[&str]| {
        let mut command = Command::new(program("npc-publish"));
        command.arg("serve").arg(world.path("store")).args(arguments);
        command
    };
    let server = Background::start(&mut serve(&["--listen", "127.0.0.1:0"]), &world.path("second.log"));
    let url = eventually("it serves", || server.data().strip_suffix('\n').map(str::to_owned));
    world.in_fleet(&["--remote", "prod", "--store", &url, "--record"]).fails(3, &["403", "hint: "]);
    fs::write(world.path("tokens"), TOKEN).expect("written");
    let tokens = world.path("tokens");
    let tokens = tokens.to_str().expect("plain");
    Ended::of(&mut serve(&["--tokens", tokens])).fails(2, &["can be read by others", "chmod 600"]);
    Ended::of(Command::new("chmod").args(["600", tokens])).works();
    Ended::of(&mut serve(&["--tokens", tokens, "--listen", "0.0.0.0:0"]))
        .fails(2, &["in the clear", "--behind-tls-proxy"]);
}

#[test]
fn paths_do_not_lead_out_of_the_store() {
    let world = World::new(&Kind::Served);
    fs::write(world.path("store/../outside.json"), "outside").expect("written");
    let authorized = [("authorization", bearer())];
    let headers: Vec<_> = authorized.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for path in [
        "/../outside.json",
        "/remotes/../../outside.json",
        "/remotes/%2e%2e/%2e%2e/outside.json",
        "/.lock",
        "//etc/passwd",
        "/remotes/.hidden",
        "/",
        "/./",
    ] {
        let answer = ask(&world, "GET", path, &headers, b"");
        assert!(matches!(answer.status(), 400 | 404), "{path}: {}", answer.head);
        let put = ask(&world, "PUT", path, &headers, b"x").status();
        assert!(matches!(put, 400 | 404), "{path}: {put}");
    }
    assert_eq!(fs::read_to_string(world.path("outside.json")).expect("read"), "outside");
}

#[test]
fn what_never_changes_is_not_overwritten_and_archives_are_what_they_are_called() {
    let world = World::new(&Kind::Served);
    world.publish();
    let (token, digest) = (bearer(), Digest::of(b"content"));
    let headers = [("authorization", token.as_str())];
    assert_eq!(ask(&world, "PUT", "/releases/prod/1.json", &headers, b"x").status(), 412);
    assert_eq!(ask(&world, "PUT", "/trust/1.json", &headers, b"x").status(), 412);
    assert_eq!(ask(&world, "PUT", &format!("/archives/{digest}.tar.gz"), &headers, b"other").status(), 422);
    assert_eq!(ask(&world, "DELETE", "/trust/1.json", &headers, b"").status(), 403);
    assert_eq!(ask(&world, "DELETE", "/releases/prod/1.json", &headers, b"").status(), 403);
    for _ in 0..2 {
        assert_eq!(ask(&world, "PUT", &format!("/archives/{digest}.tar.gz"), &headers, b"content").status(), 204);
    }
    let both = [("authorization", token.as_str()), ("if-match", "\"x\""), ("if-none-match", "*")];
    assert_eq!(ask(&world, "PUT", "/remotes/x.json", &both, b"x").status(), 400);
}

#[test]
fn ranges_are_answered() {
    let world = World::new(&Kind::Served);
    world.publish();
    let whole = ask(&world, "GET", "/remotes/prod.json", &[], b"");
    let rest = ask(&world, "GET", "/remotes/prod.json", &[("range", "bytes=10-")], b"");
    assert_eq!(rest.status(), 206);
    assert_eq!(rest.body, whole.body[10..]);
    let length = whole.body.len();
    let expected = format!("bytes 10-{}/{length}", length - 1);
    assert_eq!(rest.header("content-range"), Some(expected.as_str()));
    assert_eq!(ask(&world, "GET", "/remotes/prod.json", &[("range", "bytes=99999-")], b"").status(), 416);
    let changed = [("range", "bytes=10-"), ("if-range", "\"another\"")];
    assert_eq!(ask(&world, "GET", "/remotes/prod.json", &changed, b"").body, whole.body);
    let head = ask(&world, "HEAD", "/remotes/prod.json", &[], b"");
    assert_eq!(head.header("content-length"), Some(length.to_string().as_str()));
    assert!(head.body.is_empty());
}

#[test]
fn kill_minus_nine_leaves_no_torn_object() {
    let mut world = World::new(&Kind::Served);
    for round in 0..3 {
        let bytes = noise(8_000_000, round);
        let digest = Digest::of(&bytes);
        std::thread::scope(|scope| {
            let (path, token) = (format!("/archives/{digest}.tar.gz"), bearer());
            let url = world.url().to_string();
            let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
            let begun = scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("connected");
                let head = format!(
                    "PUT {path} HTTP/1.1\r\nhost: x\r\nauthorization: {token}\r\ncontent-length: {}\r\n\r\n",
                    bytes.len()
                );
                // The server dies in the middle.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes[..bytes.len() / 2]));
                stream
            });
            eventually("the upload is under way", || has_leftovers(&world).then_some(()));
            world.server().take().expect("a server").kill();
            begun.join().expect("ended");
        });
        let archives = fs::read_dir(world.path("store/archives"));
        for archive in archives.into_iter().flatten().flatten() {
            let name = archive.file_name().to_string_lossy().into_owned();
            let content = fs::read(archive.path()).expect("read");
            assert_eq!(name, format!("{}.tar.gz", Digest::of(&content)), "a torn object");
        }
        assert!(has_leftovers(&world), "nobody cleaned up");
        world.serve_again();
        assert!(!has_leftovers(&world), "what was under way is cleaned up");
        world.edit(&format!("round {round}\n"));
        world.publish();
    }
}

fn has_leftovers(world: &World) -> bool {
    let entries = fs::read_dir(world.path("store")).expect("listed").flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-"))
}

#[test]
fn a_server_that_is_told_to_stop_answers_who_waits() {
    let mut world = World::new(&Kind::Served);
    world.publish();
    let etag = ask(&world, "GET", "/remotes/prod.json", &[], b"").header("etag").expect("a tag").to_owned();
    let server = world.server().take().expect("a server");
    std::thread::scope(|scope| {
        let headers = [("if-none-match", etag.as_str()), ("prefer", "wait=60")];
        let waiting = scope.spawn({
            let world = &world;
            move || ask(world, "GET", "/remotes/prod.json", &headers, b"")
        });
        somebody_waits(|| server.words());
        let begun = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(waiting.join().expect("answered").status(), 304);
        assert!(server.stop_after_signal().success());
        assert!(begun.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn requests_are_logged() {
    let world = World::new(&Kind::Served);
    world.publish();
    ask(&world, "GET", "/remotes/none.json", &[], b"");
    let words = world.served();
    assert!(words.contains("127.0.0.1 PUT /remotes/prod.json 204"), "{words}");
    let sent = fs::read(world.path("store/remotes/prod.json")).expect("read").len();
    assert!(words.contains(&format!("PUT /remotes/prod.json 204 {sent} B")), "{words}");
    assert!(words.contains("GET /remotes/none.json 404"), "{words}");
    assert!(!words.contains(TOKEN));
}
