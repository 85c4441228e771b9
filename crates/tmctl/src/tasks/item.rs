//! A task as a row, as a page, and for programs.

use std::collections::BTreeMap;

use planner::prd::lines_named;
use proto::planning::Task;
use serde::Serialize;
use serde_json::Value;

use crate::table::{Cell, Tone};
use crate::text::{self, filled, or_dash, visible};

/// What a table of tasks has as its heading.
pub const HEADING: [&str; 6] = ["ID", "STATUS", "PRIORITY", "WAITS FOR", "COMPLEXITY", "TITLE"];

/// The cells of a table of tasks.
pub fn row(task: &Task) -> [Cell; 6] {
    let complexity = task.complexity.as_ref().map_or("-".to_owned(), |complexity| complexity.score.to_string());
    [
        task.id.as_str().into(),
        status(&task.status),
        task.priority.as_str().into(),
        or_dash(&task.dependencies.join(", ")).into(),
        complexity.into(),
        task.title.as_str().into(),
    ]
}

fn status(word: &str) -> Cell {
    let tone = match word {
        "done" => Tone::Good,
        "blocked" => Tone::Bad,
        "in-progress" | "review" => Tone::Odd,
        _ => Tone::Plain,
    };
    Cell::new(word, tone)
}

/// A task and everything below it, the parents first.
pub fn flat(tasks: &[Task]) -> Vec<&Task> {
    let mut all = Vec::new();
    for task in tasks {
        all.push(task);
        all.extend(flat(&task.subtasks));
    }
    all
}

/// All that is known of a task.
pub fn page(task: &Task) -> String {
    let complexity = task.complexity.as_ref().map_or(String::new(), |complexity| {
        let why = if complexity.reasoning.is_empty() { String::new() } else { format!(": {}", complexity.reasoning) };
        format!("{} of 10{why}", complexity.score)
    });
    let covers = task.sources.iter().map(|source| {
        let name = if source.requirement.is_empty() { String::new() } else { format!("{} ", source.requirement) };
        format!("{name}({})", lines_named(source.first_line, source.last_line))
    });
    let other: Vec<&str> = task.extra.keys().map(String::as_str).collect();
    let changed = match task.updated_at.is_empty() {
        true => format!("version {}", task.version),
        false => format!("{}, version {}", task.updated_at, task.version),
    };
    let lines = [
        ("status", task.status.clone()),
        ("priority", task.priority.clone()),
        ("waits for", task.dependencies.join(", ")),
        ("complexity", complexity),
        ("covers", covers.collect::<Vec<_>>().join(", ")),
        ("made by", task.made_by.clone()),
        ("changed", changed),
        ("also has", other.join(", ")),
    ];
    let mut page = visible(&format!("{} {}\n\n", task.id, task.title.replace('\n', " "))) + &text::page(&lines);
    for (heading, part) in [("", &task.description), ("details", &task.details), ("test", &task.test_strategy)] {
        if !part.is_empty() {
            let heading = if heading.is_empty() { String::new() } else { format!("{heading}:\n") };
            page.push_str(&visible(&format!("\n{heading}{}\n", part.trim_end())));
        }
    }
    if !task.subtasks.is_empty() {
        page.push_str("\nsubtasks:\n");
    }
    for sub in flat(&task.subtasks) {
        page.push_str(&visible(&format!("{}  {}  {}", sub.id, sub.status, sub.title).replace('\n', " ")));
        page.push('\n');
    }
    page
}

/// A task, for programs.
#[derive(Serialize)]
pub struct Item<'a> {
    id: &'a str,
    title: &'a str,
    description: &'a str,
    details: &'a str,
    test_strategy: &'a str,
    status: &'a str,
    priority: &'a str,
    dependencies: &'a [String],
    subtasks: Vec<Item<'a>>,
    complexity: Option<Complexity<'a>>,
    sources: Vec<Source<'a>>,
    made_by: Option<&'a str>,
    updated_at: Option<&'a str>,
    version: u64,
    extra: BTreeMap<&'a str, Value>,
}

#[derive(Serialize)]
struct Complexity<'a> {
    score: u32,
    recommended_subtasks: u32,
    expansion_prompt: &'a str,
    reasoning: &'a str,
}

#[derive(Serialize)]
struct Source<'a> {
    requirement: &'a str,
    first_line: u32,
    last_line: u32,
}

impl<'a> Item<'a> {
    /// The task with everything below it.
    pub fn new(task: &'a Task) -> Self {
        // What is no JSON was written by another release; it is shown as the text that it is.
        let value = |json: &String| serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.clone()));
        Self {
            id: &task.id,
            title: &task.title,
            description: &task.description,
            details: &task.details,
            test_strategy: &task.test_strategy,
            status: &task.status,
            priority: &task.priority,
            dependencies: &task.dependencies,
            subtasks: items(&task.subtasks),
            complexity: task.complexity.as_ref().map(|complexity| Complexity {
                score: complexity.score,
                recommended_subtasks: complexity.recommended_subtasks,
                expansion_prompt: &complexity.expansion_prompt,
                reasoning: &complexity.reasoning,
            }),
            sources: task.sources.iter().map(source).collect(),
            made_by: filled(&task.made_by),
            updated_at: filled(&task.updated_at),
            version: task.version,
            extra: task.extra.iter().map(|(name, json)| (name.as_str(), value(json))).collect(),
        }
    }
}

fn source(source: &proto::planning::Source) -> Source<'_> {
    Source { requirement: &source.requirement, first_line: source.first_line, last_line: source.last_line }
}

/// Tasks, for programs.
pub fn items(tasks: &[Task]) -> Vec<Item<'_>> {
    tasks.iter().map(Item::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_task_as_page_and_json() {
        let tasks = samples::planning::tasks();
        let pages: Vec<String> = tasks.iter().map(page).collect();
        insta::assert_snapshot!("tasks_page", pages.join("\n---\n"));
        insta::assert_snapshot!("tasks_item", samples::json(&items(&tasks)));
    }
}
