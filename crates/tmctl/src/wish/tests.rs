//! Wishes that are shown, confirmed and made over real sockets.

use proto::planning::{Conflict, EditRequest, ListTasksRequest, ListTasksResponse, StartResponse, WatchJobRequest};
use tonic::Status;

use super::*;
use crate::samples;
use crate::scripted::{News, Script, Typed, type_with};

const EDITS: &str = r#"{"edits": [{"edit": "set-status", "ids": ["1", "2"], "status": "done"},
    {"edit": "change", "id": "2", "fields": {"title": "Pump"}}], "notes": ["2.1 ends with it"],
    "unclear": "which pipes"}"#;

/// A server whose model means this by whatever is said.
fn script(result_json: &str, edit: impl FnMut(EditRequest) -> Result<EditResponse, Status> + Send + 'static) -> Script {
    let job = Job { result_json: result_json.into(), ..samples::planning::jobs().remove(3) };
    let tasks = |request: ListTasksRequest| {
        let tasks = samples::planning::tasks();
        let known: Vec<String> = item::flat(&tasks).into_iter().map(|task| task.id.clone()).collect();
        match request.filter.unwrap_or_default().ids.into_iter().find(|id| !known.contains(id)) {
            Some(id) => Err(Status::not_found(format!("there is no task {id}"))),
            None => Ok(ListTasksResponse { tasks, total: 2, ..ListTasksResponse::default() }),
        }
    };
    Script::default()
        .on(|_: StartRequest| Ok(StartResponse { job: "j-4".into() }))
        .on(move |_: WatchJobRequest| Ok(News { jobs: vec![job.clone()], hangs: false }))
        .on(tasks)
        .on(edit)
}

fn well(request: EditRequest) -> Result<EditResponse, Status> {
    let differences = samples::planning::differences().split_off(2);
    let notes = if request.dry_run { vec!["2.1 ends with it".into()] } else { vec![] };
    let revision = if request.dry_run { 0 } else { 5 };
    Ok(EditResponse { revision, differences, notes, ..EditResponse::default() })
}

async fn wish(script: &Script, more: &[&str], answers: Option<&'static str>) -> Typed {
    let words: Vec<&str> = ["do", "the pipes and the pump are done", "--project", "garden"]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    type_with(&script.serve(), &words, answers).await
}

#[tokio::test]
async fn what_was_shown_and_confirmed_is_made_with_the_versions_that_were_seen() {
    let script = script(EDITS, well);
    let typed = wish(&script, &[], Some("y\n")).await;
    insta::assert_snapshot!("wish", format!("exit {}\n{}\n---\n{}", typed.code, typed.notes, typed.data));
    let asked = script.asked::<EditRequest>();
    assert!(asked[0].contains("dry_run: true") && asked[1].contains("dry_run: false"), "{asked:?}");
    for part in [
        r#"Expected { id: "1", version: 3 }, Expected { id: "2", version: 4 }"#,
        r#"why: "the pipes and the pump are done""#,
    ] {
        assert!(asked[1].contains(part), "{part}: {}", asked[1]);
    }
}

#[tokio::test]
async fn a_wish_may_be_about_a_task_that_it_adds() {
    let edits = r#"{"edits": [{"edit": "add", "task": {"title": "Sieve"}},
        {"edit": "add-dependency", "id": "3", "on": "2"}], "notes": []}"#;
    let script = script(edits, well);
    let typed = wish(&script, &["--yes"], None).await;
    assert_eq!(typed.code, 0, "{}", typed.notes);
    assert!(script.asked::<EditRequest>()[1].contains("expected: []"));
}

#[tokio::test]
async fn what_is_unclear_is_told_and_a_note_is_told_once() {
    let typed = wish(&script(EDITS, well), &[], Some("n\n")).await;
    assert_eq!(typed.notes.matches("unclear: which pipes\n").count(), 1, "{}", typed.notes);
    assert_eq!(typed.notes.matches("note: 2.1 ends with it\n").count(), 1, "{}", typed.notes);
}

#[tokio::test]
async fn without_a_yes_nothing_is_changed() {
    for answers in [None, Some("n\n"), Some("")] {
        let script = script(EDITS, well);
        let typed = wish(&script, &[], answers).await;
        assert_eq!((typed.code, typed.data.as_str()), (1, ""), "{}", typed.notes);
        assert!(typed.notes.contains("--yes") && script.asked::<EditRequest>().len() == 1, "{}", typed.notes);
    }
    let typed = wish(&script(EDITS, well), &["--yes"], None).await;
    assert_eq!(typed.code, 0, "{}", typed.notes);
    assert!(typed.data.contains("`tmctl tasks undo 5 --project garden` takes it back"), "{}", typed.data);
}

#[tokio::test]
async fn what_is_so_already_is_told_and_not_asked_about() {
    let edit = |_: EditRequest| Ok(EditResponse { revision: 4, ..EditResponse::default() });
    let script = script(EDITS, edit);
    let typed = wish(&script, &[], Some("y\n")).await;
    assert_eq!(typed.code, 0, "{}", typed.notes);
    assert!(typed.data.starts_with("nothing would be different, it is so already:\n1. "), "{}", typed.data);
    assert!(!typed.notes.contains("[y/N]") && script.asked::<EditRequest>().len() == 1, "{}", typed.notes);
}

#[tokio::test]
async fn a_program_gets_the_edits_that_were_not_made() {
    let typed = wish(&script(EDITS, well), &["--json"], None).await;
    let told: serde_json::Value = serde_json::from_str(&typed.data).unwrap();
    assert_eq!((typed.code, &told["edits"][0]["edit"]), (1, &serde_json::json!("set-status")));
    assert_eq!(told["would"]["differences"][0]["field"], "status");
}

#[tokio::test]
async fn somebody_who_was_first_makes_it_a_conflict() {
    let edit = |request: EditRequest| {
        let theirs = samples::planning::tasks().pop();
        let conflict = Conflict { id: "2".into(), expected_version: 4, theirs, yours: vec![] };
        if request.dry_run {
            well(request)
        } else {
            Ok(EditResponse { conflict: Some(conflict), ..EditResponse::default() })
        }
    };
    let typed = wish(&script(EDITS, edit), &["--yes"], None).await;
    assert_eq!(typed.code, 1);
    assert!(typed.data.contains("nothing was changed: somebody else changed 2"), "{}", typed.data);
}

#[tokio::test]
async fn a_wish_that_means_nothing_or_too_much_is_refused() {
    let nothing = r#"{"edits": [], "unclear": "which pump?"}"#;
    let everything = r#"{"edits": [{"edit": "replace", "tasks": []}]}"#;
    let mut text = String::new();
    for result in [nothing, everything, "{\"edits\": 7}"] {
        let script = script(result, well);
        let typed = wish(&script, &["--yes"], None).await;
        assert_eq!((typed.code, script.asked::<EditRequest>().len()), (1, 0));
        text.push_str(&typed.notes);
    }
    insta::assert_snapshot!("wish_refused", text);
}
