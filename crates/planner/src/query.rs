//! Tasks that pass a filter, a page at a time; and tasks that have to do with a text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::graph;
use crate::{Priority, Status, Task, TaskId, Tasks};

/// The most tasks of a page.
pub const MOST_ON_A_PAGE: usize = 1000;

/// Which tasks; what is empty or false lets all pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Those that stand there.
    pub statuses: Vec<Status>,
    /// Those that matter so much.
    pub priorities: Vec<Priority>,
    /// Those that can be begun or gone on with.
    pub ready: bool,
    /// Those that others wait for.
    pub blocking: bool,
    /// Those in whose texts all these words stand, in any case.
    pub text: String,
    /// Those with these addresses, at any depth.
    pub ids: Vec<TaskId>,
    /// Whether tasks come with what is below them.
    pub with_subtasks: bool,
    /// How many that pass are left out at the beginning.
    pub offset: usize,
    /// How many come at most; 0: as many as a page may have.
    pub limit: usize,
}

/// Tasks that passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// By address; without their subtasks if that was wanted.
    pub tasks: Vec<(TaskId, Task)>,
    /// How many passed in all.
    pub total: usize,
}

/// Top-level tasks (or, by their ids, any) that pass.
pub fn list(tasks: &Tasks, filter: &Filter) -> Page {
    let waiting = if filter.blocking { graph::waiting(tasks) } else { BTreeMap::new() };
    let words: Vec<String> = filter.text.split_whitespace().map(str::to_lowercase).collect();
    let passes = |id: &TaskId, task: &Task| {
        (filter.statuses.is_empty() || filter.statuses.contains(&task.status))
            && (filter.priorities.is_empty() || filter.priorities.contains(&task.priority))
            && (!filter.ready || graph::is_ready(tasks, id))
            && (!filter.blocking || waiting.contains_key(id))
            && has_words(task, &words)
    };
    let candidates: Vec<(TaskId, &Task)> = match filter.ids.is_empty() {
        true => tasks.top().iter().map(|task| (TaskId::top(task.number), &**task)).collect(),
        false => filter.ids.iter().filter_map(|id| Some((id.clone(), tasks.get(id)?))).collect(),
    };
    let passed: Vec<(TaskId, &Task)> = candidates.into_iter().filter(|(id, task)| passes(id, task)).collect();
    let limit = if filter.limit == 0 { MOST_ON_A_PAGE } else { filter.limit.min(MOST_ON_A_PAGE) };
    let shown = |(id, task): &(TaskId, &Task)| {
        let task = match filter.with_subtasks {
            true => (*task).clone(),
            false => Task { subtasks: Vec::new(), ..(*task).clone() },
        };
        (id.clone(), task)
    };
    Page { total: passed.len(), tasks: passed.iter().skip(filter.offset).take(limit).map(shown).collect() }
}

fn has_words(task: &Task, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let text = format!("{}\n{}\n{}", task.title, task.description, task.details).to_lowercase();
    words.iter().all(|word| text.contains(word)) || task.subtasks.iter().any(|sub| has_words(sub, words))
}

/// Tasks that share rare words with `text`, best first, each with a score above 0.
///
/// A word counts more the fewer tasks have it, and in a title twice. Cheap enough to be done for every question.
pub fn related(tasks: &Tasks, text: &str, most: usize) -> Vec<(TaskId, f64)> {
    let wanted = words(text);
    let all: Vec<(TaskId, BTreeSet<String>, BTreeSet<String>)> = tasks
        .walk()
        .map(|(id, task)| (id, words(&task.title), words(&format!("{} {}", task.description, task.details))))
        .collect();
    let mut having: HashMap<&str, usize> = HashMap::new();
    for (_, title, text) in &all {
        for word in title.union(text).filter(|word| wanted.contains(*word)) {
            *having.entry(word).or_default() += 1;
        }
    }
    let weight = |word: &String| {
        let having = having.get(word.as_str()).copied().unwrap_or(0) as f64;
        if having == 0.0 { 0.0 } else { (1.0 + all.len() as f64 / having).ln() }
    };
    let score = |title: &BTreeSet<String>, text: &BTreeSet<String>| -> f64 {
        wanted.intersection(title).map(weight).sum::<f64>() * 2.0 + wanted.intersection(text).map(weight).sum::<f64>()
    };
    let mut found: Vec<(TaskId, f64)> = all
        .iter()
        .map(|(id, title, text)| (id.clone(), score(title, text)))
        .filter(|(_, score)| *score > 0.0)
        .collect();
    found.sort_by(|(one_id, one), (other_id, other)| other.total_cmp(one).then_with(|| one_id.cmp(other_id)));
    found.truncate(most);
    found
}

/// Words of three letters and more, in lower case.
fn words(text: &str) -> BTreeSet<String> {
    let split = text.split(|char: char| !char.is_alphanumeric());
    split.filter(|word| word.chars().count() > 2).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u32, title: &str, status: Status) -> Task {
        Task { status, ..Task::titled(number, title) }
    }

    #[test]
    fn a_page_says_how_many_passed_and_shows_its_part_of_them() {
        let tasks = Tasks::new((1..=30).map(|number| task(number, "water the plants", Status::Pending)));
        let page = list(&tasks, &Filter { offset: 28, limit: 10, text: "PLANTS water".into(), ..Filter::default() });
        assert_eq!((page.total, page.tasks.len(), page.tasks[0].0.to_string()), (30, 2, "29".into()));
    }

    #[test]
    fn ready_and_blocking_go_by_dependencies() {
        let mut second = task(2, "two", Status::Pending);
        second.dependencies = vec![TaskId::top(1)];
        let tasks = Tasks::new([task(1, "one", Status::Pending), second, task(3, "three", Status::Done)]);
        let ids =
            |filter: Filter| list(&tasks, &filter).tasks.into_iter().map(|(id, _)| id.number()).collect::<Vec<_>>();
        assert_eq!(ids(Filter { ready: true, ..Filter::default() }), [1]);
        assert_eq!(ids(Filter { blocking: true, ..Filter::default() }), [1]);
        assert_eq!(ids(Filter { statuses: vec![Status::Done], ..Filter::default() }), [3]);
    }

    #[test]
    fn related_tasks_share_rare_words_not_common_ones() {
        let titles = ["set up the database", "set up the mail", "set up the web page", "back up the database at night"];
        let tasks = Tasks::new(titles.iter().zip(1..).map(|(title, number)| task(number, title, Status::Pending)));
        let found: Vec<u32> = related(&tasks, "migrate the database", 2).iter().map(|(id, _)| id.number()).collect();
        assert_eq!(found, [1, 4]);
        assert!(related(&tasks, "zzz", 5).is_empty());
    }
}
