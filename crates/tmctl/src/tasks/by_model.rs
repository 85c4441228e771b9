//! Changes that want a model: each is a job, followed to its end; then what it did is shown.

use std::path::PathBuf;

use base::{Fault, Result};
use proto::planning::start_request::Work;
use proto::planning::{self as wire, Job, Place, StartRequest};
use serde::Serialize;
use serde_json::Value;

use super::by_hand::{Add, Update};
use crate::client::Servers;
use crate::file;
use crate::jobs::follow::{self, How};
use crate::place::{At, options};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::Table;
use crate::text::{page, visible};

/// Tasks to split.
#[derive(Debug, clap::Args)]
pub struct Expand {
    /// Which ones
    #[arg(required_unless_present = "all", value_delimiter = ',')]
    ids: Vec<String>,
    /// All on top that are pending or in progress, have no subtasks, and are not rated easy
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Into so many; as the complexity report recommends when left out
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    num: u32,
    /// What else matters
    #[arg(long, default_value = "", hide_default_value = true)]
    prompt: String,
    /// Replace the subtasks that are not finished; with --all, also split what has subtasks
    #[arg(long)]
    force: bool,
    /// Ask the research model first, with what the documents of the house say
    #[arg(long)]
    research: bool,
    #[command(flatten)]
    how: How,
}

/// Tasks whose complexity is wanted.
#[derive(Debug, clap::Args)]
pub struct Analyze {
    /// Which ones; all that are not finished when left out
    #[arg(value_delimiter = ',')]
    ids: Vec<String>,
    /// From this id on
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    from: u32,
    /// Up to this id
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    to: u32,
    /// Recommend to split from this score on
    #[arg(long, default_value_t = 5)]
    threshold: u32,
    /// Ask the research model first, with what the documents of the house say
    #[arg(long)]
    research: bool,
    #[command(flatten)]
    how: How,
}

/// Tasks to make larger or smaller.
#[derive(Debug, clap::Args)]
pub struct Scope {
    /// Which ones
    #[arg(required = true, value_delimiter = ',')]
    ids: Vec<String>,
    /// How much
    #[arg(long, value_parser = ["light", "regular", "heavy"], default_value = "regular")]
    strength: String,
    /// What matters
    #[arg(long, default_value = "", hide_default_value = true)]
    prompt: String,
    /// Ask the research model first, with what the documents of the house say
    #[arg(long)]
    research: bool,
    #[command(flatten)]
    how: How,
}

/// Source code to look at.
#[derive(Debug, clap::Args)]
pub struct FromCode {
    /// Text files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What to look for
    #[arg(long, default_value = "", hide_default_value = true)]
    prompt: String,
    #[command(flatten)]
    how: How,
}

/// A sentence that a model makes something of.
pub struct Prompted {
    /// What is wanted.
    pub work: Work,
    /// How it is begun.
    pub how: How,
}

/// Adds a task from a sentence.
pub async fn add(servers: &Servers, screen: &mut Screen, at: &mut At, add: Add) -> Result<Verdict, Ended> {
    work(servers, screen, at, add.into()).await
}

/// Rewrites tasks by a sentence.
pub async fn update(servers: &Servers, screen: &mut Screen, at: &mut At, update: Update) -> Result<Verdict, Ended> {
    work(servers, screen, at, update.into()).await
}

/// Splits tasks.
pub async fn expand(servers: &Servers, screen: &mut Screen, at: &mut At, expand: Expand) -> Result<Verdict, Ended> {
    let Expand { ids, num: subtasks, prompt, force, research, how, .. } = expand;
    let expand = wire::Expand { ids, subtasks, prompt, force, research };
    work(servers, screen, at, Prompted { work: Work::Expand(expand), how }).await
}

/// Finds out how hard tasks are.
pub async fn analyze(servers: &Servers, screen: &mut Screen, at: &mut At, analyze: Analyze) -> Result<Verdict, Ended> {
    let Analyze { ids, from, to, threshold, research, how } = analyze;
    let analyze = wire::Analyze { ids, from, to, threshold, research };
    let prompted = Prompted { work: Work::Analyze(analyze), how };
    work_shown(servers, screen, at, prompted, |job, result, style| {
        judged(result, style)
            .map_or_else(|| text(job, result), |table| table + &after(&job.place.clone().unwrap_or_default()))
    })
    .await
}

