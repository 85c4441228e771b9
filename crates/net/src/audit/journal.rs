//! The writer of the journal: a thread of its own, so that whoever dials never waits for the disk.
//!
//! The queue is bounded; what does not fit is counted, and the count is written. Files are bounded in size and number. A
//! line is on the disk within a second, and then the [`Head`] knows it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base::{Fault, Result};

use super::head::{Head, file_of, files};
use super::line::{Event, FoldKey, Line};
use crate::hash::sha256_hex;

/// Events that wait for the disk: seconds of the busiest node.
const QUEUE: usize = 4096;
/// Lines that are written at once.
const BATCH: usize = 512;
/// What was written is on the disk this much later.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Whoever wants to read waits at most this long for what is in the queue.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// A file that is larger is followed by another one.
const FILE_BYTES: u64 = 16 << 20;
/// So many files are kept; with all of them full, half a million lines.
const FILES: usize = 8;
/// Failures that repeat within this time are counted, not written.
const FOLDED_FOR: Duration = Duration::from_secs(60);
/// Kinds of failures that are counted at a time; any more are written one by one.
const FOLDS: usize = 256;

/// A journal that is written to.
pub struct Journal {
    dir: PathBuf,
    orders: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Order {
    Write(u64, Event),
    Flush(SyncSender<Head>),
    End,
}

impl Journal {
    /// Opens the journal in `dir`, or begins one there.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, FILE_BYTES)
    }

    pub(super) fn open_with(dir: &Path, file_bytes: u64) -> Result<Self> {
        let failed = |error: io::Error| {
            Fault::unavailable(format!("could not open the journal in `{}`", dir.display()))
                .hint("check that the folder can be written, and that the disk has room")
                .because(error)
        };
        let (pages, complaint) = Pages::open(dir, file_bytes).map_err(failed)?;
        let (orders, taken) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut writer = Writer { pages, dropped: dropped.clone(), folds: HashMap::new(), is_failing: false };
        writer.take(base::time::unix_ms(), Event::Opened { complaint });
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || writer.run(&taken)).map_err(failed)?;
        Ok(Self { dir: dir.to_owned(), orders, dropped, thread: Mutex::new(Some(thread)) })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts what is in the queue on the disk, so that it can be read; gives the head. Blocks for a moment.
    pub fn flush(&self) -> Result<Head> {
        let late = || Fault::unavailable("the journal does not come to an end").hint("look whether the disk is full");
        let (tell, told) = sync_channel(1);
        let begun = Instant::now();
        let mut order = Order::Flush(tell);
        while let Err(full) = self.orders.try_send(order) {
            if begun.elapsed() > FLUSH_WITHIN {
                return Err(late());
            }
            std::thread::sleep(Duration::from_millis(5));
            order = match full {
                std::sync::mpsc::TrySendError::Full(order) => order,
                std::sync::mpsc::TrySendError::Disconnected(_) => return Err(late()),
            };
        }
        told.recv_timeout(FLUSH_WITHIN).map_err(|_| late())
    }

