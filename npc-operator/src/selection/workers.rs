//! How many evaluations may run at once.

use std::fs;
use std::path::Path;

/// What an evaluation may take, in bytes of memory: a NixOS system takes about a gibibyte.
const EVALUATION_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Where the second version of control groups is mounted (`cgroups(7)`).
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// One per processor, as far as memory goes.
pub(super) fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = left_in_group(Path::new(CONTROL_GROUPS), &own);
    let Some(bytes) = machine.into_iter().chain(group).min() else { return 1 };
    processors.min(usize::try_from(bytes / EVALUATION_BYTES).unwrap_or(usize::MAX)).max(1)
}

/// What `proc_meminfo(5)` says can be had without swapping, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let words = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    words.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// What the control group of this process, and each one above it, leaves of its limit, in bytes; none where there is no
/// limit. A container's memory is limited in this way.
fn left_in_group(mount: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let groups = Path::new(path).ancestors().map(|group| mount.join(group));
    let left = |group: std::path::PathBuf| {
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        Some(number("memory.max")?.saturating_sub(number("memory.current")?))
    };
    groups.filter_map(left).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_of_the_groups_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let group = |path: &str, max: &str, current: &str| {
            fs::create_dir_all(folder.path().join(path)).expect("made");
            fs::write(folder.path().join(path).join("memory.max"), max).expect("written");
            fs::write(folder.path().join(path).join("memory.current"), current).expect("written");
        };
        group("a", "1000\n", "900\n");
        group("a/b", "500\n", "200\n");
        group("a/b/c", "max\n", "100\n");
        let left = |own: &str| left_in_group(folder.path(), own);
        assert_eq!(left("0::/a/b/c\n"), Some(100));
        assert_eq!(left("1:cpu:/x\n0::/a/b\n"), Some(100));
        assert_eq!(left("0::/other\n"), None);
        assert_eq!(left("0::/\n"), None);
        assert_eq!(left(""), None);
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(available("MemTotal: 2048 kB\nMemAvailable:    1024 kB\n"), Some(1024 * 1024));
        assert_eq!(available("nothing"), None);
        assert!(workers() >= 1);
    }
}
