//! A tasks.json comes in, and nothing that was changed on either side is lost.

use std::sync::Arc;

use base::NodeId;
use planner::Planning;
use planner::projects::{Outcome, Wanted};
use planner::tasks_file::TasksFile;
use store::SledStore;

use crate::bed::add;

fn file(json: &str) -> TasksFile {
    TasksFile::read(json.as_bytes()).unwrap().file
}

#[tokio::test]
async fn a_file_is_merged_by_record_and_its_circles_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let planning = Planning::new(Arc::new(SledStore::open(dir.path()).unwrap().store), NodeId::new("here"));
    planning.projects.create("home", "", "").await.unwrap();
    planning.projects.change("home", "", &Wanted { edits: vec![add("here")], ..Wanted::default() }).await.unwrap();
    let base = planning.export("home", "").await.unwrap();
    planning.projects.change("home", "", &Wanted { edits: vec![add("new here")], ..Wanted::default() }).await.unwrap();
    let theirs = file(
        r#"{"master":{"tasks":[{"id":1,"title":"here, changed there","status":"done","dependencies":[3],"x":1.0},
            {"id":3,"title":"new there","status":"pending","dependencies":[1]}],"metadata":{}}}"#,
    );
    let seen = planning.import("home", &theirs, Some(&base), "me", true).await.unwrap();
    assert!(seen.has_changed && planning.projects.snapshot("home", "").await.unwrap().tasks.top().len() == 2);
    let imported = planning.import("home", &theirs, Some(&base), "me", false).await.unwrap();
    assert!(imported.conflicts.is_empty() && imported.notes.iter().any(|note| note.contains("circle")), "{imported:?}");
    let tasks = planning.projects.snapshot("home", "").await.unwrap().tasks;
    let titles: Vec<&str> = tasks.top().iter().map(|task| task.title.as_str()).collect();
    assert_eq!(titles, ["here, changed there", "new here", "new there"]);
    assert!(planning.export("home", "").await.unwrap().write().unwrap().contains("\"x\": 1.0"));
    let again = planning.import("home", &imported.file, Some(&imported.file), "me", false).await.unwrap();
    assert!(!again.has_changed, "{again:?}");
}

#[tokio::test]
async fn what_hides_in_the_titles_of_a_file_is_left_out_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let planning = Planning::new(Arc::new(SledStore::open(dir.path()).unwrap().store), NodeId::new("here"));
    planning.projects.create("home", "", "").await.unwrap();
    let theirs = file(r#"{"master":{"tasks":[{"id":1,"title":"safe\u202eexe\nnext"},{"id":2,"title":"plain"}]}}"#);
    let imported = planning.import("home", &theirs, None, "me", false).await.unwrap();
    assert!(imported.notes.iter().any(|note| note.starts_with("master: the title of task 1 ")), "{imported:?}");
    let tasks = imported.file.tag("master").unwrap().tasks();
    assert_eq!(tasks.top().iter().map(|task| task.title.as_str()).collect::<Vec<_>>(), ["safeexe next", "plain"]);
    let again = planning.import("home", &theirs, Some(&imported.file), "me", false).await.unwrap();
    assert!(!again.has_changed, "{again:?}");
}

#[tokio::test]
async fn a_change_that_goes_by_an_old_revision_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let planning = Planning::new(Arc::new(SledStore::open(dir.path()).unwrap().store), NodeId::new("here"));
    planning.projects.create("home", "", "").await.unwrap();
    let wanted = |revision| Wanted { edits: vec![add("one")], expected_revision: Some(revision), ..Wanted::default() };
    assert!(matches!(planning.projects.change("home", "", &wanted(0)).await, Ok(Outcome::Done(_))));
    assert!(matches!(planning.projects.change("home", "", &wanted(0)).await, Ok(Outcome::Conflict(_))));
}
