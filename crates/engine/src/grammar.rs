//! Answers that keep to a JSON schema: after each token, which tokens may follow (llguidance).

use std::sync::Arc;

use base::{Code, Fault, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{SimpleVob, TokEnv};

/// A larger schema is refused before anything is made of it.
const MOST_SCHEMA_BYTES: usize = 1 << 20;

/// Makes grammars for one vocabulary.
pub struct Grammars {
    vocabulary: TokEnv,
    factory: Arc<ParserFactory>,
}

impl Grammars {
    /// Walks the whole vocabulary: done once per model.
    pub fn new(model: &LlamaModel) -> Result<Self> {
        let vocabulary = LlamaSampler::llguidance_tok_env(model);
        let mut factory = ParserFactory::new_simple(&vocabulary)
            .map_err(|error| Fault::internal(format!("could not prepare for schemas: {error:#}")))?;
        factory.limits_mut().verbose_errors = false;
        factory.quiet();
        Ok(Self { vocabulary, factory: Arc::new(factory) })
    }

    /// The grammar of `schema_json`.
    pub fn grammar(&self, schema_json: &str) -> Result<Grammar> {
        if schema_json.len() > MOST_SCHEMA_BYTES {
            return Err(refused("it is longer than 1 MiB"));
        }
        let mut schema: Value = serde_json::from_str(schema_json).map_err(|error| refused(&error.to_string()))?;
        let Value::Object(fields) = &mut schema else { return Err(refused("it is not an object")) };
        // Free JSON means an object to every client that asks for it.
        if fields.is_empty() {
            fields.insert("type".into(), "object".into());
        }
        // With free whitespace, a weak model writes line ends until its limit is reached.
        fields.insert("x-guidance".into(), json!({"whitespace_flexible": false}));
        let parser = self.factory.create_parser(TopLevelGrammar::from_json_schema(schema));
        let matcher = Matcher::new(Ok(parser.map_err(|error| refused(&first_line(&format!("{error:#}"))))?));
        let mut grammar = Grammar { matcher };
        // What can never begin, or is too wide to follow, shows here and not in the middle of an answer.
        let begun = grammar.matcher.compute_mask_or_eos().map_err(|error| refused(&first_line(&error.to_string())))?;
        if begun.is_zero() {
            return Err(refused("nothing fits it"));
        }
        Ok(grammar)
    }

    /// Tokens that spell exactly these bytes, longest first.
    pub fn spell(&self, bytes: &[u8]) -> Vec<u32> {
        self.vocabulary.tok_trie().greedy_tokenize(bytes)
    }
}

fn first_line(text: &str) -> String {
    // Some messages begin with their kind and say what is wrong on the next lines.
    text.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>().join(" ")
}

fn refused(why: &str) -> Fault {
    Fault::new(Code::InvalidArgument, format!("the JSON schema cannot be kept to: {why}"))
        .hint("leave that keyword out, or ask without a schema and check the answer yourself")
}

/// Where one answer is in its grammar.
pub struct Grammar {
    matcher: Matcher,
}

impl Grammar {
    /// The tokens that may follow.
    pub fn allowed(&mut self) -> Result<SimpleVob> {
        self.matcher.compute_mask_or_eos().map_err(|error| broken(&error.to_string()))
    }

    /// `token` follows.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        // The mark of the end comes after a parser that has stopped already.
        if self.matcher.is_stopped() {
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|error| broken(&error.to_string()))
    }

    /// Whether nothing can follow.
    pub fn is_over(&self) -> bool {
        self.matcher.is_stopped()
    }
}

fn broken(why: &str) -> Fault {
    // The schema's fault, and not the model's: it is not held against that.
    Fault::new(Code::InvalidArgument, format!("the answer left its JSON schema: {}", first_line(why)))
        .hint("ask again; a simpler schema is easier to keep to")
}
