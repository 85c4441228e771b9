//! Tasks, projects and jobs as JSON, for REST and MCP alike: the field names of tasks.json, full addresses as ids.

use base::{Code, Fault, Result};
use jobs::State;
use planner::edit::Changed;
use planner::graph::{Breach, Next};
use planner::planning::{FieldClash, Imported, Job};
use planner::projects::{Conflict, Done, Event, Project, Snapshot, Tag};
use planner::sync;
use planner::tasks_file::TasksFile;
use planner::{Task, TaskId, graph, wire};
use serde_json::{Map, Value, json};

use crate::job::{self};
use crate::tasks::Sides;

/// A task at `id`, with everything below it.
pub(crate) fn task(id: &TaskId, task: &Task) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("id", json!(id));
    put("title", json!(task.title));
    put("description", json!(task.description));
    put("details", json!(task.details));
    put("testStrategy", json!(task.test_strategy));
    put("status", json!(task.status));
    put("priority", json!(task.priority));
    put("dependencies", json!(task.dependencies));
    put("subtasks", task.subtasks.iter().map(|sub| self::task(&id.child(sub.number), sub)).collect());
    if let Some(complexity) = &task.complexity {
        put("complexity", json!(complexity.score));
        put("recommendedSubtasks", json!(complexity.recommended_subtasks));
        put("expansionPrompt", json!(complexity.expansion_prompt));
        put("complexityReasoning", json!(complexity.reasoning));
    }
    if !task.sources.is_empty() {
        put("sources", json!(task.sources));
    }
    put("madeBy", json!(task.made_by));
    put("updatedAt", json!(task.updated_at));
    put("version", json!(task.version));
    for (name, raw) in &task.extra {
        // A field of ours is never hidden by one that somebody else wrote.
        if !object.contains_key(name) {
            object.insert(name.clone(), serde_json::from_str(raw.0.get()).unwrap_or(Value::Null));
        }
    }
    Value::Object(object)
}

/// The tasks of `ids` that are there.
pub(crate) fn tasks_at(snapshot: &Snapshot, ids: &[TaskId]) -> Vec<Value> {
    ids.iter().filter_map(|id| Some(task(id, snapshot.tasks.get(id)?))).collect()
}

/// A project with its tags.
pub(crate) fn project(project: &Project, tags: &[Tag]) -> Value {
    json!({
        "name": project.name,
        "description": project.description,
        "language": project.language,
        "models": project.models,
        "currentTag": project.current_tag,
        "createdAt": base::time::rfc3339(project.created_ms),
        "tags": tags.iter().map(|about| tag(&about.name, about)).collect::<Vec<_>>(),
    })
}

/// A tag without its tasks; what is known of it does not always know its name.
pub(crate) fn tag(name: &str, tag: &Tag) -> Value {
    json!({
        "name": name,
        "description": tag.description,
        "createdAt": base::time::rfc3339(tag.created_ms),
        "updatedAt": base::time::rfc3339(tag.updated_ms),
        "revision": tag.revision,
        "tasks": tag.tasks,
        "byStatus": wire::by_status(tag),
        "draftBecause": tag.draft_because,
    })
}

/// What comes next, and why.
pub(crate) fn next(snapshot: &Snapshot, next: &Next) -> Value {
    let chosen = next.chosen.as_ref().and_then(|id| Some(task(id, snapshot.tasks.get(id)?)));
    json!({ "task": chosen, "reasons": next.reasons, "others": next.others })
}

/// What is wrong with dependencies, and what would mend it.
pub(crate) fn check(snapshot: &Snapshot) -> Value {
    let breaches: Vec<Value> = graph::check(&snapshot.tasks).iter().map(breach).collect();
    let fixes: Vec<String> = graph::fix(&snapshot.tasks).iter().map(ToString::to_string).collect();
    json!({ "isValid": breaches.is_empty(), "tasks": snapshot.tasks.count(), "breaches": breaches, "fixes": fixes })
}

