//! `cargo xtask bench`: figures for the docs.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use npc_tests::parts::{ACCESS_KEY, BUCKET, Garage, REGION, SECRET_KEY};
use npc_tests::process::{Background, Ended, start_garage};
use npc_tests::proxy::Proxy;
use npc_tests::world::{Kind, World, socket_of};

use crate::Outcome;
use crate::shell::{announce, build_programs, cargo, command, root, run};
use crate::tools::{self, is_ci};

/// What polls cost, as the worker printed it.
#[derive(Debug, Default)]
struct Cost {
    cpu: f64,
    peak: f64,
    anonymous: f64,
    bytes: u64,
}

/// The CPU time that CI lets a poll take, in seconds: a third of that is enough where nothing else uses the caches.
const CPU_IN_CI: f64 = 0.003;

impl Cost {
    /// What an agent may cost: that CPU time per poll, 16 MB resident, 3 MB of its own.
    fn check(&self, polls: u32) -> Outcome {
        if self.cpu <= f64::from(polls) * CPU_IN_CI && self.peak <= 16_000.0 && self.anonymous <= 3_000.0 {
            return Ok(());
        }
        Err(format!("polling costs more than it may: {self:?}"))
    }
}

/// What a poll of an unchanged remote costs: against Garage, against the embedded server, and with the AWS CLI.
pub(crate) fn poll(polls: u32) -> Outcome {
    announce("building the agent, optimised");
    let programs = build_programs("release")?;
    run(command(&cargo(), &["build", "--quiet", "--release", "-p", "npc-agent", "--example", "poll_cost"]))?;
    build_programs("dev")?;
    let worker = programs.join("examples/poll_cost");
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let garage = tools::garage()?;
    let (_garage, endpoint) = start_garage(&garage, folder.path()).map_err(|error| error.to_string())?;
    announce(&format!("{polls} polls each"));
    println!("| polling an unchanged remote | CPU per poll | bytes per poll | peak resident | anonymous |");
    println!("|---|---|---|---|---|");
    let found = Garage::at(&endpoint);
    for (name, kind) in [("npc-agent, Garage", Kind::Garage(found)), ("npc-agent, embedded server", Kind::Served)] {
        let cost = measure(&worker, &kind, &endpoint, polls)?;
        if is_ci() {
            cost.check(polls)?;
        }
        println!(
            "| {name} | {:.2} ms | {} | {:.1} MB | {:.1} MB |",
            cost.cpu * 1000.0 / f64::from(polls),
            cost.bytes / u64::from(polls),
            cost.peak / 1000.0,
            cost.anonymous / 1000.0
        );
    }
    match aws_cli(&endpoint) {
        Ok((seconds, megabytes)) => {
            println!("| aws s3api head-object | {:.0} ms | - | {megabytes:.1} MB | - |", seconds * 1000.0);
        }
        Err(reason) if is_ci() => return Err(format!("the AWS CLI: {reason}")),
        Err(reason) => eprintln!("SKIPPED the AWS CLI: {reason}"),
    }
    Ok(())
}

fn measure(worker: &Path, kind: &Kind, garage: &str, polls: u32) -> Result<Cost, String> {
    let world = World::new(kind);
    world.publish();
    let agent = world.command_agent("web-1", "true");
    let settings = std::fs::read_to_string(agent.path("agent.toml")).map_err(|error| error.to_string())?;
    // A second server on the same directory, which makes nobody wait.
    let mut eager = Command::new(npc_tests::parts::program("npc-publish"));
    eager
        .arg("serve")
        .arg(world.path("store"))
        .args(["--listen", "127.0.0.1:0", "--longest-wait", "0"])
        .env("NPC_LOG", "warn");
    let eager = Background::start(&mut eager, &world.path("eager.log"));
    let url = npc_tests::eventually("it serves", || eager.data().strip_suffix('\n').map(str::to_owned));
    let target = match kind {
        Kind::Garage(_) => socket_of(garage),
        _ => socket_of(url.trim_end_matches('/')),
    };
    let proxy = Proxy::start(target).map_err(|error| error.to_string())?;
    let through = format!("http://{}/", proxy.address());
    let settings = match kind {
        Kind::Garage(_) => settings.replace(&format!("{garage}/"), &through),
        _ => settings.replace(&world.url().to_string(), &through),
    };
    std::fs::write(agent.path("agent.toml"), settings).map_err(|error| error.to_string())?;
    let mut command = Command::new(worker);
    command.arg(agent.path("agent.toml")).arg(agent.path("state")).arg(polls.to_string());
    command
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("HOME", world.path("home"));
    let data = Ended::of(&mut command).works();
    let number = |name: &str| {
        let line = data.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().parse::<f64>().map_err(|error| format!("{name}: {error}"))
    };
    Ok(Cost { cpu: number("cpu")?, peak: number("peak")?, anonymous: number("anonymous")?, bytes: proxy.passed() })
}

