//! Work on tasks that needs a model or may use one: each a job in steps, whose results are edits of the tasks.
//!
//! A step's result is recorded and never asked for again, so a job goes on from its last finished step on another node.
//! What a step writes into the tasks carries the job's and the step's name as its key: written twice, it is there once.

mod add;
mod analyze;
mod code;
mod describe;
mod expand;
mod instruct;
mod parse;
mod rescope;
mod spent;
mod update;

use base::{Code, Fault, Kind, Result};
use jobs::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{self, Asking, Checked, Models, Question};
use crate::projects::{Done, Key, Outcome, Project, Projects, Snapshot, Wanted};
use crate::schema::Wrong;
use crate::{Edit, Priority, TaskId};
use spent::Counter;
pub use spent::Spent;

/// The kind of these jobs.
pub const JOB_KIND: &str = "tasks";

/// Who makes plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Planner {
    /// A model where one answers, else none.
    #[default]
    Auto,
    /// A model; without one it is an error.
    Model,
    /// No model.
    Structural,
}

/// What is to be done, where, and for whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Which project.
    pub project: String,
    /// Which tag, by name.
    pub tag: String,
    /// Who wants it.
    pub who: String,
    /// Who makes it.
    pub planner: Planner,
    /// What.
    pub work: Work,
}

/// What there is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "kebab-case")]
pub enum Work {
    /// A document becomes tasks.
    ParsePrd(ParsePrd),
    /// Tasks are split.
    Expand(Expand),
    /// Tasks get a complexity.
    Analyze(Analyze),
    /// A wish becomes a task.
    AddFromPrompt(AddFromPrompt),
    /// Tasks are adapted to something new.
    Update(Update),
    /// Tasks become larger or smaller.
    Rescope(Rescope),
    /// A wish becomes edits, which are shown and not made.
    Do(Do),
    /// Source code becomes tasks.
    TasksFromCode(TasksFromCode),
}

/// See [`Work::ParsePrd`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParsePrd {
    /// The document.
    pub prd: String,
    /// What it is called.
    pub file_name: String,
    /// How many tasks at the top; 0: as many as it needs.
    pub tasks: u32,
    /// Levels of tasks; 0: 2.
    pub max_depth: u32,
    /// Adds to what is there.
    pub append: bool,
    /// Replaces what is there.
    pub force: bool,
    /// Asks the research model first.
    pub research: bool,
}

/// See [`Work::Expand`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expand {
    /// Which; empty: all that are pending or in progress, have no subtasks, and are not rated easy.
    pub ids: Vec<TaskId>,
    /// Into how many; 0: as their complexity recommends.
    pub subtasks: u32,
    /// What to watch for.
    pub prompt: String,
    /// Replaces subtasks; else they are added to.
    pub force: bool,
    /// Asks the research model first.
    pub research: bool,
}

/// See [`Work::Analyze`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Analyze {
    /// Which; empty: all that are not finished.
    pub ids: Vec<TaskId>,
    /// The first top-level number; 0: from the beginning.
    pub from: u32,
    /// The last one; 0: to the end.
    pub to: u32,
    /// From which score on a task should be split; 0: 5.
    pub threshold: u32,
    /// Asks the research model first.
    pub research: bool,
}

/// See [`Work::AddFromPrompt`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddFromPrompt {
    /// The wish.
    pub prompt: String,
    /// What it needs, beside what the model finds.
    pub dependencies: Vec<TaskId>,
    /// How much it matters.
    pub priority: Option<Priority>,
    /// Asks the research model first.
    pub research: bool,
}

/// See [`Work::Update`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Update {
    /// Which.
    pub ids: Vec<TaskId>,
    /// All that are not finished from this top-level number on; 0: none.
    pub from: u32,
    /// What is new.
    pub prompt: String,
    /// Adds a note instead of rewriting.
    pub append: bool,
    /// Asks the research model first.
    pub research: bool,
}

/// See [`Work::Rescope`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rescope {
    /// Which.
    pub ids: Vec<TaskId>,
    /// Larger; else smaller.
    pub up: bool,
    /// By how much.
    pub strength: Strength,
    /// What to watch for.
    pub prompt: String,
    /// Asks the research model first.
    pub research: bool,
}

/// By how much a scope changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// A little.
    Light,
    /// Clearly.
    #[default]
    Regular,
    /// As far as the task stays the same one.
    Heavy,
}

