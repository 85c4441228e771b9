//! A tasks.json comes in, and nothing that was changed on either side is lost.

use std::sync::Arc;

use base::NodeId;
use planner::Planning;
use planner::planning::Taking;
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
    let seen = planning.import("home", &theirs, Some(&base), "me", Taking::Nothing).await.unwrap();
    assert!(seen.has_changed && planning.projects.snapshot("home", "").await.unwrap().tasks.top().len() == 2);
    let titles = |file: &TasksFile| -> Vec<String> {
        file.tag("master").unwrap().tasks().top().iter().map(|task| task.title.clone()).collect()
    };
    assert_eq!(
        titles(&seen.file),
        ["here, changed there", "new here", "new there"],
        "a look tells what both would have"
    );
    let imported = planning.import("home", &theirs, Some(&base), "me", Taking::Everything).await.unwrap();
    assert!(imported.conflicts.is_empty() && imported.notes.iter().any(|note| note.contains("circle")), "{imported:?}");
    let tasks = planning.projects.snapshot("home", "").await.unwrap().tasks;
    let titles: Vec<&str> = tasks.top().iter().map(|task| task.title.as_str()).collect();
    assert_eq!(titles, ["here, changed there", "new here", "new there"]);
    assert!(planning.export("home", "").await.unwrap().write().unwrap().contains("\"x\": 1.0"));
    let again =
        planning.import("home", &imported.file, Some(&imported.file), "me", Taking::UnlessItEmpties).await.unwrap();
    assert!(!again.has_changed, "{again:?}");
}

#[tokio::test]
async fn what_hides_in_the_titles_of_a_file_is_left_out_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let planning = Planning::new(Arc::new(SledStore::open(dir.path()).unwrap().store), NodeId::new("here"));
    planning.projects.create("home", "", "").await.unwrap();
    let theirs = file(r#"{"master":{"tasks":[{"id":1,"title":"safe\u202eexe\nnext"},{"id":2,"title":"plain"}]}}"#);
    let imported = planning.import("home", &theirs, None, "me", Taking::UnlessItEmpties).await.unwrap();
    assert!(imported.notes.iter().any(|note| note.starts_with("master: the title of task 1 ")), "{imported:?}");
    let tasks = imported.file.tag("master").unwrap().tasks();
    assert_eq!(tasks.top().iter().map(|task| task.title.as_str()).collect::<Vec<_>>(), ["safeexe next", "plain"]);
    let again = planning.import("home", &theirs, Some(&imported.file), "me", Taking::UnlessItEmpties).await.unwrap();
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

/// Projects with an empty one, `home`.
async fn home() -> (tempfile::TempDir, Planning) {
    let dir = tempfile::tempdir().unwrap();
    let planning = Planning::new(Arc::new(SledStore::open(dir.path()).unwrap().store), NodeId::new("here"));
    planning.projects.create("home", "", "").await.unwrap();
    (dir, planning)
}

#[tokio::test]
async fn fields_that_nobody_here_knows_survive_an_import_wherever_they_stand() {
    let (_dir, planning) = home().await;
    let theirs = file(
        r#"{"keep":1.0,"other":{"tasks":null,"x":2},
            "master":{"tasks":[],"metadata":{"a":1,"description":"mine","created":"2020-01-01T00:00:00Z"},"z":9}}"#,
    );
    let seen = planning.import("home", &theirs, None, "me", Taking::Nothing).await.unwrap();
    let imported = planning.import("home", &theirs, None, "me", Taking::UnlessItEmpties).await.unwrap();
    let exported = planning.export("home", "").await.unwrap();
    for file in [&seen.file, &imported.file, &exported] {
        assert_eq!(file.extra(), theirs.extra());
        let (tag, wanted) = (file.tag("master").unwrap(), theirs.tag("master").unwrap());
        assert_eq!(tag.extra(), wanted.extra());
        assert!(wanted.metadata().iter().all(|field| tag.metadata().contains(field)), "{:?}", tag.metadata());
    }
    let again = planning.import("home", &exported, Some(&exported), "me", Taking::UnlessItEmpties).await.unwrap();
    assert!(!again.has_changed && again.clashes.is_empty(), "{again:?}");
    planning.projects.change("home", "", &Wanted { edits: vec![add("a task")], ..Wanted::default() }).await.unwrap();
    assert_eq!(planning.export("home", "").await.unwrap().extra(), theirs.extra());
}

