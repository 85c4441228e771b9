//! Tools that only look.

use base::{Fault, Result};
use planner::projects::Snapshot;
use planner::query::{self, Filter};
use planner::render::{self, Kind};
use planner::{Status, TaskId, graph, wire};
use serde_json::{Map, Value, json};

use super::call::{Call, Said};
use crate::tasks::all_there;
use crate::tasks_json;

/// Tasks on a page where nobody says how many: what an agent reads at once.
const PAGE: usize = 50;
/// What a list shows of a task where nobody says what; `get_task` shows everything.
const FIELDS: [&str; 8] = ["id", "title", "description", "status", "priority", "dependencies", "complexity", "version"];

pub(super) async fn get_tasks(call: &Call<'_>) -> Said {
    let snapshot = call.snapshot().await?;
    let fields = call.texts("fields");
    let statuses = call.texts("status").into_iter().filter(|status| status != "all");
    let filter = Filter {
        statuses: statuses.map(|status| wire::status_from_wire(&status)).collect::<Result<_>>()?,
        text: call.text("text"),
        with_subtasks: call.flag("withSubtasks"),
        offset: call.number("offset").map_or(0, |offset| usize::try_from(offset).unwrap_or(usize::MAX)),
        limit: call.number("limit").map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE).max(1)),
        ..Filter::default()
    };
    let page = query::list(&snapshot.tasks, &filter);
    let shown: Vec<Value> = page.tasks.iter().map(|(id, task)| cut(tasks_json::task(id, task), &fields)).collect();
    let end = filter.offset + shown.len();
    Ok(json!({
        "tasks": shown,
        "filter": if filter.statuses.is_empty() { "all".to_owned() } else { call.text("status") },
        "stats": stats(&snapshot),
        "total": page.total,
        "offset": filter.offset,
        "limit": filter.limit,
        "nextOffset": (end < page.total).then_some(end),
        "draftBecause": snapshot.about.draft_because,
    }))
}

/// The wanted fields of a task and of those below it; subtasks are always among them.
fn cut(task: Value, fields: &[String]) -> Value {
    let Value::Object(task) = task else { return task };
    let is_wanted = |name: &str| match fields.is_empty() {
        true => FIELDS.contains(&name),
        false => name == "id" || fields.iter().any(|field| field == name),
    };
    let kept = task.into_iter().filter_map(|(name, value)| match (name.as_str(), value) {
        ("subtasks", Value::Array(subtasks)) => {
            (!subtasks.is_empty()).then(|| (name, subtasks.into_iter().map(|sub| cut(sub, fields)).collect()))
        }
        (_, value) => is_wanted(&name).then_some((name, value)),
    });
    Value::Object(kept.collect())
}

fn stats(snapshot: &Snapshot) -> Value {
    let top = snapshot.tasks.top();
    let count = |status: Status| top.iter().filter(|task| task.status == status).count();
    let mut stats: Map<String, Value> =
        Status::ALL.iter().map(|status| (status.to_string(), json!(count(*status)))).collect();
    stats.insert("total".to_owned(), json!(top.len()));
    stats.insert(
        "completionPercentage".to_owned(),
        json!((count(Status::Done) * 100).checked_div(top.len()).unwrap_or(0)),
    );
    Value::Object(stats)
}

pub(super) async fn get_task(call: &Call<'_>) -> Said {
    let (snapshot, ids) = (call.snapshot().await?, call.ids("id")?);
    all_there(&snapshot, &ids)?;
    let status = call.given("status").filter(|status| status != "all");
    let status = status.map(|status| wire::status_from_wire(&status)).transpose()?;
    let mut all = tasks_json::tasks_at(&snapshot, &ids);
    if let Some(status) = status {
        for subtasks in all.iter_mut().filter_map(|task| task.get_mut("subtasks")?.as_array_mut()) {
            subtasks.retain(|sub| sub.get("status").is_some_and(|its| *its == json!(status)));
        }
    }
    match all.len() {
        0 => {
            Err(Fault::invalid("argument `id` names no task").hint("ids look like `3`, or `3.1` for a subtask").into())
        }
        1 => Ok(all.swap_remove(0)),
        _ => Ok(json!({ "total": all.len(), "tasks": all })),
    }
}

