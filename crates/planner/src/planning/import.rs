//! A project as a tasks.json, and a tasks.json merged into a project: by record, and with every field that nobody here knows.
//!
//! First it is decided for all tags what they become, and whether they may; then that is written.

use base::{Code, Fault, Result};

use super::Planning;
use crate::edit::{self, Applied, Edit, Stamp};
use crate::projects::{Beside, Outcome, ProjectChange, Tag, Wanted};
use crate::sync::{self, Differences, Merged};
use crate::tasks_file::{self, TasksFile};
use crate::{Extra, Raw, TaskId, Tasks};

/// Fields of a tag's metadata that every client writes as it works: they say nothing that somebody decided.
const BOOKKEEPING: [&str; 5] = ["created", "lastModified", "taskCount", "completedCount", "version"];

/// What an import may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Only say what would become different.
    Nothing,
    /// All of it, unless it takes away most of a tag's tasks.
    UnlessItEmpties,
    /// All of it.
    Everything,
}

/// What came of taking a file in.
#[derive(Debug, Default)]
pub struct Imported {
    /// All tags as they are on the server then.
    pub file: TasksFile,
    /// What both sides changed differently, by tag; the server's stays.
    pub conflicts: Vec<(String, sync::Conflict)>,
    /// The same of fields that are beside tasks.
    pub clashes: Vec<FieldClash>,
    /// What is different on the server, by tag.
    pub differences: Vec<(String, Differences)>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// Whether anything changed on the server.
    pub has_changed: bool,
}

/// A field beside tasks that both sides changed differently: the server's stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldClash {
    /// In which tag; empty outside of any.
    pub tag: String,
    /// Its name.
    pub field: String,
    /// The server's, as JSON; empty where it is not there.
    pub ours: String,
    /// The file's, likewise.
    pub theirs: String,
}

/// A tag as it is here.
struct Seen {
    about: Tag,
    is_known: bool,
    tasks: Tasks,
}

/// What a tag becomes.
struct Decided {
    about: Tag,
    is_known: bool,
    tasks: Tasks,
    beside: Beside,
    differs: bool,
    is_beside_new: bool,
}

impl Planning {
    /// All tags of a project with what stands beside them, or one tag, as a tasks.json.
    pub async fn export(&self, project: &str, tag: &str) -> Result<TasksFile> {
        let mut file = TasksFile::default();
        if !tag.is_empty() {
            let snapshot = self.projects.snapshot(project, tag).await?;
            file.put(file_tag(&snapshot.about, &snapshot.tasks)?);
            return Ok(file);
        }
        for about in self.projects.tags(project).await? {
            let snapshot = self.projects.snapshot(project, &about.name).await?;
            file.put(file_tag(&snapshot.about, &snapshot.tasks)?);
        }
        file.set_extra(self.projects.project(project).await?.extra);
        Ok(file)
    }

