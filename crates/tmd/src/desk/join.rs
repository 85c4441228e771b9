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
use tokio_util::task::TaskTracker;

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
    tasks: TaskTracker,
}

struct Parked {
    client: Arc<str>,
    dialect: Dialect,
    body: Bytes,
    until: Instant,
    work: Slot,
}

/// Work that is polled by a task of its own until its client takes it out, or nobody does in time.
type Slot = Arc<Mutex<Option<Answering>>>;

impl Joins {
    /// Waits for the run under `key` if there is one, else makes `work` that run. It ends when all who wait have left.
    pub async fn joined(&self, metrics: &Metrics, key: Key, work: Work) -> Result<Whole> {
        let shared = {
            let mut flights = lock(&self.flights);
            match flights.get(&key).and_then(WeakShared::upgrade) {
                Some(shared) => {
                    metrics.cached("joined");
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

    /// How many asks wait for their clients to come back.
    pub fn parked(&self) -> usize {
        self.parked_count.load(Ordering::Acquire)
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
        let found = parked.iter().position(is_same).map(|at| parked.remove(at));
        self.parked_count.store(parked.len(), Ordering::Release);
        drop(parked);
        found.and_then(|one| lock(&one.work).take())
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
        over.into_iter().for_each(Parked::end);
    }

    fn park(&self, one: Parked) {
        // Without a runtime the process ends.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // Work that nobody polls would keep a slot of a worker without using it.
        self.tasks.spawn_on(driven(one.work.clone(), one.until), &runtime);
        let mut parked = lock(&self.parked);
        let oldest = if parked.len() == MOST_PARKED { Some(parked.remove(0)) } else { None };
        parked.push(one);
        self.parked_count.store(parked.len(), Ordering::Release);
        drop(parked);
        if let Some(oldest) = oldest {
            oldest.end();
        }
    }
}

impl Parked {
    fn end(self) {
        let work = lock(&self.work).take();
        drop(work);
    }
}

/// Goes on with parked work. Its answer, or its failure, stays in the slot for a client that comes back.
async fn driven(slot: Slot, until: Instant) {
    let answered = std::future::poll_fn(|cx| {
        let mut slot = lock(&slot);
        let Some(work) = slot.as_mut() else { return Poll::Ready(()) };
        let Poll::Ready(answer) = work.as_mut().poll(cx) else { return Poll::Pending };
        *slot = Some(Box::pin(std::future::ready(answer)));
        Poll::Ready(())
    });
    if tokio::time::timeout_at(until.into(), answered).await.is_err() {
        let work = lock(&slot).take();
        drop(work);
    }
}

/// An ask without a stream; when it is dropped before its end, it is parked instead of cancelled.
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
            let work = Arc::new(Mutex::new(Some(work)));
            (*self.joins).as_ref().park(Parked { client, dialect: self.dialect, body, until, work });
        }
    }
}

/// What is shared stays usable when a thread died while it held it: entries are whole by themselves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use base::{AnswerHead, Fault, RunSummary};
    use tokio::sync::oneshot;

    use super::*;
    use crate::testing::head;

    struct Own(Joins);

    impl AsRef<Joins> for Own {
        fn as_ref(&self) -> &Joins {
            &self.0
        }
    }

    fn ask() -> Ask {
        Ask { head: head(), body: Bytes::from_static(b"{}") }
    }

    fn answer() -> Answer {
        let head =
            AnswerHead { content_type: "", content_length: None, worker: None, model: "m".into(), fallback: None };
        Answer { head, frames: Box::new(base::answer::Ready::new(Bytes::new(), RunSummary::default())) }
    }

    /// An ask whose client left after its first poll; what lets it go on, and what tells that it did.
    async fn parked(joins: &Arc<Own>) -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        let (go_on, waits) = oneshot::channel::<()>();
        let (went_on, ended) = oneshot::channel::<()>();
        let work = async move {
            waits.await.map_err(|_| Fault::unavailable("nobody lets it go on"))?;
            let _ = went_on.send(());
            Ok(answer())
        };
        let mut lingering = Lingering::new(joins.clone(), &ask(), Box::pin(work));
        assert!(futures_util::poll!(&mut lingering).is_pending());
        drop(lingering);
        (go_on, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_ask_goes_on_and_its_client_finds_the_answer() {
        let joins = Arc::new(Own(Joins::default()));
        let (go_on, ended) = parked(&joins).await;
        go_on.send(()).unwrap();
        let went_on = tokio::time::timeout(Duration::from_secs(1), ended).await;
        assert!(matches!(went_on, Ok(Ok(()))), "a slot of a worker would be taken and not used");
        assert_eq!(joins.0.unpark(&ask()).unwrap().await.unwrap().head.model, "m");
        assert!(joins.0.unpark(&ask()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_comes_back_takes_the_work_over() {
        let joins = Arc::new(Own(Joins::default()));
        let (go_on, _ended) = parked(&joins).await;
        tokio::task::yield_now().await;
        let work = joins.0.unpark(&ask()).unwrap();
        go_on.send(()).unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), work).await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_ask_is_cancelled_when_nobody_comes_back() {
        let joins = Arc::new(Own(Joins::default()));
        let (_go_on, ended) = parked(&joins).await;
        let cancelled = tokio::time::timeout(LINGER * 2, ended).await;
        assert!(matches!(cancelled, Ok(Err(_))), "its engine would go on for nobody");
    }
}
