//! The models of the house, as research uses them.

use base::{BoxFuture, Result};
use serde::{Deserialize, Serialize};

/// Whose vectors: only those of an equal one may be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Embedder {
    /// The identity of the model in the catalogue.
    pub model: String,
    /// Numbers in a vector.
    pub dims: u32,
}

/// Vectors, in the order of the texts.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// Whose.
    pub by: Embedder,
    /// One for each text, each of length 1.
    pub vectors: Vec<Vec<f32>>,
}

/// A question to a model.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The rules.
    pub system: String,
    /// What is wanted, with its material.
    pub prompt: String,
    /// What the answer must be, as a JSON schema; `None`: free text.
    pub schema: Option<serde_json::Value>,
    /// The answer's most tokens.
    pub most_tokens: u32,
}

/// What a model said.
#[derive(Clone, Debug)]
pub struct Reply {
    /// All of it.
    pub text: String,
    /// Which model.
    pub model: String,
    /// Whether it came to its end by itself.
    pub is_whole: bool,
}

/// What the knowledge base does for somebody.
#[derive(Clone, Debug)]
pub enum Doing {
    /// A research in rounds, by the id of its job.
    Rounds(String),
    /// An answer.
    Question,
    /// A search.
    Search,
}

/// Who embeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Embeds {
    /// The identity of the model; `None`: nobody.
    pub model: Option<String>,
    /// What a person should know of that; empty: nothing.
    pub note: String,
}

impl Embeds {
    /// This model, about which there is nothing to say.
    pub fn with(model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), note: String::new() }
    }
}

/// The models of the house.
pub trait Models: Send + Sync {
    /// Who embeds now, where there are vectors of the model `held`.
    fn embedder(&self, held: Option<&str>) -> Embeds;

    /// What people call the model of that identity; the identity itself where nobody knows.
    fn name_of(&self, model: &str) -> String {
        model.to_owned()
    }

    /// Embeds texts with the model of that name. A fault where nobody can.
    fn embed<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>>;

    /// The same for somebody who waits: before all that is embedded for later.
    fn embed_now<'a>(&'a self, model: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Embedded>> {
        self.embed(model, texts)
    }

    /// Asks the model of the role `research`. Dropping the future ends the work, down to the engine.
    fn ask(&self, prompt: Prompt) -> BoxFuture<'_, Result<Reply>>;

    /// Awaits the whole of some work; whoever answers questions may look on.
    fn during<'a>(&'a self, doing: Doing, done: BoxFuture<'a, Result<()>>) -> BoxFuture<'a, Result<()>> {
        let _ = doing;
        done
    }

    /// Whether a model of the cluster reranks.
    fn reranks(&self) -> bool {
        false
    }

    /// How well each text fits the question, best is highest; `None` where nobody reranks.
    fn rerank<'a>(&'a self, question: &'a str, texts: Vec<String>) -> BoxFuture<'a, Result<Option<Vec<f32>>>>;
}
