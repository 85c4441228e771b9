//! Runs of single jobs: steps, deaths, late owners, cancels, progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base::time::unix_ms;
use base::{Code, Fault};
use futures_util::TryStreamExt;
use jobs::{Context, State};
use serde_json::{Value, json};
use store::Txn;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::bed::{Place, never, new_job, soon};

/// How often each of four steps was done.
type Counts = [AtomicU32; 4];

fn counted(counts: &Counts) -> Vec<u32> {
    counts.iter().map(|count| count.load(Ordering::SeqCst)).collect()
}

/// Four steps, each of which counts; step `stuck` never ends, and says when it is reached.
async fn four_steps(context: Context, counts: &Counts, stuck: Option<(usize, &Notify)>) -> base::Result<Value> {
    let mut sum = 0;
    for (i, count) in counts.iter().enumerate() {
        sum += context
            .step(format!("part/{i}"), || async {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some((_, reached)) = stuck.filter(|(stuck, _)| *stuck == i) {
                    reached.notify_one();
                    std::future::pending::<()>().await;
                }
                Ok(i + 1)
            })
            .await?;
    }
    Ok(json!(sum))
}

/// Sets a flag when it is dropped.
struct Dropped(Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub async fn projects_take_turns_however_many_jobs_one_has(place: Place) {
    let [here, there] = place.nodes().await;
    let mut many = Vec::new();
    for _ in 0..3 {
        let made = unix_ms();
        many.push(here.submit(json!(null)).await);
        // Those of one millisecond have no order among them.
        while unix_ms() == made {
            tokio::task::yield_now().await;
        }
    }
    let other = jobs::NewJob { subject: "other/master".to_owned(), ..new_job(json!(null)) };
    let other = here.jobs.submit(other).await.unwrap();
    let claimed = [here.claim().await, there.claim().await, here.claim().await].map(Option::unwrap);
    assert_eq!(claimed.each_ref().map(|claimed| claimed.id()), [many[0], other, many[1]]);
}

pub async fn a_job_goes_on_elsewhere_from_its_last_step(place: Place) {
    let [here, there] = place.nodes().await;
    let (counts, reached) = (Counts::default(), Notify::new());
    let id = here.submit(json!(null)).await;
    let (claimed, stop) = (here.claim().await.unwrap(), never());
    let run = here.jobs.run(claimed, &stop, |context, _| four_steps(context, &counts, Some((2, &reached))));
    tokio::select! {
        ended = run => panic!("{ended:?}"),
        () = soon(reached.notified()) => {}
    }
    assert!(there.claim().await.is_none(), "the job is owned as long as the lease is");
    here.dies().await;
    let claimed = there.claim().await.unwrap();
    let state = soon(there.jobs.run(claimed, &never(), |context, _| four_steps(context, &counts, None))).await.unwrap();
    assert_eq!((state, counted(&counts)), (State::Done, vec![1, 1, 2, 1]));
    assert_eq!(here.jobs.result(id).await.unwrap(), Some(json!(10)));
    let job = here.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.attempts, job.node.unwrap().as_str()), (2, "there"));
}

pub async fn steps_run_side_by_side_and_one_name_has_one_result(place: Place) {
    let [here, _] = place.nodes().await;
    here.submit(json!(null)).await;
    let (claimed, meeting) = (here.claim().await.unwrap(), tokio::sync::Barrier::new(3));
    let work = async |context: Context, _| {
        // None of them ends before all have begun.
        let step = |name: &'static str, value: u32| {
            let (context, meeting) = (&context, &meeting);
            context.step(name, move || async move {
                meeting.wait().await;
                Ok(value)
            })
        };
        let (a, b, other) = tokio::try_join!(step("same", 1), step("same", 2), step("other", 3))?;
        assert_eq!(a, b);
        let again = context.step("same", || async { Ok(9) }).await?;
        assert_eq!((again, other), (a, 3));
        let fault = context.step("failing", || async { Err::<u32, _>(Fault::invalid("no")) }).await.unwrap_err();
        assert_eq!(fault.message, "no");
        assert_eq!(context.step("failing", || async { Ok(4) }).await?, 4, "a fault is not recorded");
        assert_eq!(context.step("", || async { Ok(4) }).await.unwrap_err().code, Code::InvalidArgument);
        Ok(json!(null))
    };
    assert_eq!(soon(here.jobs.run(claimed, &never(), work)).await.unwrap(), State::Done);
}

