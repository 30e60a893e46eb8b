//! `cargo xtask bench status`: how long an operator waits to see a whole fleet.

use std::process::Command;
use std::time::{Duration, Instant};

use npc_tests::parts::{ACCESS_KEY, Garage, SECRET_KEY};
use npc_tests::process::start_garage;
use npc_tests::world::{Kind, World};

use crate::Outcome;
use crate::shell::{announce, build_programs, cargo, command, run};
use crate::tools;

/// How often it is measured; the shortest counts, since anything else that runs only adds to it.
const TIMES: usize = 5;

/// Times `npc-publish status` for so many hosts, each with an assignment and a report of its own.
pub(crate) fn status(hosts: usize) -> Outcome {
    announce("building npc-publish, optimised");
    build_programs("dev")?;
    let programs = build_programs("release")?;
    run(command(&cargo(), &["build", "--quiet", "--release", "-p", "npc-tests", "--bin", "crowd"]))?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (_garage, endpoint) = start_garage(&tools::garage()?, folder.path()).map_err(|error| error.to_string())?;
    println!("| status of {hosts} hosts | time |");
    println!("|---|---|");
    for (name, kind) in [("Garage", Kind::Garage(Garage::at(&endpoint))), ("embedded server", Kind::Served)] {
        let world = World::new(&kind);
        world.publish();
        let mut crowd = Command::new(programs.join("crowd"));
        let store = if kind == Kind::Served {
            format!("file://{}", world.path("store").display())
        } else {
            world.url().to_string()
        };
        crowd.args([&store, &world.fleet_id().to_string()]).arg(world.key_file("npc-publish-1"));
        crowd.args(["prod", &hosts.to_string()]);
        crowd.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        run(crowd)?;
        let shortest =
            (0..TIMES).map(|_| time(&world, &programs.join("npc-publish"), hosts)).collect::<Result<Vec<_>, _>>()?;
        let shortest = shortest.into_iter().min().unwrap_or_default();
        println!("| {name} | {:.2} s |", shortest.as_secs_f64());
    }
    Ok(())
}

fn time(world: &World, program: &std::path::Path, hosts: usize) -> Result<Duration, String> {
    let named = world.command("npc-publish");
    let mut command = Command::new(program);
    command.envs(named.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg("status").current_dir(world.path("fleet"));
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
