//! A document becomes a plan: in batches, each its own step, merged, connected, split where it is hard, and judged.
//!
//! What the model planner gives is held against the structural one: every requirement that was found must be covered, and
//! a batch for which no model gives a good answer is planned by structure alone.

mod batches;
mod connect;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Code, Fault, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::describe::{self, Written};
use super::{Asked, ParsePrd, Planner, Working, aside, expand};
use crate::gates::{self, Gates, Words};
use crate::model::{Checked, NO_MODEL, Prompt, fill};
use crate::prd::{self, Prd};
use crate::projects::{Done, Snapshot, Wanted};
use crate::requirements::{self, Extracted, Requirement};
use crate::schema::{self, Wrong, list, number, object, one_of};
use crate::structural::{self, Wish};
use crate::{Edit, Task, TaskId, edit};
use batches::Batch;

/// Levels of tasks where nobody says how many.
const USUAL_DEPTH: u32 = 2;
const MOST_DEPTH: u32 = 5;
const MOST_TASKS: u32 = 500;
/// Answer tokens for each task that is asked for, and for what stands around them.
const TOKENS_PER_TASK: u32 = 700;
/// Things that the document does not want, as far as a report names them, and the characters of each.
const MOST_NOT_WANTED: usize = 200;
const MOST_TEXT: usize = 400;
/// So many tasks of a plan that are there already are named.
const MOST_DOUBLES: usize = 10;
/// Two tasks of different batches that share so much of their words are one.
const SAME: f64 = gates::NEAR;

/// Refuses what cannot become a plan here.
pub(super) fn check(work: &ParsePrd, snapshot: &Snapshot) -> Result<()> {
    if work.tasks > MOST_TASKS {
        return Err(Fault::invalid(format!("{} tasks are too many for one plan", work.tasks))
            .hint(format!("at most {MOST_TASKS} at the top; 0 lets the document decide")));
    }
    if work.max_depth > MOST_DEPTH {
        return Err(Fault::invalid(format!("a plan of {} levels is too deep", work.max_depth))
            .hint(format!("at most {MOST_DEPTH}")));
    }
    prd::text(work.prd.as_bytes())?;
    if !snapshot.tasks.is_empty() && !work.append && !work.force {
        let what = format!("tag `{}` has {} tasks already", snapshot.tag, snapshot.about.tasks);
        return Err(Fault::new(Code::Conflict, what)
            .hint("`--append` adds to them, `--force` replaces them, `--tag NAME` plans beside them"));
    }
    Ok(())
}

/// A plan on its way, with what its owner must know.
#[derive(Default)]
pub(super) struct Draft {
    pub tasks: Vec<Task>,
    pub notes: Vec<String>,
    /// Which model wrote how many pieces; `structural` is one of them.
    pub made_by: BTreeMap<String, u32>,
    pub refused: Vec<String>,
}

impl Draft {
    /// Whether no model wrote any of it.
    fn is_structural(&self) -> bool {
        self.made_by.keys().all(|by| by == structural::NAME)
    }

    /// Takes note of who answered, and whose answers were not taken.
    pub fn count<T>(&mut self, what: &str, checked: &Checked<T>) {
        for why in &checked.refused {
            // Said of one piece it is said of all.
            let why = if why == NO_MODEL { why.clone() } else { format!("{what}: {why}") };
            if self.refused.last() != Some(&why) {
                self.refused.push(why);
            }
        }
        let by = if checked.answer.is_some() { checked.model.as_str() } else { structural::NAME };
        *self.made_by.entry(by.to_owned()).or_default() += 1;
    }
}

pub(super) async fn run(w: &Working<'_>, work: &ParsePrd) -> Result<Value> {
    let text = work.prd.clone();
    let read = move || -> Result<_> {
        let prd = Prd::read(text.as_bytes())?;
        let extracted = requirements::extract(&prd);
        Ok(Arc::new((prd, extracted)))
    };
    let document = aside("read a document", read).await??;
    let (prd, extracted) = &*document;
    let mut draft = match w.may_ask() {
        true => by_model(w, work, prd, &extracted.requirements).await?,
        false => Draft::default(),
    };
    if draft.is_structural() {
        let wish = Wish { tasks: (work.tasks > 0).then_some(work.tasks), max_depth: depth(work) as u8 };
        let of = document.clone();
        let plan = move || structural::plan(&of.0, &of.1.requirements, &wish);
        let planned = aside("plan a document", plan).await?;
        draft.tasks = planned.tasks.top().iter().map(|task| (**task).clone()).collect();
        draft.notes.extend(planned.oddities.iter().map(ToString::to_string));
        if w.order.planner == Planner::Auto {
            let why = draft.refused.last().map_or("none was asked", String::as_str);
            draft.notes.push(format!("no model took part in this plan: {why}"));
        }
    }
    let (of, tasks) = (document.clone(), draft.tasks.clone());
    let check = move || gates::check(&crate::Tasks::new(tasks), &of.1.requirements);
    let gates = aside("judge a plan", check).await?;
    let mut reasons = gates.reasons();
    if work.append {
        // Recorded: once the plan is stored, all of it is there already.
        reasons.extend(w.context.step("doubles", || doubles_of_others(w, draft.tasks.clone())).await?);
    }
    w.progress(0, 0, "storing the plan");
    let done = store(w, work, &draft, &reasons).await?;
    // What replaces the same thing adds nothing, and is the plan all the same.
    let planned = match work.force {
        true => done.tasks.top().iter().map(|task| TaskId::top(task.number)).collect(),
        false => done.added.clone(),
    };
    Ok(report(w, prd, extracted, &draft, (&gates, &reasons), (&done, &planned)))
}

