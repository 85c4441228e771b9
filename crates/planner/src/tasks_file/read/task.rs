//! Reads the tasks of a tag: numbers first, then every field, then where each dependency leads.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::{Fields, Reader, is_list, kind, shown};
use crate::task::{MAX_DEPTH, next_number};
use crate::tasks_file::fields::{is_null, number, text};
use crate::tasks_file::{MAX_DEPENDENCIES, MAX_TASKS, ReadError};
use crate::{Complexity, Extra, Priority, Raw, Source, Status, Task, TaskId, Tasks};

/// A dependency as it was met.
struct Reference<'a> {
    of: TaskId,
    on: TaskId,
    /// Whether a subtask named a number alone, so that it seems to be a sibling.
    is_bare: bool,
    raw: &'a RawValue,
}

/// What is carried through the levels of a tag.
#[derive(Default)]
struct Level<'a> {
    tasks: usize,
    references: Vec<Reference<'a>>,
}

impl<'a> Level<'a> {
    fn meet(&mut self, of: &TaskId, on: TaskId, is_bare: bool, raw: &'a RawValue) -> TaskId {
        self.references.push(Reference { of: of.clone(), on: on.clone(), is_bare, raw });
        on
    }
}

impl<'a> Reader<'a> {
    /// The tasks of a tag; what among them is none goes to `extra`.
    pub(super) fn tasks(&mut self, raw: &'a RawValue, extra: &mut Extra) -> Result<Tasks, ReadError> {
        let mut level = Level::default();
        let mut tasks = Tasks::new(self.siblings(None, raw, Priority::default(), extra, &mut level)?);
        let known: HashSet<TaskId> = tasks.walk().map(|(id, _)| id).collect();
        for Reference { of, on, is_bare, raw } in level.references.into_iter().filter(|met| !known.contains(&met.on)) {
            let top = TaskId::top(on.number());
            if !is_bare || !known.contains(&top) || of.is_within(&top) {
                self.odd(raw, &of.to_string(), &format!("depends on {on}, which is not there"));
                continue;
            }
            self.odd(raw, &of.to_string(), &format!("has no sibling {}: read as task {top}", on.number()));
            let dependencies = tasks.get_mut(&of).into_iter().flat_map(|task| &mut task.dependencies);
            dependencies.filter(|other| **other == on).for_each(|other| other.clone_from(&top));
        }
        Ok(tasks)
    }

    fn siblings(
        &mut self,
        parent: Option<&TaskId>,
        raw: &'a RawValue,
        inherited: Priority,
        extra: &mut Extra,
        level: &mut Level<'a>,
    ) -> Result<Vec<Task>, ReadError> {
        let (field, place) = parent.map_or(("tasks", String::new()), |id| ("subtasks", id.to_string()));
        let items: Vec<&'a RawValue> = if is_list(raw) { list(raw) } else { vec![raw] };
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        for item in items {
            match Fields::of(item) {
                Some(fields) if is_list(raw) => found.push((fields, item)),
                _ => unread.push(item),
            }
        }
        if !unread.is_empty() {
            let items = unread.iter().map(|item| shown(item)).collect::<Vec<_>>().join(", ");
            self.odd(raw, &place, &format!("has {field} that are none, kept aside: {items}"));
            self.keep(extra, field, &unread);
        }
        level.tasks += found.len();
        if level.tasks > MAX_TASKS {
            return Err(ReadError::TooManyTasks { tag: self.tag.clone() });
        }
        if let Some(parent) = parent.filter(|parent| parent.depth() >= MAX_DEPTH && !found.is_empty()) {
            return Err(ReadError::TooDeep { task: parent.clone() });
        }
        let numbers = self.numbers(parent, &found);
        let mut tasks = Vec::with_capacity(found.len());
        for ((mut fields, item), number) in found.into_iter().zip(numbers) {
            let at = parent.map_or_else(|| TaskId::top(number), |parent| parent.child(number));
            self.part_twins(&mut fields, item, &at.to_string())?;
            tasks.push(self.task(&at, fields, inherited, level)?);
        }
        tasks.sort_by_key(|task| task.number);
        Ok(tasks)
    }

