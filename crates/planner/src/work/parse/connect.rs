//! Which task of a plan waits for which: what the document says first, then what a model says, never a circle.

use std::collections::BTreeSet;

use base::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::{Asked, Working};
use super::Draft;
use crate::model::{Prompt, fill, material};
use crate::requirements::Requirement;
use crate::schema::{self, Wrong, list, number, object};
use crate::{Task, TaskId};

/// Tasks of one question; a longer plan is asked about in stretches that overlap.
const MOST_TASKS: usize = 40;
const OVERLAP: usize = 10;
const MOST_NEEDS: usize = 5;

#[derive(Serialize, Deserialize)]
struct Needs {
    task: u32,
    needs: Vec<u32>,
}

/// Gives the tasks of a draft, numbered from 1, their dependencies.
pub(super) async fn connect(w: &Working<'_>, rules: &str, found: &[Requirement], draft: &mut Draft) -> Result<()> {
    for (task, on) in stated(found, &draft.tasks) {
        depend(&mut draft.tasks, task, on);
    }
    let mut first = 0;
    let mut stretch = 1;
    while draft.tasks.len() > 1 && first + 1 < draft.tasks.len() {
        let some: Vec<&Task> = draft.tasks.iter().skip(first).take(MOST_TASKS).collect();
        let (low, high) = (first as u32 + 1, (first + some.len()) as u32);
        let listed: Vec<String> =
            some.iter().map(|task| format!("task {}: {}. {}", task.number, task.title, task.description)).collect();
        let tasks = material(low as usize, listed.iter().map(String::as_str));
        let range = || number(u64::from(low), u64::from(high));
        let one = object([("task", range()), ("needs", list(range(), 1, MOST_NEEDS))]);
        let asked = Asked {
            rules,
            prompt: fill(Prompt::Dependencies, &[("tasks", &tasks)])?,
            name: "dependencies",
            schema: object([("dependencies", list(one, 0, some.len()))]),
            most_tokens: 200 + 40 * some.len() as u32,
        };
        let checked = w.ask(&format!("dependencies/{stretch}"), asked, read).await?;
        draft.count("dependencies", &checked);
        if checked.answer.is_none() {
            let what = format!("dependencies of tasks {low} to {high} are only those that the document states");
            draft.notes.push(what);
        }
        for Needs { task, needs } in checked.answer.unwrap_or_default() {
            for on in needs {
                if !depend(&mut draft.tasks, task, on) {
                    draft.notes.push(format!(
                        "task {task} does not wait for {on}, as the model wanted: they would wait for each other"
                    ));
                }
            }
        }
        first += MOST_TASKS - OVERLAP;
        stretch += 1;
        if high as usize == draft.tasks.len() {
            break;
        }
    }
    Ok(())
}

fn read(answer: Value) -> Result<Vec<Needs>, Wrong> {
    #[derive(Deserialize)]
    struct Answer {
        dependencies: Vec<Needs>,
    }
    let answer: Answer = schema::read("dependencies", answer)?;
    match answer.dependencies.iter().find(|needs| needs.needs.contains(&needs.task)) {
        Some(needs) => {
            Err(Wrong { at: "dependencies".into(), what: format!("task {} cannot need itself", needs.task) })
        }
        None => Ok(answer.dependencies),
    }
}

/// What the document itself says, from requirement to requirement.
fn stated(found: &[Requirement], tasks: &[Task]) -> Vec<(u32, u32)> {
    let covering = |name: &str| -> Vec<u32> {
        let covers = |task: &&Task| task.sources.iter().any(|source| source.requirement == name);
        tasks.iter().filter(covers).map(|task| task.number).collect()
    };
    let mut edges = Vec::new();
    for requirement in found {
        for on in &requirement.depends_on {
            for task in covering(&requirement.name) {
                edges.extend(covering(on).into_iter().filter(|&on| on != task).map(|on| (task, on)));
            }
        }
    }
    edges
}

/// Lets `task` wait for `on`, unless that closes a circle.
fn depend(tasks: &mut [Task], task: u32, on: u32) -> bool {
    if task == on || waits_for(tasks, on, task) {
        return false;
    }
    let place = tasks.iter_mut().find(|other| other.number == task);
    let Some(place) = place else { return false };
    let on = TaskId::top(on);
    if !place.dependencies.contains(&on) {
        place.dependencies.push(on);
    }
    true
}

/// Whether `task` waits for `on`, directly or not.
fn waits_for(tasks: &[Task], task: u32, on: u32) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![task];
    while let Some(number) = open.pop() {
        if number == on {
            return true;
        }
        if seen.insert(number)
            && let Some(task) = (number as usize).checked_sub(1).and_then(|place| tasks.get(place))
        {
            open.extend(task.dependencies.iter().map(TaskId::root));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_that_closes_a_circle_is_left_out() {
        let mut tasks: Vec<Task> = (1..=3).map(|number| Task::titled(number, "t")).collect();
        assert!(depend(&mut tasks, 2, 1) && depend(&mut tasks, 3, 2) && depend(&mut tasks, 3, 2));
        assert!(!depend(&mut tasks, 1, 3) && !depend(&mut tasks, 2, 2));
        assert_eq!(tasks[2].dependencies, [TaskId::top(2)]);
    }
}
