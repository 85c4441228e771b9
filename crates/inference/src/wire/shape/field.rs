//! Fields as prose describes them: a block in braces, or a list with a line for each.

use serde_json::{Map, Value, json};

/// Whether `text` can be the name of a field.
pub(super) fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Where the first field of a block begins.
pub(super) fn start(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if read(line).is_some() {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// The first block of two fields or more, as the schema of an object that has them all.
pub(super) fn block(text: &str) -> Option<Value> {
    let mut fields: Vec<(&str, Value)> = Vec::new();
    let mut style = None;
    for line in text.lines() {
        match read(line) {
            Some((bullet, name, description)) if style.is_none_or(|style| style == bullet) => {
                style = Some(bullet);
                fields.push((name, schema(name, description)));
            }
            // A field's description may go on in the next line; anything else ends the block.
            _ if fields.is_empty() => {}
            _ if fields.len() >= 2 => break,
            _ => {
                fields.clear();
                style = None;
            }
        }
    }
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let required = json!(required);
    let properties: Map<String, Value> = fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    (properties.len() >= 2).then(
        || json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false}),
    )
}

/// Whether it is an item of a list, its name, and what is said of it.
fn read(line: &str) -> Option<(bool, &str, &str)> {
    let line = line.trim();
    let (is_bullet, rest) = match line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")) {
        Some(rest) => (true, rest.trim_start_matches('`').trim_start_matches("**")),
        None => (false, line.strip_prefix('"')?),
    };
    let (name, description) = rest.split_once(':')?;
    let name = name.trim_end().trim_end_matches(['"', '`', '*']);
    let description = description.trim_start_matches('*').trim().trim_end_matches(',');
    (is_name(name) && !description.is_empty()).then_some((is_bullet, name, description))
}

fn schema(name: &str, description: &str) -> Value {
    let lower = description.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if lower.starts_with('[') || has(&["array", "[]", "list of"]) {
        let item = match () {
            () if has(&["string"]) => json!({"type": "string"}),
            () if has(&["number", "integer", "id"]) || lower.contains(|letter: char| letter.is_ascii_digit()) => {
                json!({"type": "integer"})
            }
            () => json!({}),
        };
        return json!({"type": "array", "items": item});
    }
    // A text in quotes is an example of a text, whatever it says.
    let is_quoted = description.starts_with('"');
    if !is_quoted && has(&["integer", "number", "a score from"]) {
        let is_whole = name == "id" || name.ends_with("Id") || has(&["integer", "number of", "sequential"]);
        return number(if is_whole { "integer" } else { "number" }, &lower);
    }
    if !is_quoted && has(&["boolean", "true or false", "true/false"]) {
        return json!({"type": "boolean"});
    }
    if !is_quoted && lower.starts_with('{') {
        return json!({"type": "object"});
    }
    let words = choices(description);
    if words.len() >= 2 {
        return json!({"type": "string", "enum": words});
    }
    text(&lower)
}

/// A number, with the range that is named.
fn number(kind: &str, lower: &str) -> Value {
    let range = lower.split_once("from ").and_then(|(_, rest)| {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '-').unwrap_or(rest.len());
        let (low, high) = rest.get(..end)?.split_once('-')?;
        Some((low.parse::<u32>().ok()?, high.parse::<u32>().ok()?))
    });
    match range {
        Some((low, high)) => json!({"type": kind, "minimum": low, "maximum": high}),
        None if lower.contains("positive") => json!({"type": kind, "minimum": 1}),
        None if lower.contains("non-negative") => json!({"type": kind, "minimum": 0}),
        None => json!({ "type": kind }),
    }
}

/// A text, with the length that is named.
fn text(lower: &str) -> Value {
    let mut schema =
        json!({"type": if lower.contains("can be null") { json!(["string", "null"]) } else { json!("string") }});
    let Some((before, _)) = lower.split_once(" characters") else { return schema };
    let figures = before.rsplit([' ', '(']).next().unwrap_or_default();
    let (low, high) = figures.split_once('-').unwrap_or((figures, ""));
    let is_most = before.contains("maximum") || before.contains("at most");
    for (name, figure) in [(if is_most { "maxLength" } else { "minLength" }, low), ("maxLength", high)] {
        if let Ok(length) = figure.parse::<u32>() {
            schema[name] = length.into();
        }
    }
    schema
}

/// The words between which a value is to be chosen: each in quotes, nothing but a separator between them.
fn choices(description: &str) -> Vec<&str> {
    let quote = if description.contains('"') { '"' } else { '\'' };
    let parts: Vec<&str> = description.split(quote).collect();
    let (inside, between): (Vec<_>, Vec<_>) = parts.iter().enumerate().partition(|(at, _)| at % 2 == 1);
    let is_word = |word: &&str| {
        !word.is_empty() && word.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    let is_separator = |text: &&str| matches!(text.trim(), "," | "|" | "or" | ", or" | "/");
    let words: Vec<&str> = inside.into_iter().map(|(_, word)| *word).collect();
    let last = between.len().saturating_sub(1);
    let separated =
        between.iter().enumerate().filter(|(at, _)| *at > 0 && *at < last).all(|(_, (_, text))| is_separator(text));
    if separated && words.iter().all(is_word) { words } else { Vec::new() }
}