pub async fn a_late_owner_cannot_record_a_step(place: Place) {
    let [here, there] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    let (reached, go_on) = (Notify::new(), Notify::new());
    let (claimed, stop) = (here.claim().await.unwrap(), never());
    let late = here.jobs.run(claimed, &stop, async |context: Context, _| {
        let late = context.step("only", || async {
            reached.notify_one();
            go_on.notified().await;
            Ok("late".to_owned())
        });
        late.await.map(|text| json!(text))
    });
    let takeover = async {
        soon(reached.notified()).await;
        // Its owner does not hear of it: the lease is good, only the key is gone.
        there.store.commit(Txn::new().delete(format!("jobs/owners/{id}"))).await.unwrap();
        let claimed = there.claim().await.unwrap();
        let work = async |context: Context, _| {
            let step = context.step("only", || async { Ok("timely".to_owned()) }).await;
            go_on.notify_one();
            soon(there_waits(&here.jobs)).await;
            step.map(|text| json!(text))
        };
        there.jobs.run(claimed, &never(), work).await.unwrap()
    };
    let (late, timely) = soon(async { tokio::join!(late, takeover) }).await;
    assert_eq!((late.unwrap_err().code, timely), (Code::StaleEpoch, State::Done));
    assert_eq!(here.jobs.result(id).await.unwrap(), Some(json!("timely")));
    assert_eq!((here.jobs.late_writes(), there.jobs.late_writes()), (1, 0));
}

/// Until the late write has come in, while the job still runs.
async fn there_waits(late: &jobs::Jobs) {
    while late.late_writes() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

pub async fn a_job_that_was_cancelled_is_dropped_where_it_stands(place: Place) {
    let [here, there] = place.nodes().await;
    for canceller in [&here, &there] {
        let id = here.submit(json!(null)).await;
        let (claimed, stop) = (here.claim().await.unwrap(), never());
        let (drops, reached) = (Arc::new(AtomicU32::new(0)), Notify::new());
        let work = async |context: Context, _| {
            let step = |name: &'static str| {
                let (context, dropped, reached) = (&context, Dropped(drops.clone()), &reached);
                context.step(name, move || async move {
                    let _dropped = dropped;
                    reached.notify_one();
                    std::future::pending::<base::Result<u32>>().await
                })
            };
            let _outer = Dropped(drops.clone());
            tokio::try_join!(step("a"), step("b"))?;
            Ok(json!(null))
        };
        let cancel = async {
            soon(reached.notified()).await;
            assert_eq!(canceller.jobs.cancel(id).await.unwrap(), State::Running);
        };
        let (state, ()) = soon(async { tokio::join!(here.jobs.run(claimed, &stop, work), cancel) }).await;
        assert_eq!((state.unwrap(), drops.load(Ordering::SeqCst)), (State::Cancelled, 3));
        assert_eq!(there.state(id).await, State::Cancelled);
        assert!(there.claim().await.is_none());
    }
}

pub async fn a_wish_to_cancel_outlives_the_node_that_should_heed_it(place: Place) {
    let [here, there] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    let _claimed = here.claim().await.unwrap();
    assert_eq!(there.jobs.cancel(id).await.unwrap(), State::Running);
    here.dies().await;
    assert!(there.claim().await.is_none());
    assert_eq!(there.state(id).await, State::Cancelled);
}

pub async fn a_wish_to_cancel_is_heeded_by_a_run_that_ends_before_it_has_heard_of_it(place: Place) {
    let [here, there] = place.nodes().await;
    for is_stopped in [true, false] {
        let id = here.submit(json!(null)).await;
        let (claimed, stop) = (here.claim().await.unwrap(), never());
        let work = async |_, _| {
            // Without a moment in which the run could hear of it.
            tokio::task::block_in_place(|| Handle::current().block_on(there.jobs.cancel(id)))?;
            match is_stopped {
                true => {
                    stop.cancel();
                    std::future::pending().await
                }
                false => Err(Fault::unavailable("no engine")),
            }
        };
        assert_eq!(soon(here.jobs.run(claimed, &stop, work)).await.unwrap(), State::Cancelled);
        assert!(there.claim().await.is_none());
    }
}

pub async fn a_job_that_nobody_runs_is_cancelled_at_once(place: Place) {
    let [here, there] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    assert_eq!(there.jobs.cancel(id).await.unwrap(), State::Cancelled);
    assert_eq!(there.jobs.cancel(id).await.unwrap(), State::Cancelled, "twice is fine");
    assert!(here.claim().await.is_none());
    there.jobs.remove(id).await.unwrap();
    assert_eq!(here.jobs.cancel(id).await.unwrap_err().code, Code::NotFound);
    assert!(here.store.list("jobs/").await.unwrap().entries.is_empty());
}