/// Which tasks of a plan are almost those that are there already.
async fn doubles_of_others(w: &Working<'_>, tasks: Vec<Task>) -> Result<Vec<String>> {
    let there = w.snapshot().await?.tasks;
    let compare = move || {
        let others: Vec<(u32, Words)> = there.top().iter().map(|task| (task.number, words(task))).collect();
        let double = |task: &Task| {
            let here = words(task);
            let (number, _) = others.iter().find(|(_, other)| other.likeness(&here) >= SAME)?;
            Some(format!("`{}` is almost task {number}, which is there already", task.title))
        };
        let mut found: Vec<String> = tasks.iter().filter_map(double).collect();
        let more = found.len().saturating_sub(MOST_DOUBLES);
        found.truncate(MOST_DOUBLES);
        found.extend((more > 0).then(|| format!("{more} more tasks are almost some that are there already")));
        found
    };
    aside("compare a plan with what is there", compare).await
}

fn depth(work: &ParsePrd) -> u32 {
    if work.max_depth == 0 { USUAL_DEPTH } else { work.max_depth }
}

async fn store(w: &Working<'_>, work: &ParsePrd, draft: &Draft, reasons: &[String]) -> Result<Done> {
    let name = if work.file_name.is_empty() { "a document" } else { work.file_name.as_str() };
    let what = format!("planned {} tasks from {name}", draft.tasks.len());
    let edit = match work.force {
        true => Edit::Replace { tasks: draft.tasks.clone() },
        false => Edit::Append { tasks: draft.tasks.iter().map(Into::into).collect() },
    };
    let wanted = Wanted { edits: vec![edit], what, draft: Some(reasons.to_vec()), ..Wanted::default() };
    w.change_as("plan", wanted).await
}

/// The plan as a model sees it, batch by batch.
async fn by_model(w: &Working<'_>, work: &ParsePrd, prd: &Prd, found: &[Requirement]) -> Result<Draft> {
    let rules = w.rules()?;
    let batches = batches::of(prd, found, work.tasks);
    let total = batches.len() + 1;
    w.progress(0, total, "reading the document");
    let mut draft = Draft::default();
    let asked: Vec<_> = batches.iter().map(|batch| plan_batch(w, &rules, work, prd, batch)).collect();
    let mut answers = stream::iter(asked).buffered(w.slots());
    let mut done = 0;
    let mut planned = Vec::new();
    while let Some(answer) = answers.try_next().await? {
        planned.push(answer);
        done += 1;
        let current = batches.get(done).map_or("connecting the tasks", |batch| batch.name.as_str());
        w.progress(done, total, current);
        // Where nobody can answer, asking on only costs time.
        if planned.iter().all(|planned| planned.answer.is_none()) && done >= w.slots().max(2) {
            break;
        }
    }
    if planned.iter().all(|planned| planned.answer.is_none()) {
        planned.iter().for_each(|checked| draft.count("tasks", checked));
        return Ok(draft);
    }
    for (batch, checked) in batches.iter().zip(&planned) {
        draft.count(&batch.name, checked);
        let tasks = match &checked.answer {
            Some(written) => tasks_of(prd, written, batch, &checked.model, &mut draft.notes),
            None => {
                draft.notes.push(format!("`{}` was planned without a model: no answer was usable", batch.name));
                structural::section(prd, &batch.requirements, batch.most)
            }
        };
        let before = draft.tasks.len() as u32;
        // What waits for others of its batch names them by their numbers in it.
        draft.tasks.extend(tasks.iter().map(|task| renumbered(task, &|number| Some(number + before))));
    }
    fold(&mut draft);
    connect::connect(w, &rules, found, &mut draft).await?;
    expand::deepen(w, &rules, &mut draft, depth(work)).await?;
    Ok(draft)
}

