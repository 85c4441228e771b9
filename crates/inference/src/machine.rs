//! What this machine has and what of it is free: memory, processors, disk, from `/proc`, the cgroup and the file system.
//!
//! What cannot be read is zero, which every reader takes for "not known"; a machine never fails to report.

use std::path::{Path, PathBuf};

use base::report::{Gpu, Machine};

/// Reads the machine again and again; keeps the last processor times, since use is a difference between two.
#[derive(Debug)]
pub struct Sampler {
    models_dir: PathBuf,
    last: Option<CpuTimes>,
}

impl Sampler {
    /// For a machine whose models are kept below `models_dir`.
    pub fn new(models_dir: impl Into<PathBuf>) -> Self {
        Self { models_dir: models_dir.into(), last: None }
    }

    /// Reads everything; processor use is that since the last call, and 0 at the first one.
    pub fn read(&mut self, gpus: Vec<Gpu>) -> Machine {
        let memory = memory_of(&text("/proc/meminfo")).within(&cgroup_limits());
        let now = CpuTimes::parse(&text("/proc/stat"));
        let cpu_used = match (self.last, now) {
            (Some(before), Some(now)) => now.used_since(before),
            _ => 0.0,
        };
        self.last = now;
        let disk_free_bytes = disk_free(&self.models_dir);
        Machine { memory_bytes: memory.total, memory_free_bytes: memory.free, cpu_used, disk_free_bytes, gpus }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Memory {
    total: u64,
    free: u64,
}

/// A bound on the memory of this process and its children (the engines that it owns).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Limit {
    most: u64,
    used: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuTimes {
    idle: u64,
    total: u64,
}

impl Memory {
    fn within(self, limits: &[Limit]) -> Self {
        limits.iter().fold(self, |memory, limit| Self {
            total: memory.total.min(limit.most),
            free: memory.free.min(limit.most.saturating_sub(limit.used)),
        })
    }
}

impl CpuTimes {
    /// Reads the first line of `/proc/stat`. Guest time is part of user time already, so it is left out.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> = line.split_ascii_whitespace().take(8).map_while(|time| time.parse().ok()).collect();
        let (idle, waiting) = (*times.get(3)?, times.get(4).copied().unwrap_or(0));
        Some(Self { idle: idle + waiting, total: times.iter().sum() })
    }

    fn used_since(self, before: Self) -> f64 {
        let (idle, total) = (self.idle.saturating_sub(before.idle), self.total.saturating_sub(before.total));
        if total == 0 { 0.0 } else { (1.0 - idle as f64 / total as f64).clamp(0.0, 1.0) }
    }
}

/// An unreadable file reads as empty, whose fields are not known.
fn text(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn memory_of(meminfo: &str) -> Memory {
    let kib = |name: &str| {
        let rest = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Memory { total: kib("MemTotal").unwrap_or(0) << 10, free: kib("MemAvailable").unwrap_or(0) << 10 }
}

/// The limits of this process's cgroup and of all above it, as far as they are set (cgroup v2).
fn cgroup_limits() -> Vec<Limit> {
    let groups = text("/proc/self/cgroup");
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(path);
    group.ancestors().take_while(|group| group.starts_with(root)).filter_map(limit_at).collect()
}

fn limit_at(group: &Path) -> Option<Limit> {
    let number = |file: &str| text(group.join(file)).trim().parse::<u64>().ok();
    // The cache of files counts as used but makes room by itself: a model read from disk must not look like a full machine.
    let stat = text(group.join("memory.stat"));
    let cache = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok()).unwrap_or(0);
    Some(Limit { most: number("memory.max")?, used: number("memory.current")?.saturating_sub(cache) })
}

/// Free space for an ordinary user in the file system of `path`, or of its nearest ancestor that exists.
pub(crate) fn disk_free(path: &Path) -> u64 {
    let stat = path.ancestors().find_map(|ancestor| rustix::fs::statvfs(ancestor).ok());
    stat.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_by_the_tightest_cgroup() {
        let memory = memory_of("MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\n");
        assert_eq!(memory, Memory { total: 16 << 20, free: 8 << 20 });
        let limits = [Limit { most: 6 << 20, used: 5 << 20 }, Limit { most: 12 << 20, used: 11 << 20 }];
        assert_eq!(memory.within(&limits), Memory { total: 6 << 20, free: 1 << 20 });
    }

    #[test]
    fn limits_of_a_cgroup_leave_out_what_is_only_cache() {
        let group = tempfile::tempdir().unwrap();
        assert_eq!(limit_at(group.path()), None);
        for (file, text) in
            [("memory.max", "1000\n"), ("memory.current", "700\n"), ("memory.stat", "anon 5\ninactive_file 600\n")]
        {
            std::fs::write(group.path().join(file), text).unwrap();
        }
        assert_eq!(limit_at(group.path()), Some(Limit { most: 1000, used: 100 }));
        std::fs::write(group.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(limit_at(group.path()), None);
    }

    #[test]
    fn processor_use_is_what_passed_between_two_reads() {
        let before = CpuTimes::parse("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4").unwrap();
        let now = CpuTimes::parse("cpu  150 0 150 750 150 0 0 0 99 0\n").unwrap();
        assert_eq!((before.total, now.used_since(before)), (1000, 0.5));
        assert_eq!(now.used_since(now), 0.0);
        assert_eq!(CpuTimes::parse("cpu  1 2 x"), None);
    }

    #[test]
    fn this_machine_has_memory_and_disk() {
        let mut sampler = Sampler::new("/tmp/no/such/place");
        sampler.read(Vec::new());
        let machine = sampler.read(Vec::new());
        assert!(machine.memory_bytes >= machine.memory_free_bytes && machine.memory_free_bytes > 0, "{machine:?}");
        assert!((0.0..=1.0).contains(&machine.cpu_used) && machine.disk_free_bytes > 0, "{machine:?}");
    }
}
