//! Tasks that pass a filter, a page at a time; and tasks that have to do with a text.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{Priority, Status, Task, TaskId, Tasks, graph, words};

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
    /// Those in whose texts all these words stand, whatever their case and accents.
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
    let words: Vec<String> = filter.text.split_whitespace().map(words::folded).collect();
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

/// Whether all words stand in the texts of a task, or of one below it; whatever their case and accents.
fn has_words(task: &Task, wanted: &[String]) -> bool {
    let has = |word: &String| {
        let mut texts = [&task.title, &task.description, &task.details].into_iter();
        texts.any(|text| words::folded(text).contains(word))
    };
    wanted.iter().all(has) || task.subtasks.iter().any(|sub| has_words(sub, wanted))
}

/// Tasks that share rare words with `text`, best first, each with a score above 0.
///
/// A word counts more the fewer tasks have it, and in a title twice as much; case and accents do not matter.
pub fn related(tasks: &Tasks, text: &str, most: usize) -> Vec<(TaskId, f64)> {
    let wanted: BTreeSet<String> = long_words(text).collect();
    let shared = |text: &str| -> BTreeSet<&String> { long_words(text).filter_map(|word| wanted.get(&word)).collect() };
    let mut having: HashMap<&String, usize> = HashMap::new();
    let mut sharing = Vec::new();
    let mut count = 0.0;
    for (id, task) in tasks.walk() {
        count += 1.0;
        let (title, mut text) = (shared(&task.title), shared(&task.description));
        text.extend(shared(&task.details));
        title.union(&text).for_each(|word| *having.entry(*word).or_default() += 1);
        if !(title.is_empty() && text.is_empty()) {
            sharing.push((id, title, text));
        }
    }
    let weight = |word: &&String| having.get(*word).map_or(0.0, |having| (1.0 + count / *having as f64).ln());
    let score = |(id, title, text): (TaskId, BTreeSet<&String>, BTreeSet<&String>)| {
        (id, title.iter().map(weight).sum::<f64>() * 2.0 + text.iter().map(weight).sum::<f64>())
    };
    let mut found: Vec<(TaskId, f64)> = sharing.into_iter().map(score).collect();
    found.sort_by(|(one_id, one), (other_id, other)| other.total_cmp(one).then_with(|| one_id.cmp(other_id)));
    found.truncate(most);
    found
}

/// Words of three letters and more, in lower case without accents.
fn long_words(text: &str) -> impl Iterator<Item = String> {
    words::split(text).into_iter().map(|(_, _, word)| word).filter(|word| word.chars().count() > 2)
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

    #[test]
    fn words_are_found_without_their_accents_and_accents_without_them() {
        let tasks = Tasks::new([task(1, "Déploiement du café", Status::Pending), task(2, "thee", Status::Pending)]);
        for text in ["DEPLOIEMENT cafe", "déploi"] {
            assert_eq!(list(&tasks, &Filter { text: text.into(), ..Filter::default() }).total, 1, "{text}");
        }
        assert_eq!(related(&tasks, "Cafe", 5).len(), 1);
    }
}
