//! Tasks and their changes between `planning.v1` and the values here; the only such conversions.
//!
//! Reading refuses what is no id, status or priority, with the field's name. Writing never fails.

use base::{Fault, Result};
use proto::planning as wire;

use crate::edit::{Changed, Edit, Fields, NewTask};
use crate::projects::{Conflict, Done, Event, Outcome, Project, Tag};
use crate::sync::Differences;
use crate::{Priority, Raw, Source, Status, Task, TaskId};

/// A task at `id` with everything below it.
pub fn task_to_wire(id: &TaskId, task: &Task) -> wire::Task {
    wire::Task {
        id: id.to_string(),
        title: task.title.clone(),
        description: task.description.clone(),
        details: task.details.clone(),
        test_strategy: task.test_strategy.clone(),
        status: task.status.to_string(),
        priority: task.priority.to_string(),
        dependencies: task.dependencies.iter().map(ToString::to_string).collect(),
        subtasks: task.subtasks.iter().map(|sub| task_to_wire(&id.child(sub.number), sub)).collect(),
        complexity: task.complexity.as_ref().map(|complexity| wire::Complexity {
            score: complexity.score.into(),
            recommended_subtasks: complexity.recommended_subtasks,
            expansion_prompt: complexity.expansion_prompt.clone(),
            reasoning: complexity.reasoning.clone(),
        }),
        sources: task.sources.iter().map(source_to_wire).collect(),
        made_by: task.made_by.clone(),
        updated_at: task.updated_at.clone(),
        version: task.version,
        extra: task.extra.iter().map(|(name, value)| (name.clone(), value.0.get().to_owned())).collect(),
    }
}

fn source_to_wire(source: &Source) -> wire::Source {
    wire::Source { requirement: source.requirement.clone(), first_line: source.first_line, last_line: source.last_line }
}

/// The id in a field.
pub fn id_from_wire(field: &str, text: &str) -> Result<TaskId> {
    let unread = |error| Fault::invalid(format!("field `{field}` is no id")).because(error);
    text.parse().map_err(unread).map_err(|fault| fault.hint("ids look like `3`, or `3.1` for a subtask"))
}

/// The ids in a field.
pub fn ids_from_wire(field: &str, texts: &[String]) -> Result<Vec<TaskId>> {
    texts.iter().map(|text| id_from_wire(field, text)).collect()
}

/// A status; empty is `pending`.
pub fn status_from_wire(text: &str) -> Result<Status> {
    if text.is_empty() {
        return Ok(Status::default());
    }
    Status::parse(text).ok_or_else(|| {
        let words: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        Fault::invalid(format!("`{}` is no status", text.escape_debug())).hint(format!("use {}", words.join(", ")))
    })
}

/// A priority; empty is `medium`.
pub fn priority_from_wire(text: &str) -> Result<Priority> {
    if text.is_empty() {
        return Ok(Priority::default());
    }
    Priority::parse(text).ok_or_else(|| {
        let words: Vec<_> = Priority::ALL.iter().map(|priority| priority.as_str()).collect();
        Fault::invalid(format!("`{}` is no priority", text.escape_debug())).hint(format!("use {}", words.join(", ")))
    })
}

fn raw(field: &str, json: &str) -> Result<Raw> {
    serde_json::from_str(json).map_err(|error| {
        let fault = Fault::invalid(format!("field `{field}` is no JSON")).because(error);
        fault.hint("give one JSON value, such as {\"cost\": 3}; a text needs its quotes")
    })
}

/// A new task with what is below it.
fn new_task_from_wire(wire: &wire::NewTask) -> Result<NewTask> {
    Ok(NewTask {
        title: wire.title.clone(),
        description: wire.description.clone(),
        details: wire.details.clone(),
        test_strategy: wire.test_strategy.clone(),
        status: status_from_wire(&wire.status)?,
        priority: priority_from_wire(&wire.priority)?,
        dependencies: ids_from_wire("dependencies", &wire.dependencies)?,
        subtasks: new_tasks_from_wire(&wire.subtasks)?,
        ..NewTask::default()
    })
}

fn new_tasks_from_wire(wire: &[wire::NewTask]) -> Result<Vec<NewTask>> {
    wire.iter().map(new_task_from_wire).collect()
}

/// The other way; what a client cannot set is left out.
fn new_task_to_wire(task: &NewTask) -> wire::NewTask {
    wire::NewTask {
        title: task.title.clone(),
        description: task.description.clone(),
        details: task.details.clone(),
        test_strategy: task.test_strategy.clone(),
        status: task.status.to_string(),
        priority: task.priority.to_string(),
        dependencies: task.dependencies.iter().map(ToString::to_string).collect(),
        subtasks: task.subtasks.iter().map(new_task_to_wire).collect(),
    }
}

