//! Files of every dialect, read, written and read again.

use proptest::prelude::*;

use super::*;
use crate::{Complexity, Priority, Source, Status, Task, TaskId};

const NOW: &str = "2026-01-31T12:00:00.000Z";

fn read(text: &str) -> Read {
    TasksFile::read(text.as_bytes()).unwrap()
}

/// Reads a file in which nothing is odd.
fn read_plain(text: &str) -> TasksFile {
    let read = read(text);
    assert_eq!(read.oddities, [], "{text}");
    read.file
}

fn master(file: &TasksFile) -> &Tasks {
    file.tag(MAIN_TAG).unwrap().tasks()
}

fn task<'a>(file: &'a TasksFile, id: &str) -> &'a Task {
    master(file).get(&id.parse().unwrap()).unwrap()
}

fn dependencies(file: &TasksFile, id: &str) -> Vec<String> {
    task(file, id).dependencies.iter().map(TaskId::to_string).collect()
}

fn odd(text: &str) -> String {
    read(text).oddities.iter().map(Oddity::to_string).collect::<Vec<_>>().join("\n")
}

/// The file after a change to its first task, so that it is written anew.
fn rewritten(mut file: TasksFile) -> String {
    let mut tasks = master(&file).clone();
    let first = TaskId::top(tasks.top()[0].number);
    tasks.get_mut(&first).unwrap().details.push('!');
    file.set_tasks(MAIN_TAG, tasks, NOW).unwrap();
    file.write().unwrap()
}

const OLD_MODULES: &str = r#"{
  "master": {
    "tasks": [
      {"id": 1, "title": "Sensors", "description": "Read them", "details": "i2c", "testStrategy": "t", "priority": "high",
       "dependencies": [], "status": "done", "subtasks": []},
      {"id": 2, "title": "Store", "description": "Keep them", "priority": "low", "dependencies": [1], "status": "pending",
       "subtasks": [
         {"id": 1, "title": "a", "description": "", "details": "", "status": "completed", "dependencies": []},
         {"id": 2, "title": "b", "description": "", "details": "", "status": "pending", "dependencies": [1, "1"], "testStrategy": null},
         {"id": 3, "title": "c", "description": "", "details": "", "status": "pending", "dependencies": ["2.2", "3.1"]}]},
      {"id": 3, "title": "Show", "description": "", "dependencies": [1, "2.3"], "status": "in-progress", "subtasks": [{"id": 1, "title": "d"}]}
    ],
    "metadata": {"created": "2025-01-01T00:00:00Z", "updated": "2025-01-02T00:00:00Z", "description": "Greenhouse"}
  }
}"#;

const NEWER_CORE: &str = r#"{
  "master": {
    "tasks": [
      {"id": "1", "title": "Sensors", "status": "in-progress", "priority": "critical", "dependencies": ["2", "2.1"],
       "complexity": 7, "recommendedSubtasks": 4, "expansionPrompt": "by bus", "complexityReasoning": "many buses",
       "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-02T00:00:00Z", "effort": 3.50, "tags": ["a"],
       "metadata": {"jira":  "GH-1", "n": 1e400}, "subtasks": []},
      {"id": "2", "title": "Store", "status": "blocked", "dependencies": [], "subtasks": [
        {"id": 1, "parentId": "undefined", "title": "a", "status": "cancelled", "dependencies": []},
        {"id": "2", "parentId": "2", "title": "b", "status": "pending", "dependencies": ["1"]}]}
    ],
    "metadata": {"version": "1.0.0", "lastModified": "2026-01-02T00:00:00Z", "taskCount": 2, "completedCount": 0, "tags": ["master"]}
  }
}"#;

#[test]
fn the_dialect_of_the_old_modules_is_read() {
    let file = read_plain(OLD_MODULES);
    assert_eq!(file.tag(MAIN_TAG).unwrap().description(), "Greenhouse");
    assert_eq!(task(&file, "2.1").status, Status::Done);
    assert_eq!(dependencies(&file, "2"), ["1"]);
    assert_eq!(dependencies(&file, "2.2"), ["2.1", "2.1"]);
    assert_eq!(dependencies(&file, "2.3"), ["2.2", "3.1"]);
    assert_eq!(dependencies(&file, "3"), ["1", "2.3"]);
    assert_eq!((task(&file, "2.1").priority, task(&file, "3.1").priority), (Priority::Low, Priority::Medium));
}

