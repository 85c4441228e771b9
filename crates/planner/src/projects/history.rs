//! What changed, when, by whom and why; and taking it back.

use std::sync::Arc;

use base::{Code, Fault, Result};
use serde::{Deserialize, Serialize};

use super::commit::{Attempt, Written};
use super::{Conflict, Done, MOST_ATTEMPTS, Outcome, Projects, Snapshot, Wanted, contended, names, pause, record};
use crate::edit::{self, Changed};
use crate::{Task, TaskId, Tasks, graph};

/// Events that a tag keeps.
pub(super) const EVENTS_KEPT: u64 = 5000;
/// Changes that can be undone.
pub(super) const UNDO_KEPT: u64 = 200;
/// Differences that an event shows; it counts the others.
const MOST_DIFFERENCES: usize = 100;
/// Texts of differences are cut to this, marked as cut; the tasks themselves are whole.
const MOST_TEXT: usize = 400;
/// The most events in an answer.
const MOST_EVENTS: usize = 500;

/// A change of a tag's tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The revision that it made.
    pub revision: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Who or what.
    pub who: String,
    /// In words.
    pub what: String,
    /// What for; empty when nobody said.
    pub why: String,
    /// What became different.
    pub changes: Vec<Changed>,
    /// Differences that were too many to be kept here.
    pub left_out: u32,
    #[serde(skip)]
    pub(super) key: Option<String>,
}

/// Events of a tag, newest first.
pub type Events = Vec<Event>;

/// What was before an event.
#[derive(Serialize, Deserialize)]
pub(super) enum Undo {
    /// Of each top-level task that it touched; `None` where there was none.
    Tasks(Vec<(u32, Option<Arc<Task>>)>),
    /// Everything lies in an older generation.
    Generation(String),
}

impl Event {
    pub(super) fn new(revision: u64, at_ms: u64, wanted: &Wanted, changes: &[Changed]) -> Self {
        let what = match wanted.what.is_empty() {
            true => wanted.edits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            false => wanted.what.clone(),
        };
        let kept = changes.iter().take(MOST_DIFFERENCES).map(|change| change.clipped(MOST_TEXT)).collect();
        Self {
            revision,
            at_ms,
            who: wanted.who.clone(),
            what: edit::clip(&what, MOST_TEXT),
            why: edit::clip(&wanted.why, MOST_TEXT),
            changes: kept,
            left_out: u32::try_from(changes.len().saturating_sub(MOST_DIFFERENCES)).unwrap_or(u32::MAX),
            key: wanted.key.clone(),
        }
    }
}

