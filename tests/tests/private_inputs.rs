//! Flakes with inputs that not everybody may fetch: the host's agent lets Nix in, and what lets it in goes nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use npc_core::files;
use npc_tests::parts::{Nix, tool};
use npc_tests::process::Ended;
use npc_tests::world::{Agent, Kind, World};
use walkdir::WalkDir;

/// What the input brings: a module of the example's.
const MODULE: &str = "{ ... }: { environment.etc.private.text = \"from a private input\"; }\n";

/// What lets Nix in, wherever it is needed.
const SECRET: &str = "a-secret-that-only-this-test-knows";

/// A fleet whose flake has an input at `url`, a host of it, and a Nix that notes its arguments.
struct Scene {
    world: World,
    nix: Nix,
}

impl Scene {
    fn new(url: &str, nix: &Nix, lock: impl FnOnce(&Scene, &mut Command)) -> Self {
        let world = World::new(&Kind::Directory);
        let scene = Self { nix: Nix { programs: world.path("programs") }, world };
        fs::create_dir(scene.path("programs")).expect("created");
        for program in ["nix-env", "nix-store"] {
            std::os::unix::fs::symlink(nix.programs.join(program), scene.path("programs").join(program))
                .expect("linked");
        }
        let (real, calls, settings) = (nix.program(), scene.path("nix-calls"), scene.path("nix-settings"));
        let (real, calls, settings) = (real.display(), calls.display(), settings.display());
        // What Nix takes its settings to be is asked of Nix itself; newer ones have another word for the question.
        let ask = "--extra-experimental-features 'nix-command flakes'";
        scene.program(
            "nix",
            &format!(
                "echo \"$*\" >> {calls}\n{real} {ask} show-config > {settings} 2> /dev/null || {real} {ask} config show > \
                 {settings}\nexec {real} \"$@\""
            ),
        );
        scene.take_input(url);
        scene.lock(nix, lock);
        scene.world.publish();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path(name)
    }

    /// A shell script that the host finds before any other program of its name.
    fn program(&self, name: &str, text: &str) {
        let path = self.path("programs").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
    }

    /// A file with a secret in it.
    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        files::write_atomically(&path, text.as_bytes(), 0o600).expect("written");
        path
    }

    /// Has every host of the fleet include the module of an input.
    fn take_input(&self, url: &str) {
        let path = self.path("fleet/flake.nix");
        let flake = fs::read_to_string(&path).expect("the example's flake");
        let inputs =
            format!("inputs.private = {{ url = \"{url}\"; flake = false; }};\n\n  outputs = {{ self, private }}:");
        let flake = flake.replace("outputs = { self }:", &inputs);
        let flake = flake.replace("./modules/base.nix", "./modules/base.nix \"${private}/module.nix\"");
        assert!(flake.contains("{ self, private }") && flake.contains("${private}/module.nix"), "{flake}");
        fs::write(path, flake).expect("written");
    }

    /// Locks the flake as an operator who may fetch the input, in a Nix store of which the host has nothing.
    fn lock(&self, nix: &Nix, allow: impl FnOnce(&Scene, &mut Command)) {
        let mut command = Command::new(nix.program());
        command.args(["--extra-experimental-features", "nix-command flakes", "flake", "lock"]);
        command.arg(format!("path:{}", self.path("fleet").display()));
        for name in ["STORE", "STATE", "LOG", "CONF"] {
            command.env(format!("NIX_{name}_DIR"), self.path("operator").join(name));
        }
        command.env("NIX_REMOTE", "").env("HOME", self.path("operator")).env_remove("XDG_CACHE_HOME");
        allow(self, &mut command);
        Ended::of(&mut command).works();
        assert!(self.path("fleet/flake.lock").exists());
    }

    fn host(&self) -> Agent<'_> {
        self.world.agent("web-1", &self.nix)
    }

    /// Tells the host's agent this for its builds, and has it try. Gives all that it said.
    fn tries(agent: &Agent, build: &str) -> Ended {
        let path = agent.path("agent.toml");
        let settings = fs::read_to_string(&path).expect("settings");
        let settings = settings.split("[build]").next().expect("a beginning");
        fs::write(path, format!("{settings}\n[build]\n{build}\n")).expect("written");
        agent.run(&["retry"]);
        agent.once()
    }

    /// Everything below the world's folder that holds the secret.
    fn files_with_the_secret(&self) -> Vec<PathBuf> {
        let files = WalkDir::new(self.path(""))
            .sort_by_file_name()
            .into_iter()
            .map(|entry| entry.expect("an entry").into_path());
        let has_secret = |path: &PathBuf| {
            fs::read(path).is_ok_and(|bytes| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()))
        };
        files.filter(|path| path.is_file() && has_secret(path)).collect()
    }
}

