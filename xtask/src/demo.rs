//! `cargo xtask demo`: a fleet of three in a temp folder, told as a short story.

use std::time::{Duration, Instant};

use npc_tests::parts::Nix;
use npc_tests::process::{Background, Ended, for_a_while};
use npc_tests::world::{Agent, Kind, World};

use crate::Outcome;
use crate::shell::{announce, build_programs};
use crate::tools::{is_ci, on_path};

/// How long it may take from publishing to the last host switched, on an ordinary machine.
const TARGET: Duration = Duration::from_secs(2);

/// How long the whole of it may take.
const LONGEST: Duration = Duration::from_mins(1);

/// How much slower a busy CI machine may be before it counts as a failure.
const CI_ALLOWANCE: u32 = 10;

/// By then an agent that has just switched asks the store again, and waits in that request for what comes next.
const SETTLED: Duration = Duration::from_millis(1500);

const HOSTS: [&str; 3] = ["web-1", "web-2", "db-1"];

/// What stands in for Nix where there is none: it shows the flake's message of the day.
const APPLY: &str = "mkdir -p \"$(dirname \"$0\")/root\"\ncp modules/motd.txt \"$(dirname \"$0\")/root/motd\"\n";

pub(crate) fn demo() -> Outcome {
    announce("building npc-publish and npc-agent");
    build_programs("dev")?;
    let nix = on_path("nix").and_then(|path| Some(Nix { programs: path.parent()?.to_owned() }));
    match &nix {
        Some(_) => println!("Nix is here: the hosts really build and switch, in a Nix store of their own."),
        None => println!("There is no Nix here: the hosts apply the flake with a command instead of building it."),
    }
    let begun = Instant::now();
    let slowest = tell(nix.as_ref())?;
    let allowance = if is_ci() { CI_ALLOWANCE } else { 1 };
    if begun.elapsed() > LONGEST * allowance {
        return Err(format!("the demo took {} s", begun.elapsed().as_secs()));
    }
    if slowest > TARGET {
        eprintln!("That is above the {} s that it may take on an ordinary machine.", TARGET.as_secs());
    }
    if is_ci() && slowest > TARGET * allowance {
        return Err(format!("from publishing to switched took {:.2} s", slowest.as_secs_f64()));
    }
    println!("Nothing is left running, and the folder is gone.");
    Ok(())
}

fn tell(nix: Option<&Nix>) -> Result<Duration, String> {
    let begun = Instant::now();
    let clock = || format!("{:5.2} s", begun.elapsed().as_secs_f64());
    let world = World::new(&Kind::Served);
    println!("[{}] a fleet is made: an HTTP store at {}, a root key and a publishing key", clock(), world.url());
    let publish = || match nix {
        Some(nix) => world.evaluating(nix, &["--remote", "prod"]),
        None => world.in_fleet(&["--remote", "prod"]),
    };
    let first = publish();
    println!("[{}] npc-publish --remote prod  →  {}", clock(), said(&first));
    let agents: Vec<_> = HOSTS
        .iter()
        .map(|host| match nix {
            Some(nix) => world.agent(host, nix),
            None => world.command_agent(host, APPLY),
        })
        .collect();
    for agent in &agents {
        agent.poll_every(60);
    }
    let running: Vec<Background> = agents.iter().map(Agent::start).collect();
    println!("[{}] three agents begin: {}", clock(), HOSTS.join(", "));
    for (host, agent) in HOSTS.iter().zip(&agents) {
        agent.commits(1);
        println!("[{}] {host} runs prod@1{}", clock(), what_runs(agent));
    }
    for_a_while(SETTLED);
    println!("[{}] every agent waits at the store for a change", clock());
    world.edit("Hello from the second release.\n");
    println!("[{}] somebody edits modules/motd.txt", clock());
    let published = Instant::now();
    let ended = publish();
    println!("[{}] npc-publish --remote prod  →  {}", clock(), said(&ended));
    let release = "prod@2";
    let mut slowest = Duration::ZERO;
    for (host, agent) in HOSTS.iter().zip(&agents) {
        agent.commits(2);
        slowest = slowest.max(published.elapsed());
        let shows =
            if agent.message().is_empty() { String::new() } else { format!(", and shows: {}", greeting(agent)) };
        println!("[{}] {host} runs {release}{}{shows}", clock(), what_runs(agent));
    }
    println!("[{}] from publishing to the last host switched: {:.2} s", clock(), slowest.as_secs_f64());
    for agent in running {
        agent.stop();
    }
    drop(agents);
    let folder = world.path("");
    drop(world);
    if folder.exists() { Err(format!("{} is left", folder.display())) } else { Ok(slowest) }
}

/// The release, and the line that says what was packed of how much.
fn said(published: &Ended) -> String {
    let release = published.clone().works();
    let summary = published.words.lines().find(|line| line.contains(" packed into ")).unwrap_or_default();
    format!("{}\n          {summary}", release.trim())
}

fn what_runs(agent: &Agent<'_>) -> String {
    agent.running().and_then(|system| Some(format!(", {}", system.file_name()?.to_string_lossy()))).unwrap_or_default()
}

fn greeting(agent: &Agent<'_>) -> String {
    agent.message().lines().rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
