//! `tmctl tasks sync`: a folder's tasks.json and the project of a server become alike, by record.
//!
//! What both had when they were last alike is kept in `.taskmaster/.tm-sync.json`; so each side's own changes are known,
//! and are taken over. What both changed differently is shown, and until somebody has chosen nothing is written on either
//! side. The file is written under its lock, and only if it is still what was sent.

use std::path::{Path, PathBuf};

use base::{Code, Fault, Result, time};
use planner::tasks_file::{Layout, TasksFile, edit_file, read_file};
use proto::planning::planning_client::PlanningClient;
use proto::planning::{ImportRequest, ImportResponse};
use serde::{Deserialize, Serialize};

use super::exchange;
use crate::client::{CALL_LIMIT, Keyed, Servers, call};
use crate::file;
use crate::folder::home::SYNCED;
use crate::place::{At, Missing, Named};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::visible;

/// How often the file may change under our hands before that is given up.
const TRIES: usize = 5;
/// The file as it was, where the server's version of something took its place.
pub(crate) const BEFORE: &str = ".tm-sync.before.json";

/// A folder to bring together with a project.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project's folder, in which .taskmaster is
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Only say what would become different
    #[arg(long)]
    dry_run: bool,
    /// Where both changed the same, take what the server has; the file's version is kept beside it
    #[arg(long)]
    take_server: bool,
}

/// What both sides had when they were last alike.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Base {
    /// RFC 3339.
    at: String,
    /// Of which project.
    project: String,
    /// All of it; empty when they never were, and `tmctl init` only noted the project.
    tasks_json: String,
}

/// Notes in a folder which project it belongs to, with which it was not synced yet.
pub fn note_project(root: &Path, project: &str) -> Result<()> {
    let folder = Folder::new(root);
    folder.make_room()?;
    folder.keep(&Base { at: time::rfc3339(time::unix_ms()), project: project.to_owned(), tasks_json: String::new() })
}

/// The files that a sync is about.
pub(crate) struct Folder {
    /// The tasks.json.
    tasks: PathBuf,
    base: PathBuf,
    before: PathBuf,
}

/// What may be written on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Nothing: it is only looked what would become different.
    Nothing,
    /// All of it, if nothing clashes.
    WhatFits,
    /// All of it; where both changed the same, what the server has.
    Everything,
}

/// How far a merge came.
pub(crate) enum Merged {
    /// Nothing was written on either side.
    Looked {
        /// What the server would make of it.
        looked: ImportResponse,
        /// What the file has.
        file: TasksFile,
    },
    /// Both sides are alike.
    Done {
        /// What the server made of it.
        done: ImportResponse,
        /// Whether the file is another one now.
        is_written: bool,
    },
}

/// Brings them together.
pub async fn run(servers: &Servers, screen: &mut Screen, named: Named, args: Args) -> Result<Verdict, Ended> {
    let missing = if args.dry_run { Missing::Refuse } else { Missing::Make };
    let mut at = At::open_for(servers, screen, &named, missing, &args.dir).await?;
    let folder = Folder::new(&args.dir);
    if !args.dry_run && !args.dir.join(".taskmaster").exists() {
        // Whoever stands in the wrong folder should see it.
        screen.note(&visible(&format!("made {}\n", args.dir.join(".taskmaster").display())));
    }
    let writes = match (args.dry_run, args.take_server) {
        (true, _) => Writes::Nothing,
        (false, false) => Writes::WhatFits,
        (false, true) => Writes::Everything,
    };
    let project = at.project();
    let again = || screen.note("the file was changed in the meantime; once more\n");
    match folder.merge(&mut at.planning, &project, writes, again).await? {
        Merged::Looked { looked, file } => only_tell(screen, &at, &looked, &file),
        Merged::Done { done, is_written } => tell(screen, &at, &folder, &done, is_written),
    }
}

fn only_tell(screen: &mut Screen, at: &At, looked: &ImportResponse, file: &TasksFile) -> Result<Verdict, Ended> {
    let would_change = parsed(&looked.tasks_json)? != *file;
    let verdict = exchange::tell(screen, at, looked, true, Some(would_change))?;
    if !looked.conflicts.is_empty() {
        screen.note(
            "nothing was written on either side\n  hint: make the field alike on one side (`tmctl tasks update`, or in \
             the file) and sync again, or take the server's with --take-server\n",
        );
    }
    Ok(verdict)
}

fn tell(
    screen: &mut Screen,
    at: &At,
    folder: &Folder,
    done: &ImportResponse,
    is_written: bool,
) -> Result<Verdict, Ended> {
    let verdict = exchange::tell(screen, at, done, false, Some(is_written))?;
    if !done.conflicts.is_empty() {
        screen.note(&visible(&format!("the file as it was is in {}\n", folder.before.display())));
    }
    Ok(verdict)
}