/// The host runs what the release says, with what the input brought.
#[track_caller]
fn runs_the_private_module(agent: &Agent, tried: &Ended) {
    assert_eq!(tried.code, Some(0), "{tried:?}");
    assert_eq!(agent.committed(), Some(1));
    let file = agent.running().expect("a system").join("etc/private");
    assert_eq!(fs::read_to_string(file).expect("read"), "from a private input");
}

/// A web server that gives a tarball to whoever shows a name and a password, and notes how often it refused.
struct Guarded {
    address: String,
}

impl Guarded {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let expected = format!("Basic {}", BASE64.encode(format!("fleet:{SECRET}")));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away in the middle is its own affair.
                let _ = answer(stream, &expected);
            }
        });
        Self { address }
    }

    fn url(&self) -> String {
        format!("http://{}/private.tar.gz", self.address)
    }

    fn netrc(&self) -> String {
        let host = self.address.split(':').next().expect("a host");
        format!("machine {host}\nlogin fleet\npassword {SECRET}\n")
    }
}

fn answer(mut stream: TcpStream, expected: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    let (status, body) = match headers.get("authorization") {
        Some(shown) if shown == expected => ("200 OK", tarball()),
        _ => ("401 Unauthorized", Vec::new()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"inputs\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)?;
    // What the client has not sent yet must not break off what it has not read yet.
    stream.shutdown(std::net::Shutdown::Write)?;
    std::io::copy(&mut reader.take(1024 * 1024), &mut std::io::sink()).map(drop)
}

fn tarball() -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
    let mut header = tar::Header::new_gnu();
    header.set_size(MODULE.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "private/module.nix", MODULE.as_bytes()).expect("appended");
    archive.into_inner().and_then(flate2::write::GzEncoder::finish).expect("a tarball")
}

fn over_http(nix: &Nix) {
    let server = Guarded::new();
    let scene = Scene::new(&server.url(), nix, |scene, command| {
        let netrc = scene.secret("operators-netrc", &server.netrc());
        command.args(["--option", "netrc-file"]).arg(netrc);
    });
    let agent = scene.host();

    let refused = Scene::tries(&agent, "");
    assert_ne!(refused.code, Some(0), "the host has nothing to show");
    assert!(refused.words.contains("HTTP error 401"), "{refused:?}");
    assert_eq!(agent.committed(), None);

    let netrc = scene.secret("hosts-netrc", &server.netrc());
    let setting = format!("netrc_file = \"{}\"", netrc.display());
    fs::set_permissions(&netrc, fs::Permissions::from_mode(0o644)).expect("set");
    let exposed = Scene::tries(&agent, &setting);
    assert!(exposed.words.contains("build.netrc_file") && exposed.words.contains("owner"), "{exposed:?}");
    fs::set_permissions(&netrc, fs::Permissions::from_mode(0o400)).expect("set");

    runs_the_private_module(&agent, &Scene::tries(&agent, &setting));
    assert_eq!(scene.files_with_the_secret(), [netrc, scene.path("operators-netrc")]);
    let calls = fs::read_to_string(scene.path("nix-calls")).expect("calls");
    assert!(calls.contains("netrc-file") && !calls.contains(SECRET), "{calls}");
}

#[test]
fn a_private_input_is_fetched_over_http_with_the_netrc_which_is_copied_nowhere() {
    if let Some(nix) = Nix::find() {
        over_http(&nix);
    }
}

#[test]
fn a_newer_nix_fetches_a_private_input_over_http_too() {
    if let Some(nix) = Nix::find_newer() {
        over_http(&nix);
    }
}

/// A repository with the module, to be had over SSH.
fn repository(place: &Path) {
    fs::create_dir_all(place).expect("created");
    fs::write(place.join("module.nix"), MODULE).expect("written");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]);
        Ended::of(git.arg("-C").arg(place).args(arguments)).works();
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "module.nix"]);
    git(&["commit", "--quiet", "--message=A module"]);
}

/// Stands in for ssh: lets in whoever has the key, and runs here what is to be run there.
fn ssh(calls: &Path) -> String {
    format!(
        "echo \"$*\" >> {}\n\
         for last do :; done\n\
         while [ $# -gt 1 ]; do\n\
           if [ \"$1\" = -i ]; then key=$2; fi\n\
           shift\n\
         done\n\
         grep -q {SECRET} \"${{key:-/dev/null}}\" || {{ echo 'Permission denied (publickey).' >&2; exit 255; }}\n\
         exec sh -c \"$last\"",
        calls.display()
    )
}

