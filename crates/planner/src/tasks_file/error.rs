//! Why a tasks.json cannot be read at all, and what a person does about it.

use base::{Code, Fault};

use super::{MAX_DEPENDENCIES, MAX_FILE_BYTES, MAX_NESTING, MAX_TAGS, MAX_TASKS, MAX_VALUES};
use crate::task::MAX_DEPTH;

/// Why a text is not a tasks.json, nor any other file of a project.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// Bytes that are no text.
    #[error("line {line} is not UTF-8 text")]
    NotText {
        /// Where, counted from 1.
        line: usize,
    },
    /// Broken JSON.
    #[error("it is not JSON: {why}")]
    NotJson {
        /// The parser's words, with line and column.
        why: String,
        /// The first line in which git left the mark of a conflict.
        conflict: Option<usize>,
    },
    /// JSON of another kind.
    #[error("it holds {found}, not {wanted}")]
    OtherKind {
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// More bytes than anybody reads.
    #[error("it is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// More brackets in brackets than anybody reads.
    #[error("line {line} is nested deeper than {MAX_NESTING} levels")]
    TooNested {
        /// Where, counted from 1.
        line: usize,
    },
    /// Subtasks below the deepest address.
    #[error("task {task} has subtasks, and is at the deepest level, {MAX_DEPTH}, already")]
    TooDeep {
        /// Its address.
        task: crate::TaskId,
    },
    /// More than [`MAX_VALUES`] in the file.
    #[error("it has more than {MAX_VALUES} values")]
    TooManyValues,
    /// Field after field with the same name.
    #[error("line {line} begins an object with many fields of the same name")]
    TooManyTwins {
        /// Where, counted from 1.
        line: usize,
    },
    /// More than [`MAX_TASKS`] in a tag.
    #[error("tag `{}` has more than {MAX_TASKS} tasks", tag.escape_debug())]
    TooManyTasks {
        /// Its name.
        tag: String,
    },
    /// More than [`MAX_DEPENDENCIES`] in the file.
    #[error("it has more than {MAX_DEPENDENCIES} dependencies")]
    TooManyDependencies,
    /// More than [`MAX_TAGS`] in the file.
    #[error("it has more than {MAX_TAGS} tags")]
    TooManyTags,
}

impl ReadError {
    /// What a client is told.
    pub fn code(&self) -> Code {
        match self {
            Self::Empty | Self::NotText { .. } | Self::NotJson { .. } | Self::OtherKind { .. } => Code::InvalidArgument,
            _ => Code::TooLarge,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Empty => "restore it from version control or a backup, or delete it to begin anew".to_owned(),
            Self::NotJson { conflict: Some(line), .. } => {
                format!("git left a conflict in line {line}: choose a side, remove the marks, and try again")
            }
            Self::NotText { .. } | Self::NotJson { .. } => {
                "mend that line, or restore the file from version control or a backup".to_owned()
            }
            Self::OtherKind { wanted, .. } => format!("name the file that holds {wanted}"),
            Self::TooLarge | Self::TooManyValues | Self::TooNested { .. } | Self::TooManyTwins { .. } => {
                "check that this is the file that was meant".to_owned()
            }
            Self::TooDeep { .. } => "lift these subtasks to a higher level".to_owned(),
            Self::TooManyTasks { .. } | Self::TooManyDependencies | Self::TooManyTags => {
                "split it into several projects".to_owned()
            }
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Fault {
        Fault::new(error.code(), error.to_string()).hint(error.hint())
    }
}
