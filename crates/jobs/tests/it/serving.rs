//! Nodes that serve: claims, slots, stops, lost leases, retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::Fault;
use jobs::{Context, Input, Serving, State, serve};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::bed::{Node, Place, soon};

const SERVING: Serving = Serving { kinds: &["test"], slots: 2, lease_ttl: Duration::from_secs(2) };

fn is_done(state: &State) -> bool {
    *state == State::Done
}

fn serving<F>(
    node: &Node,
    stop: &CancellationToken,
    handler: impl Fn(Context, Input) -> F + Clone + Send + Sync + 'static,
) -> impl Future<Output = ()>
where
    F: Future<Output = base::Result<Value>> + Send + 'static,
{
    serve(node.jobs.clone(), SERVING, handler, stop.clone())
}

pub async fn jobs_are_done_by_two_nodes_once_each_and_no_more_at_once_than_slots(place: Place) {
    let nodes = place.nodes().await;
    let stop = CancellationToken::new();
    let (mut busy, mut serves) = (Vec::new(), Vec::new());
    let times = Arc::new(AtomicU32::new(0));
    for node in &nodes {
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        busy.push(most.clone());
        let times = times.clone();
        serves.push(serving(node, &stop, move |context, _| {
            let (now, most, times) = (now.clone(), most.clone(), times.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                context.step("only", || async { Ok(times.fetch_add(1, Ordering::SeqCst)) }).await?;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(json!(null))
            }
        }));
    }
    let all_done = async {
        let mut ids = Vec::new();
        for _ in 0..12 {
            ids.push(nodes[0].submit(json!(null)).await);
        }
        for id in ids {
            nodes[1].reaches(id, is_done).await;
        }
        stop.cancel();
    };
    soon(async { tokio::join!(futures_util::future::join_all(serves), all_done) }).await;
    assert_eq!(times.load(Ordering::SeqCst), 12);
    assert!(busy.iter().all(|most| most.load(Ordering::SeqCst) <= 2));
}

pub async fn a_node_that_stops_releases_its_jobs(place: Place) {
    let [here, there] = place.nodes().await;
    let (stop, reached) = (CancellationToken::new(), Arc::new(Notify::new()));
    let id = here.submit(json!(null)).await;
    let begun = reached.clone();
    let stuck = serving(&here, &stop, move |_, _| {
        begun.notify_one();
        std::future::pending()
    });
    let stopping = async {
        reached.notified().await;
        stop.cancel();
    };
    soon(async { tokio::join!(stuck, stopping) }).await;
    assert_eq!(there.state(id).await, State::Waiting);
    assert!(there.claim().await.is_some());
}

pub async fn a_node_that_lost_its_lease_takes_another_one(place: Place) {
    let [here, there] = place.nodes().await;
    let (stop, times) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
    let reached = Arc::new(Notify::new());
    let id = here.submit(json!(null)).await;
    let begun = reached.clone();
    let serve = serving(&here, &stop, move |_, _| {
        let is_first = times.fetch_add(1, Ordering::SeqCst) == 0;
        begun.notify_one();
        async move { if is_first { std::future::pending().await } else { Ok(json!(null)) } }
    });
    let losing = async {
        reached.notified().await;
        let owner = there.store.get(&format!("jobs/owners/{id}")).await.unwrap().unwrap();
        there.store.revoke(owner.lease.unwrap()).await.unwrap();
        there.reaches(id, is_done).await;
        stop.cancel();
    };
    soon(async { tokio::join!(serve, losing) }).await;
    assert_eq!(there.jobs.get(id).await.unwrap().unwrap().attempts, 2);
}

pub async fn what_failed_for_a_passing_reason_is_tried_again(place: Place) {
    let [here, there] = place.nodes().await;
    let (stop, times) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
    let id = here.submit(json!(null)).await;
    let serve = serving(&here, &stop, move |_, _| {
        let is_first = times.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { Err(Fault::unavailable("no engine")) } else { Ok(json!(null)) } }
    });
    let waiting = async {
        there.reaches(id, is_done).await;
        stop.cancel();
    };
    soon(async { tokio::join!(serve, waiting) }).await;
    assert_eq!(there.jobs.get(id).await.unwrap().unwrap().attempts, 2);
}
