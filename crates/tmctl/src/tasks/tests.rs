//! What is typed becomes the right call, and what comes back is shown.

use base::{Code, Fault};
use proto::planning::{
    Change, Conflict, EditRequest, EditResponse, ListProjectsRequest, ListProjectsResponse, ListTagsRequest,
    ListTagsResponse, ListTasksRequest, ListTasksResponse, MoveToTagRequest, MoveToTagResponse, RenderRequest,
    RenderResponse, RenderedFile, UndoRequest, UndoResponse, WatchTagRequest, WatchTagResponse,
};

use crate::samples;
use crate::scripted::{Script, Typed, type_in};

fn done() -> EditResponse {
    EditResponse { revision: 5, differences: samples::planning::differences(), ..EditResponse::default() }
}

async fn tasks(script: &Script, words: &[&str]) -> Typed {
    let all: Vec<&str> = ["tasks", "--project", "garden"].into_iter().chain(words.iter().copied()).collect();
    type_in(&script.serve(), &all).await
}

#[tokio::test]
async fn each_verb_asks_for_its_edit() {
    let lines: &[&[&str]] = &[
        &["add", "--title", "Paint", "--priority", "high", "--depends-on", "1,2", "--parent", "3"],
        &["update", "3", "--title", "Paint it", "--expect", "4"],
        &["update", "3", "--metadata", "null"],
        &["note", "3", "it is rusty"],
        &["research-note", "3", "zinc paint holds"],
        &["status", "1,2.1", "in-progress", "--why", "rain"],
        &["move", "5,6", "7,8"],
        &["remove", "3", "4.1", "--yes"],
        &["subtask", "add", "3", "--title", "Brush"],
        &["subtask", "convert", "4", "3"],
        &["subtask", "remove", "3.1", "--convert"],
        &["subtask", "remove", "3.1", "--yes"],
        &["clear", "--all", "--yes"],
        &["deps", "add", "3", "1"],
        &["deps", "remove", "3", "1"],
        &["fix"],
    ];
    let mut told = String::new();
    for line in lines {
        let script = Script::default().on(|request: EditRequest| {
            let edits: Vec<_> = request.changes.iter().map(|Change { edit }| format!("{edit:?}")).collect();
            let known = (request.expected.len(), request.why.as_str(), request.who.as_str());
            Err::<EditResponse, _>(tonic::Status::invalid_argument(format!("{} {known:?}", edits.join(" "))))
        });
        let typed = tasks(&script, line).await;
        told.push_str(&format!("{}\n  {}\n", line.join(" "), typed.notes.lines().next().unwrap_or_default()));
    }
    insta::assert_snapshot!("tasks_edits", told);
}

#[tokio::test]
async fn a_change_shows_what_is_different_and_how_it_is_taken_back() {
    let script = Script::default().on(|_: EditRequest| Ok(done()));
    let typed = tasks(&script, &["status", "1", "done"]).await;
    assert_eq!(typed.code, 0, "{}", typed.notes);
    assert!(typed.data.contains("~ 1 status: pending -> done\n"), "{}", typed.data);
    assert!(
        typed.data.ends_with("revision 5; `tmctl tasks undo 5 --project garden` takes it back\n"),
        "{}",
        typed.data
    );
}

#[tokio::test]
async fn a_conflict_is_no_success() {
    let conflict =
        Conflict { id: "2".into(), expected_version: 3, theirs: samples::planning::tasks().pop(), yours: vec![] };
    let response = EditResponse { conflict: Some(conflict), ..EditResponse::default() };
    let script = Script::default().on(move |_: EditRequest| Ok(response.clone()));
    let typed = tasks(&script, &["update", "2", "--title", "x", "--expect", "3"]).await;
    assert_eq!(typed.code, 1);
    assert!(typed.data.contains("as it is now, version 4") && typed.data.contains("hint:"), "{}", typed.data);
}

#[tokio::test]
async fn what_takes_tasks_away_says_so_and_wants_a_yes() {
    let tag = || samples::planning::project().tags;
    let script = Script::default()
        .on(|request: EditRequest| if request.dry_run { Ok(done()) } else { Err(tonic::Status::internal("done")) })
        .on(move |_: ListTagsRequest| Ok(ListTagsResponse { tags: tag(), current_tag: "master".into() }));
    for line in [&["remove", "2.1"][..], &["clear", "2"], &["subtask", "remove", "2.1"], &["tags", "delete", "try"]] {
        let typed = tasks(&script, line).await;
        assert_eq!((typed.code, typed.data.as_str()), (1, ""), "{line:?}");
        assert!(typed.notes.contains("--yes"), "{line:?}: {}", typed.notes);
    }
    let typed = tasks(&script, &["remove", "2.1"]).await;
    assert!(typed.notes.contains("- 2.1 Wire it"), "{}", typed.notes);
}

