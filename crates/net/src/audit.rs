//! What was dialled, and what was refused: one event, one count and one line in a ring per destination; and where a
//! [`Journal`] is kept, a line on the disk that nobody can change unseen.
//!
//! The counts are `tm_egress_total{verdict}`; the journal is what `tmctl privacy report` sums up. No payload ever gets here.

mod cause;
mod chain;
mod head;
mod journal;
mod line;
mod tally;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::policy::{Purpose, Verdict};

pub use cause::caused_by;
pub(crate) use cause::reason;
pub use chain::{Bad, Verified, verify};
pub use head::Head;
pub use journal::Journal;
pub use line::{Event, Fact, Line};
pub use tally::{Sum, Tally, tally};

/// How many destinations the report looks back: a day of a quiet node, minutes of a busy one, 150 KiB.
const REMEMBERED: usize = 1024;

/// What happened before the journal was open; a start dials a few engines and the members of the store.
const WAITING: usize = 256;

/// One destination that was dialled or refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What for.
    pub purpose: Purpose,
    /// The destination as it was asked for: a name or an address.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
    /// The address that was judged: one of the destination's, or the name server that would have been asked about it.
    pub address: IpAddr,
    /// What the rule said.
    pub verdict: Verdict,
    /// Which ask, document or setting it was for.
    pub reason: Arc<str>,
}

impl Entry {
    /// Of this moment.
    pub(crate) fn now(
        (purpose, reason): (Purpose, &Arc<str>),
        (host, port): (&str, u16),
        address: IpAddr,
        verdict: Verdict,
    ) -> Self {
        let at_ms = base::time::unix_ms();
        Self { at_ms, purpose, host: host.into(), port, address, verdict, reason: Arc::clone(reason) }
    }
}

/// The record of all dials of a process; clones share it.
#[derive(Clone, Default)]
pub struct Audit(Arc<Record>);

#[derive(Default)]
struct Record {
    counts: [AtomicU64; Verdict::ALL.len()],
    recent: Mutex<VecDeque<Entry>>,
    connections: AtomicU64,
    journal: OnceLock<Journal>,
    waiting: Mutex<Vec<(u64, Event)>>,
}

impl Audit {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on everything is written to `journal`, and first what waited for it; once.
    pub fn keep(&self, journal: Journal) {
        let mut waiting = self.waiting();
        if self.0.journal.set(journal).is_err() {
            tracing::error!("the journal was set twice");
        }
        for (at_ms, event) in std::mem::take(&mut *waiting) {
            self.write(at_ms, event);
        }
    }

    /// What everything is written to, where it is.
    pub fn journal(&self) -> Option<&Journal> {
        self.0.journal.get()
    }

    /// Puts something on record that is no connection.
    pub fn fact(&self, fact: Fact) {
        self.happened(Event::Fact(fact));
    }

    /// Puts on record that the journal is not what it should be; from then on it is not good as a whole.
    pub fn complain(&self, complaint: String) {
        self.happened(Event::Opened { complaint });
    }

    /// How often each verdict was given, for `tm_egress_total`.
    pub fn snapshot(&self) -> Vec<(Verdict, u64)> {
        let counts = self.0.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Verdict::ALL.iter().copied().zip(counts).collect()
    }

    /// The last 1024 destinations, oldest first.
    pub fn recent(&self) -> Vec<Entry> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// A destination was judged, or is about to be dialled.
    pub(crate) fn note(&self, entry: Entry) {
        log(entry.purpose, (&entry.host, entry.port), entry.address, entry.verdict);
        if let Some(count) = self.0.counts.get(entry.verdict.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !entry.verdict.is_allowed() {
            self.happened(Event::Refused(entry.clone()));
        }
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(entry);
    }

    /// A number for a connection, unique in this life of the process.
    pub(crate) fn number(&self) -> u64 {
        self.0.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Writes down what happened; never waits.
    pub(crate) fn happened(&self, event: Event) {
        let at_ms = base::time::unix_ms();
        if self.0.journal.get().is_some() {
            return self.write(at_ms, event);
        }
        let mut waiting = self.waiting();
        // It may have been opened since.
        if self.0.journal.get().is_some() {
            drop(waiting);
            self.write(at_ms, event);
        } else if waiting.len() < WAITING {
            waiting.push((at_ms, event));
        }
    }

    fn write(&self, at_ms: u64, event: Event) {
        if let Some(journal) = self.0.journal.get() {
            journal.write(at_ms, event);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(u64, Event)>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(purpose: Purpose, (host, port): (&str, u16), address: IpAddr, verdict: Verdict) {
    let (purpose, verdict_text) = (purpose.as_str(), verdict.as_str());
    match verdict {
        Verdict::Loopback | Verdict::Local => {
            tracing::debug!(target: "net::audit", purpose, host, port, %address, verdict = verdict_text, "dialled");
        }
        Verdict::External => {
            tracing::info!(target: "net::audit", purpose, host, port, %address, verdict = verdict_text, "left the house");
        }
        Verdict::RefusedExternal | Verdict::RefusedSpecial | Verdict::RefusedInside => {
            tracing::warn!(target: "net::audit", purpose, host, port, %address, verdict = verdict_text, "refused to dial");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_and_the_counts_keep_all() {
        let audit = Audit::new();
        let entry = |purpose, host: &str, port, address: [u8; 4], verdict| Entry {
            at_ms: 1,
            purpose,
            host: host.into(),
            port,
            address: address.into(),
            verdict,
            reason: "".into(),
        };
        for port in 0..1030 {
            audit.note(entry(Purpose::Engine, "ollama", port, [127, 0, 0, 1], Verdict::Loopback));
        }
        audit.note(entry(Purpose::Cloud, "api.example", 443, [1, 1, 1, 1], Verdict::RefusedExternal));
        let recent = audit.recent();
        assert_eq!((recent.len(), recent[0].port), (REMEMBERED, 7));
        assert_eq!(recent.last().unwrap().verdict, Verdict::RefusedExternal);
        let counts: Vec<u64> = audit.snapshot().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [1030, 0, 0, 1, 0, 0]);
    }
}