    /// Merges a tasks.json into a project, by record; `base` is what both were when they were last alike.
    ///
    /// A tag that the file does not have stays. What is wrong with dependencies in the file is not taken over, and said.
    pub async fn import(
        &self,
        project: &str,
        theirs: &TasksFile,
        base: Option<&TasksFile>,
        who: &str,
        taking: Taking,
    ) -> Result<Imported> {
        let mut imported = Imported::default();
        if theirs.tags().is_empty() && !theirs.extra().is_empty() {
            imported.notes.push("the file has no list of tasks: what it has is kept beside them".to_owned());
        }
        let known = self.projects.tags(project).await?;
        let extra = self.projects.project(project).await?.extra;
        let none = Extra::new();
        let before = base.map_or(&none, TasksFile::extra);
        let merged = imported.merge_fields("", before, &extra, theirs.extra());
        let mut decided = Vec::new();
        for tag in theirs.tags() {
            let before = base.and_then(|base| base.tag(tag.name()));
            let is_known = known.iter().any(|about| about.name == tag.name());
            if !is_known && before.is_some_and(|before| before.tasks() == tag.tasks()) {
                // Deleted or renamed here, and untouched there.
                imported.notes.push(format!("{}: the tag is gone here, and goes there as well", tag.name()));
                continue;
            }
            let seen = if is_known {
                let snapshot = self.projects.snapshot(project, tag.name()).await?;
                Seen { about: snapshot.about, is_known, tasks: snapshot.tasks }
            } else {
                let mut about = Tag::new(&tag.description(), base::time::unix_ms());
                tag.name().clone_into(&mut about.name);
                Seen { about, is_known, tasks: Tasks::default() }
            };
            decided.push(imported.decide(project, seen, before, tag, taking)?);
        }
        let is_extra_new = merged != extra;
        imported.has_changed |= is_extra_new;
        if taking != Taking::Nothing {
            if is_extra_new {
                let change = ProjectChange { extra: Some(merged.clone()), ..ProjectChange::default() };
                self.projects.change_project(project, &change).await?;
            }
            for one in &decided {
                self.take(project, one, who).await?;
            }
        }
        imported.file = self.export(project, "").await?;
        if taking == Taking::Nothing {
            for one in &decided {
                let (mut about, beside) = (one.about.clone(), one.beside.clone());
                (about.description, about.extra, about.beside) = (beside.description, beside.metadata, beside.others);
                imported.file.put(file_tag(&about, &one.tasks)?);
            }
            imported.file.set_extra(merged);
        }
        Ok(imported)
    }

    /// Puts the merged tasks in place of those that they were merged with.
    async fn take(&self, project: &str, decided: &Decided, who: &str) -> Result<()> {
        let Decided { about: Tag { name: tag, revision, .. }, tasks, beside, .. } = decided;
        if !decided.is_known {
            self.projects.make_tag(project, tag, &beside.description).await?;
        }
        if decided.is_beside_new {
            self.projects.keep_beside(project, tag, beside).await?;
        }
        if !decided.differs {
            return Ok(());
        }
        let wanted = Wanted {
            edits: vec![replacing(tasks)],
            // Whoever changes something while the merge goes on is not overwritten.
            expected_revision: Some(*revision),
            who: who.to_owned(),
            what: "took in a tasks.json".to_owned(),
            ..Wanted::default()
        };
        match self.projects.change(project, tag, &wanted).await? {
            Outcome::Done(_) => Ok(()),
            Outcome::Conflict(conflict) => {
                let what = format!("task {} of tag `{tag}` was changed during the import", conflict.id);
                Err(Fault::new(Code::Conflict, what).hint("import once more; this tag was not touched"))
            }
        }
    }
}

impl Imported {
    /// What a tag becomes, or why it cannot.
    fn decide(
        &mut self,
        project: &str,
        seen: Seen,
        before: Option<&tasks_file::Tag>,
        theirs: &tasks_file::Tag,
        taking: Taking,
    ) -> Result<Decided> {
        let Seen { about, is_known, tasks: ours } = seen;
        let name = about.name.clone();
        let base = before.map(|tag| tag.tasks().clone()).unwrap_or_default();
        let Merged { tasks, conflicts, notes } = sync::merge(&base, &ours, theirs.tasks());
        self.conflicts.extend(conflicts.into_iter().map(|conflict| (name.clone(), conflict)));
        self.notes.extend(notes.iter().map(|note| format!("{name}: {note}")));
        let (tasks, cleaned) = edit::with_plain_titles(tasks);
        self.notes.extend(cleaned.iter().map(|note| format!("{name}: {note}")));
        // Stamped when it is taken over.
        let Applied { tasks, notes, .. } = edit::apply(&tasks, &Edit::Fix, &Stamp::default())?;
        self.notes.extend(notes.iter().map(|note| format!("{name}: {note}")));
        let differences = Differences::of(&ours, &tasks);
        if taking == Taking::UnlessItEmpties && sync::is_most(differences.removed.len(), ours.count()) {
            return Err(would_empty(project, &name, &differences.removed, ours.count()));
        }
        let differs = !differences.is_empty();
        if differs {
            // Refused before anything is written, and by a look as well.
            edit::apply(&ours, &replacing(&tasks), &Stamp::default())?;
            self.differences.push((name, differences));
        }
        let was = beside_of(&about);
        let beside = self.merge_beside(&about, before, theirs);
        let is_beside_new = beside != was;
        self.has_changed |= !is_known || differs || is_beside_new;
        Ok(Decided { about, is_known, tasks, beside, differs, is_beside_new })
    }

