//! The fields of a JSON object as the bytes that stand there, to change a few of them and keep the rest as it is.
//!
//! Only the top level is looked at; strings are jumped over by searching for quotes, so a long prompt costs next to
//! nothing. A value that is not changed keeps its exact bytes (number formats, escapes, order of keys).

use std::borrow::Cow;

use base::{Fault, Result};

/// The top level of a JSON object.
pub(super) struct Fields<'a> {
    entries: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    is_changed: bool,
}

impl<'a> Fields<'a> {
    /// Reads `body`, which is a JSON object in UTF-8; `None` when it is not.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut entries = Vec::with_capacity(16);
        let mut at = skip_space(body, 0);
        if body.get(at) != Some(&b'{') {
            return None;
        }
        at = skip_space(body, at + 1);
        while body.get(at)? != &b'}' {
            if !entries.is_empty() {
                at = (body.get(at)? == &b',').then(|| skip_space(body, at + 1))?;
            }
            let name_end = end_of_string(body, at)?;
            let name = decode_name(text.get(at..name_end)?)?;
            at = skip_space(body, name_end);
            at = (body.get(at)? == &b':').then(|| skip_space(body, at + 1))?;
            let end = end_of_value(body, at)?;
            entries.push((name, Cow::Borrowed(text.get(at..end)?)));
            at = skip_space(body, end);
        }
        Some(Self { entries, is_changed: false })
    }

    /// Reads a request's body.
    pub(super) fn of_request(body: &'a [u8]) -> Result<Self> {
        Self::parse(body).ok_or_else(|| {
            Fault::invalid("could not read the request body as a JSON object")
                .hint("send one JSON object, with Content-Type: application/json")
        })
    }

    /// The JSON of a field; `None` when it is absent or `null`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| &**value).filter(|value| *value != "null")
    }

    /// Gives a field the JSON `value`, in its place or, when it is new, at the end.
    ///
    /// Of a name that stands there twice only one stays: most parsers would take the last one.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Cow<'a, str>>) {
        self.is_changed = true;
        let mut value = Some(value.into());
        self.entries.retain_mut(|(key, old)| key != name || value.take().map(|value| *old = value).is_some());
        self.entries.extend(value.map(|value| (Cow::Borrowed(name), value)));
    }

    /// Leaves a field out.
    pub(super) fn remove(&mut self, name: &str) {
        let before = self.entries.len();
        self.entries.retain(|(key, _)| key != name);
        self.is_changed |= self.entries.len() != before;
    }

    /// The object with its changes; `None` when there are none.
    pub(super) fn changed(&self) -> Option<Vec<u8>> {
        self.is_changed.then(|| self.to_json())
    }

    fn to_json(&self) -> Vec<u8> {
        let length: usize = self.entries.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let mut out = Vec::with_capacity(length + 2);
        out.push(b'{');
        for (index, (key, value)) in self.entries.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(quoted(key).as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn decode_name(raw: &str) -> Option<Cow<'_, str>> {
    if raw.contains('\\') {
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    raw.get(1..raw.len() - 1).map(Cow::Borrowed)
}

fn skip_space(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// The index behind the string whose first quote is at `start`.
fn end_of_string(body: &[u8], start: usize) -> Option<usize> {
    if body.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        match body.get(at)? {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// The index behind the value that begins at `start`.
fn end_of_value(body: &[u8], start: usize) -> Option<usize> {
    match body.get(start)? {
        b'"' => end_of_string(body, start),
        b'{' | b'[' => end_of_nested(body, start),
        b',' | b'}' | b']' | b':' => None,
        _ => {
            let rest = body.get(start..)?;
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            rest.iter().position(is_end).map(|length| start + length)
        }
    }
}

fn end_of_nested(body: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut at) = (0usize, start);
    loop {
        match body.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            b'"' => {
                at = end_of_string(body, at)?;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn untouched_values_keep_their_bytes() {
        let body =
            r#" { "model" : "a", "temperature":1.0e0 ,"text":"\u00e9\"}" , "list":[1, {"model":"no"}],"n":null}"#;
        let mut fields = Fields::parse(body.as_bytes()).unwrap();
        assert_eq!(fields.get("n"), None);
        assert!(fields.changed().is_none());
        fields.set("model", quoted("b\"c"));
        fields.set("new", "true");
        fields.remove("n");
        assert_eq!(
            String::from_utf8(fields.changed().unwrap()).unwrap(),
            r#"{"model":"b\"c","temperature":1.0e0,"text":"\u00e9\"}","list":[1, {"model":"no"}],"new":true}"#
        );
    }

    #[test]
    fn a_name_given_twice_cannot_undo_a_change() {
        let mut fields = Fields::parse(br#"{"model":"a","n":1,"m\u006fdel":"b"}"#).unwrap();
        fields.set("model", quoted("c"));
        assert_eq!(String::from_utf8(fields.changed().unwrap()).unwrap(), r#"{"model":"c","n":1}"#);
    }

    #[test]
    fn an_escaped_name_is_the_same_name() {
        let fields = Fields::parse(br#"{"m\u006fdel":"a"}"#).unwrap();
        assert_eq!(fields.get("model"), Some("\"a\""));
    }

    proptest! {
        #[test]
        fn agrees_with_a_full_parser(keys in proptest::collection::vec("[a-z\"\\\\{}]{0,4}", 0..6), text in ".{0,20}") {
            let value = json!({"a": [text, {"b": text}], "c": {"d": null}, "e": -1.5e3});
            let object: Map<String, Value> = keys.iter().map(|key| (key.clone(), value.clone())).collect();
            let body = serde_json::to_string_pretty(&object).unwrap();
            let fields = Fields::parse(body.as_bytes()).unwrap();
            prop_assert_eq!(fields.entries.len(), object.len());
            let back: Value = serde_json::from_slice(&fields.to_json()).unwrap();
            prop_assert_eq!(back, Value::Object(object));
        }

        #[test]
        fn never_panics(bytes in "[\\[\\]{}\":,\\\\a1 ]{0,40}") {
            let _ = Fields::parse(bytes.as_bytes());
        }
    }
}
