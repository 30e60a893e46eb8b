//! `cargo xtask fuzz`: libFuzzer on the targets of `fuzz/`, guided by coverage, with the stable compiler.
//!
//! The compiler's stable options suffice: LLVM's own pass puts the counters in, and the crate `libfuzzer-sys` brings
//! libFuzzer's source. Sanitizers would take a nightly compiler; without `unsafe` code there is little for them to find.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::Outcome;
use crate::shell::{announce, cargo, command, root, run, target_directory};

/// What has LLVM count edges and tell comparisons apart (Clang's documentation, "`SanitizerCoverage`").
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What one input may take, in seconds and in MB. An instrumented program is about ten times slower.
const BOUNDS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=512"];

/// How long a failing input is made smaller, in seconds.
const SHRINKING: u32 = 30;

/// Fuzzes one target, or each, for so many seconds.
pub(crate) fn fuzz(target: Option<&str>, seconds: u32) -> Outcome {
    let kept = root().join("fuzz/corpus");
    let all = names(&kept)?;
    let chosen: Vec<_> = all.iter().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        return Err(format!("there is no such target; there are {}", all.join(", ")));
    }
    announce("building the fuzzer");
    let fuzzer = Fuzzer { program: build()?, kept, work: target_directory().join("fuzzing") };
    announce(&format!("fuzzing, {seconds} s each"));
    for name in chosen {
        println!("{name}: {}", fuzzer.run(name, seconds)?);
    }
    Ok(())
}

fn names(kept: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// With `--target`, the counters are put into the program alone, not into build scripts, which could not be linked then.
fn build() -> Result<PathBuf, String> {
    let version = command("rustc", &["-vV"]).output().map_err(|error| format!("rustc: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not say its host")?;
    let mut build = command(
        &cargo(),
        &["build", "--quiet", "-p", "npc-fuzz", "--features", "libfuzzer", "--profile", "fuzz", "--target", host],
    );
    build.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", INSTRUMENTATION);
    run(build)?;
    Ok(target_directory().join(host).join("fuzz/npc-fuzz"))
}

/// The built fuzzer, and where it finds and leaves inputs.
struct Fuzzer {
    program: PathBuf,
    kept: PathBuf,
    work: PathBuf,
}

impl Fuzzer {
    /// Runs one target. Returns what is worth knowing about it.
    fn run(&self, target: &str, seconds: u32) -> Result<String, String> {
        let (found, failed) = (self.work.join("corpus").join(target), self.work.join("failed"));
        for directory in [&found, &failed] {
            fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        let log = self.work.join(format!("{target}.log"));
        let words = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut fuzzer = command(&self.program.to_string_lossy(), &BOUNDS);
        // What is new goes into the first directory, beside which the kept inputs are read.
        fuzzer.arg(&found).arg(self.kept.join(target));
        fuzzer.args([format!("-max_total_time={seconds}"), "-print_final_stats=1".to_owned()]);
        let input = failed.join(target);
        fuzzer.arg(format!("-exact_artifact_path={}", input.display()));
        fuzzer.env("NPC_FUZZ_TARGET", target).stdout(Stdio::null()).stderr(words);
        let ended = fuzzer.status().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let words = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        if ended.success() {
            return Ok(summary(&words));
        }
        self.shrink(target, &input);
        let panic = words.split_once(" panicked at ").map_or(&*words, |(_, panic)| panic);
        let panic: Vec<_> = panic.lines().take(4).collect();
        Err(format!(
            "`{target}` breaks a promise: {}\n{} does it; once it is mended, keep that as {}/found-… ({} has all)",
            panic.join("\n"),
            input.display(),
            self.kept.join(target).display(),
            log.display()
        ))
    }

    /// Makes the failing input as small as can be done in a while, in its place.
    fn shrink(&self, target: &str, input: &Path) {
        let smaller = input.with_extension("smaller");
        let mut fuzzer = command(&self.program.to_string_lossy(), &BOUNDS);
        fuzzer.arg("-minimize_crash=1").arg(format!("-max_total_time={SHRINKING}"));
        fuzzer.arg(format!("-exact_artifact_path={}", smaller.display())).arg(input);
        fuzzer.env("NPC_FUZZ_TARGET", target).stdout(Stdio::null()).stderr(Stdio::null());
        // However it ends: the input as it was found does as well.
        let _ = fuzzer.status();
        let _ = fs::rename(smaller, input);
    }
}

/// Of libFuzzer's words, how many inputs it tried and how much of the program they reached.
fn summary(words: &str) -> String {
    let after =
        |mark: &str| words.rsplit_once(mark).and_then(|(_, rest)| rest.split_whitespace().next()).unwrap_or("?");
    format!(
        "{} inputs, {} edges reached, {} MB at most",
        after("stat::number_of_executed_units:"),
        after(" cov: "),
        after("stat::peak_rss_mb:")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_figures_count() {
        let words = "#2 INITED cov: 7 ft: 8\n#9 DONE   cov: 812 ft: 900\nstat::number_of_executed_units: 9000\n\
                     stat::peak_rss_mb:               61\n";
        assert_eq!(summary(words), "9000 inputs, 812 edges reached, 61 MB at most");
        assert_eq!(summary("nothing"), "? inputs, ? edges reached, ? MB at most");
    }
}
