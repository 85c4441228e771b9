//! A limit on the memory of one engine process, where this process may make cgroups.
//!
//! With systemd that is so for a unit with `Delegate=yes` and `DelegateSubgroup=`, which puts this process into a group
//! below the unit's own; in a container, often; for a user's shell, seldom. Where it is not so, an engine runs without a
//! limit, and the kernel ends it before others by its score.

use std::fs;
use std::path::{Path, PathBuf};

/// Names of our groups begin with this; the id of the node's process follows.
const PREFIX: &str = "taskmaster-";

/// A cgroup for one process; gone when it is dropped after the process.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one that holds at most `memory_bytes`; `None` where that cannot be done.
    pub fn make(memory_bytes: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let (parent, limit) = place(&own)?;
        sweep(&parent);
        let group = parent.join(format!("{PREFIX}{}-{:016x}", std::process::id(), fastrand::u64(..)));
        fs::create_dir(&group).ok()?;
        // Without the limit there is no use for it: dropped, it is gone.
        let group = Self(group);
        fs::write(group.0.join(limit), memory_bytes.to_string()).ok()?;
        Some(group)
    }

    /// Where the process joins it.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that is not quite gone keeps it; then it is swept away once this node has ended.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes the groups of nodes that have ended without a word. A running node's may be waiting for their process.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let node = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        let is_alone = node.is_some_and(|node| !Path::new("/proc").join(node.to_string()).exists());
        if is_alone {
            // One with a process in it cannot be removed.
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
