//! Projects and the jobs that work on them: what the faces of a node call, and what a node runs.

use std::sync::Arc;

use base::{Code, Fault, NodeId, Result};
use futures_util::{Stream, StreamExt};
use jobs::{Context, Filter, Input, JobId, JobView, Jobs, NewJob, Serving, State};
use serde::Serialize;
use serde_json::Value;
use store::SharedStore;
use tokio_util::sync::CancellationToken;

use crate::digest;
use crate::edit::{self, Applied, Edit, Stamp};
use crate::model::Models;
use crate::projects::{Outcome, Projects, Snapshot, Wanted};
use crate::sync::{self, Merged};
use crate::tasks_file::{self, TasksFile};
use crate::work::{self, JOB_KIND, Order};
use crate::{Raw, Tasks};

/// Jobs that one node works on at once; each asks the cluster several questions at a time already.
const JOBS_AT_ONCE: usize = 2;

/// The projects of a store, and the jobs on them.
pub struct Planning {
    /// The projects.
    pub projects: Projects,
    /// All jobs of the store.
    pub jobs: Jobs,
}

/// A job as people see it.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    /// Where it stands.
    #[serde(flatten)]
    pub view: JobView,
    /// What it gave, once it is done.
    pub result: Option<Value>,
}

impl Job {
    /// The project, the tag and the name of the work that it is about, as they were when it was made.
    pub fn about(&self) -> (&str, &str, &str) {
        parts(&self.view.subject)
    }
}

/// What a job is about, for people and for [`Job::about`]. None of the three has a blank or a slash in it.
fn subject(order: &Order) -> String {
    format!("{}/{} {}", order.project, order.tag, order.work.name())
}

fn parts(subject: &str) -> (&str, &str, &str) {
    let (place, work) = subject.split_once(' ').unwrap_or((subject, ""));
    let (project, tag) = place.split_once('/').unwrap_or((place, ""));
    (project, tag, work)
}

/// What came of taking a file in.
#[derive(Debug, Default)]
pub struct Imported {
    /// All tags as they are on the server then.
    pub file: TasksFile,
    /// What both sides changed differently, by tag; the server's stays.
    pub conflicts: Vec<(String, sync::Conflict)>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// Whether anything changed on the server.
    pub has_changed: bool,
}

impl Planning {
    /// The projects and jobs of `store`, as `node` sees them.
    pub fn new(store: SharedStore, node: NodeId) -> Self {
        Self { projects: Projects::new(store.clone()), jobs: Jobs::new(store, node) }
    }

    /// Makes a job of an order, if it can be done at all. The same key gives the same job: in one project, for one order.
    pub async fn start(&self, mut order: Order, key: Option<String>) -> Result<JobId> {
        let snapshot = self.projects.snapshot(&order.project, &order.tag).await?;
        order.tag.clone_from(&snapshot.tag);
        // By the tag's id, since another project or tag of that name may stand there by now.
        let digest = digest::of(&(&snapshot.about.id, order.planner, &order.work))?;
        let key = key.map(|key| format!("{}/{key}", order.project));
        let new = NewJob { kind: JOB_KIND.into(), key, digest, ..NewJob::default() };
        // What it did may be the very reason why it could not be begun again.
        if let Some(known) = self.jobs.submitted(&new).await? {
            return Ok(known);
        }
        let (subject, who) = (subject(&order), order.who.clone());
        // A document may be long.
        let write = move || {
            order.check(&snapshot)?;
            let input = serde_json::to_value(&order);
            input.map_err(|error| Fault::internal("could not write the input of a job").because(error))
        };
        let input = work::aside("check an order", write).await??;
        self.jobs.submit(NewJob { subject, who, input, ..new }).await
    }

    /// A job by its id.
    pub async fn job(&self, id: &str) -> Result<Job> {
        let view = self.view(id).await?;
        self.with_result(view).await
    }

    /// The jobs of a project, or of all.
    pub async fn jobs_of(&self, project: &str) -> Result<Vec<Job>> {
        let views = self.jobs.list(&Filter { kind: Some(JOB_KIND.into()), ..Filter::default() }).await?;
        let of = views.into_iter().filter(|view| project.is_empty() || parts(&view.subject).0 == project);
        Ok(of.map(|view| Job { view, result: None }).collect())
    }

    /// A job as it is, then with every change until it has ended.
    pub async fn watch(self: &Arc<Self>, id: &str) -> Result<impl Stream<Item = Result<Job>> + Send + use<>> {
        let id = self.view(id).await?.id;
        let planning = self.clone();
        Ok(self.jobs.watch(id).then(move |view| {
            let planning = planning.clone();
            async move { planning.with_result(view?).await }
        }))
    }

    async fn view(&self, id: &str) -> Result<JobView> {
        let id = id.parse::<JobId>()?;
        self.jobs.get(id).await?.ok_or_else(|| {
            Fault::new(Code::NotFound, format!("there is no job `{id}`")).hint("`tmctl jobs` lists those that are kept")
        })
    }

    async fn with_result(&self, view: JobView) -> Result<Job> {
        let result = match view.state {
            State::Done => self.jobs.result(view.id).await?,
            _ => None,
        };
        Ok(Job { view, result })
    }

