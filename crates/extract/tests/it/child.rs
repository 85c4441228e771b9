//! Reading in children.

use std::time::Duration;

use bytes::Bytes;
use extract::child::Reader;
use extract::{Hint, ReadError};

use crate::reader::reader;
use crate::samples::all;

#[tokio::test]
async fn a_child_reads_what_this_process_would() {
    let reader = reader(2);
    for (name, bytes) in all() {
        let hint = Hint { media: "", name };
        let here = extract::read(&bytes, &hint).unwrap();
        assert_eq!(reader.read(Bytes::from(bytes), &hint).await.unwrap(), here, "{name}");
    }
}

#[tokio::test]
async fn what_a_child_refuses_comes_with_its_reason() {
    let refused = reader(1).read(Bytes::from_static(b"%PDF-1.4\nnothing"), &Hint::default()).await.unwrap_err();
    assert!(matches!(&refused, ReadError::Broken { kind, .. } if kind == "PDF"), "{refused}");
}

/// A reader whose children are a script.
fn script(script: &str) -> Reader {
    Reader::new("/bin/sh".into(), vec!["-c".into(), script.into()], 1)
}

async fn told(reader: Reader) -> ReadError {
    reader.read(Bytes::from_static(b"%PDF-1.4"), &Hint::default()).await.unwrap_err()
}

#[tokio::test]
async fn a_program_that_is_none_or_says_nothing_is_told() {
    let missing = told(Reader::new("/nothing/here".into(), vec![], 1)).await;
    assert!(missing.is_passing() && missing.to_string().contains("does not start"), "{missing}");
    let silent = told(script("exit 3")).await;
    assert_eq!(silent.to_string(), "its reader broke down: it ended without an answer, exit status: 3");
    // What it says has no mark.
    assert!(matches!(told(script("echo '{}'")).await, ReadError::Died { .. }));
    let slow = told(script("ulimit -St 1; while :; do :; done")).await;
    assert_eq!(slow.to_string(), "reading it took longer than 30 s");
}

#[tokio::test]
async fn a_child_knows_nothing_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("environment");
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    told(script(&format!("{{ export -p; echo done; }} > {}", note.display()))).await;
    let environment = std::fs::read_to_string(note).unwrap();
    assert!(environment.ends_with("done\n") && !environment.contains("CARGO") && !environment.contains("HOME"));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_only_waits_is_ended() {
    assert_eq!(told(script("kill -STOP $$")).await.to_string(), "reading it took longer than 120 s");
}

#[tokio::test]
async fn a_reading_that_nobody_waits_for_ends_its_child() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("pid");
    let reading = told(script(&format!("echo $$ > {}; kill -STOP $$", note.display())));
    let pid_of = || std::fs::read_to_string(&note).ok()?.strip_suffix('\n')?.parse::<u32>().ok();
    // The reading goes on until the child has said who it is, and is dropped then.
    let pid = tokio::select! {
        error = reading => panic!("{error}"),
        pid = until(pid_of) => pid,
    };
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
    until(|| stat().map_or(true, |stat| stat.contains(") Z ")).then_some(())).await;
}

/// Asks until there is an answer; a test that waits too long fails.
async fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(answer) = ask() {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come about");
}