    /// A number of its own for each of some siblings: what its `id` says, else the next one that nobody has.
    fn numbers(&mut self, parent: Option<&TaskId>, siblings: &[(Fields<'a>, &'a RawValue)]) -> Vec<u32> {
        let wanted: Vec<_> = siblings.iter().map(|(fields, _)| own_number(fields.get("id")?, parent)).collect();
        let all: HashSet<u32> = wanted.iter().copied().flatten().collect();
        let mut free = (next_number(all.iter().copied())..).filter(|number| !all.contains(number));
        let mut taken = HashSet::new();
        let mut numbers = Vec::with_capacity(wanted.len());
        for ((fields, item), wanted) in siblings.iter().zip(wanted) {
            if let Some(number) = wanted.filter(|number| taken.insert(*number)) {
                numbers.push(number);
                continue;
            }
            let place = parent.map(TaskId::to_string).unwrap_or_default();
            let next = free.next().unwrap_or_default();
            let what = match (wanted, fields.get("id")) {
                (Some(number), _) => format!("has number {number} twice: the later task becomes {next}"),
                (None, Some(id)) => format!("has a task with the id {}: it becomes {next}", shown(id)),
                (None, None) => format!("has a task without an id: it becomes {next}"),
            };
            self.odd(item, &place, &what);
            numbers.push(next);
        }
        numbers
    }

    fn task(
        &mut self,
        at: &TaskId,
        fields: Fields<'a>,
        inherited: Priority,
        level: &mut Level<'a>,
    ) -> Result<Task, ReadError> {
        let mut task = Task { number: at.number(), priority: inherited, ..Task::default() };
        let (mut subtasks, mut dependencies, mut judged) = (None, Vec::new(), Vec::new());
        for (name, raw) in fields.0 {
            let is_sub = at.depth() > 1;
            match name.as_str() {
                "id" if own_number(raw, at.parent().as_ref()).is_some() => {}
                // Follows from where the subtask stands.
                "parentId" if is_sub => {}
                "title" => task.title = self.text(at, &name, raw),
                "description" => task.description = self.text(at, &name, raw),
                "details" => task.details = self.text(at, &name, raw),
                "testStrategy" => task.test_strategy = self.text(at, &name, raw),
                "status" => task.status = self.word(at, &name, raw, &mut task.extra, Status::parse, task.status),
                "priority" => {
                    task.priority = self.word(at, &name, raw, &mut task.extra, Priority::parse, task.priority);
                }
                "updatedAt" if is_full_text(raw) => task.updated_at = self.text(at, &name, raw),
                "madeBy" if is_full_text(raw) => task.made_by = self.text(at, &name, raw),
                "dependencies" => self.dependencies(at, raw, &mut dependencies, &mut task.extra, level)?,
                "taskDependencies" if is_sub && is_list(raw) && list(raw).iter().all(|on| number(on).is_some()) => {
                    for raw in list(raw) {
                        let on = number(raw).map(TaskId::top);
                        task.dependencies.extend(on.map(|on| level.meet(at, on, false, raw)));
                    }
                    self.count(task.dependencies.len())?;
                }
                "subtasks" => subtasks = Some(raw),
                "complexity" | "recommendedSubtasks" | "expansionPrompt" | "complexityReasoning" => {
                    judged.push((name, raw));
                }
                "sources" => match serde_json::from_str::<Vec<Source>>(raw.get()) {
                    Ok(sources) if !sources.is_empty() => task.sources = sources,
                    _ => task.extra.push((name, Raw(raw.to_owned()))),
                },
                _ => task.extra.push((name, Raw(raw.to_owned()))),
            }
        }
        dependencies.append(&mut task.dependencies);
        task.dependencies = dependencies;
        task.complexity = self.complexity(at, Fields(judged), &mut task.extra);
        if let Some(raw) = subtasks.filter(|raw| !is_null(raw)) {
            task.subtasks = self.siblings(Some(at), raw, task.priority, &mut task.extra, level)?;
        }
        Ok(task)
    }

    fn text(&mut self, at: &TaskId, name: &str, raw: &RawValue) -> String {
        if is_null(raw) {
            return String::new();
        }
        if let Some(text) = text(raw) {
            if text.contains('\u{fffd}') && !raw.get().contains('\u{fffd}') {
                self.odd(raw, &at.to_string(), &format!("has broken characters in `{name}`, now `\u{fffd}`"));
            }
            return text;
        }
        self.odd(raw, &at.to_string(), &format!("has {} as `{name}`: read as its text", kind(raw)));
        raw.get().to_owned()
    }

    fn word<T: std::fmt::Display>(
        &mut self,
        at: &TaskId,
        name: &str,
        raw: &RawValue,
        extra: &mut Extra,
        parse: impl Fn(&str) -> Option<T>,
        otherwise: T,
    ) -> T {
        if is_null(raw) {
            return otherwise;
        }
        if let Some(word) = text(raw).and_then(|text| parse(&text)) {
            return word;
        }
        self.odd(raw, &at.to_string(), &format!("has the unknown {name} {}: read as {otherwise}", shown(raw)));
        extra.push((name.to_owned(), Raw(raw.to_owned())));
        otherwise
    }

