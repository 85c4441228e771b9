//! Every way to change a journal unseen is seen, and the first entry that is not as it was written is named.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::audit::journal::Journal;
use crate::audit::line::{Event, Fact};

const ENTRIES: u64 = 9;

/// A journal of [`ENTRIES`] lines in one file, with its lines.
fn journal() -> (tempfile::TempDir, PathBuf, Vec<String>, Head) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for n in 2..=ENTRIES {
        journal.write(n, Event::Fact(Fact::KeyCreated { name: format!("key-{n}"), by: "n".to_owned() }));
    }
    let head = journal.flush().unwrap();
    journal.close();
    let (_, path) = files(dir.path()).unwrap().pop().unwrap();
    let lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    assert_eq!((lines.len() as u64, head.n), (ENTRIES, ENTRIES));
    (dir, path, lines, head)
}

/// The entry that is named once the lines were changed so.
fn named(change: impl FnOnce(&mut Vec<String>)) -> Option<(u64, String)> {
    let (dir, path, mut lines, _) = journal();
    change(&mut lines);
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    verify(dir.path(), &[]).unwrap().bad.map(|bad| (bad.n, bad.what))
}

/// Where line `n` stands.
fn at(n: u64) -> usize {
    n as usize - 1
}

#[test]
fn an_untouched_journal_is_good() {
    let (dir, _, _, head) = journal();
    let found = verify(dir.path(), &[head]).unwrap();
    assert_eq!(found, Verified { lines: ENTRIES, first: 1, last: ENTRIES, bad: None });
}

#[test]
fn an_edited_entry_is_named_wherever_it_stands() {
    for n in 1..=ENTRIES {
        let edited = named(|lines| lines[at(n)] = lines[at(n)].replace("\"at_ms\":", "\"at_ms\":1"));
        assert_eq!(edited.as_ref().map(|(named, _)| *named), Some(n), "{edited:?}");
    }
    // One whose own link to the one before was changed is it itself, not the one before.
    let relinked = named(|lines| lines[at(5)] = lines[at(5)].replace("\"before\":\"", "\"before\":\"0"));
    assert_eq!(relinked.map(|(n, _)| n), Some(5));
}

#[test]
fn a_cut_entry_a_re_ordered_one_and_a_missing_end_are_named() {
    for (what, n, named) in [
        ("cut", 4, named(|lines| drop(lines.remove(at(4))))),
        ("first cut", 1, named(|lines| drop(lines.remove(at(1))))),
        ("re-ordered", 6, named(|lines| lines.swap(at(6), at(7)))),
        ("end missing", 7, named(|lines| lines.truncate(6))),
        ("last missing", ENTRIES, named(|lines| drop(lines.pop()))),
        ("nothing left", 1, named(Vec::clear)),
        ("no entry", 3, named(|lines| lines[at(3)] = "junk".to_owned())),
        ("one more", 5, named(|lines| lines.insert(at(5), lines[at(4)].clone()))),
    ] {
        assert_eq!(named.as_ref().map(|(n, _)| *n), Some(n), "{what}: {named:?}");
    }
}

#[test]
fn what_is_missing_stays_missing_after_the_next_start() {
    let (dir, path, lines, _) = journal();
    fs::write(&path, lines[..5].iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    Journal::open(dir.path()).unwrap().close();
    assert_eq!(verify(dir.path(), &[]).unwrap().bad.map(|bad| bad.n), Some(6));
}

#[test]
fn a_head_that_was_taken_away_shows_before_and_after_the_next_start() {
    let (dir, _, _, _) = journal();
    fs::remove_file(dir.path().join("head.json")).unwrap();
    assert!(verify(dir.path(), &[]).unwrap().bad.is_some());
    Journal::open(dir.path()).unwrap().close();
    let bad = verify(dir.path(), &[]).unwrap().bad.unwrap();
    assert!(bad.n == ENTRIES + 1 && bad.what.contains("the head was missing"), "{bad:?}");
}

#[test]
fn a_journal_that_was_written_anew_as_a_whole_differs_from_what_is_known_elsewhere() {
    let (_kept, _, _, known) = journal();
    let (other, _, _, own) = journal();
    let expected = if own == known { None } else { Some(ENTRIES) };
    assert_eq!(verify(other.path(), &[known]).unwrap().bad.map(|bad| bad.n), expected);
    let further = Head { n: ENTRIES + 3, ..own };
    assert_eq!(verify(other.path(), &[further]).unwrap().bad.map(|bad| bad.n), Some(ENTRIES + 1));
}
