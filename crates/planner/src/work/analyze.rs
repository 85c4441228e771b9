//! How hard tasks are: a score with reasons, and into how many subtasks each should fall.

use base::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Analyze, Asked, Working, describe};
use crate::edit::Fields;
use crate::model::{Checked, Prompt, fill};
use crate::projects::Snapshot;
use crate::schema::{self, Wrong, list, number, object, one_of, text};
use crate::{Complexity, Edit, Task, TaskId, Tasks, structural};

/// Tasks of one question.
const BATCH: usize = 6;

#[derive(Serialize, Deserialize)]
struct Judged {
    id: TaskId,
    complexity: u8,
    reasoning: String,
    subtasks: u32,
    prompt: String,
}

pub(super) async fn run(w: &Working<'_>, work: &Analyze) -> Result<Value> {
    let snapshot = w.snapshot().await?;
    let chosen: Vec<TaskId> = w.context.step("chosen", || async { Ok(choose(&snapshot, work)) }).await?;
    let rules = w.rules()?;
    let total = chosen.len();
    w.progress(0, total, "judging tasks");
    let batches: Vec<&[TaskId]> = chosen.chunks(BATCH).collect();
    let asked = batches.iter().enumerate().map(|(index, ids)| judge(w, &rules, &snapshot.tasks, index, ids));
    let asked: Vec<_> = asked.collect();
    let mut answers = stream::iter(asked).buffered(w.slots());
    let (mut judged, mut refused) = (Vec::new(), Vec::new());
    while let Some((ids, checked)) = answers.try_next().await? {
        refused.extend(checked.refused);
        refused.dedup();
        judged.extend(combine(&snapshot.tasks, ids, checked.answer.unwrap_or_default(), &checked.model));
        w.progress(judged.len(), total, "judging tasks");
    }
    let edits = judged.iter().map(|(id, complexity, _)| {
        let fields = Fields { complexity: Some(complexity.clone()), ..Fields::default() };
        Edit::Change { id: id.clone(), fields }
    });
    let what = format!("judged how hard {} tasks are", judged.len());
    let done = w.change("complexity", what, edits.collect()).await?;
    let threshold = if work.threshold == 0 { Complexity::HARD.into() } else { work.threshold };
    let report: Vec<Value> = judged
        .iter()
        .map(|(id, complexity, by)| {
            let title = done.tasks.get(id).map_or("", |task| task.title.as_str());
            json!({
                "id": id, "title": title, "score": complexity.score, "reasoning": complexity.reasoning,
                "recommended_subtasks": complexity.recommended_subtasks, "expansion_prompt": complexity.expansion_prompt,
                "should_be_split": u32::from(complexity.score) >= threshold, "made_by": by,
            })
        })
        .collect();
    Ok(json!({"analyzed": report.len(), "threshold": threshold, "tasks": report, "refused": refused}))
}

fn choose(snapshot: &Snapshot, work: &Analyze) -> Vec<TaskId> {
    if !work.ids.is_empty() {
        return work.ids.clone();
    }
    let to = if work.to == 0 { u32::MAX } else { work.to };
    let is_open = |task: &&std::sync::Arc<Task>| !task.status.satisfies() && (work.from..=to).contains(&task.number);
    snapshot.tasks.top().iter().filter(is_open).map(|task| TaskId::top(task.number)).collect()
}

async fn judge<'a>(
    w: &Working<'_>,
    rules: &str,
    tasks: &Tasks,
    index: usize,
    ids: &'a [TaskId],
) -> Result<(&'a [TaskId], Checked<Vec<Judged>>)> {
    if !w.may_ask() {
        return Ok((ids, Checked::none()));
    }
    let named: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let shown: Vec<String> = ids.iter().filter_map(|id| Some(describe::whole(id, tasks.get(id)?))).collect();
    let one = object([
        ("id", one_of(&named)),
        ("complexity", number(1, 10)),
        ("reasoning", text(10, 500)),
        ("subtasks", number(0, 20)),
        ("prompt", text(0, 400)),
    ]);
    let asked = Asked {
        rules,
        prompt: fill(Prompt::Complexity, &[("tasks", &shown.join("\n"))])?,
        name: "complexity",
        schema: object([("tasks", list(one, ids.len(), ids.len()))]),
        most_tokens: 200 + 350 * ids.len() as u32,
    };
    Ok((ids, w.ask(&format!("judge/{}", index + 1), asked, |answer| read(answer, ids)).await?))
}

fn read(answer: Value, ids: &[TaskId]) -> Result<Vec<Judged>, Wrong> {
    #[derive(Deserialize)]
    struct Answer {
        tasks: Vec<Judged>,
    }
    let wrong = |what: String| Wrong { at: "tasks".into(), what };
    let answer: Answer = schema::read("tasks", answer)?;
    match ids.iter().find(|id| answer.tasks.iter().filter(|judged| judged.id == **id).count() != 1) {
        Some(id) => Err(wrong(format!("task {id} must be judged once"))),
        None => Ok(answer.tasks),
    }
}

/// What each task got; by structure where no model said anything.
fn combine(tasks: &Tasks, ids: &[TaskId], judged: Vec<Judged>, model: &str) -> Vec<(TaskId, Complexity, String)> {
    let one = |id: &TaskId| {
        let task = tasks.get(id)?;
        let found = judged.iter().find(|judged| judged.id == *id);
        Some(match found {
            Some(judged) => {
                let complexity = Complexity {
                    score: judged.complexity,
                    recommended_subtasks: judged.subtasks,
                    expansion_prompt: judged.prompt.clone(),
                    reasoning: judged.reasoning.clone(),
                };
                (id.clone(), complexity, model.to_owned())
            }
            None => (id.clone(), structural::complexity(task), structural::NAME.to_owned()),
        })
    };
    ids.iter().filter_map(one).collect()
}