#[test]
fn the_dialect_of_the_newer_core_is_read() {
    let file = read_plain(NEWER_CORE);
    let first = task(&file, "1");
    assert_eq!((first.priority, first.status), (Priority::Critical, Status::InProgress));
    assert_eq!(dependencies(&file, "1"), ["2", "2.1"]);
    assert_eq!(dependencies(&file, "2.2"), ["2.1"]);
    assert_eq!(first.updated_at, "2026-01-02T00:00:00Z");
    let complexity = first.complexity.as_ref().unwrap();
    assert_eq!((complexity.score, complexity.recommended_subtasks), (7, 4));
    assert_eq!((complexity.expansion_prompt.as_str(), complexity.reasoning.as_str()), ("by bus", "many buses"));
    let extra: Vec<_> = first.extra.iter().map(|(name, raw)| format!("{name}: {}", raw.0.get())).collect();
    let kept = [
        r#"createdAt: "2026-01-01T00:00:00Z""#,
        "effort: 3.50",
        r#"tags: ["a"]"#,
        r#"metadata: {"jira":  "GH-1", "n": 1e400}"#,
    ];
    assert_eq!(extra, kept);
    assert!(task(&file, "2.1").extra.is_empty());
}

#[test]
fn ids_and_dependencies_may_be_mixed_in_one_file() {
    let file = read_plain(
        r#"{"master": {"tasks": [{"id": 1, "dependencies": ["2"]}, {"id": "2", "dependencies": [3, "4"]},
            {"id": 3.0, "dependencies": [4.0]}, {"id": 4, "subtasks": [{"id": "4.1"}, {"id": "2", "dependencies": ["4.1"]}]}]}}"#,
    );
    assert_eq!(master(&file).count(), 6);
    assert_eq!(dependencies(&file, "2"), ["3", "4"]);
    assert_eq!(dependencies(&file, "3"), ["4"]);
    assert_eq!(dependencies(&file, "4.2"), ["4.1"]);
}

