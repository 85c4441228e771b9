//! This test binary as a process that is killed: a test of it that only does something when it is started so.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs a test as a process with some variables, and kills it so long after its first word. `note` takes every line, and
/// tells the process's own from those of the test harness.
pub fn until_killed(test: &str, given: &[(&str, &OsStr)], after: Duration, mut note: impl FnMut(&str) -> bool) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .envs(given.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    while !note(&lines.next().expect("the process ended by itself")) {}
    let killer = std::thread::spawn(move || {
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    for line in lines {
        note(&line);
    }
    killer.join().unwrap();
}