    /// Writes what is in the queue and ends. Blocks for a moment.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Where the queue is full to the end, the disk hangs, and the process ends without it.
        if let Some(thread) = thread
            && self.flush().is_ok()
            && self.orders.send(Order::End).is_ok()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the journal had ended");
        }
    }

    /// Never waits.
    pub(super) fn write(&self, at_ms: u64, event: Event) {
        if self.orders.try_send(Order::Write(at_ms, event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread's state.
struct Writer {
    pages: Pages,
    dropped: Arc<AtomicU64>,
    folds: HashMap<FoldKey, Fold>,
    /// What was written last did not reach the disk; told once.
    is_failing: bool,
}

/// An event that repeats.
struct Fold {
    /// When it was written last.
    written: Instant,
    /// The last one since, and how many there were.
    since: Option<(u64, Event, u64)>,
}

impl Writer {
    fn run(mut self, taken: &Receiver<Order>) {
        let mut synced = Instant::now();
        loop {
            let order = match taken.recv_timeout(SYNC_EVERY) {
                Ok(order) => Some(order),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Order::End),
            };
            let mut is_over = false;
            for order in order.into_iter().chain(taken.try_iter().take(BATCH)) {
                match order {
                    Order::Write(at_ms, event) => self.take(at_ms, event),
                    Order::Flush(reply) => {
                        self.unfold(Instant::now(), Duration::ZERO);
                        self.write_out(true);
                        // Whoever asked may have given up.
                        let _ = reply.try_send(self.pages.head.clone());
                    }
                    Order::End => is_over = true,
                }
            }
            self.unfold(Instant::now(), FOLDED_FOR);
            let is_due = is_over || synced.elapsed() >= SYNC_EVERY;
            self.write_out(is_due);
            if is_due {
                synced = Instant::now();
            }
            if is_over {
                return;
            }
        }
    }

    /// Takes an event: as a line, or into the count of those like it.
    fn take(&mut self, at_ms: u64, event: Event) {
        let now = Instant::now();
        let Some(key) = event.fold_key() else { return self.pages.add(at_ms, &event, 1) };
        match self.folds.get_mut(&key) {
            Some(fold) if now.saturating_duration_since(fold.written) < FOLDED_FOR => {
                let times = fold.since.as_ref().map_or(0, |(_, _, times)| *times);
                fold.since = Some((at_ms, event, times + 1));
            }
            Some(fold) => {
                if let Some((at_ms, event, times)) = fold.since.take() {
                    self.pages.add(at_ms, &event, times);
                }
                fold.written = now;
                self.pages.add(at_ms, &event, 1);
            }
            None => {
                self.pages.add(at_ms, &event, 1);
                if self.folds.len() < FOLDS {
                    self.folds.insert(key, Fold { written: now, since: None });
                }
            }
        }
    }

    /// Writes the counts that are older than `age`, and what was dropped.
    fn unfold(&mut self, now: Instant, age: Duration) {
        for fold in self.folds.values_mut() {
            if now.saturating_duration_since(fold.written) >= age
                && let Some((at_ms, event, times)) = fold.since.take()
            {
                fold.written = now;
                self.pages.add(at_ms, &event, times);
            }
        }
        self.folds.retain(|_, fold| now.saturating_duration_since(fold.written) < FOLDED_FOR);
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.pages.add(base::time::unix_ms(), &Event::Dropped(dropped), 1);
        }
    }

    fn write_out(&mut self, is_sync: bool) {
        let written = self.pages.write_out(is_sync);
        if let Err((error, lost)) = &written {
            self.dropped.fetch_add(*lost, Ordering::Relaxed);
            if !self.is_failing {
                tracing::error!(%error, "could not write the journal; what is lost is counted");
            }
        } else if self.is_failing {
            tracing::info!("the journal is written again");
        }
        self.is_failing = written.is_err();
    }
}

/// The files of the journal, and how far the chain has come.
struct Pages {
    dir: PathBuf,
    file: File,
    file_bytes: u64,
    /// Bytes in the file that are whole lines.
    good: u64,
    /// The last line in the file.
    at: (u64, String),
    /// Lines that are not in the file yet.
    buffer: Vec<u8>,
    /// Events that they stand for.
    buffered: u64,
    /// The last line of the buffer, else of the file.
    next_to: (u64, String),
    /// What is on the disk.
    head: Head,
}

impl Pages {
    /// With what was wrong with the head, to be written as the first line of this life.
    fn open(dir: &Path, file_bytes: u64) -> io::Result<(Self, String)> {
        fs::create_dir_all(dir)?;
        let known = Head::read(dir).or_else(|error| match error.kind() {
            io::ErrorKind::InvalidData => Ok(None),
            _ => Err(error),
        })?;
        let found = files(dir)?;
        let complaint = match (&known, found.is_empty()) {
            (None, false) => "the head was missing".to_owned(),
            _ => String::new(),
        };
        let mut head = known.unwrap_or_default();
        let (path, mut at) = match found.last() {
            Some((begins, path)) => {
                (path.clone(), last_line(path)?.unwrap_or((begins.saturating_sub(1), head.sha256.clone())))
            }
            None => (file_of(dir, head.n + 1), (head.n, head.sha256.clone())),
        };
        // Where the end is missing the chain goes on from what it was, so that the gap shows for good.
        if head.n > at.0 {
            at = (head.n, head.sha256.clone());
        }
        head.first = head.first.max(1);
        // Before the first line: a head that is missing later was taken away.
        head.write(dir)?;
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let good = file.metadata()?.len();
        let pages = Self {
            dir: dir.to_owned(),
            file,
            file_bytes,
            good,
            next_to: at.clone(),
            at,
            buffer: Vec::new(),
            buffered: 0,
            head,
        };
        Ok((pages, complaint))
    }

    fn add(&mut self, at_ms: u64, event: &Event, times: u64) {
        let (n, before) = &self.next_to;
        let line = Line { n: n + 1, before: before.clone(), ..Line::of(at_ms, event, times) };
        // Of texts and numbers alone; it cannot fail.
        let Ok(bytes) = serde_json::to_vec(&line) else { return };
        self.next_to = (line.n, sha256_hex(&bytes));
        self.buffer.extend_from_slice(&bytes);
        self.buffer.push(b'\n');
        self.buffered += line.count();
    }

    /// Writes the buffer; with how many events were lost where that fails.
    fn write_out(&mut self, is_sync: bool) -> Result<(), (io::Error, u64)> {
        if !self.buffer.is_empty() {
            if let Err(error) = self.file.write_all(&self.buffer) {
                // Half a line must not stay; where even that cannot be done, what is there shows as changed.
                let _ = self.file.set_len(self.good);
                self.next_to = self.at.clone();
                self.buffer.clear();
                return Err((error, std::mem::take(&mut self.buffered)));
            }
            self.good += self.buffer.len() as u64;
            self.at = self.next_to.clone();
            self.buffer.clear();
            self.buffered = 0;
        }
        let is_full = self.good >= self.file_bytes;
        let is_behind = self.head.n != self.at.0;
        let synced = if is_behind && (is_sync || is_full) { self.sync() } else { Ok(()) };
        let turned = if is_full { synced.and_then(|()| self.turn()) } else { synced };
        turned.map_err(|error| (error, 0))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let (n, sha256) = self.at.clone();
        let head = Head { n, sha256, ..self.head.clone() };
        head.write(&self.dir)?;
        self.head = head;
        Ok(())
    }

    /// Begins the next file, and gives up the oldest one.
    fn turn(&mut self) -> io::Result<()> {
        let next = self.at.0 + 1;
        self.file = OpenOptions::new().append(true).create(true).mode(0o600).open(file_of(&self.dir, next))?;
        self.good = 0;
        let kept = files(&self.dir)?;
        let from = kept.len().saturating_sub(FILES);
        let Some((first, _)) = kept.get(from) else { return Ok(()) };
        let head = Head { first: (*first).max(self.head.first), ..self.head.clone() };
        head.write(&self.dir)?;
        self.head = head;
        for (_, old) in kept.iter().take(from) {
            fs::remove_file(old)?;
        }
        Ok(())
    }
}

/// Number and hash of the last whole line of a file; half a line at its end is taken away.
fn last_line(path: &Path) -> io::Result<Option<(u64, String)>> {
    let bytes = fs::read(path)?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if end < bytes.len() {
        OpenOptions::new().write(true).open(path)?.set_len(end as u64)?;
    }
    let Some(whole) = bytes.get(..end.saturating_sub(1)).filter(|whole| !whole.is_empty()) else { return Ok(None) };
    let begins = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = whole.get(begins..).unwrap_or_default();
    // One that cannot be read counts as none: the chain then goes on from the head.
    let number = serde_json::from_slice::<Line>(line).map_or(0, |line| line.n);
    Ok(Some((number, sha256_hex(line))))
}

#[cfg(test)]
mod tests;
