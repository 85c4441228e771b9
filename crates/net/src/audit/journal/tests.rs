//! A journal on a disk: what is written is found again, whatever ended the process that wrote it.

use std::net::IpAddr;

use super::*;
use crate::audit::chain::verify;
use crate::audit::line::Fact;
use crate::audit::tally::tally;
use crate::audit::{Audit, Entry};
use crate::policy::{Purpose, Verdict};

fn entry(host: &str) -> Entry {
    Entry {
        at_ms: 1,
        purpose: Purpose::Engine,
        host: host.into(),
        port: 80,
        address: IpAddr::from([127, 0, 0, 1]),
        verdict: Verdict::Loopback,
        reason: "ask-1 (workers.engine)".into(),
    }
}

fn lines(dir: &Path) -> Vec<Line> {
    let text: String = files(dir).unwrap().iter().map(|(_, path)| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_happened_before_the_journal_was_open_is_in_it_and_so_is_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::new();
    audit.happened(Event::Dialled(1, entry("early")));
    audit.keep(Journal::open(dir.path()).unwrap());
    audit.happened(Event::Ended(1, entry("early"), 3, 4));
    audit.fact(Fact::KeyCreated { name: "phone".to_owned(), by: "n".to_owned() });
    let head = audit.journal().unwrap().flush().unwrap();
    let lines = lines(dir.path());
    let told: Vec<_> = lines.iter().map(|line| line.event.as_str()).collect();
    assert_eq!(told, ["opened", "dialled", "ended", "key-created"]);
    assert_eq!(
        (lines[2].sent, lines[2].received, lines[2].reason.as_str()),
        (Some(3), Some(4), "ask-1 (workers.engine)")
    );
    assert_eq!(head.n, 4);
    assert_eq!(verify(dir.path(), &[]).unwrap().bad, None);
}

#[test]
fn failures_that_repeat_are_counted_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    for _ in 0..1000 {
        journal.write(1, Event::Failed(entry("away"), "refused".to_owned()));
    }
    journal.write(1, Event::Failed(entry("other"), "refused".to_owned()));
    journal.flush().unwrap();
    let lines = lines(dir.path());
    let failed: Vec<_> =
        lines.iter().filter(|line| line.event == "failed").map(|line| (line.host.as_str(), line.count())).collect();
    assert_eq!(failed, [("away", 1), ("other", 1), ("away", 999)]);
}

#[test]
fn a_full_queue_never_holds_anybody_up_and_what_it_could_not_take_is_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let all = QUEUE as u64 * 4;
    for number in 0..all {
        journal.write(1, Event::Dialled(number, entry("nas")));
    }
    journal.flush().unwrap();
    journal.flush().unwrap();
    let lines = lines(dir.path());
    let written = lines.iter().filter(|line| line.event == "dialled").count() as u64;
    let dropped: u64 = lines.iter().filter(|line| line.event == "dropped").map(Line::count).sum();
    assert_eq!(written + dropped, all);
    assert_eq!(verify(dir.path(), &[]).unwrap().bad, None);
}

#[test]
fn what_a_full_disk_could_not_take_is_counted_and_the_chain_stays_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (mut pages, _) = Pages::open(dir.path(), FILE_BYTES).unwrap();
    pages.add(1, &Event::Dialled(1, entry("nas")), 1);
    pages.write_out(true).unwrap();
    let good = std::mem::replace(&mut pages.file, OpenOptions::new().append(true).open("/dev/full").unwrap());
    pages.add(2, &Event::Failed(entry("nas"), "refused".to_owned()), 7);
    pages.add(2, &Event::Dropped(5), 1);
    let (_, lost) = pages.write_out(true).unwrap_err();
    assert_eq!(lost, 12);
    pages.file = good;
    pages.add(3, &Event::Dropped(lost), 1);
    pages.write_out(true).unwrap();
    let lines = lines(dir.path());
    assert_eq!(lines.iter().map(|line| (line.n, line.count())).collect::<Vec<_>>(), [(1, 1), (2, 12)]);
    assert_eq!(verify(dir.path(), &[]).unwrap().bad, None);
}

#[test]
fn the_chain_goes_on_over_lives_files_and_half_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut n = 0;
    for life in 0..3 {
        let journal = Journal::open_with(dir.path(), 4096).unwrap();
        for _ in 0..100 {
            n += 1;
            journal.write(1, Event::Dialled(n, entry("nas")));
            if n % 10 == 0 {
                journal.flush().unwrap();
            }
        }
        if life == 1 {
            // A life that ended within a line.
            journal.flush().unwrap();
            drop(journal);
            let (_, last) = files(dir.path()).unwrap().pop().unwrap();
            OpenOptions::new().append(true).open(last).unwrap().write_all(b"{\"n\":9").unwrap();
        } else {
            journal.close();
        }
    }
    let found = verify(dir.path(), &[]).unwrap();
    assert_eq!((found.bad, found.last), (None, 303));
    let kept = files(dir.path()).unwrap();
    assert_eq!((kept.len(), found.first), (FILES, kept[0].0));
    assert!(found.first > 1, "nothing was given up");
    let whole = tally(dir.path(), 0).unwrap();
    assert!(whole.sums[0].count > 100 && whole.from_ms > 0 && whole.unread == 0, "{whole:?}");
    assert_eq!(tally(dir.path(), u64::MAX).unwrap().sums, []);
}
