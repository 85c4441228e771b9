//! Two sides that change one tag, in every way that meets.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::tasks_file::tests::any_tasks;
use crate::{Raw, Status};

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

/// Tasks 1 to 4; 3 has the subtasks 3.1 and 3.2 and depends on 1; 4 depends on 3.
fn base() -> Tasks {
    let subtasks = vec![Task::titled(1, "first part"), Task::titled(2, "second part")];
    Tasks::new([
        Task::titled(1, "one"),
        Task::titled(2, "two"),
        Task { subtasks, dependencies: vec![id("1")], ..Task::titled(3, "three") },
        Task { dependencies: vec![id("3")], ..Task::titled(4, "four") },
    ])
}

fn with(change: impl FnOnce(&mut Tasks)) -> Tasks {
    let mut tasks = base();
    change(&mut tasks);
    tasks
}

fn edit(at: &str, change: impl FnOnce(&mut Task)) -> Tasks {
    with(|tasks| change(tasks.get_mut(&id(at)).unwrap()))
}

fn put(tasks: &mut Tasks, number: u32, title: &str, on: &[&str]) {
    let dependencies = on.iter().map(|on| id(on)).collect();
    tasks.put(Task { dependencies, ..Task::titled(number, title) }.into());
}

fn dependencies(tasks: &Tasks, at: &str) -> Vec<String> {
    tasks.get(&id(at)).unwrap().dependencies.iter().map(TaskId::to_string).collect()
}

/// Everything that a person is told, one line each.
fn told(merged: &Merged) -> String {
    let notes = merged.notes.iter().map(Note::to_string);
    merged.conflicts.iter().map(Conflict::to_string).chain(notes).collect::<Vec<_>>().join("\n")
}

#[test]
fn different_fields_of_one_task_come_together() {
    let ours = edit("3", |task| task.status = Status::InProgress);
    let theirs = edit("3", |task| task.title = "third".into());
    let merged = merge(&base(), &ours, &theirs);
    let task = merged.tasks.get(&id("3")).unwrap();
    assert_eq!((task.title.as_str(), task.status), ("third", Status::InProgress));
    assert_eq!(told(&merged), "");
    assert!(Arc::ptr_eq(&merged.tasks.top()[0], &ours.top()[0]));
}