fn breach(breach: &Breach) -> Value {
    json!({ "id": breach.id(), "kind": breach.kind(), "text": breach.to_string() })
}

/// A change that was made or would be.
pub(crate) fn done(done: &Done) -> Value {
    json!({
        "revision": done.revision,
        "changes": done.changes,
        "inWords": done.changes.iter().map(Changed::to_string).collect::<Vec<_>>(),
        "notes": done.notes,
        "added": done.added,
    })
}

/// Two changes that crossed, each side's version.
pub(crate) fn conflict(conflict: &Conflict) -> Value {
    json!({
        "id": conflict.id,
        "expectedVersion": conflict.expected,
        "theirs": conflict.theirs.as_ref().map(|theirs| task(&conflict.id, theirs)),
        "yours": conflict.yours,
    })
}

/// A change in the history.
pub(crate) fn event(event: &Event) -> Value {
    json!({
        "revision": event.revision,
        "at": base::time::rfc3339(event.at_ms),
        "who": event.who,
        "what": event.what,
        "why": event.why,
        "changes": event.changes,
        "leftOut": event.left_out,
    })
}

/// A job where it stands.
pub(crate) fn job(job: &Job) -> Value {
    let view = &job.view;
    let (project, tag, work) = job.about();
    let error = match &view.state {
        State::Failed { fault } => why(fault.code, &fault.message, fault.hint.as_deref()),
        _ => Value::Null,
    };
    json!({
        "job": view.id.to_string(),
        "state": job::state(&view.state),
        "work": work,
        "project": project,
        "tag": tag,
        "who": view.who,
        "node": view.node.as_ref().map(ToString::to_string),
        "attempts": view.attempts,
        "createdAt": base::time::rfc3339(view.created_unix_ms),
        "finishedAt": view.finished_unix_ms.map(base::time::rfc3339),
        "progress": view.progress,
        "result": job.result,
        "error": error,
    })
}

/// What could not be done, with its causes, and what to do next.
pub(crate) fn fault(fault: &Fault) -> Value {
    why(fault.code, &fault.full_message(), fault.hint.as_deref())
}

fn why(code: Code, message: &str, hint: Option<&str>) -> Value {
    json!({ "code": code, "message": message, "hint": hint })
}

/// What came of an import, with the whole file as it is then.
pub(crate) fn imported(imported: &Imported, oddities: &[String]) -> Result<Value> {
    let file = imported.file.write().map_err(unwritten)?;
    let file: Value = serde_json::from_str(&file).map_err(unwritten)?;
    let conflicts = imported.conflicts.iter().map(|(tag, conflict)| clash(tag, conflict));
    Ok(json!({
        "hasChanged": imported.has_changed,
        "conflicts": conflicts.chain(imported.clashes.iter().map(field_clash)).collect::<Vec<_>>(),
        "notes": oddities.iter().chain(&imported.notes).collect::<Vec<_>>(),
        "tasksJson": file,
    }))
}

fn clash(tag: &str, conflict: &sync::Conflict) -> Value {
    let Sides { field, ours, theirs } = Sides::of(conflict);
    json!({
        "tag": tag, "id": conflict.task, "field": field, "ours": ours, "theirs": theirs,
        "inWords": conflict.to_string(),
    })
}

/// A field beside tasks; its values are JSON as it stood.
fn field_clash(clash: &FieldClash) -> Value {
    let FieldClash { tag, field, ours, theirs } = clash;
    let value = |json: &str| serde_json::from_str::<Value>(json).unwrap_or_default();
    let words = format!("{} is `{ours}` here and `{theirs}` there; kept as here", field.escape_debug());
    json!({ "tag": tag, "id": null, "field": field, "ours": value(ours), "theirs": value(theirs), "inWords": words })
}

/// The text of a tasks.json.
pub(crate) fn file(file: &TasksFile) -> Result<String> {
    file.write().map_err(unwritten)
}

fn unwritten(error: serde_json::Error) -> Fault {
    Fault::internal("could not write a tasks.json").because(error)
}
