//! The fields of one task that both sides have: each for itself, lists of dependencies as sets.

use serde::Serialize;

use super::{Clash, Conflict};
use crate::{Extra, Raw, Task, TaskId};

/// A task in three versions, on its way to one.
pub(super) struct Merge<'a> {
    pub id: &'a TaskId,
    pub base: &'a Task,
    pub ours: &'a Task,
    pub theirs: &'a Task,
    pub conflicts: &'a mut Vec<Conflict>,
}

impl Merge<'_> {
    /// The task without its subtasks.
    pub fn own_fields(&mut self) -> Task {
        Task {
            number: self.ours.number,
            title: self.pick("title", |task| &task.title),
            description: self.pick("description", |task| &task.description),
            details: self.pick("details", |task| &task.details),
            test_strategy: self.pick("testStrategy", |task| &task.test_strategy),
            status: self.pick("status", |task| &task.status),
            priority: self.pick("priority", |task| &task.priority),
            dependencies: self.dependencies(),
            subtasks: Vec::new(),
            complexity: self.pick("complexity", |task| &task.complexity),
            sources: self.pick("sources", |task| &task.sources),
            made_by: self.pick("madeBy", |task| &task.made_by),
            updated_at: self.updated_at(),
            version: self.ours.version,
            extra: self.extra(),
        }
    }

    fn pick<T: Clone + PartialEq + Serialize>(&mut self, name: &str, field: impl Fn(&Task) -> &T) -> T {
        let (base, ours, theirs) = (field(self.base), field(self.ours), field(self.theirs));
        if ours == theirs || theirs == base {
            return ours.clone();
        }
        if ours == base {
            return theirs.clone();
        }
        self.clash(name, Some(shown(ours)), Some(shown(theirs)));
        ours.clone()
    }

    fn clash(&mut self, field: &str, ours: Option<String>, theirs: Option<String>) {
        let clash = Clash::Field { field: field.to_owned(), ours, theirs };
        self.conflicts.push(Conflict { task: self.id.clone(), title: self.ours.title.clone(), clash });
    }

    /// Ours, without what they took out, with what they put in.
    fn dependencies(&self) -> Vec<TaskId> {
        let [base, ours, theirs] = [self.base, self.ours, self.theirs].map(|task| &task.dependencies);
        let mut merged = if ours == base { theirs.clone() } else { ours.clone() };
        if ours != base && theirs != base {
            merged.retain(|on| theirs.contains(on) || !base.contains(on));
            let added = theirs.iter().filter(|on| !base.contains(on) && !ours.contains(on));
            merged.extend(added.cloned());
        }
        merged
    }

    /// The later of two times; as text, since RFC 3339 in one time zone is in order.
    fn updated_at(&self) -> String {
        let [base, ours, theirs] = [self.base, self.ours, self.theirs].map(|task| &task.updated_at);
        if ours == base || (theirs != base && theirs > ours) { theirs.clone() } else { ours.clone() }
    }

    fn extra(&mut self) -> Extra {
        let [base, ours, theirs] = [self.base, self.ours, self.theirs].map(|task| &task.extra);
        merge_extra(base, ours, theirs, |name, here, there| self.clash(name, here.map(shown), there.map(shown)))
    }
}

/// Unknown fields one by one: what stands in one side only was put in or taken out by one of them. Ours stays where both
/// changed one differently, of which `clash` hears.
pub fn merge_extra(
    base: &Extra,
    ours: &Extra,
    theirs: &Extra,
    mut clash: impl FnMut(&str, Option<&Raw>, Option<&Raw>),
) -> Extra {
    if ours == base || theirs == base {
        return if ours == base { theirs.clone() } else { ours.clone() };
    }
    let mut merged = Extra::new();
    let added = theirs.iter().filter(|(name, _)| get(ours, name).is_none());
    for (name, _) in ours.iter().chain(added) {
        let (old, here, there) = (get(base, name), get(ours, name), get(theirs, name));
        let kept = if here == there || there == old {
            here
        } else if here == old {
            there
        } else {
            clash(name, here, there);
            here
        };
        merged.extend(kept.map(|raw| (name.clone(), raw.clone())));
    }
    merged
}

fn get<'a>(extra: &'a Extra, name: &str) -> Option<&'a Raw> {
    extra.iter().find(|(field, _)| field == name).map(|(_, raw)| raw)
}

/// A value as people see it: text as it is, anything else as JSON.
fn shown(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).unwrap_or_else(|error| format!("not to be shown: {error}"));
    serde_json::from_str::<String>(&json).unwrap_or(json)
}
