//! What changed, when, by whom and why; and taking it back.

use std::sync::Arc;

use base::{Code, Fault, Result};
use serde::{Deserialize, Serialize};

use store::Txn;

use super::commit::{Attempt, Written};
use super::{Conflict, Done, Key, MOST_ATTEMPTS, Outcome, Projects, Snapshot, Wanted, contended, names, pause, record};
use crate::edit::{self, Changed, Edit, Stamp};
use crate::{Task, TaskId, Tasks, digest, graph};

/// Events that a tag keeps.
pub(super) const EVENTS_KEPT: u64 = 5000;
/// Changes that can be undone.
pub(super) const UNDO_KEPT: u64 = 200;
/// Differences that an event shows; it counts the others.
const MOST_DIFFERENCES: usize = 100;
/// The same in bytes, and that of the notes: an event goes into the transaction of its change.
const MOST_BYTES: usize = store::MAX_TXN_BYTES / 16;
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
    /// The numbers of the top-level tasks that it wrote or removed; of a new generation, none.
    #[serde(default)]
    pub(super) touched: Vec<u32>,
    /// Tells one's own write from another's when the answer to it got lost.
    #[serde(default)]
    pub(super) write: String,
    /// With the change's key: what whoever sends it again is told.
    #[serde(default)]
    pub(super) answer: Option<Answer>,
    /// With a client's key: what the client wanted.
    #[serde(default)]
    pub(super) digest: Option<String>,
    #[serde(skip)]
    pub(super) key: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    added: Vec<TaskId>,
    notes: Vec<String>,
}

/// Events of a tag, newest first.
pub type Events = Vec<Event>;

/// What was before an event.
#[derive(Serialize, Deserialize)]
pub(super) enum Undo {
    /// Of each top-level task that it touched.
    Tasks(Vec<Before>),
    /// Everything lies in an older generation.
    Generation {
        /// Which.
        name: String,
        /// How many top-level tasks the change left.
        left: usize,
    },
}

/// A top-level task before an event.
#[derive(Serialize, Deserialize)]
pub(super) struct Before {
    pub number: u32,
    /// `None` where there was none.
    pub task: Option<Arc<Task>>,
    /// Whether the event removed it.
    pub is_gone: bool,
}

impl Event {
    pub(super) fn new(at_ms: u64, wanted: &Wanted, done: &Done) -> Result<Self> {
        let what = match wanted.what.is_empty() {
            true => wanted.edits.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            false => wanted.what.clone(),
        };
        let mut room = MOST_BYTES;
        let kept = done.changes.iter().take(MOST_DIFFERENCES).map(|change| change.clipped(MOST_TEXT));
        let kept: Vec<Changed> = kept.take_while(|change| fits(&mut room, change)).collect();
        let answer = wanted.key.is_some().then(|| {
            let mut room = MOST_BYTES;
            let notes = done.notes.iter().take_while(|note| fits(&mut room, note)).cloned().collect();
            Answer { added: done.added.clone(), notes }
        });
        Ok(Self {
            revision: done.revision,
            at_ms,
            who: edit::clip(&wanted.who, MOST_TEXT),
            what: edit::clip(&what, MOST_TEXT),
            why: edit::clip(&wanted.why, MOST_TEXT),
            left_out: u32::try_from(done.changes.len() - kept.len()).unwrap_or(u32::MAX),
            changes: kept,
            touched: Vec::new(),
            write: String::new(),
            answer,
            digest: client_digest(wanted)?,
            key: wanted.key.as_ref().map(|key| key.as_str().to_owned()),
        })
    }
}

/// What a client wanted with its key.
fn client_digest(wanted: &Wanted) -> Result<Option<String>> {
    match wanted.key {
        Some(Key::Client(_)) => digest::of(&(&wanted.edits, &wanted.expected)).map(Some),
        _ => Ok(None),
    }
}

