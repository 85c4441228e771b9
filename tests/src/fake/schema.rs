//! A deterministic instance of a JSON schema: what a model with a perfect grammar would answer.
//!
//! Knows `$ref`, `const`, `enum`, `anyOf`/`oneOf`/`allOf`, and the usual bounds of objects, arrays, strings and numbers.

use serde_json::{Map, Value, json};

use crate::fake::brief::Brief;

/// Schemas that refer to themselves stop here.
const MAX_DEPTH: usize = 12;
/// Optional properties are left out below this depth, so that recursive schemas end.
const OPTIONAL_DEPTH: usize = 4;

/// An instance of `schema`; another `seed` may give another one.
pub fn instance(schema: &Value, seed: u64) -> Value {
    Generator { root: schema, seed, brief: &Brief::default(), place: None }.value(schema, 0)
}

/// An instance of `schema` that also does what `prompt` says in prose.
pub fn instance_for(schema: &Value, prompt: &str, seed: u64) -> Value {
    Generator { root: schema, seed, brief: &Brief::of(prompt), place: None }.value(schema, 0)
}

struct Generator<'a> {
    root: &'a Value,
    seed: u64,
    brief: &'a Brief,
    /// Of the innermost list of objects around: which item this is, from 0, and how many there are.
    place: Option<(usize, usize)>,
}

impl Generator<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let root = self.root;
            return match target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
                Some(found) => self.value(found, depth + 1),
                None => Value::Null,
            };
        }
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return self.pick(choices).cloned().unwrap_or(Value::Null);
        }
        for any in ["anyOf", "oneOf"] {
            if let Some(choices) = schema.get(any).and_then(Value::as_array) {
                return choices.first().map_or(Value::Null, |choice| self.value(choice, depth + 1));
            }
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            let merged = merge(schema, parts);
            return self.value(&merged, depth + 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => Value::String(self.string(schema)),
            "integer" => json!(self.number(schema).ceil() as i64),
            "number" => json!(self.number(schema)),
            "boolean" => Value::Bool(self.next() & 1 == 0),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required = |name: &str| {
            schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|one| one == name))
        };
        let mut object = Map::new();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if depth < OPTIONAL_DEPTH || required(name) {
                let told = self.told(name, property, depth + 1);
                object.insert(name.clone(), told.unwrap_or_else(|| self.value(property, depth + 1)));
            }
        }
        Value::Object(object)
    }

    /// What the prompt says of a property.
    fn told(&mut self, name: &str, property: &Value, depth: usize) -> Option<Value> {
        let brief = self.brief;
        let nothing = json!([]);
        if name == "dependencies" && fits(property, &nothing) {
            return Some(nothing);
        }
        if let Some((index, count)) = self.place {
            // Items of a plan come one after the other, and part what is to be covered among themselves.
            if name == "after" && fits(property, &nothing) {
                return Some((index > 0).then_some(index).into_iter().collect());
            }
            if let Some(choices) = property.pointer("/items/enum").and_then(Value::as_array) {
                return Some(choices.iter().skip(index).step_by(count).cloned().collect());
            }
        }
        if let Some(item) = property.get("items") {
            let items = brief.items(name, item)?;
            return Some(items.into_iter().map(|known| self.completed(item, known, depth)).collect());
        }
        brief.item(property).map(|known| self.completed(property, known.clone(), depth))
    }

    /// An instance that says what is `known`, as far as the schema has a place for it.
    fn completed(&mut self, schema: &Value, mut known: Map<String, Value>, depth: usize) -> Value {
        let mut object = Map::new();
        let is_known = known.contains_key("title");
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let number = |value: &Value| value.as_str()?.parse::<u64>().ok().map(Value::from);
            let told = known.remove(name).and_then(|value| {
                let numbered = number(&value).filter(|number| fits(property, number));
                if fits(property, &value) { Some(value) } else { numbered }
            });
            let value = match told {
                Some(value) => value,
                // A list within a shown item that the prompt does not show is empty.
                None if is_known && name == "subtasks" && fits(property, &Value::Null) => Value::Null,
                None => self.value(property, depth + 1),
            };
            object.insert(name.clone(), value);
        }
        Value::Object(object)
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let wanted = if depth < OPTIONAL_DEPTH { 2 } else { 0 };
        let length = bound("minItems").unwrap_or(0).max(wanted).min(bound("maxItems").unwrap_or(u64::MAX));
        let any = json!({"type": "string"});
        let item = schema.get("items").unwrap_or(&any);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let around = self.place;
        let items = (0..length).map(|index| {
            if kind(item) == "object" {
                self.place = Some((index, length));
            }
            self.value(item, depth + 1)
        });
        let items = items.collect();
        self.place = around;
        items
    }

    fn string(&mut self, schema: &Value) -> String {
        match schema.get("format").and_then(Value::as_str) {
            Some("date") => return "2026-01-31".to_owned(),
            Some("date-time") => return "2026-01-31T12:00:00Z".to_owned(),
            Some("uri") => return format!("https://example.org/{:04x}", self.next() & 0xffff),
            Some("email") => return "someone@example.org".to_owned(),
            _ => {}
        }
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok());
        let mut text = format!("text-{:04x}", self.next() & 0xffff);
        while text.len() < bound("minLength").unwrap_or(0) {
            text.push_str(&format!(" {:04x}", self.next() & 0xffff));
        }
        text.truncate(bound("maxLength").unwrap_or(usize::MAX).min(text.len()));
        text
    }

    fn number(&mut self, schema: &Value) -> f64 {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let low = bound("minimum").or(bound("exclusiveMinimum").map(|low| low + 1.0));
        let high = bound("maximum").or(bound("exclusiveMaximum").map(|high| high - 1.0));
        let wanted = (self.next() % 10) as f64;
        let low = low.unwrap_or_else(|| high.map_or(1.0, |high| high.min(1.0)));
        let number = (low + wanted).min(high.unwrap_or(f64::MAX)).max(low);
        match bound("multipleOf") {
            Some(step) if step > 0.0 => (number / step).ceil() * step,
            _ => number,
        }
    }

    fn pick<'a>(&mut self, choices: &'a [Value]) -> Option<&'a Value> {
        let at = self.next() as usize % choices.len().max(1);
        // What is new has not been begun.
        choices.iter().find(|choice| *choice == "pending").or(choices.get(at))
    }

    /// The next number of a fixed sequence (SplitMix64).
    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

