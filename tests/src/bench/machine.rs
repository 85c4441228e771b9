//! What processes cost, as `/proc` tells: CPU time and memory of a process with everything it has started.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::time::Duration;

use anyhow::{Context, Result};

/// `/proc` counts CPU time in hundredths of a second on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// CPU time that the tree below `pid` has used, with all threads, and with those of its children that have ended.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let mut ticks = 0;
    for one in tree(pid)? {
        // A child that ended since the tree was read counts in its parent.
        if let Some(stat) = stat(one) {
            let is_root = if one == pid { 4 } else { 2 };
            ticks += (11..11 + is_root).filter_map(|field| stat.get(field)?.parse::<u32>().ok()).sum::<u32>();
        }
    }
    Ok(TICK * ticks)
}

/// Memory of the tree below `pid`, in bytes; shared pages count in proportion.
pub fn memory(pid: u32) -> Result<u64> {
    let mut kib = 0;
    for one in tree(pid)? {
        let rollup = read_to_string(format!("/proc/{one}/smaps_rollup")).context("could not read smaps_rollup")?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup has no Pss")?;
        kib += line.trim().trim_end_matches(" kB").trim().parse::<u64>().context("Pss is not a number")?;
    }
    Ok(kib * 1024)
}

/// The model of the processor.
pub fn processor() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.to_owned())
}

/// The load average of the last minute.
pub fn load_average() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// `pid` and all its descendants.
fn tree(pid: u32) -> Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("could not list /proc")?.flatten() {
        let Some(one) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat(one).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(one);
        }
    }
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(one) = tree.get(next) {
        tree.extend(children.get(one).into_iter().flatten().copied().collect::<Vec<_>>());
        next += 1;
    }
    Ok(tree)
}

/// The fields of `/proc/PID/stat` behind the name: state, parent, ...; user and system time are 11 and 12, those of
/// children that have ended 13 and 14.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_tree_memory_and_cpu_time() {
        let pid = std::process::id();
        assert!(tree(pid).unwrap().contains(&pid));
        assert!(memory(pid).unwrap() > 100_000);
        let before = cpu_time(pid).unwrap();
        let spin = std::time::Instant::now();
        while cpu_time(pid).unwrap() == before {
            assert!(spin.elapsed() < Duration::from_secs(20), "no CPU time was counted");
        }
    }
}
