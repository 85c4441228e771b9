//! Projects and tags themselves: made, listed, renamed, deleted.

use base::{Code, Fault, Result};
use store::{Guard, StoreError, Txn};

use super::names::{self, MAIN_TAG};
use super::record::{self, Project, Tag};
use super::{Projects, Wanted};
use crate::edit::Edit;
use crate::task::Extra;

/// What may be different of a project; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// In a sentence.
    pub description: Option<String>,
    /// Of answers, in words.
    pub language: Option<String>,
    /// The tag that calls without one mean.
    pub current_tag: Option<String>,
}

impl Projects {
    /// Every project, by name.
    pub async fn list(&self) -> Result<Vec<Project>> {
        let listing = self.store.list(names::PROJECTS).await?;
        let read = |entry: &store::Entry| {
            let name = entry.key.trim_start_matches(names::PROJECTS).to_owned();
            Ok(Project { name, ..record::read(&entry.key, &entry.value)? })
        };
        listing.entries.iter().map(read).collect()
    }

    /// A project by name.
    pub async fn project(&self, name: &str) -> Result<Project> {
        names::check_project(name)?;
        let Some(entry) = self.store.get(&names::project_key(name)).await? else {
            return Err(self.no_project(name).await);
        };
        Ok(Project { name: name.to_owned(), ..record::read(&entry.key, &entry.value)? })
    }