#[tokio::test]
async fn a_field_beside_tasks_that_both_sides_changed_is_a_conflict_and_one_that_one_side_changed_is_taken() {
    let (_dir, planning) = home().await;
    let with =
        |keep: u32, z: u32| file(&format!(r#"{{"keep":{keep},"master":{{"tasks":[],"metadata":{{}},"z":{z}}}}}"#));
    planning.import("home", &with(1, 1), None, "me", Taking::Everything).await.unwrap();
    planning.import("home", &with(2, 1), Some(&with(1, 1)), "me", Taking::Everything).await.unwrap();
    let met = planning.import("home", &with(3, 4), Some(&with(1, 1)), "me", Taking::Everything).await.unwrap();
    let told: Vec<_> = met.clashes.iter().map(|it| format!("{} {} {}", it.field, it.ours, it.theirs)).collect();
    assert_eq!(told, ["keep 2 3"]);
    assert!(met.file.write().unwrap().contains("\"z\": 4"));
}

#[tokio::test]
async fn a_file_that_lost_most_tasks_takes_them_away_only_where_that_is_wanted() {
    let (_dir, planning) = home().await;
    let tasks = |titles: &[&str]| {
        let tasks: Vec<_> =
            titles.iter().enumerate().map(|(at, title)| format!(r#"{{"id":{},"title":"{title}"}}"#, at + 1)).collect();
        file(&format!(r#"{{"master":{{"tasks":[{}],"metadata":{{}}}}}}"#, tasks.join(",")))
    };
    let all = ["dig", "plant", "water", "rest"];
    let base = planning.import("home", &tasks(&all), None, "me", Taking::UnlessItEmpties).await.unwrap().file;
    let refused =
        planning.import("home", &tasks(&all[..1]), Some(&base), "me", Taking::UnlessItEmpties).await.unwrap_err();
    assert!(
        refused
            .message
            .ends_with("would lose 3 of its 4 tasks, which the file does not have any more: 2 plant, 3 water, 4 rest"),
        "{refused:?}"
    );
    assert!(refused.hint.unwrap().contains("--yes"));
    assert_eq!(planning.projects.snapshot("home", "").await.unwrap().tasks.count(), 4);
    let half = planning.import("home", &tasks(&all[..2]), Some(&base), "me", Taking::UnlessItEmpties).await.unwrap();
    assert_eq!(half.differences[0].1.removed.len(), 2);
    planning.import("home", &tasks(&[]), Some(&half.file), "me", Taking::Everything).await.unwrap();
    assert!(planning.projects.snapshot("home", "").await.unwrap().tasks.is_empty());
}

#[tokio::test]
async fn a_task_without_a_title_is_refused_before_anything_is_written() {
    let (_dir, planning) = home().await;
    let theirs = file(r#"{"extra":{"tasks":[{"id":1,"title":"fine"}]},"master":{"tasks":[{"id":1}]}}"#);
    for taking in [Taking::Nothing, Taking::Everything] {
        let refused = planning.import("home", &theirs, None, "me", taking).await.unwrap_err();
        assert!(refused.message.contains("title of task 1"), "{refused:?}");
    }
    assert_eq!(planning.projects.tags("home").await.unwrap().len(), 1);
    let bare = planning.import("home", &file(r#"{"id":1}"#), None, "me", Taking::Nothing).await.unwrap();
    assert_eq!(bare.notes, ["the file has no list of tasks: what it has is kept beside them"]);
}
