//! What a prompt tells of the JSON that it wants: how many items, from which number on, and items that it holds already.
//!
//! A model that plans reads this out of prose, so the fake does, too: answers then keep the rules of the clients that
//! asked (ids without gaps, one verdict for each task that was shown).

use serde_json::{Map, Value, json};

/// Of a longer prompt the rest is not read.
const MOST_BYTES: usize = 1 << 20;
/// More items than any plan has.
const MOST_ITEMS: usize = 200;

/// What was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief {
    /// How many items are wanted.
    pub count: Option<usize>,
    /// The number of the first one.
    pub first_id: u64,
    /// Items that the prompt shows, each with an `id` and a `title`.
    pub given: Vec<Map<String, Value>>,
}

impl Brief {
    /// Reads a prompt.
    pub fn of(prompt: &str) -> Self {
        let prompt = prompt.get(..prompt.floor_char_boundary(MOST_BYTES)).unwrap_or(prompt);
        let lower = prompt.to_ascii_lowercase();
        let number = |marks: &[&str]| marks.iter().find_map(|mark| number_behind(&lower, mark));
        let count = number(&["exactly ", "approximately ", "generate "]);
        let first_id = number(&["starting ids from ", "starting exactly from ", "starting from "]);
        Self {
            count: count.and_then(|count| usize::try_from(count).ok()).map(|count| count.clamp(1, MOST_ITEMS)),
            first_id: first_id.unwrap_or(1),
            given: given(prompt),
        }
    }

    /// The items that a list of `item`s shall have, as far as they are told: names and values.
    pub fn items(&self, name: &str, item: &Value) -> Option<Vec<Map<String, Value>>> {
        let has = |field: &str| item.pointer("/properties").is_some_and(|fields| fields.get(field).is_some());
        let verdict = |one: &Map<String, Value>| {
            Map::from_iter([("taskId".to_owned(), one["id"].clone()), ("taskTitle".to_owned(), one["title"].clone())])
        };
        match () {
            () if has("taskId") && !self.given.is_empty() => Some(self.given.iter().map(verdict).collect()),
            () if !(has("id") && has("title")) => None,
            () if name != "subtasks" && !self.given.is_empty() => Some(self.given.clone()),
            () => {
                let row = self.count.map(|count| self.first_id..self.first_id + count as u64)?;
                let names_siblings = item.pointer("/properties/dependencies/items/type") != Some(&json!("string"));
                let told = |id: u64| {
                    let earlier = (id > self.first_id && names_siblings).then(|| id - 1);
                    let dependencies: Vec<u64> = earlier.into_iter().collect();
                    let told = json!({"id": id, "dependencies": dependencies, "status": "pending"});
                    told.as_object().cloned().unwrap_or_default()
                };
                Some(row.map(told).collect())
            }
        }
    }

    /// The one item that an object of this schema stands for.
    pub fn item(&self, schema: &Value) -> Option<&Map<String, Value>> {
        let fields = schema.get("properties")?;
        (fields.get("id").is_some() && fields.get("title").is_some()).then(|| self.given.first()).flatten()
    }
}

fn number_behind(text: &str, mark: &str) -> Option<u64> {
    memchr::memmem::find_iter(text.as_bytes(), mark).find_map(|at| {
        let digits = text.get(at + mark.len()..)?;
        let end = digits.find(|symbol: char| !symbol.is_ascii_digit()).unwrap_or(digits.len());
        digits.get(..end)?.parse().ok()
    })
}

/// The first list of items, or single item, that stands in the prompt as JSON.
fn given(prompt: &str) -> Vec<Map<String, Value>> {
    let item = |value: Value| match value {
        Value::Object(item) if item.contains_key("id") && item.contains_key("title") => Some(item),
        _ => None,
    };
    for (at, _) in prompt.match_indices(['[', '{']) {
        let Some(rest) = prompt.get(at..) else { continue };
        let items: Option<Vec<_>> = match serde_json::Deserializer::from_str(rest).into_iter::<Value>().next() {
            Some(Ok(Value::Array(list))) if !list.is_empty() => list.into_iter().map(item).collect(),
            Some(Ok(one @ Value::Object(_))) => item(one).map(|one| vec![one]),
            _ => None,
        };
        if let Some(items) = items {
            return items;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_and_first_number_are_read_out_of_prose() {
        let brief = Brief::of("Generate approximately 8 tasks (not [3]), starting IDs from 10: …");
        assert_eq!((brief.count, brief.first_id, brief.given.len()), (Some(8), 10, 0));
        let brief = Brief::of("Generate exactly 3 subtasks. Number them starting EXACTLY from 4");
        assert_eq!((brief.count, brief.first_id), (Some(3), 4));
        assert_eq!(Brief::of("hello"), Brief { first_id: 1, ..Brief::default() });
    }

    #[test]
    fn items_in_the_prompt_are_found_also_in_doubled_braces() {
        let list =
            Brief::of(r#"Tasks: [1] [{"id": 7, "title": "a"}, {"id": 8, "title": "b"}] {"id": 9, "title": "c"}"#);
        assert_eq!(list.given.iter().map(|item| &item["id"]).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(Brief::of(r#"the task: {{"id": 9, "title": "c"}}"#).given[0]["title"], "c");
    }
}