impl Projects {
    /// The changes of a tag before a revision, newest first; with `id`, those that touched it or what is below it.
    pub async fn history(
        &self,
        project: &str,
        tag: &str,
        id: Option<&TaskId>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Events> {
        let snapshot = self.snapshot(project, tag).await?;
        let mut events = Vec::new();
        let mut revision = before.map_or(snapshot.about.revision, |before| before.saturating_sub(1));
        let limit = limit.clamp(1, MOST_EVENTS);
        while revision > 0 && events.len() < limit {
            let key = names::event_key(project, &snapshot.about, revision);
            let Some(entry) = self.store.get(&key).await? else { break };
            let event: Event = record::read(&entry.key, &entry.value)?;
            let touches =
                |id: &TaskId| event.left_out > 0 || event.changes.iter().any(|change| change.id.is_within(id));
            if id.is_none_or(touches) {
                events.push(event);
            }
            revision -= 1;
        }
        Ok(events)
    }

    /// What a change with the same key did, if there was one.
    pub(super) async fn done_before(&self, now: &Snapshot, wanted: &Wanted) -> Result<Option<Done>> {
        let Some(key) = &wanted.key else { return Ok(None) };
        let Some((_, revision)) = now.about.keys.iter().find(|(known, _)| known == key) else { return Ok(None) };
        let entry = self.store.get(&names::event_key(&now.project, &now.about, *revision)).await?;
        let event = entry.map(|entry| record::read::<Event>(&entry.key, &entry.value)).transpose()?;
        let changes = event.map(|event| event.changes).unwrap_or_default();
        let added = changes.iter().filter(|change| change.is_added()).map(|change| change.id.clone()).collect();
        Ok(Some(Done { revision: *revision, changes, notes: Vec::new(), added, tasks: now.tasks.clone() }))
    }

    /// Takes the change `revision` back (`None`: the last one), unless what it touched was changed since.
    pub async fn undo(
        &self,
        project: &str,
        tag: &str,
        revision: Option<u64>,
        who: &str,
        dry_run: bool,
    ) -> Result<Outcome> {
        let snapshot = self.snapshot(project, tag).await?;
        let (project, tag) = (snapshot.project.clone(), snapshot.tag.clone());
        let _turn = self.turn(&project, &tag).await;
        for attempt in 0..MOST_ATTEMPTS {
            let before = self.snapshot(&project, &tag).await?;
            let revision = revision.unwrap_or(before.about.revision);
            let restored = match self.restored(&before, revision).await? {
                Ok(tasks) => tasks,
                Err(conflict) => return Ok(Outcome::Conflict(conflict)),
            };
            if let Some(breach) = graph::check(&restored).first() {
                return Err(Fault::new(Code::Conflict, format!("could not undo change {revision}: {breach}"))
                    .hint("undo the later changes first; `tasks history` lists them"));
            }
            let changes = edit::changes(&before.tasks, &restored);
            let next = before.about.revision + 1;
            let done = Done { revision: next, changes, notes: Vec::new(), added: Vec::new(), tasks: restored };
            if dry_run {
                return Ok(Outcome::Done(done));
            }
            let wanted = Wanted { who: who.into(), what: format!("undid change {revision}"), ..Wanted::default() };
            let event = Event::new(next, base::time::unix_ms(), &wanted, &done.changes);
            match self.write(vec![Attempt { before, tasks: done.tasks.clone(), event, draft: None }]).await? {
                Written::Done => return Ok(Outcome::Done(done)),
                Written::Crossed => pause(attempt).await,
            }
        }
        Err(contended(&project, &tag))
    }

    /// The tasks without the change `revision`, or what stands against that.
    async fn restored(&self, now: &Snapshot, revision: u64) -> Result<Result<Tasks, Box<Conflict>>> {
        let gone = || {
            Fault::new(Code::NotFound, format!("could not undo change {revision}: what was before it is not kept"))
                .hint(format!("the last {UNDO_KEPT} changes can be undone, unless one of them wrote very many tasks"))
        };
        let entry = self.store.get(&names::undo_key(&now.project, &now.about, revision)).await?.ok_or_else(gone)?;
        match record::read::<Undo>(&entry.key, &entry.value)? {
            Undo::Tasks(olds) => Ok(put_back(now, revision, olds)),
            Undo::Generation(generation) => {
                if let Some((id, task)) = now.tasks.walk().find(|(_, task)| task.version > revision) {
                    return Ok(Err(crossed(id, revision, Some(task))));
                }
                if !now.about.generations.contains(&generation) {
                    return Err(gone());
                }
                let listing = self.store.list(&names::generation_prefix(&now.project, &now.about, &generation)).await?;
                let tasks = listing.entries.iter().map(|entry| record::read::<Task>(&entry.key, &entry.value));
                let mut tasks = tasks.collect::<Result<Vec<_>>>()?;
                tasks.iter_mut().for_each(|task| stamp(task, now.about.revision + 1));
                Ok(Ok(Tasks::new(tasks)))
            }
        }
    }
}

fn put_back(now: &Snapshot, revision: u64, olds: Vec<(u32, Option<Arc<Task>>)>) -> Result<Tasks, Box<Conflict>> {
    let mut tasks = now.tasks.clone();
    for (number, old) in olds {
        let current = now.tasks.root(number);
        if let Some(current) = current.filter(|task| newest(task) > revision) {
            return Err(crossed(TaskId::top(number), revision, Some(current)));
        }
        match old {
            Some(mut old) => {
                stamp(Arc::make_mut(&mut old), now.about.revision + 1);
                tasks.put(old);
            }
            None => drop(tasks.remove(number)),
        }
    }
    Ok(tasks)
}

fn crossed(id: TaskId, expected: u64, theirs: Option<&Task>) -> Box<Conflict> {
    Box::new(Conflict { id, expected, theirs: theirs.cloned(), yours: Vec::new() })
}

/// The newest version in a task and below it.
fn newest(task: &Task) -> u64 {
    task.subtasks.iter().map(newest).max().unwrap_or(0).max(task.version)
}

fn stamp(task: &mut Task, version: u64) {
    task.version = version;
    task.subtasks.iter_mut().for_each(|sub| stamp(sub, version));
}
