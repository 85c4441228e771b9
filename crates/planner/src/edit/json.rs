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
        let edit = given.edit().map_err(D::Error::custom)?;
        match given.0.keys().next() {
            Some(unknown) => Err(D::Error::custom(format!("unknown field `{unknown}`"))),
            None => Ok(edit),
        }
    }
}

/// Fields that nobody has read yet.
struct Given(BTreeMap<String, Raw>);

impl Given {
    fn edit(&mut self) -> Result<Edit, String> {
        let name: String = self.take("edit")?;
        Ok(match name.as_str() {
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
