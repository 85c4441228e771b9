//! The entries of a header. Only what is small is kept: of vocabularies and the like, only how long they are.

use std::collections::HashMap;
use std::io::{Read, Seek};

use super::GgufError;
use super::source::Source;

/// Models have a few dozen.
const MOST_ENTRIES: u64 = 16_384;
const MOST_KEY_BYTES: u64 = 1_024;
/// Whole tokenizers are kept as one string by some.
const MOST_STRING_BYTES: u64 = 64 << 20;
/// Merges of the largest vocabularies are below a million.
const MOST_ELEMENTS: u64 = 1 << 24;
const MOST_NESTING: u32 = 2;
/// What is held in memory of all keys and values together.
const MOST_KEPT_BYTES: usize = 16 << 20;
/// Strings longer than this are passed over, except for the template.
const MOST_KEPT_STRING: u64 = 4 << 10;
const MOST_KEPT_TEMPLATE: u64 = 1 << 20;
/// Longer arrays are passed over: none has a value for each layer.
const MOST_KEPT_ELEMENTS: u64 = 4_096;
/// What an entry takes in memory beside its text.
const ENTRY_BYTES: usize = 96;

/// The chat template that is used when nothing else is asked for.
pub(super) const TEMPLATE: &str = "tokenizer.chat_template";

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Whole(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    /// A string that is too long to be kept.
    LongText,
    /// A short array of whole numbers or claims.
    Numbers(Vec<i64>),
    /// Any other array.
    Array {
        length: u64,
    },
}

impl Value {
    const fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Numbers(numbers) => 8 * numbers.len(),
            _ => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Metadata {
    values: HashMap<String, Value>,
    kept_bytes: usize,
}

impl Metadata {
    pub fn read<R: Read + Seek>(source: &mut Source<'_, R>, entries: u64) -> Result<Self, GgufError> {
        let mut metadata = Self::default();
        for _ in 0..entries {
            let at = source.at();
            let key = source.text("a key", MOST_KEY_BYTES)?;
            let kind = source.u32("the type of a value")?;
            let value = value(source, &key, kind)?;
            metadata.keep(key, value, at)?;
        }
        Ok(metadata)
    }

    fn keep(&mut self, key: String, value: Value, at: u64) -> Result<(), GgufError> {
        self.kept_bytes += ENTRY_BYTES + key.len() + value.size_bytes();
        if self.kept_bytes > MOST_KEPT_BYTES {
            let (found, limit) = (self.kept_bytes as u64, MOST_KEPT_BYTES as u64);
            return Err(GgufError::OverLimit { what: "a list of entries", found, limit, at });
        }
        if self.values.contains_key(&key) {
            return Err(GgufError::DuplicateKey { key, at });
        }
        self.values.insert(key, value);
        Ok(())
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A string; `None` where there is none or it is too long to matter.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.get(key) {
            None | Some(Value::LongText) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(bad(key, "is not text")),
        }
    }

    /// A whole number that fits.
    pub fn number(&self, key: &str) -> Result<Option<u32>, GgufError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Whole(number)) => match u32::try_from(*number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(bad(key, format!("is {number}, which is out of range"))),
            },
            Some(_) => Err(bad(key, "is not a whole number")),
        }
    }

    /// One whole number for all layers, or one for each.
    pub fn numbers(&self, key: &str) -> Result<Vec<u32>, GgufError> {
        let Some(Value::Numbers(numbers)) = self.get(key) else {
            return Ok(self.number(key)?.into_iter().collect());
        };
        let fit = |number: &i64| u32::try_from(*number).map_err(|_| bad(key, format!("has {number}, out of range")));
        numbers.iter().map(fit).collect()
    }

    /// How many elements an array has.
    pub fn length(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Numbers(numbers) => Some(numbers.len() as u64),
            Value::Array { length } => Some(*length),
            _ => None,
        }
    }
}

pub(super) fn bad(key: &str, problem: impl Into<String>) -> GgufError {
    GgufError::BadValue { key: key.to_owned(), problem: problem.into() }
}

/// How many entries there are, as the begin of the file says.
pub(super) fn entries<R: Read + Seek>(source: &mut Source<'_, R>) -> Result<u64, GgufError> {
    source.count("a number of entries", MOST_ENTRIES)
}

