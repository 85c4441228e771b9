//! Tasks are split into subtasks: those of the owner's choice, or those of a fresh plan that are hard.

use std::collections::HashMap;

use base::{Code, Fault, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{self, Written};
use super::parse::Draft;
use super::{Asked, Expand, Working};
use crate::edit::counted;
use crate::gates::normal;
use crate::model::{Checked, NO_MODEL, Prompt, fill, material};
use crate::projects::{Snapshot, Wanted};
use crate::schema::{self, Wrong};
use crate::{Complexity, Edit, NewTask, Status, Task, TaskId, Tasks, query, structural};

/// From this complexity on a subtask of a plan is split as well, if it is deep enough.
const HARD_BELOW: u8 = 7;
const USUAL_SUBTASKS: u32 = 4;
const MOST_SUBTASKS: u32 = 20;
const TOKENS_PER_SUBTASK: u32 = 500;
/// Tasks that have to do with the one that is split, shown beside it.
const RELATED: usize = 5;

/// Into how many subtasks a task of that complexity should fall.
fn recommended(score: u8) -> u32 {
    match score {
        0..Complexity::HARD => 0,
        score => u32::from(score / 2 + 1),
    }
}

pub(super) async fn run(w: &Working<'_>, work: &Expand) -> Result<Value> {
    let snapshot = w.snapshot().await?;
    let chosen: Vec<TaskId> = w.context.step("chosen", || async { Ok(choose(&snapshot, work)) }).await?;
    let rules = w.rules()?;
    let total = chosen.len();
    w.progress(0, total, "splitting tasks");
    let splits: Vec<_> = chosen.iter().map(|id| split_one(w, &rules, work, &snapshot.tasks, id)).collect();
    let mut splits = stream::iter(splits).buffered(w.slots());
    let (mut told, mut notes, mut done) = (Vec::new(), Vec::new(), 0);
    while let Some(one) = splits.next().await {
        let id = chosen.get(done).map(ToString::to_string).unwrap_or_default();
        done += 1;
        told.push(match one {
            Ok((split, is_without_model)) => {
                notes = if is_without_model { vec![NO_MODEL] } else { notes };
                split
            }
            // The others go on; what ends the whole job is known by its code.
            Err(fault) if matches!(fault.code, Code::Cancelled | Code::StaleEpoch) => return Err(fault),
            Err(fault) if chosen.len() == 1 => return Err(fault),
            Err(fault) => json!({"id": id, "failed": fault.full_message(), "hint": fault.hint}),
        });
        w.progress(done, total, &format!("task {id}"));
    }
    let failed = told.iter().filter(|split| split.get("failed").is_some()).count();
    Ok(json!({"expanded": told.len() - failed, "failed": failed, "tasks": told, "notes": notes}))
}

/// Those that were named; else all that wait, have no subtasks, and are not said to be easy.
fn choose(snapshot: &Snapshot, work: &Expand) -> Vec<TaskId> {
    if !work.ids.is_empty() {
        return work.ids.clone();
    }
    let is_eligible = |task: &&std::sync::Arc<Task>| {
        matches!(task.status, Status::Pending | Status::InProgress)
            && (task.subtasks.is_empty() || work.force)
            && task.complexity.as_ref().is_none_or(|complexity| complexity.recommended_subtasks > 0)
    };
    snapshot.tasks.top().iter().filter(is_eligible).map(|task| TaskId::top(task.number)).collect()
}

/// Splits a task once more, as it is now; its finished subtasks stay.
pub(super) async fn one_again(w: &Working<'_>, rules: &str, work: &Expand, id: &TaskId) -> Result<Value> {
    Ok(split_one(w, rules, work, &w.snapshot().await?.tasks, id).await?.0)
}

/// What is told of the task that was split, and whether there was nobody to ask.
async fn split_one(w: &Working<'_>, rules: &str, work: &Expand, tasks: &Tasks, id: &TaskId) -> Result<(Value, bool)> {
    let Some(task) = tasks.get(id) else { return Ok((json!({"id": id, "failed": "it is gone"}), false)) };
    let wish = match (work.subtasks, &task.complexity) {
        (0, Some(complexity)) if complexity.recommended_subtasks > 0 => complexity.recommended_subtasks,
        (wish, _) => wish,
    };
    let checked = match w.may_ask() {
        true => Some(ask(w, rules, id, task, tasks, wish, &work.prompt).await?),
        false => None,
    };
    let answer = checked.as_ref().and_then(|checked| Some((checked.answer.as_ref()?, checked.model.as_str())));
    // New subtasks come behind those that stay.
    let stays = |sub: &&Task| !work.force || sub.status.satisfies();
    let staying: Vec<&Task> = task.subtasks.iter().filter(stays).collect();
    let stay = staying.iter().map(|sub| sub.number).max().unwrap_or(0);
    let (subtasks, by) = match answer {
        Some((written, model)) => (numbered(written, id, stay, model), model.to_owned()),
        None => {
            // Beside subtasks that stay, parts that were put together would be doubles of those in other words.
            let number = match work.subtasks {
                0 if !staying.is_empty() => None,
                _ => (wish > 0).then_some(wish),
            };
            let split = structural::expand(task, number);
            let split: Vec<NewTask> = split.iter().map(|sub| below(sub, id, stay)).collect();
            (split, structural::NAME.to_owned())
        }
    };
    // Recorded, since what is written here is there already when this is tried again.
    let fresh = || async { Ok(without_doubles(subtasks, id, stay, &staying)) };
    let subtasks: Vec<NewTask> = w.context.step(&format!("fresh/{id}"), fresh).await?;
    let count = subtasks.len();
    if count == 0 && !work.force {
        return Err(nothing_new(w, task, id));
    }
    let edit = match work.force {
        true => Edit::ReplaceSubtasks { id: id.clone(), subtasks, keep_finished: true },
        false => Edit::AddSubtasks { id: id.clone(), subtasks },
    };
    let wanted = Wanted {
        edits: vec![edit],
        what: format!("split task {id} into {count}"),
        expected: vec![(id.clone(), task.version)],
        ..Wanted::default()
    };
    let done = w.change_as(&format!("split/{id}"), wanted).await?;
    let mut refused = checked.map(|checked| checked.refused).unwrap_or_default();
    let is_without_model = refused == [NO_MODEL];
    if is_without_model {
        refused.clear();
    }
    Ok((json!({"id": id, "subtasks": done.added, "made_by": by, "refused": refused}), is_without_model))
}

/// Subtasks that no other has the title of; who waited for such a one waits for that other.
fn without_doubles(subtasks: Vec<NewTask>, id: &TaskId, stay: u32, staying: &[&Task]) -> Vec<NewTask> {
    let mut places: HashMap<TaskId, TaskId> = HashMap::new();
    let mut kept: Vec<NewTask> = Vec::new();
    for (number, subtask) in (stay + 1..).zip(subtasks) {
        let known = staying.iter().find(|other| normal(&other.title) == normal(&subtask.title));
        let place = match known {
            Some(other) => id.child(other.number),
            None => {
                kept.push(subtask);
                id.child(stay + kept.len() as u32)
            }
        };
        places.insert(id.child(number), place);
    }
    for subtask in &mut kept {
        for on in &mut subtask.dependencies {
            if let Some(place) = places.get(on) {
                on.clone_from(place);
            }
        }
    }
    kept
}

fn nothing_new(w: &Working<'_>, task: &Task, id: &TaskId) -> Fault {
    let (project, tag) = (&w.order.project, &w.order.tag);
    let what =
        format!("task {id} has {} already, and splitting it gives no other", counted(task.subtasks.len(), "subtask"));
    Fault::new(Code::Conflict, what).hint(format!(
        "`tmctl tasks expand {id} --force --project {project} --tag {tag}` makes those anew that are not finished"
    ))
}

/// Asks for the subtasks of a task: so many as are wished for, or as it needs.
async fn ask(
    w: &Working<'_>,
    rules: &str,
    id: &TaskId,
    task: &Task,
    tasks: &Tasks,
    wish: u32,
    prompt: &str,
) -> Result<Checked<Vec<Written>>> {
    let (least, most) = match wish.min(MOST_SUBTASKS) {
        0 => (2, USUAL_SUBTASKS + 2),
        wish => (wish, wish),
    };
    let judged = task.complexity.as_ref().map_or("", |complexity| complexity.expansion_prompt.as_str());
    let asked = Asked {
        rules,
        prompt: fill(
            Prompt::Expand,
            &[
                ("count", &describe::count(least, most, "subtask")),
                ("task", &describe::whole(id, task)),
                ("context", &related(tasks, id, task)),
                ("prompt", &describe::watch_for(&[judged, prompt])),
            ],
        )?,
        name: "subtasks",
        schema: describe::subtasks(least, most),
        most_tokens: 300 + TOKENS_PER_SUBTASK * most,
    };
    w.ask(&format!("ask/{id}"), asked, read).await
}

fn read(answer: Value) -> Result<Vec<Written>, Wrong> {
    #[derive(Deserialize)]
    struct Answer {
        subtasks: Vec<Written>,
    }
    let wrong = |what: String| Wrong { at: "subtasks".into(), what };
    let answer: Answer = schema::read("subtasks", answer)?;
    for (index, written) in answer.subtasks.iter().enumerate() {
        let number = index as u32 + 1;
        // Done in the order of the list, so only earlier ones can be waited for: there is no circle then.
        if let Some(after) = written.after.iter().find(|&&after| after == 0 || after >= number) {
            return Err(wrong(format!("subtask {number} cannot come after {after}; only after earlier ones")));
        }
        if answer.subtasks.iter().take(index).any(|other| other.title.trim() == written.title.trim()) {
            return Err(wrong(format!("two subtasks have the title `{}`", written.title)));
        }
    }
    Ok(answer.subtasks)
}

fn related(tasks: &Tasks, id: &TaskId, task: &Task) -> String {
    let near = query::related(tasks, &format!("{} {}", task.title, task.description), RELATED + 1);
    let near: Vec<String> = near
        .into_iter()
        .filter(|(other, _)| !other.is_within(id) && !id.is_within(other))
        .filter_map(|(other, _)| Some(format!("{other}: {}", tasks.get(&other)?.title)))
        .take(RELATED)
        .collect();
    match near.is_empty() {
        true => String::new(),
        false => format!(
            "\nOther tasks of the project, which are not to be repeated:\n{}",
            material(1, near.iter().map(String::as_str))
        ),
    }
}

/// Subtasks of `id` behind the number `stay`, as they were written.
fn numbered(written: &[Written], id: &TaskId, stay: u32, model: &str) -> Vec<NewTask> {
    let one = |written: &Written| {
        let dependencies = written.after.iter().map(|after| id.child(stay + after)).collect();
        let complexity = scored(written.complexity);
        NewTask { dependencies, complexity, ..written.clone().into_new(model) }
    };
    written.iter().map(one).collect()
}

/// A structural subtask, whose dependencies name its siblings by their own numbers, at its place.
fn below(sub: &Task, id: &TaskId, stay: u32) -> NewTask {
    let dependencies = sub.dependencies.iter().map(|on| id.child(stay + on.number())).collect();
    NewTask { dependencies, ..NewTask::from(sub) }
}

/// What is known of a task of that complexity; of 0, nothing.
pub(super) fn scored(score: u8) -> Option<Complexity> {
    (score > 0).then(|| Complexity { score, recommended_subtasks: recommended(score), ..Complexity::default() })
}

/// Splits the hard tasks of a fresh plan, level by level.
pub(super) async fn deepen(w: &Working<'_>, rules: &str, draft: &mut Draft, depth: u32) -> Result<()> {
    for level in 1..depth {
        let least = if level == 1 { Complexity::HARD } else { HARD_BELOW };
        let tasks = Tasks::new(draft.tasks.clone());
        let is_hard = |id: &TaskId, task: &Task| {
            id.depth() == level as usize
                && task.subtasks.is_empty()
                && task.complexity.as_ref().is_some_and(|complexity| complexity.score >= least)
        };
        let hard: Vec<(TaskId, &Task)> = tasks.walk().filter(|(id, task)| is_hard(id, task)).collect();
        let total = hard.len();
        let asked = hard.iter().map(|(id, task)| {
            let wish = task.complexity.as_ref().map_or(0, |complexity| complexity.recommended_subtasks);
            ask(w, rules, id, task, &tasks, wish, "")
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = stream::iter(asked).buffered(w.slots());
        let mut done = 0;
        while let Some(checked) = answers.try_next().await? {
            let Some((id, task)) = hard.get(done) else { break };
            done += 1;
            w.progress(done, total, &format!("splitting `{}`", task.title));
            draft.count(&format!("task {id}"), &checked);
            let subtasks: Vec<Task> = match &checked.answer {
                Some(written) => numbered(written, id, 0, &checked.model).iter().map(Task::from).collect(),
                None => {
                    draft.notes.push(format!("task {id} was split without a model: no answer was usable"));
                    structural::expand(task, None).iter().map(|sub| Task::from(&below(sub, id, 0))).collect()
                }
            };
            if let Some(place) = place(&mut draft.tasks, id) {
                place.subtasks = subtasks;
                for (index, sub) in place.subtasks.iter_mut().enumerate() {
                    sub.number = index as u32 + 1;
                }
            }
        }
    }
    Ok(())
}

fn place<'a>(tasks: &'a mut [Task], id: &TaskId) -> Option<&'a mut Task> {
    let (first, below) = id.path().split_first()?;
    let mut task = tasks.iter_mut().find(|task| task.number == *first)?;
    for number in below {
        task = task.subtasks.iter_mut().find(|sub| sub.number == *number)?;
    }
    Some(task)
}
