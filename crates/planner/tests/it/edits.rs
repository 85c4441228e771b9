//! Edits of every size come back as they were made, or are refused as a whole.

use base::Code;
use planner::{Complexity, Edit, NewTask, Raw, Status, Task, Tasks, edit};

use crate::bed::{Place, add, append, done, id, refused, remove, set_status, set_title, titled, titles, wanted};

pub async fn what_is_written_is_read_back(place: Place) {
    let first = place.edit(vec![add("one"), add("two"), add("three")]).await;
    assert_eq!((first.revision, first.added, first.changes.len()), (1, vec![id("1"), id("2"), id("3")], 3));
    let sub = Edit::Add { parent: Some(id("2")), task: titled("a part") };
    let depends = Edit::AddDependency { id: id("3"), on: id("2") };
    let second = place.edit(vec![sub, depends, set_status("1", Status::Done), set_title("3", "third")]).await;
    assert_eq!(second.revision, 2);
    let tasks = place.tasks().await;
    assert_eq!(tasks, second.tasks);
    assert_eq!(titles(&tasks), ["one", "two", "third"]);
    assert_eq!(tasks.get(&id("2.1")).unwrap().version, 2);
    let about = place.there.tag("home", "master").await.unwrap();
    assert_eq!((about.tasks, about.by_status[&Status::Done], about.by_status[&Status::Pending]), (4, 1, 3));
    let refusal = place.here.change("home", "", &wanted(vec![remove("1"), remove("9")])).await;
    refused(refusal, Code::NotFound);
    let circle = Edit::AddDependency { id: id("2"), on: id("3") };
    refused(place.here.change("home", "", &wanted(vec![circle])).await, Code::Conflict);
    assert_eq!(place.tasks().await, tasks);
    place.edit(vec![remove("2")]).await;
    assert_eq!(titles(&place.tasks().await), ["one", "third"]);
}

pub async fn more_than_a_transaction_takes_is_one_change(place: Place) {
    place.edit(vec![add("first")]).await;
    let appended = place.edit(vec![append(3000)]).await;
    assert_eq!((appended.revision, appended.added.len()), (2, 3000));
    let tasks = place.tasks().await;
    assert_eq!((tasks, place.records("tasks").await), (appended.tasks, 3004));
    // Only as many generations stay as undoing may want, and nothing is left to be swept.
    for _ in 0..3 {
        place
            .edit(vec![Edit::SetStatus { ids: (1..=100).map(planner::TaskId::top).collect(), status: Status::Done }])
            .await;
        place
            .edit(vec![Edit::SetStatus { ids: (1..=100).map(planner::TaskId::top).collect(), status: Status::Review }])
            .await;
    }
    place.tasks().await;
    assert_eq!((place.records("tasks").await, place.records("loose").await), (3 * 3002, 0));
}

pub async fn huge_texts_are_kept_and_larger_ones_are_refused(place: Place) {
    place.edit(vec![add("one"), add("two")]).await;
    let text = "\u{1f333}\u{1}\"\\\n".repeat(edit::MAX_TEXT_BYTES / 8);
    let fields = edit::Fields {
        description: Some(text.clone()),
        details: Some(text.clone()),
        test_strategy: Some(text.clone()),
        ..edit::Fields::default()
    };
    let change = Edit::Change { id: id("1"), fields };
    place.edit(vec![change.clone()]).await;
    assert_eq!(place.tasks().await.get(&id("1")).unwrap().details, text);
    let part = || NewTask { details: text.clone(), description: text.clone(), ..titled("part") };
    let parts = |count| Edit::AddSubtasks { id: id("2"), subtasks: (0..count).map(|_| part()).collect() };
    let before = place.tasks().await;
    let records = place.store.list("").await.unwrap().entries;
    refused(place.here.change("home", "", &wanted(vec![add("x"), parts(8)])).await, Code::TooLarge);
    let many = (0..100).map(|_| add("many")).chain([parts(8)]).collect();
    refused(place.here.change("home", "", &wanted(many)).await, Code::TooLarge);
    let longer = edit::Fields { details: Some("x".repeat(edit::MAX_TEXT_BYTES + 1)), ..edit::Fields::default() };
    let longer = Edit::Change { id: id("1"), fields: longer };
    refused(place.here.change("home", "", &wanted(vec![longer])).await, Code::InvalidArgument);
    assert_eq!(place.store.list("").await.unwrap().entries, records);
    assert_eq!(place.tasks().await, before);
    place.edit(vec![parts(1)]).await;
    place.edit(vec![set_title("2.1", "renamed")]).await;
    assert_eq!(place.tasks().await.get(&id("2.1")).unwrap().details, text);
    let draft = Some(vec!["x".repeat(100_000)]);
    refused(
        place.here.change("home", "", &planner::projects::Wanted { draft, ..wanted(vec![]) }).await,
        Code::TooLarge,
    );
}