/// Makes tasks larger, or smaller.
pub async fn scope(
    servers: &Servers,
    screen: &mut Screen,
    at: &mut At,
    scope: Scope,
    up: bool,
) -> Result<Verdict, Ended> {
    let Scope { ids, strength, prompt, research, how } = scope;
    let rescope = wire::Rescope { ids, up, strength, prompt, research };
    work(servers, screen, at, Prompted { work: Work::Rescope(rescope), how }).await
}

/// Makes tasks out of source code.
pub async fn from_code(servers: &Servers, screen: &mut Screen, at: &mut At, code: FromCode) -> Result<Verdict, Ended> {
    let read = |path: &PathBuf| Ok(wire::CodeFile { path: path.display().to_string(), text: file::read_text(path)? });
    let files = code.files.iter().map(read).collect::<Result<_>>()?;
    let from_code = wire::TasksFromCode { files, prompt: code.prompt };
    work(servers, screen, at, Prompted { work: Work::TasksFromCode(from_code), how: code.how }).await
}

async fn work(servers: &Servers, screen: &mut Screen, at: &mut At, prompted: Prompted) -> Result<Verdict, Ended> {
    work_shown(servers, screen, at, prompted, |job, result, _| text(job, result)).await
}

/// Begins the work, follows it, and shows its result as `shown` writes it.
async fn work_shown(
    servers: &Servers,
    screen: &mut Screen,
    at: &mut At,
    prompted: Prompted,
    shown: impl FnOnce(&Job, &Value, Style) -> String,
) -> Result<Verdict, Ended> {
    let Prompted { work, how } = prompted;
    let request = StartRequest { place: at.place(), work: Some(work), ..StartRequest::default() };
    let Some(job) = follow::start(servers, screen, &how, request).await? else { return Ok(Verdict::Done) };
    let result = result(&job)?;
    let json = Done { job: &job.id, project: &at.place.project, result: &result };
    screen.show(|style| shown(&job, &result, style), &json)?;
    Ok(Verdict::Done)
}

/// How hard tasks were found, as `tmctl tasks complexity` shows it; `None` of a result that says something else.
fn judged(result: &Value, style: Style) -> Option<String> {
    let mut table = Table::new(["ID", "COMPLEXITY", "SUBTASKS", "SPLIT IT", "TITLE", "WHY"]);
    for task in result.get("tasks")?.as_array()? {
        let field = |name: &str| task.get(name).map(said);
        table.row([
            field("id")?.into(),
            format!("{} of 10", field("score")?).into(),
            field("recommended_subtasks")?.into(),
            field("should_be_split")?.into(),
            field("title")?.into(),
            field("reasoning")?.into(),
        ]);
    }
    let refused = result.get("refused").and_then(Value::as_array).map(|refused| listed("models", refused));
    Some(table.render(style, "no task is open, so none was judged") + &refused.unwrap_or_default())
}

#[derive(Serialize)]
struct Done<'a> {
    job: &'a str,
    project: &'a str,
    result: &'a Value,
}

/// What a job that is done has to say. A kind of work may have nothing to say.
pub fn result(job: &Job) -> Result<Value> {
    if job.result_json.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&job.result_json).map_err(|error| {
        Fault::internal(format!("could not read what the job `{}` gave", job.id))
            .because(error)
            .hint("the server is of another release; `tmctl doctor` tells both")
    })
}

/// Single values in a page, lists below it, in words that the server chose.
fn text(job: &Job, result: &Value) -> String {
    let Value::Object(fields) = result else {
        return visible(&format!("{} is done\n", job.kind));
    };
    let (lists, single): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| value.is_array());
    let single: Vec<_> = single.into_iter().map(|(name, value)| (spoken(name), said(value))).collect();
    let single: Vec<_> = single.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let lists = lists
        .into_iter()
        .map(|(name, values)| listed(&spoken(name), values.as_array().map(Vec::as_slice).unwrap_or_default()));
    let place = job.place.clone().unwrap_or_default();
    page(&single) + &lists.collect::<String>() + &after(&place)
}