/// See [`Work::Do`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Do {
    /// The wish.
    pub text: String,
}

/// See [`Work::TasksFromCode`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TasksFromCode {
    /// Its files.
    pub files: Vec<CodeFile>,
    /// What to watch for.
    pub prompt: String,
}

/// A file of source code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CodeFile {
    /// Where it lies, as its owner says.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl Work {
    /// Its name, for lists and texts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ParsePrd(_) => "parse-prd",
            Self::Expand(_) => "expand",
            Self::Analyze(_) => "analyze",
            Self::AddFromPrompt(_) => "add",
            Self::Update(_) => "update",
            Self::Rescope(_) => "rescope",
            Self::Do(_) => "do",
            Self::TasksFromCode(_) => "tasks-from-code",
        }
    }

    /// What goes without a model, in a hint.
    const fn without_model(&self) -> &'static str {
        match self {
            Self::Do(_) => instruct::PLAIN,
            Self::Rescope(_) => rescope::BY_HAND,
            _ => "use `--planner structural`, which needs none",
        }
    }

    const fn wants_research(&self) -> bool {
        match self {
            Self::ParsePrd(ParsePrd { research, .. })
            | Self::Expand(Expand { research, .. })
            | Self::Analyze(Analyze { research, .. })
            | Self::AddFromPrompt(AddFromPrompt { research, .. })
            | Self::Update(Update { research, .. })
            | Self::Rescope(Rescope { research, .. }) => *research,
            Self::Do(_) | Self::TasksFromCode(_) => false,
        }
    }
}

impl Order {
    /// Refuses what cannot be done before it becomes a job.
    pub fn check(&self, snapshot: &Snapshot) -> Result<()> {
        match &self.work {
            Work::ParsePrd(work) => parse::check(work, snapshot),
            Work::Expand(work) => all_there(snapshot, &work.ids),
            Work::Analyze(work) => all_there(snapshot, &work.ids),
            Work::AddFromPrompt(work) => not_blank("prompt", &work.prompt).and(all_there(snapshot, &work.dependencies)),
            Work::Update(work) => not_blank("prompt", &work.prompt).and(all_there(snapshot, &work.ids)),
            Work::Rescope(work) => named("ids", &work.ids).and(all_there(snapshot, &work.ids)),
            Work::Do(work) => not_blank("text", &work.text),
            Work::TasksFromCode(work) => named("files", &work.files),
        }
    }
}

/// Does the work of a job, from its last finished step on; gives what its owner is told.
pub async fn run(projects: &Projects, models: &dyn Models, context: &Context, order: Order) -> Result<Value> {
    let project = projects.project(&order.project).await?;
    let working = Working { projects, project, models, context, order: &order, counter: Counter::default() };
    let told = match &order.work {
        Work::ParsePrd(work) => parse::run(&working, work).await,
        Work::Expand(work) => expand::run(&working, work).await,
        Work::Analyze(work) => analyze::run(&working, work).await,
        Work::AddFromPrompt(work) => add::run(&working, work).await,
        Work::Update(work) => update::run(&working, work).await,
        Work::Rescope(work) => rescope::run(&working, work).await,
        Work::Do(work) => instruct::run(&working, work).await,
        Work::TasksFromCode(work) => code::run(&working, work).await,
    }?;
    Ok(working.counter.onto(told))
}

/// Does what may keep a processor for long beside the tasks that serve clients.
pub(crate) async fn aside<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Fault::internal(format!("could not {what}")).because(error))
}

/// What every kind of work has at hand.
struct Working<'a> {
    projects: &'a Projects,
    /// As it was when this try of the job began.
    project: Project,
    models: &'a dyn Models,
    context: &'a Context,
    order: &'a Order,
    counter: Counter,
}

