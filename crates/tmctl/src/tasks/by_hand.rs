//! Changes that need no model: what was typed becomes edits of one request.

use base::{Fault, Result};
use clap::{ArgGroup, Subcommand};
use proto::planning::change::Edit;
use proto::planning::move_to_tag_request::Dependencies;
use proto::planning::{self as wire, Expected, MoveToTagRequest, NewTask};
use serde::Serialize;

use super::{Verb, by_model};
use crate::changes::{self, Wanted};
use crate::client::{CALL_LIMIT, call};
use crate::jobs::follow::How;
use crate::place::At;
use crate::screen::{Ended, Screen, Verdict};
use crate::text::visible;

/// Fields of a task that can be typed.
#[derive(Debug, Default, clap::Args)]
pub struct Fields {
    /// What it is called
    #[arg(long)]
    pub title: Option<String>,
    /// What it is, in a sentence or two
    #[arg(long)]
    pub description: Option<String>,
    /// How it is done
    #[arg(long)]
    pub details: Option<String>,
    /// How one sees that it is done
    #[arg(long)]
    pub test_strategy: Option<String>,
    /// low, medium, high or critical
    #[arg(long)]
    pub priority: Option<String>,
}

impl Fields {
    fn new_task(self, depends_on: Vec<String>) -> NewTask {
        NewTask {
            title: self.title.unwrap_or_default(),
            description: self.description.unwrap_or_default(),
            details: self.details.unwrap_or_default(),
            test_strategy: self.test_strategy.unwrap_or_default(),
            priority: self.priority.unwrap_or_default(),
            dependencies: depends_on,
            ..NewTask::default()
        }
    }
}

/// A task to add.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("way").required(true).args(["prompt", "title"])))]
pub struct Add {
    /// What is wanted; a model writes the task
    #[arg(long)]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub fields: Fields,
    /// What comes before it; several with commas between
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    pub depends_on: Vec<String>,
    /// The task that it becomes a subtask of
    #[arg(long, value_name = "ID", conflicts_with = "prompt")]
    pub parent: Option<String>,
    /// Ask the research model first, with what the documents of the house say
    #[arg(long, requires = "prompt")]
    pub research: bool,
    #[command(flatten)]
    pub how: How,
}

impl Add {
    /// Whether a model is to write it.
    pub const fn is_by_model(&self) -> bool {
        self.prompt.is_some()
    }
}

/// A change of tasks.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// Their ids; fields by hand are for one
    #[arg(value_delimiter = ',', required_unless_present = "from")]
    pub ids: Vec<String>,
    /// What is different now; a model rewrites them
    #[arg(long, conflicts_with_all = ["title", "description", "details", "test_strategy", "priority", "metadata"])]
    pub prompt: Option<String>,
    /// All unfinished ones from this id on
    #[arg(long, value_name = "ID", requires = "prompt", conflicts_with = "ids")]
    pub from: Option<u32>,
    /// Only add a note that says it
    #[arg(long, requires = "prompt")]
    pub append: bool,
    /// Ask the research model first, with what the documents of the house say
    #[arg(long, requires = "prompt")]
    pub research: bool,
    #[command(flatten)]
    pub fields: Fields,
    /// Your own data, as JSON; null takes it away
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<String>,
    /// Only if it still has this version, as `tasks show` tells it
    #[arg(long, value_name = "VERSION", conflicts_with = "prompt")]
    pub expect: Option<u64>,
    #[command(flatten)]
    pub how: How,
}

impl Update {
    /// Whether a model is to rewrite them.
    pub const fn is_by_model(&self) -> bool {
        self.prompt.is_some()
    }

