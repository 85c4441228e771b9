//! Tasks of a tag: lists, pictures, changes, and the tasks.json that they come from and go to.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base::{Fault, Result};
use bytes::Bytes;
use planner::edit::{Dependencies, Edit};
use planner::planning::Taking;
use planner::projects::{Key, Outcome, Wanted};
use planner::query::{self, Filter};
use planner::render::{self, Kind};
use planner::tasks_file::TasksFile;
use planner::{TaskId, graph, wire};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answered, Query, Who, items, read};
use crate::http::pages::Shared;
use crate::tasks::{all_there, crossed, oddities};
use crate::tasks_json;

/// Which tag; without one the project's current one.
#[derive(Deserialize)]
pub(super) struct At {
    #[serde(default)]
    tag: String,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wish {
    tag: String,
    /// Commas between.
    status: String,
    priority: String,
    ids: String,
    ready: bool,
    blocking: bool,
    text: String,
    subtasks: bool,
    offset: usize,
    limit: usize,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            tag: String::new(),
            status: String::new(),
            priority: String::new(),
            ids: String::new(),
            ready: false,
            blocking: false,
            text: String::new(),
            subtasks: true,
            offset: 0,
            limit: 0,
        }
    }
}

/// The parts of a list with commas between them.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn ids(field: &str, text: &str) -> Result<Vec<TaskId>> {
    parts(text).map(|id| wire::id_from_wire(field, id)).collect()
}

fn filter(wish: &Wish) -> Result<Filter> {
    Ok(Filter {
        statuses: parts(&wish.status).map(wire::status_from_wire).collect::<Result<_>>()?,
        priorities: parts(&wish.priority).map(wire::priority_from_wire).collect::<Result<_>>()?,
        ready: wish.ready,
        blocking: wish.blocking,
        text: wish.text.clone(),
        ids: ids("ids", &wish.ids)?,
        with_subtasks: wish.subtasks,
        offset: wish.offset,
        limit: wish.limit,
    })
}

pub(super) async fn list(State(desk): Shared, Path(project): Path<String>, Query(wish): Query<Wish>) -> Answered {
    let filter = filter(&wish)?;
    let snapshot = desk.planning()?.projects.snapshot(&project, &wish.tag).await?;
    all_there(&snapshot, &filter.ids)?;
    let page = query::list(&snapshot.tasks, &filter);
    Ok(Json(json!({
        "items": page.tasks.iter().map(|(id, task)| tasks_json::task(id, task)).collect::<Vec<_>>(),
        "total": page.total,
        "tag": snapshot.tag,
        "revision": snapshot.about.revision,
        "byStatus": wire::by_status(&snapshot.about),
        "draftBecause": snapshot.about.draft_because,
    })))
}

pub(super) async fn show(
    State(desk): Shared,
    Path((project, wanted)): Path<(String, String)>,
    Query(at): Query<At>,
) -> Answered {
    let wanted = ids("ids", &wanted)?;
    let snapshot = desk.planning()?.projects.snapshot(&project, &at.tag).await?;
    all_there(&snapshot, &wanted)?;
    let mut all = tasks_json::tasks_at(&snapshot, &wanted);
    match all.len() {
        1 => Ok(Json(all.swap_remove(0))),
        _ => Ok(items(all)),
    }
}

pub(super) async fn next(State(desk): Shared, Path(project): Path<String>, Query(at): Query<At>) -> Answered {
    let snapshot = desk.planning()?.projects.snapshot(&project, &at.tag).await?;
    Ok(Json(tasks_json::next(&snapshot, &graph::next(&snapshot.tasks, 5))))
}

