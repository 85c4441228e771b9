//! What the questions of a job took: how many, tokens, which models. Models of the house cost nothing, and that is said too.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::Checked;

/// Where it stands in what a job gives.
const SPENT: &str = "spent";

/// What a job's questions took, whichever node asked them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// How many were asked.
    pub questions: u32,
    /// Tokens of all questions.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub answer_tokens: u64,
    /// Who gave answers that were taken.
    pub models: BTreeSet<String>,
    /// Documents of the house that questions were asked with.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sources: BTreeSet<String>,
    /// In money: always 0.
    pub cost: u32,
}

impl Spent {
    /// What a job tells that it took; `None` where nothing was asked.
    pub fn of(result: &Value) -> Option<Self> {
        serde_json::from_value(result.get(SPENT)?.clone()).ok()
    }

    fn count<T>(&mut self, checked: &Checked<T>) {
        self.questions += checked.asked;
        self.prompt_tokens += u64::from(checked.tokens.0);
        self.answer_tokens += u64::from(checked.tokens.1);
        self.sources.extend(checked.sources.iter().cloned());
        self.models.extend(checked.answer.is_some().then(|| checked.model.clone()));
    }
}

/// Counts while questions are asked at once.
#[derive(Default)]
pub(super) struct Counter(Mutex<Spent>);

impl Counter {
    /// A step that an earlier try recorded is counted as well: it is part of what the job took.
    pub fn count<T>(&self, checked: &Checked<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count(checked);
    }

    /// Adds it to what the job gives, where anything was asked.
    pub fn onto(self, mut result: Value) -> Value {
        let spent = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(fields) = result.as_object_mut() {
            fields.insert(SPENT.to_owned(), if spent.questions > 0 { json!(spent) } else { Value::Null });
        }
        result
    }
}
