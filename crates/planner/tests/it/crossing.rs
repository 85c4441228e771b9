//! Several nodes change the same things at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::Code;
use planner::projects::{Outcome, ProjectChange, Projects};
use planner::{Edit, Status, Task, TaskId};

use crate::bed::{Place, add, append, done, refused, set_title, titles, wanted};
use crate::store_with_faults::StoreWithFaults;

const WRITERS: usize = 8;
const EDITS: usize = 25;
const SMALL: usize = 80;

pub async fn no_edit_of_many_writers_is_lost(place: Place) {
    let writer = async |writer: usize| {
        let projects = if writer.is_multiple_of(2) { &place.here } else { &place.there };
        for edit in 0..EDITS {
            let title = format!("{writer}/{edit}");
            let outcome = projects.change("home", "", &wanted(vec![add(&title)])).await.unwrap();
            assert!(done(outcome).changes.iter().any(|change| change.after == title));
        }
    };
    futures_util::future::join_all((0..WRITERS).map(writer)).await;
    let mut found: Vec<String> = titles(&place.tasks().await).into_iter().map(str::to_owned).collect();
    found.sort();
    let mut all: Vec<String> =
        (0..WRITERS).flat_map(|writer| (0..EDITS).map(move |edit| format!("{writer}/{edit}"))).collect();
    all.sort();
    assert_eq!(found, all);
    every_revision_has_its_event(&place, (WRITERS * EDITS) as u64).await;
}

/// One event for each, in their order, none twice.
async fn every_revision_has_its_event(place: &Place, count: u64) {
    assert_eq!(place.revision().await, count);
    let events = place.there.history("home", "", None, None, 500).await.unwrap();
    let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (1..=count).rev().collect::<Vec<_>>());
}

pub async fn changes_of_all_tasks_cross_small_ones(place: Place) {
    place.edit(vec![append(150)]).await;
    let ids: Vec<TaskId> = (1..=150).map(TaskId::top).collect();
    let all = |round: u64| {
        let status = if round.is_multiple_of(2) { Status::Review } else { Status::Pending };
        vec![Edit::SetStatus { ids: ids.clone(), status }]
    };
    let rounds = cross(&place, async |projects, round| projects.change("home", "", &wanted(all(round))).await).await;
    let tasks = place.tasks().await;
    let small = titles(&tasks).into_iter().filter(|title| title.starts_with("small")).count();
    assert_eq!(small, SMALL);
    every_revision_has_its_event(&place, 1 + SMALL as u64 + rounds).await;
}

pub async fn trees_that_replace_each_other_cross_small_changes(place: Place) {
    place.edit(vec![append(150)]).await;
    let replace = async |projects: &Projects, round| {
        // What others add meanwhile goes with this: it is what it says.
        let tasks = projects.snapshot("home", "").await?.tasks;
        let tasks = tasks.top().iter().map(|task| Task { details: format!("round {round}"), ..(**task).clone() });
        projects.change("home", "", &wanted(vec![Edit::Replace { tasks: tasks.collect() }])).await
    };
    let rounds = cross(&place, replace).await;
    place.tasks().await;
    every_revision_has_its_event(&place, 1 + SMALL as u64 + rounds).await;
}