/// Whether a schema has room for `value`, by types, `enum` and lengths.
fn fits(schema: &Value, value: &Value) -> bool {
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        return choices.iter().any(|choice| fits(choice, value));
    }
    let is_of = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    let has_type = match schema.get("type") {
        Some(Value::String(kind)) => is_of(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is_of),
        _ => true,
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let has_length = value.as_str().is_none_or(|text| {
        let length = text.chars().count() as u64;
        bound("minLength").unwrap_or(0) <= length && length <= bound("maxLength").unwrap_or(u64::MAX)
    });
    let is_choice = schema.get("enum").and_then(Value::as_array).is_none_or(|choices| choices.contains(value));
    let each = |item: &Value| value.as_array().is_none_or(|list| list.iter().all(|one| fits(item, one)));
    let fields = schema.get("properties").and_then(Value::as_object);
    let has_fields = value.as_object().is_none_or(|object| {
        fields
            .is_none_or(|fields| fields.iter().all(|(name, field)| object.get(name).is_none_or(|one| fits(field, one))))
    });
    has_type && has_length && is_choice && has_fields && schema.get("items").is_none_or(each)
}

/// The type that is meant: the first named one that is not `null`, else what the other keywords imply.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|&kind| kind != "null").unwrap_or(""),
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "",
    }
}

/// `allOf` as one schema: properties and required names together, other keywords by the last that has them.
fn merge(schema: &Value, parts: &[Value]) -> Value {
    let mut merged = schema.as_object().cloned().unwrap_or_default();
    merged.remove("allOf");
    for (name, value) in parts.iter().filter_map(Value::as_object).flatten() {
        match (merged.get_mut(name), value) {
            (Some(Value::Object(have)), Value::Object(more)) => have.extend(more.clone()),
            (Some(Value::Array(have)), Value::Array(more)) => have.extend(more.iter().cloned()),
            _ => {
                merged.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_is_kept() {
        let schema = json!({
            "type": "object",
            "required": ["tasks", "kind", "next"],
            "properties": {
                "tasks": {"type": "array", "minItems": 3, "maxItems": 3, "items": {"$ref": "#/$defs/task"}},
                "kind": {"enum": ["a", "b"]},
                "version": {"const": 2},
                "note": {"type": ["null", "string"], "minLength": 30, "maxLength": 33},
                "share": {"type": "number", "minimum": 0.25, "maximum": 0.5},
                "count": {"type": "integer", "minimum": 5, "maximum": 6},
                "done": {"type": "boolean"},
                "next": {"anyOf": [{"type": "integer", "maximum": -2}, {"type": "null"}]},
                "both": {"allOf": [{"properties": {"x": {"const": 1}}}, {"properties": {"y": {"const": 2}}}]},
            },
            "$defs": {"task": {"type": "object", "required": ["id"], "properties": {
                "id": {"type": "integer", "minimum": 1},
                "subtasks": {"type": "array", "items": {"$ref": "#/$defs/task"}},
            }}},
        });
        let one = instance(&schema, 3);
        assert_eq!(one, instance(&schema, 3));
        assert_eq!(one["tasks"].as_array().unwrap().len(), 3);
        assert!(one["tasks"].as_array().unwrap().iter().all(|task| task["id"].as_i64().unwrap() >= 1));
        assert!(["a", "b"].contains(&one["kind"].as_str().unwrap()));
        assert_eq!(one["version"], 2);
        assert!((30..=33).contains(&one["note"].as_str().unwrap().len()));
        assert!((0.25..=0.5).contains(&one["share"].as_f64().unwrap()));
        assert!((5..=6).contains(&one["count"].as_i64().unwrap()));
        assert!(one["done"].is_boolean());
        assert!(one["next"].as_i64().unwrap() <= -2);
        assert_eq!(one["both"], json!({"x": 1, "y": 2}));
    }

    #[test]
    fn items_of_a_plan_part_the_choices_and_follow_each_other() {
        let task = json!({"type": "object", "properties": {
            "requirements": {"type": "array", "items": {"enum": ["R1", "R2", "R3"]}},
            "after": {"type": "array", "items": {"type": "integer"}},
        }});
        let schema = json!({"type": "object", "properties": {"tasks": {"type": "array", "items": task}}});
        let tasks = instance(&schema, 5)["tasks"].clone();
        assert_eq!(tasks, json!([{"requirements": ["R1", "R3"], "after": []}, {"requirements": ["R2"], "after": [1]}]));
    }

    #[test]
    fn a_schema_without_an_end_ends() {
        let endless = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
        assert_eq!(instance(&endless, 0), Value::Null);
        assert_eq!(instance(&json!({}), 0), Value::Null);
    }
}