/// The edits of a change; one of `add` for each of its tasks.
pub fn edits_from_wire(wire: &wire::Change) -> Result<Vec<Edit>> {
    use wire::change::Edit as Wire;
    let Some(edit) = &wire.edit else {
        return Err(Fault::invalid("a change has no edit").hint("set one of its fields; see planning.proto"));
    };
    let id = |text: &str| id_from_wire("id", text);
    Ok(vec![match edit {
        Wire::Add(add) => {
            let parent = (!add.parent.is_empty()).then(|| id_from_wire("parent", &add.parent)).transpose()?;
            let one = |task: &wire::NewTask| Ok(Edit::Add { parent: parent.clone(), task: new_task_from_wire(task)? });
            return add.tasks.iter().map(one).collect();
        }
        Wire::SetFields(set) => Edit::Change { id: id(&set.id)?, fields: fields_from_wire(set)? },
        Wire::Note(note) => Edit::Note { id: id(&note.id)?, text: note.text.clone() },
        Wire::SetStatus(set) => {
            if set.status.is_empty() {
                return Err(Fault::invalid("field `status` is empty").hint("say which status the tasks should have"));
            }
            Edit::SetStatus { ids: ids_from_wire("ids", &set.ids)?, status: status_from_wire(&set.status)? }
        }
        Wire::Remove(remove) => Edit::Remove { ids: ids_from_wire("ids", &remove.ids)? },
        Wire::ReplaceSubtasks(replace) => Edit::ReplaceSubtasks {
            id: id(&replace.id)?,
            subtasks: new_tasks_from_wire(&replace.subtasks)?,
            keep_finished: replace.keep_finished,
        },
        Wire::ClearSubtasks(clear) => Edit::ClearSubtasks { ids: ids_from_wire("ids", &clear.ids)? },
        Wire::Demote(demote) => Edit::Demote { id: id(&demote.id)?, parent: id_from_wire("parent", &demote.parent)? },
        Wire::Promote(promote) => Edit::Promote { id: id(&promote.id)? },
        Wire::Move(moved) => {
            Edit::Move { from: ids_from_wire("from", &moved.from)?, to: ids_from_wire("to", &moved.to)? }
        }
        Wire::AddDependency(edge) => Edit::AddDependency { id: id(&edge.id)?, on: id_from_wire("on", &edge.on)? },
        Wire::RemoveDependency(edge) => Edit::RemoveDependency { id: id(&edge.id)?, on: id_from_wire("on", &edge.on)? },
        Wire::Fix(wire::Fix {}) => Edit::Fix,
    }])
}

fn fields_from_wire(wire: &wire::SetFields) -> Result<Fields> {
    Ok(Fields {
        title: wire.title.clone(),
        description: wire.description.clone(),
        details: wire.details.clone(),
        test_strategy: wire.test_strategy.clone(),
        priority: wire.priority.as_deref().map(priority_from_wire).transpose()?,
        metadata: wire.metadata_json.as_deref().map(|json| raw("metadata", json)).transpose()?,
        ..Fields::default()
    })
}

/// The change of an edit; `None` for those that only jobs and imports make.
pub fn edit_to_wire(edit: &Edit) -> Option<wire::Change> {
    use wire::change::Edit as Wire;
    let texts = |ids: &[TaskId]| ids.iter().map(ToString::to_string).collect();
    let edit = match edit {
        Edit::Add { parent, task } => Wire::Add(wire::Add {
            parent: parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            tasks: vec![new_task_to_wire(task)],
        }),
        Edit::Change { id, fields } => Wire::SetFields(wire::SetFields {
            id: id.to_string(),
            title: fields.title.clone(),
            description: fields.description.clone(),
            details: fields.details.clone(),
            test_strategy: fields.test_strategy.clone(),
            priority: fields.priority.map(|priority| priority.to_string()),
            metadata_json: fields.metadata.as_ref().map(|raw| raw.0.get().to_owned()),
        }),
        Edit::Note { id, text } => Wire::Note(wire::Note { id: id.to_string(), text: text.clone() }),
        Edit::SetStatus { ids, status } => {
            Wire::SetStatus(wire::SetStatus { ids: texts(ids), status: status.to_string() })
        }
        Edit::Remove { ids } => Wire::Remove(wire::Remove { ids: texts(ids) }),
        Edit::ReplaceSubtasks { id, subtasks, keep_finished } => Wire::ReplaceSubtasks(wire::ReplaceSubtasks {
            id: id.to_string(),
            subtasks: subtasks.iter().map(new_task_to_wire).collect(),
            keep_finished: *keep_finished,
        }),
        Edit::ClearSubtasks { ids } => Wire::ClearSubtasks(wire::ClearSubtasks { ids: texts(ids) }),
        Edit::Demote { id, parent } => Wire::Demote(wire::Demote { id: id.to_string(), parent: parent.to_string() }),
        Edit::Promote { id } => Wire::Promote(wire::Promote { id: id.to_string() }),
        Edit::Move { from, to } => Wire::Move(wire::Move { from: texts(from), to: texts(to) }),
        Edit::AddDependency { id, on } => Wire::AddDependency(dependency(id, on)),
        Edit::RemoveDependency { id, on } => Wire::RemoveDependency(dependency(id, on)),
        Edit::Fix => Wire::Fix(wire::Fix {}),
        Edit::AddSubtasks { .. } | Edit::Replace { .. } | Edit::Append { .. } => return None,
    };
    Some(wire::Change { edit: Some(edit) })
}

