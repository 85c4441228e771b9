//! Source code becomes tasks: what is marked as to do without a model, and what a model sees beside that.

use base::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{self, Written};
use super::{Asked, CodeFile, TasksFromCode, Working};
use crate::gates::{self, Words};
use crate::model::{Prompt, fill, material};
use crate::schema::{self, Wrong, list, number, object};
use crate::{Edit, NewTask, structural};

/// Characters of code in one question.
const MOST_CHARS: usize = 8000;
const MOST_TASKS: usize = 5;
/// Marks that people leave where something is to be done.
const MARKS: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

pub(super) async fn run(w: &Working<'_>, work: &TasksFromCode) -> Result<Value> {
    let rules = w.rules()?;
    let pieces: Vec<(usize, String)> = pieces(&work.files);
    let mut tasks: Vec<NewTask> = work.files.iter().flat_map(marked).collect();
    let total = pieces.len();
    w.progress(0, total, "reading the code");
    let mut refused = Vec::new();
    if w.may_ask() {
        let asked: Vec<_> = pieces.iter().map(|(index, piece)| ask(w, &rules, work, *index, piece)).collect();
        let mut answers = stream::iter(asked).buffered(w.slots());
        let mut done = 0;
        while let Some(checked) = answers.try_next().await? {
            done += 1;
            w.progress(done, total, "reading the code");
            refused.extend(checked.refused);
            let written = checked.answer.unwrap_or_default();
            tasks.extend(written.into_iter().map(|written| written.into_new(&checked.model)));
        }
    }
    let mut kept: Vec<(NewTask, Words)> = Vec::new();
    for task in tasks {
        let words = Words::of(&task.title, &task.description);
        if !kept.iter().any(|(_, other)| other.likeness(&words) >= gates::NEAR) {
            kept.push((task, words));
        }
    }
    let kept: Vec<NewTask> = kept.into_iter().map(|(task, _)| task).collect();
    if kept.is_empty() {
        return Ok(json!({"added": [], "notes": ["nothing to do was found in the code"], "refused": refused}));
    }
    let what = format!("found {} tasks in {} files of code", kept.len(), work.files.len());
    let done = w.change("code", what, vec![Edit::Append { tasks: kept }]).await?;
    Ok(json!({"added": done.added, "notes": done.notes, "refused": refused, "revision": done.revision}))
}

/// The code in pieces that fit a question, each line behind its number.
fn pieces(files: &[CodeFile]) -> Vec<(usize, String)> {
    let mut pieces = Vec::new();
    for file in files {
        let lines: Vec<&str> = file.text.lines().collect();
        let mut first = 0;
        while first < lines.len() {
            let mut chars = 0;
            let fits = |line: &&&str| {
                chars += line.len() + 8;
                chars <= MOST_CHARS
            };
            let count = lines.iter().skip(first).take_while(fits).count().max(1);
            let some = lines.iter().skip(first).take(count).copied();
            let path: String = file.path.chars().filter(|char| !char.is_control()).take(200).collect();
            pieces.push(format!("File {path}:\n{}", material(first + 1, some)));
            first += count;
        }
    }
    pieces.into_iter().enumerate().collect()
}

/// What the authors themselves marked.
fn marked(file: &CodeFile) -> Vec<NewTask> {
    let one = |(index, line): (usize, &str)| {
        let (mark, rest) = MARKS.iter().find_map(|mark| Some((mark, line.split_once(mark)?.1)))?;
        let says =
            without_author(rest).trim_start_matches([':', ' ']).trim().trim_end_matches(['*', '/', ' ', '-', '>']);
        if says.is_empty() {
            return None;
        }
        let place = format!("{}:{}", file.path, index + 1);
        Some(NewTask {
            title: structural::title(says),
            description: says.to_owned(),
            details: format!("Marked as {mark} at {place}."),
            test_strategy: format!("The mark at {place} is gone, and a test shows what it asked for."),
            made_by: structural::NAME.to_owned(),
            ..NewTask::default()
        })
    };
    file.text.lines().enumerate().filter_map(one).collect()
}

/// What is said behind a mark such as `TODO(ann)`, whose author is no part of it.
fn without_author(rest: &str) -> &str {
    rest.strip_prefix('(').and_then(|named| named.split_once(')')).map_or(rest, |(_, says)| says)
}

async fn ask(
    w: &Working<'_>,
    rules: &str,
    work: &TasksFromCode,
    index: usize,
    piece: &str,
) -> Result<crate::model::Checked<Vec<Written>>> {
    let wish = describe::watch_for(&[&work.prompt]);
    let [title, description, details, test_strategy] = describe::fields();
    let priority = ("priority", describe::priorities());
    let one = object([title, description, details, test_strategy, priority, ("complexity", number(1, 10))]);
    let asked = Asked {
        rules,
        prompt: fill(
            Prompt::Code,
            &[("count", &describe::count(0, MOST_TASKS as u32, "task")), ("material", piece), ("prompt", &wish)],
        )?,
        name: "tasks",
        schema: object([("tasks", list(one, 0, MOST_TASKS))]),
        most_tokens: 3000,
    };
    w.ask(&format!("code/{}", index + 1), asked, read).await
}

fn read(answer: Value) -> Result<Vec<Written>, Wrong> {
    #[derive(Deserialize)]
    struct Answer {
        tasks: Vec<Written>,
    }
    schema::read("tasks", answer).map(|answer: Answer| answer.tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_left_a_mark_is_no_part_of_what_it_says() {
        let titles = |line: &str| {
            let tasks = marked(&CodeFile { path: "a.rs".into(), text: line.into() });
            tasks.into_iter().map(|task| task.title).collect::<Vec<_>>()
        };
        for (line, title) in [
            ("// FIXME(me) no evil", "No evil"),
            ("/* TODO(ann, #7): read both (again) */", "Read both (again)"),
            ("# TODO read both", "Read both"),
            ("-- HACK (for now) read both", "(for now) read both"),
        ] {
            assert_eq!(titles(line), [title], "{line}");
        }
        assert!(titles("// TODO(me):").is_empty());
    }
}
