//! What is shown of a plan, and plans that come over real sockets.

use proto::planning::{
    ChangeTagRequest, ChangeTagResponse, CreateProjectRequest, CreateProjectResponse, ListProjectsRequest,
    ListProjectsResponse, ListTagsRequest, ListTagsResponse, ListTasksRequest, Place, RenderRequest, RenderResponse,
    RenderedFile, StartResponse, Tag, WatchJobRequest,
};
use serde_json::json;

use crate::samples;
use crate::scripted::{News, Script, type_in};

use super::*;

fn job() -> Job {
    let result = json!({
        "planner": "structural",
        "gates": {"schema_valid": true, "acyclic": true, "covered": {"requirements": 9, "of": 10}},
        "uncovered": [{"id": "R7", "text": "beep\u{1b}[2J", "first_line": 31, "last_line": 33}],
        "oddities": [{"line": 3, "what": "a tab inside a heading"}],
        "notes": ["no model answered; the rules planned"],
    });
    let done = samples::planning::jobs().remove(3);
    Job { result_json: result.to_string(), place: Some(Place { project: "garden".into(), tag: String::new() }), ..done }
}

fn tasks() -> ListTasksResponse {
    ListTasksResponse {
        tasks: samples::planning::tasks(),
        total: 2,
        revision: 4,
        tag: "master".into(),
        draft_because: vec!["1 requirement is not covered".into()],
        ..ListTasksResponse::default()
    }
}

/// A server that plans as `job` says, and has no project yet.
fn script() -> Script {
    let running = Job { state: "running".into(), done: 3, ..job() };
    let tree = || RenderedFile { name: "tasks.txt".into(), text: "[x] 1 Lay pipes\n".into() };
    Script::default()
        .on(|_: ListProjectsRequest| Ok(ListProjectsResponse::default()))
        .on(|_: CreateProjectRequest| Ok(CreateProjectResponse::default()))
        .on(|_: StartRequest| Ok(StartResponse { job: "j-4".into() }))
        .on(move |_: WatchJobRequest| Ok(News { jobs: vec![running.clone(), job()], hangs: false }))
        .on(|_: ListTasksRequest| Ok(tasks()))
        .on(move |_: RenderRequest| Ok(RenderResponse { files: vec![tree()] }))
}

#[tokio::test]
async fn a_prd_that_cannot_be_read_makes_no_project() {
    let folder = tempfile::tempdir().unwrap();
    let prd = folder.path().join("garden.md");
    for (bytes, says) in
        [(&b" \n"[..], "an empty document"), (b"a\0b", "a NUL character at byte 1"), (b"\xff", "byte 0")]
    {
        std::fs::write(&prd, bytes).unwrap();
        let script = script();
        let typed = type_in(&script.serve(), &["plan", "parse", prd.to_str().unwrap(), "--project", "new"]).await;
        assert!(typed.code == 1 && typed.notes.contains(says), "{} {}", typed.code, typed.notes);
        assert!(script.asked::<CreateProjectRequest>().is_empty());
    }
}

#[tokio::test]
async fn a_prd_becomes_a_plan_whose_figures_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let prd = folder.path().join("garden.md");
    std::fs::write(&prd, "# Garden\n").unwrap();
    let script = script();
    let typed = type_in(&script.serve(), &["plan", "append", prd.to_str().unwrap(), "--planner", "structural"]).await;
    insta::assert_snapshot!("plan", format!("exit {}\n{}---\n{}", typed.code, typed.notes, typed.data));
    assert!(script.asked::<CreateProjectRequest>().concat().contains("name: \"default\""));
    let asked = script.asked::<StartRequest>().concat();
    for part in ["# Garden", "file_name: \"garden.md\"", "append: true", "planner: \"structural\""] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[tokio::test]
async fn a_tag_that_is_named_for_a_plan_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let prd = folder.path().join("garden.md");
    std::fs::write(&prd, "# Garden\n").unwrap();
    for (known, is_made) in [("try", false), ("master", true)] {
        let tag = Tag { name: known.into(), ..Tag::default() };
        let script = script()
            .on(move |_: ListTagsRequest| {
                Ok(ListTagsResponse { tags: vec![tag.clone()], ..ListTagsResponse::default() })
            })
            .on(|_: ChangeTagRequest| Ok(ChangeTagResponse::default()));
        let words = ["plan", "parse", prd.to_str().unwrap(), "--project", "garden", "--tag", "try"];
        let typed = type_in(&script.serve(), &words).await;
        assert_eq!((typed.code, script.asked::<ChangeTagRequest>().len() == 1), (0, is_made), "{}", typed.notes);
        assert_eq!(typed.notes.contains("tag try of project garden is new"), is_made, "{}", typed.notes);
    }
}

#[tokio::test]
async fn a_plan_in_json_has_what_every_plan_has() {
    let folder = tempfile::tempdir().unwrap();
    let prd = folder.path().join("garden.md");
    std::fs::write(&prd, "# Garden\n").unwrap();
    let typed = type_in(&script().serve(), &["--json", "plan", "parse", prd.to_str().unwrap(), "--project", "g"]).await;
    let told: Value = serde_json::from_str(&typed.data).unwrap();
    assert_eq!((typed.code, &told["project"], &told["planner"]), (0, &json!("garden"), &json!("structural")));
    assert_eq!((&told["gates"]["acyclic"], &told["uncovered"][0]["id"]), (&json!(true), &json!("R7")));
    assert_eq!((&told["tasks"][1]["subtasks"][0]["id"], &told["tag"]), (&json!("2.1"), &json!("master")));
}

#[test]
fn a_plan_that_says_little_is_shown_all_the_same() {
    let bare = ListTasksResponse { draft_because: vec![], tasks: vec![], ..tasks() };
    insta::assert_snapshot!("plan_bare", text(&Job::default(), &Value::Null, &bare));
    let told = super::json(&Job::default(), Value::Null, &bare);
    assert!(["planner", "gates", "uncovered"].iter().all(|name| told[name].is_null()), "{told}");
}

#[tokio::test]
async fn a_prd_that_is_not_there_is_told_before_any_server_is_asked() {
    let script = Script::default();
    let typed = type_in(&script.serve(), &["plan", "parse", "/nonexistent.md"]).await;
    assert_eq!(typed.code, 1);
    assert!(typed.notes.contains("/nonexistent.md") && typed.notes.contains("hint:"), "{}", typed.notes);
    assert!(script.asked::<ListProjectsRequest>().is_empty());
}
