//! The tags of a project: made, copied, listed, renamed, deleted.

use base::{Code, Fault, Result};
use store::{Entry, Guard, Revision, Txn};

use super::commit::{Attempt, Written};
use super::manage::{contended, put_again};
use super::names::{self, MAIN_TAG};
use super::record::{self, Project, Tag};
use super::{Done, Event, MOST_ATTEMPTS, Projects, Snapshot, Wanted, pause};
use crate::edit::{self, Edit, Stamp};
use crate::{Extra, Tasks};

/// What a tasks.json has of a tag beside its tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Beside {
    /// What the tag is for.
    pub(crate) description: String,
    /// The fields of its metadata that nobody here knows.
    pub(crate) metadata: Extra,
    /// Those beside the metadata.
    pub(crate) others: Extra,
}

impl Projects {
    /// The tags of a project, by name.
    pub async fn tags(&self, project: &str) -> Result<Vec<Tag>> {
        self.project(project).await?;
        let prefix = names::tags_prefix(project);
        let read = record::read_all::<Tag>(&prefix, &self.store.list(&prefix).await?)?;
        Ok(read.into_iter().map(|(name, tag)| Tag { name, ..tag }).collect())
    }

    /// A tag by name; an empty one is the current one.
    pub async fn tag(&self, project: &str, tag: &str) -> Result<Tag> {
        let tag = self.tag_or_current(project, tag).await?;
        Ok(self.tag_entry(project, &tag).await?.0)
    }

    /// Makes a tag, with the tasks of another one if `copy_from` names it.
    pub async fn add_tag(&self, project: &str, tag: &str, description: &str, copy_from: &str, who: &str) -> Result<()> {
        names::check_tag(tag)?;
        let tasks = match copy_from {
            "" => Tasks::default(),
            other => self.snapshot(project, other).await?.tasks,
        };
        if tasks.is_empty() {
            return self.make_tag(project, tag, description).await;
        }
        let now = base::time::unix_ms();
        let stamp = Stamp { updated_at: base::time::rfc3339(now), version: 1 };
        let tasks = tasks.top().iter().map(|task| (**task).clone()).collect();
        let copied = edit::apply(&Tasks::default(), &Edit::Replace { tasks }, &stamp)?.tasks;
        let wanted =
            Wanted { who: who.to_owned(), what: format!("copied from tag `{copy_from}`"), ..Wanted::default() };
        let changes = edit::changes(&Tasks::default(), &copied);
        let event = Event::new(now, &wanted, &Done { revision: 1, changes, ..Done::default() })?;
        for attempt in 0..MOST_ATTEMPTS {
            let txn = self.for_new_tag(project, tag).await?;
            let before = Snapshot {
                project: project.to_owned(),
                tag: tag.to_owned(),
                about: Tag { name: tag.to_owned(), ..Tag::new(description, now) },
                tasks: Tasks::default(),
                modified: Revision(0),
            };
            let attempted = Attempt { before, tasks: copied.clone(), event: event.clone(), draft: None };
            match self.write(txn, vec![attempted]).await? {
                Written::Done => return Ok(()),
                Written::Crossed => pause(attempt).await,
            }
        }
        Err(contended(project))
    }

