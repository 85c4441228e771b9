//! Reads a tasks.json, whoever wrote it: both dialects of Task Master, mixtures of them, flat and bare files, and ours.
//!
//! What a field holds that cannot be what it should is kept among the unknown fields, and named as an oddity.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::fields::{Fields, free_name, is_null};
use super::{MAIN_TAG, MAX_FILE_BYTES, MAX_NESTING, MAX_ODDITIES, MAX_TAGS, MAX_VALUES};
use super::{Oddity, Read, ReadError, Tag, TasksFile};
use crate::{Extra, Raw, Tasks};

mod task;

/// The whole text as one JSON value: text, not too large, not too nested, JSON.
pub(super) fn whole(bytes: &[u8]) -> Result<(&str, &RawValue), ReadError> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ReadError::TooLarge);
    }
    let lines = |bytes: &[u8]| 1 + bytes.iter().filter(|&&byte| byte == b'\n').count();
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ReadError::NotText { line: lines(bytes.get(..error.valid_up_to()).unwrap_or(bytes)) })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(ReadError::Empty);
    }
    match size(text.as_bytes()) {
        Err(at) => return Err(ReadError::TooNested { line: lines(bytes.get(..at).unwrap_or(bytes)) }),
        Ok(values) if values > MAX_VALUES => return Err(ReadError::TooManyValues),
        Ok(_) => {}
    }
    let raw = serde_json::from_str(text).map_err(|error| ReadError::NotJson {
        why: error.to_string(),
        conflict: text.lines().position(|line| line.starts_with("<<<<<<< ")).map(|index| index + 1),
    })?;
    Ok((text, raw))
}

/// About how many values a JSON text has, or where its brackets stand deeper in each other than [`MAX_NESTING`].
fn size(json: &[u8]) -> Result<usize, usize> {
    let (mut values, mut depth, mut is_text, mut is_escaped) = (0, 0_usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => (values, depth) = (values + 1, depth + 1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(at);
        }
    }
    Ok(values)
}

/// What kind of JSON value it is, for people.
pub(super) fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        _ => "a number",
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    let (text, raw) = whole(bytes)?;
    let mut reader = Reader { text, tag: String::new(), oddities: Vec::new(), more_oddities: 0, dependencies: 0 };
    let file = reader.file(raw)?;
    reader.oddities.sort_by_key(|oddity| oddity.line);
    Ok(Read { file, oddities: reader.oddities, more_oddities: reader.more_oddities })
}

struct Reader<'a> {
    text: &'a str,
    /// The tag being read.
    tag: String,
    oddities: Vec<Oddity>,
    more_oddities: usize,
    /// How many were read so far.
    dependencies: usize,
}

impl<'a> Reader<'a> {
    fn file(&mut self, raw: &'a RawValue) -> Result<TasksFile, ReadError> {
        if raw.get().starts_with('[') {
            let tag = self.tag(MAIN_TAG.to_owned(), Fields(vec![("tasks".to_owned(), raw)]))?;
            return Ok(TasksFile { tags: vec![tag], extra: Extra::new() });
        }
        let wanted = "tags with their tasks, or a list of tasks";
        let mut fields = Fields::of(raw).ok_or(ReadError::OtherKind { found: kind(raw), wanted })?;
        self.part_twins(&mut fields, raw, "")?;
        let is_flat = fields.get("tasks").is_some_and(is_list);
        let mut file = TasksFile::default();
        let mut flat = Fields::default();
        for (name, raw) in fields.0 {
            match Fields::of(raw) {
                Some(fields) if fields.get("tasks").is_some_and(is_list) => {
                    let mut tag = self.tag_of(name, fields, raw)?;
                    tag.as_read = Some(Arc::new(Raw(raw.to_owned())));
                    file.tags.push(tag);
                }
                _ if is_flat => flat.0.push((name, raw)),
                fields => {
                    if fields.is_some_and(|fields| fields.get("tasks").is_some()) {
                        self.odd(raw, &name, "has no list of tasks: kept as it is");
                    }
                    file.extra.push((name, Raw(raw.to_owned())));
                }
            }
            if file.tags.len() > MAX_TAGS {
                return Err(ReadError::TooManyTags);
            }
        }
        if is_flat {
            let name = free_name(MAIN_TAG, |name| file.tag(name).is_some());
            let tag = self.tag(name, flat)?;
            file.tags.insert(0, tag);
        }
        Ok(file)
    }

    fn tag_of(&mut self, name: String, mut fields: Fields<'a>, raw: &'a RawValue) -> Result<Tag, ReadError> {
        self.tag.clone_from(&name);
        self.part_twins(&mut fields, raw, "")?;
        self.tag(name, fields)
    }

    fn tag(&mut self, name: String, fields: Fields<'a>) -> Result<Tag, ReadError> {
        self.tag.clone_from(&name);
        let mut tag = Tag { name, tasks: Tasks::default(), metadata: Extra::new(), extra: Extra::new(), as_read: None };
        for (field, raw) in fields.0 {
            match (field.as_str(), Fields::of(raw)) {
                ("tasks", _) => tag.tasks = self.tasks(raw, &mut tag.extra)?,
                ("metadata", Some(mut metadata)) => {
                    self.part_twins(&mut metadata, raw, "")?;
                    tag.metadata = metadata.into_extra();
                }
                ("metadata", None) if is_null(raw) => {}
                _ => tag.extra.push((field, Raw(raw.to_owned()))),
            }
        }
        self.tag.clear();
        Ok(tag)
    }

    /// Of fields with the same name, JavaScript sees the last; the others go on under another name.
    fn part_twins(&mut self, fields: &mut Fields<'a>, raw: &'a RawValue, place: &str) -> Result<(), ReadError> {
        let renamed = fields.part_twins().ok_or_else(|| ReadError::TooManyTwins { line: self.line(raw) })?;
        for (name, free) in renamed {
            self.odd(raw, place, &format!("has `{name}` twice: the last one holds, the earlier is kept as `{free}`"));
        }
        Ok(())
    }

    /// Notes something odd about `raw`, which is `place` in the tag being read.
    fn odd(&mut self, raw: &RawValue, place: &str, what: &str) {
        if self.oddities.len() == MAX_ODDITIES {
            self.more_oddities += 1;
            return;
        }
        let (tag, what) = (self.tag.clone(), what.to_owned());
        self.oddities.push(Oddity { line: self.line(raw), tag, place: place.to_owned(), what });
    }

    /// The line in which `raw` begins, counted from 1.
    fn line(&self, raw: &RawValue) -> usize {
        let at = (raw.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        1 + self.text.as_bytes().get(..at).unwrap_or_default().iter().filter(|&&byte| byte == b'\n').count()
    }
}

fn is_list(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

/// `raw` as an oddity shows it.
fn shown(raw: &RawValue) -> String {
    let text = raw.get();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default().escape_debug()),
        None => format!("`{}`", text.escape_debug().to_string().replace("\\\"", "\"")),
    }
}
