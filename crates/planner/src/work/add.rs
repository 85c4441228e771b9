//! A wish becomes one task, with what it depends on.

use base::Result;
use serde_json::{Value, json};

use super::describe::{self, Written};
use super::{AddFromPrompt, Asked, Working};
use crate::model::{Prompt, fill, material};
use crate::schema::{self, Wrong, list, object, one_of};
use crate::{Edit, NewTask, Status, TaskId, structural};

const MOST_DEPENDENCIES: usize = 6;
/// Candidates for dependencies; the newest, since those are what new work builds on.
const MOST_CANDIDATES: usize = 60;

pub(super) async fn run(w: &Working<'_>, work: &AddFromPrompt) -> Result<Value> {
    let snapshot = w.snapshot().await?;
    let rules = w.rules()?;
    w.progress(0, 2, "writing the task");
    let open = |task: &&std::sync::Arc<crate::Task>| task.status != Status::Cancelled;
    let candidates: Vec<String> = snapshot
        .tasks
        .top()
        .iter()
        .rev()
        .filter(open)
        .take(MOST_CANDIDATES)
        .map(|task| task.number.to_string())
        .collect();
    let (written, by, refused) = match w.may_ask() {
        true => {
            let [title, description, details, test_strategy] = describe::fields();
            let none = ["none".to_owned()];
            let ids = if candidates.is_empty() { &none[..] } else { &candidates[..] };
            let dependencies = list(one_of(ids), 0, MOST_DEPENDENCIES.min(candidates.len()));
            let is_candidate = |id: &TaskId, _: &crate::Task| id.depth() == 1 && candidates.contains(&id.to_string());
            let asked = Asked {
                rules: &rules,
                prompt: fill(
                    Prompt::Add,
                    &[
                        ("wish", &material(1, work.prompt.lines())),
                        ("tasks", &describe::lines(&snapshot.tasks, is_candidate)),
                    ],
                )?,
                name: "task",
                schema: object([title, description, details, test_strategy, ("dependencies", dependencies)]),
                most_tokens: 1500,
            };
            let checked = w.ask("task", asked, read).await?;
            (checked.answer, checked.model, checked.refused)
        }
        false => (None, String::new(), Vec::new()),
    };
    let is_model = written.is_some();
    let mut task = match written {
        Some(written) => {
            let dependencies = written.dependencies.clone();
            NewTask { dependencies, ..written.into_new(&by) }
        }
        None => NewTask::from(&structural::one(&work.prompt)),
    };
    task.priority = work.priority.unwrap_or(task.priority);
    for id in &work.dependencies {
        if !task.dependencies.contains(id) {
            task.dependencies.push(id.clone());
        }
    }
    let what = format!("added `{}`", task.title);
    let done = w.change("add", what, vec![Edit::Add { parent: None, task }]).await?;
    let by = if is_model { by.as_str() } else { structural::NAME };
    Ok(json!({"added": done.added, "made_by": by, "refused": refused, "notes": done.notes, "revision": done.revision}))
}

fn read(answer: Value) -> Result<Written, Wrong> {
    schema::read("the answer", answer)
}
