//! Which object of GitHub's a task stands for: kept in the task's field `github`, where an update finds it.

use serde::{Deserialize, Serialize};

use crate::{Raw, Task, TaskId, Tasks};

/// The task's field.
pub(crate) const FIELD: &str = "github";

/// An object of GitHub's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    /// `owner/name`.
    pub repo: String,
    /// `issue`, `pull_request`, `release`, `check_run` or `workflow_run`.
    pub kind: String,
    /// Of an issue, a pull request or a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Of a check or a workflow.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where that ran.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub branch: String,
    /// When GitHub's object was as the task knows it; deliveries may come in another order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
}

impl Link {
    /// As the field of a task.
    pub fn raw(&self) -> Option<Raw> {
        serde_json::value::to_raw_value(self).ok().map(Raw)
    }

    /// Whether both are the same object, at whatever time.
    fn is_same(&self, other: &Self) -> bool {
        // To people, a workflow and its job of the same name are one check.
        let is_same_kind = self.kind == other.kind || self.is_check() && other.is_check();
        let is_same_object = is_same_kind && self.number == other.number && self.name == other.name;
        is_same_object && self.branch == other.branch && self.repo.eq_ignore_ascii_case(&other.repo)
    }

    fn is_check(&self) -> bool {
        matches!(self.kind.as_str(), "check_run" | "workflow_run")
    }

    /// Whether this is what was, and not what is.
    pub fn is_older_than(&self, known: &Self) -> bool {
        // GitHub writes times so that their texts sort as they do.
        !self.at.is_empty() && self.at.len() == known.at.len() && self.at < known.at
    }
}

/// The first task that stands for the object, with what it knows of it.
pub(super) fn find<'a>(tasks: &'a Tasks, link: &Link) -> Option<(TaskId, &'a Task, Link)> {
    tasks.walk().find_map(|(id, task)| {
        let (_, raw) = task.extra.iter().find(|(name, _)| name == FIELD)?;
        let known = serde_json::from_str::<Link>(raw.0.get()).ok().filter(|known| known.is_same(link))?;
        Some((id, task, known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_found_by_what_it_stands_for() {
        let link = Link { repo: "o/r".into(), kind: "issue".into(), number: Some(5), ..Link::default() };
        let mut task = Task::titled(2, "two");
        task.extra = vec![(FIELD.to_owned(), Link { at: "2024".into(), ..link.clone() }.raw().unwrap())];
        let mut other = Task::titled(1, "one");
        other.extra = vec![(FIELD.to_owned(), Raw(serde_json::value::to_raw_value(&7).unwrap()))];
        let tasks = Tasks::new([other, task]);
        let (id, _, known) = find(&tasks, &Link { repo: "O/R".into(), ..link.clone() }).unwrap();
        assert_eq!((id, known.at.as_str()), (TaskId::top(2), "2024"));
        for unlike in [Link { number: Some(6), ..link.clone() }, Link { kind: "release".into(), ..link.clone() }] {
            assert!(find(&tasks, &unlike).is_none());
        }
    }

    #[test]
    fn later_news_is_not_older() {
        let at = |at: &str| Link { at: at.to_owned(), ..Link::default() };
        assert!(at("2024-05-01T10:00:00Z").is_older_than(&at("2024-05-01T10:00:01Z")));
        for (one, other) in [("2024-05-01T10:00:01Z", "2024-05-01T10:00:01Z"), ("", "2024-05-01T10:00:01Z"), ("x", "")]
        {
            assert!(!at(one).is_older_than(&at(other)), "{one} {other}");
        }
    }
}
