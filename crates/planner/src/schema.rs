//! The part of JSON Schema that our questions use: written here, enforced by grammar where an engine can, checked here always.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// What is wrong with an answer, in words that the model that gave it can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {what}")]
pub struct Wrong {
    /// Where: a path such as `tasks[2].title`; `the answer` at the top.
    pub at: String,
    /// What.
    pub what: String,
}

/// A text of so many characters.
pub fn text(least: usize, most: usize) -> Value {
    json!({"type": "string", "minLength": least, "maxLength": most})
}

/// A whole number in a range.
pub fn number(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// One of these words.
pub fn one_of<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> Value {
    let words: Vec<Value> = words.into_iter().map(|word| Value::from(word.as_ref())).collect();
    json!({"type": "string", "enum": words})
}

/// So many of `items`.
pub fn list(items: Value, least: usize, most: usize) -> Value {
    json!({"type": "array", "items": items, "minItems": least, "maxItems": most})
}

/// Exactly these fields.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let required: Vec<Value> = fields.iter().map(|(name, _)| Value::from(*name)).collect();
    let properties: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The JSON object in what a model said.
pub fn object_in(said: &str) -> Result<Value, Wrong> {
    let found = base::json::object_in(said);
    found.map(|object| object.value).map_err(|error| Wrong { at: "the answer".into(), what: error.to_string() })
}

/// An answer as what it should be; `at` is where to look where it is not.
pub fn read<T: DeserializeOwned>(at: &str, answer: Value) -> Result<T, Wrong> {
    serde_json::from_value(answer).map_err(|error| Wrong { at: at.to_owned(), what: error.to_string() })
}

/// Checks a value against one of our schemas; the first thing that is wrong.
pub fn check(schema: &Value, value: &Value) -> Result<(), Wrong> {
    check_at("", schema, value)
}

fn check_at(at: &str, schema: &Value, value: &Value) -> Result<(), Wrong> {
    let wrong = |what: String| Wrong { at: if at.is_empty() { "the answer".into() } else { at.into() }, what };
    let limit = |name: &str| schema.get(name).and_then(Value::as_u64);
    match (schema.get("type").and_then(Value::as_str), value) {
        (Some("string"), Value::String(text)) => {
            let chars = text.chars().count() as u64;
            if let Some(words) = schema.get("enum").and_then(Value::as_array).filter(|words| !words.contains(value)) {
                return Err(wrong(format!("`{text}` is none of {}", Value::from(words.clone()))));
            }
            within(chars, limit("minLength"), limit("maxLength"), "characters").map_err(wrong)?;
            if limit("minLength") > Some(0) && text.trim().is_empty() {
                return Err(wrong("it is blank".into()));
            }
            Ok(())
        }
        (Some("integer"), Value::Number(number)) => {
            let number = number.as_u64().ok_or_else(|| wrong(format!("{number} is not a whole number from 0 on")))?;
            within(number, limit("minimum"), limit("maximum"), "as its value").map_err(wrong)
        }
        (Some("array"), Value::Array(items)) => {
            within(items.len() as u64, limit("minItems"), limit("maxItems"), "items").map_err(wrong)?;
            let of = schema.get("items").unwrap_or(&Value::Null);
            items.iter().enumerate().try_for_each(|(index, item)| check_at(&format!("{at}[{index}]"), of, item))
        }
        (Some("object"), Value::Object(fields)) => {
            let known = schema.get("properties").and_then(Value::as_object);
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            for name in required.filter_map(Value::as_str) {
                if !fields.contains_key(name) {
                    return Err(wrong(format!("`{name}` is missing")));
                }
            }
            for (name, field) in fields {
                let Some(schema) = known.and_then(|known| known.get(name)) else {
                    return Err(wrong(format!("`{name}` does not belong there")));
                };
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                check_at(&at, schema, field)?;
            }
            Ok(())
        }
        (Some("boolean"), Value::Bool(_)) => Ok(()),
        (wanted, _) => Err(wrong(format!("it should be of type {}", wanted.unwrap_or("nothing")))),
    }
}

fn within(found: u64, least: Option<u64>, most: Option<u64>, of: &str) -> Result<(), String> {
    if let Some(least) = least.filter(|&least| found < least) {
        return Err(format!("it has {found} {of}, at least {least} are wanted"));
    }
    if let Some(most) = most.filter(|&most| found > most) {
        return Err(format!("it has {found} {of}, at most {most} are allowed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let schema = object([("tasks", list(object([("title", text(1, 5)), ("size", number(1, 3))]), 1, 2))]);
        let wrong = |value: Value| check(&schema, &value).map_err(|wrong| wrong.to_string());
        assert_eq!(wrong(json!({"tasks": [{"title": "a", "size": 1}]})), Ok(()));
        let cases = [
            (json!({}), "the answer: `tasks` is missing"),
            (json!({"tasks": []}), "tasks: it has 0 items, at least 1 are wanted"),
            (
                json!({"tasks": [{"title": "abcdef", "size": 1}]}),
                "tasks[0].title: it has 6 characters, at most 5 are allowed",
            ),
            (json!({"tasks": [{"title": "  ", "size": 1}]}), "tasks[0].title: it is blank"),
            (
                json!({"tasks": [{"title": "a", "size": 4}]}),
                "tasks[0].size: it has 4 as its value, at most 3 are allowed",
            ),
            (json!({"tasks": [{"title": "a", "size": 1, "x": 1}]}), "tasks[0]: `x` does not belong there"),
            (json!({"tasks": 3}), "tasks: it should be of type array"),
        ];
        for (value, text) in cases {
            assert_eq!(wrong(value), Err(text.to_owned()));
        }
    }
}
