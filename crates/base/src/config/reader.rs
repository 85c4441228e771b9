//! Reading typed values out of TOML tables: every fault is kept, with field, value and hint, and reading goes on.

use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use super::Secret;

/// Where a configuration comes from; later sources win: defaults, file, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's path and text.
    pub file: Option<(PathBuf, String)>,
    /// The environment; only `TMD_*` and the documented aliases are looked at.
    pub env: Vec<(String, String)>,
    /// `section.key` and value, from flags.
    pub flags: Vec<(String, String)>,
    /// Folder that relative paths count from when there is no file.
    pub folder: PathBuf,
}

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// `section.key`.
    pub field: String,
    /// What stands there; empty when nothing does.
    pub value: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

/// Everything that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<ConfigFault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let value = if fault.value.is_empty() { String::new() } else { format!(" = {}", fault.value) };
            write!(f, "{}{value}: {}\n  hint: {}", fault.field, fault.problem, fault.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// A table being read: what is taken is gone, what is left over at the end is unknown.
pub struct Section {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    faults: Vec<ConfigFault>,
}

impl Section {
    /// The table at `path` of a file; its faults name it so.
    pub fn new(path: &str, table: Table) -> Self {
        Self { path: path.to_owned(), table, known: Vec::new(), faults: Vec::new() }
    }

    /// The sub-table `key`; an empty one when it is absent.
    pub fn section(&mut self, key: &'static str) -> Section {
        let path = self.field(key);
        match self.take(key) {
            None => Section::new(&path, Table::new()),
            Some(Value::Table(table)) => Section::new(&path, table),
            Some(other) => {
                self.fault(key, &show(&other), "is not a section", &format!("write it as [{path}]"));
                Section::new(&path, Table::new())
            }
        }
    }

    /// The entries of an array of tables `[[key]]`.
    pub fn sections(&mut self, key: &'static str) -> Vec<Section> {
        let path = self.field(key);
        let entries = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(entries)) => entries,
            Some(other) => {
                self.fault(key, &show(&other), "is not a list of sections", &format!("write each as [[{path}]]"));
                Vec::new()
            }
        };
        let named = |at: usize, table: &Table| match table.get("name").and_then(Value::as_str) {
            Some(name) => format!("{path}.{name}"),
            None => format!("{path}.{at}"),
        };
        let tables = entries.into_iter().filter_map(|entry| match entry {
            Value::Table(table) => Some(table),
            _ => None,
        });
        tables.enumerate().map(|(at, table)| Section::new(&named(at, &table), table)).collect()
    }

    /// `key` read by `parse`; `None` when absent, or wrong (then the fault is noted).
    pub fn get<T>(&mut self, key: &'static str, expected: &str, parse: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(key)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.fault(key, &show(&value), &format!("is not {expected}"), &format!("give {expected}"));
        }
        parsed
    }

    /// The secret `key`; a wrong one is not shown.
    pub(super) fn secret(&mut self, key: &'static str, least: usize) -> Option<Secret> {
        let value = self.take(key)?;
        let secret = value.as_str().filter(|text| text.len() >= least).map(|text| Secret(text.to_owned()));
        if secret.is_none() {
            let expected = format!("a text of at least {least} characters");
            self.fault(key, "***", &format!("is not {expected}"), &format!("give {expected}, in quotes"));
        }
        secret
    }

    /// Notes a fault at `key`.
    pub fn fault(&mut self, key: &str, value: &str, problem: &str, hint: &str) {
        self.faults.push(ConfigFault {
            field: self.field(key),
            value: value.to_owned(),
            problem: problem.to_owned(),
            hint: hint.to_owned(),
        });
    }

    /// Notes that `key` is missing, unless it is there or something is said of it already.
    pub(super) fn must_have(&mut self, key: &str, is_there: bool, hint: &str) {
        let field = self.field(key);
        if !is_there && !self.faults.iter().any(|fault| fault.field == field) {
            self.fault(key, "", "is missing", hint);
        }
    }

    /// Ends the section: what was not taken is unknown. Gives all faults of it to `faults`.
    pub fn finish(mut self, faults: &mut Vec<ConfigFault>) {
        let left: Vec<(String, Value)> = std::mem::take(&mut self.table).into_iter().collect();
        for (key, value) in left {
            let hint = match nearest(&key, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.fault(&key, &show(&value), "is not known", &hint);
        }
        faults.append(&mut self.faults);
    }

    /// The keys of the table, for sections whose keys are names.
    pub fn keys(&self) -> Vec<String> {
        self.table.keys().cloned().collect()
    }

    /// A value under a key that is a name.
    pub fn take_named(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// A value as the file writes it, cut to a length that fits a line.
pub(super) fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// The known word that `word` was probably meant to be.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known.iter().map(|&other| (distance(word, other), other)).filter(|&(far, _)| far <= 2).min().map(|(_, near)| near)
}

/// Edits between two words (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = i;
        for (j, &b) in other.iter().enumerate() {
            let (Some(&above), Some(&left)) = (row.get(j + 1), if j == 0 { Some(&(i + 1)) } else { row.get(j) }) else {
                continue;
            };
            let cost = (before + usize::from(a != b)).min(above + 1).min(left + 1);
            before = above;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = cost;
            }
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The table of a file; an empty one when it is no TOML, which is then noted at `field`.
pub fn table(field: &str, text: &str, faults: &mut Vec<ConfigFault>) -> Table {
    text.parse::<Table>().unwrap_or_else(|error| {
        faults.push(ConfigFault {
            field: field.to_owned(),
            value: String::new(),
            problem: format!("is not TOML: {}", error.message()),
            hint: match error.span() {
                Some(span) => format!("look at line {}", line_of(text, span.start)),
                None => "see the example in the README".to_owned(),
            },
        });
        Table::new()
    })
}

/// The file's table with the environment and the flags laid over it.
pub(super) fn merge(sources: &Sources, faults: &mut Vec<ConfigFault>) -> Table {
    let mut table = match &sources.file {
        None => Table::new(),
        Some((path, text)) => table(&path.display().to_string(), text, faults),
    };
    super::alias::apply(&sources.env, &mut table, faults);
    let from_env = sources.env.iter().filter_map(|(name, value)| {
        let path = name.strip_prefix("TMD_")?.to_lowercase().replace("__", ".");
        Some((path, value))
    });
    let from_flags = sources.flags.iter().map(|(path, value)| (path.clone(), value));
    for (path, value) in from_env.chain(from_flags) {
        set(&mut table, &path, typed(value));
    }
    table
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// A variable's text as TOML where it is some (numbers, lists, booleans), else as a string.
fn typed(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Sets `a.b.c`; a part of the path that is no table is replaced, and what is wrong with it shows when it is read.
pub(super) fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (one, other, edits) in [("slots", "slots", 0), ("slot", "slots", 1), ("sltos", "slots", 2), ("", "ab", 2)] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }
}
