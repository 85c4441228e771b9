//! What was dialled, and what was refused: one event, one count and one line in a ring per destination.
//!
//! The counts are `tm_egress_total{verdict}`; the ring is what `tmctl privacy report` shows. No payload ever gets here.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::policy::{Purpose, Verdict};

/// How many destinations the report looks back: a day of a quiet node, minutes of a busy one, 150 KiB.
const REMEMBERED: usize = 1024;

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
}

/// The record of all dials of a process; clones share it.
#[derive(Clone, Default)]
pub struct Audit(Arc<Record>);

#[derive(Default)]
struct Record {
    counts: [AtomicU64; Verdict::ALL.len()],
    recent: Mutex<VecDeque<Entry>>,
}

impl Audit {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
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

    pub(crate) fn note(&self, purpose: Purpose, (host, port): (&str, u16), address: IpAddr, verdict: Verdict) {
        log(purpose, (host, port), address, verdict);
        if let Some(count) = self.0.counts.get(verdict.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let entry = Entry { at_ms: base::time::unix_ms(), purpose, host: host.into(), port, address, verdict };
        let mut recent = self.0.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(entry);
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
        Verdict::RefusedExternal | Verdict::RefusedSpecial => {
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
        for port in 0..1030 {
            audit.note(Purpose::Engine, ("ollama", port), IpAddr::from([127, 0, 0, 1]), Verdict::Loopback);
        }
        audit.note(Purpose::Cloud, ("api.example", 443), IpAddr::from([1, 1, 1, 1]), Verdict::RefusedExternal);
        let recent = audit.recent();
        assert_eq!((recent.len(), recent[0].port), (REMEMBERED, 7));
        assert_eq!(recent.last().unwrap().verdict, Verdict::RefusedExternal);
        let counts: Vec<u64> = audit.snapshot().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [1030, 0, 0, 1, 0]);
    }
}
