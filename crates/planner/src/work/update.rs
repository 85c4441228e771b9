//! Something is new, and tasks are written anew or get a note about it. What is finished stays as it is.

use base::{Code, Fault, Result};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::describe::{self, Written};
use super::{Asked, Update, Working};
use crate::edit::Fields;
use crate::model::{Prompt, fill, material};
use crate::projects::{Snapshot, Wanted};
use crate::schema::{Wrong, object, text};
use crate::{Edit, Status, TaskId, structural};

pub(super) async fn run(w: &Working<'_>, work: &Update) -> Result<Value> {
    let snapshot = w.snapshot().await?;
    let chosen: Vec<TaskId> = w.context.step("chosen", || async { choose(&snapshot, work) }).await?;
    let rules = w.rules()?;
    let total = chosen.len();
    w.progress(0, total, "updating tasks");
    let updates: Vec<_> = chosen.iter().map(|id| one(w, &rules, work, &snapshot, id)).collect();
    let mut updates = stream::iter(updates).buffered(w.slots());
    let mut told = Vec::new();
    while let Some(updated) = updates.next().await {
        told.push(updated?);
        w.progress(told.len(), total, "updating tasks");
    }
    Ok(json!({"updated": told.len(), "tasks": told}))
}

fn choose(snapshot: &Snapshot, work: &Update) -> Result<Vec<TaskId>> {
    let is_open = |status: Status| !status.satisfies();
    if work.ids.is_empty() {
        let chosen = snapshot.tasks.top().iter().filter(|task| task.number >= work.from && is_open(task.status));
        return Ok(chosen.map(|task| TaskId::top(task.number)).collect());
    }
    let finished = work.ids.iter().find(|id| snapshot.tasks.get(id).is_some_and(|task| !is_open(task.status)));
    match finished.filter(|_| !work.append) {
        Some(id) => Err(Fault::new(Code::Conflict, format!("task {id} is finished and is not rewritten"))
            .hint("add a note with `--append`, or set its status back first")),
        None => Ok(work.ids.clone()),
    }
}

async fn one(w: &Working<'_>, rules: &str, work: &Update, snapshot: &Snapshot, id: &TaskId) -> Result<Value> {
    let Some(task) = snapshot.tasks.get(id) else { return Err(super::no_task(snapshot, id)) };
    let (prompt, name, schema) = match work.append {
        true => (Prompt::Note, "note", object([("note", text(10, 2000))])),
        false => (Prompt::Update, "task", describe::whole_task()),
    };
    let wish = material(1, work.prompt.lines());
    let edit = if w.may_ask() {
        let asked = Asked {
            rules,
            prompt: fill(prompt, &[("wish", &wish), ("task", &describe::whole(id, task))])?,
            name,
            schema,
            most_tokens: 1800,
        };
        let checked = w.ask(&format!("ask/{id}"), asked, Ok::<Value, Wrong>).await?;
        let model = checked.model;
        checked.answer.map(|answer| (answer, model))
    } else {
        None
    };
    let (edit, by) = match edit {
        Some((answer, model)) if work.append => {
            let text = answer.get("note").and_then(Value::as_str).unwrap_or_default().to_owned();
            (Edit::Note { id: id.clone(), text }, model)
        }
        Some((answer, model)) => (Edit::Change { id: id.clone(), fields: fields(answer, &model)? }, model),
        // Without a model what is new is noted in the owner's own words: nothing is rewritten by guessing.
        None => (Edit::Note { id: id.clone(), text: work.prompt.clone() }, structural::NAME.to_owned()),
    };
    let wanted = Wanted {
        edits: vec![edit],
        what: format!("updated task {id}"),
        why: work.prompt.clone(),
        expected: vec![(id.clone(), task.version)],
        ..Wanted::default()
    };
    let done = w.change_as(&format!("update/{id}"), wanted).await?;
    let changed: Vec<String> = done.changes.iter().map(ToString::to_string).collect();
    Ok(json!({"id": id, "made_by": by, "changes": changed}))
}

/// The fields of a task that was written anew.
pub(super) fn fields(answer: Value, model: &str) -> Result<Fields> {
    let written: Written = serde_json::from_value(answer)
        .map_err(|error| Fault::internal("could not read a checked answer").because(error))?;
    Ok(Fields {
        title: Some(written.title),
        description: Some(written.description),
        details: Some(written.details),
        test_strategy: Some(written.test_strategy),
        priority: Some(written.priority),
        made_by: Some(model.to_owned()),
        ..Fields::default()
    })
}
