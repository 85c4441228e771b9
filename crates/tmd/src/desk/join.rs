//! Asks that share one run: the same deterministic ask at the same time, and the ask of a client that comes back.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base::{Answer, Ask, BoxFuture, Dialect, Result};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::WeakShared;
use inference::cache::Key;

use super::infer::Whole;
use crate::metrics::Metrics;

/// How long an ask without a stream waits for its client to come back and send the same bytes again.
pub const LINGER: Duration = Duration::from_secs(10);
/// Asks that linger at once; with more, the oldest goes.
const MOST_PARKED: usize = 64;

type Work = BoxFuture<'static, Result<Whole>>;
type Answering = BoxFuture<'static, Result<Answer>>;

/// Runs that may be joined.
#[derive(Default)]
pub struct Joins {
    flights: Mutex<HashMap<Key, WeakShared<Work>>>,
    parked: Mutex<Vec<Parked>>,
    /// Read without the lock: nearly always zero.
    parked_count: AtomicUsize,
}

struct Parked {
    client: Arc<str>,
    dialect: Dialect,
    body: Bytes,
    until: Instant,
    work: Answering,
}

impl Joins {
    /// Waits for the run under `key` if there is one, else makes `work` that run. It ends when all who wait have left.
    pub async fn joined(&self, metrics: &Metrics, key: Key, work: Work) -> Result<Whole> {
        let shared = {
            let mut flights = lock(&self.flights);
            match flights.get(&key).and_then(WeakShared::upgrade) {
                Some(shared) => {
                    metrics.cache.with_label_values(&["joined"]).inc();
                    shared
                }
                None => {
                    let shared = work.shared();
                    // Dead entries are swept when the map has grown, so it stays as small as what is in flight.
                    if flights.len() >= 64 {
                        flights.retain(|_, flight| flight.upgrade().is_some());
                    }
                    shared.downgrade().map(|flight| flights.insert(key, flight));
                    shared
                }
            }
        };
        let whole = shared.await;
        lock(&self.flights).remove(&key);
        whole
    }

    /// The parked work for the same ask of the same client, if its client has come back in time.
    pub fn unpark(&self, ask: &Ask) -> Option<Answering> {
        if self.parked_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut parked = lock(&self.parked);
        let now = Instant::now();
        let is_same = |one: &Parked| {
            one.until > now && one.dialect == ask.head.dialect && one.client == ask.head.client && one.body == ask.body
        };
        let found = parked.iter().position(is_same).map(|at| parked.swap_remove(at).work);
        self.parked_count.store(parked.len(), Ordering::Release);
        found
    }

    /// Cancels what has waited long enough; called now and then.
    pub fn sweep(&self, now: Instant) {
        if self.parked_count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut parked = lock(&self.parked);
        let (kept, over): (Vec<Parked>, Vec<Parked>) = parked.drain(..).partition(|one| one.until > now);
        *parked = kept;
        self.parked_count.store(parked.len(), Ordering::Release);
        drop(parked);
        // Ending them outside the lock: each closes its connection to the engine.
        drop(over);
    }

    fn park(&self, one: Parked) {
        let mut parked = lock(&self.parked);
        let oldest = if parked.len() == MOST_PARKED { Some(parked.remove(0)) } else { None };
        parked.push(one);
        self.parked_count.store(parked.len(), Ordering::Release);
        drop(parked);
        drop(oldest);
    }
}

/// An ask without a stream; when it is dropped before its end, it is parked instead of cancelled.
///
/// A parked ask is not polled: its engine goes on, its answer waits in the socket.
pub struct Lingering {
    joins: Arc<dyn AsRef<Joins> + Send + Sync>,
    client: Arc<str>,
    dialect: Dialect,
    body: Bytes,
    work: Option<Answering>,
}

impl Lingering {
    /// Lets `work` linger for `ask`.
    pub fn new(joins: Arc<dyn AsRef<Joins> + Send + Sync>, ask: &Ask, work: Answering) -> Self {
        let (client, dialect, body) = (ask.head.client.clone(), ask.head.dialect, ask.body.clone());
        Self { joins, client, dialect, body, work: Some(work) }
    }
}

impl Future for Lingering {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let (client, body) = (self.client.clone(), self.body.clone());
            let until = Instant::now() + LINGER;
            (*self.joins).as_ref().park(Parked { client, dialect: self.dialect, body, until, work });
        }
    }
}

/// What is shared stays usable when a thread died while it held it: entries are whole by themselves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
