//! A watch on etcd: begins with a listing, goes on from the next revision wherever a stream breaks, and begins again
//! where that is not possible: compacted, stalled, or an etcd that went back in time.

use std::sync::Arc;
use std::time::Duration;

use base::retry::Backoff;
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};

use super::{Shared, members};
use crate::watch::{Dropped, WatchFeed};
use crate::{Damaged, Entry, Revision, StoreError, WatchEvent};

/// A stream that is silent for so long is asked for a sign of life; one that stays silent as long again has stalled.
const QUIET: Duration = Duration::from_secs(4);

const REOPEN: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_secs(1), jitter: 0.5 };

/// Feeds a watch until it is dropped.
pub(super) async fn follow(shared: Arc<Shared>, feed: WatchFeed, prefix: String, from: Option<Revision>) {
    let stop = feed.stop.clone();
    let next = from.map(|from| Revision(from.0 + 1));
    let has_told = next.is_some();
    let mut follower = Follower { shared, feed, prefix, next, has_told, failures: 0 };
    tokio::select! {
        Dropped = follower.run() => {}
        () = stop.cancelled() => {}
    }
}

struct Follower {
    shared: Arc<Shared>,
    feed: WatchFeed,
    prefix: String,
    /// The revision that the stream goes on from; `None` begins with a listing.
    next: Option<Revision>,
    /// Whether the reader has a picture, so that one more is news.
    has_told: bool,
    failures: u32,
}

/// Why a stream is not followed any further.
enum End {
    /// The reader is gone.
    Dropped,
    /// It is opened again.
    Broken(String),
}

impl From<Dropped> for End {
    fn from(_: Dropped) -> Self {
        End::Dropped
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        End::Broken(error.to_string())
    }
}

impl Follower {
    async fn run(&mut self) -> Dropped {
        loop {
            match self.follow_once().await {
                End::Dropped => return Dropped,
                End::Broken(why) => {
                    self.feed.set_stale(true);
                    if self.next.is_none() && std::mem::take(&mut self.has_told) {
                        tracing::warn!(prefix = %self.prefix, why, "a watch begins anew with all that etcd holds");
                    } else {
                        tracing::debug!(prefix = %self.prefix, why, "a watch is opened again");
                    }
                }
            }
            tokio::time::sleep(REOPEN.delay(self.failures, fastrand::f64())).await;
            self.failures += 1;
        }
    }

    async fn follow_once(&mut self) -> End {
        let mut histories = self.shared.seen.histories();
        let next = match self.catch_up().await {
            Ok(next) => next,
            Err(end) => return end,
        };
        let member = self.shared.members.preferred();
        let end = tokio::select! {
            end = self.stream(member, next) => end,
            // Keys and revisions of the old history mean nothing in the new one.
            _ = histories.changed() => {
                self.next = None;
                End::Broken("etcd went back in its history".to_owned())
            }
        };
        self.shared.members.avoid(member);
        end
    }

    /// Lists where the history is not known, else asks whether etcd still is where this watch was.
    async fn catch_up(&mut self) -> Result<Revision, End> {
        if let Some(next) = self.next {
            let now = self.shared.revision().await?;
            if now.0 + 1 >= next.0 {
                return Ok(next);
            }
        }
        let listing = self.shared.list(&self.prefix).await?;
        let next = Revision(listing.revision.0 + 1);
        self.feed.send(WatchEvent::Reset(listing)).await?;
        self.next = Some(next);
        self.has_told = true;
        Ok(next)
    }

    async fn stream(&mut self, member: usize, next: Revision) -> End {
        let mut stream = match self.open(member, next).await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        let mut is_asked = false;
        loop {
            match tokio::time::timeout(QUIET, stream.message()).await {
                Ok(Ok(Some(response))) => {
                    is_asked = false;
                    if let Err(end) = self.deliver(&response).await {
                        return end;
                    }
                }
                Ok(Ok(None)) => return End::Broken("etcd ended the stream".to_owned()),
                Ok(Err(error)) => return End::Broken(error.to_string()),
                Err(_) if is_asked => {
                    self.next = None;
                    return End::Broken("the stream has stalled".to_owned());
                }
                Err(_) => {
                    is_asked = true;
                    // The request queue is drained by the connection; a full one is a stall, too.
                    let asked = tokio::time::timeout(QUIET, stream.request_progress()).await;
                    if !matches!(asked, Ok(Ok(()))) {
                        return End::Broken("the stream takes no request".to_owned());
                    }
                }
            }
        }
    }

    async fn open(&self, member: usize, next: Revision) -> Result<WatchStream, End> {
        let open = |client| async move {
            let options = WatchOptions::new().with_prefix().with_start_revision(next.0.cast_signed());
            members::watches(&client).watch(self.shared.full_key(&self.prefix), Some(options)).await
        };
        self.shared
            .members
            .attempt(member, self.shared.timeout, open)
            .await
            .map_err(|why| End::Broken(format!("{why:?}")))
    }

    /// Passes the events of one response on. The revision in an answer to a request for progress is not used: before
    /// 3.4.25 etcd may name one whose events are still to come.
    async fn deliver(&mut self, response: &WatchResponse) -> Result<(), End> {
        if response.compact_revision() > 0 {
            self.next = None;
            return Err(End::Broken(format!("compacted up to revision {}", response.compact_revision())));
        }
        if response.canceled() {
            return Err(End::Broken(format!("etcd refused the watch: {}", response.cancel_reason())));
        }
        self.feed.set_stale(false);
        self.failures = 0;
        for event in response.events() {
            let Some(kv) = event.kv() else { return Err(End::Broken("an event has no key".to_owned())) };
            let event = match (event.event_type(), self.shared.read(kv)) {
                (EventType::Put, Ok(entry)) => WatchEvent::Put(entry),
                (EventType::Put, Err(damaged)) => WatchEvent::Damaged(damaged),
                (
                    EventType::Delete,
                    Ok(Entry { key, modified: revision, .. }) | Err(Damaged { key, modified: revision, .. }),
                ) => WatchEvent::Deleted { key, revision },
            };
            self.feed.send(event).await?;
        }
        if let Some(last) = response.events().last().and_then(|event| event.kv()) {
            self.next = Some(Revision(last.mod_revision().cast_unsigned() + 1));
        }
        Ok(())
    }
}
