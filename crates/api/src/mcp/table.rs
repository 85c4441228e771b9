//! Every tool: its name, what it is for, its arguments, what it may do, and its code.
//!
//! Names and arguments are upstream's (UPSTREAM.md, section 5), with ours behind them; a test holds the two together.

mod arguments;
mod entries;

use std::fmt;
use std::sync::Arc;

use base::BoxFuture;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use super::call::{Call, Said};
use entries::TOOLS;

/// A tool's code.
pub(super) type Run = for<'a> fn(&'a Call<'a>) -> BoxFuture<'a, Said>;

/// A tool.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) effect: Effect,
    set: Set,
    /// Those of its own; every tool also takes [`arguments::PLACE`].
    own: &'static [Argument],
    pub(super) run: Run,
}

/// What a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Looks only.
    Reads,
    /// Adds or changes; can be undone.
    Changes,
    /// Takes something away.
    Destroys,
}

/// The smallest set that has a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Core,
    Standard,
    All,
}

/// An argument of a tool.
pub(super) struct Argument {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    is_required: bool,
    pub(super) about: &'static str,
}

/// What an argument is. Clients write ids as numbers and numbers as texts: both are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    /// Texts in a list, or one with commas.
    Texts,
    OneOf(&'static [&'static str]),
    /// An object, or its text.
    Object,
    /// Objects in a list.
    Objects,
}

impl Kind {
    pub(super) fn number(value: &Value) -> Option<u64> {
        match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string() || value.is_number(),
            Self::Number => Self::number(value).is_some(),
            Self::Flag => value.is_boolean() || value.as_str().is_some_and(|text| ["true", "false"].contains(&text)),
            Self::Texts => value.is_string() || value.is_number() || value.is_array(),
            Self::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Object => value.is_object() || value.is_string(),
            Self::Objects => value.as_array().is_some_and(|list| list.iter().all(Value::is_object)),
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Number => json!({ "type": ["integer", "string"], "minimum": 0 }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Texts => json!({ "type": ["string", "array"], "items": { "type": "string" } }),
            Self::OneOf(words) => json!({ "type": "string", "enum": words }),
            Self::Object => json!({ "type": ["object", "string"] }),
            Self::Objects => json!({ "type": "array", "items": { "type": "object" } }),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("a text"),
            Self::Number => f.write_str("a whole number from 0 up"),
            Self::Flag => f.write_str("true or false"),
            Self::Texts => f.write_str("a list of texts"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Object => f.write_str("an object"),
            Self::Objects => f.write_str("a list of objects"),
        }
    }
}

impl Entry {
    fn arguments(&self) -> impl Iterator<Item = &'static Argument> {
        self.own.iter().chain(arguments::PLACE)
    }

    pub(super) fn argument(&self, name: &str) -> Option<&'static Argument> {
        self.arguments().find(|argument| argument.name == name)
    }

    pub(super) fn required(&self) -> impl Iterator<Item = &'static Argument> {
        self.own.iter().filter(|argument| argument.is_required)
    }

    /// As a client sees it.
    pub(super) fn tool(&self) -> Tool {
        let title = self.name.split(['_', '-']).map(capital).collect::<Vec<_>>().join(" ");
        let annotations = ToolAnnotations::with_title(title)
            .read_only(self.effect == Effect::Reads)
            .destructive(self.effect == Effect::Destroys)
            .open_world(false);
        Tool::new(self.name, self.about, Arc::new(self.input_schema()))
            .with_raw_output_schema(Arc::new(output_schema()))
            .with_annotations(annotations)
    }

    fn input_schema(&self) -> JsonObject {
        let properties = self.arguments().map(|argument| {
            let mut schema = argument.kind.schema();
            schema["description"] = json!(argument.about);
            (argument.name.to_owned(), schema)
        });
        let required: Vec<&str> = self.required().map(|argument| argument.name).collect();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), Value::Object(properties.collect()));
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        schema
    }
}

/// What is around the data of every tool.
fn output_schema() -> JsonObject {
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    let properties = json!({
        "data": { "type": "object" },
        "version": { "type": "object", "properties": { "name": { "type": "string" }, "version": { "type": "string" } } },
        "tag": { "type": "object", "properties": {
            "currentTag": { "type": "string" },
            "availableTags": { "type": "array", "items": { "type": "string" } },
        } },
        "notes": { "type": "array", "items": { "type": "string" } },
    });
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), json!(["data", "version"]));
    schema
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The tools that a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tools {
    /// A set with its name, as `TASK_MASTER_TOOLS` has them.
    #[expect(private_interfaces, reason = "only made by `read`")]
    Set(Set),
    /// These.
    Named(Vec<String>),
}

impl Tools {
    /// Reads `core` (or `lean`), `standard`, `all`, or names with commas between; anything else is all of them.
    pub(crate) fn read(text: &str) -> Self {
        match text.trim() {
            "core" | "lean" => Self::Set(Set::Core),
            "standard" => Self::Set(Set::Standard),
            list => {
                let names = list.split(',').map(str::trim).filter(|name| TOOLS.iter().any(|entry| entry.name == *name));
                let names: Vec<String> = names.map(str::to_owned).collect();
                if names.is_empty() { Self::Set(Set::All) } else { Self::Named(names) }
            }
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &'static Entry> {
        TOOLS.iter().filter(|entry| match self {
            Self::Set(set) => entry.set <= *set,
            Self::Named(names) => names.iter().any(|name| name == entry.name),
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'static Entry> {
        self.all().find(|entry| entry.name == name)
    }
}

#[cfg(test)]
mod tests;