impl Working<'_> {
    async fn snapshot(&self) -> Result<Snapshot> {
        self.projects.snapshot(&self.order.project, &self.order.tag).await
    }

    /// The language that answers should have; empty: that of the material.
    fn rules(&self) -> Result<String> {
        model::rules(&self.project.language)
    }

    /// Tells whoever watches how far it is.
    fn progress(&self, done: usize, total: usize, current: &str) {
        self.context.progress(done as u64, total as u64, current);
    }

    fn may_ask(&self) -> bool {
        self.order.planner != Planner::Structural
    }

    /// How many questions are asked at once.
    fn slots(&self) -> usize {
        self.models.slots().max(1)
    }

    /// One recorded step: a checked answer, or none. Where only a model will do, none is an error.
    async fn ask<T: Serialize + DeserializeOwned + Send>(
        &self,
        step: &str,
        asked: Asked<'_>,
        read: impl Fn(Value) -> Result<T, Wrong> + Send + Sync,
    ) -> Result<Checked<T>> {
        let question = Question {
            model: String::new(),
            kind: Kind::Planning,
            system: asked.rules.to_owned(),
            prompt: asked.prompt,
            name: asked.name,
            schema: asked.schema,
            most_tokens: asked.most_tokens,
        };
        let wants_research = self.order.work.wants_research();
        let asking = Asking { models: self.models, own: &self.project.models, wants_research };
        let needs_answer = self.order.planner == Planner::Model;
        let work = || async {
            let checked = asking.checked(question, read).await?;
            // Not recorded: a later try of the job asks again.
            if checked.answer.is_none() && needs_answer {
                Err(checked.no_model(self.order.work.without_model()))
            } else {
                Ok(checked)
            }
        };
        let checked = self.context.step(step, work).await?;
        self.counter.count(&checked);
        Ok(checked)
    }

    /// Writes edits into the tasks, once for each `step`.
    async fn change(&self, step: &str, what: String, edits: Vec<Edit>) -> Result<Done> {
        self.change_as(step, Wanted { edits, what, ..Wanted::default() }).await
    }

    async fn change_as(&self, step: &str, wanted: Wanted) -> Result<Done> {
        let key = format!("{}/{step}", self.context.id());
        let wanted = Wanted { who: self.order.who.clone(), key: Some(Key::Step(key)), ..wanted };
        match self.projects.change(&self.order.project, &self.order.tag, &wanted).await? {
            Outcome::Done(done) => Ok(done),
            Outcome::Conflict(conflict) => {
                let what = format!("task {} was changed by somebody else while this job worked on it", conflict.id);
                Err(Fault::new(Code::Conflict, what).hint("start it again; it goes by the task as it is then"))
            }
        }
    }
}

/// A question as one kind of work puts it.
struct Asked<'a> {
    rules: &'a str,
    prompt: String,
    name: &'static str,
    schema: Value,
    most_tokens: u32,
}

fn not_blank(field: &str, text: &str) -> Result<()> {
    match text.trim().is_empty() {
        true => Err(Fault::invalid(format!("`{field}` is empty")).hint("say in a sentence what is wanted")),
        false => Ok(()),
    }
}

fn named<T>(field: &str, list: &[T]) -> Result<()> {
    match list.is_empty() {
        true => Err(Fault::invalid(format!("`{field}` is empty")).hint("name at least one")),
        false => Ok(()),
    }
}

fn all_there(snapshot: &Snapshot, ids: &[TaskId]) -> Result<()> {
    match ids.iter().find(|id| snapshot.tasks.get(id).is_none()) {
        Some(id) => Err(no_task(snapshot, id)),
        None => Ok(()),
    }
}

/// What to say of an id that nobody has.
pub fn no_task(snapshot: &Snapshot, id: &TaskId) -> Fault {
    let (project, tag) = (&snapshot.project, &snapshot.tag);
    let last = snapshot.tasks.top().last().map_or(0, |task| task.number);
    let hint = match last {
        0 => "the tag has no tasks yet".to_owned(),
        last => format!("the last task is {last}; `tmctl tasks list --project {project} --tag {tag}` shows all"),
    };
    Fault::new(Code::NotFound, format!("there is no task {id} in tag `{tag}` of project `{project}`")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_work_stops_nobody_else_and_its_crash_is_an_error() {
        let (say, hear) = std::sync::mpsc::channel();
        // The runtime has one thread: were the work done there, nobody could say the word that it waits for.
        let limit = std::time::Duration::from_secs(30);
        let (heard, ()) = tokio::join!(aside("wait", move || hear.recv_timeout(limit)), async move {
            say.send(7).unwrap();
        });
        assert_eq!(heard.unwrap(), Ok(7));
        let fault = aside("go on", || -> () { panic!("as a test") }).await.unwrap_err();
        assert!(fault.code == Code::Internal && fault.message == "could not go on", "{fault:?}");
    }
}
