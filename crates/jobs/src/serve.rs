//! Doing the jobs of some kinds on this node, so many at once, until told to stop.
//!
//! One lease owns all jobs of the node. When it is lost they end here, and a new one is taken; when the node stops they
//! are released, and waiting nodes take them up at once.

use std::sync::Arc;
use std::time::Duration;

use base::Result;
use futures_util::FutureExt;
use serde_json::Value;
use store::{Lease, StoreError, Watch};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::claim::{Claimed, Look};
use crate::patience::patiently;
use crate::{Context, Input, Jobs, keys};

/// Jobs are looked through at least this often, whatever the watches say.
const RECONCILE_EVERY: Duration = Duration::from_secs(30);

/// A node waits up to this long before it claims, by chance, so that not all race for the same job.
const LONGEST_PAUSE_MS: u64 = 10;

/// How a node serves.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The kinds of jobs that the handler can do.
    pub kinds: &'static [&'static str],
    /// How many jobs at once.
    pub slots: usize,
    /// How long a job stays with a node that does not answer any more.
    pub lease_ttl: Duration,
}

/// Claims jobs and has `handler` do them until `stop` is cancelled; then releases those under way.
/// Dropping the future releases them too, without waiting for it.
pub async fn serve<H, F>(jobs: Jobs, serving: Serving, handler: H, stop: CancellationToken)
where
    H: Fn(Context, Input) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Value>> + Send + 'static,
{
    while !stop.is_cancelled() {
        let lease = patiently(StoreError::is_transient, || jobs.store.lease(serving.lease_ttl));
        let lease = tokio::select! {
            () = stop.cancelled() => return,
            lease = lease => lease,
        };
        match lease {
            Ok(lease) => serve_on(&jobs, &serving, &handler, &stop, Arc::new(lease)).await,
            Err(error) => {
                tracing::error!(%error, "no jobs are done here for now: no lease is to be had");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RECONCILE_EVERY) => {}
                }
            }
        }
    }
}

/// Serves until `stop`, or the end of `lease`.
async fn serve_on<H, F>(jobs: &Jobs, serving: &Serving, handler: &H, stop: &CancellationToken, lease: Arc<Lease>)
where
    H: Fn(Context, Input) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Value>> + Send + 'static,
{
    let (running, ending) = (TaskTracker::new(), stop.child_token());
    let _ending = ending.clone().drop_guard();
    let slots = Arc::new(Semaphore::new(serving.slots));
    let mut changes = Changes::of(jobs);
    let claim = async {
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let claimed = next_claim(jobs, serving.kinds, &lease, &mut changes).await;
            let (jobs, handler, ending) = (jobs.clone(), handler.clone(), ending.clone());
            running.spawn(async move {
                let id = claimed.id();
                if let Err(fault) = jobs.run(claimed, &ending, handler).await {
                    tracing::warn!(job = %id, %fault, "a run of a job came to nothing");
                }
                drop(slot);
            });
        }
    };
    tokio::select! {
        () = claim => {}
        () = lease.lost() => tracing::warn!("the lease of this node's jobs is lost"),
        () = stop.cancelled() => {}
    }
    running.close();
    running.wait().await;
}

/// Waits for a job.
async fn next_claim(jobs: &Jobs, kinds: &[&str], lease: &Arc<Lease>, changes: &mut Changes) -> Claimed {
    loop {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..=LONGEST_PAUSE_MS))).await;
        let until = match jobs.look(kinds, lease).await {
            Ok(Look::Claimed(claimed)) => return *claimed,
            Ok(Look::Nothing { until }) => until,
            Err(fault) => {
                tracing::debug!(%fault, "could not look for jobs");
                Some(Duration::from_secs(1))
            }
        };
        let until = until.map_or(RECONCILE_EVERY, |until| until.min(RECONCILE_EVERY));
        tokio::select! {
            () = changes.next() => {}
            () = tokio::time::sleep(until) => {}
        }
    }
}

/// What may free a job: a record that changes, an owner that goes.
struct Changes {
    records: Watch,
    owners: Watch,
}

impl Changes {
    fn of(jobs: &Jobs) -> Self {
        Self { records: jobs.store.watch(keys::RECORDS, None), owners: jobs.store.watch(keys::OWNERS, None) }
    }

    /// Waits for changes and takes all that are there. A store that is closed has none any more.
    async fn next(&mut self) {
        tokio::select! {
            Some(_) = self.records.next() => {}
            Some(_) = self.owners.next() => {}
            else => std::future::pending().await,
        }
        while let Some(Some(_)) = self.records.next().now_or_never() {}
        while let Some(Some(_)) = self.owners.next().now_or_never() {}
    }
}