/// Large changes by one node, while the other one makes small ones; gives how many large ones there were.
async fn cross(place: &Place, large: impl AsyncFn(&Projects, u64) -> base::Result<Outcome>) -> u64 {
    let is_over = AtomicBool::new(false);
    let small = async {
        for edit in 0..SMALL {
            done(place.here.change("home", "", &wanted(vec![add(&format!("small {edit}"))])).await.unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let large = async {
        let mut rounds = 0;
        while !is_over.load(Ordering::Relaxed) {
            done(large(&place.there, rounds).await.unwrap());
            rounds += 1;
        }
        rounds
    };
    let ((), rounds) = tokio::join!(small, large);
    println!("{rounds} large changes crossed {SMALL} small ones");
    assert!(rounds > 1, "the small ones always came first");
    // Whatever was crossed was swept.
    assert_eq!(place.records("loose").await, 0);
    rounds
}

/// A node that is slow to write many tasks, while another one changes many and sweeps.
pub async fn a_sweep_spares_what_another_node_is_writing(place: Place) {
    place.edit(vec![append(200)]).await;
    place.edit(vec![append(200)]).await;
    let slow = Arc::new(StoreWithFaults::new(place.store.clone()));
    let projects = Projects::new(slow.clone());
    projects.snapshot("home", "").await.unwrap();
    // The slow one is between its last task and the tag's record; the other one changes all, so its revision is over.
    let (arrived, go_on) = slow.hold_before("projects/events/");
    let held = async { done(projects.change("home", "", &wanted(vec![append(300)])).await.unwrap()) };
    let others = async {
        arrived.await.unwrap();
        for _ in 0..2 {
            done(place.there.change("home", "", &wanted(vec![append(100)])).await.unwrap());
        }
        go_on.send(()).unwrap();
    };
    let (first, ()) = tokio::join!(held, others);
    assert_eq!((first.revision, place.tasks().await.count()), (5, 900));
    // Its generation is younger than the revision at hand, and stays whoever sweeps.
    let (arrived, go_on) = slow.hold_before("projects/events/");
    let held = async { done(projects.change("home", "", &wanted(vec![append(300)])).await.unwrap()) };
    let others = async {
        arrived.await.unwrap();
        place.there.add_tag("home", "other", "", "", "ann").await.unwrap();
        place.there.delete_tag("home", "other").await.unwrap();
        go_on.send(()).unwrap();
    };
    let (second, ()) = tokio::join!(held, others);
    assert_eq!((second.revision, place.tasks().await.count()), (6, 1200));
    assert_eq!(place.records("loose").await, 0);
}

/// A node that dies before the last transaction of a large copy, and another one that sweeps later.
pub async fn what_a_dead_copy_wrote_is_found(place: Place) {
    place.edit(vec![append(300)]).await;
    let dying = Arc::new(StoreWithFaults::new(place.store.clone()));
    let (arrived, _go_on) = dying.hold_before("projects/events/");
    let projects = Projects::new(dying.clone());
    tokio::select! {
        made = projects.add_tag("home", "copy", "", "master", "bob") => panic!("{made:?}"),
        arrived = arrived => arrived.unwrap(),
    }
    assert_eq!(tags_with_tasks(&place).await, 2, "nothing was left to find");
    place.edit(vec![append(100)]).await;
    assert_eq!((tags_with_tasks(&place).await, place.records("loose").await), (1, 0));
    refused(place.here.tag("home", "copy").await, Code::NotFound);
}

/// A sweep cannot tell a slow copy from a dead one: what it takes is written again.
pub async fn a_copy_that_a_sweep_takes_is_made_whole(place: Place) {
    place.edit(vec![append(300)]).await;
    for (tag, within) in [("first", "projects/tasks/"), ("last", "projects/events/")] {
        let slow = Arc::new(StoreWithFaults::new(place.store.clone()));
        let (arrived, go_on) = slow.hold_before(within);
        let projects = Projects::new(slow.clone());
        let others = async {
            arrived.await.unwrap();
            place.edit(vec![append(100)]).await;
            go_on.send(()).unwrap();
        };
        let (copied, ()) = tokio::join!(projects.add_tag("home", tag, "", "master", "bob"), others);
        copied.unwrap();
        let fresh = Projects::new(place.store.clone());
        let expected = if tag == "first" { 300 } else { 400 };
        assert_eq!(fresh.snapshot("home", tag).await.unwrap().tasks.count(), expected, "{tag}");
    }
    place.edit(vec![append(100)]).await;
    assert_eq!((tags_with_tasks(&place).await, place.records("loose").await), (3, 0));
}

/// How many tags have tasks in the store, whether anybody can read them or not.
async fn tags_with_tasks(place: &Place) -> usize {
    let entries = place.store.list("projects/tasks/home/").await.unwrap().entries;
    let ids: BTreeSet<&str> = entries.iter().filter_map(|entry| entry.key.split('/').nth(3)).collect();
    ids.len()
}

pub async fn whoever_writes_into_a_tag_that_goes_is_told(place: Place) {
    for round in 0..6 {
        let (old, new) = (format!("old-{round}"), format!("new-{round}"));
        place.here.add_tag("home", &old, "", "", "ann").await.unwrap();
        let begun = tokio::sync::Notify::new();
        let acknowledged = async {
            let mut count = 0;
            loop {
                let edits = if count % 4 == 3 { vec![append(60)] } else { vec![add("x")] };
                match place.there.change("home", &old, &wanted(edits)).await {
                    Ok(outcome) => drop(done(outcome)),
                    Err(fault) if fault.code == Code::NotFound => return count,
                    Err(fault) => panic!("{fault:?}"),
                }
                count += 1;
                begun.notify_one();
            }
        };
        let goes = async {
            begun.notified().await;
            match round % 3 {
                0 => place.here.rename_tag("home", &old, &new).await.unwrap(),
                1 => place.here.delete_tag("home", &old).await.unwrap(),
                _ => {
                    let current = ProjectChange { current_tag: Some(old.clone()), ..ProjectChange::default() };
                    place.here.change_project("home", &current).await.unwrap();
                    place.here.delete("home").await.unwrap();
                    place.there.create("home", "", "").await.unwrap();
                }
            }
        };
        let (acknowledged, ()) = tokio::join!(acknowledged, goes);
        if round % 3 == 0 {
            let renamed = place.here.snapshot("home", &new).await.unwrap();
            assert_eq!(renamed.about.revision, acknowledged);
            place.here.change("home", &new, &wanted(vec![set_title("1", "still here")])).await.unwrap();
            place.here.delete_tag("home", &new).await.unwrap();
        }
        let tags = place.here.tags("home").await.unwrap();
        assert_eq!(tags.iter().map(|tag| tag.name.as_str()).collect::<Vec<_>>(), ["master"]);
        assert_eq!(place.here.project("home").await.unwrap().current_tag, "master");
        // What a writer left that was told too late goes with the next sweep.
        place.here.add_tag("home", "swept", "", "", "ann").await.unwrap();
        place.here.delete_tag("home", "swept").await.unwrap();
        assert_eq!(place.records("tasks").await, 0);
    }
}
