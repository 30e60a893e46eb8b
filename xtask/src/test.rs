//! `cargo xtask test`: format, lints, licences, docs, and every test on real parts.

use std::io::BufReader;
use std::process::Stdio;

use npc_tests::parts::{ACCESS_KEY, GARAGE, HOST_BASE, MOTO, NEWER_NIX, PROGRAMS, SECRET_KEY, SKIPPED};
use npc_tests::process::start_garage;

use crate::shell::{announce, build_programs, cargo, command, root, run};
use crate::tools::{Tools, is_ci, on_path, provide};
use crate::{Outcome, bench, demo, fuzz, pack, status};

/// How long each target is fuzzed in CI, in seconds: for what only just broke. Plain tests replay what was found before.
const FUZZING: u32 = 10;

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(crate) fn test(filter: Option<&str>) -> Outcome {
    announce("what the tests need");
    let tools = provide()?;
    if filter.is_none() {
        check(&tools)?;
    }
    let count = run_tests(&tools, filter)?;
    if filter.is_none() {
        announce("the demo");
        demo::demo()?;
        if is_ci() {
            bench::poll(1000)?;
            bench::archive()?;
            status::status(5000)?;
            pack::pack(100_000)?;
            fuzz::fuzz(None, FUZZING)?;
        }
    }
    for part in &tools.missing {
        eprintln!("SKIPPED, since it is missing: {part}");
    }
    println!("\n{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    if count.failed > 0 { Err("some tests failed".to_owned()) } else { Ok(()) }
}

/// What needs no test to run.
fn check(tools: &Tools) -> Outcome {
    let cargo = cargo();
    announce("format");
    run(command(&cargo, &["fmt", "--all", "--check"]))?;
    announce("lints");
    run(command(&cargo, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    announce("documentation");
    let mut doc = command(&cargo, &["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run(doc)?;
    if let Some(cargo_deny) = &tools.cargo_deny {
        announce("licences, sources and duplicates");
        let mut deny = command(&cargo_deny.to_string_lossy(), &["--log-level", "error", "check"]);
        // The advisory database is fetched from a server that a sealed machine cannot reach.
        deny.args(["bans", "licenses", "sources"]);
        run(deny)?;
    }
    if on_path("shellcheck").is_some() {
        announce("shell scripts");
        check_scripts()?;
    }
    Ok(())
}

fn check_scripts() -> Outcome {
    let tools = ["newer-nix", "host-base", "host-firmware", "host-power"].map(|name| format!("tests/tools/{name}.sh"));
    let mut scripts = command("shellcheck", &[".ci/run", "bootstrap/bootstrap.sh"]);
    scripts.args(tools);
    run(scripts)?;
    let common = ["prelude", "activate", "switch-to-configuration", "init"];
    for (systems, others) in [("examples/fleet", &[][..]), ("tests/systems", &["install-boot-loader"])] {
        let names = common.iter().chain(others);
        // Templates that Nix completes and puts behind each other: what one sets, another reads.
        let mut templates = command("shellcheck", &["--shell=sh", "--exclude=SC2154,SC2034,SC2148,SC2123,SC3013"]);
        templates.args(names.map(|name| format!("{systems}/lib/scripts/{name}.sh")));
        run(templates)?;
    }
    Ok(())
}

fn run_tests(tools: &Tools, filter: Option<&str>) -> Result<Count, String> {
    announce("tests");
    let programs = build_programs("dev")?;
    run(command(&cargo(), &["build", "--quiet", "-p", "terraform-provider-aws-stub", "-p", "terraform-provider-npc"]))?;
    // Two that come first to Nix's own store disturb each other at making it. Where it is another's to make, it is there already.
    if let Some(nix_store) = on_path("nix-store")
        && let Err(reason) = run(command(&nix_store.to_string_lossy(), &["--init"]))
    {
        eprintln!("the Nix store cannot be made beforehand: {reason}");
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut tests = command(&cargo(), &["test", "--workspace", "--no-fail-fast"]);
    if let Some(filter) = filter {
        tests.args(["--", filter]);
    }
    tests
        .env(PROGRAMS, programs)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let skipped = folder.path().join("skipped");
    tests.env(SKIPPED, &skipped);
    let garage = tools.garage.as_deref().map(|program| start_garage(program, folder.path())).transpose();
    let garage = garage.map_err(|error| format!("Garage cannot be started: {error}"))?;
    if let Some((_, endpoint)) = &garage {
        tests.env(GARAGE, endpoint);
    }
    if let Some(moto) = &tools.moto {
        tests.env(MOTO, moto);
    }
    if !tools.newer_nix.is_empty() {
        tests.env(NEWER_NIX, std::env::join_paths(&tools.newer_nix).map_err(|error| error.to_string())?);
    }
    if let Some(host_base) = &tools.host_base {
        tests.env(HOST_BASE, host_base);
    }
    let mut child = tests.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("cargo test has no output")?;
    let mut count = echo_and_count(BufReader::new(output), std::io::stdout())?;
    let lacking: std::collections::BTreeMap<_, _> = std::fs::read_to_string(&skipped)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(": ").map(|(test, part)| (test.to_owned(), part.to_owned())))
        .collect();
    for (test, part) in &lacking {
        eprintln!("SKIPPED {test}, for want of {part}");
        count.passed = count.passed.saturating_sub(1);
        count.skipped += 1;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() && count.failed == 0 {
        return Err(format!("cargo test ended with {status}; its output is above, from {}", root().display()));
    }
    if count.passed == 0 && (is_ci() || filter.is_none()) {
        return Err("no test ran".to_owned());
    }
    Ok(count)
}

/// Passes on what cargo says, and adds up its summaries.
fn echo_and_count(output: impl std::io::BufRead, mut echo: impl std::io::Write) -> Result<Count, String> {
    let mut count = Count::default();
    for line in output.lines() {
        let line = line.map_err(|error| error.to_string())?;
        writeln!(echo, "{line}").map_err(|error| error.to_string())?;
        if let Some(summary) = line.strip_prefix("test result: ") {
            let number = |word: &str| {
                let before = summary.split(word).next().unwrap_or_default();
                before.split_whitespace().last().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
            };
            count.passed += number(" passed");
            count.failed += number(" failed");
            count.skipped += number(" ignored");
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_added_up() {
        let output = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\nnoise\n\
                      test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out\n";
        let count = echo_and_count(output.as_bytes(), Vec::new()).expect("counted");
        assert_eq!(count, Count { passed: 13, failed: 2, skipped: 1 });
    }
}
