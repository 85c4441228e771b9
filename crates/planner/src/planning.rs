//! Projects and the jobs that work on them: what the faces of a node call, and what a node runs.

mod import;

use std::sync::Arc;

use base::{Code, Fault, NodeId, Result};
use futures_util::{Stream, StreamExt};
use jobs::{Context, Filter, Input, JobId, JobView, Jobs, NewJob, Serving, State};
use serde::Serialize;
use serde_json::Value;
use store::SharedStore;
use tokio_util::sync::CancellationToken;

use crate::digest;
use crate::model::Models;
use crate::projects::Projects;
use crate::work::{self, JOB_KIND, Order};
pub use import::{FieldClash, Imported, Taking};

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
    /// The project, the tag and the name of the work that it is about, as they were when it was made. A job that is not
    /// about tasks has neither of the first two, and its kind as its work.
    pub fn about(&self) -> (&str, &str, &str) {
        if self.view.kind == JOB_KIND { parts(&self.view.subject) } else { ("", "", &self.view.kind) }
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

    /// The jobs of a project; with an empty name all jobs, whatever they are about.
    pub async fn jobs_of(&self, project: &str) -> Result<Vec<Job>> {
        let views = self.jobs.list(&Filter::default()).await?;
        let all = views.into_iter().map(|view| Job { view, result: None });
        Ok(all.filter(|job| project.is_empty() || job.about().0 == project).collect())
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

    /// Works on jobs of this store until `stop`.
    pub async fn serve(self: Arc<Self>, models: Arc<dyn Models>, serving: Serving, stop: CancellationToken) {
        let planning = self.clone();
        let handler = move |context: Context, input: Input| {
            let (planning, models) = (planning.clone(), models.clone());
            async move {
                let order = input.read::<Order>()?;
                let (work, job, mut told) = (order.work.name(), context.id().to_string(), Value::Null);
                let done = async {
                    told = work::run(&planning.projects, &*models, &context, order).await?;
                    Ok(())
                };
                models.during(work, job, Box::pin(done)).await?;
                Ok(told)
            }
        };
        jobs::serve(self.jobs.clone(), serving, handler, stop).await;
    }

    /// What a node serves.
    pub fn serving(lease_ttl: std::time::Duration) -> Serving {
        Serving { kinds: &[JOB_KIND], slots: JOBS_AT_ONCE, lease_ttl }
    }
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