#[tokio::test]
async fn tasks_go_to_another_tag_and_changes_are_taken_back() {
    let script = Script::default()
        .on(|_: MoveToTagRequest| {
            Ok(MoveToTagResponse { notes: vec!["3 waits for nobody now".into()], ids: vec!["1".into()] })
        })
        .on(|_: UndoRequest| Ok(UndoResponse { done: Some(done()) }));
    let typed = tasks(&script, &["move", "3", "--to-tag", "later", "--ignore-dependencies"]).await;
    assert_eq!(typed.data, "note: 3 waits for nobody now\nmoved to later, where they are 1\n", "{}", typed.notes);
    assert_eq!(tasks(&script, &["move", "3"]).await.code, 2);
}

#[tokio::test]
async fn a_list_says_whose_it_is_and_has_all_pages() {
    let mut pages = samples::planning::tasks();
    pages.reverse();
    let script = Script::default().on(|_: ListProjectsRequest| Ok(ListProjectsResponse::default())).on(
        move |_: ListTasksRequest| {
            Ok(ListTasksResponse {
                tasks: pages.pop().into_iter().collect(),
                total: 2,
                revision: 4,
                by_status: [("done".to_owned(), 1), ("pending".to_owned(), 3)].into(),
                tag: "master".into(),
                draft_because: vec!["two tasks say the same".into()],
            })
        },
    );
    let typed = type_in(&script.serve(), &["tasks"]).await;
    insta::assert_snapshot!("tasks", format!("{}---\n{}", typed.notes, typed.data));
    assert!(script.asked::<ListTasksRequest>()[1].contains("offset: 1"));
}

#[tokio::test]
async fn a_list_of_all_tags_has_each_with_its_tasks() {
    let script = Script::default()
        .on(|_: ListTagsRequest| {
            Ok(ListTagsResponse { tags: samples::planning::project().tags, current_tag: "master".into() })
        })
        .on(|request: ListTasksRequest| {
            let tag = request.place.unwrap_or_default().tag;
            let tasks = vec![samples::planning::task("1", &format!("of {tag}"))];
            Ok(ListTasksResponse { tasks, total: 1, revision: 4, tag, ..ListTasksResponse::default() })
        });
    let typed = tasks(&script, &["list", "--all-tags"]).await;
    insta::assert_snapshot!("tasks_of_all_tags", typed.notes + &typed.data);
    let typed = tasks(&script, &["list", "--all-tags", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&typed.data).unwrap();
    assert_eq!((&told["items"][1]["tag"], &told["items"][1]["tasks"][0]["title"]), (&"try".into(), &"of try".into()));
}

#[tokio::test]
async fn a_list_that_is_watched_is_shown_with_every_change_until_the_server_ends() {
    let mut revision = 3;
    let script = Script::default()
        .on(|_: WatchTagRequest| {
            let told = |revision| Ok(WatchTagResponse { tag: "spring".into(), revision });
            Ok::<Vec<Result<_, tonic::Status>>, _>([4, 5, 6].map(told).to_vec())
        })
        .on(move |_: ListTasksRequest| {
            // The first one is newer already than the change that it is for.
            revision += 2;
            Ok(ListTasksResponse { revision, tag: "spring".into(), ..ListTasksResponse::default() })
        });
    let typed = tasks(&script, &["list", "--watch"]).await;
    let shown: Vec<&str> = typed.data.lines().filter(|line| line.starts_with("garden/")).collect();
    assert_eq!(shown, ["garden/spring, revision 5", "garden/spring, revision 7"]);
    assert_eq!(typed.code, 3, "{}", typed.notes);
    assert!(typed.notes.contains("`SERVER` stopped telling of changes\n  hint: "), "{}", typed.notes);
    assert!(script.asked::<ListTasksRequest>().iter().all(|request| request.contains(r#"tag: "spring""#)));
}

#[tokio::test]
async fn what_is_drawn_goes_to_stdout_or_into_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = Script::default().on(|request: RenderRequest| {
        let file = |name: &str| RenderedFile { name: name.into(), text: format!("{:?}\n", request.rendering()) };
        Ok(RenderResponse { files: vec![file("task_001.md"), file("task_002.md")] })
    });
    assert_eq!(tasks(&script, &["graph"]).await.data, "Tree\n");
    assert_eq!(tasks(&script, &["report"]).await.data, "Report\n");
    let svg = folder.path().join("tasks.svg");
    tasks(&script, &["graph", "--svg", svg.to_str().unwrap()]).await;
    assert_eq!(std::fs::read_to_string(&svg).unwrap(), "Svg\n");
    let typed = tasks(&script, &["generate", "--out", out.to_str().unwrap()]).await;
    assert_eq!(typed.data, format!("wrote 2 files into {}\n", out.display()), "{}", typed.notes);
    assert_eq!(std::fs::read_to_string(out.join("task_002.md")).unwrap(), "Files\n");
}

#[tokio::test]
async fn a_refusal_of_the_server_is_told_with_its_hint() {
    let refuse = |_: EditRequest| -> Result<EditResponse, _> {
        Err(proto::to_status(&Fault::new(Code::InvalidArgument, "3 would wait for itself").hint("look at the graph")))
    };
    let typed = tasks(&Script::default().on(refuse), &["deps", "add", "3", "1"]).await;
    assert_eq!((typed.code, typed.notes.as_str()), (1, "error: 3 would wait for itself\n  hint: look at the graph\n"));
}