/// Seconds of CPU and the peak memory of one `aws s3api head-object`, from Python's own accounting of its children.
fn aws_cli(endpoint: &str) -> Result<(f64, f64), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let aws = match tools::on_path("aws") {
        Some(aws) => aws,
        None => tools::aws_cli()?,
    };
    let place = folder.path().join("object");
    std::fs::write(&place, "x").map_err(|error| error.to_string())?;
    let script = "import resource,subprocess,sys\n\
                  run=lambda *a: subprocess.run([sys.argv[1],'--endpoint-url',sys.argv[2],'s3api',*a],check=True,stdout=subprocess.DEVNULL)\n\
                  run('put-object','--bucket',sys.argv[3],'--key','head','--body',sys.argv[4])\n\
                  before=resource.getrusage(resource.RUSAGE_CHILDREN)\n\
                  for _ in range(3): run('head-object','--bucket',sys.argv[3],'--key','head')\n\
                  after=resource.getrusage(resource.RUSAGE_CHILDREN)\n\
                  print((after.ru_utime+after.ru_stime-before.ru_utime-before.ru_stime)/3, after.ru_maxrss/1000)\n";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(aws).args([endpoint, BUCKET]).arg(&place);
    python
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_DEFAULT_REGION", REGION);
    let ended = Ended::of(&mut python);
    let figures: Vec<f64> = ended.data.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    match figures[..] {
        [seconds, megabytes] => Ok((seconds, megabytes)),
        _ => Err(format!("it did not work: {}", ended.words)),
    }
}

/// How fast flake-like text is compressed by the back ends that give the same bytes on every processor.
pub(crate) fn archive() -> Outcome {
    announce("this workspace's sources, thrice over, through each back end");
    let mut text = Vec::new();
    for _ in 0..3 {
        collect(&root().join("npc-core"), &mut text)?;
        collect(&root().join("npc-agent"), &mut text)?;
        collect(&root().join("npc-publish"), &mut text)?;
    }
    while text.len() < 32_000_000 {
        text.extend_from_within(..);
    }
    println!("| back end | level | MB/s | compressed to |");
    println!("|---|---|---|---|");
    let megabytes = number(text.len()) / 1e6;
    for level in [1, 6, 9] {
        let (zlib_rs, seconds) = timed(|| with_zlib_rs(&text, level))?;
        println!("| zlib-rs | {level} | {:.0} | {:.1} % |", megabytes / seconds, percent(zlib_rs, text.len()));
        let (miniz, seconds) = timed(|| Ok(miniz_oxide::deflate::compress_to_vec(&text, level).len()))?;
        println!("| miniz_oxide | {level} | {:.0} | {:.1} % |", megabytes / seconds, percent(miniz, text.len()));
    }
    Ok(())
}

/// Lengths here stay far below 4 GiB.
fn number(length: usize) -> f64 {
    u32::try_from(length).map_or(f64::INFINITY, f64::from)
}

fn percent(part: usize, whole: usize) -> f64 {
    number(part) * 100.0 / number(whole)
}

fn timed(work: impl Fn() -> Result<usize, String>) -> Result<(usize, f64), String> {
    let begun = Instant::now();
    let length = work()?;
    Ok((length, begun.elapsed().as_secs_f64()))
}

fn with_zlib_rs(text: &[u8], level: u8) -> Result<usize, String> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level.into()));
    writer.write_all(text).map_err(|error| error.to_string())?;
    writer.finish().map(|bytes| bytes.len()).map_err(|error| error.to_string())
}

fn collect(directory: &Path, text: &mut Vec<u8>) -> Outcome {
    let entries = std::fs::read_dir(directory).map_err(|error| error.to_string())?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, text)?;
        } else {
            text.extend(std::fs::read(&path).map_err(|error| error.to_string())?);
        }
    }
    Ok(())
}
