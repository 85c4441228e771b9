//! Which project a folder belongs to: the one that it was synced with, else the one that `tmctl init` noted in it, else the
//! one that is called as the folder is.
//!
//! Only a sync proves that. Two folders may have one name, or names that fall together in the letters that projects have;
//! so where a folder has tasks of its own and its project is there already, somebody has to say that they belong together.

use std::path::{Path, PathBuf};

use base::{Code, Fault, Result, time};
use planner::projects::{check_project, name_of_folder};
use planner::tasks_file::{Layout, read_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::file;

/// What a sync leaves in `.taskmaster`.
const SYNCED: &str = ".tm-sync.json";
/// What Task Master calls every project, whatever its user said.
const NAMES_OF_NOBODY: [&str; 2] = ["Task Master", "Taskmaster"];

/// What is known of a folder's project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    folder: PathBuf,
    /// Its project, unless none can be called as the folder is.
    pub project: Option<String>,
    /// Where that is from.
    pub by: By,
    /// Whether there are tasks in its tasks.json.
    pub has_tasks: bool,
}

/// What a folder and its project had when they were last alike, as it is kept in the folder.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Synced {
    /// RFC 3339.
    at: String,
    /// Which project.
    pub project: String,
    /// All of it; empty when they never were, and `tmctl init` only noted the project.
    pub tasks_json: String,
}

impl Synced {
    /// As of now.
    pub fn now(project: &str, tasks_json: String) -> Self {
        Self { at: time::rfc3339(time::unix_ms()), project: project.to_owned(), tasks_json }
    }

    /// Where it lies.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(".taskmaster").join(SYNCED)
    }

    /// What is kept in `folder`, if anything is.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let hint = "delete it: then nothing is known of the last sync, and everything different is a conflict";
        read(&Self::path(folder), hint)
    }

    /// Keeps it in `folder`, in place of what was kept.
    pub fn keep(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| {
            let fault = Fault::internal(format!("could not write tasks as JSON: {error}"));
            fault.hint("tell the makers of tmctl")
        })?;
        file::write(&Self::path(folder), text.as_bytes())
    }
}

/// What says which project is a folder's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// They were alike once.
    Sync,
    /// `tmctl init` noted it.
    Init,
    /// The folder is called so.
    Name,
    /// The folder is called almost so, as others may be.
    LikeName,
}

impl Home {
    /// What `folder` says.
    pub fn of(folder: &Path) -> Result<Self> {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let (project, by) = match noted(folder)? {
            Some((project, by)) => (Some(project), by),
            None => called(&real),
        };
        let has_tasks = by != By::Sync && has_tasks(folder)?;
        Ok(Self { folder: real, project, by, has_tasks })
    }

    /// Its project, or why it cannot have one.
    pub fn name(&self) -> Result<String> {
        let named = || name_of_folder(&self.folder.to_string_lossy());
        self.project.clone().map_or_else(named, Ok)
    }

    /// Whether the project is noted in the folder.
    pub fn is_noted(&self) -> bool {
        matches!(self.by, By::Sync | By::Init)
    }

    /// Whether the folder belongs to its project even where that is there already.
    pub fn is_sure(&self) -> bool {
        match self.by {
            By::Sync => true,
            By::Init | By::Name => !self.has_tasks,
            By::LikeName => false,
        }
    }

    /// Why the folder is not taken for the one of `project`, which is there already.
    pub fn doubt(&self, project: &str) -> Fault {
        let folder = self.folder.display();
        let what = match self.has_tasks {
            true => format!("`{folder}` has tasks of its own, and was never synced with the project `{project}`"),
            false => {
                format!("`{folder}` was never synced with the project `{project}`, which other folders' names fit too")
            }
        };
        Fault::new(Code::Conflict, what).hint(format!(
            "if they belong together, say so in that folder by `tmctl tasks sync --project {project}`; else give it a \
             project of its own by `tmctl init --name NAME`"
        ))
    }
}

/// What a sync or `tmctl init` noted.
fn noted(folder: &Path) -> Result<Option<(String, By)>> {
    if let Some(Synced { project, tasks_json, .. }) = Synced::read(folder)? {
        let by = if tasks_json.is_empty() { By::Init } else { By::Sync };
        return Ok(Some((project, by)));
    }
    let config: Option<Value> =
        read(&folder.join(".taskmaster/config.json"), "mend it, or name the project with --project")?;
    let name = config.as_ref().and_then(|config| config["global"]["projectName"].as_str());
    let name = name.filter(|name| !NAMES_OF_NOBODY.contains(name) && check_project(name).is_ok());
    Ok(name.map(|name| (name.to_owned(), By::Init)))
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path, hint: &str) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let read = serde_json::from_slice(&file::read(path)?);
    read.map(Some).map_err(|error| {
        Fault::invalid(format!("could not read `{}`", path.display())).because(error).hint(hint.to_owned())
    })
}

fn called(real: &Path) -> (Option<String>, By) {
    let name = name_of_folder(&real.to_string_lossy()).ok();
    let is_exact = real.file_name().and_then(|last| last.to_str()) == name.as_deref();
    (name, if is_exact { By::Name } else { By::LikeName })
}

fn has_tasks(folder: &Path) -> Result<bool> {
    let path = Layout::new(folder).tasks();
    if !path.exists() {
        return Ok(false);
    }
    Ok(read_file(&path)?.file.tags().iter().any(|tag| !tag.tasks().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn says(folder: &Path) -> (Option<String>, By, bool) {
        let home = Home::of(folder).unwrap();
        let is_sure = home.is_sure();
        (home.project, home.by, is_sure)
    }

    #[test]
    fn a_folder_belongs_to_what_it_was_synced_with_then_to_what_init_noted_then_to_what_it_is_called() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("shed");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(says(&folder), (Some("shed".into()), By::Name, true));
        put(&folder, ".taskmaster/config.json", r#"{"global":{"projectName":"Task Master"}}"#);
        assert_eq!(says(&folder), (Some("shed".into()), By::Name, true));
        put(&folder, ".taskmaster/config.json", r#"{"global":{"projectName":"garden"}}"#);
        assert_eq!(says(&folder), (Some("garden".into()), By::Init, true));
        put(&folder, ".taskmaster/tasks/tasks.json", r#"{"master":{"tasks":[{"id":1,"title":"dig"}]}}"#);
        assert_eq!(says(&folder), (Some("garden".into()), By::Init, false));
        put(&folder, ".taskmaster/.tm-sync.json", r#"{"at":"","project":"nas","tasks_json":""}"#);
        assert_eq!(says(&folder), (Some("nas".into()), By::Init, false));
        put(&folder, ".taskmaster/.tm-sync.json", r#"{"at":"","project":"nas","tasks_json":"{}"}"#);
        assert_eq!(says(&folder), (Some("nas".into()), By::Sync, true));
    }

    #[test]
    fn folders_whose_names_fall_together_are_not_taken_for_each_other() {
        let home = tempfile::tempdir().unwrap();
        for name in ["My Projekt ü", "My Projekt ö"] {
            let folder = home.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            assert_eq!(says(&folder), (Some("My-Projekt--".into()), By::LikeName, false));
        }
    }
}
