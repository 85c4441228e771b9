//! Tasks become larger or smaller; their unfinished subtasks are made anew to fit.

use base::{Code, Fault, Result};
use serde_json::{Value, json};

use super::update::fields;
use super::{Asked, Expand, Rescope, Strength, Working, describe, expand};
use crate::model::{Prompt, fill};
use crate::projects::Wanted;
use crate::schema::Wrong;
use crate::{Edit, TaskId};

/// What goes without a model.
pub(super) const BY_HAND: &str =
    "say yourself what the task is: `tmctl tasks update ID --details TEXT`, with `--title` and `--description` as well";

pub(super) async fn run(w: &Working<'_>, work: &Rescope) -> Result<Value> {
    let rules = w.rules()?;
    let total = work.ids.len();
    let mut told = Vec::new();
    for id in &work.ids {
        w.progress(told.len(), total, &format!("task {id}"));
        told.push(one(w, &rules, work, id).await?);
    }
    w.progress(total, total, "");
    Ok(json!({"rescoped": told.len(), "tasks": told}))
}

async fn one(w: &Working<'_>, rules: &str, work: &Rescope, id: &TaskId) -> Result<Value> {
    let snapshot = w.snapshot().await?;
    let Some(task) = snapshot.tasks.get(id) else { return Err(super::no_task(&snapshot, id)) };
    if task.status.satisfies() {
        return Err(Fault::new(Code::Conflict, format!("task {id} is finished; its scope stays"))
            .hint("set its status back first"));
    }
    if !w.may_ask() {
        return Err(Fault::invalid(format!("the scope of task {id} cannot be changed without a model"))
            .hint(format!("leave `--planner structural` out where a model is there, or {BY_HAND}")));
    }
    let direction = if work.up {
        "larger: more ambitious, more complete, better tested"
    } else {
        "smaller: only what it cannot do without"
    };
    let strength = match work.strength {
        Strength::Light => "Change it a little.",
        Strength::Regular => "Change it clearly.",
        Strength::Heavy => "Change it as far as it still is the same task.",
    };
    let wish = describe::watch_for(&[&work.prompt]);
    let asked = Asked {
        rules,
        prompt: fill(
            Prompt::Rescope,
            &[
                ("direction", direction),
                ("strength", strength),
                ("task", &describe::whole(id, task)),
                ("prompt", &wish),
            ],
        )?,
        name: "task",
        schema: describe::whole_task(),
        most_tokens: 1800,
    };
    let checked = w.ask(&format!("rescope/{id}"), asked, Ok::<Value, Wrong>).await?;
    let Some(answer) = checked.answer else { return Err(checked.no_model(BY_HAND)) };
    let edit = Edit::Change { id: id.clone(), fields: fields(answer, &checked.model)? };
    let wanted = Wanted {
        edits: vec![edit],
        what: format!("made task {id} {}", if work.up { "larger" } else { "smaller" }),
        why: work.prompt.clone(),
        expected: vec![(id.clone(), task.version)],
        ..Wanted::default()
    };
    let done = w.change_as(&format!("task/{id}"), wanted).await?;
    let subtasks = match task.subtasks.is_empty() {
        true => Value::Null,
        false => {
            let again = Expand { ids: vec![id.clone()], force: true, prompt: work.prompt.clone(), ..Expand::default() };
            expand::one_again(w, rules, &again, id).await?
        }
    };
    let changed: Vec<String> = done.changes.iter().map(ToString::to_string).collect();
    Ok(json!({"id": id, "made_by": checked.model, "changes": changed, "subtasks": subtasks}))
}