fn after(place: &Place) -> String {
    visible(&format!("`tmctl tasks{}` shows the tasks\n", options(place)))
}

/// A name of a field, as people say it.
pub fn spoken(name: &str) -> String {
    name.replace(['_', '-'], " ")
}

/// A heading and a line for each value; nothing when there are none.
pub fn listed(heading: &str, values: &[Value]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let lines: String = values.iter().map(|value| format!("- {}\n", said(value).replace('\n', " "))).collect();
    visible(&format!("\n{heading}:\n{lines}"))
}

/// A value in one line: what it says first, where that stands and whatever else behind it.
pub fn said(value: &Value) -> String {
    let fields = match value {
        Value::Null => return String::new(),
        Value::String(text) => return text.clone(),
        Value::Bool(true) => return "yes".to_owned(),
        Value::Bool(false) => return "no".to_owned(),
        Value::Number(number) => return number.to_string(),
        Value::Array(values) => return values.iter().map(said).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields,
    };
    let is_line = |name: &str| matches!(name, "line" | "first_line" | "last_line" | "lines");
    let place = match (fields.get("first_line"), fields.get("last_line"), fields.get("line").or(fields.get("lines"))) {
        (Some(first), Some(last), _) if first != last => format!("lines {} to {}: ", said(first), said(last)),
        (Some(line), _, _) | (_, _, Some(line)) => format!("line {}: ", said(line)),
        _ => String::new(),
    };
    let rest = fields.iter().filter(|(name, value)| !is_line(name) && !said(value).is_empty());
    let rest = rest.map(|(name, value)| match name.as_str() {
        "text" | "what" | "title" | "id" => said(value),
        _ => format!("{} {}", spoken(name), said(value)),
    });
    place + &rest.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::samples;

    #[test]
    fn what_a_job_gives_is_told_in_words() {
        let job = samples::planning::jobs().pop().unwrap();
        let result = json!({
            "planner": "structural",
            "added": ["3", "4"],
            "scores": [{"id": "3", "score": 7, "why": "water\nand current"}],
            "odd": {"line": 3, "what": "a tab\u{1b}[2J"},
            "left": null,
            "is_whole": true,
        });
        insta::assert_snapshot!("tasks_work", text(&job, &result) + &text(&job, &Value::Null));
    }

    #[test]
    fn places_of_a_document_stand_in_front() {
        let both = json!({"id": "R3", "text": "water", "first_line": 2, "last_line": 4});
        assert_eq!(said(&both), "lines 2 to 4: R3, water");
        assert_eq!(said(&json!({"text": "water", "first_line": 2, "last_line": 2})), "line 2: water");
        assert_eq!(said(&json!({"text": "water", "lines": [2, 3]})), "line 2, 3: water");
        assert_eq!(
            said(&json!({"id": "1", "refused": [], "why": "", "left": null})),
            "1",
            "what says nothing is left out"
        );
    }

    #[test]
    fn what_was_judged_stands_in_a_table() {
        let task = json!({"id": "3", "title": "Pump", "score": 5, "reasoning": "Estimated from form only: 30 words.",
            "recommended_subtasks": 3, "expansion_prompt": "Split it.", "should_be_split": true, "made_by": "structural"});
        let result = json!({"analyzed": 1, "threshold": 5, "tasks": [task], "refused": ["no model"]});
        insta::assert_snapshot!("tasks_judged", judged(&result, Style::default()).unwrap());
        assert_eq!(judged(&json!({"tasks": [{"id": "3"}]}), Style::default()), None);
    }

    #[test]
    fn a_result_that_is_no_json_is_an_error() {
        let job = Job { id: "j".into(), result_json: "{".into(), ..Job::default() };
        assert!(result(&job).unwrap_err().hint.is_some());
        assert_eq!(result(&Job::default()).unwrap(), Value::Null);
    }
}