fn over_ssh(nix: &Nix) {
    let Some(_) = tool("git") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("inputs");
    repository(&place);
    let url = format!("git+ssh://git@git.example.org{}?ref=main", place.display());
    let scene = Scene::new(&url, nix, |scene, command| {
        scene.program("ssh", &ssh(&scene.path("ssh-calls")));
        let key = scene.secret("operators-key", SECRET);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(scene.path("programs")).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(path).expect("a path"));
        command.env("GIT_SSH_COMMAND", format!("ssh -i {}", key.display()));
    });
    let agent = scene.host();

    let refused = Scene::tries(&agent, "");
    assert_ne!(refused.code, Some(0), "the host has no key to show");
    assert_eq!(agent.committed(), None);

    let (key, known) = (scene.secret("hosts-key", SECRET), scene.path("known-hosts"));
    let (key_shown, known_shown) = (key.display(), known.display());
    let settings = format!("ssh_key_file = \"{key_shown}\"\nssh_known_hosts_file = \"{known_shown}\"");
    let unknown = Scene::tries(&agent, &settings);
    assert!(unknown.words.contains("build.ssh_known_hosts_file"), "{unknown:?}");
    fs::write(&known, "git.example.org ssh-ed25519 AAAA\n").expect("written");

    runs_the_private_module(&agent, &Scene::tries(&agent, &settings));
    assert_eq!(scene.files_with_the_secret(), [key.clone(), scene.path("operators-key"), scene.path("programs/ssh")]);
    let calls = fs::read_to_string(scene.path("ssh-calls")).expect("calls");
    let last = calls.lines().last().expect("a call");
    let (options, _) = last.split_once(" git@git.example.org").expect("a call of git's");
    // The real one says what it makes of the options.
    let Some(ssh) = tool("ssh") else { return };
    let mut command = Command::new(ssh);
    let understood = Ended::of(command.args(options.split(' ')).args(["-G", "git@git.example.org"])).works();
    for line in [
        "batchmode yes",
        "stricthostkeychecking true",
        "identitiesonly yes",
        "identityagent none",
        &format!("identityfile {}", key.display()),
        &format!("userknownhostsfile {}", known.display()),
    ] {
        assert!(understood.lines().any(|one| one == line), "no `{line}` in {understood}");
    }
}

#[test]
fn a_private_input_is_fetched_over_ssh_with_the_key_from_servers_that_are_known() {
    if let Some(nix) = Nix::find() {
        over_ssh(&nix);
    }
}

#[test]
fn a_newer_nix_fetches_a_private_input_over_ssh_too() {
    if let Some(nix) = Nix::find_newer() {
        over_ssh(&nix);
    }
}

fn with_tokens(nix: &Nix) {
    let server = Guarded::new();
    let scene = Scene::new(&server.url(), nix, |scene, command| {
        let netrc = scene.secret("operators-netrc", &server.netrc());
        command.args(["--option", "netrc-file"]).arg(netrc);
    });
    let agent = scene.host();
    let tokens = scene.secret("tokens", &format!("{SECRET}\n"));
    let settings = format!(
        "netrc_file = \"{}\"\naccess_tokens_file = \"{}\"",
        scene.path("operators-netrc").display(),
        tokens.display()
    );
    let wrong = Scene::tries(&agent, &settings);
    assert!(wrong.words.contains("access_tokens_file") && wrong.words.contains("line 1"), "{wrong:?}");
    assert!(!wrong.words.contains(SECRET), "Nix would have quoted it");

    scene.secret("tokens", &format!("access-tokens = git.example.org={SECRET}\n"));
    runs_the_private_module(&agent, &Scene::tries(&agent, &settings));
    let told = fs::read_to_string(scene.path("nix-settings")).expect("settings");
    let line = told.lines().find(|line| line.starts_with("access-tokens")).expect("the setting");
    assert!(line.ends_with(&format!("git.example.org={SECRET}")), "{line}");
    fs::remove_file(scene.path("nix-settings")).expect("removed");
    assert_eq!(scene.files_with_the_secret(), [scene.path("operators-netrc"), tokens]);
    let calls = fs::read_to_string(scene.path("nix-calls")).expect("calls");
    assert!(!calls.contains(SECRET), "{calls}");
}

#[test]
fn access_tokens_reach_nix_and_neither_its_arguments_nor_what_is_said_of_it() {
    if let Some(nix) = Nix::find() {
        with_tokens(&nix);
    }
}

#[test]
fn access_tokens_reach_a_newer_nix_likewise() {
    if let Some(nix) = Nix::find_newer() {
        with_tokens(&nix);
    }
}
