//! Whether JSON keeps to a schema. Keywords that are not known here are passed over: this only has to find what an engine
//! without a grammar gets wrong.

use serde_json::Value;

/// Schemas that refer to themselves are followed so deep.
const MAX_DEPTH: usize = 64;

/// Checks `value`; says what is wrong with it, and where.
pub(super) fn check(schema: &Value, value: &Value) -> Result<(), String> {
    Checker { root: schema }.value(schema, value, "$", 0)
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn value(&self, schema: &Value, value: &Value, place: &str, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        if let Some(pointer) = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) {
            return self.root.pointer(pointer).map_or(Ok(()), |found| self.value(found, value, place, depth + 1));
        }
        let choices = |name: &str| schema.get(name).and_then(Value::as_array);
        for name in ["anyOf", "oneOf"] {
            let fits = |choice: &Value| self.value(choice, value, place, depth + 1).is_ok();
            if choices(name).is_some_and(|list| !list.iter().any(fits)) {
                return Err(format!("`{place}` is none of what it may be"));
            }
        }
        for part in choices("allOf").into_iter().flatten() {
            self.value(part, value, place, depth + 1)?;
        }
        if choices("enum").is_some_and(|list| !list.contains(value))
            || schema.get("const").is_some_and(|it| it != value)
        {
            return Err(format!("`{place}` is none of the values that it may have"));
        }
        self.kind(schema, value, place)?;
        match value {
            Value::Object(fields) => self.object(schema, fields, place, depth),
            Value::Array(items) => self.array(schema, items, place, depth),
            _ => Ok(()),
        }
    }

    fn kind(&self, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let is_of = |kind: &str| match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        };
        let is_right = match schema.get("type") {
            Some(Value::String(kind)) => is_of(kind),
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is_of),
            _ => true,
        };
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let outside = |size: f64, low: &str, high: &str| {
            bound(low).is_some_and(|low| size < low) || bound(high).is_some_and(|high| size > high)
        };
        let is_outside = match value {
            Value::Number(number) => number.as_f64().is_some_and(|number| outside(number, "minimum", "maximum")),
            Value::String(text) => outside(text.chars().count() as f64, "minLength", "maxLength"),
            Value::Array(items) => outside(items.len() as f64, "minItems", "maxItems"),
            _ => false,
        };
        match (is_right, is_outside) {
            (true, false) => Ok(()),
            (false, _) => Err(format!("`{place}` is not of type {}", schema["type"])),
            (true, true) => Err(format!("`{place}` is too short, too long, too small or too large")),
        }
    }

    fn object(
        &self,
        schema: &Value,
        fields: &serde_json::Map<String, Value>,
        place: &str,
        depth: usize,
    ) -> Result<(), String> {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Err(format!("`{place}.{name}` is missing"));
            }
        }
        for (name, value) in fields {
            let known = schema.get("properties").and_then(|known| known.get(name));
            match known.or(schema.get("additionalProperties")) {
                Some(Value::Bool(false)) => return Err(format!("`{place}.{name}` has no place in it")),
                Some(inner) => self.value(inner, value, &format!("{place}.{name}"), depth + 1)?,
                None => {}
            }
        }
        Ok(())
    }

    fn array(&self, schema: &Value, items: &[Value], place: &str, depth: usize) -> Result<(), String> {
        let Some(item) = schema.get("items") else { return Ok(()) };
        items
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| self.value(item, value, &format!("{place}[{at}]"), depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_breaks_a_schema_is_named() {
        let schema = json!({
            "type": "object", "required": ["tasks"], "additionalProperties": false,
            "properties": {"note": {"type": ["string", "null"]}, "tasks": {"type": "array", "minItems": 1,
                "items": {"$ref": "#/$defs/task"}}},
            "$defs": {"task": {"type": "object", "required": ["id"], "properties": {
                "id": {"type": "integer", "minimum": 1}, "kind": {"enum": ["a", "b"]}, "title": {"maxLength": 3},
                "any": {"anyOf": [{"type": "integer"}, {"type": "string"}]}}}},
        });
        check(&schema, &json!({"note": null, "tasks": [{"id": 1, "kind": "a", "title": "äöü", "any": "x"}]})).unwrap();
        for (value, place) in [
            (json!([]), "$"),
            (json!({}), "$.tasks"),
            (json!({"tasks": []}), "$.tasks"),
            (json!({"tasks": [{"id": 1}], "more": 1}), "$.more"),
            (json!({"tasks": [{"id": 1}], "note": 1}), "$.note"),
            (json!({"tasks": [{"id": 1}, {"id": 0}]}), "$.tasks[1].id"),
            (json!({"tasks": [{"id": 1.5}]}), "$.tasks[0].id"),
            (json!({"tasks": [{"id": 1, "kind": "c"}]}), "$.tasks[0].kind"),
            (json!({"tasks": [{"id": 1, "title": "long"}]}), "$.tasks[0].title"),
            (json!({"tasks": [{"id": 1, "any": null}]}), "$.tasks[0].any"),
        ] {
            let why = check(&schema, &value).unwrap_err();
            assert!(why.starts_with(&format!("`{place}`")), "{value}: {why}");
        }
    }
}
