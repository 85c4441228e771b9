//! Projects themselves: made, listed, changed, deleted.
//!
//! Whatever changes which tags a project has, or which of them is the current one, puts the project's record anew under
//! its guard: so none of these cross, and a project that is deleted leaves no tag.

use base::{Code, Fault, Result};
use store::{Entry, Guard, MAX_TXN_OPS, StoreError, Txn};

use super::names::{self, MAIN_TAG};
use super::record::{self, Project, Tag};
use super::{MOST_ATTEMPTS, Projects, pause};
use crate::Extra;
use crate::model::{OwnModels, Role};

/// What may be different of a project; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// In a sentence.
    pub description: Option<String>,
    /// Of answers, in words.
    pub language: Option<String>,
    /// The tag that calls without one mean.
    pub current_tag: Option<String>,
    /// The model of its own for a role, by that; an empty name gives the role back to the cluster.
    pub models: Vec<(Role, String)>,
    /// Fields of its tasks.json that are no tags.
    pub extra: Option<Extra>,
}

impl ProjectChange {
    /// The same with models for roles, where any are named.
    pub fn with_models(mut self, main: Option<String>, research: Option<String>, fallback: Option<String>) -> Self {
        let named = [(Role::Main, main), (Role::Research, research), (Role::Fallback, fallback)];
        self.models = named.into_iter().filter_map(|(role, name)| Some((role, name?))).collect();
        self
    }
}

impl Projects {
    /// Every project, by name.
    pub async fn list(&self) -> Result<Vec<Project>> {
        let read = record::read_all::<Project>(names::PROJECTS, &self.store.list(names::PROJECTS).await?)?;
        Ok(read.into_iter().map(|(name, project)| Project { name, ..project }).collect())
    }

    /// A project by name.
    pub async fn project(&self, name: &str) -> Result<Project> {
        Ok(self.project_entry(name).await?.0)
    }

    /// A project with its record.
    pub(super) async fn project_entry(&self, name: &str) -> Result<(Project, Entry)> {
        names::check_project(name)?;
        let Some(entry) = self.store.get(&names::project_key(name)).await? else {
            return Err(self.no_project(name).await);
        };
        let project = record::read::<Project>(&entry.key, &entry.value)?;
        Ok((Project { name: name.to_owned(), ..project }, entry))
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
            models: OwnModels::default(),
            created_ms: now,
            extra: Extra::new(),
        };
        let key = names::project_key(name);
        let txn = Txn::new()
            .when(Guard::Absent(key.clone()))
            .put(key, record::write_about(&project)?)
            .put(names::tag_key(name, MAIN_TAG), record::write_about(&Tag::new("", now))?);
        if !self.is_committed(txn).await? {
            return Err(Fault::new(Code::Conflict, format!("there is a project `{name}` already"))
                .hint("choose another name, or add a tag to it"));
        }
        // What a delete left behind that died is not this project's, and costs only room.
        self.sweep(name).await;
        Ok(project)
    }

    /// Changes what is known of a project.
    pub async fn change_project(&self, name: &str, change: &ProjectChange) -> Result<Project> {
        for attempt in 0..MOST_ATTEMPTS {
            let (mut project, entry) = self.project_entry(name).await?;
            if let Some(tag) = &change.current_tag {
                self.tag(name, tag).await?;
            }
            let ProjectChange { description, language, current_tag, models, extra } = change.clone();
            project.description = description.unwrap_or(project.description);
            project.language = language.unwrap_or(project.language);
            project.current_tag = current_tag.unwrap_or(project.current_tag);
            models.iter().for_each(|(role, name)| project.models.set(*role, name));
            project.extra = extra.unwrap_or(project.extra);
            if self.is_committed(put_again(&project, &entry)?).await? {
                return Ok(project);
            }
            pause(attempt).await;
        }
        Err(contended(name))
    }

    /// Deletes a project with everything in it.
    pub async fn delete(&self, name: &str) -> Result<()> {
        for attempt in 0..MOST_ATTEMPTS {
            let (project, entry) = self.project_entry(name).await?;
            let prefix = names::tags_prefix(name);
            let listing = self.store.list(&prefix).await?;
            let mut txn = Txn::new().when(Guard::ModifiedAt(entry.key.clone(), entry.modified));
            // Two operations for each tag, one for the project.
            let most = MAX_TXN_OPS / 2 - 1;
            for found in listing.entries.iter().take(most) {
                let tag = record::read::<Tag>(&found.key, &found.value)?;
                txn = txn.put(names::loose_key(name, &tag.id, ""), "").delete(found.key.clone());
            }
            if let Some(damaged) = listing.damaged.first() {
                txn = txn.delete(damaged.key.clone());
            }
            let is_last = listing.entries.len() <= most && listing.damaged.len() <= 1;
            txn = match is_last {
                true => txn.delete(entry.key),
                // The rest goes in the next round, which meets the tags that others make until then.
                false => txn.put(entry.key, record::write_about(&project)?),
            };
            match self.is_committed(txn).await? {
                true if is_last => {
                    self.sweep(name).await;
                    return Ok(());
                }
                true => {}
                false => pause(attempt).await,
            }
        }
        Err(contended(name))
    }

    /// Commits, and tells whether the guards held.
    pub(super) async fn is_committed(&self, txn: Txn) -> Result<bool> {
        match self.store.commit(txn).await {
            Ok(_) => Ok(true),
            Err(StoreError::Refused { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn no_project(&self, name: &str) -> Fault {
        let fault = Fault::new(Code::NotFound, format!("there is no project `{name}`"));
        let Ok(known) = self.list().await else { return fault.hint("`tmctl projects` lists them") };
        let names: Vec<_> = known.iter().take(10).map(|project| format!("`{}`", project.name)).collect();
        fault.hint(match names.is_empty() {
            true => "there is none yet: `tmctl projects add NAME` makes one".to_owned(),
            false => format!("there are {}", names.join(", ")),
        })
    }
}

/// A transaction that puts a project's record, if it is still the one that was read.
pub(super) fn put_again(project: &Project, read: &Entry) -> Result<Txn> {
    let guard = Guard::ModifiedAt(read.key.clone(), read.modified);
    Ok(Txn::new().when(guard).put(read.key.clone(), record::write_about(project)?))
}

pub(super) fn contended(project: &str) -> Fault {
    Fault::new(Code::Conflict, format!("could not change project `{project}`: others change it all the time"))
        .hint("try again in a moment")
}
