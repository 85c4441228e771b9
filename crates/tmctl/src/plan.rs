//! `tmctl plan`: a PRD becomes tasks. The plan is a job; at its end its figures are shown, and what it does not cover.

use std::path::PathBuf;

use base::Result;
use clap::Subcommand;
use proto::planning::start_request::Work;
use proto::planning::{Filter, Job, ListTasksResponse, ParsePrd, Rendering, StartRequest};
use serde_json::{Map, Value};

use crate::client::Servers;
use crate::file;
use crate::jobs::follow::{self, How};
use crate::place::{At, Missing, Named};
use crate::screen::{Ended, Screen, Verdict};
use crate::table::fitting_lines;
use crate::tasks::by_model::{listed, result, said, spoken};
use crate::tasks::{draw, item, list};
use crate::text::{counted, page, visible};

/// What can be done with plans.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes tasks out of a PRD
    Parse(Parse),
    /// Adds the tasks of a PRD to those that are there
    Append(Parse),
}

/// A PRD and what is wanted of it.
#[derive(Debug, clap::Args)]
pub struct Parse {
    /// Text or Markdown; - is stdin
    file: PathBuf,
    #[command(flatten)]
    named: Named,
    /// About so many tasks; as many as the PRD needs when left out
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    tasks: u32,
    /// So many levels of subtasks at most
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    depth: u32,
    /// Add to the tasks that are there
    #[arg(long)]
    append: bool,
    /// Replace the tasks that are there
    #[arg(long, conflicts_with = "append")]
    force: bool,
    /// Ask the research model first, with what the documents of the house say
    #[arg(long)]
    research: bool,
    #[command(flatten)]
    how: How,
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Verb) -> Result<Verdict, Ended> {
    let parse_args = match verb {
        Verb::Parse(parse) => parse,
        Verb::Append(parse) => Parse { append: true, ..parse },
    };
    let Parse { file, named, tasks, depth: max_depth, append, force, research, how } = parse_args;
    let prd = file::read(&file)?;
    // The server refuses it in the same words, but a new project would be there by then.
    planner::prd::text(&prd).map_err(base::Fault::from)?;
    let file_name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut at = At::open(servers, screen, &named, Missing::Make).await?;
    // A document gets a list of its own by naming one, as the refusal of a second plan says.
    at.make_tag(screen).await?;
    let work = ParsePrd { prd: prd.into(), file_name, tasks, max_depth, append, force, research };
    parse(servers, screen, &mut at, work, &how).await
}

/// Plans, and shows the plan.
pub async fn parse(
    servers: &Servers,
    screen: &mut Screen,
    at: &mut At,
    work: ParsePrd,
    how: &How,
) -> Result<Verdict, Ended> {
    let request = StartRequest { place: at.place(), work: Some(Work::ParsePrd(work)), ..StartRequest::default() };
    let Some(job) = follow::start(servers, screen, how, request).await? else { return Ok(Verdict::Done) };
    let result = result(&job)?;
    // The plan may have taken long: whoever began it may be gone, and another server tells of it as well.
    let connection = servers.connect().await?;
    (at.planning, at.server) = (connection.planning(), connection.server);
    if let Some(place) = &job.place {
        at.place = place.clone();
    }
    let tasks = list::all(at, Filter::default()).await?;
    if screen.style.json {
        screen.json(&json(&job, result, &tasks))?;
    } else {
        let tree = draw::one(at, Rendering::Tree).await?.text;
        let tree = fitting_lines(&visible(&tree), screen.style);
        screen.data(&(text(&job, &result, &tasks) + "\n" + &tree))?;
    }
    if !tasks.draft_because.is_empty() {
        screen.note("the plan is only a draft; change the PRD or the tasks, or plan again with another --planner\n");
    }
    Ok(Verdict::Done)
}

/// What the job gave, with the place and the tasks. What every plan has is always there.
fn json(job: &Job, result: Value, tasks: &ListTasksResponse) -> Value {
    let place = job.place.clone().unwrap_or_default();
    let mut all = Map::new();
    all.insert("project".into(), place.project.into());
    all.insert("tag".into(), tasks.tag.clone().into());
    all.insert("job".into(), job.id.clone().into());
    for name in ["planner", "gates", "uncovered"] {
        all.insert(name.into(), Value::Null);
    }
    if let Value::Object(fields) = result {
        all.extend(fields);
    }
    all.insert("draft_because".into(), tasks.draft_because.clone().into());
    // Serialising what has no maps with odd keys and no odd numbers cannot fail; `null` would show if it did.
    all.insert("tasks".into(), serde_json::to_value(item::items(&tasks.tasks)).unwrap_or(Value::Null));
    Value::Object(all)
}

/// Everything but the tree of tasks.
fn text(job: &Job, result: &Value, tasks: &ListTasksResponse) -> String {
    let none = Map::new();
    let fields = result.as_object().unwrap_or(&none);
    let list = |name: &str| fields.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let planner = fields.get("planner").map(said).unwrap_or_default();
    let project = job.place.as_ref().map(|place| place.project.as_str()).unwrap_or_default();
    let count = counted(item::flat(&tasks.tasks).len(), "task");
    let spent = fields.get("spent").map(said).unwrap_or_default();
    let plan = format!("{count} in {project}/{}", tasks.tag);
    let head = page(&[("plan", plan), ("planner", planner), ("spent", spent), ("job", job.id.clone())]);
    let gates: Vec<(String, String)> = match fields.get("gates") {
        Some(Value::Object(gates)) => gates.iter().map(|(name, value)| (spoken(name), said(value))).collect(),
        Some(other) => vec![("all".to_owned(), said(other))],
        None => Vec::new(),
    };
    let gates: Vec<(&str, String)> = gates.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let gates = if gates.is_empty() { String::new() } else { format!("\ngates:\n{}", page(&gates)) };
    let drafts: Vec<Value> = tasks.draft_because.iter().map(|why| Value::String(why.clone())).collect();
    head + &gates
        + &listed("only a draft, because", &drafts)
        + &listed("not covered by any task", list("uncovered"))
        + &listed("odd in the document", list("oddities"))
        + &listed("notes", list("notes"))
}

#[cfg(test)]
mod tests;
