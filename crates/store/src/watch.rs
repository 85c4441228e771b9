//! A watch as its reader holds it, and the feed that a driver fills it by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Damaged, Entry, Listing, Revision};

/// How many events wait for a slow reader before its feed does; the rest stays with the store.
const WAITING_EVENTS: usize = 256;

/// A change below the prefix of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Forget what was, this is everything: first, and again wherever the history was lost.
    Reset(Listing),
    /// The key has this value now.
    Put(Entry),
    /// The key was put, but its value cannot be read.
    Damaged(Damaged),
    /// The key is gone, by a delete or with its lease.
    Deleted {
        /// Which key.
        key: String,
        /// Since when.
        revision: Revision,
    },
}

/// Every change below a prefix. Never an error: it opens itself again until it is dropped.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::Receiver<WatchEvent>,
    stale: Arc<AtomicBool>,
    _stop: DropGuard,
}

impl Watch {
    /// The next change; `None` only after the store was closed. May be dropped while waiting without losing one.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }

    /// Whether changes may have happened that could not be delivered yet, because the store does not answer.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }
}

/// The driver's end of a [`Watch`].
pub(crate) struct WatchFeed {
    events: mpsc::Sender<WatchEvent>,
    stale: Arc<AtomicBool>,
    /// Cancelled when the watch was dropped or the store closes.
    pub stop: CancellationToken,
}

/// The reader is gone.
#[derive(Debug)]
pub(crate) struct Dropped;

impl WatchFeed {
    pub async fn send(&self, event: WatchEvent) -> Result<(), Dropped> {
        self.events.send(event).await.map_err(|_| Dropped)
    }

    pub fn set_stale(&self, stale: bool) {
        self.stale.store(stale, Ordering::Release);
    }
}

/// A watch that ends with `store_stop`, and its feed. Stale until the feed says otherwise.
pub(crate) fn channel(store_stop: &CancellationToken) -> (WatchFeed, Watch) {
    let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
    let stale = Arc::new(AtomicBool::new(true));
    let stop = store_stop.child_token();
    let watch = Watch { events: receiver, stale: stale.clone(), _stop: stop.clone().drop_guard() };
    (WatchFeed { events: sender, stale, stop }, watch)
}