pub(super) async fn check(State(desk): Shared, Path(project): Path<String>, Query(at): Query<At>) -> Answered {
    Ok(Json(tasks_json::check(&desk.planning()?.projects.snapshot(&project, &at.tag).await?)))
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Since {
    tag: String,
    id: String,
    before: Option<u64>,
    limit: usize,
}

impl Default for Since {
    fn default() -> Self {
        Self { tag: String::new(), id: String::new(), before: None, limit: 50 }
    }
}

pub(super) async fn history(State(desk): Shared, Path(project): Path<String>, Query(since): Query<Since>) -> Answered {
    let id = (!since.id.is_empty()).then(|| wire::id_from_wire("id", &since.id)).transpose()?;
    let planning = desk.planning()?;
    let events = planning.projects.history(&project, &since.tag, id.as_ref(), since.before, since.limit).await?;
    Ok(items(events.iter().map(tasks_json::event).collect()))
}

pub(super) async fn render(
    State(desk): Shared,
    Path((project, kind)): Path<(String, String)>,
    Query(at): Query<At>,
) -> Answered<Response> {
    let (kind, content_type) = match kind.as_str() {
        "tree" => (Kind::Tree, "text/plain; charset=utf-8"),
        "svg" => (Kind::Svg, "image/svg+xml"),
        "report" => (Kind::Report, "text/markdown; charset=utf-8"),
        "readme" => (Kind::Readme, "text/markdown; charset=utf-8"),
        "complexity" => (Kind::Complexity, "application/json"),
        "files" => (Kind::Files, "application/json"),
        other => {
            let fault = Fault::invalid(format!("tasks cannot become `{}`", other.escape_debug()));
            return Err(fault.hint("use tree, svg, report, files, readme or complexity").into());
        }
    };
    let snapshot = desk.planning()?.projects.snapshot(&project, &at.tag).await?;
    let files = render::render(&snapshot, kind)?;
    if kind == Kind::Files {
        let all = files.into_iter().map(|(name, text)| json!({ "name": name, "text": text }));
        return Ok(items(all.collect()).into_response());
    }
    let text = files.into_iter().next().map(|(_, text)| text).unwrap_or_default();
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edits {
    #[serde(default)]
    tag: String,
    edits: Vec<Edit>,
    #[serde(default)]
    expected: Vec<(TaskId, u64)>,
    #[serde(default, alias = "dryRun")]
    dry_run: bool,
    #[serde(default)]
    why: String,
    once: Option<String>,
}

const EDITS: &str = r#"{"edits": [{"edit": "set-status", "ids": ["3"], "status": "done"}], "tag": "master", "expected": [["3", 7]], "dryRun": true, "why": "it works", "once": "a-name"}"#;

pub(super) async fn edit(
    State(desk): Shared,
    Path(project): Path<String>,
    Who(who): Who,
    body: Bytes,
) -> Answered<Response> {
    let Edits { tag, edits, expected, dry_run, why, once } = read(&body, EDITS)?;
    if edits.is_empty() {
        return Err(Fault::invalid("field `edits` is empty")
            .hint(format!("send what should be changed, such as {EDITS}"))
            .into());
    }
    let key = once.map(Key::Client);
    let wanted = Wanted { edits, expected, dry_run, why, who, key, ..Wanted::default() };
    Ok(outcome(&desk.planning()?.projects.change(&project, &tag, &wanted).await?))
}

/// A conflict is a refusal that shows both versions.
fn outcome(outcome: &Outcome) -> Response {
    match outcome {
        Outcome::Done(done) => Json(tasks_json::done(done)).into_response(),
        Outcome::Conflict(conflict) => {
            let fault = crossed(conflict).hint("read it again, and send the edit with its version as it is now");
            let body = json!({ "error": tasks_json::fault(&fault), "conflict": tasks_json::conflict(conflict) });
            (StatusCode::CONFLICT, Json(body)).into_response()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Moving {
    #[serde(default)]
    tag: String,
    to_tag: String,
    ids: Vec<TaskId>,
    #[serde(default)]
    dependencies: String,
}

pub(super) async fn move_to_tag(
    State(desk): Shared,
    Path(project): Path<String>,
    Who(who): Who,
    body: Bytes,
) -> Answered {
    let like = r#"{"ids": ["3"], "toTag": "later", "tag": "master", "dependencies": "move"}"#;
    let Moving { tag, to_tag, ids, dependencies } = read(&body, like)?;
    let how = match dependencies.as_str() {
        "" | "refuse" => Dependencies::Refuse,
        "move" => Dependencies::Move,
        "cut" => Dependencies::Cut,
        other => {
            let fault = Fault::invalid(format!("field `dependencies` is `{}`", other.escape_debug()));
            return Err(fault.hint("use refuse, move or cut").into());
        }
    };
    let (ids, notes) = desk.planning()?.projects.move_to_tag(&project, &tag, &to_tag, &ids, how, &who).await?;
    Ok(Json(json!({ "ids": ids, "tag": to_tag, "notes": notes })))
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Undo {
    tag: String,
    revision: Option<u64>,
    #[serde(alias = "dryRun")]
    dry_run: bool,
}

pub(super) async fn undo(
    State(desk): Shared,
    Path(project): Path<String>,
    Who(who): Who,
    body: Bytes,
) -> Answered<Response> {
    let Undo { tag, revision, dry_run } = read(&body, r#"{"revision": 7, "tag": "master", "dryRun": true}"#)?;
    Ok(outcome(&desk.planning()?.projects.undo(&project, &tag, revision, &who, dry_run).await?))
}

pub(super) async fn export(
    State(desk): Shared,
    Path(project): Path<String>,
    Query(at): Query<At>,
) -> Answered<Response> {
    let text = tasks_json::file(&desk.planning()?.export(&project, &at.tag).await?)?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// The file as it is, or both it and what it was when both sides were alike.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Import<'a> {
    #[serde(borrow)]
    tasks_json: &'a RawValue,
    #[serde(borrow, default)]
    base: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(super) struct How {
    #[serde(alias = "dryRun")]
    dry_run: bool,
}

pub(super) async fn import(
    State(desk): Shared,
    Path(project): Path<String>,
    Query(how): Query<How>,
    Who(who): Who,
    body: Bytes,
) -> Answered {
    let (theirs, base) = match serde_json::from_slice::<Import<'_>>(&body) {
        Ok(both) => (both.tasks_json.get().as_bytes(), both.base.map(|base| base.get().as_bytes())),
        Err(_) => (&*body, None),
    };
    let theirs = TasksFile::read(theirs).map_err(Fault::from)?;
    let base = base.map(TasksFile::read).transpose().map_err(Fault::from)?;
    let base = base.as_ref().map(|base| &base.file);
    let taking = if how.dry_run { Taking::Nothing } else { Taking::Everything };
    let imported = desk.planning()?.import(&project, &theirs.file, base, &who, taking).await?;
    Ok(Json::<Value>(tasks_json::imported(&imported, &oddities(&theirs))?))
}