impl Folder {
    /// Those of the project in `root`.
    pub(crate) fn new(root: &Path) -> Self {
        let (tasks, inner) = (Layout::new(root).tasks(), root.join(".taskmaster"));
        Self { tasks, base: inner.join(SYNCED), before: inner.join(BEFORE) }
    }

    /// Makes the folders of these files.
    fn make_room(&self) -> Result<()> {
        for folder in [self.base.parent(), self.tasks.parent()].into_iter().flatten() {
            std::fs::create_dir_all(folder).map_err(|error| {
                let fault = Fault::invalid(format!("could not make `{}`", folder.display())).because(error);
                fault.hint("name the project's folder with --dir")
            })?;
        }
        Ok(())
    }

    /// Brings the file and a project of the server together. `again` hears of each time that the file was changed meanwhile.
    pub(crate) async fn merge(
        &self,
        planning: &mut PlanningClient<Keyed>,
        project: &str,
        writes: Writes,
        mut again: impl FnMut(),
    ) -> Result<Merged> {
        if writes != Writes::Nothing {
            self.make_room()?;
        }
        for _ in 0..TRIES {
            let file = self.read()?;
            // A file that is gone says nothing about its tasks: it is made anew from what the server has.
            let base = self.base()?.filter(|base| base.project == project && file.is_some());
            let file = file.unwrap_or_default();
            let request = ImportRequest {
                project: project.to_owned(),
                tasks_json: json_of(&file)?.into(),
                base_tasks_json: base.map(|base| base.tasks_json.into()).unwrap_or_default(),
                dry_run: false,
            };
            if writes != Writes::Everything {
                let request = ImportRequest { dry_run: true, ..request.clone() };
                let looked = call(CALL_LIMIT, planning.import(request)).await?;
                if writes == Writes::Nothing || !looked.conflicts.is_empty() {
                    return Ok(Merged::Looked { looked, file });
                }
            }
            let done = call(CALL_LIMIT, planning.import(request)).await?;
            if let Some(is_written) = self.take(project, &file, &done)? {
                return Ok(Merged::Done { done, is_written });
            }
            again();
        }
        let busy = Fault::new(Code::Conflict, format!("`{}` is written all the time", self.tasks.display()));
        Err(busy.hint("do it again when whoever writes it has finished; nothing is lost"))
    }

    /// The tasks; nothing when there is no file.
    fn read(&self) -> Result<Option<TasksFile>> {
        if !self.tasks.exists() {
            return Ok(None);
        }
        Ok(Some(read_file(&self.tasks)?.file))
    }

    /// What both sides had, if they were alike once.
    fn base(&self) -> Result<Option<Base>> {
        if !self.base.exists() {
            return Ok(None);
        }
        let read = serde_json::from_slice(&file::read(&self.base)?);
        read.map(Some).map_err(|error| {
            let fault = Fault::invalid(format!("could not read `{}`", self.base.display())).because(error);
            fault.hint("delete it: then nothing is known of the last sync, and everything different is a conflict")
        })
    }

    /// Writes what both sides should have, and keeps it as the next base. Nothing when the file is not `sent` any more.
    /// The base comes last: a stop before it only means that the next sync finds both sides with the same changes.
    fn take(&self, project: &str, sent: &TasksFile, done: &ImportResponse) -> Result<Option<bool>> {
        let merged = parsed(&done.tasks_json)?;
        if !done.conflicts.is_empty() {
            file::write(&self.before, json_of(sent)?.as_bytes())?;
        }
        let edited = edit_file(&self.tasks, |file| -> Result<bool> {
            let is_as_sent = file == sent;
            if is_as_sent {
                *file = merged;
            }
            Ok(is_as_sent)
        })?;
        if !edited.value {
            return Ok(None);
        }
        let tasks_json = String::from_utf8_lossy(&done.tasks_json).into_owned();
        let base = Base { at: time::rfc3339(time::unix_ms()), project: project.to_owned(), tasks_json };
        self.keep(&base)?;
        Ok(Some(edited.is_written))
    }

    fn keep(&self, base: &Base) -> Result<()> {
        let text = serde_json::to_string(base).map_err(|error| unwritable(&error))?;
        file::write(&self.base, text.as_bytes())
    }
}

fn parsed(tasks_json: &[u8]) -> Result<TasksFile> {
    let read = TasksFile::read(tasks_json).map_err(|error| {
        Fault::internal("could not read the tasks of the server").because(error).hint("`tmctl doctor` tells releases")
    })?;
    Ok(read.file)
}

/// The text of a tasks.json.
fn json_of(file: &TasksFile) -> Result<String> {
    file.write().map_err(|error| unwritable(&error))
}

fn unwritable(error: &serde_json::Error) -> Fault {
    Fault::internal(format!("could not write tasks as JSON: {error}")).hint("tell the makers of tmctl")
}

#[cfg(test)]
mod tests;