#[test]
fn one_field_changed_differently_stays_ours_and_shows_both() {
    let raw = |json: &str| vec![("metadata".to_owned(), serde_json::from_str::<Raw>(json).unwrap())];
    let ours = edit("3.2", |task| {
        task.title = "ours".into();
        task.status = Status::Done;
        task.extra = raw("[1.0]");
    });
    let theirs = edit("3.2", |task| {
        task.title = "theirs".into();
        task.status = Status::Done;
        task.extra = raw("[1.00]");
    });
    let merged = merge(&base(), &ours, &theirs);
    assert_eq!(merged.tasks, ours);
    insta::assert_snapshot!(told(&merged), @r"
    task 3.2 `ours`: title is `ours` here and `theirs` there; kept as here
    task 3.2 `ours`: metadata is `[1.0]` here and `[1.00]` there; kept as here
    ");
}

#[test]
fn dependencies_and_unknown_fields_merge_one_by_one() {
    let raw = |names: &[&str]| {
        names.iter().map(|name| ((*name).to_owned(), serde_json::from_str::<Raw>("1").unwrap())).collect::<Vec<_>>()
    };
    let ours = edit("4", |task| {
        task.dependencies = vec![id("3"), id("1")];
        task.extra = raw(&["a"]);
    });
    let theirs = edit("4", |task| {
        task.dependencies = vec![id("2")];
        task.extra = raw(&["b"]);
    });
    let merged = merge(&base(), &ours, &theirs);
    assert_eq!(dependencies(&merged.tasks, "4"), ["1", "2"]);
    assert_eq!(merged.tasks.get(&id("4")).unwrap().extra, raw(&["a", "b"]));
    assert_eq!(told(&merged), "");
}

#[test]
fn removed_on_one_side_and_changed_on_the_other_is_kept_and_told() {
    let removed = with(|tasks| drop(tasks.remove(4)));
    let changed = edit("4", |task| task.details = "more".into());
    for (ours, theirs) in [(&removed, &changed), (&changed, &removed)] {
        let merged = merge(&base(), ours, theirs);
        assert_eq!(merged.tasks, changed);
        assert_eq!(merged.conflicts.len(), 1);
    }
    insta::assert_snapshot!(
        told(&merge(&base(), &removed, &changed)),
        @"task 4 `four`: removed here but changed there; kept as there"
    );
    insta::assert_snapshot!(
        told(&merge(&base(), &changed, &removed)),
        @"task 4 `four`: changed here but removed there; kept as here"
    );
    let merged = merge(&base(), &base(), &removed);
    assert_eq!(merged.tasks, removed);
}

#[test]
fn a_dependency_on_what_the_other_side_removed_is_dropped_and_told() {
    let ours = with(|tasks| put(tasks, 5, "five", &["2", "99"]));
    let theirs = with(|tasks| drop(tasks.remove(2)));
    let merged = merge(&base(), &ours, &theirs);
    assert_eq!(dependencies(&merged.tasks, "5"), ["99"]);
    assert_eq!(told(&merged), "task 5 no longer depends on 2, which one side removed");
}

#[test]
fn tasks_added_under_one_number_are_both_kept_and_references_follow() {
    let ours = with(|tasks| put(tasks, 5, "ours", &[]));
    let theirs = with(|tasks| {
        put(tasks, 5, "theirs", &["1"]);
        put(tasks, 6, "behind it", &["5", "3.3"]);
        tasks.get_mut(&id("4")).unwrap().dependencies.push(id("5"));
        tasks.get_mut(&id("3")).unwrap().subtasks.push(Task::titled(3, "their part"));
    });
    let ours = Tasks::new(ours.top().iter().map(|task| {
        let mut task = Task::clone(task);
        if task.number == 3 {
            task.subtasks.push(Task::titled(3, "our part"));
        }
        task
    }));
    let merged = merge(&base(), &ours, &theirs);
    let titles: Vec<_> = merged.tasks.walk().map(|(id, task)| format!("{id} {}", task.title)).skip(3).collect();
    assert_eq!(
        titles,
        [
            "3.1 first part",
            "3.2 second part",
            "3.3 our part",
            "3.4 their part",
            "4 four",
            "5 ours",
            "6 behind it",
            "7 theirs"
        ]
    );
    assert_eq!(dependencies(&merged.tasks, "4"), ["3", "7"]);
    assert_eq!(dependencies(&merged.tasks, "6"), ["7", "3.4"]);
    insta::assert_snapshot!(told(&merged), @r"
    their new task 3.3 is now 3.4: number 3 was given here, too
    their new task 5 is now 7: number 5 was given here, too
    ");
}

#[test]
fn the_same_task_added_on_both_sides_is_one_unless_it_means_another() {
    let added = |title: &str| {
        with(|tasks| {
            put(tasks, 5, title, &[]);
            put(tasks, 6, "behind it", &["5"]);
        })
    };
    let same = merge(&base(), &added("five"), &added("five"));
    assert_eq!((told(&same).as_str(), same.tasks.count()), ("", 8));
    let other = merge(&base(), &added("five"), &added("else"));
    assert_eq!((other.notes.len(), other.tasks.count()), (2, 10));
    assert_eq!(dependencies(&other.tasks, "8"), ["7"]);
}

#[test]
fn their_dependency_that_closes_a_cycle_with_ours_is_left_out_and_told() {
    let ours = edit("1", |task| task.dependencies.push(id("2")));
    let theirs = edit("2", |task| task.dependencies = vec![id("1"), id("4")]);
    let merged = merge(&base(), &ours, &theirs);
    assert_eq!(dependencies(&merged.tasks, "1"), ["2"]);
    assert_eq!(dependencies(&merged.tasks, "2"), Vec::<String>::new());
    insta::assert_snapshot!(told(&merged), @r"
    task 2 `two`: their dependency on 1 would close a cycle with ours; left out
    task 2 `two`: their dependency on 4 would close a cycle with ours; left out
    ");
}

#[test]
fn a_cycle_through_subtasks_counts_and_one_of_their_own_stays() {
    let ours = edit("2", |task| task.dependencies.push(id("3")));
    let theirs = edit("3.1", |task| task.dependencies.push(id("2")));
    assert_eq!(dependencies(&merge(&base(), &ours, &theirs).tasks, "3.1"), Vec::<String>::new());
    let cyclic = edit("1", |task| task.dependencies.push(id("3")));
    let merged = merge(&base(), &base(), &cyclic);
    assert_eq!((merged.tasks, merged.conflicts), (cyclic, vec![]));
}

#[test]
fn revisions_are_ours_where_nothing_came_from_there() {
    let numbered = |tasks: Tasks, version| {
        Tasks::new(tasks.top().iter().map(|task| {
            let subtasks = task.subtasks.iter().map(|sub| Task { version, ..sub.clone() }).collect();
            Task { version, subtasks, ..Task::clone(task) }
        }))
    };
    let ours = numbered(base(), 7);
    let merged = merge(&base(), &ours, &edit("3.1", |task| task.title = "new".into()));
    assert!(merged.tasks.walk().all(|(_, task)| task.version == 7));
    assert!(merged.tasks.top().iter().zip(ours.top()).filter(|(one, other)| Arc::ptr_eq(one, other)).count() == 3);
}

/// What a side may do to any tasks: (what, where, with what).
fn edits() -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    proptest::collection::vec((0..6_u8, any::<usize>(), any::<usize>()), 0..6)
}

fn edited(mut tasks: Tasks, side: &str, edits: &[(u8, usize, usize)]) -> Tasks {
    for (step, &(what, place, other)) in edits.iter().enumerate() {
        let ids: Vec<TaskId> = tasks.walk().map(|(id, _)| id).collect();
        let title = format!("{side} {step}");
        let (Some(at), Some(on)) = (ids.get(place % ids.len().max(1)), ids.get(other % ids.len().max(1))) else {
            put(&mut tasks, 1, &title, &[]);
            continue;
        };
        let number = tasks.next_number();
        let task = tasks.get_mut(at).unwrap();
        match what {
            0 => task.title = title,
            1 => task.details = title,
            2 => task.dependencies.push(on.clone()),
            3 => {
                let number = task.subtasks.last().map_or(1, |last| last.number + 1);
                task.subtasks.push(Task::titled(number, title));
            }
            4 => drop(tasks.remove(at.root())),
            _ => put(&mut tasks, number, &title, &[&on.to_string()]),
        }
    }
    tasks
}

#[test]
fn no_task_gets_a_number_that_somebody_waits_for_in_vain() {
    let side = |title: &str, on: &[&str]| {
        let mut tasks = Tasks::default();
        put(&mut tasks, 1, title, on);
        tasks
    };
    for (ours, theirs) in [(&[][..], &["2", "3"][..]), (&["2"], &["3"]), (&["3", "2"], &[])] {
        let merged = merge(&Tasks::default(), &side("ours", ours), &side("theirs", theirs));
        assert_eq!(merged.tasks.get(&id("4")).map(|task| task.title.as_str()), Some("theirs"), "{ours:?} {theirs:?}");
    }
}

fn is_cyclic(tasks: &Tasks) -> bool {
    let knots: HashSet<usize> = edges::Graph::of(tasks).knots().into_iter().collect();
    knots.len() < tasks.count() || tasks.walk().any(|(id, task)| task.dependencies.contains(&id))
}

/// Whatever a side wrote of its own.
fn words(tasks: &Tasks, side: &str) -> HashSet<String> {
    let all = tasks.walk().flat_map(|(_, task)| [task.title.clone(), task.details.clone()]);
    all.filter(|word| word.starts_with(side)).collect()
}

proptest! {
    #[test]
    fn one_side_alone_is_taken_as_it_is(base in any_tasks(), edits in edits(), other in any_tasks()) {
        for changed in [edited(base.clone(), "x", &edits), other] {
            for (ours, theirs) in [(&changed, &base), (&base, &changed), (&changed, &changed)] {
                let merged = merge(&base, ours, theirs);
                prop_assert_eq!(told(&merged), "");
                prop_assert_eq!(merged.tasks.count(), changed.count());
                prop_assert!(changed.top().iter().zip(merged.tasks.top()).all(|(one, other)| says_same(one, other)));
            }
        }
    }

    #[test]
    fn nothing_that_a_side_did_is_lost(base in any_tasks(), here in edits(), there in edits()) {
        let (ours, theirs) = (edited(base.clone(), "ours", &here), edited(base.clone(), "theirs", &there));
        let merged = merge(&base, &ours, &theirs);
        prop_assert!(words(&ours, "ours").is_subset(&words(&merged.tasks, "ours")));
        let mut found = words(&merged.tasks, "theirs");
        for conflict in &merged.conflicts {
            if let Clash::Field { theirs: Some(value), .. } = &conflict.clash {
                found.insert(value.clone());
            }
        }
        prop_assert!(words(&theirs, "theirs").is_subset(&found));
    }

    #[test]
    fn a_merge_leaves_numbers_unique_no_reference_hanging_and_no_new_cycle(base in any_tasks(), here in edits(), there in edits()) {
        let (ours, theirs) = (edited(base.clone(), "ours", &here), edited(base.clone(), "theirs", &there));
        let merged = merge(&base, &ours, &theirs);
        let ids: Vec<TaskId> = merged.tasks.walk().map(|(id, _)| id).collect();
        prop_assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        for (at, task) in merged.tasks.walk() {
            for on in task.dependencies.iter().filter(|on| !ids.contains(on)) {
                let hung = |tasks: &Tasks| tasks.get(on).is_none();
                prop_assert!(hung(&ours) || hung(&theirs), "{} on {}", at, on);
            }
        }
        prop_assert!(is_cyclic(&ours) || is_cyclic(&theirs) || !is_cyclic(&merged.tasks));
    }
}