pub(super) async fn next_task(call: &Call<'_>) -> Said {
    let snapshot = call.snapshot().await?;
    let mut said = tasks_json::next(&snapshot, &graph::next(&snapshot.tasks, 3));
    // As upstream calls it.
    if let Some(said) = said.as_object_mut()
        && let Some(task) = said.remove("task")
    {
        said.insert("nextTask".to_owned(), task);
    }
    Ok(said)
}

/// `suggest_next_steps`: what to do, what else could be done, and what stands in the way.
pub(super) async fn next_steps(call: &Call<'_>) -> Said {
    let snapshot = call.snapshot().await?;
    let tasks = &snapshot.tasks;
    let most = call.number("limit").map_or(5, |limit| usize::try_from(limit).unwrap_or(5).clamp(1, 20));
    let next = graph::next(tasks, most);
    let line = |id: &TaskId| {
        let task = tasks.get(id)?;
        Some(json!({ "id": id, "title": task.title, "status": task.status, "priority": task.priority }))
    };
    let waiting = tasks.walk().filter(|(_, task)| !task.status.satisfies()).filter_map(|(id, task)| {
        let by = graph::blocked_by(tasks, &id);
        (!by.is_empty()).then(|| json!({ "id": id, "title": task.title, "waitsFor": by }))
    });
    let in_progress = tasks.walk().filter(|(_, task)| task.status == Status::InProgress).map(|(id, _)| id);
    let in_progress: Vec<TaskId> = in_progress.collect();
    Ok(json!({
        "next": next.chosen.as_ref().and_then(line),
        "reasons": next.reasons,
        "alternatives": next.others.iter().filter_map(line).collect::<Vec<_>>(),
        "inProgress": in_progress.iter().filter_map(line).collect::<Vec<_>>(),
        "waiting": waiting.take(most).collect::<Vec<_>>(),
        "problems": graph::check(tasks).iter().map(ToString::to_string).take(most).collect::<Vec<_>>(),
        "stats": stats(&snapshot),
    }))
}

pub(super) async fn complexity_report(call: &Call<'_>) -> Said {
    let snapshot = call.snapshot().await?;
    let text = one(render::render(&snapshot, Kind::Complexity)?);
    let report: Value = serde_json::from_str(&text)
        .map_err(|error| Fault::internal("could not read the complexity report").because(error))?;
    Ok(json!({ "report": report }))
}

fn one(files: Vec<(String, String)>) -> String {
    files.into_iter().next().map(|(_, text)| text).unwrap_or_default()
}

pub(super) async fn validate(call: &Call<'_>) -> Said {
    Ok(tasks_json::check(&call.snapshot().await?))
}

pub(super) async fn tags(call: &Call<'_>) -> Said {
    let (project, planning) = (call.project().await?, call.planning()?);
    let current = planning.projects.project(&project).await?.current_tag;
    let tags = planning.projects.tags(&project).await?;
    let shown = tags.iter().map(|tag| {
        let mut shown = tasks_json::tag(&tag.name, tag);
        shown["isCurrent"] = json!(tag.name == current);
        shown
    });
    Ok(json!({ "tags": shown.collect::<Vec<_>>(), "currentTag": current, "totalTags": tags.len() }))
}

/// The files are for who has a disk; the bridge writes them.
pub(super) async fn generate(call: &Call<'_>) -> Said {
    let files = render::render(&call.snapshot().await?, Kind::Files)?;
    let files = files.into_iter().map(|(name, text)| json!({ "name": name, "text": text }));
    Ok(json!({ "files": files.collect::<Vec<_>>() }))
}
