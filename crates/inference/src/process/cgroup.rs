//! A limit on the memory of one engine process, where this process may make cgroups.
//!
//! With systemd that is so for a unit with `Delegate=yes`; in a container, often; for a user's shell, seldom. Where it is
//! not so, an engine runs without a limit, and the kernel ends it before others by its score.

use std::fs;
use std::path::{Path, PathBuf};

/// Makes a cgroup named after `file` that holds at most `memory_bytes`; `None` where that cannot be done.
pub fn make(file: &Path, memory_bytes: u64) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let (parent, limit) = place(&own)?;
    let name = format!("taskmaster-{}", file.file_stem()?.to_string_lossy());
    sweep(&parent);
    let group = parent.join(name);
    fs::create_dir(&group).ok()?;
    let limited = fs::write(group.join(limit), memory_bytes.to_string());
    if limited.is_err() {
        // Without the limit there is no use for it.
        let _ = fs::remove_dir(&group);
        return None;
    }
    Some(group)
}

/// Groups of processes that have ended; one with a process in it cannot be removed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("taskmaster-") {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Where a group can be made, and which file of it holds the limit, by what `/proc/self/cgroup` says.
fn place(own: &str) -> Option<(PathBuf, &'static str)> {
    let (mut first, mut second) = (None, None);
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?.trim_start_matches('/'));
        if controllers.split(',').any(|controller| controller == "memory") {
            first = Some(Path::new("/sys/fs/cgroup/memory").join(path));
        } else if number == "0" && controllers.is_empty() {
            second = Some(Path::new("/sys/fs/cgroup").join(path));
        }
    }
    if let Some(first) = first {
        return Some((first, "memory.limit_in_bytes"));
    }
    // In the second version a group with processes hands nothing on, so engines go beside this process's own group.
    let beside = second?.parent()?.to_owned();
    let hands_on = fs::read_to_string(beside.join("cgroup.subtree_control")).ok()?;
    hands_on.split_whitespace().any(|controller| controller == "memory").then_some((beside, "memory.max"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_version_has_a_tree_of_its_own_for_memory() {
        let own = "8:pids:/\n4:memory:/some/where\n0::/\n";
        let expected = (PathBuf::from("/sys/fs/cgroup/memory/some/where"), "memory.limit_in_bytes");
        assert_eq!(place(own), Some(expected));
    }

    #[test]
    fn a_system_without_either_has_no_place() {
        assert_eq!(place(""), None);
        assert_eq!(place("junk"), None);
    }
}
