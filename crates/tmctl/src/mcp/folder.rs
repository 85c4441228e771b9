//! Keeps a folder's tasks.json in step with the server's project, by record, as `tmctl tasks sync` does by hand.
//!
//! What both had when they were last alike lies in `.taskmaster/.tm-sync.json`, so each side's own changes are known. What
//! both changed differently stays as the server has it; the file as it was is kept beside, and the call's answer says so.

use std::fs;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result, time};
use planner::tasks_file::{Layout, TasksFile, edit_file, read_file};
use proto::planning::planning_client::PlanningClient;
use proto::planning::{ImportRequest, ImportResponse};
use serde::{Deserialize, Serialize};

use super::local::replace;
use crate::client::{CALL_LIMIT, Keyed, call};

/// How often the file may change under our hands before that is given up.
const TRIES: usize = 3;
const BASE: &str = ".tm-sync.json";
const BEFORE: &str = ".tm-sync.before.json";

/// What both sides had when they were last alike.
#[derive(Serialize, Deserialize)]
struct Base {
    /// RFC 3339.
    at: String,
    project: String,
    tasks_json: String,
}

/// Brings both together; gives what clashed, in words.
pub(super) async fn sync(planning: &mut PlanningClient<Keyed>, root: &Path, project: &str) -> Result<Vec<String>> {
    let inner = root.join(".taskmaster");
    let tasks = Layout::new(root).tasks();
    for folder in [Some(inner.as_path()), tasks.parent()].into_iter().flatten() {
        fs::create_dir_all(folder).map_err(|error| {
            Fault::invalid(format!("could not make `{}`", folder.display())).because(error).hint("look at its rights")
        })?;
    }
    stays_inside(root, &tasks)?;
    for _ in 0..TRIES {
        let is_there = tasks.exists();
        let file = if is_there { read_file(&tasks)?.file } else { TasksFile::default() };
        // A file that is gone says nothing about its tasks: it is made anew from what the server has.
        let base = read_base(&inner.join(BASE))?.filter(|base| base.project == project && is_there);
        let request = ImportRequest {
            project: project.to_owned(),
            tasks_json: text_of(&file)?.into(),
            base_tasks_json: base.map(|base| base.tasks_json.into()).unwrap_or_default(),
            dry_run: false,
        };
        let merged = call(CALL_LIMIT, planning.import(request)).await?;
        if take(&tasks, &file, &merged, &inner)? {
            keep(&inner.join(BASE), project, &merged)?;
            return Ok(clashes(&merged));
        }
    }
    let what = format!("`{}` is written all the time", tasks.display());
    Err(Fault::new(Code::Conflict, what).hint("the next call brings both together; nothing is lost"))
}

/// A tasks.json that is a link may lead anywhere, and an agent may have made it.
fn stays_inside(root: &Path, tasks: &Path) -> Result<()> {
    let folder = tasks.parent().unwrap_or(root);
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let places: [PathBuf; 3] = [real(tasks), real(folder), real(&root.join(".taskmaster"))];
    match places.iter().find(|place| !place.starts_with(root)) {
        Some(place) => {
            let what = format!("`{}` lies outside of the project's folder", place.display());
            Err(Fault::new(Code::PermissionDenied, what).hint("replace the link by a file or folder"))
        }
        None => Ok(()),
    }
}

/// Writes what both should have, unless the file is not what was sent any more.
fn take(tasks: &Path, sent: &TasksFile, merged: &ImportResponse, inner: &Path) -> Result<bool> {
    let wanted = TasksFile::read(&merged.tasks_json).map_err(|error| {
        Fault::internal("could not read the tasks of the server").because(error).hint("`tmctl doctor` tells releases")
    })?;
    if !merged.conflicts.is_empty() {
        replace(&inner.join(BEFORE), text_of(sent)?.as_bytes())?;
    }
    let edited = edit_file(tasks, |file| -> Result<bool> {
        let is_as_sent = file == sent;
        if is_as_sent {
            *file = wanted.file;
        }
        Ok(is_as_sent)
    })?;
    Ok(edited.value)
}

fn clashes(merged: &ImportResponse) -> Vec<String> {
    let shown = merged.conflicts.iter().map(|clash| {
        format!(
            "tasks.json and the server differ in {} of task {} (tag {}): the server's `{}` was kept instead of `{}`; the \
             file as it was is .taskmaster/{BEFORE}",
            clash.field, clash.id, clash.tag, clash.ours, clash.theirs
        )
    });
    shown.collect()
}

fn read_base(path: &Path) -> Result<Option<Base>> {
    if !path.exists() {
        return Ok(None);
    }
    let read = fs::read(path)
        .map_err(std::io::Error::other)
        .and_then(|bytes| serde_json::from_slice(&bytes).map(Some).map_err(std::io::Error::other));
    read.map_err(|error| {
        let what = format!("could not read `{}`", path.display());
        Fault::invalid(what).because(error).hint("delete it: then everything that differs is a conflict")
    })
}

fn keep(path: &Path, project: &str, merged: &ImportResponse) -> Result<()> {
    let tasks_json = String::from_utf8_lossy(&merged.tasks_json).into_owned();
    let base = Base { at: time::rfc3339(time::unix_ms()), project: project.to_owned(), tasks_json };
    let text = serde_json::to_string(&base).map_err(unwritable)?;
    replace(path, text.as_bytes())
}

fn text_of(file: &TasksFile) -> Result<String> {
    file.write().map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> Fault {
    Fault::internal("could not write tasks as JSON").because(error).hint("tell the makers of tmctl")
}
