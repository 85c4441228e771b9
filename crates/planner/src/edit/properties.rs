//! Whatever is done to whatever tree, it keeps the rules.

use proptest::prelude::*;

use super::*;
use crate::graph;

/// Cases of each property; the full count belongs to a soak.
fn cases() -> u32 {
    std::env::var("TM_GRAPHS").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

fn any_id() -> impl Strategy<Value = TaskId> {
    prop_oneof![
        3 => (1u32..8).prop_map(TaskId::top),
        2 => (1u32..8, 1u32..4).prop_map(|(top, sub)| TaskId::top(top).child(sub)),
        1 => (1u32..8, 1u32..4, 1u32..3).prop_map(|(top, sub, below)| TaskId::top(top).child(sub).child(below)),
    ]
}

fn any_new() -> impl Strategy<Value = NewTask> {
    let plain = (prop::collection::vec(any_id(), 0..3), 0usize..7).prop_map(|(dependencies, status)| NewTask {
        title: "new".into(),
        dependencies,
        status: Status::ALL[status],
        extra: vec![("effort".into(), serde_json::from_str("1.50").unwrap())],
        ..NewTask::default()
    });
    (plain, 0usize..3).prop_map(|(task, below)| NewTask {
        subtasks: vec![NewTask { title: "below".into(), ..NewTask::default() }; below],
        ..task
    })
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let some_ids = || prop::collection::vec(any_id(), 0..3);
    let news = || prop::collection::vec(any_new(), 0..3);
    prop_oneof![
        (prop::option::of(any_id()), any_new()).prop_map(|(parent, task)| Edit::Add { parent, task }),
        (some_ids(), 0usize..7).prop_map(|(ids, status)| Edit::SetStatus { ids, status: Status::ALL[status] }),
        some_ids().prop_map(|ids| Edit::Remove { ids }),
        (any_id(), news(), any::<bool>()).prop_map(|(id, subtasks, keep_finished)| Edit::ReplaceSubtasks {
            id,
            subtasks,
            keep_finished
        }),
        (any_id(), news()).prop_map(|(id, subtasks)| Edit::AddSubtasks { id, subtasks }),
        some_ids().prop_map(|ids| Edit::ClearSubtasks { ids }),
        (any_id(), any_id()).prop_map(|(id, parent)| Edit::Demote { id, parent }),
        any_id().prop_map(|id| Edit::Promote { id }),
        (some_ids(), some_ids()).prop_map(|(from, to)| Edit::Move { from, to }),
        (any_id(), any_id()).prop_map(|(id, on)| Edit::AddDependency { id, on }),
        (any_id(), any_id()).prop_map(|(id, on)| Edit::RemoveDependency { id, on }),
        news().prop_map(|tasks| Edit::Append { tasks }),
        any_id().prop_map(|id| Edit::Note { id, text: "note".into() }),
        Just(Edit::Fix),
    ]
}

/// A tree that keeps the rules: whatever could be done of a list of edits.
fn any_tree() -> impl Strategy<Value = Tasks> {
    prop::collection::vec(any_edit(), 0..25).prop_map(|edits| {
        let begin = Tasks::new((1..=5).map(|number| Task::titled(number, "task")));
        edits
            .iter()
            .fold(begin, |tasks, edit| apply(&tasks, edit, &Stamp::default()).map_or(tasks, |applied| applied.tasks))
    })
}

/// Seven tasks of two subtasks each, and dependencies of all kinds.
fn any_wrong_tree() -> impl Strategy<Value = Tasks> {
    prop::collection::vec((any_id(), any_id()), 0..25).prop_map(|edges| {
        let mut tasks = Tasks::new((1..=7).map(|number| {
            let subtasks = vec![Task::titled(1, "sub"), Task::titled(2, "sub")];
            Task { subtasks, ..Task::titled(number, "task") }
        }));
        for (id, on) in edges {
            if let Some(task) = tasks.get_mut(&id) {
                task.dependencies.push(on);
            }
        }
        tasks
    })
}

fn assert_rules(tasks: &Tasks) {
    assert_eq!(graph::check(tasks), []);
    let mut seen = std::collections::HashSet::new();
    for (id, _) in tasks.walk() {
        assert!(id.number() > 0 && seen.insert(id.clone()), "{id} twice");
    }
    assert_eq!(graph::order(tasks).len(), tasks.count());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_edit_keeps_every_rule(tasks in any_tree(), edits in prop::collection::vec(any_edit(), 1..10)) {
        let mut now = tasks;
        for (version, edit) in (1..).zip(&edits) {
            let stamp = Stamp { updated_at: "now".into(), version };
            let Ok(applied) = apply(&now, edit, &stamp) else { continue };
            assert_rules(&applied.tasks);
            // What is not said to be different is the same, version and all.
            let told = changes(&now, &applied.tasks);
            for (id, task) in applied.tasks.walk().filter(|(id, _)| now.get(id).is_some()) {
                if task.version == version && !matches!(edit, Edit::Note { .. }) {
                    let is_told = told.iter().any(|changed| changed.id == id || changed.id.parent().as_ref() == Some(&id));
                    let is_moved = matches!(edit, Edit::Move { .. } | Edit::Demote { .. } | Edit::Promote { .. });
                    prop_assert!(is_told || is_moved, "{edit:?} marked {id} as changed");
                }
            }
            now = applied.tasks;
        }
    }

    #[test]
    fn an_edit_reads_back_from_json(edit in any_edit()) {
        let json = serde_json::to_string(&edit).unwrap();
        prop_assert_eq!(serde_json::from_str::<Edit>(&json).unwrap(), edit);
    }

    #[test]
    fn fixing_leaves_nothing_wrong_and_touches_nothing_else(tasks in any_wrong_tree()) {
        let fixed = apply(&tasks, &Edit::Fix, &Stamp::default()).unwrap().tasks;
        assert_rules(&fixed);
        let told = graph::fix(&tasks);
        for (id, task) in tasks.walk().filter(|(id, _)| !told.iter().any(|fix| fix.id == *id)) {
            prop_assert_eq!(&fixed.get(&id).unwrap().dependencies, &task.dependencies);
        }
        prop_assert_eq!(graph::check(&tasks).is_empty(), told.is_empty());
    }

    #[test]
    fn fixing_takes_no_dependency_that_could_stay(tasks in any_wrong_tree()) {
        let fixed = apply(&tasks, &Edit::Fix, &Stamp::default()).unwrap().tasks;
        for (id, task) in tasks.walk() {
            let kept = &fixed.get(&id).unwrap().dependencies;
            for on in task.dependencies.iter().filter(|on| !kept.contains(on) && fixed.get(on).is_some()) {
                prop_assert!(graph::would_break(&fixed, &id, on).is_some(), "{id} could wait for {on}");
            }
        }
    }

    #[test]
    fn a_dependency_is_refused_exactly_when_something_would_be_wrong(tasks in any_tree(), id in any_id(), on in any_id()) {
        let mut with = tasks.clone();
        if let Some(task) = with.get_mut(&id).filter(|task| !task.dependencies.contains(&on) && tasks.get(&on).is_some()) {
            task.dependencies.push(on.clone());
            prop_assert_eq!(graph::would_break(&tasks, &id, &on).is_some(), !graph::check(&with).is_empty());
        }
    }

    #[test]
    fn what_comes_next_may_be_begun_and_nothing_is_kept_back(tasks in any_tree()) {
        let next = graph::next(&tasks, MAX_TASKS);
        for id in next.chosen.iter().chain(&next.others) {
            prop_assert!(graph::is_ready(&tasks, id), "{id}");
        }
        let in_progress = |id: &TaskId| tasks.get(id).is_some_and(|task| task.status == Status::InProgress);
        for (id, _) in tasks.walk().filter(|(id, task)| task.subtasks.is_empty() && graph::is_ready(&tasks, id)) {
            let is_turn = id.parent().is_none_or(|parent| in_progress(&parent));
            let is_named = next.chosen.iter().chain(&next.others).any(|named| *named == id);
            prop_assert_eq!(is_named, is_turn, "{}", id);
        }
        prop_assert!(!next.reasons.is_empty());
    }
}
