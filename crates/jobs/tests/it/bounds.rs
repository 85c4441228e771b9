//! What is bounded, kept, removed and refused.

use base::Code;
use jobs::{Filter, JobId, MAX_FINISHED, MAX_INPUT_BYTES, MAX_RESULT_BYTES, MAX_WAITING, NewJob, State};
use serde_json::{Value, json};
use store::Txn;

use crate::bed::{Node, Place, never, new_job, soon};

/// Puts that many copies of a job's record, which differ in their ids, as the text of it is after `edit`.
async fn put_copies(node: &Node, id: JobId, number: usize, edit: impl Fn(&str) -> String) {
    let record = node.store.get(&format!("jobs/records/{id}")).await.unwrap().unwrap();
    let text = edit(std::str::from_utf8(&record.value).unwrap());
    let copies: Vec<usize> = (0..number).collect();
    for some in copies.chunks(100) {
        let put = |txn: Txn, n: &usize| txn.put(format!("jobs/records/job-{n:016x}"), text.clone());
        node.store.commit(some.iter().fold(Txn::new(), put)).await.unwrap();
    }
}

pub async fn the_same_key_gives_the_same_job(place: Place) {
    let [here, there] = place.nodes().await;
    let keyed = |input| NewJob { key: Some("delivery/7".to_owned()), ..new_job(input) };
    let (one, other) = tokio::join!(here.jobs.submit(keyed(json!(1))), there.jobs.submit(keyed(json!(2))));
    let id = one.unwrap();
    assert_eq!(id, other.unwrap());
    assert_eq!(there.jobs.submit(keyed(json!(3))).await.unwrap(), id);
    assert_eq!(here.jobs.list(&Filter::default()).await.unwrap().len(), 1);
    here.jobs.cancel(id).await.unwrap();
    assert_eq!(here.jobs.submit(keyed(json!(4))).await.unwrap(), id, "a finished job stays known");
    here.jobs.remove(id).await.unwrap();
    assert_ne!(here.jobs.submit(keyed(json!(5))).await.unwrap(), id);
}

pub async fn a_key_is_for_one_piece_of_work(place: Place) {
    let [here, there] = place.nodes().await;
    let keyed = |digest: &str| NewJob { key: Some("k".into()), digest: digest.into(), ..new_job(json!(1)) };
    let id = here.jobs.submit(keyed("shed")).await.unwrap();
    assert_eq!(there.jobs.submit(keyed("shed")).await.unwrap(), id);
    let refused = there.jobs.submit(keyed("roof")).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.to_string().contains(&id.to_string()), "{refused}");
    assert_eq!(here.jobs.list(&Filter::default()).await.unwrap().len(), 1);
}

pub async fn large_values_come_back_whole_and_go_with_the_job(place: Place) {
    let [here, there] = place.nodes().await;
    let prd: String = (0..500_000).map(|line| format!("ä{line}\n")).collect();
    let id = here.submit(json!({"prd": prd})).await;
    let claimed = there.claim().await.unwrap();
    let work = async |context: jobs::Context, input: jobs::Input| {
        let input: Value = input.read()?;
        assert!(input["prd"] == prd);
        let once = context.step("copy", || async { Ok(input["prd"].clone()) }).await?;
        let again = context.step("copy", || async { Ok(json!("not read from the store")) }).await?;
        assert!(once == prd && again == prd);
        Ok(json!({"plan": prd}))
    };
    assert_eq!(soon(there.jobs.run(claimed, &never(), work)).await.unwrap(), State::Done);
    assert!(here.jobs.result(id).await.unwrap().unwrap()["plan"] == prd);
    let left = here.store.list("jobs/").await.unwrap().entries;
    let is_kept = |key: &str| key.starts_with("jobs/records/") || key.starts_with("jobs/results/");
    assert!(left.iter().all(|entry| is_kept(&entry.key)), "{:?}", left.iter().map(|e| &e.key).collect::<Vec<_>>());
    here.jobs.remove(id).await.unwrap();
    assert!(here.store.list("jobs/").await.unwrap().entries.is_empty());
}

pub async fn what_is_too_large_is_refused(place: Place) {
    let [here, _] = place.nodes().await;
    let of_bytes = |bytes: usize| json!("x".repeat(bytes - 2));
    let refused = here.jobs.submit(new_job(of_bytes(MAX_INPUT_BYTES + 1))).await.unwrap_err();
    assert_eq!(
        (refused.code, &*refused.message),
        (Code::TooLarge, "the input has 33554433 bytes, over the limit of 33554432")
    );
    let refused = here.jobs.submit(NewJob { who: "x".repeat(300), ..new_job(json!(null)) }).await.unwrap_err();
    assert_eq!(refused.code, Code::TooLarge);
    let refused = here.jobs.submit(NewJob { kind: String::new(), ..new_job(json!(null)) }).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(here.store.list("jobs/").await.unwrap().entries.is_empty());
    here.submit(json!(null)).await;
    let claimed = here.claim().await.unwrap();
    let work = async |context: jobs::Context, _| {
        let refused = context.step("large", || async { Ok(of_bytes(MAX_RESULT_BYTES + 1)) }).await.unwrap_err();
        assert_eq!(refused.code, Code::TooLarge);
        Ok(of_bytes(MAX_RESULT_BYTES + 1))
    };
    let State::Failed { fault } = soon(here.jobs.run(claimed, &never(), work)).await.unwrap() else { panic!() };
    assert_eq!(fault.code, Code::TooLarge);
}

pub async fn too_many_waiting_jobs_are_refused(place: Place) {
    let [here, _] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    put_copies(&here, id, MAX_WAITING - 2, str::to_owned).await;
    here.submit(json!(null)).await;
    let refused = here.jobs.submit(new_job(json!(null))).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_s()), (Code::Overloaded, Some(10)));
    here.jobs.cancel(id).await.unwrap();
    here.submit(json!(null)).await;
}

pub async fn only_the_newest_finished_jobs_are_kept(place: Place) {
    let [here, _] = place.nodes().await;
    let (old, waiting) = (here.submit(json!(null)).await, here.submit(json!(null)).await);
    here.jobs.cancel(old).await.unwrap();
    put_copies(&here, old, MAX_FINISHED + 5, str::to_owned).await;
    let last = here.submit(json!(null)).await;
    here.jobs.cancel(last).await.unwrap();
    let jobs = here.jobs.list(&Filter::default()).await.unwrap();
    assert_eq!(jobs.iter().filter(|job| job.state.is_final()).count(), MAX_FINISHED);
    assert!(jobs.iter().any(|job| job.id == last));
    let unfinished = Filter { is_unfinished: true, ..Filter::default() };
    let unfinished: Vec<_> = here.jobs.list(&unfinished).await.unwrap().iter().map(|job| job.id).collect();
    assert_eq!(unfinished, [waiting]);
}

pub async fn a_record_of_a_later_release_is_named_and_left_alone(place: Place) {
    let [here, _] = place.nodes().await;
    let id = here.submit(json!(null)).await;
    put_copies(&here, id, 1, |text| text.replacen("\"v\":1", "\"v\":2", 1)).await;
    let later: JobId = "job-0000000000000000".parse().unwrap();
    assert_eq!(here.jobs.get(later).await.unwrap_err().code, Code::NotSupported);
    assert_eq!(here.jobs.list(&Filter::default()).await.unwrap().len(), 1);
    assert_eq!(here.claim().await.unwrap().id(), id);
    assert!(here.claim().await.is_none());
}
