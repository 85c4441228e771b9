//! `tmctl tasks sync`: a folder's tasks.json and the project of a server become alike, by record.
//!
//! What both had when they were last alike is kept in `.taskmaster/.tm-sync.json`; so each side's own changes are known,
//! and are taken over. What both changed differently is shown, and until somebody has chosen nothing is written on either
//! side. The file is written under its lock, and only if it is still what was sent.

use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};
use planner::sync::{self, Differences};
use planner::tasks_file::{Layout, TasksFile, edit_file, read_whole};
use planner::{Tasks, wire};
use proto::planning::planning_client::PlanningClient;
use proto::planning::{ImportRequest, ImportResponse, TagDifference};

use super::exchange::{self, Outcome};
use crate::client::{CALL_LIMIT, Keyed, Servers, call};
use crate::file;
use crate::folder::home::Synced;
use crate::place::{At, Missing, Named};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::visible;

/// How often the file may change under our hands before that is given up.
const TRIES: usize = 5;
/// How the file as it was is called where the server's version of something took its place; the second one has a number.
const BEFORE: &str = ".tm-sync.before";
/// So many of them; then somebody should look at them.
const MOST_BEFORE: u32 = 1000;

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
    /// Do it even where most tasks of one side are not on the other any more, and go
    #[arg(long)]
    yes: bool,
}

/// The files that a sync is about.
pub(crate) struct Folder {
    /// The tasks.json.
    tasks: PathBuf,
    root: PathBuf,
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

/// Whether most tasks of the server may go because the file does not have them any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayEmpty {
    /// Somebody said so.
    Yes,
    /// The server refuses it.
    No,
}

/// How far a merge came.
pub(crate) enum Merged {
    /// Nothing was written on either side.
    Looked {
        /// What the server would make of it.
        looked: ImportResponse,
        /// What would be different in the file.
        file: InFile,
    },
    /// Both sides are alike.
    Done {
        /// What the server made of it.
        done: ImportResponse,
        /// What is different in the file.
        file: InFile,
        /// Where the file as it was is kept, if something of it was not taken.
        before: Option<PathBuf>,
    },
}

/// What becomes of the file.
pub(crate) struct InFile {
    /// Whether it is another one.
    pub(crate) is_changed: bool,
    /// Which of its tasks are, by tag.
    pub(crate) differences: Vec<TagDifference>,
    /// How many of its tasks go, of how many.
    lost: usize,
    all: usize,
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
    let may_empty = if args.yes { MayEmpty::Yes } else { MayEmpty::No };
    let project = at.project();
    let again = || screen.note("the file was changed in the meantime; once more\n");
    match folder.merge(&mut at.planning, &project, (writes, may_empty), again).await? {
        Merged::Looked { looked, file } => {
            let outcome = if args.dry_run { Outcome::WouldBe } else { Outcome::NothingWritten };
            let verdict = exchange::tell(screen, &at, &looked, outcome, Some(&file))?;
            if outcome == Outcome::NothingWritten {
                screen.note(
                    "hint: make the field alike on one side (`tmctl tasks update`, or in the file) and sync again, or take \
                     the server's with --take-server\n",
                );
            }
            Ok(verdict)
        }
        Merged::Done { done, file, before } => {
            let verdict = exchange::tell(screen, &at, &done, Outcome::Is, Some(&file))?;
            if let Some(before) = before {
                screen.note(&visible(&format!("the file as it was is in {}\n", before.display())));
            }
            Ok(verdict)
        }
    }
}

impl Folder {
    /// Those of the project in `root`.
    pub(crate) fn new(root: &Path) -> Self {
        Self { tasks: Layout::new(root).tasks(), root: root.to_owned() }
    }

    /// Whether somebody wrote the file since it was brought together with the project.
    pub(crate) fn is_edited(&self, project: &str) -> Result<bool> {
        let Some((_, file)) = read_whole(&self.tasks)? else { return Ok(false) };
        match Synced::read(&self.root)?.filter(|base| base.project == project && !base.tasks_json.is_empty()) {
            Some(base) => Ok(parsed(base.tasks_json.as_bytes())? != file.file),
            None => Ok(true),
        }
    }

    fn inner(&self) -> PathBuf {
        self.root.join(".taskmaster")
    }

