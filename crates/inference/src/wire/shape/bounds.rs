//! Bounds for what a schema leaves open, for an engine that keeps to schemas by grammar.
//!
//! A weak model does not end a text or a list by itself that nothing ends, and then its JSON is cut. It does not count
//! either: where the prompt tells how many numbered items it wants, and from which number on, the grammar counts for it.

use serde_json::{Map, Value, json};

/// No text of an answer is longer, in characters.
const MOST_TEXT: usize = 8000;
/// Less than this says nothing.
const LEAST_TEXT: usize = 40;
/// No list is longer.
const MOST_ITEMS: usize = 256;
/// Deeper schemas are left as they are.
const MAX_DEPTH: usize = 32;
/// More numbered items than this are no plan.
const MOST_NUMBERED: u64 = 100;
/// Of a longer prompt the rest is not read for numbers.
const READ_BYTES: usize = 64 << 10;

/// What a prompt tells of the items that it wants.
struct Told {
    count: Option<u64>,
    first: u64,
    /// The numbers of items that it shows.
    shown: Vec<Value>,
}

/// Closes `schema` so that its instances fit `room` tokens; `messages` are what the client said, and `inferred` is what
/// [`super::infer`] makes of them.
pub(in crate::wire) fn close(schema: &mut Value, messages: &[(bool, &str)], inferred: Option<&Value>, room: usize) {
    let told = Told::of(messages);
    if let Some(inferred) = inferred {
        refine(schema, &fields_of(inferred, 0), 0);
    }
    if number(schema, &told, 0)
        && let Some(fields) = schema.as_object_mut()
    {
        // Older drafts, which some clients name, have other words for lists whose items differ.
        fields.remove("$schema");
    }
    // A character may take a token, and names and brackets take some, too.
    let text = (room / 2 / texts(schema, 0).max(1)).clamp(LEAST_TEXT, MOST_TEXT);
    bound(schema, text, (room / 100).clamp(4, MOST_ITEMS), 0);
}

impl Told {
    fn of(messages: &[(bool, &str)]) -> Self {
        let read =
            |text: &'_ str| text.get(..text.floor_char_boundary(READ_BYTES)).unwrap_or(text).to_ascii_lowercase();
        let lower = messages.iter().map(|(_, text)| read(text)).collect::<Vec<_>>().join("\n");
        let behind = |marks: &[&str]| marks.iter().find_map(|mark| number_behind(&lower, mark));
        let count = behind(&["exactly ", "approximately ", "generate "]);
        let first = behind(&["starting ids from ", "starting exactly from ", "starting from "]);
        Self {
            count: count.filter(|count| (1..=MOST_NUMBERED).contains(count)),
            first: first.unwrap_or(1),
            shown: shown(messages),
        }
    }
}

/// The numbers of the objects in the first list that a user shows.
fn shown(messages: &[(bool, &str)]) -> Vec<Value> {
    let users = messages.iter().filter(|(is_system, _)| !is_system);
    let lists = users.filter_map(|(_, text)| super::shown(text)).filter(|list| list.len() > 1);
    let numbers = |list: Vec<Value>| list.iter().filter_map(|item| item.get("id").cloned()).collect();
    lists.map(numbers).next().unwrap_or_default()
}

/// What prose tells of each field.
fn fields_of(schema: &Value, depth: usize) -> Map<String, Value> {
    let mut fields = Map::new();
    if depth <= MAX_DEPTH {
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            fields.extend(fields_of(inner, depth + 1));
            fields.insert(name.clone(), inner.clone());
        }
        fields.extend(schema.get("items").map(|item| fields_of(item, depth + 1)).unwrap_or_default());
    }
    fields
}

