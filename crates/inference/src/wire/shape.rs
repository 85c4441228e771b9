//! The shape of the JSON that a prompt asks for in prose, as a schema.
//!
//! Clients without schemas ask for "a JSON object" and describe it: a property that wraps everything, and a block of
//! fields in braces or a list of them. Where the words are plain, the engine's grammar can keep to them; where they are not,
//! there is no schema, and the answer is any JSON. What instructs stands in the system message, or at a user's end; what
//! lies between may be somebody's document, and is not read for a wrapper first.

use serde_json::{Map, Value, json};

pub(super) mod bounds;
mod field;

/// Of a longer message only so much is read, at its beginning and at its end.
const READ_BYTES: usize = 64 << 10;
/// A block of fields follows the word that announces it this soon.
const NEAR_BYTES: usize = 400;
/// What announces the property around everything, before its name.
const WRAPPERS: [&str; 6] = [
    "JSON object with a \"",
    "JSON object with an \"",
    "JSON object with a single \"",
    "single key \"",
    "single property named \"",
    "single property called \"",
];

/// A schema for the answer to a conversation of (is it the system's, text); `None` when the prose is not plain enough.
pub(super) fn infer(messages: &[(bool, &str)]) -> Option<Value> {
    let system = messages.iter().find(|(is_system, _)| *is_system).map(|(_, text)| head(text));
    let user = messages.iter().rev().find(|(is_system, _)| !*is_system).map(|(_, text)| *text);
    if let Some(system) = system {
        if let Some(wrapper) = Wrapper::find(system, false) {
            let fields = field::block(system).or_else(|| user.and_then(example));
            return Some(wrapper.schema(fields));
        }
        if let Some(fields) = announced(system, 0) {
            return Some(fields);
        }
    }
    let user = user?;
    let end = tail(user);
    match Wrapper::find(end, true) {
        Some(wrapper) => {
            let fields = announced(end, wrapper.at).or_else(|| example(user));
            Some(wrapper.schema(fields))
        }
        None => announced(end, end.rfind("JSON object")?),
    }
}

/// The fields of a block that the word JSON announces shortly before, behind `from`.
fn announced(text: &str, from: usize) -> Option<Value> {
    let at = from + text.get(from..)?.find("JSON")?;
    let near = text.get(at..text.ceil_char_boundary(text.len().min(at + NEAR_BYTES)))?;
    let start = field::start(near)?;
    field::block(text.get(at + start..)?)
}

/// The property that stands around everything.
struct Wrapper<'a> {
    name: &'a str,
    is_list: bool,
    /// Where it was found.
    at: usize,
}

impl<'a> Wrapper<'a> {
    /// The first one, or with `is_last` the last one.
    fn find(text: &'a str, is_last: bool) -> Option<Self> {
        let find = |mark: &str| if is_last { text.rfind(mark) } else { text.find(mark) };
        let found = WRAPPERS.iter().filter_map(|mark| Some((find(mark)?, *mark)));
        let (at, mark) = if is_last { found.max() } else { found.min() }?;
        let rest = text.get(at + mark.len()..)?;
        let (name, behind) = rest.split_once('"')?;
        let sentence = behind.split(['.', '\n']).next().unwrap_or_default();
        let is_list = ["array", "list"].iter().any(|word| sentence.contains(word));
        field::is_name(name).then_some(Self { name, is_list, at })
    }

    fn schema(&self, fields: Option<Value>) -> Value {
        let inner = fields.unwrap_or_else(|| json!({"type": "object"}));
        let inner = if self.is_list { json!({"type": "array", "items": inner}) } else { inner };
        let mut properties = Map::new();
        properties.insert(self.name.to_owned(), inner);
        json!({"type": "object", "properties": properties, "required": [self.name], "additionalProperties": false})
    }
}

/// The shape of the objects that the prompt shows: those that an answer is to bring back changed.
fn example(text: &str) -> Option<Value> {
    shown(text).map(|objects| like(&objects))
}

/// The first list of objects, or object with an id, that stands in a text.
fn shown(text: &str) -> Option<Vec<Value>> {
    for (at, _) in head(text).match_indices(['[', '{']) {
        let value = serde_json::Deserializer::from_str(text.get(at..)?).into_iter::<Value>().next();
        match value {
            Some(Ok(Value::Array(list))) if list.first().is_some_and(Value::is_object) => return Some(list),
            Some(Ok(one @ Value::Object(_))) if one.get("id").is_some() => return Some(vec![one]),
            _ => {}
        }
    }
    None
}

/// A schema that all of `objects` keep to.
fn like(objects: &[Value]) -> Value {
    let mut properties = Map::new();
    for (name, value) in objects.iter().filter_map(Value::as_object).flatten() {
        let schema = match value {
            Value::Null => json!({}),
            Value::Bool(_) => json!({"type": "boolean"}),
            Value::Number(number) if number.is_f64() => json!({"type": "number"}),
            Value::Number(_) => json!({"type": "integer"}),
            Value::String(_) => json!({"type": "string"}),
            Value::Array(list) if list.first().is_some_and(Value::is_object) => {
                json!({"type": "array", "items": like(list)})
            }
            Value::Array(list) => match list.first().and_then(Value::as_str) {
                Some(_) => json!({"type": "array", "items": {"type": "string"}}),
                None => json!({"type": "array", "items": {"type": "integer"}}),
            },
            Value::Object(_) => json!({"type": "object"}),
        };
        // A list that is empty in one object may tell its items in another.
        let tells_more = value.as_array().is_some_and(|list| list.first().is_some_and(Value::is_object));
        if tells_more || !properties.contains_key(name) {
            properties.insert(name.clone(), schema);
        }
    }
    let required: Vec<String> = properties
        .keys()
        .filter(|name| objects.iter().all(|object| object.get(name.as_str()).is_some_and(|value| !value.is_null())))
        .cloned()
        .collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn head(text: &str) -> &str {
    text.get(..text.floor_char_boundary(READ_BYTES)).unwrap_or(text)
}

fn tail(text: &str) -> &str {
    text.get(text.ceil_char_boundary(text.len().saturating_sub(READ_BYTES))..).unwrap_or(text)
}

#[cfg(test)]
mod tests;
