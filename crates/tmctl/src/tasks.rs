//! `tmctl tasks`: the tasks of a project: looked at, changed by hand or by a model, moved, drawn, brought to files and back.
//!
//! What is changed by hand is one call, answered at once. What wants a model is a job, followed to its end.

pub mod by_hand;
pub mod by_model;
pub mod draw;
pub mod exchange;
pub mod history;
pub mod item;
pub mod list;
pub mod sync;
pub mod tags;

use std::path::PathBuf;

use clap::Subcommand;

use crate::client::Servers;
use crate::place::{At, Missing, Named};
use crate::screen::{Ended, Screen, Verdict};

/// The place, the reason and the verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Why, for the history
    #[arg(long, global = true, value_name = "TEXT")]
    why: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What can be done with tasks.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them
    List(list::Which),
    /// Shows single ones with all that is known of them
    Show {
        /// Their ids, such as 3 or 3.1
        #[arg(required = true, value_delimiter = ',')]
        ids: Vec<String>,
    },
    /// Shows what to do next, and why
    Next,
    /// Adds one: from a sentence, or by hand
    Add(by_hand::Add),
    /// Changes them: by a sentence, or fields by hand
    Update(by_hand::Update),
    /// Adds a note to one
    Note {
        /// Its id
        id: String,
        /// What it says
        text: String,
    },
    /// Adds a note that says what was found out
    ResearchNote {
        /// Its id
        id: String,
        /// What it says
        text: String,
    },
    /// Splits tasks into subtasks
    Expand(by_model::Expand),
    /// Finds out how hard tasks are
    Analyze(by_model::Analyze),
    /// Shows how hard tasks are, and why
    Complexity,
    /// Makes tasks larger
    ScopeUp(by_model::Scope),
    /// Makes tasks smaller
    ScopeDown(by_model::Scope),
    /// Makes tasks out of what source code still wants
    FromCode(by_model::FromCode),
    /// Writes a report on progress, in Markdown
    Report {
        /// Into this file instead of stdout
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Says where tasks stand
    Status {
        /// Their ids, with commas between
        #[arg(required = true, value_delimiter = ',', num_args = 1)]
        ids: Vec<String>,
        /// pending, in-progress, review, done, deferred, cancelled or blocked
        status: String,
    },
    /// Gives tasks other ids, or moves them to another tag
    Move(by_hand::Move),
    /// Removes tasks with everything below them
    Remove {
        /// Their ids
        #[arg(required = true, value_delimiter = ',')]
        ids: Vec<String>,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Adds subtasks, or makes tasks into subtasks and back
    Subtask {
        #[command(subcommand)]
        verb: by_hand::Subtask,
    },
    /// Removes the subtasks of tasks
    Clear {
        /// Of which ones
        #[arg(required_unless_present = "all", value_delimiter = ',')]
        ids: Vec<String>,
        /// Of all
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// What waits for what; without a verb, as a tree
    Deps {
        #[command(subcommand)]
        verb: Option<by_hand::Deps>,
    },
    /// Shows what is wrong with dependencies; exit code 1 when anything is
    Validate,
    /// Mends what is wrong with dependencies
    Fix,
    /// Lists of tasks beside each other
    Tags {
        #[command(subcommand)]
        verb: Option<tags::Verb>,
    },
    /// Draws what waits for what, as a tree
    Graph {
        /// As a picture into this file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
    /// Writes a Markdown file for each task
    Generate {
        /// Into this folder
        #[arg(long, default_value = ".taskmaster/tasks", value_name = "DIR")]
        out: PathBuf,
    },
    /// Brings the list of tasks in a README up to date
    Readme {
        /// The README; made when it is not there
        #[arg(default_value = "README.md")]
        file: PathBuf,
    },
    /// Shows who or what changed tasks, and why
    History(history::Which),
    /// Takes a change back, if nothing that it touched was changed since; done again, that is taken back itself
    Undo {
        /// Which one, as `history` tells it; the last one when left out
        revision: Option<u64>,
        /// Only say what would become different
        #[arg(long)]
        dry_run: bool,
    },
    /// Writes the project as a tasks.json: all its tags, or the one that --tag names
    Export {
        /// Into this file instead of stdout
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Takes a tasks.json in; nothing is overwritten
    Import(exchange::Import),
    /// Brings a folder's tasks.json and the project together
    Sync(sync::Args),
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    let Args { named, why, verb } = args;
    let verb = verb.unwrap_or_else(|| Verb::List(list::Which::default()));
    // These find out for themselves which project is meant, or may make it.
    let verb = match verb {
        Verb::Import(import) => return exchange::import(servers, screen, &named, import).await,
        Verb::Sync(args) => return sync::run(servers, screen, named, args).await,
        verb => verb,
    };
    let mut at = At::open(servers, screen, &named, Missing::Refuse).await?;
    match verb {
        Verb::List(which) => list::list(&mut at, screen, which).await,
        Verb::Show { ids } => list::show(&mut at, screen, ids).await,
        Verb::Next => list::next(&mut at, screen).await,
        Verb::Validate => list::validate(&mut at, screen).await,
        Verb::Complexity => draw::complexity(&mut at, screen).await,
        Verb::Add(add) if add.is_by_model() => by_model::add(servers, screen, &mut at, add).await,
        Verb::Update(update) if update.is_by_model() => by_model::update(servers, screen, &mut at, update).await,
        Verb::Expand(expand) => by_model::expand(servers, screen, &mut at, expand).await,
        Verb::Analyze(analyze) => by_model::analyze(servers, screen, &mut at, analyze).await,
        Verb::ScopeUp(scope) => by_model::scope(servers, screen, &mut at, scope, true).await,
        Verb::ScopeDown(scope) => by_model::scope(servers, screen, &mut at, scope, false).await,
        Verb::FromCode(code) => by_model::from_code(servers, screen, &mut at, code).await,
        Verb::Report { file } => draw::report(&mut at, screen, file).await,
        Verb::Graph { svg } => draw::graph(&mut at, screen, svg).await,
        Verb::Deps { verb: None } => draw::graph(&mut at, screen, None).await,
        Verb::Generate { out } => draw::generate(&mut at, screen, &out).await,
        Verb::Readme { file } => draw::readme(&mut at, screen, &file).await,
        Verb::History(which) => history::history(&mut at, screen, which).await,
        Verb::Undo { revision, dry_run } => history::undo(&mut at, screen, revision.unwrap_or(0), dry_run).await,
        Verb::Export { file } => exchange::export(&mut at, screen, file).await,
        Verb::Tags { verb } => tags::run(&mut at, screen, verb).await,
        Verb::Move(moved) if moved.is_to_tag() => by_hand::move_to_tag(&mut at, screen, moved).await,
        verb => by_hand::change(&mut at, screen, verb, why).await,
    }
}

#[cfg(test)]
mod tests;
