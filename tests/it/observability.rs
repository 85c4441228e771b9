//! What a node tells Prometheus, and what `deploy/observability` makes of it: read by promtool and by a real Prometheus, and
//! compared with real scrapes.

mod deployed;
mod scraped;
mod secrets;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use tests::process::root;

use crate::upstream::skipped;

/// The folder `deploy/observability`.
fn folder() -> PathBuf {
    root().join("deploy/observability")
}

/// Names of the conventions: of attributes, and of metrics as Prometheus writes them.
pub fn conventions() -> BTreeSet<String> {
    let lines = include_str!("observability/conventions.txt").lines().filter(|line| !line.starts_with('#'));
    let name = |line: &str| match line.split_once(' ') {
        Some((name, unit)) => name.replace('.', "_") + if unit == "s" { "_seconds" } else { "" },
        None => line.to_owned(),
    };
    lines.map(name).collect()
}

/// Whether `program` is there; where it is not, that is said.
fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        skipped(&format!("there is no {program}; deploy/install-tools.sh prometheus installs it"));
    }
    is_there
}

/// What promtool says; it must like what it is shown.
fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).current_dir(folder()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}
