//! A folder and a scripted server.

use std::sync::{Arc, Mutex};

use proto::planning::{ListProjectsRequest, ListProjectsResponse, MergeConflict, Project};
use tonic::Status;

use super::*;
use crate::scripted::{Script, Typed, type_in};

fn tasks_json(title: &str) -> String {
    let text = format!(r#"{{"master": {{"tasks": [{{"id": 1, "title": "{title}"}}], "metadata": {{}}}}}}"#);
    TasksFile::read(text.as_bytes()).unwrap().file.write().unwrap()
}

/// A server that has `garden`, and merges as `import` says.
fn script(import: impl FnMut(ImportRequest) -> Result<ImportResponse, Status> + Send + 'static) -> Script {
    let garden = || Project { name: "garden".into(), ..Project::default() };
    Script::default().on(move |_: ListProjectsRequest| Ok(ListProjectsResponse { projects: vec![garden()] })).on(import)
}

/// What both sides should have is `title`.
fn merged(title: &str) -> ImportResponse {
    ImportResponse { tasks_json: tasks_json(title).into(), has_changed: true, ..ImportResponse::default() }
}

fn conflicting(title: &str) -> ImportResponse {
    let conflict = MergeConflict {
        tag: "master".into(),
        id: "1".into(),
        field: "title".into(),
        ours: title.into(),
        theirs: "mine".into(),
    };
    ImportResponse { conflicts: vec![conflict], ..merged(title) }
}

async fn sync(script: &Script, folder: &Path, more: &[&str]) -> Typed {
    let words: Vec<&str> = ["tasks", "sync", "--project", "garden", "--dir", folder.to_str().unwrap()]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    type_in(&script.serve(), &words).await
}

/// A folder with these tasks, and where they are.
fn folder_with(title: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".taskmaster/tasks/tasks.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, tasks_json(title)).unwrap();
    (folder, path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn an_empty_folder_gets_what_the_server_has_and_the_next_sync_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let bases: Arc<Mutex<Vec<(bool, String)>>> = Arc::default();
    let seen = bases.clone();
    let script = script(move |request| {
        seen.lock().unwrap().push((request.dry_run, String::from_utf8(request.base_tasks_json.to_vec()).unwrap()));
        Ok(merged("theirs"))
    });
    let first = sync(&script, folder.path(), &[]).await;
    assert_eq!(first.code, 0, "{}", first.notes);
    assert_eq!(
        first.data,
        "the project garden is changed, the file is changed\n  file, tag master: 1 added (1 theirs)\n"
    );
    assert_eq!(read(&folder.path().join(".taskmaster/tasks/tasks.json")), tasks_json("theirs"));
    let second = sync(&script, folder.path(), &[]).await;
    assert_eq!(second.data, "the project garden is changed, the file is as it was\n");
    let none = String::new();
    let known = tasks_json("theirs");
    assert_eq!(*bases.lock().unwrap(), [(true, none.clone()), (false, none), (true, known.clone()), (false, known)]);
}

#[tokio::test]
async fn where_both_changed_the_same_nothing_is_written_until_somebody_chose() {
    let (folder, path) = folder_with("mine");
    let script = script(|_| Ok(conflicting("theirs")));
    let typed = sync(&script, folder.path(), &[]).await;
    insta::assert_snapshot!("tasks_sync", format!("exit {}\n{}---\n{}", typed.code, typed.notes, typed.data));
    assert_eq!(read(&path), tasks_json("mine"));
    assert_eq!(script.asked::<ImportRequest>().len(), 1);
    assert!(!Synced::path(folder.path()).exists());

    let typed = sync(&script, folder.path(), &["--take-server"]).await;
    assert_eq!(typed.code, 1, "the conflict is still shown");
    assert_eq!(read(&path), tasks_json("theirs"));
    assert_eq!(read(&folder.path().join(".taskmaster").join(".tm-sync.before.json")), tasks_json("mine"));
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let (folder, path) = folder_with("mine");
    let script = script(|_| Ok(merged("theirs")));
    let typed = sync(&script, folder.path(), &["--dry-run"]).await;
    assert_eq!(
        typed.data,
        "the project garden would be changed, the file would be changed\n  file, tag master: 1 changed (1 theirs)\n"
    );
    assert_eq!((read(&path), script.asked::<ImportRequest>().len()), (tasks_json("mine"), 1));
}

#[tokio::test]
async fn an_edit_of_another_program_in_the_middle_is_not_lost() {
    let (folder, path) = folder_with("mine");
    let (edited, mut calls) = (path.clone(), 0);
    let script = script(move |request: ImportRequest| {
        calls += 1;
        // While the server takes the first version in, an editor saves the next one.
        if calls == 2 {
            std::fs::write(&edited, tasks_json("newer")).unwrap();
        }
        let tasks_json = if calls <= 2 { tasks_json("both").into() } else { request.tasks_json };
        Ok(ImportResponse { tasks_json, has_changed: true, ..ImportResponse::default() })
    });
    let typed = sync(&script, folder.path(), &[]).await;
    assert_eq!((typed.code, read(&path)), (0, tasks_json("newer")));
    assert!(typed.notes.contains("once more"), "{}", typed.notes);
    assert!(script.asked::<ImportRequest>().last().unwrap().contains("newer"));
}

#[tokio::test]
async fn a_base_that_cannot_be_read_is_told_with_a_way_out() {
    let (folder, _) = folder_with("mine");
    std::fs::write(Synced::path(folder.path()), "{").unwrap();
    let typed = sync(&script(|_| Ok(merged("theirs"))), folder.path(), &[]).await;
    assert_eq!(typed.code, 1);
    assert!(typed.notes.contains(".tm-sync.json") && typed.notes.contains("delete it"), "{}", typed.notes);
}

#[tokio::test]
async fn a_sync_that_changes_nothing_asks_once_and_says_so() {
    let (folder, path) = folder_with("same");
    let script = script(|_| Ok(ImportResponse { has_changed: false, ..merged("same") }));
    let typed = sync(&script, folder.path(), &[]).await;
    assert_eq!(typed.data, "the project garden is as it was, the file is as it was\n");
    assert_eq!((read(&path), script.asked::<ImportRequest>().len()), (tasks_json("same"), 1));
    assert!(Synced::path(folder.path()).exists());
}

#[tokio::test]
async fn what_the_server_says_of_lines_is_about_those_of_the_file() {
    let (folder, path) = folder_with("mine");
    let odd = r#"{"master":{"tasks":[]},"master":{"tasks":[{"id":1,"title":"mine"}]}}"#;
    std::fs::write(&path, odd).unwrap();
    let script = script(|request: ImportRequest| {
        assert_eq!(request.tasks_json, r#"{"master":{"tasks":[]},"master":{"tasks":[{"id":1,"title":"mine"}]}}"#);
        Ok(merged("mine"))
    });
    assert_eq!(sync(&script, folder.path(), &[]).await.code, 0);
}

#[tokio::test]
async fn most_tasks_of_the_server_go_only_with_a_yes() {
    let (folder, _) = folder_with("mine");
    let asked: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = asked.clone();
    let script = script(move |request: ImportRequest| {
        seen.lock().unwrap().push(request.may_empty);
        Ok(merged("mine"))
    });
    sync(&script, folder.path(), &[]).await;
    sync(&script, folder.path(), &["--yes"]).await;
    assert_eq!(*asked.lock().unwrap(), [false, false, true, true]);
}

#[tokio::test]
async fn most_tasks_of_the_file_go_only_with_a_yes() {
    let (folder, path) = folder_with("mine");
    let before = std::fs::read(&path).unwrap();
    // As a project that was deleted and made anew says it.
    let gone = script(|_| Ok(ImportResponse { tasks_json: r#"{"master":{"tasks":[]}}"#.into(), ..merged("mine") }));
    let refused = sync(&gone, folder.path(), &[]).await;
    assert!(refused.code != 0 && refused.notes.contains("would lose 1 of its 1 tasks"), "{}", refused.notes);
    assert!(refused.notes.contains("delete `") && std::fs::read(&path).unwrap() == before, "{}", refused.notes);
    let taken = sync(&gone, folder.path(), &["--yes"]).await;
    assert!(taken.code == 0 && std::fs::read(&path).unwrap() != before, "{}", taken.notes);
}

#[tokio::test]
async fn a_dry_run_makes_no_folder_and_a_sync_tells_that_it_made_one() {
    let folder = tempfile::tempdir().unwrap();
    let script = script(|_| Ok(merged("theirs")));
    sync(&script, folder.path(), &["--dry-run"]).await;
    assert!(!folder.path().join(".taskmaster").exists());
    let typed = sync(&script, folder.path(), &[]).await;
    assert!(typed.notes.contains("made ") && typed.notes.contains(".taskmaster"), "{}", typed.notes);
}