/// Takes over the bounds that prose tells and the schema does not.
fn refine(schema: &mut Value, told: &Map<String, Value>, depth: usize) {
    for (name, field) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let Some(told) = told.get(name).filter(|told| told["type"] == field["type"]) else { continue };
        let is_open =
            ["minimum", "maximum", "minLength", "maxLength", "enum"].iter().all(|it| field.get(*it).is_none());
        for bound in ["minimum", "maximum", "minLength", "maxLength"] {
            if let Some(value) = told.get(bound).filter(|_| is_open) {
                field[bound] = value.clone();
            }
        }
    }
    each(schema, depth, &mut |inner, depth| refine(inner, told, depth));
}

fn number_behind(text: &str, mark: &str) -> Option<u64> {
    memchr::memmem::find_iter(text.as_bytes(), mark).find_map(|at| {
        let digits = text.get(at + mark.len()..)?;
        let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end)?.parse().ok()
    })
}

/// Every schema within `schema`, with what `visit` does to it.
fn each(schema: &mut Value, depth: usize, visit: &mut dyn FnMut(&mut Value, usize)) {
    if depth > MAX_DEPTH {
        return;
    }
    let Some(fields) = schema.as_object_mut() else { return };
    for name in ["properties", "$defs", "definitions"] {
        let inner = fields.get_mut(name).and_then(Value::as_object_mut);
        inner.into_iter().flat_map(serde_json::Map::values_mut).for_each(|inner| visit(inner, depth + 1));
    }
    for name in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        let inner = fields.get_mut(name).and_then(Value::as_array_mut);
        inner.into_iter().flatten().for_each(|inner| visit(inner, depth + 1));
    }
    for name in ["items", "additionalProperties"] {
        fields.get_mut(name).into_iter().for_each(|inner| visit(inner, depth + 1));
    }
}

/// Gives the items of a list their numbers, where the prompt tells them; whether it did.
fn number(schema: &mut Value, told: &Told, depth: usize) -> bool {
    if let Some(items) = told_items(schema, told) {
        (schema["minItems"], schema["maxItems"]) = (items.len().into(), items.len().into());
        (schema["prefixItems"], schema["items"]) = (items.into(), false.into());
        return true;
    }
    let mut has_numbered = false;
    each(schema, depth, &mut |inner, depth| has_numbered |= number(inner, told, depth));
    has_numbered
}

/// The items of a list, as far as the prompt tells them: a verdict for each task that it shows, or new ones by number.
fn told_items(list: &Value, told: &Told) -> Option<Vec<Value>> {
    let item = list.get("items")?;
    let field = |name: &str| item.get("properties").and_then(|fields| fields.get(name));
    if list.get("minItems").is_some() || list.get("maxItems").is_some() {
        return None;
    }
    if field("taskId").is_some() && !told.shown.is_empty() {
        return Some(told.shown.iter().map(|id| with(item, "taskId", json!({ "const": id }))).collect());
    }
    let is_number = |kind: &Value| kind == "integer" || kind == "number";
    let count =
        told.count.filter(|_| field("title").is_some() && field("id").is_some_and(|id| is_number(&id["type"])))?;
    let waits = field("dependencies").and_then(|list| list.pointer("/items/type")).is_some_and(is_number);
    let numbered = |at: u64| {
        let item = with(item, "id", json!({"const": told.first + at}));
        // An item can only wait for those before it.
        let before: Vec<u64> = (told.first..told.first + at).collect();
        match (waits, before.is_empty()) {
            (false, _) => item,
            (true, true) => with(&item, "dependencies", json!({"type": "array", "maxItems": 0})),
            (true, false) => {
                with(&item, "dependencies", json!({"type": "array", "items": {"enum": before}, "maxItems": at}))
            }
        }
    };
    Some((0..count).map(numbered).collect())
}

fn with(item: &Value, field: &str, schema: Value) -> Value {
    let mut item = item.clone();
    item["properties"][field] = schema;
    item
}

/// How many texts an instance may have.
fn texts(schema: &mut Value, depth: usize) -> usize {
    let own = usize::from(is_open_text(schema));
    let mut inside = 0;
    each(schema, depth, &mut |inner, depth| inside += texts(inner, depth));
    own + inside
}

