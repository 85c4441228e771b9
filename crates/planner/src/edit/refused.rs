//! Why an edit is not made.

use base::{Code, Fault};

use super::{MAX_DEPENDENCIES, MAX_TASKS, MAX_TEXT_BYTES, MAX_TITLE_CHARS};
use crate::TaskId;
use crate::graph::Breach;
use crate::task::MAX_DEPTH;

/// Why an edit is not made; nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// Nobody has that address.
    #[error("there is no task {id}")]
    NoTask {
        /// Which address.
        id: TaskId,
    },
    /// Somebody has that address.
    #[error("could not move task {from} to {to}: there is a task {to} already")]
    Taken {
        /// What should move.
        from: TaskId,
        /// Where to.
        to: TaskId,
    },
    /// A move into itself, or lists of unequal length.
    #[error("could not move tasks: {why}")]
    NoMove {
        /// Why.
        why: String,
    },
    /// The tree would break a rule of dependencies.
    #[error("could not {edit}: {breach}")]
    Breach {
        /// What was wanted.
        edit: String,
        /// Which rule.
        breach: Breach,
    },
    /// The dependency is there already.
    #[error("task {id} waits for {on} already")]
    IsDependent {
        /// Who waits.
        id: TaskId,
        /// For whom.
        on: TaskId,
    },
    /// The dependency is not there.
    #[error("task {id} does not wait for {on}")]
    NotDependent {
        /// Who would wait.
        id: TaskId,
        /// For whom.
        on: TaskId,
    },
    /// A text is missing or too long.
    #[error("could not keep the {field} of task {id}: {why}")]
    BadText {
        /// Whose.
        id: TaskId,
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Too many of something.
    #[error("could not add tasks: {why}")]
    TooMany {
        /// Of what, and how many are possible.
        why: String,
    },
    /// Nothing is named.
    #[error("could not {edit}: no task is named")]
    Nothing {
        /// What was wanted.
        edit: &'static str,
    },
    /// Two tasks have one number.
    #[error("two tasks have the id {id}")]
    Twice {
        /// Which.
        id: TaskId,
    },
    /// Dependencies would have to cross tags.
    #[error("could not move tasks to another tag: {}", pairs(.edges))]
    Crosses {
        /// Who waits for whom.
        edges: Vec<(TaskId, TaskId)>,
    },
}

fn pairs(edges: &[(TaskId, TaskId)]) -> String {
    let shown: Vec<String> = edges.iter().take(5).map(|(id, on)| format!("{id} waits for {on}")).collect();
    let more = edges.len().saturating_sub(shown.len());
    if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
}

impl EditError {
    /// The code that faces go by.
    pub fn code(&self) -> Code {
        match self {
            Self::NoTask { .. } => Code::NotFound,
            Self::Taken { .. } | Self::Breach { .. } | Self::IsDependent { .. } | Self::Crosses { .. } => {
                Code::Conflict
            }
            Self::TooMany { .. } => Code::TooLarge,
            _ => Code::InvalidArgument,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NoTask { .. } => "`tmctl tasks list` shows the ids that there are".into(),
            Self::Taken { .. } => "choose an address that is free, or remove that task first".into(),
            Self::NoMove { .. } => "name as many addresses to go to as tasks to move".into(),
            Self::Breach { .. } => "`tmctl tasks graph` shows who waits for whom".into(),
            Self::IsDependent { .. } | Self::NotDependent { .. } => {
                "`tmctl tasks show ID` lists its dependencies".into()
            }
            Self::BadText { .. } => {
                format!("titles have 1 to {MAX_TITLE_CHARS} characters, texts at most {MAX_TEXT_BYTES} bytes")
            }
            Self::TooMany { .. } => format!(
                "a tag has at most {MAX_TASKS} tasks, {MAX_DEPTH} levels deep, each with at most {MAX_DEPENDENCIES} dependencies; use another tag"
            ),
            Self::Nothing { .. } => "name at least one id".into(),
            Self::Twice { .. } => "give every task a number of its own among its siblings".into(),
            Self::Crosses { .. } => {
                "take along what they wait for (`--with-dependencies`), or cut it (`--ignore-dependencies`)".into()
            }
        }
    }
}

impl From<EditError> for Fault {
    fn from(error: EditError) -> Fault {
        Fault::new(error.code(), error.to_string()).hint(error.hint())
    }
}
