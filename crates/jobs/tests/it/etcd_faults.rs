//! An etcd that does not answer for a while: work goes on, and what it gives is recorded once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jobs::{Context, State};
use serde_json::json;

use crate::bed::{Node, SOON, never, new_job, soon};
use crate::stores::EtcdProcess;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_for_a_moment_loses_and_doubles_nothing() {
    let Some(etcd) = EtcdProcess::start().await else { return };
    let node = Node::new(&etcd.store("/test", Duration::from_millis(400)), "here").await;
    let id = node.submit(json!(null)).await;
    let (claimed, counts) = (node.claim().await.unwrap(), [const { AtomicU32::new(0) }; 3]);
    let work = async |context: Context, _| {
        for (i, count) in counts.iter().enumerate() {
            let step = context.step(i.to_string(), || async {
                count.fetch_add(1, Ordering::SeqCst);
                if i == 1 {
                    etcd.freeze();
                }
                Ok(i)
            });
            context.progress(i as u64, 3, "");
            step.await?;
        }
        Ok(json!("done"))
    };
    let thawing = async {
        let started = Instant::now();
        while counts[1].load(Ordering::SeqCst) == 0 || node.store.health().reachable {
            assert!(started.elapsed() < SOON, "a frozen etcd went unnoticed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let refused = node.jobs.submit(new_job(json!(null))).await.unwrap_err();
        assert!(refused.code.is_retriable() && refused.retry_after.is_some(), "{refused:?}");
        etcd.thaw();
    };
    let stop = never();
    let (state, ()) = soon(async { tokio::join!(node.jobs.run(claimed, &stop, work), thawing) }).await;
    assert_eq!(state.unwrap(), State::Done);
    assert_eq!(counts.map(AtomicU32::into_inner), [1, 1, 1]);
    assert_eq!(node.jobs.result(id).await.unwrap(), Some(json!("done")));
    assert_eq!((node.jobs.get(id).await.unwrap().unwrap().attempts, node.jobs.late_writes()), (1, 0));
}