pub async fn a_wrong_job_fails_with_its_fault(place: Place) {
    let [here, there] = place.nodes().await;
    let id = here.submit(json!({"prd": 7})).await;
    let claimed = here.claim().await.unwrap();
    let work = async |_, input: jobs::Input| {
        let _prd: std::collections::HashMap<String, String> = input.read()?;
        Ok(json!(null))
    };
    soon(here.jobs.run(claimed, &never(), work)).await.unwrap();
    let State::Failed { fault } = there.state(id).await else { panic!() };
    assert_eq!(fault.code, Code::InvalidArgument);
    assert!(fault.message.starts_with("could not read the input of the job: invalid type"), "{}", fault.message);
    assert_eq!(here.jobs.result(id).await.unwrap(), None);
}

pub async fn work_that_panics_fails(place: Place) {
    let [here, _] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    let claimed = here.claim().await.unwrap();
    soon(here.jobs.run(claimed, &never(), async |_, _| panic!("on purpose"))).await.unwrap();
    let State::Failed { fault } = here.state(id).await else { panic!() };
    assert_eq!(fault.message, format!("the work of job `{id}` panicked"));
}

pub async fn a_job_that_takes_its_node_along_again_and_again_fails(place: Place) {
    let [mut here, there] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    for attempt in 1..=jobs::MAX_DEATHS {
        let claimed = here.claim().await.unwrap();
        assert_eq!(there.jobs.get(id).await.unwrap().unwrap().attempts, attempt);
        here.dies().await;
        drop(claimed);
        here.comes_back().await;
    }
    assert!(there.claim().await.is_none());
    let State::Failed { fault } = there.state(id).await else { panic!() };
    assert_eq!(fault.message, format!("job `{id}` lost its node 3 times at the same step"));
}

pub async fn a_step_that_was_recorded_makes_deaths_forgotten(place: Place) {
    let [mut here, there] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    for attempt in 0..2 * jobs::MAX_DEATHS {
        let (claimed, stop, reached) = (here.claim().await.unwrap(), never(), Notify::new());
        // A new step every other time.
        let name = format!("step {}", attempt / 2);
        let run = here.jobs.run(claimed, &stop, async |context: Context, _| {
            context.step(name.as_str(), || async { Ok(0) }).await?;
            reached.notify_one();
            std::future::pending().await
        });
        tokio::select! {
            ended = run => panic!("{ended:?}"),
            () = soon(reached.notified()) => {}
        }
        here.dies().await;
        here.comes_back().await;
    }
    let claimed = there.claim().await.unwrap();
    soon(there.jobs.run(claimed, &never(), async |_, _| Ok(json!(null)))).await.unwrap();
    assert_eq!(there.state(id).await, State::Done);
}

pub async fn a_job_that_was_dropped_is_free_again(place: Place) {
    let [here, _] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    drop(here.claim().await.unwrap());
    // The first look finds an owner's key that nobody here stands behind, the next one a job without an owner.
    assert!(here.claim().await.is_none());
    assert_eq!(here.claim().await.unwrap().id(), id);
}

pub async fn the_progress_that_others_see_ends_with_the_final_state(place: Place) {
    let [here, there] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    let seen = there.jobs.watch(id).try_collect::<Vec<_>>();
    let (claimed, stop) = (here.claim().await.unwrap(), never());
    let work = async |context: Context, _| {
        for done in 0..50 {
            context.step(done.to_string(), || async { Ok(done) }).await?;
            context.progress(done + 1, 50, format!("section {done}"));
        }
        Ok(json!(null))
    };
    let (seen, state) = soon(async { tokio::join!(seen, here.jobs.run(claimed, &stop, work)) }).await;
    let (seen, _) = (seen.unwrap(), state.unwrap());
    let last = seen.last().unwrap();
    assert_eq!(last.state, State::Done);
    let progress = last.progress.as_ref().unwrap();
    assert_eq!((progress.done, progress.total, &*progress.current), (50, 50, "section 49"));
    assert_eq!(progress.estimate_s, Some(0.0));
    let done: Vec<u64> = seen.iter().filter_map(|job| Some(job.progress.as_ref()?.done)).collect();
    assert!(done.is_sorted() && done.len() < 50, "{done:?}");
    let unknown = there.jobs.watch("job-0000000000000000".parse().unwrap()).try_collect::<Vec<_>>();
    assert_eq!(soon(unknown).await.unwrap_err().code, Code::NotFound);
}