fn dependency(id: &TaskId, on: &TaskId) -> wire::Dependency {
    wire::Dependency { id: id.to_string(), on: on.to_string() }
}

/// What became of a change.
pub fn outcome_to_wire(outcome: &Outcome) -> wire::EditResponse {
    match outcome {
        Outcome::Done(Done { revision, changes, notes, added, .. }) => wire::EditResponse {
            revision: *revision,
            differences: changes.iter().map(difference).collect(),
            notes: notes.clone(),
            added: added.iter().map(ToString::to_string).collect(),
            conflict: None,
        },
        Outcome::Conflict(conflict) => {
            let Conflict { id, expected, theirs, yours } = &**conflict;
            wire::EditResponse {
                conflict: Some(wire::Conflict {
                    id: id.to_string(),
                    expected_version: *expected,
                    theirs: theirs.as_ref().map(|task| task_to_wire(id, task)),
                    yours: yours.iter().map(difference).collect(),
                }),
                ..wire::EditResponse::default()
            }
        }
    }
}

/// What became different of a task.
pub fn difference(changed: &Changed) -> wire::Difference {
    wire::Difference {
        id: changed.id.to_string(),
        field: changed.field.to_string(),
        before: changed.before.clone(),
        after: changed.after.clone(),
    }
}

/// A change in the history.
pub fn event_to_wire(event: &Event) -> wire::HistoryItem {
    wire::HistoryItem {
        revision: event.revision,
        at_unix_ms: event.at_ms,
        who: event.who.clone(),
        what: event.what.clone(),
        why: event.why.clone(),
        differences: event.changes.iter().map(difference).collect(),
        left_out: event.left_out,
    }
}

/// A tag.
fn tag_to_wire(tag: &Tag) -> wire::Tag {
    wire::Tag {
        name: tag.name.clone(),
        description: tag.description.clone(),
        created_unix_ms: tag.created_ms,
        updated_unix_ms: tag.updated_ms,
        revision: tag.revision,
        tasks: tag.tasks,
        by_status: by_status(tag),
        draft_because: tag.draft_because.clone(),
    }
}

/// How many tasks of a tag stand where.
pub fn by_status(tag: &Tag) -> std::collections::HashMap<String, u32> {
    tag.by_status.iter().map(|(status, count)| (status.to_string(), *count)).collect()
}

/// A project with its tags.
pub fn project_to_wire(project: &Project, tags: &[Tag]) -> wire::Project {
    wire::Project {
        name: project.name.clone(),
        description: project.description.clone(),
        current_tag: project.current_tag.clone(),
        language: project.language.clone(),
        created_unix_ms: project.created_ms,
        tags: tags.iter().map(tag_to_wire).collect(),
        models: Some(wire::OwnModels {
            main: project.models.main.clone(),
            research: project.models.research.clone(),
            fallback: project.models.fallback.clone(),
        }),
    }
}

/// What is different in a tag, with the first few tasks of each kind by name.
pub fn difference_to_wire(tag: &str, differences: &Differences) -> wire::TagDifference {
    const NAMED: usize = 5;
    let some = |list: &[(TaskId, String)]| {
        let first = list.iter().take(NAMED).map(|(id, title)| format!("{id} {title}")).collect();
        Some(wire::SomeTasks { count: u32::try_from(list.len()).unwrap_or(u32::MAX), first })
    };
    let Differences { added, changed, removed } = differences;
    wire::TagDifference { tag: tag.to_owned(), added: some(added), changed: some(changed), removed: some(removed) }
}
