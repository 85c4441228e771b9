//! A task as everyone here sees it. Tasks and subtasks are the same thing at another depth, addressed as `3.1.2`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The deepest address; what is nested deeper is refused where it enters.
pub const MAX_DEPTH: usize = 8;

/// The highest number of a task; addresses with more digits are not read.
pub const MAX_NUMBER: u32 = 999_999_999;
/// Numbers above it are somebody's slip: counting goes on below them, where there is room.
pub const MAX_COUNTED: u32 = 900_000_000;

/// The address of a task in its tag: its number among its siblings, behind those of its parents. Never empty, never 0.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(Vec<u32>);

impl TaskId {
    /// The top-level task `number`.
    pub fn top(number: u32) -> Self {
        Self(vec![number])
    }

    /// The subtask `number` of this one.
    pub fn child(&self, number: u32) -> Self {
        let mut path = self.0.clone();
        path.push(number);
        Self(path)
    }

    /// The task that this one is a subtask of.
    pub fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        (!parents.is_empty()).then(|| Self(parents.to_vec()))
    }

    /// Its number among its siblings.
    pub fn number(&self) -> u32 {
        self.0.last().copied().unwrap_or_default()
    }

    /// The number of the top-level task that it is, or is in.
    pub fn root(&self) -> u32 {
        self.0.first().copied().unwrap_or_default()
    }

    /// 1 for a top-level task.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// All numbers, the top-level one first.
    pub fn path(&self) -> &[u32] {
        &self.0
    }

    /// The address with its first `depth` numbers, which are a task that moves, as those of `to`.
    pub fn moved(&self, depth: usize, to: &TaskId) -> Self {
        let below = self.0.get(depth..).unwrap_or_default();
        Self([&to.0, below].concat())
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &TaskId) -> bool {
        self.0.starts_with(&other.0)
    }
}

/// The text is not an address such as `3` or `3.1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not the id of a task", text.escape_debug())]
pub struct NotAnId {
    /// What was given.
    pub text: String,
}

impl FromStr for TaskId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let number = |part: &str| {
            let plain = !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|&number| plain && number > 0)
        };
        let path = text.trim().split('.').map(number).collect::<Option<Vec<_>>>();
        match path.filter(|path| path.len() <= MAX_DEPTH) {
            Some(path) => Ok(Self(path)),
            None => Err(NotAnId { text: text.chars().take(60).collect() }),
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, number) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{number}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The number behind those of some siblings.
pub fn next_number(siblings: impl Iterator<Item = u32>) -> u32 {
    siblings.filter(|number| *number <= MAX_COUNTED).max().unwrap_or(0) + 1
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not begun.
    #[default]
    Pending,
    /// Someone works on it.
    InProgress,
    /// Done, if a second look agrees.
    Review,
    /// Finished.
    Done,
    /// Put off.
    Deferred,
    /// Will not be done.
    Cancelled,
    /// Cannot go on for a reason outside the plan.
    Blocked,
}

impl Status {
    /// Every status.
    pub const ALL: &'static [Status] =
        &[Self::Pending, Self::InProgress, Self::Review, Self::Done, Self::Deferred, Self::Cancelled, Self::Blocked];

    /// The word for it in files and faces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in-progress",
            Self::Review => "review",
            Self::Done => "done",
            Self::Deferred => "deferred",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
        }
    }

    /// Reads a status as any client writes it: `completed` is `done`; case, `_` and spaces do not matter.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.trim().to_ascii_lowercase().replace(['_', ' '], "-");
        match plain.as_str() {
            "completed" => Some(Self::Done),
            "canceled" => Some(Self::Cancelled),
            "todo" => Some(Self::Pending),
            word => Self::ALL.iter().copied().find(|status| status.as_str() == word),
        }
    }

    /// Whether those that depend on it may begin. A cancelled task stands in nobody's way.
    pub const fn satisfies(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a task matters; `Critical` sorts last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Can wait.
    Low,
    /// The usual one.
    #[default]
    Medium,
    /// Matters much.
    High,
    /// Nothing works without it.
    Critical,
}

