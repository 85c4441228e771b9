//! Which tasks a commit's message names, and which of them it says are finished.
//!
//! `TM-3`, `task 3.1` and `tasks 3, 4 and 5` name tasks; `fixes 3.1` and `closes TM-3` finish them. `#3` is an issue of
//! GitHub's, which tells of its end itself. `fixes 3 bugs` names nothing: a bare number ends its clause.

use crate::TaskId;

/// The most tasks that a message may name.
const MOST_NAMED: usize = 20;
/// The most of a message that is read, in bytes.
const MOST_READ: usize = 16 << 10;

const FINISHING: &[&str] =
    &["fix", "fixes", "fixed", "close", "closes", "closed", "resolve", "resolves", "resolved", "finish", "finishes"];

/// A task that a message names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub id: TaskId,
    /// Whether the message says that it is finished.
    pub is_finished: bool,
}

/// Each task that the message names, once, in the order in which they stand there.
pub(super) fn named(message: &str) -> Vec<Named> {
    let read = message.get(..message.floor_char_boundary(MOST_READ)).unwrap_or(message);
    let mut found: Vec<Named> = Vec::new();
    for clause in read.lines().flat_map(|line| line.split([';', '(', ')', '[', ']', '!', '?'])) {
        let words: Vec<Word> = clause.split_whitespace().map(Word::new).collect();
        in_clause(&words, &mut found);
    }
    found
}

/// A word in lower case, and whether a mark behind it ends or parts something.
struct Word {
    text: String,
    has_comma: bool,
    has_end: bool,
}

impl Word {
    fn new(text: &str) -> Self {
        let bare = text.trim_matches(|c: char| "\"'`*_".contains(c));
        let plain = bare.trim_end_matches([',', '.', ':']);
        let marks = bare.get(plain.len()..).unwrap_or_default();
        Self { text: plain.to_ascii_lowercase(), has_comma: marks.contains(','), has_end: marks.contains('.') }
    }

    fn is(&self, words: &[&str]) -> bool {
        words.contains(&self.text.as_str())
    }

    fn bare(&self) -> Option<TaskId> {
        self.text.parse().ok()
    }

    /// The task of `tm-3`.
    fn prefixed(&self) -> Option<TaskId> {
        self.text.strip_prefix("tm-")?.parse().ok()
    }
}

fn in_clause(words: &[Word], found: &mut Vec<Named>) {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let is_finished = word.is(FINISHING);
        let mut next = at + usize::from(is_finished);
        let is_marked = words.get(next).is_some_and(|word| word.is(&["task", "tasks"]));
        next += usize::from(is_marked);
        let (ids, end) = list(words, next, is_marked, is_finished);
        ids.into_iter().for_each(|id| keep(found, Named { id, is_finished }));
        at = end.max(at + 1);
    }
}

/// The ids from `at` on, and where they end. Bare numbers count behind `task`, or behind a finishing word when the clause
/// ends with them.
fn list(words: &[Word], at: usize, is_marked: bool, is_finished: bool) -> (Vec<TaskId>, usize) {
    let (mut ids, mut has_bare, mut next) = (Vec::new(), false, at);
    let mut is_ended = false;
    while let Some(word) = words.get(next).filter(|_| !is_ended) {
        let joins = !ids.is_empty() && word.is(&["and", "&", "+"]);
        let follows = words.get(next + 1).is_some_and(|word| word.bare().or_else(|| word.prefixed()).is_some());
        if joins && follows {
            next += 1;
            continue;
        }
        let Some(id) = word.prefixed().or_else(|| word.bare().filter(|_| is_marked || is_finished)) else { break };
        has_bare |= word.prefixed().is_none();
        ids.push(id);
        next += 1;
        is_ended = word.has_end;
        let goes_on = word.has_comma || words.get(next).is_some_and(|word| word.is(&["and", "&", "+"]));
        if !goes_on {
            break;
        }
    }
    let ends_clause = is_ended
        || next >= words.len()
        || next.checked_sub(1).and_then(|last| words.get(last)).is_some_and(|word| word.has_comma);
    if has_bare && !is_marked && !ends_clause {
        ids.clear();
    }
    (ids, next)
}

fn keep(found: &mut Vec<Named>, named: Named) {
    if let Some(known) = found.iter_mut().find(|known| known.id == named.id) {
        known.is_finished |= named.is_finished;
    } else if found.len() < MOST_NAMED {
        found.push(named);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_tasks_as_people_write_them() {
        let shown = |message: &str| {
            let mark = |named: Named| format!("{}{}", named.id, if named.is_finished { "!" } else { "" });
            named(message).into_iter().map(mark).collect::<Vec<_>>().join(" ")
        };
        for (message, tasks) in [
            ("fixes 3.1", "3.1!"),
            ("Fixes: 3.1.", "3.1!"),
            ("add a page, TM-3", "3"),
            ("tm-3.2: better words", "3.2"),
            ("Work on task 3 in the evening", "3"),
            ("closes TM-3 and TM-4.1", "3! 4.1!"),
            ("fixes tasks 3, 4 and 5", "3! 4! 5!"),
            ("fixes 3, 4", "3! 4!"),
            ("Resolves task 3 for good", "3!"),
            ("(fixes TM-7)", "7!"),
            ("one\n\nTM-1\nfixes TM-1", "1!"),
            ("fixes 3 bugs", ""),
            ("fix 2 of the 3 problems", ""),
            ("fixes #3", ""),
            ("version 3.1 is out", ""),
            ("task force", ""),
            ("TM-0, TM-x, TM-", ""),
            ("fix", ""),
            ("fixes tasks", ""),
            ("", ""),
        ] {
            assert_eq!(shown(message), tasks, "{message}");
        }
    }

    #[test]
    fn a_message_that_names_very_many_is_bounded() {
        let message: String = (1..1000).map(|n| format!("TM-{n} ")).collect();
        assert_eq!(named(&message).len(), MOST_NAMED);
    }
}