/// Types of values that are numbers or claims, with what each takes.
const fn number_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn value<R: Read + Seek>(source: &mut Source<'_, R>, key: &str, kind: u32) -> Result<Value, GgufError> {
    match kind {
        STRING => string(source, key),
        ARRAY => array(source, key),
        _ => number(source, key, kind),
    }
}

fn number<R: Read + Seek>(source: &mut Source<'_, R>, key: &str, kind: u32) -> Result<Value, GgufError> {
    const WHAT: &str = "a value";
    let at = source.at();
    Ok(match kind {
        0 => Value::Whole(u8::from_le_bytes(source.take(WHAT)?).into()),
        1 => Value::Whole(i8::from_le_bytes(source.take(WHAT)?).into()),
        2 => Value::Whole(u16::from_le_bytes(source.take(WHAT)?).into()),
        3 => Value::Whole(i16::from_le_bytes(source.take(WHAT)?).into()),
        4 => Value::Whole(source.u32(WHAT)?.into()),
        5 => Value::Whole(i32::from_le_bytes(source.take(WHAT)?).into()),
        6 => Value::Float(f32::from_le_bytes(source.take(WHAT)?).into()),
        7 => Value::Bool(source.take::<1>(WHAT)? != [0]),
        10 => Value::Whole(source.u64(WHAT)?.into()),
        11 => Value::Whole(i64::from_le_bytes(source.take(WHAT)?).into()),
        12 => Value::Float(f64::from_le_bytes(source.take(WHAT)?)),
        found => return Err(GgufError::ValueType { key: key.to_owned(), found, at }),
    })
}

fn string<R: Read + Seek>(source: &mut Source<'_, R>, key: &str) -> Result<Value, GgufError> {
    let length = source.count("a string", MOST_STRING_BYTES)?;
    let most = if key == TEMPLATE { MOST_KEPT_TEMPLATE } else { MOST_KEPT_STRING };
    if length > most {
        source.skip(length, "a string")?;
        return Ok(Value::LongText);
    }
    // A name in another encoding makes no model useless.
    Ok(Value::Text(String::from_utf8_lossy(&source.bytes(length, "a string")?).into_owned()))
}

fn array<R: Read + Seek>(source: &mut Source<'_, R>, key: &str) -> Result<Value, GgufError> {
    let kind = source.u32("the type of an array")?;
    let length = source.count("an array", MOST_ELEMENTS)?;
    let are_whole = number_bytes(kind).is_some() && !matches!(kind, 6 | 12);
    if !are_whole || length > MOST_KEPT_ELEMENTS {
        pass_over(source, key, kind, length, 1)?;
        return Ok(Value::Array { length });
    }
    let mut numbers = Vec::new();
    for _ in 0..length {
        numbers.push(match number(source, key, kind)? {
            Value::Whole(number) => i64::try_from(number).unwrap_or(i64::MAX),
            other => i64::from(other == Value::Bool(true)),
        });
    }
    Ok(Value::Numbers(numbers))
}

/// Passes over the elements of an array, `depth` arrays deep.
fn pass_over<R: Read + Seek>(
    source: &mut Source<'_, R>,
    key: &str,
    kind: u32,
    length: u64,
    depth: u32,
) -> Result<(), GgufError> {
    const WHAT: &str = "an array";
    if let Some(bytes) = number_bytes(kind) {
        return source.skip(bytes * length, WHAT);
    }
    let at = source.at();
    match kind {
        STRING => {
            for _ in 0..length {
                let length = source.count("a string", MOST_STRING_BYTES)?;
                source.skip(length, WHAT)?;
            }
            Ok(())
        }
        ARRAY if depth < MOST_NESTING => {
            for _ in 0..length {
                let kind = source.u32("the type of an array")?;
                let length = source.count(WHAT, MOST_ELEMENTS)?;
                pass_over(source, key, kind, length, depth + 1)?;
            }
            Ok(())
        }
        ARRAY => {
            let (found, limit) = (u64::from(depth) + 1, MOST_NESTING.into());
            Err(GgufError::OverLimit { what: "a nesting of arrays", found, limit, at })
        }
        found => Err(GgufError::ValueType { key: key.to_owned(), found, at }),
    }
}