    /// Makes a tag without tasks.
    pub(crate) async fn make_tag(&self, project: &str, tag: &str, description: &str) -> Result<()> {
        names::check_tag(tag)?;
        let about = record::write_about(&Tag::new(description, base::time::unix_ms()))?;
        let key = names::tag_key(project, tag);
        for attempt in 0..MOST_ATTEMPTS {
            let txn = self.for_new_tag(project, tag).await?;
            if self.is_committed(txn.when(Guard::Absent(key.clone())).put(key.clone(), about.clone())).await? {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(contended(project))
    }

    /// Keeps what a tasks.json has of a tag beside its tasks: its description, the fields of its metadata, others.
    pub(crate) async fn keep_beside(&self, project: &str, tag: &str, beside: &Beside) -> Result<()> {
        let Beside { description, metadata, others } = beside.clone();
        for attempt in 0..MOST_ATTEMPTS {
            let (about, entry) = self.tag_entry(project, tag).await?;
            let (description, extra, beside) = (description.clone(), metadata.clone(), others.clone());
            let about = record::write_about(&Tag { description, extra, beside, ..about })?;
            let guard = Guard::ModifiedAt(entry.key.clone(), entry.modified);
            if self.is_committed(Txn::new().when(guard).put(entry.key, about)).await? {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(contended(project))
    }

    /// What a transaction that makes a tag begins with; refused where the tag is there.
    async fn for_new_tag(&self, project: &str, tag: &str) -> Result<Txn> {
        let (about, entry) = self.project_entry(project).await?;
        if self.store.get(&names::tag_key(project, tag)).await?.is_some() {
            return Err(Fault::new(Code::Conflict, format!("project `{project}` has a tag `{tag}` already"))
                .hint("choose another name"));
        }
        put_again(&about, &entry)
    }

    /// Gives a tag another name; its tasks and its history stay.
    pub async fn rename_tag(&self, project: &str, tag: &str, to: &str) -> Result<()> {
        names::check_tag(to)?;
        if tag == MAIN_TAG {
            return Err(
                Fault::invalid(format!("tag `{MAIN_TAG}` keeps its name")).hint("copy it to another tag instead")
            );
        }
        for attempt in 0..MOST_ATTEMPTS {
            let (_, old) = self.tag_entry(project, tag).await?;
            self.for_new_tag(project, to).await?;
            let new = names::tag_key(project, to);
            let txn = self.without_current(project, tag, to).await?;
            let txn = txn
                .when(Guard::ModifiedAt(old.key.clone(), old.modified))
                .when(Guard::Absent(new.clone()))
                .put(new, old.value)
                .delete(old.key);
            if self.is_committed(txn).await? {
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(contended(project))
    }

    /// Deletes a tag with its tasks and its history.
    pub async fn delete_tag(&self, project: &str, tag: &str) -> Result<()> {
        if tag == MAIN_TAG {
            return Err(
                Fault::invalid(format!("tag `{MAIN_TAG}` stays")).hint("delete the project, or remove its tasks")
            );
        }
        for attempt in 0..MOST_ATTEMPTS {
            let (about, entry) = self.tag_entry(project, tag).await?;
            let txn = self.without_current(project, tag, MAIN_TAG).await?;
            let txn = txn
                .when(Guard::CreatedAt(entry.key.clone(), entry.created))
                .put(names::loose_key(project, &about.id, ""), "")
                .delete(entry.key);
            if self.is_committed(txn).await? {
                self.sweep(project).await;
                return Ok(());
            }
            pause(attempt).await;
        }
        Err(contended(project))
    }

    /// What a transaction that takes a tag away begins with: the project's current one is `instead`, if it was that.
    async fn without_current(&self, project: &str, tag: &str, instead: &str) -> Result<Txn> {
        let (about, entry) = self.project_entry(project).await?;
        let is_current = about.current_tag == tag;
        let current_tag = if is_current { instead.to_owned() } else { about.current_tag.clone() };
        put_again(&Project { current_tag, ..about }, &entry)
    }

    /// A tag with its record.
    async fn tag_entry(&self, project: &str, tag: &str) -> Result<(Tag, Entry)> {
        names::check_project(project)?;
        names::check_tag(tag)?;
        match self.store.get(&names::tag_key(project, tag)).await? {
            Some(entry) => Ok((record::tag(tag, &entry)?, entry)),
            None => Err(self.no_tag(project, tag).await),
        }
    }

    pub(super) async fn tag_or_current(&self, project: &str, tag: &str) -> Result<String> {
        match tag {
            "" => Ok(self.project(project).await?.current_tag),
            tag => names::check_tag(tag).map(|()| tag.to_owned()),
        }
    }

    pub(super) async fn no_tag(&self, project: &str, tag: &str) -> Fault {
        if let Err(fault) = self.project(project).await {
            return fault;
        }
        Fault::new(Code::NotFound, format!("project `{project}` has no tag `{tag}`"))
            .hint("`tmctl tasks tags` lists them; `tmctl tasks tags add NAME` makes one")
    }
}
