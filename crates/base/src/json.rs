//! The JSON within what a model said: alone, in a fence, between chatter, or behind its reasoning.

use serde_json::Value;

const THINK_END: &str = "</think>";

/// An object, and the text that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<'a> {
    /// It.
    pub value: Value,
    /// As the model wrote it.
    pub text: &'a str,
}

/// Why there is no object, in words that the model that spoke can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoObject {
    /// Nothing looks like one.
    #[error("it has no JSON object")]
    Missing,
    /// The text ends within it.
    #[error("the JSON ends before it is whole")]
    Cut,
    /// It begins like one and goes on as something else.
    #[error("it is not JSON: {0}")]
    Broken(String),
}

/// The first whole object that is no part of something else. What is whole inside of a cut or broken one is not what was
/// asked for.
pub fn object_in(said: &str) -> Result<Object<'_>, NoObject> {
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(said) {
        return Ok(Object { value, text: said.trim() });
    }
    let mut rest = said.split_once(THINK_END).map_or(said, |(_, rest)| rest);
    while let Some(at) = rest.find(['{', '[']) {
        rest = rest.get(at..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let skipped = match values.next() {
            Some(Ok(value)) if value.is_object() => {
                return Ok(Object { value, text: rest.get(..values.byte_offset()).unwrap_or_default() });
            }
            Some(Ok(_)) => values.byte_offset(),
            Some(Err(error)) if error.is_eof() => return Err(NoObject::Cut),
            Some(Err(error)) if begins_as_json(rest) => return Err(NoObject::Broken(error.to_string())),
            Some(Err(_)) | None => 1,
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    Err(NoObject::Missing)
}

/// Whether a bracket opens an object or a list of them, and not a remark.
fn begins_as_json(text: &str) -> bool {
    let mut letters = text.chars().filter(|letter| !letter.is_whitespace());
    matches!((letters.next(), letters.next()), (Some('{'), Some('"')) | (Some('['), Some('{')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_found_behind_fences_chatter_and_thoughts() {
        for (said, text) in [
            (" {\"a\":[1,2]} ", "{\"a\":[1,2]}"),
            ("```json\n{\"a\": [1, 2]}\n```\nDone {not {this}!", "{\"a\": [1, 2]}"),
            ("<think>{\"x\":1}</think>\n{\"a\":[1,2]}", "{\"a\":[1,2]}"),
            ("As of [1], {so} and [odd]: {\"a\":[1,2]}", "{\"a\":[1,2]}"),
        ] {
            assert_eq!(object_in(said), Ok(Object { value: json!({"a": [1, 2]}), text }), "{said}");
        }
        let tag = r#"{"a": "</think>"}"#;
        assert_eq!(object_in(tag).map(|found| found.text), Ok(tag), "a word of the answer ends no thought");
    }

    #[test]
    fn the_inside_of_a_cut_or_broken_one_is_no_answer() {
        for said in ["", "no", "[1,2]", "{a:1}", r#"Here: [{"a": 1}, 2] as a list"#] {
            assert_eq!(object_in(said), Err(NoObject::Missing), "{said}");
        }
        for said in [r#"{"a":[1,2"#, r#"{"x": {"a": 1}, "c":"#, r#"[{"a": 1}, {"a":"#, r#"Here: {"x": [{"a": 1}"#] {
            assert_eq!(object_in(said), Err(NoObject::Cut), "{said}");
        }
        for said in [r#"{"x": [{"a": 1}, and so on]}"#, r#"[{"a": 1}, ...]"#] {
            assert!(matches!(object_in(said), Err(NoObject::Broken(_))), "{said}");
        }
    }
}