#[test]
fn flat_and_bare_files_are_the_main_tag() {
    let flat = read_plain(r#"{"project": 1.0, "tasks": [{"id": 1, "title": "a"}], "metadata": {"updated": "u"}}"#);
    let bare = read_plain(r#"[{"id": 1, "title": "a"}]"#);
    assert_eq!(master(&flat), master(&bare));
    assert_eq!(read_plain(&flat.write().unwrap()), flat);
    let mixed = read_plain(r#"{"tasks": [{"id": 1}], "feature": {"tasks": [{"id": 2}]}, "master": {"tasks": []}}"#);
    let names: Vec<_> = mixed.tags().iter().map(Tag::name).collect();
    assert_eq!(names, ["unreadMaster", "feature", "master"]);
    assert_eq!(read_plain("\u{feff}{}").tags(), []);
    let tag_called_tasks = read_plain(r#"{"tasks": {"tasks": [{"id": 1}]}}"#);
    assert_eq!(tag_called_tasks.tags()[0].name(), "tasks");
}

#[test]
fn a_changed_file_is_written_in_one_dialect_and_keeps_the_unknown_to_the_letter() {
    insta::assert_snapshot!(rewritten(read_plain(NEWER_CORE)));
}

#[test]
fn what_is_written_means_what_was_read() {
    for text in [OLD_MODULES, NEWER_CORE] {
        let file = read_plain(text);
        let again = read_plain(&rewritten(file.clone()));
        for (id, old) in master(&file).walk().skip(1) {
            assert_eq!(master(&again).get(&id), Some(old));
        }
    }
}

#[test]
fn a_tag_that_nobody_touched_keeps_its_text() {
    let other = r#"{"tasks":[ {"id":"1","title":"x" , "dependencies":["9"]} ],"n":1.0}"#;
    let mut file = read(&format!(r#"{{"master": {{"tasks": []}}, "_note": [1.0 ], "other": {other}}}"#)).file;
    file.set_tasks(MAIN_TAG, Tasks::new([Task::titled(1, "new")]), NOW).unwrap();
    let text = file.write().unwrap();
    assert!(text.contains(&format!("\"other\": {other}")), "{text}");
    assert!(text.contains("\"_note\": [1.0 ]"), "{text}");
}

#[test]
fn a_changed_tag_says_when_and_keeps_the_rest_of_its_metadata() {
    let mut file = read_plain(NEWER_CORE);
    let done = Task { status: Status::Done, ..Task::titled(1, "only") };
    file.set_tasks(MAIN_TAG, Tasks::new([done]), NOW).unwrap();
    let shown = |file: &TasksFile, name: &str| {
        let metadata = file.tag(name).unwrap().metadata();
        metadata.iter().map(|(name, raw)| format!("{name}: {}", raw.0.get())).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(shown(&file, MAIN_TAG), @r#"
    version: "1.0.0"
    lastModified: "2026-01-31T12:00:00.000Z"
    taskCount: 1
    completedCount: 1
    tags: ["master"]
    created: "2026-01-31T12:00:00.000Z"
    updated: "2026-01-31T12:00:00.000Z"
    description: "Tasks of master"
    "#);
    let mut file = read_plain(OLD_MODULES);
    file.set_tasks(MAIN_TAG, Tasks::default(), NOW).unwrap();
    insta::assert_snapshot!(shown(&file, MAIN_TAG), @r#"
    created: "2025-01-01T00:00:00Z"
    updated: "2026-01-31T12:00:00.000Z"
    description: "Greenhouse"
    "#);
}

#[test]
fn a_subtask_that_needs_a_top_level_task_does_not_get_a_sibling_instead() {
    let mut file = TasksFile::default();
    let subtasks = vec![
        Task::titled(1, "a"),
        Task { dependencies: vec![TaskId::top(1), "2.1".parse().unwrap()], ..Task::titled(2, "b") },
    ];
    let tasks = Tasks::new([Task::titled(1, "one"), Task { subtasks, ..Task::titled(2, "two") }]);
    file.set_tasks(MAIN_TAG, tasks, NOW).unwrap();
    assert_eq!(dependencies(&read_plain(&file.write().unwrap()), "2.2"), ["2.1", "1"]);
    let bare = r#"[{"id": 7}, {"id": 2, "subtasks": [{"id": 1, "dependencies": [7, 2]}]}]"#;
    assert_eq!(dependencies(&read(bare).file, "2.1"), ["7", "2.2"]);
    insta::assert_snapshot!(odd(bare), @r"
    line 1: task 2.1 of `master` has no sibling 7: read as task 7
    line 1: task 2.1 of `master` depends on 2.2, which is not there
    ");
}

#[test]
fn subtasks_may_have_subtasks_down_to_the_deepest_address() {
    let nested = |depth: usize| {
        let (open, close) = (r#"{"id": 1, "subtasks": ["#.repeat(depth), "]}".repeat(depth));
        format!("[{open}{close}]")
    };
    let file = read_plain(&nested(8));
    assert_eq!(master(&file).count(), 8);
    assert_eq!(read_plain(&rewritten(file)).tag(MAIN_TAG).unwrap().tasks().count(), 8);
    assert_eq!(
        TasksFile::read(nested(9).as_bytes()).unwrap_err(),
        ReadError::TooDeep { task: "1.1.1.1.1.1.1.1".parse().unwrap() }
    );
}

#[test]
fn everything_odd_is_named() {
    let text = r#"{
      "master": {"tasks": [
        {"id": 1, "title": 42, "title": "twice", "status": "finished", "priority": "urgent"},
        {"id": 1, "title": "same number", "dependencies": ["abc", 9, null, 1.2, {"id": 1}]},
        {"id": "x-1", "title": "cut \ud83d", "complexity": "high", "expansionPrompt": "e"},
        {"title": "no id", "complexity": 7.5, "recommendedSubtasks": "some"},
        "not a task",
        {"id": 2, "subtasks": "none", "details": ["a"]}
      ]},
      "empty": {"tasks": null}
    }"#;
    insta::assert_snapshot!(odd(text));
}

#[test]
fn what_cannot_be_read_is_not_lost() {
    let text = r#"{"master": {"tasks": [
      {"id": "x-1", "title": "one", "title": "two", "status": "finished", "priority": "urgent", "complexity": 7.5,
       "sources": ["https://example.com"], "madeBy": {"name": "x"}, "dependencies": ["abc", "1.0"], "subtasks": "none"},
      17], "metadata": 5}}"#;
    insta::assert_snapshot!(rewritten(read(text).file));
    let again = read(&rewritten(read(text).file));
    assert_eq!(again.oddities, []);
    assert_eq!(rewritten(again.file.clone()).replace("!!", "!"), rewritten(read(text).file));
}

#[test]
fn what_is_no_tasks_file_is_refused_with_a_hint() {
    let deep = format!("{{\"a\":\n{}", "[".repeat(200));
    let twins = format!("[{{{}\"a\":1}}]", "\"a\":1,".repeat(20));
    let many = format!("[{}{{}}]", "{},".repeat(MAX_TASKS));
    let wide = format!("[{{\"dependencies\": [{}1]}}]", "1,".repeat(MAX_DEPENDENCIES));
    let values = format!("{{\"a\": [{}1]}}", "1,".repeat(MAX_VALUES));
    let cases: [(&str, &[u8]); 12] = [
        ("empty", b" \n"),
        ("not text", b"{\n\"a\": \"\xff\"}"),
        ("cut", b"{\"master\": {\n  \"tasks\": ["),
        ("git", b"{\n<<<<<<< HEAD\n\"a\": 1\n=======\n"),
        ("trailing", b"{} {}"),
        ("a text", b"\"tasks\""),
        ("deep", deep.as_bytes()),
        ("twins", twins.as_bytes()),
        ("many", many.as_bytes()),
        ("wide", wide.as_bytes()),
        ("values", values.as_bytes()),
        ("null", b"null"),
    ];
    let shown: Vec<_> = cases
        .iter()
        .map(|(name, bytes)| {
            let error = TasksFile::read(bytes).unwrap_err();
            format!("{name}: {} {error}\n  hint: {}", error.code(), error.hint())
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn a_flood_of_oddities_is_counted() {
    let read = read(&format!("[{}1]", "1,".repeat(3)));
    assert_eq!((read.oddities.len(), read.more_oddities), (1, 0));
    let text = format!("[{}{{\"id\": 1}}]", "{\"status\": \"?\"},".repeat(1000));
    let read = TasksFile::read(text.as_bytes()).unwrap();
    assert_eq!((read.oddities.len(), read.more_oddities), (MAX_ODDITIES, 2000 - MAX_ODDITIES));
    assert_eq!(master(&read.file).count(), 1001);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z \\\\\"\n\u{e4}\u{1f331}<>]{0,12}"]
}

fn raw() -> impl Strategy<Value = Raw> {
    const VALUES: [&str; 8] =
        ["1.0", "1e400", "-0", "null", "\"\\u00e4\"", "[1,  2.50]", "{\"b\":1,\"a\":{}}", "12345678901234567890"];
    proptest::sample::select(&VALUES).prop_map(|json| serde_json::from_str(json).unwrap())
}

/// Fields that nobody here knows.
fn extra() -> impl Strategy<Value = Extra> {
    const NAMES: [&str; 7] = ["metadata", "effort", "x", "unreadX", "createdAt", "", "parent Id"];
    proptest::sample::subsequence(&NAMES, 0..4).prop_flat_map(|names| {
        names.into_iter().map(|name| raw().prop_map(move |raw| (name.to_owned(), raw))).collect::<Vec<_>>()
    })
}

fn complexity() -> impl Strategy<Value = Option<Complexity>> {
    proptest::option::of((1..=10_u8, 0..50_u32, text(), text()).prop_map(
        |(score, recommended_subtasks, expansion_prompt, reasoning)| Complexity {
            score,
            recommended_subtasks,
            expansion_prompt,
            reasoning,
        },
    ))
}

fn leaf() -> impl Strategy<Value = Task> {
    let words = (text(), text(), text(), text(), text(), text());
    let choices = (proptest::sample::select(Status::ALL), proptest::sample::select(Priority::ALL));
    let source = (text(), 1..9_u32).prop_map(|(requirement, line)| Source {
        requirement,
        first_line: line,
        last_line: line + 1,
    });
    let rest = (complexity(), proptest::collection::vec(source, 0..3), extra());
    (words, choices, rest).prop_map(|(words, (status, priority), (complexity, sources, extra))| Task {
        title: words.0,
        description: words.1,
        details: words.2,
        test_strategy: words.3,
        made_by: words.4,
        updated_at: words.5,
        status,
        priority,
        complexity,
        sources,
        extra,
        ..Task::default()
    })
}

/// Siblings numbered with gaps, three levels deep.
pub(crate) fn any_tasks() -> impl Strategy<Value = Tasks> {
    fn siblings(task: impl Strategy<Value = Task>) -> impl Strategy<Value = Vec<Task>> {
        proptest::collection::vec((task, 1..3_u32), 0..4).prop_map(|list| {
            let mut number = 0;
            let numbered = list.into_iter().map(|(task, step)| {
                number += step;
                Task { number, ..task }
            });
            numbered.collect()
        })
    }
    let below = |subtasks: BoxedStrategy<Vec<Task>>| {
        (leaf(), subtasks).prop_map(|(task, subtasks)| Task { subtasks, ..task }).boxed()
    };
    let third = siblings(leaf()).boxed();
    let second = siblings(below(third)).boxed();
    let tree = siblings(below(second)).prop_map(Tasks::new);
    (tree, proptest::collection::vec((any::<usize>(), any::<usize>()), 0..8))
        .prop_map(|(tasks, edges)| connected(tasks, edges))
}

fn connected(mut tasks: Tasks, edges: Vec<(usize, usize)>) -> Tasks {
    let ids: Vec<TaskId> = tasks.walk().map(|(id, _)| id).collect();
    for (from, to) in edges {
        if ids.is_empty() {
            break;
        }
        let on = ids[to % ids.len()].clone();
        let task = tasks.get_mut(&ids[from % ids.len()]).unwrap();
        if !task.dependencies.contains(&on) {
            task.dependencies.push(on);
            // As a file orders them: what a subtask needs of top-level tasks comes last.
            task.dependencies.sort_by_key(|on| on.depth() == 1);
        }
    }
    tasks
}

proptest! {
    #[test]
    fn any_tasks_come_back_as_they_were_written(tasks in any_tasks()) {
        let mut file = TasksFile::default();
        file.put(Tag::new("any", tasks.clone(), Extra::new(), Extra::new()));
        let read = read(&file.write().unwrap());
        prop_assert_eq!(&read.oddities, &[]);
        let tag = read.file.tag("any").unwrap();
        for (id, task) in tasks.walk() {
            prop_assert_eq!(tag.tasks().get(&id), Some(task));
        }
        prop_assert_eq!(tag.tasks().count(), tasks.count());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[\\[\\]{}:,\"a0-9. \n]{0,60}") {
        drop(TasksFile::read(text.as_bytes()));
    }

    #[test]
    fn no_value_of_a_known_field_is_lost_because_it_is_of_another_kind(
        name in proptest::sample::select(&[
            "id", "title", "status", "priority", "dependencies", "subtasks", "complexity", "sources", "madeBy",
            "updatedAt", "taskDependencies", "parentId", "recommendedSubtasks", "testStrategy",
        ][..]),
        value in proptest::sample::select(&[r#"{"b":1.0}"#, "true", "\"odd\""][..]),
    ) {
        let text = format!(r#"[{{"id": 1, "title": "x", {}: {value}}}]"#, serde_json::json!(name));
        let read = TasksFile::read(text.as_bytes()).unwrap();
        let written = rewritten(read.file);
        let as_text = serde_json::json!(value).to_string();
        prop_assert!(written.contains(value) || written.contains(&as_text), "{} {}", value, written);
    }
}