/// One batch: its step, its answer.
async fn plan_batch(
    w: &Working<'_>,
    rules: &str,
    work: &ParsePrd,
    prd: &Prd,
    batch: &Batch,
) -> Result<Checked<Vec<Written>>> {
    let project = if prd.title.is_empty() { work.file_name.as_str() } else { prd.title.as_str() };
    let named: Vec<String> = batch
        .requirements
        .iter()
        .map(|found| {
            let lines = prd::lines_named(found.first_line, found.last_line);
            format!("{} ({lines}): {}", found.name, found.text)
        })
        .collect();
    let requirements = crate::model::material(1, named.iter().map(String::as_str));
    let prompt = fill(
        Prompt::Tasks,
        &[
            ("count", &describe::count(batch.least, batch.most, "task")),
            ("project", project),
            ("requirements", if named.is_empty() { "none was found; judge by the part itself" } else { &requirements }),
            ("material", &batch.material),
        ],
    )?;
    let [title, description, details, test_strategy] = describe::fields();
    let mut names: Vec<&str> = batch.requirements.iter().map(|found| found.name.as_str()).collect();
    if names.is_empty() {
        names.push("none");
    }
    let covers = list(one_of(&names), 0, names.len());
    let one = object([
        title,
        description,
        details,
        test_strategy,
        ("priority", describe::priorities()),
        ("requirements", covers),
        ("complexity", number(1, 10)),
    ]);
    let schema = object([("tasks", list(one, batch.least as usize, batch.most as usize))]);
    let most_tokens = 300 + TOKENS_PER_TASK * batch.most;
    let asked = Asked { rules, prompt, name: "tasks", schema, most_tokens };
    // What was forgotten is asked for once; what is forgotten then as well is planned by structure.
    let is_first = AtomicBool::new(true);
    let step = format!("tasks/{}", batch.number);
    w.ask(&step, asked, |answer| read(answer, batch, is_first.swap(false, Ordering::Relaxed))).await
}

#[derive(Deserialize, Serialize)]
struct Answer {
    tasks: Vec<Written>,
}

/// Takes an answer if its titles differ and, where `must_cover` is set, no requirement of the batch is forgotten.
fn read(answer: Value, batch: &Batch, must_cover: bool) -> Result<Vec<Written>, Wrong> {
    let wrong = |what: String| Wrong { at: "tasks".into(), what };
    let answer: Answer = schema::read("tasks", answer)?;
    for (index, task) in answer.tasks.iter().enumerate() {
        if answer.tasks.iter().take(index).any(|other| gates::normal(&other.title) == gates::normal(&task.title)) {
            return Err(wrong(format!("two tasks have the title `{}`", task.title)));
        }
    }
    let missing: Vec<String> = forgotten(&answer.tasks, batch).into_iter().map(|found| found.name).collect();
    match missing.is_empty() || !must_cover {
        true => Ok(answer.tasks),
        false => Err(wrong(format!("no task covers {}", missing.join(", ")))),
    }
}

/// The requirements of a batch that no task covers.
fn forgotten(written: &[Written], batch: &Batch) -> Vec<Requirement> {
    let is_covered = |found: &&Requirement| written.iter().any(|task| task.requirements.contains(&found.name));
    batch.requirements.iter().filter(|found| !is_covered(found)).cloned().collect()
}

/// The tasks of a batch as a model wrote them. What it forgot becomes tasks of its own, or where their number is fixed, a
/// part of those that say the most like it.
fn tasks_of(prd: &Prd, written: &[Written], batch: &Batch, model: &str, notes: &mut Vec<String>) -> Vec<Task> {
    let mut tasks: Vec<Task> =
        written.iter().zip(1..).map(|(task, number)| Task { number, ..task_of(task, batch, model) }).collect();
    let forgotten = forgotten(written, batch);
    if forgotten.is_empty() {
        return tasks;
    }
    let names: Vec<&str> = forgotten.iter().map(|found| found.name.as_str()).collect();
    let (were, them) = if names.len() == 1 { ("was", "it") } else { ("were", "them") };
    let (names, part) = (names.join(", "), &batch.name);
    notes.push(format!("{names} of `{part}` {were} planned without the model, which forgot {them}"));
    let missing = structural::section(prd, &forgotten, forgotten.len() as u32);
    if batch.least < batch.most {
        let before = tasks.len() as u32;
        tasks.extend(missing.iter().map(|task| renumbered(task, &|number| Some(number + before))));
        return tasks;
    }
    let words: Vec<Words> = tasks.iter().map(words).collect();
    for task in missing {
        let here = self::words(&task);
        let likeness: Vec<f64> = words.iter().map(|words| words.likeness(&here)).collect();
        let near = tasks.iter_mut().zip(likeness).max_by(|(_, one), (_, other)| one.total_cmp(other));
        if let Some((near, _)) = near {
            near.details = format!("{}\n\nAlso: {}", near.details, task.description);
            near.sources.extend(task.sources);
        }
    }
    tasks
}