/// Whether a value still has room as JSON, which it takes.
fn fits(room: &mut usize, value: &impl Serialize) -> bool {
    let left = serde_json::to_vec(value).ok().and_then(|json| room.checked_sub(json.len()));
    *room = left.unwrap_or(0);
    left.is_some()
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
        let limit = limit.clamp(1, MOST_EVENTS);
        let touches =
            |event: &Event, id| event.left_out > 0 || event.changes.iter().any(|change| change.id.is_within(id));
        let mut events = Vec::new();
        let mut last = before.unwrap_or(u64::MAX).saturating_sub(1).min(snapshot.about.revision);
        while last > 0 && events.len() < limit {
            let page = names::event_page(project, &snapshot.about, last);
            let mut page = record::read_all::<Event>("", &self.store.list(&page).await?)?;
            page.retain(|(_, event)| event.revision <= last);
            if page.is_empty() {
                break;
            }
            let found = page.into_iter().rev().map(|(_, event)| event);
            events.extend(found.filter(|event| id.is_none_or(|id| touches(event, id))));
            last = (last / names::EVENTS_IN_PAGE * names::EVENTS_IN_PAGE).saturating_sub(1);
        }
        events.truncate(limit);
        Ok(events)
    }

    /// What a change with the same key did, if there was one; with the tasks as they are by now.
    pub(super) async fn done_before(&self, now: &Snapshot, wanted: &Wanted) -> Result<Option<Done>> {
        let Some(key) = wanted.key.as_ref().map(Key::as_str) else { return Ok(None) };
        let Some(&(_, revision)) = now.about.keys.iter().find(|(known, _)| known == key) else { return Ok(None) };
        let mut done = Done { revision, tasks: now.tasks.clone(), ..Done::default() };
        // Where very many changes came since, its event is not kept any more; done it is all the same.
        if let Some(entry) = self.store.get(&names::event_key(&now.project, &now.about, revision)).await? {
            let event = record::read::<Event>(&entry.key, &entry.value)?;
            if event.digest.is_some() && event.digest != client_digest(wanted)? {
                let what = format!("the key `{key}` is taken: other edits made revision {revision} with it");
                return Err(Fault::new(Code::Conflict, what).hint("use another key for other edits"));
            }
            let answer = event.answer.unwrap_or_default();
            done = Done { changes: event.changes, added: answer.added, notes: answer.notes, ..done };
        }
        Ok(Some(done))
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
        let Snapshot { project, tag, about, .. } = self.snapshot(project, tag).await?;
        let _turn = self.turn(&project, &tag).await;
        // The last one that the caller can mean, not one that comes while this waits.
        let revision = revision.unwrap_or(about.revision);
        let outcome = self.undo_in_turn(&project, &tag, revision, who, dry_run).await;
        if !matches!(outcome, Ok(Outcome::Done(_))) {
            self.release(&project, &tag).await;
        }
        outcome
    }

    async fn undo_in_turn(&self, project: &str, tag: &str, revision: u64, who: &str, dry_run: bool) -> Result<Outcome> {
        for attempt in 0..MOST_ATTEMPTS {
            let before = self.before(project, tag).await?;
            let restored = match self.restored(&before, revision).await? {
                Ok(tasks) => tasks,
                Err(conflict) => return Ok(Outcome::Conflict(conflict)),
            };
            if let Some(breach) = graph::check(&restored).first() {
                return Err(Fault::new(Code::Conflict, format!("could not undo change {revision}: {breach}"))
                    .hint("undo the later changes first; `tmctl tasks history` lists them"));
            }
            let changes = edit::changes(&before.tasks, &restored);
            let done =
                Done { revision: before.about.revision + 1, changes, tasks: restored.clone(), ..Done::default() };
            if dry_run {
                return Ok(Outcome::Done(done));
            }
            let wanted = Wanted { who: who.into(), what: format!("undid change {revision}"), ..Wanted::default() };
            let event = Event::new(base::time::unix_ms(), &wanted, &done)?;
            match self.write(Txn::new(), vec![Attempt { before, tasks: restored, event, draft: None }]).await? {
                Written::Done => return Ok(Outcome::Done(done)),
                Written::Crossed => pause(attempt).await,
            }
        }
        Err(contended(project, tag))
    }

    /// The tasks without the change `revision`, or what stands against that.
    async fn restored(&self, now: &Snapshot, revision: u64) -> Result<Result<Tasks, Box<Conflict>>> {
        let gone = || {
            Fault::new(Code::NotFound, format!("could not undo change {revision}: what was before it is not kept"))
                .hint(format!("the last {UNDO_KEPT} changes can be undone, of those of very many tasks the last two"))
        };
        let last = now.about.revision;
        if revision == 0 || revision > last {
            let fault = Fault::new(Code::NotFound, format!("could not undo change {revision}: there is none"));
            let hint = if last == 0 { "nothing was changed yet".into() } else { format!("the last change is {last}") };
            return Err(fault.hint(hint));
        }
        let entry = self.store.get(&names::undo_key(&now.project, &now.about, revision)).await?.ok_or_else(gone)?;
        let stamp = Stamp { updated_at: base::time::rfc3339(base::time::unix_ms()), version: now.about.revision + 1 };
        match record::read::<Undo>(&entry.key, &entry.value)? {
            Undo::Tasks(before) => Ok(put_back(now, revision, before, &stamp)),
            Undo::Generation { name, left } => {
                if let Some((id, task)) = now.tasks.walk().find(|(_, task)| task.version > revision) {
                    return Ok(Err(crossed(id, revision, Some(task))));
                }
                // What came since has a newer version, so fewer means that one went.
                if now.tasks.top().len() != left {
                    return Ok(Err(crossed(self.removed_since(now, revision).await?, revision, None)));
                }
                if !now.about.generations.contains(&name) {
                    return Err(gone());
                }
                let (_, tasks) = self.generation(&now.project, &now.about, &name).await?;
                let tasks = tasks.top().iter().map(|task| (**task).clone()).collect();
                Ok(Ok(edit::apply(&now.tasks, &Edit::Replace { tasks }, &stamp)?.tasks))
            }
        }
    }

    /// A task that a change after `revision` removed.
    async fn removed_since(&self, now: &Snapshot, revision: u64) -> Result<TaskId> {
        let later = self.history(&now.project, &now.tag, None, None, MOST_EVENTS).await?;
        let mut removed = later.iter().filter(|event| event.revision > revision).flat_map(|event| &event.changes);
        let removed = removed.find(|change| change.is_removed() && now.tasks.get(&change.id).is_none());
        Ok(removed.map_or_else(|| TaskId::top(1), |change| change.id.clone()))
    }
}

fn put_back(now: &Snapshot, revision: u64, before: Vec<Before>, stamp: &Stamp) -> Result<Tasks, Box<Conflict>> {
    let mut tasks = now.tasks.clone();
    for Before { number, task, is_gone } in before {
        let current = now.tasks.root(number);
        if current.is_none() != is_gone || current.is_some_and(|task| newest(task) > revision) {
            return Err(crossed(TaskId::top(number), revision, current.map(|task| &**task)));
        }
        match task {
            Some(mut old) => {
                edit::stamp_different(Arc::make_mut(&mut old), current.map(|task| &**task), stamp);
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