fn is_open_text(schema: &Value) -> bool {
    let is_text = match &schema["type"] {
        Value::String(kind) => kind == "string",
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "string"),
        _ => false,
    };
    is_text && ["maxLength", "enum", "const", "format", "pattern"].iter().all(|name| schema.get(*name).is_none())
}

fn bound(schema: &mut Value, text: usize, items: usize, depth: usize) {
    if is_open_text(schema) {
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
        schema["maxLength"] = (text as u64).max(least.saturating_mul(2)).into();
    }
    if schema.get("items").is_some() && schema.get("maxItems").is_none() {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        schema["maxItems"] = (items as u64).max(least).into();
    }
    let is_open = schema["type"] == "integer"
        && ["minimum", "maximum", "enum", "const"].iter().all(|name| schema.get(*name).is_none());
    if is_open {
        (schema["minimum"], schema["maximum"]) = ((-1_000_000_000).into(), 1_000_000_000.into());
    }
    each(schema, depth, &mut |inner, depth| bound(inner, text, items, depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(schema: &mut Value, messages: &[(bool, &str)], room: usize) {
        super::close(schema, messages, crate::wire::shape::infer(messages).as_ref(), room);
    }

    #[test]
    fn what_is_open_is_closed_and_what_is_bounded_stays() {
        let mut schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "minLength": 3}, "b": {"type": "string", "maxLength": 5}, "c": {"enum": ["x"]},
            "d": {"type": "array", "items": {"type": ["string", "null"]}}, "e": {"type": "integer", "minimum": 1}}});
        close(&mut schema, &[(false, "hello")], 1000);
        let fields = &schema["properties"];
        assert_eq!((&fields["a"]["maxLength"], &fields["b"]["maxLength"]), (&json!(250), &json!(5)));
        assert_eq!((&fields["d"]["maxItems"], &fields["d"]["items"]["maxLength"]), (&json!(10), &json!(250)));
        assert_eq!(fields["e"], json!({"type": "integer", "minimum": 1}));
    }

    #[test]
    fn a_verdict_is_given_on_each_task_that_is_shown_within_the_bounds_that_prose_tells() {
        let item =
            json!({"type": "object", "properties": {"taskId": {"type": "integer"}, "parts": {"type": "integer"}}});
        let mut schema = json!({"type": "object", "properties": {"verdicts": {"type": "array", "items": item}}});
        let system = "Give:\n- taskId: which (positive integer)\n- parts: how many (non-negative integer)\n\
            as a JSON object with a \"verdicts\" property containing an array of them.";
        close(&mut schema, &[(true, system), (false, r#"[{"id": 4, "title": "a"}, {"id": 9, "title": "b"}]"#)], 1000);
        let items = schema["properties"]["verdicts"]["prefixItems"].as_array().unwrap();
        assert_eq!([&items[0]["properties"]["taskId"]["const"], &items[1]["properties"]["taskId"]["const"]], [4, 9]);
        assert_eq!(items[0]["properties"]["parts"]["minimum"], 0);
    }

    #[test]
    fn items_are_counted_where_the_prompt_tells_how_many() {
        let item = json!({"type": "object", "properties": {"id": {"type": "number"}, "title": {"type": "string"}}});
        let open = json!({"type": "object", "properties": {"tasks": {"type": "array", "items": item}}});
        let mut schema = open.clone();
        close(&mut schema, &[(false, "Make exactly 3 tasks, starting IDs from 7.")], 1000);
        let tasks = &schema["properties"]["tasks"];
        let ids: Vec<&Value> = (0..3).map(|at| &tasks["prefixItems"][at]["properties"]["id"]["const"]).collect();
        assert_eq!(ids, [7, 8, 9]);
        assert_eq!((&tasks["minItems"], &tasks["items"]), (&json!(3), &json!(false)));
        let mut schema = open;
        close(&mut schema, &[(false, "Make some tasks.")], 1000);
        assert_eq!(schema["properties"]["tasks"].get("prefixItems"), None);
    }
}
