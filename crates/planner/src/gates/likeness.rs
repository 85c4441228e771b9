//! How alike two tasks are, by the words of their titles and descriptions.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::words;
use crate::{Task, TaskId};

/// From this likeness on, two tasks are shown as near duplicates. Two titles of five words that differ in one have
/// 4 / 6 = 0.67 and are often siblings ("list view", "map view"); of eight words that differ in one, 7 / 9 = 0.78, and
/// at that a person should look.
pub const NEAR: f64 = 0.75;

/// Words that more tasks than this have in common do not make two of them alike; following them would be quadratic.
const COMMON: usize = 64;
/// No more pairs are named than this.
const MOST_PAIRS: usize = 200;

/// Pairs of tasks.
pub(super) type Pairs = Vec<(TaskId, TaskId)>;

/// A title as it is compared: in lower case, without accents and marks, and without a number such as `2.` in front.
pub fn normal(title: &str) -> String {
    let end = title.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ')' | ' '))).unwrap_or(title.len());
    let is_number = title.get(..end).is_some_and(|number| number.trim_end().ends_with(['.', ')']));
    let bare = title.get(end..).filter(|bare| is_number && !bare.is_empty()).unwrap_or(title);
    words::normal(bare)
}

/// The pairs of the same title among siblings, and the pairs that are alike, wherever they are.
pub(super) fn pairs(all: &[(TaskId, &Task)]) -> (Pairs, Pairs) {
    let mut same = Vec::new();
    let mut first_with: HashMap<(Option<TaskId>, String), usize> = HashMap::new();
    for (index, (id, task)) in all.iter().enumerate() {
        let key = (id.parent(), normal(&task.title));
        match first_with.get(&key).and_then(|&first| all.get(first)) {
            Some((first, _)) => same.push((first.clone(), id.clone())),
            None => {
                first_with.insert(key, index);
            }
        }
    }
    let known: HashSet<&(TaskId, TaskId)> = same.iter().collect();
    let near = near(all).into_iter().filter(|pair| !known.contains(pair)).collect();
    (same, near)
}

/// Compares only tasks that share a rare word of their titles.
fn near(all: &[(TaskId, &Task)]) -> Pairs {
    let words: Vec<Words> = all.iter().map(|(_, task)| Words::of(&task.title, &task.description)).collect();
    let mut having: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, words) in words.iter().enumerate() {
        for word in &words.title {
            having.entry(word).or_default().push(index);
        }
    }
    let mut found = Vec::new();
    for (index, here) in words.iter().enumerate() {
        let lists = here.title.iter().filter_map(|word| having.get(word.as_str())).filter(|list| list.len() <= COMMON);
        let others: BTreeSet<usize> = lists.flatten().copied().filter(|&other| other > index).collect();
        for other in others {
            let (Some((a, _)), Some((b, _)), Some(there)) = (all.get(index), all.get(other), words.get(other)) else {
                continue;
            };
            // A task and its part speak of the same thing.
            let is_related = a.is_within(b) || b.is_within(a);
            if !is_related && here.likeness(there) >= NEAR {
                found.push((a.clone(), b.clone()));
            }
            if found.len() >= MOST_PAIRS {
                return found;
            }
        }
    }
    found
}

/// The words of a task by which it is compared with others.
pub(crate) struct Words {
    title: BTreeSet<String>,
    description: BTreeSet<String>,
}

impl Words {
    /// Those of a title and of the beginning of a description, which tells what it is about.
    pub(crate) fn of(title: &str, description: &str) -> Self {
        const MOST: usize = 400;
        let set = |text: &str| words::split(text).into_iter().map(|(_, _, word)| word).collect::<BTreeSet<_>>();
        let short = description.get(..description.floor_char_boundary(MOST)).unwrap_or(description);
        Self { title: set(title), description: set(short) }
    }

    /// 0 (no word in common) to 1 (the same words): titles count for two thirds, descriptions for the rest.
    ///
    /// Titles with other numbers in them speak of other things, however much of the rest they share.
    pub(crate) fn likeness(&self, other: &Self) -> f64 {
        let is_number = |word: &&String| word.contains(|c: char| c.is_numeric());
        if !self.title.iter().filter(is_number).eq(other.title.iter().filter(is_number)) {
            return 0.0;
        }
        let title = shared(&self.title, &other.title);
        if self.description.is_empty() || other.description.is_empty() {
            return title;
        }
        (2.0 * title + shared(&self.description, &other.description)) / 3.0
    }
}

fn shared(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    let both = a.intersection(b).count();
    let either = a.len() + b.len() - both;
    // Sets of words are far smaller than what f64 counts exactly.
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}