    fn wanted(self, why: Option<String>) -> Result<Wanted> {
        let Self { ids, fields: Fields { title, description, details, test_strategy, priority }, .. } = self;
        let [id] = ids.as_slice() else {
            return Err(Fault::invalid("fields by hand are for one task").hint("name one id, or say it with --prompt"));
        };
        let (id, metadata_json) = (id.clone(), self.metadata);
        let set = wire::SetFields { id, title, description, details, test_strategy, priority, metadata_json };
        let named = wire::SetFields { id: set.id.clone(), ..wire::SetFields::default() };
        if set == named {
            let hint = "say it with --prompt, or name a field such as --priority high";
            return Err(Fault::invalid("nothing was named that should become different").hint(hint));
        }
        let expected = self.expect.map(|version| Expected { id: set.id.clone(), version });
        Ok(Wanted { expected: expected.into_iter().collect(), ..Wanted::one(Edit::SetFields(set), why) })
    }
}

/// Tasks and where they go.
#[derive(Debug, clap::Args)]
pub struct Move {
    /// Their ids, with commas between
    from: String,
    /// Their new ids, in the same order
    #[arg(required_unless_present = "to_tag")]
    to: Option<String>,
    /// The tag that they go to
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    to_tag: Option<String>,
    /// Take along what they wait for
    #[arg(long, requires = "to_tag", conflicts_with = "ignore_dependencies")]
    with_dependencies: bool,
    /// Cut what leads from them and to them
    #[arg(long, requires = "to_tag")]
    ignore_dependencies: bool,
}

impl Move {
    /// Whether they leave the tag.
    pub const fn is_to_tag(&self) -> bool {
        self.to_tag.is_some()
    }
}

