//! A wish in plain language becomes edits. They are shown; making them is another call, which can be undone.

use base::{Fault, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Asked, Do, Working, describe};
use crate::edit::{self, Fields, Stamp};
use crate::model::{Prompt, fill, material};
use crate::schema::{self, Wrong, list, object, one_of, text};
use crate::{Edit, NewTask, Priority, Status, TaskId, Tasks};

/// Wishes that need no model, in a hint.
pub(super) const PLAIN: &str = "say it plainly, with ids: `mark 3 and 4 as done`, `start 3`, `set priority of 3 to high`, \
    `make 3 wait for 2`, `3 does not wait for 2`, `rename 3 to TITLE`, `note on 3: TEXT`, `add task TITLE`, `remove 5.1`";

const MOST_EDITS: usize = 20;
/// What a model may want, and what stands in `ids` and `value` for each.
const ACTIONS: [(&str, &str); 9] = [
    ("set-status", "ids: the tasks; value: pending, in-progress, review, done, deferred, cancelled or blocked"),
    ("set-priority", "ids: the tasks; value: low, medium, high or critical"),
    ("rename", "ids: one task; value: its new title"),
    ("note", "ids: one task; value: a note for it"),
    ("add", "ids: nothing, or the task that it becomes a subtask of; value: the title of the new task"),
    ("remove", "ids: the tasks"),
    ("wait", "ids: the task, then the one that it must wait for"),
    ("do-not-wait", "ids: the task, then the one that it need not wait for any more"),
    ("put-under", "ids: the task, then the one that it becomes a subtask of"),
];

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Action {
    action: String,
    ids: Vec<String>,
    value: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Answer {
    edits: Vec<Action>,
    unclear: String,
}

pub(super) async fn run(w: &Working<'_>, work: &Do) -> Result<Value> {
    let snapshot = w.snapshot().await?;
    let rules = w.rules()?;
    w.progress(0, 1, "reading the wish");
    let (edits, by, unclear) = match plain(&work.text) {
        Some(edit) => (vec![edit], "grammar".to_owned(), String::new()),
        None if w.may_ask() => ask(w, &rules, work, &snapshot.tasks).await?,
        None => return Err(not_understood(&work.text)),
    };
    let stamp = Stamp { updated_at: String::new(), version: snapshot.about.revision + 1 };
    let applied = edit::apply_all(&snapshot.tasks, &edits, &stamp)?;
    let changes: Vec<String> = edit::changes(&snapshot.tasks, &applied.tasks).iter().map(ToString::to_string).collect();
    Ok(json!({
        "edits": edits, "changes": changes, "notes": applied.notes, "unclear": unclear, "made_by": by,
        "revision": snapshot.about.revision,
    }))
}

async fn ask(w: &Working<'_>, rules: &str, work: &Do, tasks: &Tasks) -> Result<(Vec<Edit>, String, String)> {
    let actions: String = ACTIONS.iter().map(|(name, says)| format!("- {name}: {says}\n")).collect();
    let one = object([
        ("action", one_of(ACTIONS.iter().map(|(name, _)| *name))),
        ("ids", list(text(1, 20), 0, 50)),
        ("value", text(0, 500)),
    ]);
    let prompt = fill(
        Prompt::Do,
        &[("wish", &material(1, work.text.lines())), ("tasks", &describe::lines(tasks, |_, _| true))],
    )?;
    let asked = Asked {
        rules,
        prompt: format!("{prompt}\n\nThe edits:\n{actions}"),
        name: "edits",
        schema: object([("edits", list(one, 0, MOST_EDITS)), ("unclear", text(0, 400))]),
        most_tokens: 1500,
    };
    let known = |answer: Value| read(answer, tasks);
    let checked = w.ask("edits", asked, known).await?;
    let Some((edits, unclear)) = checked.answer else { return Err(checked.no_model(PLAIN)) };
    match edits.is_empty() {
        true => Err(Fault::invalid(format!("could not turn the wish into edits: {unclear}"))
            .hint("say which tasks are meant, by their ids")),
        false => Ok((edits, checked.model, unclear)),
    }
}

fn read(answer: Value, tasks: &Tasks) -> Result<(Vec<Edit>, String), Wrong> {
    let wrong = |what: String| Wrong { at: "edits".into(), what };
    let answer: Answer = schema::read("edits", answer)?;
    let edits = answer.edits.iter().map(edit_of).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let stamp = Stamp::default();
    edit::apply_all(tasks, &edits, &stamp).map_err(|error| wrong(error.to_string()))?;
    Ok((edits, answer.unclear))
}

fn edit_of(action: &Action) -> Result<Edit, String> {
    let ids = action.ids.iter().map(|id| id.parse::<TaskId>().map_err(|error| error.to_string()));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let value = action.value.trim().to_owned();
    let first = || ids.first().cloned().ok_or_else(|| format!("`{}` needs the id of a task", action.action));
    let second = || ids.get(1).cloned().ok_or_else(|| format!("`{}` needs the ids of two tasks", action.action));
    Ok(match action.action.as_str() {
        "set-status" => {
            let status = Status::parse(&value).ok_or_else(|| format!("`{value}` is no status"))?;
            first()?;
            Edit::SetStatus { ids, status }
        }
        "set-priority" => {
            let priority = Priority::parse(&value).ok_or_else(|| format!("`{value}` is no priority"))?;
            Edit::Change { id: first()?, fields: Fields { priority: Some(priority), ..Fields::default() } }
        }
        "rename" => Edit::Change { id: first()?, fields: Fields { title: Some(value), ..Fields::default() } },
        "note" => Edit::Note { id: first()?, text: value },
        "add" => Edit::Add { parent: ids.first().cloned(), task: NewTask { title: value, ..NewTask::default() } },
        "remove" => {
            first()?;
            Edit::Remove { ids }
        }
        "wait" => Edit::AddDependency { id: first()?, on: second()? },
        "do-not-wait" => Edit::RemoveDependency { id: first()?, on: second()? },
        "put-under" => Edit::Demote { id: first()?, parent: second()? },
        other => return Err(format!("`{other}` is no edit")),
    })
}

/// Wishes that are so plain that no model is needed; [`PLAIN`] names them.
fn plain(wish: &str) -> Option<Edit> {
    let wish = wish.trim().trim_end_matches(['.', '!']);
    let words: Vec<&str> = wish.split_whitespace().collect();
    let lower: Vec<String> = words.iter().map(|word| word.trim_end_matches([',', ':']).to_lowercase()).collect();
    let small =
        |word: &&str| matches!(*word, "task" | "tasks" | "and" | "as" | "to" | "is" | "are" | "the" | "of" | "on");
    let told: Vec<&str> = lower.iter().map(String::as_str).filter(|word| !small(word)).collect();
    let (verb, rest) = told.split_first()?;
    let id = |word: &str| word.parse::<TaskId>().ok();
    let ids =
        |words: &[&str]| words.iter().map(|word| id(word)).collect::<Option<Vec<_>>>().filter(|ids| !ids.is_empty());
    let status = |words: &[&str], status| Some(Edit::SetStatus { ids: ids(words)?, status });
    match (*verb, rest) {
        ("mark" | "set", ["priority", named @ .., last]) | ("set", [named @ .., "priority", last]) => {
            let [named] = named else { return None };
            let priority = Some(Priority::parse(last)?);
            Some(Edit::Change { id: id(named)?, fields: Fields { priority, ..Fields::default() } })
        }
        ("mark" | "set", [named @ .., last]) => status(named, Status::parse(last)?),
        ("start" | "begin", named) => status(named, Status::InProgress),
        ("finish" | "complete", named) => status(named, Status::Done),
        ("cancel", named) => status(named, Status::Cancelled),
        ("remove" | "delete", named) => Some(Edit::Remove { ids: ids(named)? }),
        ("make" | "let", [one, "wait", "for", on]) => Some(Edit::AddDependency { id: id(one)?, on: id(on)? }),
        (one, ["waits", "for", on] | ["depends", on]) => Some(Edit::AddDependency { id: id(one)?, on: id(on)? }),
        (one, ["does", "not", "wait", "for", on] | ["does", "not", "depend", on]) => {
            Some(Edit::RemoveDependency { id: id(one)?, on: id(on)? })
        }
        ("rename", [one, ..]) => {
            let title = Some(behind(&words, "to")?);
            Some(Edit::Change { id: id(one)?, fields: Fields { title, ..Fields::default() } })
        }
        ("note", [one, ..]) => Some(Edit::Note { id: id(one)?, text: behind(&words, one)? }),
        ("add", [..]) if lower.get(1).is_some_and(|word| word == "task") => {
            let title = behind(&words, "task")?;
            Some(Edit::Add { parent: None, task: NewTask { title, ..NewTask::default() } })
        }
        _ => None,
    }
}

/// What stands behind a word, as it was written but for quotes around it; nothing where that is nothing.
fn behind(words: &[&str], word: &str) -> Option<String> {
    let place = words.iter().position(|one| one.trim_end_matches([',', ':']).eq_ignore_ascii_case(word))?;
    let text = words.get(place + 1..)?.join(" ").trim_matches(['"', '`', '“', '”', ':', ' ']).to_owned();
    (!text.is_empty()).then_some(text)
}

fn not_understood(wish: &str) -> Fault {
    let shown: String = wish.chars().take(100).collect();
    Fault::invalid(format!("could not understand `{shown}` without a model")).hint(format!("without a model {PLAIN}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_wishes_need_no_model_and_others_are_not_guessed() {
        let edit = |wish: &str| plain(wish).map(|edit| serde_json::to_value(edit).unwrap());
        let id = |text: &str| text.parse::<TaskId>().unwrap();
        let json = |edit: Edit| Some(serde_json::to_value(edit).unwrap());
        assert_eq!(
            edit("Mark 3, 4 and 5.1 as done."),
            json(Edit::SetStatus { ids: vec![id("3"), id("4"), id("5.1")], status: Status::Done })
        );
        assert_eq!(edit("delete task 7"), json(Edit::Remove { ids: vec![id("7")] }));
        assert_eq!(edit("3 depends on 2"), json(Edit::AddDependency { id: id("3"), on: id("2") }));
        assert_eq!(edit("start task 3"), json(Edit::SetStatus { ids: vec![id("3")], status: Status::InProgress }));
        for wish in ["make 3 wait for 2", "3 waits for 2", "Let task 3 wait for task 2"] {
            assert_eq!(edit(wish), json(Edit::AddDependency { id: id("3"), on: id("2") }), "{wish}");
        }
        let not = json(Edit::RemoveDependency { id: id("3"), on: id("2") });
        assert_eq!(edit("3 does not wait for 2"), not);
        let fields = |fields: Fields| json(Edit::Change { id: id("3"), fields });
        for wish in ["set priority of 3 to high", "set the priority of task 3 to high", "set 3 to priority high"] {
            assert_eq!(edit(wish), fields(Fields { priority: Some(Priority::High), ..Fields::default() }), "{wish}");
        }
        let title = Some("Go to the Shed".to_owned());
        assert_eq!(edit("rename 3 to \"Go to the Shed\""), fields(Fields { title, ..Fields::default() }));
        let text = "Ask Ann, first".to_owned();
        assert_eq!(edit("note on 3: Ask Ann, first"), json(Edit::Note { id: id("3"), text }));
        let task = NewTask { title: "Paint the Task board".into(), ..NewTask::default() };
        assert_eq!(edit("Add task Paint the Task board"), json(Edit::Add { parent: None, task }));
        let not_known =
            ["remove everything", "mark all tasks as done", "set 3", "make it nicer", "", "add a task", "add task"];
        for wish in not_known.into_iter().chain(["start", "make 3 wait", "set priority to high", "note on 3", "undo"]) {
            assert_eq!(edit(wish), None, "{wish}");
        }
    }
}
