//! A lease on etcd: granted, renewed three times per TTL at whichever member answers, revoked when it is dropped.
//!
//! A renewal is a short stream of its own, so there is no stream to lose. etcd arms leases anew when it restarts or
//! elects a leader: a lease counts as lost only when etcd says so, however late its renewals are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use crate::lease::LeaseKeeper;
use crate::{LeaseId, Result, StoreError};

/// How soon a renewal that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long a dropped lease is tried to be revoked; after that it ends by itself.
const REVOKE_WITHIN: Duration = Duration::from_secs(1);

/// A new lease: its id, the TTL that etcd granted, and when the request was sent.
pub(super) async fn grant(shared: &Shared, ttl: Duration) -> Result<(LeaseId, Duration, Instant)> {
    // etcd counts in seconds. A grant whose answer got lost ends by itself.
    let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
    let granted = shared
        .members
        .call(shared.deadline(), |client| async move {
            let sent = Instant::now();
            client.lease_client().grant(seconds, None).await.map(|lease| (lease, sent))
        })
        .await;
    let (lease, sent) = shared.seen.note(granted)?;
    let ttl = Duration::from_secs(lease.ttl().max(1).cast_unsigned());
    Ok((LeaseId(lease.id().cast_unsigned()), ttl, sent))
}

/// Renews until the lease is dropped or lost.
pub(super) async fn keep(shared: Arc<Shared>, keeper: LeaseKeeper) {
    let is_lost = tokio::select! {
        () = renew_until_lost(&shared, &keeper) => true,
        () = keeper.stop.cancelled() => false,
    };
    if is_lost {
        tracing::warn!(lease = %keeper.id, "the lease is lost");
        keeper.lost();
    } else if let Err(error) = revoke(&shared, keeper.id, REVOKE_WITHIN).await {
        tracing::debug!(lease = %keeper.id, %error, "could not revoke a lease; it ends by itself");
    }
}

async fn renew_until_lost(shared: &Shared, keeper: &LeaseKeeper) {
    let mut pause = keeper.interval();
    loop {
        tokio::time::sleep(pause).await;
        let renewed = shared
            .members
            .call(Instant::now() + shared.timeout.min(keeper.ttl), |client| async move {
                let sent = Instant::now();
                client.lease_client().keep_alive(keeper.id.0.cast_signed()).await.map(|_| sent)
            })
            .await;
        pause = match shared.seen.note(renewed) {
            Ok(sent) => {
                keeper.renewed(sent);
                keeper.interval()
            }
            Err(StoreError::LeaseLost { .. }) => return,
            Err(error) => {
                tracing::debug!(lease = %keeper.id, %error, "could not renew a lease");
                RETRY_AFTER
            }
        };
    }
}

/// Ends a lease; one that is gone already is fine.
pub(super) async fn revoke(shared: &Shared, lease: LeaseId, within: Duration) -> Result<()> {
    let revoked = shared
        .members
        .call(
            Instant::now() + within,
            |client| async move { client.lease_client().revoke(lease.0.cast_signed()).await },
        )
        .await;
    match shared.seen.note(revoked) {
        Ok(_) | Err(StoreError::LeaseLost { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