    /// All tags of a project, or one, as a tasks.json.
    pub async fn export(&self, project: &str, tag: &str) -> Result<TasksFile> {
        let mut file = TasksFile::default();
        if !tag.is_empty() {
            file.put(file_tag(&self.projects.snapshot(project, tag).await?)?);
            return Ok(file);
        }
        for about in self.projects.tags(project).await? {
            file.put(file_tag(&self.projects.snapshot(project, &about.name).await?)?);
        }
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
        dry_run: bool,
    ) -> Result<Imported> {
        let mut imported = Imported::default();
        let known = self.projects.tags(project).await?;
        for tag in theirs.tags() {
            let name = tag.name();
            let is_known = known.iter().any(|about| about.name == name);
            let was_there = base.and_then(|base| base.tag(name)).is_some_and(|before| before.tasks() == tag.tasks());
            if !is_known && was_there {
                // Deleted or renamed here, and untouched there.
                imported.notes.push(format!("{name}: the tag is gone here, and goes there as well"));
                continue;
            }
            imported.has_changed |= !is_known;
            if !is_known && !dry_run {
                self.projects.make_tag(project, name, &tag.description(), tag.metadata().clone()).await?;
            }
            let before = base.and_then(|base| base.tag(name)).map(|tag| tag.tasks().clone()).unwrap_or_default();
            let (ours, revision) = match is_known || !dry_run {
                true => {
                    let snapshot = self.projects.snapshot(project, name).await?;
                    (snapshot.tasks, snapshot.about.revision)
                }
                false => (Tasks::default(), 0),
            };
            let Merged { tasks, conflicts, notes } = sync::merge(&before, &ours, tag.tasks());
            imported.conflicts.extend(conflicts.into_iter().map(|conflict| (name.to_owned(), conflict)));
            imported.notes.extend(notes.iter().map(|note| format!("{name}: {note}")));
            let (tasks, cleaned) = edit::with_plain_titles(tasks);
            imported.notes.extend(cleaned.iter().map(|note| format!("{name}: {note}")));
            // Stamped when it is taken over.
            let Applied { tasks, notes, .. } = edit::apply(&tasks, &Edit::Fix, &Stamp::default())?;
            imported.notes.extend(notes.iter().map(|note| format!("{name}: {note}")));
            if edit::changes(&ours, &tasks).is_empty() {
                continue;
            }
            imported.has_changed = true;
            if !dry_run {
                self.take(project, name, revision, &tasks, who).await?;
            }
        }
        imported.file = self.export(project, "").await?;
        Ok(imported)
    }

    /// Puts the merged tasks in place of those that they were merged with.
    async fn take(&self, project: &str, tag: &str, revision: u64, merged: &Tasks, who: &str) -> Result<()> {
        let tasks = merged.top().iter().map(|task| (**task).clone()).collect();
        let wanted = Wanted {
            edits: vec![Edit::Replace { tasks }],
            // Whoever changes something while the merge goes on is not overwritten.
            expected_revision: Some(revision),
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

    /// Works on jobs of this store until `stop`.
    pub async fn serve(self: Arc<Self>, models: Arc<dyn Models>, serving: Serving, stop: CancellationToken) {
        let planning = self.clone();
        let handler = move |context: Context, input: Input| {
            let (planning, models) = (planning.clone(), models.clone());
            async move { work::run(&planning.projects, &*models, &context, input.read::<Order>()?).await }
        };
        jobs::serve(self.jobs.clone(), serving, handler, stop).await;
    }

    /// What a node serves.
    pub fn serving(lease_ttl: std::time::Duration) -> Serving {
        Serving { kinds: &[JOB_KIND], slots: JOBS_AT_ONCE, lease_ttl }
    }
}

/// A tag as tasks.json has it.
fn file_tag(snapshot: &Snapshot) -> Result<tasks_file::Tag> {
    let about = &snapshot.about;
    let mut metadata = about.extra.clone();
    let texts = [
        ("created", base::time::rfc3339(about.created_ms)),
        ("updated", base::time::rfc3339(about.updated_ms)),
        ("description", about.description.clone()),
    ];
    for (name, text) in texts {
        let value = serde_json::value::to_raw_value(&text);
        let value = Raw(value.map_err(|error| Fault::internal("could not write a tag").because(error))?);
        match metadata.iter_mut().find(|(known, _)| known == name) {
            // When a tag came to be elsewhere is not ours to say.
            Some((known, old)) if known != "created" => *old = value,
            Some(_) => {}
            None => metadata.push((name.to_owned(), value)),
        }
    }
    Ok(tasks_file::Tag::new(&snapshot.tag, snapshot.tasks.clone(), metadata, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::{Do, Planner, Work};

    #[test]
    fn what_a_job_is_about_is_read_as_it_was_written() {
        let order = Order {
            project: "garden-1.0".into(),
            tag: "master".into(),
            who: "ann".into(),
            planner: Planner::Auto,
            work: Work::Do(Do::default()),
        };
        assert_eq!(parts(&subject(&order)), ("garden-1.0", "master", "do"));
        assert_eq!(parts("else"), ("else", "", ""));
    }
}