pub async fn ten_thousand_tasks_read_back_the_same(place: Place) {
    let parts = |place: usize| match place.is_multiple_of(10) {
        true => vec![titled("a part"), titled("another part")],
        false => Vec::new(),
    };
    let task = |place| NewTask {
        details: format!("what is to be done for {place} ").repeat(4),
        subtasks: parts(place),
        ..titled(format!("task {place}"))
    };
    let appended = place.edit(vec![Edit::Append { tasks: (1..=10_000).map(task).collect() }]).await;
    let tasks = place.tasks().await;
    assert_eq!((tasks.count(), tasks.top().len()), (12_000, 10_000));
    assert_eq!(tasks, appended.tasks);
    let changed = place.edit(vec![set_title("9999", "another")]).await;
    assert_eq!(place.tasks().await, changed.tasks);
    let fault = refused(place.here.change("home", "", &wanted(vec![append(8001)])).await, Code::TooLarge);
    assert!(fault.message.contains("20001"), "{fault:?}");
}

pub async fn what_nobody_here_knows_survives_to_the_letter(place: Place) {
    let raw = |text: &str| Raw(serde_json::value::RawValue::from_string(text.to_owned()).unwrap());
    let odd = r#"{ "b":1e400,  "a" : [1.0, 10000000000000000000001, "\u00e9\u0000\/"], "a":null }"#;
    let extra = vec![("x-unknown".to_owned(), raw(odd)), ("metadata".to_owned(), raw(r#"{"jira":  "A-1"}"#))];
    let complexity = Complexity { score: 7, reasoning: "hard".into(), ..Complexity::default() };
    let one = Task {
        extra: extra.clone(),
        complexity: Some(complexity),
        made_by: "somebody".into(),
        subtasks: vec![Task { extra: extra.clone(), ..Task::titled(4, "part") }],
        ..Task::titled(7, "odd \u{200d}\u{fffd}")
    };
    place.edit(vec![Edit::Replace { tasks: vec![one.clone()] }]).await;
    place.edit(vec![set_title("7.4", "renamed")]).await;
    let tasks = place.tasks().await;
    let read = tasks.get(&id("7")).unwrap();
    assert_eq!((&read.extra, &read.subtasks[0].extra), (&extra, &extra));
    assert_eq!((&read.complexity, &read.title, &read.made_by), (&one.complexity, &one.title, &one.made_by));
    let fields = edit::Fields { metadata: Some(raw(r#"{"jira":"B-2"}"#)), ..edit::Fields::default() };
    place.edit(vec![Edit::Change { id: id("7"), fields }]).await;
    let tasks = place.tasks().await;
    let names: Vec<&str> = tasks.top()[0].extra.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, tasks.top()[0].extra[1].1.0.get()), (vec!["x-unknown", "metadata"], r#"{"jira":"B-2"}"#));
}

pub async fn tasks_move_between_tags_at_once(place: Place) {
    place.here.add_tag("home", "later", "", "", "ann").await.unwrap();
    place.edit(vec![append(200)]).await;
    let (ids, how) = (vec![id("2")], edit::Dependencies::Refuse);
    let crossing = place.here.move_to_tag("home", "", "later", &ids, how, "ann").await;
    refused(crossing, Code::Conflict);
    let all: Vec<_> = (101..=200).map(planner::TaskId::top).collect();
    let (moved, _) = place.there.move_to_tag("home", "", "later", &all, how, "ann").await.unwrap();
    assert_eq!((moved.len(), &moved[0]), (100, &id("1")));
    let later = place.here.snapshot("home", "later").await.unwrap();
    assert_eq!((later.tasks.count(), place.tasks().await.count()), (100, 100));
    assert_eq!(planner::graph::check(&later.tasks), []);
    let (moved, _) = place.here.move_to_tag("home", "", "later", &ids, edit::Dependencies::Move, "ann").await.unwrap();
    assert_eq!(moved, [id("101"), id("102")]);
    refused(place.here.move_to_tag("home", "", "master", &all, how, "ann").await, Code::InvalidArgument);
    refused(place.here.move_to_tag("home", "", "nowhere", &[id("3")], how, "ann").await, Code::NotFound);
    let history = place.here.history("home", "later", None, None, 10).await.unwrap();
    assert_eq!((history.len(), history[0].what.as_str()), (2, "moved from tag `master`"));
    let empty = place.here.change("home", "later", &wanted(vec![Edit::Replace { tasks: vec![] }])).await.unwrap();
    assert_eq!(done(empty).tasks, Tasks::default());
}
