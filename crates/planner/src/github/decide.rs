//! Decides which edits a happening at GitHub means for the tasks as they are. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Check, Commit, Happening, Item, Push};
use super::link::{self, FIELD, Link};
use super::mapping::{CheckRules, ItemRules, Mapping, PushRules, filled, has_branch};
use super::{commits, text};
use crate::edit::{Fields, MAX_TEXT_BYTES, MAX_TITLE_CHARS};
use crate::{Edit, Extra, NewTask, Priority, Status, Task, TaskId, Tasks};

/// What a note costs beside its text, at most.
const NOTE_FRAME: usize = 200;
/// The first words of a note in a task's details.
const NOTE: &str = "\n<info added on ";
/// The most tasks that one push changes.
const MOST_TASKS: usize = 100;
/// The most of a commit's first line, in characters.
const MOST_SUBJECT: usize = 200;
/// GitHub sends a delivery again, when somebody wants it to, for three days.
const MOST_LATE: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// Who made a task, and who changed one.
pub(super) const WHO: &str = "github";

/// What to do about something that happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decision {
    /// In this order.
    pub edits: Vec<Edit>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What happened, in words.
    pub why: String,
}

/// Why nobody wants to know of it; `None` when somebody does.
pub(super) fn unwanted(happening: &Happening, mapping: &Mapping) -> Option<String> {
    let off = |what: &str| Some(format!("the mapping switches {what} off"));
    let other_branch = |branch: &str| Some(format!("the mapping leaves branch `{branch}` out"));
    match happening {
        Happening::Nothing { why } => Some(why.clone()),
        Happening::Item(item) if !mapping.rules(item.kind).enabled => off(&format!("{}s", item.kind.shown)),
        Happening::Push(_) if !mapping.pushes.enabled => off("pushes"),
        Happening::Push(push) if !is_meant(push, &mapping.pushes.branches) => other_branch(&push.branch),
        Happening::Check(_) if !mapping.checks.enabled => off("checks"),
        Happening::Check(check) => {
            let branches = &mapping.checks.branches;
            let is_meant = branches.is_empty() || has_branch(branches, &check.link.branch);
            if is_meant { None } else { other_branch(&check.link.branch) }
        }
        Happening::Item(_) | Happening::Push(_) => None,
    }
}

/// The edits that a happening means.
pub(super) fn decide(happening: &Happening, mapping: &Mapping, tasks: &Tasks) -> Decision {
    match happening {
        Happening::Item(item) => of_item(item, mapping, tasks),
        Happening::Push(push) => of_push(push, &mapping.pushes, tasks),
        Happening::Check(check) => of_check(check, &mapping.checks, tasks),
        Happening::Nothing { why } => Decision { why: why.clone(), ..Decision::default() },
    }
}

fn of_item(item: &Item, mapping: &Mapping, tasks: &Tasks) -> Decision {
    let rules = mapping.rules(item.kind);
    let mut decision = Decision { why: format!("{} {}", shown(item), item.action), ..Decision::default() };
    match link::find(tasks, &item.link) {
        None if rules.makes.iter().any(|action| action == item.action) || comes_first(item, rules) => {
            decision.edits.push(Edit::Add { parent: None, task: new_task(item, rules, mapping) });
        }
        None => decision.notes.push(format!("no task stands for {}", shown(item))),
        Some((id, _, known)) if item.is_first || item.link.is_older_than(&known) => {
            decision.notes.push(format!("task {id} knows later news of {}", shown(item)));
        }
        Some((id, task, known)) => {
            let to = rules.status.get(item.action).copied();
            let mut fields = changed_fields(item, rules, mapping, task);
            if item.link.at != known.at && (fields != Fields::default() || to.is_some()) {
                fields.github = Link { repo: known.repo, ..item.link.clone() }.raw();
            }
            if fields != Fields::default() {
                decision.edits.push(Edit::Change { id: id.clone(), fields });
            }
            decision.edits.extend(to.filter(|to| moves(task.status, *to)).map(|status| set(id, status)));
        }
    }
    decision
}

/// Whether it is an end whose beginning may still come, and would then leave an open task. Its own task, finished, tells
/// that one that it is late. The ends of older objects make none: their beginnings were before anybody listened here.
fn comes_first(item: &Item, rules: &ItemRules) -> bool {
    let is_end = rules.status.get(item.action).is_some_and(|status| status.satisfies());
    is_end && !rules.makes.is_empty() && item.age.is_some_and(|age| age < MOST_LATE)
}

