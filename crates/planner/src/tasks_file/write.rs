//! Writes a tasks.json in the one dialect that Task Master clients of every version accept.
//!
//! Numbers are numbers; a dependency is a number where it means a top-level task or a sibling, an address as text
//! elsewhere. What a subtask needs of top-level tasks has no form there, and stands in a field of our own.

use std::collections::HashSet;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::fields::free_name;
use super::{Tag, TasksFile};
use crate::{Extra, Priority, Raw, Task, TaskId};

pub(super) fn write(file: &TasksFile) -> serde_json::Result<String> {
    pretty(&File(file))
}

/// A value as a whole file: indented, with a last line break.
pub(super) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

struct File<'a>(&'a TasksFile);

impl Serialize for File<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = Object::begin(to)?;
        for tag in &self.0.tags {
            match &tag.as_read {
                Some(raw) => object.put(&tag.name, &**raw)?,
                None => object.put(&tag.name, &WholeTag(tag))?,
            }
        }
        object.end(&self.0.extra)
    }
}

struct WholeTag<'a>(&'a Tag);

impl Serialize for WholeTag<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Tag { tasks, metadata, extra, .. } = self.0;
        let top = |task: &'_ Task| TaskId::top(task.number);
        let tasks: Vec<_> = tasks.top().iter().map(|task| Entry { task, id: top(task), inherited: None }).collect();
        let mut object = Object::begin(to)?;
        object.put("tasks", &tasks)?;
        object.put("metadata", &Alone(metadata))?;
        object.end(extra)
    }
}

/// A task where it stands.
struct Entry<'a> {
    task: &'a Task,
    id: TaskId,
    /// The priority that the readers assume where none stands: the parent's.
    inherited: Option<Priority>,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let task = self.task;
        let is_top = self.id.depth() == 1;
        let mut object = Object::begin(to)?;
        object.put("id", &task.number)?;
        object.put("title", &task.title)?;
        object.put("description", &task.description)?;
        object.put("details", &task.details)?;
        if is_top || !task.test_strategy.is_empty() {
            object.put("testStrategy", &task.test_strategy)?;
        }
        if self.inherited != Some(task.priority) {
            object.put("priority", &task.priority)?;
        }
        self.put_dependencies(&mut object)?;
        object.put("status", &task.status)?;
        if is_top || !task.subtasks.is_empty() {
            let below = |sub| Entry { task: sub, id: self.id.child(sub.number), inherited: Some(task.priority) };
            object.put("subtasks", &task.subtasks.iter().map(below).collect::<Vec<_>>())?;
        }
        if let Some(complexity) = &task.complexity {
            object.put("complexity", &complexity.score)?;
            object.put("recommendedSubtasks", &complexity.recommended_subtasks)?;
            object.put("expansionPrompt", &complexity.expansion_prompt)?;
            object.put("complexityReasoning", &complexity.reasoning)?;
        }
        if !task.updated_at.is_empty() {
            object.put("updatedAt", &task.updated_at)?;
        }
        if !task.sources.is_empty() {
            object.put("sources", &task.sources)?;
        }
        if !task.made_by.is_empty() {
            object.put("madeBy", &task.made_by)?;
        }
        object.end(&task.extra)
    }
}

impl Entry<'_> {
    fn put_dependencies<M: SerializeMap>(&self, object: &mut Object<M>) -> Result<(), M::Error> {
        let parent = self.id.parent();
        let is_foreign = |on: &&TaskId| parent.is_some() && on.depth() == 1;
        let near = self.task.dependencies.iter().filter(|on| !is_foreign(on));
        let far: Vec<_> = self.task.dependencies.iter().filter(is_foreign).map(TaskId::number).collect();
        object.put("dependencies", &near.map(|on| Reference { on, from: parent.as_ref() }).collect::<Vec<_>>())?;
        if far.is_empty() { Ok(()) } else { object.put("taskDependencies", &far) }
    }
}

/// A dependency as a task below `from` names it.
struct Reference<'a> {
    on: &'a TaskId,
    from: Option<&'a TaskId>,
}

impl Serialize for Reference<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let is_near = self.on.parent().as_ref() == self.from;
        if is_near { self.on.number().serialize(to) } else { self.on.serialize(to) }
    }
}

/// Unknown fields as an object of their own.
pub(super) struct Alone<'a>(pub &'a Extra);

impl Serialize for Alone<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Object::begin(to)?.end(self.0)
    }
}

/// A JSON object in which no name stands twice.
pub(super) struct Object<M> {
    map: M,
    names: HashSet<String>,
}

impl<M: SerializeMap> Object<M> {
    pub fn begin<S: Serializer<SerializeMap = M>>(to: S) -> Result<Self, S::Error> {
        Ok(Self { map: to.serialize_map(None)?, names: HashSet::new() })
    }

    pub fn put(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), M::Error> {
        self.names.insert(name.to_owned());
        self.map.serialize_entry(name, value)
    }

    /// The unknown fields, and the end. One whose name is taken by a value of ours gets another.
    pub fn end(mut self, extra: &Extra) -> Result<M::Ok, M::Error> {
        for (name, Raw(raw)) in extra {
            let free = free_name(name, |name| self.names.contains(name));
            self.put(&free, raw)?;
        }
        self.map.end()
    }
}
