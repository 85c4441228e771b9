//! A small project, its jobs and changes, as a server tells of them.

use proto::planning::{
    Complexity, Difference, Failure, HistoryItem, Job, OwnModels, Place, Project, Source, Tag, Task,
};

use super::NOW;

/// A task with nothing but an id and a title.
pub fn task(id: &str, title: &str) -> Task {
    Task {
        id: id.into(),
        title: title.into(),
        status: "pending".into(),
        priority: "medium".into(),
        version: 3,
        ..Task::default()
    }
}

/// Two tasks, the second with all that a task can have.
pub fn tasks() -> Vec<Task> {
    let rich = Task {
        description: "The pump waters the beds.".into(),
        details: "Use the 24 V pump.\nMind the fuse.".into(),
        test_strategy: "Water runs for a minute.".into(),
        priority: "high".into(),
        dependencies: vec!["1".into()],
        subtasks: vec![Task { dependencies: vec!["2.2".into()], ..task("2.1", "Wire it") }, task("2.2", "Seal it")],
        complexity: Some(Complexity {
            score: 7,
            recommended_subtasks: 4,
            expansion_prompt: "By wire.".into(),
            reasoning: "water and current".into(),
        }),
        sources: vec![Source { requirement: "R3".into(), first_line: 12, last_line: 14 }],
        made_by: "llama3.1:8b".into(),
        updated_at: "2026-11-20T23:05:00.250Z".into(),
        version: 4,
        extra: [("metadata".to_owned(), "{\"room\":\"\\u001b[2Jshed\"}".to_owned())].into(),
        ..task("2", "Connect the \u{1b}[31mpump")
    };
    vec![Task { status: "done".into(), ..task("1", "Lay pipes") }, rich]
}

/// Jobs in every state.
pub fn jobs() -> Vec<Job> {
    let running = Job {
        id: "j-1".into(),
        kind: "parse-prd".into(),
        place: Some(Place { project: "garden".into(), tag: "master".into() }),
        state: "running".into(),
        node: "grey-area".into(),
        created_unix_ms: NOW,
        done: 3,
        total: 12,
        current: "Watering".into(),
        estimate_s: 42.0,
        result_json: String::new(),
        failure: None,
        who: "laptop".into(),
        attempts: 1,
    };
    let failure = Failure { code: "unavailable".into(), message: "no model answers".into(), hint: "load one".into() };
    let waiting = Job { id: "j-2".into(), state: "waiting".into(), total: 0, done: 0, ..running.clone() };
    let waiting = Job { current: String::new(), node: String::new(), estimate_s: 0.0, ..waiting };
    let failed =
        Job { id: "j-3".into(), state: "failed".into(), failure: Some(failure), attempts: 2, ..running.clone() };
    let result_json = "{\"planner\":\"structural\"}".to_owned();
    let done = Job { id: "j-4".into(), state: "done".into(), done: 12, result_json, ..running.clone() };
    vec![running, waiting, failed, done]
}

/// A project with a draft in its second tag.
pub fn project() -> Project {
    let main = Tag {
        name: "master".into(),
        description: "the plan".into(),
        created_unix_ms: NOW - 60_000,
        updated_unix_ms: NOW,
        revision: 4,
        tasks: 4,
        by_status: [("done".to_owned(), 1), ("pending".to_owned(), 3)].into(),
        draft_because: vec![],
    };
    let draft = Tag { name: "try".into(), draft_because: vec!["2 tasks say the same".into()], ..main.clone() };
    Project {
        name: "garden".into(),
        description: "water by itself".into(),
        current_tag: "master".into(),
        language: "German".into(),
        created_unix_ms: NOW - 60_000,
        tags: vec![main, draft],
        models: Some(OwnModels { main: "qwen3:4b".into(), ..OwnModels::default() }),
    }
}

/// One of each kind of difference.
pub fn differences() -> Vec<Difference> {
    let difference = |id: &str, field: &str, before: &str, after: &str| Difference {
        id: id.into(),
        field: field.into(),
        before: before.into(),
        after: after.into(),
    };
    vec![
        difference("3", "task", "", "Paint the \u{1b}[2Jshed"),
        difference("2.1", "task", "Wire it", ""),
        difference("1", "status", "pending", "done"),
        difference("2", "details", "Use the 24 V pump.\nMind the fuse.", ""),
    ]
}

/// Two changes, the newer first.
pub fn history() -> Vec<HistoryItem> {
    let newer = HistoryItem {
        revision: 4,
        at_unix_ms: NOW,
        who: "laptop".into(),
        what: "add `Paint the shed`".into(),
        why: "it is rusty".into(),
        differences: differences(),
        left_out: 2,
    };
    let older = HistoryItem { revision: 3, why: String::new(), differences: vec![], left_out: 0, ..newer.clone() };
    vec![newer, older]
}
