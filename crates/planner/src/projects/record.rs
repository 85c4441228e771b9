//! The records of projects and tags as they lie in the store.

use std::collections::BTreeMap;

use base::{Fault, Result};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Extra, Status, Tasks};

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
    /// Unix milliseconds.
    pub created_ms: u64,
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
    /// A change of many tasks writes all of them anew beside the old ones; these are the last few, the newest last.
    pub(super) generations: Vec<String>,
    /// Tells one's own write from another's when the answer to it got lost.
    pub(super) last_write: String,
    /// Keys of the last changes that came with one, with the revision each made.
    #[serde(default)]
    pub(super) keys: Vec<(String, u64)>,
}

impl Tag {
    /// A new tag without tasks.
    pub(super) fn new(description: &str, now: u64) -> Self {
        Self {
            id: random(),
            description: description.to_owned(),
            created_ms: now,
            updated_ms: now,
            generations: vec![random()],
            ..Self::default()
        }
    }

    /// Where its tasks lie now.
    pub(super) fn generation(&self) -> &str {
        self.generations.last().map_or("", String::as_str)
    }

    /// Counts anew.
    pub(super) fn count(&mut self, tasks: &Tasks) {
        self.tasks = 0;
        self.by_status.clear();
        for (_, task) in tasks.walk() {
            self.tasks += 1;
            *self.by_status.entry(task.status).or_default() += 1;
        }
    }
}

pub(super) fn random() -> String {
    format!("{:016x}", fastrand::u64(..))
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