    fn dependencies(
        &mut self,
        at: &TaskId,
        raw: &'a RawValue,
        dependencies: &mut Vec<TaskId>,
        extra: &mut Extra,
        level: &mut Level<'a>,
    ) -> Result<(), ReadError> {
        let items = if is_list(raw) { list(raw) } else { vec![raw] };
        let mut unread = Vec::new();
        for item in items.into_iter().filter(|item| !is_null(item)) {
            let Some(on) = address(item) else {
                unread.push(item);
                continue;
            };
            let met = match at.parent().filter(|_| on.depth() == 1) {
                Some(parent) => level.meet(at, parent.child(on.number()), true, item),
                None => level.meet(at, on, false, item),
            };
            dependencies.push(met);
        }
        if !unread.is_empty() {
            let items = unread.iter().map(|item| shown(item)).collect::<Vec<_>>().join(", ");
            self.odd(raw, &at.to_string(), &format!("depends on what is no task, kept aside: {items}"));
            self.keep(extra, "dependencies", &unread);
        }
        self.count(dependencies.len())
    }

    fn count(&mut self, dependencies: usize) -> Result<(), ReadError> {
        self.dependencies += dependencies;
        if self.dependencies > MAX_DEPENDENCIES { Err(ReadError::TooManyDependencies) } else { Ok(()) }
    }

    /// What was said about how hard a task is. Without a score, or with another kind of it, the fields stay unknown ones.
    fn complexity(&mut self, at: &TaskId, fields: Fields<'a>, extra: &mut Extra) -> Option<Complexity> {
        let raw = fields.get("complexity");
        let score = raw.and_then(|raw| raw.get().parse::<f64>().ok()).filter(|score| (1.0..=10.0).contains(score));
        let (Some(raw), Some(score)) = (raw, score) else {
            if let Some(raw) = raw.filter(|raw| !is_null(raw)) {
                self.odd(raw, &at.to_string(), &format!("has {} as complexity, not a score from 1 to 10", shown(raw)));
            }
            extra.extend(fields.into_extra());
            return None;
        };
        let mut text = |name: &str| fields.get(name).map_or_else(String::new, |raw| self.text(at, name, raw));
        let (expansion_prompt, reasoning) = (text("expansionPrompt"), text("complexityReasoning"));
        let wanted = fields.get("recommendedSubtasks").filter(|raw| !is_null(raw) && raw.get() != "0");
        if let Some(raw) = wanted.filter(|raw| number(raw).is_none()) {
            self.odd(raw, &at.to_string(), &format!("should have {} subtasks, which is no number", shown(raw)));
            extra.push(("recommendedSubtasks".to_owned(), Raw(raw.to_owned())));
        }
        if score.fract() != 0.0 {
            self.odd(raw, &at.to_string(), &format!("has the complexity {score}: read as {}", score.round()));
            extra.push(("complexity".to_owned(), Raw(raw.to_owned())));
        }
        let recommended_subtasks = wanted.and_then(number).unwrap_or_default();
        // Guarded: between 1 and 10.
        Some(Complexity { score: score.round() as u8, recommended_subtasks, expansion_prompt, reasoning })
    }

    /// Puts what cannot be read of field `name` aside, as a list.
    fn keep(&mut self, extra: &mut Extra, name: &str, unread: &[&RawValue]) {
        if let Ok(raw) = serde_json::value::to_raw_value(unread) {
            extra.push((name.to_owned(), Raw(raw)));
        }
    }
}

/// The number that a task's `id` gives it: `3`, `"3"`, or, below its parent 2, `"2.3"`.
fn own_number(raw: &RawValue, parent: Option<&TaskId>) -> Option<u32> {
    let full = || text(raw)?.parse::<TaskId>().ok().filter(|id| id.depth() > 1 && id.parent().as_ref() == parent);
    number(raw).or_else(|| full().map(|id| id.number()))
}

/// The address that a dependency names. A number such as 1.2 is one too: written by a model, never by a counter.
fn address(raw: &RawValue) -> Option<TaskId> {
    number(raw).map(TaskId::top).or_else(|| {
        let text = text(raw);
        text.as_deref().unwrap_or(raw.get()).parse().ok()
    })
}

fn list(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

fn is_full_text(raw: &RawValue) -> bool {
    text(raw).is_some_and(|text| !text.is_empty())
}
