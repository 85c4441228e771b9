//! Each edit on a small tree: what it does, what it says, what it refuses.

use super::*;
use crate::graph;

fn id(text: &str) -> TaskId {
    text.parse().unwrap()
}

fn ids(texts: &[&str]) -> Vec<TaskId> {
    texts.iter().map(|text| id(text)).collect()
}

fn stamp() -> Stamp {
    Stamp { updated_at: "2026-01-01T00:00:00.000Z".into(), version: 7 }
}

/// 1 (1.1, 1.2 <- 1.1), 2 <- 1, 3 <- 2, 1.2
fn sample() -> Tasks {
    let sub = |number, on: &[&str]| Task { dependencies: ids(on), version: 1, ..Task::titled(number, "sub") };
    let top = |number, on: &[&str]| Task { dependencies: ids(on), version: 1, ..Task::titled(number, "top") };
    let mut first = top(1, &[]);
    first.subtasks = vec![sub(1, &[]), sub(2, &["1.1"])];
    Tasks::new([first, top(2, &["1"]), top(3, &["2", "1.2"])])
}

fn done(edit: Edit) -> Applied {
    apply(&sample(), &edit, &stamp()).unwrap()
}

fn refused(edit: Edit) -> String {
    let error = apply(&sample(), &edit, &stamp()).unwrap_err();
    format!("{} {error}", error.code())
}

fn on(applied: &Applied, at: &str) -> String {
    format!("{:?}", applied.tasks.get(&id(at)).unwrap().dependencies)
}

#[test]
fn only_what_an_edit_changes_gets_its_version() {
    let applied = done(Edit::SetStatus { ids: ids(&["2"]), status: Status::InProgress });
    let versions: Vec<u64> = applied.tasks.walk().map(|(_, task)| task.version).collect();
    assert_eq!(versions, [1, 1, 1, 7, 1]);
    let changes: Vec<String> = changes(&sample(), &applied.tasks).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["2: status: `pending` -> `in-progress`"]);
}

#[test]
fn what_is_below_a_finished_task_ends_with_it_and_that_is_said() {
    let applied = done(Edit::SetStatus { ids: ids(&["1"]), status: Status::Done });
    assert!(applied.tasks.get(&id("1")).unwrap().subtasks.iter().all(|sub| sub.status == Status::Done));
    assert_eq!(applied.notes, ["2 subtasks of task 1 became done with it: 1.1, 1.2"]);
    let applied = done(Edit::SetStatus { ids: ids(&["1.1", "1.2"]), status: Status::Done });
    assert_eq!(applied.tasks.get(&id("1")).unwrap().status, Status::Pending);
    assert_eq!(applied.notes, ["all subtasks of task 1 are finished; it may be set to done"]);
}

#[test]
fn nobody_waits_for_what_was_removed() {
    let applied = done(Edit::Remove { ids: ids(&["1"]) });
    assert_eq!((on(&applied, "2"), on(&applied, "3")), ("[]".into(), "[2]".into()));
    assert_eq!(applied.notes.len(), 3, "{:?}", applied.notes);
    assert!(graph::check(&applied.tasks).is_empty());
}

#[test]
fn references_follow_a_move_at_every_depth() {
    let applied = done(Edit::Move { from: ids(&["1"]), to: ids(&["9"]) });
    assert_eq!(
        (on(&applied, "2"), on(&applied, "3"), on(&applied, "9.2")),
        ("[9]".into(), "[2, 9.2]".into(), "[9.1]".into())
    );
    let applied = done(Edit::Move { from: ids(&["2", "3"]), to: ids(&["3", "2"]) });
    assert_eq!((on(&applied, "2"), on(&applied, "3")), ("[3, 1.2]".into(), "[1]".into()));
    let applied = done(Edit::Promote { id: id("1.2") });
    assert_eq!((on(&applied, "4"), on(&applied, "3")), ("[1.1]".into(), "[2, 4]".into()));
    let applied = done(Edit::Demote { id: id("2"), parent: id("3") });
    assert_eq!((on(&applied, "3"), on(&applied, "3.1")), ("[1.2]".into(), "[1]".into()));
    assert_eq!(applied.notes.last().unwrap(), "task 3 need not wait for 3.1 by a dependency: it is part of it now");
}

