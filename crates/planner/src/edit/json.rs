//! Edits out of JSON, such as `{"edit": "set-status", "ids": ["3"], "status": "done"}`.
//!
//! Not derived: serde holds the fields of such an enum back until it knows which edit it is, and JSON that must stay as
//! it was written ([`crate::Raw`]) cannot be held back so. Here every field is kept as text until then.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

use super::Edit;
use crate::Raw;

impl<'de> Deserialize<'de> for Edit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut given = Given(BTreeMap::deserialize(from)?);
        let name: String = given.take("edit").map_err(|why| D::Error::custom(format!("{why}, {}", there_are())))?;
        let (_, fields) = EDITS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| D::Error::custom(format!("unknown edit `{}`, {}", name.escape_debug(), there_are())))?;
        let edit = given.edit(&name).and_then(|edit| match given.0.keys().next() {
            Some(unknown) => Err(format!("unknown field `{}`", unknown.escape_debug())),
            None => Ok(edit),
        });
        edit.map_err(|why| D::Error::custom(format!("{why}; edit `{name}` has {fields}")))
    }
}

/// The edits there are, with their fields beside `edit`, for whoever wrote another one.
const EDITS: [(&str, &str); 16] = [
    ("add", "`task`, and `parent` for a subtask"),
    ("change", "`id`, `fields`"),
    ("note", "`id`, `text`"),
    ("set-status", "`ids`, `status`"),
    ("remove", "`ids`"),
    ("replace-subtasks", "`id`, `subtasks`, and `keep_finished`"),
    ("add-subtasks", "`id`, `subtasks`"),
    ("clear-subtasks", "`ids`"),
    ("demote", "`id`, `parent`"),
    ("promote", "`id`"),
    ("move", "`from`, `to`"),
    ("add-dependency", "`id`, `on`"),
    ("remove-dependency", "`id`, `on`"),
    ("fix", "no other field"),
    ("replace", "`tasks`"),
    ("append", "`tasks`"),
];

fn there_are() -> String {
    let names: Vec<&str> = EDITS.iter().map(|(name, _)| *name).collect();
    format!("there are {}", names.join(", "))
}

/// Fields that nobody has read yet.
struct Given(BTreeMap<String, Raw>);

impl Given {
    fn edit(&mut self, name: &str) -> Result<Edit, String> {
        Ok(match name {
            "add" => Edit::Add { parent: self.take_or_default("parent")?, task: self.take("task")? },
            "change" => Edit::Change { id: self.take("id")?, fields: self.take("fields")? },
            "note" => Edit::Note { id: self.take("id")?, text: self.take("text")? },
            "set-status" => Edit::SetStatus { ids: self.take("ids")?, status: self.take("status")? },
            "remove" => Edit::Remove { ids: self.take("ids")? },
            "replace-subtasks" => Edit::ReplaceSubtasks {
                id: self.take("id")?,
                subtasks: self.take("subtasks")?,
                keep_finished: self.take_or_default("keep_finished")?,
            },
            "add-subtasks" => Edit::AddSubtasks { id: self.take("id")?, subtasks: self.take("subtasks")? },
            "clear-subtasks" => Edit::ClearSubtasks { ids: self.take("ids")? },
            "demote" => Edit::Demote { id: self.take("id")?, parent: self.take("parent")? },
            "promote" => Edit::Promote { id: self.take("id")? },
            "move" => Edit::Move { from: self.take("from")?, to: self.take("to")? },
            "add-dependency" => Edit::AddDependency { id: self.take("id")?, on: self.take("on")? },
            "remove-dependency" => Edit::RemoveDependency { id: self.take("id")?, on: self.take("on")? },
            "fix" => Edit::Fix,
            "replace" => Edit::Replace { tasks: self.take("tasks")? },
            "append" => Edit::Append { tasks: self.take("tasks")? },
            unknown => return Err(format!("unknown edit `{}`", unknown.escape_debug())),
        })
    }

    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        let value = self.0.remove(name).ok_or_else(|| format!("missing field `{name}`"))?;
        serde_json::from_str(value.0.get()).map_err(|error| format!("field `{name}`: {error}"))
    }

    fn take_or_default<T: DeserializeOwned + Default>(&mut self, name: &str) -> Result<T, String> {
        if self.0.contains_key(name) { self.take(name) } else { Ok(T::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edit_that_is_named_can_be_read_and_says_its_fields() {
        for (name, fields) in EDITS {
            let json = format!("{{\"edit\": \"{name}\", \"x\": 1}}");
            let refused = serde_json::from_str::<Edit>(&json).unwrap_err().to_string();
            assert!(refused.ends_with(&format!("edit `{name}` has {fields}")), "{refused}");
            assert!(refused.starts_with("missing field `") || refused.starts_with("unknown field `x`"), "{refused}");
            let first = refused.strip_prefix("missing field ").and_then(|rest| rest.split(';').next());
            assert!(first.is_none_or(|first| fields.contains(first)), "{refused}");
        }
    }
}
