//! The records of projects and tags as they lie in the store.

use std::collections::BTreeMap;

use base::{Code, Fault, Result};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::{Entry, Listing};

use crate::model::OwnModels;
use crate::{Extra, Status, Tasks};

/// Such records go into transactions with much else.
const MOST_ABOUT_BYTES: usize = store::MAX_TXN_BYTES / 64;

/// What is known of a project beside its tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// In a sentence.
    pub description: String,
    /// The tag that calls without one mean.
    pub current_tag: String,
    /// The language of answers, in words; empty: that of the document.
    pub language: String,
    /// The models that plan it, where they are not the cluster's.
    #[serde(default)]
    pub models: OwnModels,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Fields of its tasks.json that are no tags.
    #[serde(default)]
    pub extra: Extra,
}

/// What is known of a tag beside its tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// Where its tasks lie, whatever it is called.
    pub id: String,
    /// In a sentence.
    pub description: String,
    /// Unix milliseconds.
    pub created_ms: u64,
    /// Unix milliseconds of the last change.
    pub updated_ms: u64,
    /// Counts the changes of its tasks.
    pub revision: u64,
    /// Tasks at every depth.
    pub tasks: u32,
    /// How many of them stand where.
    pub by_status: BTreeMap<Status, u32>,
    /// Why its plan is only a draft; empty when it is none.
    pub draft_because: Vec<String>,
    /// Fields of its metadata in tasks.json that nobody here knows.
    #[serde(default)]
    pub extra: Extra,
    /// Fields that stand there beside its tasks and its metadata.
    #[serde(default)]
    pub beside: Extra,
    /// A change of many tasks writes all of them anew beside the old ones; these are the last few, the newest last.
    pub(super) generations: Vec<String>,
    /// Somebody writes a generation who was crossed before, and wants the others to wait; empty: nobody does.
    #[serde(default)]
    pub(super) held_by: String,
    /// Keys of the last changes that came with one, with the revision each made.
    #[serde(default)]
    pub(super) keys: Vec<(String, u64)>,
}

impl Tag {
    /// A new tag without tasks.
    pub(crate) fn new(description: &str, now: u64) -> Self {
        Self {
            id: random(),
            description: description.to_owned(),
            created_ms: now,
            updated_ms: now,
            generations: vec![generation(0)],
            ..Self::default()
        }
    }

    /// Where its tasks lie now.
    pub(super) fn generation(&self) -> &str {
        self.generations.last().map_or("", String::as_str)
    }

    /// Whether somebody may read a generation, now or once its writer has come to an end.
    pub(super) fn may_need(&self, generation: &str) -> bool {
        // Its writer guards itself with the revision before: once that is over, it cannot be named any more.
        let revision = generation.split_once('-').and_then(|(revision, _)| revision.parse::<u64>().ok());
        self.generations.iter().any(|kept| kept == generation) || revision.is_none_or(|made_by| made_by > self.revision)
    }

    /// Counts anew.
    pub(super) fn count(&mut self, tasks: &Tasks) {
        self.by_status = tasks.by_status();
        self.tasks = self.by_status.values().sum();
    }
}

/// A name for the generation that a revision makes.
pub(super) fn generation(revision: u64) -> String {
    format!("{revision:016}-{}", random())
}

pub(super) fn random() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The tag of that name.
pub(super) fn tag(name: &str, entry: &Entry) -> Result<Tag> {
    Ok(Tag { name: name.to_owned(), ..read(&entry.key, &entry.value)? })
}

/// Reads all records of a listing, each with the rest of its key; nothing is left out in silence.
pub(super) fn read_all<T: DeserializeOwned>(prefix: &str, listing: &Listing) -> Result<Vec<(String, T)>> {
    if let Some(damaged) = listing.damaged.first() {
        let what = format!("could not read record `{}`: {}", damaged.key, damaged.reason);
        return Err(Fault::internal(what).hint("restore it from a backup or an export of the project"));
    }
    let read = |entry: &Entry| {
        let rest = entry.key.strip_prefix(prefix).unwrap_or(&entry.key);
        Ok((rest.to_owned(), read(&entry.key, &entry.value)?))
    };
    listing.entries.iter().map(read).collect()
}

/// Reads a record; one of a later release, or junk, is named.
pub(super) fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| {
        Fault::internal(format!("could not read record `{key}`"))
            .because(error)
            .hint("a later release may have written it; start that one, or restore a backup")
    })
}

pub(super) fn write<T: Serialize>(value: &T) -> Result<Bytes> {
    let json = serde_json::to_vec(value);
    json.map(Bytes::from).map_err(|error| Fault::internal("could not write a record").because(error))
}

/// Writes what is known of a project or a tag beside its tasks, within bounds.
pub(super) fn write_about<T: Serialize>(value: &T) -> Result<Bytes> {
    let value = write(value)?;
    if value.len() > MOST_ABOUT_BYTES {
        let what = format!("could not keep {} bytes about a project or a tag", value.len());
        return Err(Fault::new(Code::TooLarge, what)
            .hint(format!(
                "at most {MOST_ABOUT_BYTES} bytes are possible: write a shorter description, or take out of the tasks.json what \
                 is no task"
            )));
    }
    Ok(value)
}