    /// Makes the folders of these files.
    fn make_room(&self) -> Result<()> {
        let inner = self.inner();
        for folder in [Some(inner.as_path()), self.tasks.parent()].into_iter().flatten() {
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
        (writes, may_empty): (Writes, MayEmpty),
        mut again: impl FnMut(),
    ) -> Result<Merged> {
        if writes != Writes::Nothing {
            self.make_room()?;
        }
        for _ in 0..TRIES {
            let read = read_whole(&self.tasks)?;
            // A file that is gone says nothing about its tasks: it is made anew from what the server has.
            let base = Synced::read(&self.root)?.filter(|base| base.project == project && read.is_some());
            // The bytes as they stand, so that what the server says of them is true of their lines.
            let (bytes, file) = match read {
                Some((bytes, read)) => (bytes, read.file),
                None => (json_of(&TasksFile::default())?.into_bytes(), TasksFile::default()),
            };
            let request = ImportRequest {
                project: project.to_owned(),
                tasks_json: bytes.into(),
                base_tasks_json: base.map(|base| base.tasks_json.into()).unwrap_or_default(),
                dry_run: false,
                may_empty: may_empty == MayEmpty::Yes,
            };
            let sent = request.tasks_json.clone();
            // A large file that comes back as it went is not read again.
            let merged_of = |response: &ImportResponse| {
                if response.tasks_json == sent { Ok(file.clone()) } else { parsed(&response.tasks_json) }
            };
            let mut looked = None;
            if writes != Writes::Everything {
                let request = ImportRequest { dry_run: true, ..request.clone() };
                let response = call(CALL_LIMIT, planning.import(request)).await?;
                let merged = merged_of(&response)?;
                let in_file = InFile::of(&file, &merged);
                if writes == Writes::Nothing || !response.conflicts.is_empty() {
                    return Ok(Merged::Looked { looked: response, file: in_file });
                }
                self.may_lose(&in_file, project, may_empty)?;
                looked = (!response.has_changed).then_some((response, merged, in_file));
            }
            // Where nothing would change on the server, the look said all there is.
            let (done, merged, in_file) = match looked {
                Some(looked) => looked,
                None => {
                    let done = call(CALL_LIMIT, planning.import(request)).await?;
                    let merged = merged_of(&done)?;
                    let in_file = InFile::of(&file, &merged);
                    self.may_lose(&in_file, project, may_empty)?;
                    (done, merged, in_file)
                }
            };
            let before = if done.conflicts.is_empty() { None } else { Some(self.keep_before(&file)?) };
            if self.take(project, &file, merged, &done)? {
                return Ok(Merged::Done { done, file: in_file, before });
            }
            again();
        }
        let busy = Fault::new(Code::Conflict, format!("`{}` is written all the time", self.tasks.display()));
        Err(busy.hint("do it again when whoever writes it has finished; nothing is lost"))
    }

    /// Refuses to take most tasks out of the file, as a project that was deleted or made anew would have it.
    fn may_lose(&self, file: &InFile, project: &str, may_empty: MayEmpty) -> Result<()> {
        let InFile { lost, all, .. } = file;
        if may_empty == MayEmpty::Yes || !sync::is_most(*lost, *all) {
            return Ok(());
        }
        let what = format!(
            "`{}` would lose {lost} of its {all} tasks, which the project `{project}` does not have any more",
            self.tasks.display()
        );
        Err(Fault::new(Code::Conflict, what).hint(format!(
            "--yes takes them out of the file; to bring them to the server instead, delete `{}` and sync again",
            Synced::path(&self.root).display()
        )))
    }

    /// Keeps the file as it was, beside those that were kept before; gives where.
    fn keep_before(&self, was: &TasksFile) -> Result<PathBuf> {
        let text = json_of(was)?;
        for number in 1..=MOST_BEFORE {
            let number = if number == 1 { String::new() } else { format!("-{number}") };
            let path = self.inner().join(format!("{BEFORE}{number}.json"));
            if file::write_new(&path, text.as_bytes())? {
                return Ok(path);
            }
        }
        let what = format!(
            "could not keep the file as it was: there are {MOST_BEFORE} such files in `{}`",
            self.inner().display()
        );
        Err(Fault::new(Code::Conflict, what)
            .hint(format!("look through `{BEFORE}*.json` and delete what is not needed")))
    }

    /// Writes what both sides should have, and keeps it as the next base. Not where the file is not `sent` any more.
    /// The base comes last: a stop before it only means that the next sync finds both sides with the same changes.
    fn take(&self, project: &str, sent: &TasksFile, merged: TasksFile, done: &ImportResponse) -> Result<bool> {
        // With nothing to write, whatever is in the file meanwhile is a change since the base.
        let is_taken = merged == *sent
            || edit_file(&self.tasks, |file| -> Result<bool> {
                let is_as_sent = file == sent;
                if is_as_sent {
                    *file = merged;
                }
                Ok(is_as_sent)
            })?
            .value;
        if is_taken {
            let tasks_json = String::from_utf8_lossy(&done.tasks_json).into_owned();
            Synced::now(project, tasks_json).keep(&self.root)?;
        }
        Ok(is_taken)
    }
}

impl InFile {
    fn of(was: &TasksFile, is: &TasksFile) -> Self {
        let none = Tasks::default();
        let tasks = |file: &TasksFile, tag: &str| file.tag(tag).map_or_else(|| none.clone(), |tag| tag.tasks().clone());
        let added = is.tags().iter().filter(|tag| was.tag(tag.name()).is_none());
        let mut file = Self { is_changed: was != is, differences: Vec::new(), lost: 0, all: 0 };
        for tag in was.tags().iter().chain(added) {
            let before = tasks(was, tag.name());
            let found = Differences::of(&before, &tasks(is, tag.name()));
            file.lost += found.removed.len();
            file.all += before.count();
            file.differences.extend((!found.is_empty()).then(|| wire::difference_to_wire(tag.name(), &found)));
        }
        file
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