    fn merge_beside(&mut self, about: &Tag, before: Option<&tasks_file::Tag>, theirs: &tasks_file::Tag) -> Beside {
        let ours = beside_of(about);
        let base = before.map(|tag| foreign(tag.metadata())).unwrap_or_default();
        let mut metadata = foreign(theirs.metadata());
        if !ours.metadata.iter().any(|(name, _)| name == "created") {
            let own = text(&base::time::rfc3339(about.created_ms)).ok();
            metadata.retain(|(name, value)| name != "created" || Some(value) != own.as_ref());
        }
        let none = Extra::new();
        let description = if ours.description.is_empty() { theirs.description() } else { ours.description };
        let metadata = self.merge_fields(&about.name, &base, &ours.metadata, &metadata);
        let base = before.map_or(&none, tasks_file::Tag::extra);
        Beside { description, metadata, others: self.merge_fields(&about.name, base, &ours.others, theirs.extra()) }
    }

    fn merge_fields(&mut self, tag: &str, base: &Extra, ours: &Extra, theirs: &Extra) -> Extra {
        let json = |raw: Option<&Raw>| raw.map_or_else(String::new, |raw| raw.0.get().to_owned());
        sync::merge_extra(base, ours, theirs, |field, here, there| {
            if !BOOKKEEPING.contains(&field) {
                let (ours, theirs) = (json(here), json(there));
                self.clashes.push(FieldClash { tag: tag.to_owned(), field: field.to_owned(), ours, theirs });
            }
        })
    }
}

fn replacing(tasks: &Tasks) -> Edit {
    Edit::Replace { tasks: tasks.top().iter().map(|task| (**task).clone()).collect() }
}

fn would_empty(project: &str, tag: &str, removed: &[(TaskId, String)], of: usize) -> Fault {
    let first: Vec<String> = removed.iter().take(3).map(|(id, title)| format!("{id} {title}")).collect();
    let more = match removed.len() - first.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = format!(
        "tag `{tag}` of project `{project}` would lose {} of its {of} tasks, which the file does not have any more: {}{more}",
        removed.len(),
        first.join(", ")
    );
    Fault::new(Code::Conflict, what)
        .hint("`tmctl tasks sync --yes` removes them; to get them back instead, delete the file and sync again")
}

/// What is known of a tag beside its tasks.
fn beside_of(about: &Tag) -> Beside {
    let (description, others) = (about.description.clone(), about.beside.clone());
    Beside { description, metadata: foreign(&about.extra), others }
}

/// Metadata without what is known here.
fn foreign(metadata: &Extra) -> Extra {
    metadata.iter().filter(|(name, _)| name != "updated" && name != "description").cloned().collect()
}

/// A tag as tasks.json has it.
fn file_tag(about: &Tag, tasks: &Tasks) -> Result<tasks_file::Tag> {
    let mut metadata = about.extra.clone();
    let texts = [
        ("created", base::time::rfc3339(about.created_ms)),
        ("updated", base::time::rfc3339(about.updated_ms)),
        ("description", about.description.clone()),
    ];
    for (name, value) in texts {
        let value = text(&value)?;
        match metadata.iter_mut().find(|(known, _)| known == name) {
            // When a tag came to be elsewhere is not ours to say.
            Some((known, old)) if known != "created" => *old = value,
            Some(_) => {}
            None => metadata.push((name.to_owned(), value)),
        }
    }
    let mut tag = tasks_file::Tag::new(&about.name, tasks.clone(), metadata, about.beside.clone());
    tag.count().map_err(unwritten)?;
    Ok(tag)
}

fn text(text: &str) -> Result<Raw> {
    serde_json::value::to_raw_value(text).map(Raw).map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> Fault {
    Fault::internal("could not write a tag").because(error)
}
