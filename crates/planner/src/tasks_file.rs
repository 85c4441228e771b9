//! A project's files on disk: tasks.json as a value, as text and under a lock; the files beside it; the layout of both.
//!
//! Whoever wrote the file, [`TasksFile::read`] takes it and [`TasksFile::write`] writes one dialect that Task Master
//! clients of every version accept. Fields that nobody here knows come back to the letter; tags that nobody touched, too.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::{Extra, Raw, Tasks};

mod disk;
mod error;
mod fields;
mod layout;
mod lock;
mod read;
mod report;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use disk::{Edited, FileError, edit_file, read_file, read_whole};
pub use error::ReadError;
pub use layout::{Layout, Made, Move, Provider, Roles};
pub use report::{Analysis, ReportFacts, complexity_report};

/// The tag that is there without anybody having made it.
pub const MAIN_TAG: &str = "master";
/// No file of a project may be larger.
pub const MAX_FILE_BYTES: u64 = 64 << 20;
/// How many tasks a tag may have, at all depths together.
pub const MAX_TASKS: usize = 20_000;
/// How many tags a file may have.
pub const MAX_TAGS: usize = 1000;
/// How many dependencies a file may have.
pub const MAX_DEPENDENCIES: usize = 200_000;
/// How many JSON values a file may have, those of unknown fields among them.
pub const MAX_VALUES: usize = 2_000_000;
/// How deep brackets may stand in each other: what every JSON reader takes.
pub const MAX_NESTING: usize = 100;
/// How many oddities are told; more are counted.
pub const MAX_ODDITIES: usize = 200;

/// A tasks.json: tags in their order, and what else stands beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TasksFile {
    tags: Vec<Tag>,
    extra: Extra,
}

/// A list of tasks with a name. Equal are tags that say the same, however they are written.
#[derive(Clone, Debug)]
pub struct Tag {
    name: String,
    tasks: Tasks,
    metadata: Extra,
    extra: Extra,
    /// Its text, as long as nobody changed it.
    as_read: Option<Arc<Raw>>,
}

/// What was read, and what was odd about it.
#[derive(Clone, Debug)]
pub struct Read {
    /// The file.
    pub file: TasksFile,
    /// Everything that was not taken as it stood, in the order of the file.
    pub oddities: Vec<Oddity>,
    /// How many there are beyond [`MAX_ODDITIES`].
    pub more_oddities: usize,
}

/// Something that a file should not hold, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Oddity {
    /// Where, counted from 1.
    pub line: usize,
    /// In which tag; empty outside of any.
    pub tag: String,
    /// The address of the task; empty for the tag itself.
    pub place: String,
    /// What is odd, continuing the place's name: `has number 3 twice: the later task becomes 9`.
    pub what: String,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, tag, place, what) = (self.line, self.tag.escape_debug(), &self.place, &self.what);
        match (self.tag.is_empty(), place.is_empty()) {
            (true, true) => write!(f, "line {line}: the file {what}"),
            (true, false) => write!(f, "line {line}: `{}` {what}", place.escape_debug()),
            (false, true) => write!(f, "line {line}: tag `{tag}` {what}"),
            (false, false) => write!(f, "line {line}: task {place} of `{tag}` {what}"),
        }
    }
}

impl TasksFile {
    /// Reads a whole file.
    pub fn read(bytes: &[u8]) -> Result<Read, ReadError> {
        read::read(bytes)
    }

    /// The file's text.
    pub fn write(&self) -> serde_json::Result<String> {
        write::write(self)
    }

    /// All tags.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The tag `name`.
    pub fn tag(&self, name: &str) -> Option<&Tag> {
        self.tags.iter().find(|tag| tag.name == name)
    }

    /// What stands beside the tags, and is none.
    pub fn extra(&self) -> &Extra {
        &self.extra
    }

    /// Puts other fields beside the tags.
    pub fn set_extra(&mut self, extra: Extra) {
        self.extra = extra;
    }

    /// Gives the tag `name`, made if it is not there, these tasks; `now` (RFC 3339) becomes its time of change.
    /// With the tasks that it has, nothing changes.
    pub fn set_tasks(&mut self, name: &str, tasks: Tasks, now: &str) -> serde_json::Result<()> {
        let old = self.tag(name);
        if old.is_some_and(|tag| tag.tasks == tasks) {
            return Ok(());
        }
        let (metadata, extra) = old.map(|tag| (tag.metadata.clone(), tag.extra.clone())).unwrap_or_default();
        let mut tag = Tag::new(name, tasks, metadata, extra);
        tag.stamp(now)?;
        self.put(tag);
        Ok(())
    }

    /// Puts a tag in the place of the one with its name, or behind all others.
    pub fn put(&mut self, tag: Tag) {
        match self.tags.iter_mut().find(|other| other.name == tag.name) {
            Some(old) => *old = tag,
            None => self.tags.push(tag),
        }
    }
}

impl Tag {
    /// A tag with what was kept of it elsewhere: the fields of its `metadata`, and those beside that.
    pub fn new(name: &str, tasks: Tasks, metadata: Extra, extra: Extra) -> Self {
        Self { name: name.to_owned(), tasks, metadata, extra, as_read: None }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The fields of its `metadata`: `created`, `updated`, `description`, and whatever else.
    pub fn metadata(&self) -> &Extra {
        &self.metadata
    }

    /// The fields beside its tasks and its `metadata`.
    pub fn extra(&self) -> &Extra {
        &self.extra
    }

    /// What it is for; empty when nobody said so.
    pub fn description(&self) -> String {
        fields::text_of(&self.metadata, "description").unwrap_or_default()
    }

    /// Writes the time of a change, and the figures that newer clients keep, into the metadata.
    fn stamp(&mut self, now: &str) -> serde_json::Result<()> {
        let has = |metadata: &Extra, name: &str| metadata.iter().any(|(field, _)| field == name);
        if !has(&self.metadata, "created") {
            fields::set(&mut self.metadata, "created", now)?;
        }
        fields::set(&mut self.metadata, "updated", now)?;
        if !has(&self.metadata, "description") {
            fields::set(&mut self.metadata, "description", format!("Tasks of {}", self.name))?;
        }
        self.count()?;
        if has(&self.metadata, "lastModified") {
            fields::set(&mut self.metadata, "lastModified", now)?;
        }
        Ok(())
    }

    /// Brings the figures up to date that newer clients keep in the metadata.
    pub fn count(&mut self) -> serde_json::Result<()> {
        let finished = self.tasks.top().iter().filter(|task| task.status == crate::Status::Done).count();
        let figures = [("taskCount", self.tasks.top().len()), ("completedCount", finished)];
        for (name, figure) in figures {
            if self.metadata.iter().any(|(field, _)| field == name) {
                fields::set(&mut self.metadata, name, figure)?;
            }
        }
        Ok(())
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.tasks == other.tasks
            && (&self.name, &self.metadata, &self.extra) == (&other.name, &other.metadata, &other.extra)
    }
}