fn new_task(item: &Item, rules: &ItemRules, mapping: &Mapping) -> NewTask {
    let by = if item.author.is_empty() { String::new() } else { format!(" by {}", item.author) };
    let at = if item.url.is_empty() { String::new() } else { format!(": {}", item.url) };
    NewTask {
        title: title(item, rules),
        description: format!("GitHub {}{by}{at}", shown(item)),
        details: item.body.clone(),
        priority: mapping.priority(&item.labels).unwrap_or(rules.priority),
        status: rules.status.get(item.action).copied().unwrap_or_default(),
        made_by: WHO.to_owned(),
        extra: extra(&item.link),
        ..NewTask::default()
    }
}

/// What became different of an item whose task is there.
fn changed_fields(item: &Item, rules: &ItemRules, mapping: &Mapping, task: &Task) -> Fields {
    let title = item.has_new_title.then(|| title(item, rules)).filter(|title| *title != task.title);
    let details = item.has_new_body.then(|| with_notes_of(&item.body, task)).filter(|text| *text != task.details);
    // A label that means nothing does not undo what a person decided.
    let has_meaning = mapping.priorities.contains_key(&item.label.to_lowercase());
    let is_label = matches!(item.action, "labeled" | "unlabeled") && has_meaning;
    let priority: Option<Priority> = is_label.then(|| mapping.priority(&item.labels).unwrap_or(rules.priority));
    Fields { title, details, priority: priority.filter(|priority| *priority != task.priority), ..Fields::default() }
}

/// A new text before the notes that were added to the old one.
fn with_notes_of(body: &str, task: &Task) -> String {
    let notes = task.details.find(NOTE).and_then(|at| task.details.get(at..)).unwrap_or_default();
    let room = MAX_TEXT_BYTES.saturating_sub(notes.len());
    let body = body.get(..body.floor_char_boundary(room)).unwrap_or(body);
    format!("{body}{notes}")
}

fn title(item: &Item, rules: &ItemRules) -> String {
    let number = item.link.number.unwrap_or_default();
    let value = |place: &str| match place {
        // What has none is called by its number.
        "title" => (!item.title.is_empty()).then(|| item.title.clone()),
        "number" => Some(number.to_string()),
        "repo" => Some(item.link.repo.clone()),
        "author" => Some(item.author.clone()),
        "tag" => Some(item.tag.clone()),
        _ => None,
    };
    one_line(filled(&rules.title, value), || shown(item))
}

/// A title within bounds, which is never empty.
fn one_line(title: Option<String>, otherwise: impl Fn() -> String) -> String {
    let title = title.map(|title| text::line(&title, MAX_TITLE_CHARS)).filter(|title| !title.is_empty());
    title.unwrap_or_else(|| text::line(&otherwise(), MAX_TITLE_CHARS))
}

fn shown(item: &Item) -> String {
    let name = match (item.tag.is_empty(), item.link.number) {
        (true, Some(number)) => format!("#{number}"),
        _ => item.tag.clone(),
    };
    format!("{} {name} of {}", item.kind.shown, item.link.repo)
}

fn extra(link: &Link) -> Extra {
    link.raw().map(|raw| (FIELD.to_owned(), raw)).into_iter().collect()
}

fn set(id: TaskId, status: Status) -> Edit {
    Edit::SetStatus { ids: vec![id], status }
}

/// Whether a task goes from one status to another. What somebody works on is not put back to its beginning.
fn moves(from: Status, to: Status) -> bool {
    from != to && (to != Status::Pending || from.satisfies())
}

fn is_meant(push: &Push, branches: &[String]) -> bool {
    match branches.is_empty() {
        true => push.branch == push.default_branch || push.default_branch.is_empty(),
        false => has_branch(branches, &push.branch),
    }
}