    /// Makes a project with the tag `master`.
    pub async fn create(&self, name: &str, description: &str, language: &str) -> Result<Project> {
        names::check_project(name)?;
        let now = base::time::unix_ms();
        let project = Project {
            name: name.to_owned(),
            description: description.to_owned(),
            current_tag: MAIN_TAG.to_owned(),
            language: language.to_owned(),
            created_ms: now,
        };
        let key = names::project_key(name);
        if self.store.get(&key).await?.is_none() {
            // What a delete that died left behind is not this project's.
            self.purge(name).await?;
        }
        let txn = Txn::new()
            .when(Guard::Absent(key.clone()))
            .put(key, record::write(&project)?)
            .put(names::tag_key(name, MAIN_TAG), record::write(&Tag::new("", now))?);
        match self.store.commit(txn).await {
            Ok(_) => Ok(project),
            Err(StoreError::Refused { .. }) => {
                Err(Fault::new(Code::Conflict, format!("there is a project `{name}` already"))
                    .hint("choose another name, or add a tag to it"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Changes what is known of a project.
    pub async fn change_project(&self, name: &str, change: &ProjectChange) -> Result<Project> {
        if let Some(tag) = &change.current_tag {
            self.tag(name, tag).await?;
        }
        self.project(name).await?;
        let key = names::project_key(name);
        let Some(entry) = self.store.get(&key).await? else { return Err(self.no_project(name).await) };
        let mut project: Project = record::read(&entry.key, &entry.value)?;
        let ProjectChange { description, language, current_tag } = change.clone();
        project.description = description.unwrap_or(project.description);
        project.language = language.unwrap_or(project.language);
        project.current_tag = current_tag.unwrap_or(project.current_tag);
        let txn = Txn::new().when(Guard::ModifiedAt(key.clone(), entry.modified)).put(key, record::write(&project)?);
        self.store.commit(txn).await?;
        Ok(Project { name: name.to_owned(), ..project })
    }

    /// Deletes a project with everything in it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.project(name).await?;
        self.store.commit(Txn::new().delete(names::project_key(name))).await?;
        self.purge(name).await
    }

    async fn purge(&self, project: &str) -> Result<()> {
        let prefixes = [
            names::tags_prefix(project),
            names::all_tasks_prefix(project),
            names::all_events_prefix(project),
            names::all_undo_prefix(project),
        ];
        for prefix in prefixes {
            let listing = self.store.list(&prefix).await?;
            let damaged = listing.damaged.into_iter().map(|damaged| damaged.key);
            self.delete_all(listing.entries.into_iter().map(|entry| entry.key).chain(damaged).collect()).await?;
        }
        Ok(())
    }

    /// The tags of a project, by name.
    pub async fn tags(&self, project: &str) -> Result<Vec<Tag>> {
        self.project(project).await?;
        let prefix = names::tags_prefix(project);
        let listing = self.store.list(&prefix).await?;
        let read = |entry: &store::Entry| {
            let name = entry.key.trim_start_matches(&prefix).to_owned();
            Ok(Tag { name, ..record::read(&entry.key, &entry.value)? })
        };
        listing.entries.iter().map(read).collect()
    }

    /// A tag by name.
    pub async fn tag(&self, project: &str, tag: &str) -> Result<Tag> {
        Ok(self.snapshot(project, tag).await?.about)
    }

    /// Makes a tag, with the tasks of another one if `copy_from` names it.
    pub async fn add_tag(&self, project: &str, tag: &str, description: &str, copy_from: &str, who: &str) -> Result<()> {
        names::check_tag(tag)?;
        let tasks = match copy_from {
            "" => None,
            other => Some(self.snapshot(project, other).await?.tasks),
        };
        self.make_tag(project, tag, description, Vec::new()).await?;
        if let Some(tasks) = tasks.filter(|tasks| !tasks.is_empty()) {
            let tasks = tasks.top().iter().map(|task| (**task).clone()).collect();
            let wanted = Wanted {
                edits: vec![Edit::Replace { tasks }],
                who: who.to_owned(),
                what: format!("copied from tag `{copy_from}`"),
                ..Wanted::default()
            };
            self.change(project, tag, &wanted).await?;
        }
        Ok(())
    }

    pub(crate) async fn make_tag(&self, project: &str, tag: &str, description: &str, extra: Extra) -> Result<()> {
        names::check_tag(tag)?;
        self.project(project).await?;
        let key = names::tag_key(project, tag);
        let record = Tag { extra, ..Tag::new(description, base::time::unix_ms()) };
        let txn = Txn::new()
            .when(Guard::Absent(key.clone()))
            .when(Guard::Absent(format!("{key}/")))
            .put(key, record::write(&record)?);
        match self.store.commit(txn).await {
            Ok(_) => Ok(()),
            Err(StoreError::Refused { .. }) => Err(tag_exists(project, tag)),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a tag another name; its tasks and its history stay.
    pub async fn rename_tag(&self, project: &str, tag: &str, to: &str) -> Result<()> {
        names::check_tag(to)?;
        if tag == MAIN_TAG {
            return Err(
                Fault::invalid(format!("tag `{MAIN_TAG}` keeps its name")).hint("copy it to another tag instead")
            );
        }
        let about = self.project(project).await?;
        let (old, new) = (names::tag_key(project, tag), names::tag_key(project, to));
        let Some(entry) = self.store.get(&old).await? else { return Err(self.no_tag(project, tag).await) };
        let mut txn = Txn::new()
            .when(Guard::ModifiedAt(old.clone(), entry.modified))
            .when(Guard::Absent(new.clone()))
            .put(new, entry.value)
            .delete(old);
        if about.current_tag == tag {
            let about = Project { current_tag: to.to_owned(), ..about };
            txn = txn.put(names::project_key(project), record::write(&about)?);
        }
        match self.store.commit(txn).await {
            Ok(_) => Ok(()),
            Err(StoreError::Refused { guard: Guard::Absent(_) }) => Err(tag_exists(project, to)),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a tag with its tasks and its history.
    pub async fn delete_tag(&self, project: &str, tag: &str) -> Result<()> {
        if tag == MAIN_TAG {
            return Err(
                Fault::invalid(format!("tag `{MAIN_TAG}` stays")).hint("delete the project, or remove its tasks")
            );
        }
        let about = self.project(project).await?;
        let tag_about = self.snapshot(project, tag).await?.about;
        let mut txn = Txn::new().delete(names::tag_key(project, tag));
        if about.current_tag == tag {
            let about = Project { current_tag: MAIN_TAG.to_owned(), ..about };
            txn = txn.put(names::project_key(project), record::write(&about)?);
        }
        self.store.commit(txn).await?;
        let listing = self.store.list(&names::generations_prefix(project, &tag_about)).await?;
        self.delete_all(listing.entries.into_iter().map(|entry| entry.key).collect()).await
    }

    pub(super) async fn tag_or_current(&self, project: &str, tag: &str) -> Result<String> {
        match tag {
            "" => Ok(self.project(project).await?.current_tag),
            tag => names::check_tag(tag).map(|()| tag.to_owned()),
        }
    }

    async fn no_project(&self, name: &str) -> Fault {
        let known = self.list().await.unwrap_or_default();
        let names: Vec<_> = known.iter().take(10).map(|project| format!("`{}`", project.name)).collect();
        let hint = match names.is_empty() {
            true => "there is none yet: `tmctl projects add NAME` makes one".to_owned(),
            false => format!("there are {}", names.join(", ")),
        };
        Fault::new(Code::NotFound, format!("there is no project `{name}`")).hint(hint)
    }

    pub(super) async fn no_tag(&self, project: &str, tag: &str) -> Fault {
        if let Err(fault) = self.project(project).await {
            return fault;
        }
        Fault::new(Code::NotFound, format!("project `{project}` has no tag `{tag}`"))
            .hint("`tmctl tasks tags` lists them; `tmctl tasks tags add NAME` makes one")
    }
}

fn tag_exists(project: &str, tag: &str) -> Fault {
    Fault::new(Code::Conflict, format!("project `{project}` has a tag `{tag}` already")).hint("choose another name")
}