/// What can be done with subtasks.
#[derive(Debug, Subcommand)]
pub enum Subtask {
    /// Adds one
    Add {
        /// Below which task
        parent: String,
        /// What comes before it; several with commas between
        #[arg(long, value_delimiter = ',', value_name = "IDS")]
        depends_on: Vec<String>,
        #[command(flatten)]
        fields: Fields,
    },
    /// Makes a task into a subtask
    Convert {
        /// Its id
        id: String,
        /// Of which task
        parent: String,
    },
    /// Removes one
    Remove {
        /// Its id
        id: String,
        /// Make it a task of its own instead
        #[arg(long)]
        convert: bool,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// What can be done with dependencies.
#[derive(Debug, Subcommand)]
pub enum Deps {
    /// Lets a task wait for another one
    Add {
        /// The one that waits
        id: String,
        /// The one that comes before
        on: String,
    },
    /// Lets a task not wait for another one any more
    Remove {
        /// The one that waits
        id: String,
        /// The one that comes before
        on: String,
    },
}

/// Makes the change that a verb means.
pub async fn change(at: &mut At, screen: &mut Screen, verb: Verb, why: Option<String>) -> Result<Verdict, Ended> {
    let (wanted, confirmed) = wanted(verb, why)?;
    match confirmed {
        None => changes::make(at, screen, &wanted).await,
        Some(yes) => changes::make_confirmed(at, screen, &wanted, yes).await,
    }
}

/// The edit that a verb means; for one that takes something away, whether that was confirmed.
fn wanted(verb: Verb, why: Option<String>) -> Result<(Wanted, Option<bool>)> {
    let unconfirmed = |edit| (edit, None);
    let (edit, confirmed) = match verb {
        Verb::Add(Add { fields, depends_on, parent, .. }) => unconfirmed(add(parent, fields, depends_on)),
        Verb::Update(update) => return Ok((update.wanted(why)?, None)),
        Verb::Note { id, text } => unconfirmed(Edit::Note(wire::Note { id, text })),
        Verb::ResearchNote { id, text } => {
            let note = Wanted::one(Edit::Note(wire::Note { id, text }), why);
            return Ok((Wanted { who: "research".to_owned(), ..note }, None));
        }
        Verb::Status { ids, status } => unconfirmed(Edit::SetStatus(wire::SetStatus { ids, status })),
        Verb::Move(Move { from, to, .. }) => {
            unconfirmed(Edit::Move(wire::Move { from: ids(&from), to: to.as_deref().map(ids).unwrap_or_default() }))
        }
        Verb::Remove { ids, yes } => (Edit::Remove(wire::Remove { ids }), Some(yes)),
        Verb::Clear { ids, yes, .. } => (Edit::ClearSubtasks(wire::ClearSubtasks { ids }), Some(yes)),
        Verb::Subtask { verb } => subtask(verb),
        Verb::Deps { verb: Some(Deps::Add { id, on }) } => {
            unconfirmed(Edit::AddDependency(wire::Dependency { id, on }))
        }
        Verb::Deps { verb: Some(Deps::Remove { id, on }) } => {
            unconfirmed(Edit::RemoveDependency(wire::Dependency { id, on }))
        }
        Verb::Fix => unconfirmed(Edit::Fix(wire::Fix {})),
        _ => return Err(Fault::internal("this verb changes nothing").hint("tell the makers of tmctl")),
    };
    Ok((Wanted::one(edit, why), confirmed))
}

fn ids(text: &str) -> Vec<String> {
    text.split(',').map(|id| id.trim().to_owned()).collect()
}

fn add(parent: Option<String>, fields: Fields, depends_on: Vec<String>) -> Edit {
    Edit::Add(wire::Add { parent: parent.unwrap_or_default(), tasks: vec![fields.new_task(depends_on)] })
}

fn subtask(verb: Subtask) -> (Edit, Option<bool>) {
    match verb {
        Subtask::Add { parent, fields, depends_on } => (add(Some(parent), fields, depends_on), None),
        Subtask::Convert { id, parent } => (Edit::Demote(wire::Demote { id, parent }), None),
        Subtask::Remove { id, convert: true, .. } => (Edit::Promote(wire::Promote { id }), None),
        Subtask::Remove { id, yes, .. } => (Edit::Remove(wire::Remove { ids: vec![id] }), Some(yes)),
    }
}

/// Moves tasks to another tag.
pub async fn move_to_tag(at: &mut At, screen: &mut Screen, moved: Move) -> Result<Verdict, Ended> {
    let dependencies = match (moved.with_dependencies, moved.ignore_dependencies) {
        (true, _) => Dependencies::Move,
        (_, true) => Dependencies::Cut,
        _ => Dependencies::Unspecified,
    };
    let to_tag = moved.to_tag.unwrap_or_default();
    let request = MoveToTagRequest {
        place: at.place(),
        to_tag: to_tag.clone(),
        ids: ids(&moved.from),
        dependencies: dependencies.into(),
    };
    let response = call(CALL_LIMIT, at.planning.move_to_tag(request)).await?;
    let notes: String = response.notes.iter().map(|note| format!("note: {note}\n")).collect();
    let text = format!("{notes}moved to {to_tag}, where they are {}\n", response.ids.join(", "));
    screen.show(|_| visible(&text), &MovedItem { tag: &to_tag, ids: &response.ids, notes: &response.notes })?;
    Ok(Verdict::Done)
}

#[derive(Serialize)]
struct MovedItem<'a> {
    tag: &'a str,
    ids: &'a [String],
    notes: &'a [String],
}

impl From<Add> for by_model::Prompted {
    fn from(add: Add) -> Self {
        let prompt = add.prompt.unwrap_or_default();
        let (priority, dependencies) = (add.fields.priority.unwrap_or_default(), add.depends_on);
        let work = wire::AddFromPrompt { prompt, dependencies, priority, research: add.research };
        Self { work: wire::start_request::Work::AddFromPrompt(work), how: add.how }
    }
}

impl From<Update> for by_model::Prompted {
    fn from(update: Update) -> Self {
        let work = wire::Update {
            ids: update.ids,
            from: update.from.unwrap_or(0),
            prompt: update.prompt.unwrap_or_default(),
            append: update.append,
            research: update.research,
        };
        Self { work: wire::start_request::Work::Update(work), how: update.how }
    }
}