impl Priority {
    /// Every priority, the lowest first.
    pub const ALL: &'static [Priority] = &[Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word for it in files and faces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Reads a priority, whatever its case.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.trim().to_ascii_lowercase();
        Self::ALL.iter().copied().find(|priority| priority.as_str() == plain)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A JSON value that nobody here reads, kept to the letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Raw(pub Box<RawValue>);

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// Fields that nobody here knows, in the order in which they stood.
pub type Extra = Vec<(String, Raw)>;

/// How hard a task is, and what follows from that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Complexity {
    /// 1 (trivial) to 10.
    pub score: u8,
    /// Into how many subtasks it should fall.
    pub recommended_subtasks: u32,
    /// What to tell whoever splits it.
    pub expansion_prompt: String,
    /// Why the score is what it is.
    pub reasoning: String,
}

impl Complexity {
    /// From this score on a task should be split, where nobody says otherwise.
    pub const HARD: u8 = 5;
}

/// The part of a document that a task comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The requirement's name in its plan, such as `R12`; empty when it is a place only.
    pub requirement: String,
    /// The first line, counted from 1.
    pub first_line: u32,
    /// The last line.
    pub last_line: u32,
}

/// A task or a subtask. Its number is its place among its siblings, not in the list: numbers may have gaps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Task {
    /// Its number among its siblings, from 1.
    pub number: u32,
    /// What is to be done, in one line.
    pub title: String,
    /// The same in a sentence or two.
    pub description: String,
    /// How.
    pub details: String,
    /// How one sees that it is done.
    pub test_strategy: String,
    /// Where it stands.
    pub status: Status,
    /// How much it matters.
    pub priority: Priority,
    /// Tasks that must be done before it; full addresses in the same tag.
    pub dependencies: Vec<TaskId>,
    /// Tasks that it consists of, in the order of their numbers.
    pub subtasks: Vec<Task>,
    /// How hard it is, once somebody said so.
    pub complexity: Option<Complexity>,
    /// Which lines of which requirement it covers.
    pub sources: Vec<Source>,
    /// Who made it: `structural`, a model's name, or empty for people.
    pub made_by: String,
    /// When it was last changed, as RFC 3339; empty when nobody wrote that down.
    pub updated_at: String,
    /// The revision of its tag that changed it last; 0 outside the store.
    pub version: u64,
    /// What other programs wrote into it, `metadata` among it.
    pub extra: Extra,
}

impl Task {
    /// A pending task of which only the title is known.
    pub fn titled(number: u32, title: impl Into<String>) -> Self {
        Self { number, title: title.into(), ..Self::default() }
    }

    /// How many tasks this is with everything below it.
    pub fn count(&self) -> usize {
        1 + self.subtasks.iter().map(Task::count).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_anything_else_is_refused() {
        for text in ["1", "12.3", "1.2.3.4"] {
            assert_eq!(text.parse::<TaskId>().map(|id| id.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "0", "1.", ".1", "1..2", "-1", "+1", "a", "1.0", "1.2.3.4.5.6.7.8.9", "99999999999"] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_below_a_task_moves_with_it() {
        let id = |text: &str| text.parse::<TaskId>().unwrap();
        for (from, depth, to, moved) in [("3.1.2", 1, "7", "7.1.2"), ("3.1.2", 2, "8", "8.2"), ("3", 1, "4.5", "4.5")] {
            assert_eq!(id(from).moved(depth, &id(to)), id(moved), "{from}");
        }
    }

    #[test]
    fn a_status_is_read_as_any_client_writes_it() {
        assert_eq!(Status::parse("In_Progress"), Some(Status::InProgress));
        assert_eq!(Status::parse("completed"), Some(Status::Done));
        assert_eq!(Status::parse("finished"), None);
        assert!(Status::ALL.iter().all(|&status| Status::parse(status.as_str()) == Some(status)));
    }
}
