//! Watches and leases of a single node: tasks beside the writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Change, Data, Shared};
use crate::lease::LeaseKeeper;
use crate::watch::{Dropped, WatchFeed};
use crate::{Revision, WatchEvent};

/// Before a listing that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Feeds a watch until it is dropped.
pub(super) async fn follow(data: Arc<Data>, feed: WatchFeed, prefix: String, from: Option<Revision>) {
    let stop = feed.stop.clone();
    tokio::select! {
        Dropped = feed_changes(&data, &feed, prefix, from) => {}
        () = stop.cancelled() => {}
    }
}

async fn feed_changes(data: &Arc<Data>, feed: &WatchFeed, prefix: String, from: Option<Revision>) -> Dropped {
    let mut known = from;
    loop {
        // Subscribed before the listing: a change after it is in the queue, one before it is skipped by its revision.
        let mut changes = data.changes.subscribe();
        let listing = match data.list(prefix.clone()).await {
            Ok(listing) => listing,
            Err(error) => {
                tracing::warn!(%error, "could not list for a watch");
                feed.set_stale(true);
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
        };
        let start = listing.revision;
        if known != Some(start) && feed.send(WatchEvent::Reset(listing)).await.is_err() {
            return Dropped;
        }
        feed.set_stale(false);
        loop {
            match changes.recv().await {
                Ok(change) if change.revision <= start => {}
                Ok(change) => {
                    if pass_on(feed, &prefix, &change).await.is_err() {
                        return Dropped;
                    }
                }
                Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return Dropped,
            }
        }
        known = None;
    }
}

async fn pass_on(feed: &WatchFeed, prefix: &str, change: &Change) -> Result<(), Dropped> {
    for event in &change.events {
        let key = match event {
            WatchEvent::Put(entry) => &entry.key,
            WatchEvent::Deleted { key, .. } => key,
            WatchEvent::Damaged(_) | WatchEvent::Reset(_) => continue,
        };
        if key.starts_with(prefix) {
            feed.send(event.clone()).await?;
        }
    }
    Ok(())
}

/// Renews a lease until it is dropped or revoked. It cannot expire: nobody else could take its place.
pub(super) async fn keep(shared: Arc<Shared>, keeper: LeaseKeeper, ended: CancellationToken) {
    let mut ticks = tokio::time::interval(keeper.interval().max(Duration::from_millis(1)));
    loop {
        tokio::select! {
            _ = ticks.tick() => keeper.renewed(Instant::now()),
            () = ended.cancelled() => return keeper.lost(),
            () = keeper.stop.cancelled() => break,
        }
    }
    if let Err(error) = shared.revoke(keeper.id).await {
        tracing::debug!(lease = %keeper.id, %error, "could not revoke a lease; its keys go at the next start");
    }
}