fn task_of(written: &Written, batch: &Batch, model: &str) -> Task {
    let sources = batch.requirements.iter().filter(|found| written.requirements.contains(&found.name));
    Task {
        title: written.title.clone(),
        description: written.description.clone(),
        details: written.details.clone(),
        test_strategy: written.test_strategy.clone(),
        priority: written.priority,
        complexity: expand::scored(written.complexity),
        sources: sources.map(structural::source).collect(),
        made_by: model.to_owned(),
        ..Task::default()
    }
}

/// Makes one of tasks that two batches both have; what the later one says stays in its details. Numbers have no gaps then.
fn fold(draft: &mut Draft) {
    let mut kept: Vec<(Task, Words)> = Vec::new();
    let mut numbers = BTreeMap::new();
    for task in std::mem::take(&mut draft.tasks) {
        let words = words(&task);
        let Some(place) = kept.iter().position(|(_, other)| other.likeness(&words) >= SAME) else {
            numbers.insert(task.number, kept.len() as u32 + 1);
            kept.push((task, words));
            continue;
        };
        numbers.insert(task.number, place as u32 + 1);
        let Some((same, _)) = kept.get_mut(place) else { continue };
        draft
            .notes
            .push(format!("`{}` and `{}` are one task: two parts of the document ask for it", same.title, task.title));
        same.sources.extend(task.sources);
        if !same.details.contains(task.details.trim()) {
            same.details = format!("{}\n\n{}", same.details, task.details);
        }
        same.priority = same.priority.max(task.priority);
    }
    draft.tasks = kept.iter().map(|(task, _)| renumbered(task, &|number| numbers.get(&number).copied())).collect();
}

fn words(task: &Task) -> Words {
    Words::of(&task.title, &task.description)
}

/// A task under another number, whose references, and those of its parts, follow. What leads nowhere or to itself goes.
fn renumbered(task: &Task, number: &dyn Fn(u32) -> Option<u32>) -> Task {
    fn follow(task: &Task, own: u32, number: &dyn Fn(u32) -> Option<u32>) -> Task {
        let moved = |on: &TaskId| {
            let root = number(on.root()).filter(|root| *root != own || on.depth() > 1)?;
            Some(on.moved(1, &TaskId::top(root)))
        };
        Task {
            dependencies: task.dependencies.iter().filter_map(moved).collect(),
            subtasks: task.subtasks.iter().map(|sub| follow(sub, own, number)).collect(),
            ..task.clone()
        }
    }
    let own = number(task.number).unwrap_or(task.number);
    Task { number: own, ..follow(task, own, number) }
}

fn report(
    w: &Working<'_>,
    prd: &Prd,
    extracted: &Extracted,
    draft: &Draft,
    (gates, reasons): (&Gates, &[String]),
    (done, planned): (&Done, &[TaskId]),
) -> Value {
    let Extracted { requirements: found, oddities, not_wanted } = extracted;
    let mut oddities: Vec<String> = prd.oddities.iter().chain(oddities).map(ToString::to_string).collect();
    oddities.dedup();
    let not_wanted: Vec<String> =
        not_wanted.iter().take(MOST_NOT_WANTED).map(|text| edit::clip(text, MOST_TEXT)).collect();
    let uncovered: Vec<Value> = found
        .iter()
        .filter(|requirement| gates.uncovered.contains(&requirement.name))
        .map(|found| json!({"requirement": found.name, "text": found.text, "lines": [found.first_line, found.last_line]}))
        .collect();
    json!({
        "project": w.order.project,
        "tag": w.order.tag,
        "planner": if draft.is_structural() { structural::NAME } else { "model" },
        "made_by": draft.made_by,
        "is_draft": !reasons.is_empty(),
        "draft_because": reasons,
        "gates": gates,
        "requirements": found.len(),
        "uncovered": uncovered,
        "not_wanted": not_wanted,
        "tasks": planned,
        "revision": done.revision,
        "notes": draft.notes.iter().chain(&done.notes).collect::<Vec<_>>(),
        "oddities": oddities,
        "refused": draft.refused,
    })
}