#[test]
fn what_cannot_be_done_is_refused_with_a_code() {
    let cases = [
        refused(Edit::SetStatus { ids: ids(&["2", "8"]), status: Status::Done }),
        refused(Edit::AddDependency { id: id("1"), on: id("3") }),
        refused(Edit::AddDependency { id: id("1"), on: id("1") }),
        refused(Edit::AddDependency { id: id("1"), on: id("1.2") }),
        refused(Edit::AddDependency { id: id("2"), on: id("1") }),
        refused(Edit::RemoveDependency { id: id("2"), on: id("3") }),
        refused(Edit::Move { from: ids(&["1"]), to: ids(&["1.5"]) }),
        refused(Edit::Move { from: ids(&["1"]), to: ids(&["2"]) }),
        refused(Edit::Move { from: ids(&["1", "2"]), to: ids(&["8"]) }),
        refused(Edit::Move { from: ids(&["2", "2"]), to: ids(&["8", "9"]) }),
        refused(Edit::Move { from: ids(&["1", "1.2"]), to: ids(&["8", "9"]) }),
        refused(Edit::Add { parent: None, task: NewTask::default() }),
        refused(Edit::Remove { ids: vec![] }),
        refused(Edit::Promote { id: id("1") }),
        refused(Edit::Demote { id: id("3"), parent: id("2") }),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r"
    not_found there is no task 8
    conflict could not let 1 wait for 3: tasks wait for each other in a circle: 1 -> 3 -> 1.2 -> 1
    conflict could not let 1 wait for 1: task 1 waits for itself
    conflict could not let 1 wait for 1.2: task 1 waits for 1.2, which is part of it
    conflict task 2 waits for 1 already
    invalid_argument task 2 does not wait for 3
    invalid_argument could not move tasks: task 1 cannot go into itself, to 1.5
    conflict could not move task 1 to 2: there is a task 2 already
    invalid_argument could not move tasks: 2 are named and 1 places to go to
    invalid_argument could not move tasks: task 2 is named twice
    invalid_argument could not move tasks: task 1 and one below it cannot move at once
    invalid_argument could not keep the title of task 4: it is empty
    invalid_argument could not remove tasks: no task is named
    invalid_argument could not move tasks: task 1 is at the top already
    conflict could not make 3 a subtask of 2: task 2.1 waits for 2, which it is part of
    ");
}

#[test]
fn appended_tasks_wait_for_each_other_by_their_places_in_the_list() {
    let new = |on: &[&str]| NewTask { title: "new".into(), dependencies: ids(on), ..NewTask::default() };
    let applied = done(Edit::Append { tasks: vec![new(&[]), new(&["1"])] });
    assert_eq!((applied.added.clone(), on(&applied, "5")), (ids(&["4", "5"]), "[4]".into()));
    assert!(apply(&sample(), &Edit::Append { tasks: vec![new(&["2"])] }, &stamp()).is_err());
}

#[test]
fn finished_subtasks_survive_a_new_split() {
    let marked = done(Edit::SetStatus { ids: ids(&["1.1"]), status: Status::Done }).tasks;
    let subtasks = vec![NewTask { title: "new".into(), ..NewTask::default() }];
    let edit = Edit::ReplaceSubtasks { id: id("1"), subtasks, keep_finished: true };
    let applied = apply(&marked, &edit, &stamp()).unwrap();
    let kept: Vec<u32> = applied.tasks.get(&id("1")).unwrap().subtasks.iter().map(|sub| sub.number).collect();
    assert_eq!((kept, on(&applied, "3")), (vec![1, 2], "[2]".into()));
}

#[test]
fn a_subtask_that_comes_back_as_it_was_keeps_its_version() {
    let first = NewTask { title: "sub".into(), ..NewTask::default() };
    let second = NewTask { title: "other".into(), ..first.clone() };
    let applied = done(Edit::ReplaceSubtasks { id: id("1"), subtasks: vec![first, second], keep_finished: false });
    let versions: Vec<u64> = applied.tasks.walk().map(|(_, task)| task.version).collect();
    assert_eq!(versions, [7, 1, 7, 1, 7]);
}

#[test]
fn a_replaced_tree_keeps_the_versions_of_what_is_the_same() {
    let mut same: Vec<Task> = sample().top().iter().map(|task| (**task).clone()).collect();
    same[1].title = "changed".into();
    let applied = done(Edit::Replace { tasks: same });
    assert_eq!(applied.added, ids(&["2"]));
    assert_eq!(applied.tasks.walk().map(|(_, task)| task.version).collect::<Vec<_>>(), [1, 1, 1, 7, 1]);
}

#[test]
fn tasks_cross_to_another_tag_only_with_a_word_about_dependencies() {
    let stamps = (&stamp(), &stamp());
    let other = Tasks::new([Task::titled(4, "there")]);
    let moved = |how| move_between(&sample(), &other, &ids(&["2"]), how, stamps);
    assert!(matches!(moved(Dependencies::Refuse), Err(EditError::Crosses { .. })));
    let cut = moved(Dependencies::Cut).unwrap();
    assert_eq!((cut.ids.clone(), cut.from.top().len(), cut.notes.len()), (ids(&["5"]), 2, 2));
    let along = moved(Dependencies::Move).unwrap();
    assert_eq!((along.ids.clone(), along.from.top().len()), (ids(&["5", "6"]), 1));
    assert_eq!(along.to.get(&id("5")).unwrap().dependencies, ids(&["6"]));
    assert!(graph::check(&along.to).is_empty() && graph::check(&along.from).is_empty());
}

#[test]
fn metadata_is_the_users_and_null_takes_it_away() {
    let raw = |json: &str| serde_json::from_str::<Raw>(json).unwrap();
    let set =
        |json: &str| Edit::Change { id: id("2"), fields: Fields { metadata: Some(raw(json)), ..Fields::default() } };
    let applied = done(set("{\"ticket\": 1.0}"));
    assert_eq!(applied.tasks.get(&id("2")).unwrap().extra[0].1.0.get(), "{\"ticket\": 1.0}");
    let gone = apply(&applied.tasks, &set("null"), &stamp()).unwrap();
    assert!(gone.tasks.get(&id("2")).unwrap().extra.is_empty());
}

#[test]
fn an_edit_with_fields_of_other_programs_reads_back_from_json() {
    let raw = serde_json::from_str::<Raw>("{\"ticket\": 1.0}").unwrap();
    let extra = vec![("assignee".to_owned(), raw.clone())];
    let edits = [
        Edit::Change { id: id("2"), fields: Fields { metadata: Some(raw), ..Fields::default() } },
        Edit::Add { parent: None, task: NewTask { title: "new".into(), extra: extra.clone(), ..NewTask::default() } },
        Edit::Replace { tasks: vec![Task { extra, ..Task::titled(1, "old") }] },
    ];
    for edit in edits {
        let json = serde_json::to_string(&edit).unwrap();
        assert_eq!(serde_json::from_str::<Edit>(&json).unwrap(), edit, "{json}");
    }
}

#[test]
fn no_task_gets_a_number_that_no_address_can_have() {
    let replaced = Edit::Replace { tasks: vec![Task::titled(1_000_000_000, "far")] };
    assert_eq!(apply(&sample(), &replaced, &stamp()).unwrap_err().code(), base::Code::TooLarge);
}

#[test]
fn a_number_that_is_far_too_high_leaves_room_for_others() {
    let moved = done(Edit::Move { from: ids(&["2", "1.1"]), to: ids(&["999999999", "1.999999999"]) }).tasks;
    let add = |parent| Edit::Add { parent, task: NewTask { title: "new".into(), ..NewTask::default() } };
    for (edit, number) in [(add(None), "4"), (add(Some(id("1"))), "1.3"), (Edit::Promote { id: id("1.2") }, "4")] {
        assert_eq!(apply(&moved, &edit, &stamp()).unwrap().added, ids(&[number]));
    }
    let last = done(Edit::Move { from: ids(&["2", "3"]), to: ids(&["900000000", "900000001"]) }).tasks;
    assert_eq!(apply(&last, &add(None), &stamp()).unwrap_err().code(), base::Code::TooLarge);
}

#[test]
fn a_title_is_one_line_of_what_is_seen_by_every_edit() {
    let title = || "safe\u{202e}exe.\n1\u{0} ok".to_owned();
    let new = |title: &str| NewTask { title: title.to_owned(), ..NewTask::default() };
    let with_sub = NewTask { subtasks: vec![new(&title())], ..new("plain") };
    let fields = Fields { title: Some(title()), ..Fields::default() };
    for (edit, at) in [
        (Edit::Add { parent: None, task: new(&title()) }, "4"),
        (Edit::Append { tasks: vec![with_sub] }, "4.1"),
        (Edit::AddSubtasks { id: id("2"), subtasks: vec![new(&title())] }, "2.1"),
        (Edit::Change { id: id("2"), fields }, "2"),
        (Edit::Replace { tasks: vec![Task::titled(1, title())] }, "1"),
    ] {
        let applied = done(edit.clone());
        assert_eq!(applied.tasks.get(&id(at)).unwrap().title, "safeexe. 1  ok", "{edit:?}");
        assert!(applied.notes[0].starts_with(&format!("the title of task {at} had ")), "{:?}", applied.notes);
    }
    assert!(refused(Edit::Add { parent: None, task: new("\u{202e}\n") }).ends_with("title of task 4: it is empty"));
    // Joiners shape letters, and a no-break space is seen.
    let kept = "Fotos \u{1f468}\u{200d}\u{1f469}\u{a0}!";
    let applied = done(Edit::Add { parent: None, task: new(kept) });
    assert_eq!((applied.tasks.get(&id("4")).unwrap().title.as_str(), applied.notes.len()), (kept, 0));
}

#[test]
fn a_task_cannot_wait_for_one_that_gets_its_own_number() {
    let task = NewTask { title: "x".into(), dependencies: ids(&["1", "1"]), ..NewTask::default() };
    let edit = Edit::Add { parent: None, task };
    let error = apply(&Tasks::default(), &edit, &stamp()).unwrap_err();
    assert_eq!(error.to_string(), "there is no task 1");
    assert_eq!(refused(edit), "conflict could not add `x`: task 4 names 1 twice");
}

#[test]
fn what_was_added_to_a_long_text_is_shown_where_it_was_cut() {
    let before = "ä".repeat(500);
    let change = |after: String| Changed { id: id("1"), field: Field::Details, before: before.clone(), after };
    let added = change(format!("{before}\nand a note")).clipped(400);
    assert_eq!(added.to_string(), "1: details: added `and a note`");
    let inside = change(format!("{}O{}", "ä".repeat(450), "ä".repeat(49))).clipped(40);
    assert!(inside.after.starts_with("…ä") && inside.after.contains('O'), "{inside:?}");
    assert!(!inside.before.contains('O') && inside.before.chars().count() <= 41);
}

#[test]
fn a_circle_that_was_there_does_not_hide_another_one() {
    let mut broken = sample();
    broken.get_mut(&id("1")).unwrap().dependencies = ids(&["2"]);
    let tasks = apply(&broken, &Edit::AddDependency { id: id("3"), on: id("1.1") }, &stamp()).unwrap().tasks;
    let edit = Edit::AddDependency { id: id("2"), on: id("3") };
    assert!(apply(&tasks, &edit, &stamp()).is_err());
}

#[test]
fn whoever_begins_early_or_opens_again_is_told() {
    let early = done(Edit::SetStatus { ids: ids(&["3"]), status: Status::InProgress });
    assert_eq!(early.notes, ["task 3 is in-progress, though it waits for 1.2, 2"]);
    let finished = done(Edit::SetStatus { ids: ids(&["1"]), status: Status::Done }).tasks;
    let again = Edit::SetStatus { ids: ids(&["1.1"]), status: Status::Pending };
    assert_eq!(
        apply(&finished, &again, &stamp()).unwrap().notes,
        ["task 1 is done, though its subtask 1.1 is pending now"]
    );
}

#[test]
fn json_that_is_no_edit_is_refused_by_what_is_wrong() {
    let refused = |json: &str| serde_json::from_str::<Edit>(json).unwrap_err().to_string();
    assert!(
        refused(r#"{"edit": "burn"}"#).starts_with("unknown edit `burn`, there are add, change, note, set-status, ")
    );
    assert!(refused(r#"{"id": "3"}"#).starts_with("missing field `edit`, there are add, "));
    assert_eq!(refused(r#"{"edit": "promote"}"#), "missing field `id`; edit `promote` has `id`");
    assert_eq!(refused(r#"{"edit": "fix", "id": "3"}"#), "unknown field `id`; edit `fix` has no other field");
    assert!(refused(r#"{"edit": "promote", "id": "x"}"#).starts_with("field `id`: `x` is not the id of a task"));
    let read = |json: &str| serde_json::from_str::<Edit>(json).unwrap();
    assert_eq!(read(r#"{"id": "1.1", "edit": "promote"}"#), Edit::Promote { id: id("1.1") });
    assert_eq!(
        read(r#"{"edit": "add", "task": {"title": "t"}}"#),
        Edit::Add { parent: None, task: NewTask { title: "t".into(), ..NewTask::default() } }
    );
}