fn of_push(push: &Push, rules: &PushRules, tasks: &Tasks) -> Decision {
    let mut decision = Decision { why: format!("push to {}", push.branch), ..Decision::default() };
    let mut wanted: BTreeMap<TaskId, (String, Option<Status>)> = BTreeMap::new();
    for commit in &push.commits {
        for named in commits::named(&commit.message) {
            let Some(task) = tasks.get(&named.id) else {
                decision.notes.push(format!("commit {} names task {}, which is not there", commit.sha, named.id));
                continue;
            };
            if !wanted.contains_key(&named.id) && wanted.len() >= MOST_TASKS {
                decision.notes.push(format!("only {MOST_TASKS} tasks were looked at"));
                continue;
            }
            let (note, status) = wanted.entry(named.id).or_default();
            let line = told(commit);
            // A commit that came by another branch before is told already.
            if !task.details.contains(&marked(commit))
                && !note.contains(&line)
                && has_room(task, note.len() + line.len())
            {
                note.push_str(&line);
            }
            let to = if named.is_finished { rules.fixes } else { rules.mentions };
            // Once a commit finishes a task, one that only names it changes nothing any more.
            let is_final = status.is_some() && *status == rules.fixes;
            *status = if is_final { *status } else { to.or(*status) };
        }
    }
    for (id, (note, status)) in wanted {
        let Some(task) = tasks.get(&id) else { continue };
        if !note.is_empty() {
            decision.edits.push(Edit::Note { id: id.clone(), text: note });
        }
        let status = status.filter(|to| moves(task.status, *to) && !task.status.satisfies());
        decision.edits.extend(status.map(|status| set(id, status)));
    }
    decision.notes.sort();
    decision.notes.dedup();
    decision.notes.truncate(MOST_TASKS);
    decision
}

fn marked(commit: &Commit) -> String {
    format!("Commit {} ", commit.sha)
}

fn told(commit: &Commit) -> String {
    let subject = text::line(commit.message.lines().next().unwrap_or_default(), MOST_SUBJECT);
    let by = if commit.author.is_empty() { "someone" } else { commit.author.as_str() };
    format!("{}by {by}: {subject} {}\n", marked(commit), commit.url)
}

fn has_room(task: &Task, more: usize) -> bool {
    task.details.len() + more + NOTE_FRAME <= MAX_TEXT_BYTES
}

fn of_check(check: &Check, rules: &CheckRules, tasks: &Tasks) -> Decision {
    let Check { link, has_failed, sha, url } = check;
    let what = format!("check `{}` on `{}` of {}", link.name, link.branch, link.repo);
    let became = if *has_failed { "failed" } else { "succeeded" };
    let mut decision = Decision { why: format!("{what} {became}"), ..Decision::default() };
    let mut place = format!("at {sha}");
    if !url.is_empty() {
        place = format!("{place}: {url}");
    }
    let Some((id, task, known)) = link::find(tasks, link) else {
        if *has_failed {
            decision.edits.push(Edit::Add { parent: None, task: failing(check, rules, &what, &place) });
        }
        return decision;
    };
    if link.is_older_than(&known) {
        decision.notes.push(format!("task {id} knows later news of {what}"));
        return decision;
    }
    let to = match has_failed {
        // One that a person cancelled or put off stays so.
        true => (task.status == Status::Done || task.status == rules.fixed).then_some(Status::Pending),
        false => (!task.status.satisfies() && task.status != rules.fixed).then_some(rules.fixed),
    };
    // Every success of a check that succeeds anyway would only fill the history.
    if !*has_failed && to.is_none() {
        return decision;
    }
    if link.at != known.at {
        let github = Link { repo: known.repo, ..link.clone() }.raw();
        decision.edits.push(Edit::Change { id: id.clone(), fields: Fields { github, ..Fields::default() } });
    }
    let note = if *has_failed { format!("Failed again {place}") } else { format!("Succeeded {place}") };
    if has_room(task, note.len()) {
        decision.edits.push(Edit::Note { id: id.clone(), text: note });
    }
    decision.edits.extend(to.map(|status| set(id, status)));
    decision
}

fn failing(check: &Check, rules: &CheckRules, what: &str, place: &str) -> NewTask {
    let value = |place: &str| match place {
        "check" => Some(check.link.name.clone()),
        "branch" => Some(check.link.branch.clone()),
        "repo" => Some(check.link.repo.clone()),
        _ => None,
    };
    NewTask {
        title: one_line(filled(&rules.title, value), || format!("Fix {what}")),
        description: format!("The {what} failed {place}"),
        test_strategy: format!("The {what} succeeds"),
        priority: rules.priority,
        made_by: WHO.to_owned(),
        extra: extra(&check.link),
        ..NewTask::default()
    }
}
