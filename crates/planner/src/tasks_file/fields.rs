//! JSON objects of other programs: their fields in order, values as they stand, nothing lost.
//!
//! What cannot stay under its name, because the name stands twice or belongs to a value of ours, goes on as `unreadName`.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{Extra, Raw};

/// How many fields of an object may have the name of a later one.
const MAX_TWINS: usize = 16;

/// The fields of a JSON object in their order; values point into the text that was read.
#[derive(Default)]
pub(super) struct Fields<'a>(pub Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The fields of `raw`, if it is an object.
    pub fn of(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(field, _)| field == name).map(|(_, raw)| *raw)
    }

    /// Gives all but the last field of each name another name; answers what was renamed, as (from, to), or nothing if it
    /// is more than anybody wrote by mistake.
    pub fn part_twins(&mut self) -> Option<Vec<(String, String)>> {
        let last: HashMap<_, _> = self.0.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
        if self.0.len() - last.len() > MAX_TWINS {
            return None;
        }
        let mut renamed: Vec<(String, String)> = Vec::new();
        for (index, (name, _)) in self.0.iter_mut().enumerate() {
            if last.get(name) != Some(&index) {
                let is_taken = |free: &str| last.contains_key(free) || renamed.iter().any(|(_, to)| to == free);
                let free = free_name(name, is_taken);
                renamed.push((std::mem::replace(name, free.clone()), free));
            }
        }
        Some(renamed)
    }

    /// The fields as they are kept.
    pub fn into_extra(self) -> Extra {
        self.0.into_iter().map(|(name, raw)| (name, Raw(raw.to_owned()))).collect()
    }
}

/// `name`, or what it is called where that name is taken.
pub(super) fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    while is_taken(&free) {
        let mut letters = free.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        free = format!("unread{first}{}", letters.as_str());
    }
    free
}

/// The text of field `name`, if it is there and is text.
pub(super) fn text_of(extra: &Extra, name: &str) -> Option<String> {
    let (_, raw) = extra.iter().find(|(field, _)| field == name)?;
    text(&raw.0)
}

/// Sets field `name`, in its place where it is there.
pub(super) fn set(extra: &mut Extra, name: &str, value: impl serde::Serialize) -> serde_json::Result<()> {
    let raw = Raw(serde_json::value::to_raw_value(&value)?);
    match extra.iter_mut().find(|(field, _)| field == name) {
        Some((_, old)) => *old = raw,
        None => extra.push((name.to_owned(), raw)),
    }
    Ok(())
}

/// The text that `raw` is. Half characters, which JavaScript may cut out of a text, become `U+FFFD`.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok().or_else(|| serde_json::from_str(raw.get()).ok().map(|Lossy(text)| text))
}

pub(super) fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// The whole number that `raw` is or has in it as text, above 0 and of at most 9 digits. Takes `1.0`, refuses `1.5`.
pub(super) fn number(raw: &RawValue) -> Option<u32> {
    let inner = text(raw);
    let digits = inner.as_deref().unwrap_or(raw.get()).trim();
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_plain {
        digits.parse::<u32>().ok()?
    } else {
        let number = inner.is_none().then(|| digits.parse::<f64>().ok())??;
        // Guarded: a whole number in the range of u32.
        (number.fract() == 0.0 && (1.0..1e9).contains(&number)).then_some(number as u32)?
    };
    (1..1_000_000_000).contains(&number).then_some(number)
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Object).map(Fields)
    }
}

struct Lossy(String);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Lossy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn of_two_fields_with_one_name_the_later_keeps_it() {
        let object = raw(r#"{"a": 1, "b": 2, "a": 3, "unreadA": 4, "a": 5}"#);
        let mut fields = Fields::of(&object).unwrap();
        fields.part_twins().unwrap();
        let names: Vec<_> = fields.0.iter().map(|(name, raw)| format!("{name}={}", raw.get())).collect();
        assert_eq!(names, ["unreadUnreadA=1", "b=2", "unreadUnreadUnreadA=3", "unreadA=4", "a=5"]);
    }

    #[test]
    fn numbers_are_read_from_numbers_and_texts_and_nothing_else() {
        for (json, read) in [("3", 3), ("\"3\"", 3), ("\" 12 \"", 12), ("3.0", 3), ("1e2", 100)] {
            assert_eq!(number(&raw(json)), Some(read), "{json}");
        }
        for json in ["0", "-1", "1.5", "\"1.0\"", "\"\"", "null", "[1]", "4294967297", "1e400", "\"+1\""] {
            assert_eq!(number(&raw(json)), None, "{json}");
        }
    }

    #[test]
    fn half_a_character_does_not_make_a_text_unreadable() {
        assert_eq!(text(&raw(r#""cut \ud83d""#)).map(|text| text.starts_with("cut \u{fffd}")), Some(true));
        assert_eq!(text(&raw("42")), None);
    }
}
