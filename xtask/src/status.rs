//! `cargo xtask bench status`: how long an operator waits to see a whole fleet.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use npc_tests::eventually;
use npc_tests::parts::{ACCESS_KEY, Garage, SECRET_KEY};
use npc_tests::process::{Background, start_garage};
use npc_tests::world::{Kind, World};

use crate::Outcome;
use crate::shell::{announce, build_programs, cargo, command, run};
use crate::tools::{self, is_ci};

/// How often it is measured; the shortest counts, since anything else that runs only adds to it.
const TIMES: usize = 3;

/// How many hosts an operator may see in [`LONGEST`].
const HOSTS: usize = 5000;

/// How long an operator of so many hosts may be kept waiting, also where nothing is remembered of them.
const LONGEST: Duration = Duration::from_secs(3);

/// What CI puts up with: its machines do other things as well.
const LONGEST_IN_CI: Duration = Duration::from_secs(15);

/// Times `npc-publish status` for so many hosts, each with an assignment and a report of its own.
pub(crate) fn status(hosts: usize) -> Outcome {
    announce("building npc-publish, optimised");
    build_programs("dev")?;
    let programs = build_programs("release")?;
    run(command(&cargo(), &["build", "--quiet", "--release", "-p", "npc-tests", "--bin", "crowd"]))?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (_garage, endpoint) = start_garage(&tools::garage()?, folder.path()).map_err(|error| error.to_string())?;
    println!("| status of {hosts} hosts | the first | those after it |");
    println!("|---|---|---|");
    let garage = Kind::Garage(Garage::at(&endpoint));
    for (name, kind) in [("Garage", &garage), ("embedded server", &Kind::Served)] {
        let world = World::new(kind);
        world.publish();
        let (store, server) = match kind {
            Kind::Served => (format!("file://{}", world.path("store").display()), Some(serve(&world, &programs))),
            _ => (world.url().to_string(), None),
        };
        fill(&world, &store, &programs, hosts)?;
        let store = server.as_ref().map_or(store, |(_, url)| url.clone());
        let (mut first, mut later) = (Duration::MAX, Duration::MAX);
        for _ in 0..TIMES {
            forget(&world)?;
            first = first.min(time(&world, &programs, &store, hosts)?);
            later = later.min(time(&world, &programs, &store, hosts)?);
        }
        println!("| {name} | {:.2} s | {:.2} s |", first.as_secs_f64(), later.as_secs_f64());
        let longest = if is_ci() { LONGEST_IN_CI } else { LONGEST };
        if hosts <= HOSTS && first.max(later) > longest {
            return Err(format!("the status of {hosts} hosts takes longer than {} s", longest.as_secs()));
        }
    }
    Ok(())
}

/// Writes the hosts' assignments and reports.
fn fill(world: &World, store: &str, programs: &Path, hosts: usize) -> Outcome {
    let mut crowd = Command::new(programs.join("crowd"));
    crowd.args([store, &world.fleet_id().to_string()]).arg(world.key_file("npc-publish-1"));
    crowd.args(["prod", &hosts.to_string()]);
    crowd.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    run(crowd)
}

/// Serves the world's directory as it is served in earnest: optimised.
fn serve(world: &World, programs: &Path) -> (Background, String) {
    let mut command = Command::new(programs.join("npc-publish"));
    command.arg("serve").arg(world.path("store")).args(["--listen", "127.0.0.1:0"]);
    command.arg("--tokens").arg(world.path("tokens"));
    let server = Background::start(&mut command, &world.path("optimised.log"));
    let url = eventually("it serves", || server.data().strip_suffix('\n').map(str::to_owned));
    (server, url)
}

/// Removes what an operator's machine remembers of the fleet.
fn forget(world: &World) -> Outcome {
    match fs::remove_dir_all(world.path("home/.cache/npc/documents")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn time(world: &World, programs: &Path, store: &str, hosts: usize) -> Result<Duration, String> {
    let named = world.command("npc-publish");
    let mut command = Command::new(programs.join("npc-publish"));
    for (name, value) in named.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["status", "--store", store]).current_dir(world.path("fleet"));
    let begun = Instant::now();
    let output = command.output().map_err(|error| error.to_string())?;
    let took = begun.elapsed();
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && words.contains(&format!("{hosts} hosts: {hosts} current")) {
        Ok(took)
    } else {
        Err(format!("the status is not what it should be: {words}"))
    }
}
