//! A store that is away for a moment, or whose answers get lost: a change is done once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use planner::projects::{Key, Outcome, Projects, Wanted};

use crate::bed::{Place, add, append, done, set_title, wanted};
use crate::store_with_faults::StoreWithFaults;
use crate::stores::EtcdProcess;

pub async fn a_change_whose_answer_is_lost_is_done_once(place: Place) {
    let store = Arc::new(StoreWithFaults::new(place.store.clone()));
    let projects = Projects::new(store.clone());
    for edit in [add("one"), append(300)] {
        for (answers, requests) in [(1, 0), (0, 1), (2, 0), (1, 1)] {
            store.answers_lost.store(answers, Ordering::SeqCst);
            store.requests_lost.store(requests, Ordering::SeqCst);
            let before = place.tasks().await.count();
            let made = done(projects.change("home", "", &wanted(vec![edit.clone()])).await.unwrap());
            assert_eq!(place.tasks().await.count(), before + made.added.len());
            assert_eq!(place.revision().await, made.revision);
        }
    }
    assert_eq!((place.revision().await, place.records("loose").await), (8, 0));
}

pub async fn a_lost_answer_is_told_where_others_came_at_once(place: Place) {
    let store = Arc::new(StoreWithFaults::new(place.store.clone()));
    let projects = Projects::new(store.clone());
    place.edit(vec![add("one")]).await;
    store.answers_lost.store(1, Ordering::SeqCst);
    let client = Wanted { expected: vec![(crate::bed::id("1"), 1)], ..wanted(vec![set_title("1", "mine")]) };
    let mine = async { done(projects.change("home", "", &client).await.unwrap()) };
    let theirs = async {
        // As soon as it is there, and before its writer can ask.
        while place.revision().await == 1 {}
        place.edit(vec![add("theirs")]).await
    };
    let (mine, theirs) = tokio::join!(mine, theirs);
    assert_eq!((mine.revision, theirs.revision, place.revision().await), (2, 3, 3));
    place.tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_for_a_moment_does_each_change_once() {
    let Some(etcd) = EtcdProcess::start().await else { return };
    let projects = Projects::new(etcd.store("/test", Duration::from_millis(400)));
    projects.create("home", "", "").await.unwrap();
    let is_over = AtomicBool::new(false);
    let freezing = async {
        for away_ms in [150, 700, 1500] {
            tokio::time::sleep(Duration::from_millis(60)).await;
            etcd.freeze();
            tokio::time::sleep(Duration::from_millis(away_ms)).await;
            etcd.thaw();
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let writing = async {
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) || count <= 10 {
            let edits = if count % 5 == 4 { append(70) } else { add("small") };
            let keyed = Wanted { key: Some(Key::Client(format!("key {count}"))), ..wanted(vec![edits]) };
            // As a client does it that is told to come back.
            loop {
                match projects.change("home", "", &keyed).await {
                    Ok(Outcome::Done(done)) => break assert_eq!(done.revision, count + 1),
                    Ok(Outcome::Conflict(conflict)) => panic!("{conflict:?}"),
                    Err(fault) => assert!(fault.code.is_retriable() && fault.retry_after.is_some(), "{fault:?}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            count += 1;
        }
        count
    };
    let both = async { tokio::join!(writing, freezing) };
    let (count, ()) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    let fresh = Projects::new(etcd.store("/test", Duration::from_secs(5))).snapshot("home", "").await.unwrap();
    let large = count / 5;
    assert_eq!((fresh.about.revision, fresh.tasks.count() as u64), (count, large * 70 + (count - large)));
}
