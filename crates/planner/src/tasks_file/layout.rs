//! Where a project's files are: in `.taskmaster/`, or where old clients put them; how a folder gets the one from nothing
//! or from the other. Nothing is ever overwritten.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::disk::{FileError, unwritable};
use super::{MAIN_TAG, write};

/// The files of the project in a folder.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// How clients of the project reach a model.
#[derive(Clone, Debug)]
pub struct Roles {
    /// In which way they ask.
    pub provider: Provider,
    /// Where they ask, such as `http://127.0.0.1:3001/v1`.
    pub base_url: String,
    /// Which model, or the name of a role.
    pub model: String,
}

/// How Task Master calls a way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Sends the schema of the answer along, and needs no key.
    LmStudio,
    /// Describes the answer in words, and wants some key in its environment.
    OpenAiCompatible,
}

/// A file or folder that [`Layout::init`] cared for, relative to the project's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Which one.
    pub path: PathBuf,
    /// False when it was there, and was left alone.
    pub is_new: bool,
}

/// A file in an old place and its new one, both relative to the project's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where it is.
    pub from: PathBuf,
    /// Where it belongs.
    pub to: PathBuf,
    /// Whether something is there already, so that it stays where it is.
    pub is_blocked: bool,
}

const FOLDERS: [&str; 4] = ["tasks", "docs", "reports", "templates"];
const EXAMPLE_PRD: &str = include_str!("example_prd.md");

impl Layout {
    /// The layout of the project in the folder `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// tasks.json: the old one as long as there is no other.
    pub fn tasks(&self) -> PathBuf {
        let (new, old) = (self.inner("tasks/tasks.json"), self.root.join("tasks/tasks.json"));
        if !new.exists() && old.exists() { old } else { new }
    }

    /// The complexity report of a tag.
    pub fn complexity_report(&self, tag: &str) -> PathBuf {
        match tag {
            MAIN_TAG => self.inner("reports/task-complexity-report.json"),
            tag => self.inner(&format!("reports/task-complexity-report_{tag}.json")),
        }
    }

    /// Makes what is missing of the layout: folders, a config.json that sends every role to `roles` and nothing to
    /// anybody else, a state.json, an example of a PRD. `now` is RFC 3339.
    pub fn init(&self, project: &str, roles: &Roles, now: &str) -> Result<Vec<Made>, FileError> {
        let mut made = Vec::new();
        for folder in FOLDERS {
            let path = self.inner(folder);
            let is_new = !path.is_dir();
            fs::create_dir_all(&path).map_err(|error| FileError::io("create", &path, error))?;
            made.push(Made { path: self.relative(&path), is_new });
        }
        let state = write::pretty(&json!({"currentTag": MAIN_TAG, "lastSwitched": now}));
        let files = [
            ("config.json", config(project, roles)),
            ("state.json", state),
            ("templates/example_prd.md", Ok(EXAMPLE_PRD.to_owned())),
        ];
        for (name, text) in files {
            let path = self.inner(name);
            let text = text.map_err(|error| unwritable(&path, &error))?;
            let is_new = write_new(&path, &text)?;
            made.push(Made { path: self.relative(&path), is_new });
        }
        Ok(made)
    }

    /// What [`Layout::migrate`] would do: the files in old places, in the order of their names.
    pub fn moves(&self) -> Result<Vec<Move>, FileError> {
        let mut pairs = Vec::new();
        if self.root.join("tasks/tasks.json").is_file() {
            for name in self.files_in("tasks")? {
                if name == "tasks.json" || name.starts_with("task_") {
                    pairs.push((format!("tasks/{name}"), format!("tasks/{name}")));
                }
            }
        }
        for name in self.files_in("scripts")? {
            let plain = name.to_ascii_lowercase();
            let folder = match () {
                () if plain.starts_with("task-complexity-report") && plain.ends_with(".json") => "reports",
                () if plain.starts_with("example_prd") => "templates",
                () if plain.contains("prd") && (plain.ends_with(".txt") || plain.ends_with(".md")) => "docs",
                () => continue,
            };
            pairs.push((format!("scripts/{name}"), format!("{folder}/{name}")));
        }
        if self.root.join(".taskmasterconfig").is_file() {
            pairs.push((".taskmasterconfig".to_owned(), "config.json".to_owned()));
        }
        let moved = |(from, to): (String, String)| {
            let is_blocked = fs::symlink_metadata(self.inner(&to)).is_ok();
            Move { from: from.into(), to: Path::new(".taskmaster").join(to), is_blocked }
        };
        Ok(pairs.into_iter().map(moved).collect())
    }

    /// Carries out what [`Layout::moves`] said, but for what is blocked. What was moved before an error stays moved.
    pub fn migrate(&self, moves: &[Move]) -> Result<(), FileError> {
        for Move { from, to, .. } in moves.iter().filter(|step| !step.is_blocked) {
            let (from, to) = (self.root.join(from), self.root.join(to));
            let folder = to.parent().unwrap_or(&self.root);
            fs::create_dir_all(folder).map_err(|error| FileError::io("create", folder, error))?;
            if fs::symlink_metadata(&to).is_ok() {
                return Err(FileError::io("replace", &to, ErrorKind::AlreadyExists.into()));
            }
            fs::rename(&from, &to).map_err(|error| FileError::io("move", &from, error))?;
        }
        Ok(())
    }

    fn inner(&self, name: &str) -> PathBuf {
        self.root.join(".taskmaster").join(name)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }

    /// The names of the plain files in a folder, in order; none if it is not there.
    fn files_in(&self, folder: &str) -> Result<Vec<String>, FileError> {
        let path = self.root.join(folder);
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    names.extend(entry.file_name().into_string());
                }
            }
            names.sort();
            Ok(names)
        };
        match list() {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
            names => names.map_err(|error| FileError::io("list", &path, error)),
        }
    }
}

fn config(project: &str, roles: &Roles) -> serde_json::Result<String> {
    let provider = match roles.provider {
        Provider::LmStudio => "lmstudio",
        Provider::OpenAiCompatible => "openai-compatible",
    };
    let role = json!({
        "provider": provider, "modelId": roles.model, "maxTokens": 16_000, "temperature": 0.2, "baseURL": roles.base_url,
    });
    write::pretty(&json!({
        "models": { "main": role, "research": role, "fallback": role },
        "global": {
            "logLevel": "info", "debug": false, "defaultNumTasks": 10, "defaultSubtasks": 5,
            "defaultPriority": "medium", "projectName": project, "responseLanguage": "English",
            "enableCodebaseAnalysis": true, "enableProxy": false, "anonymousTelemetry": false,
        },
    }))
}

/// Writes a file that is not there; answers whether it was not.
fn write_new(path: &Path, text: &str) -> Result<bool, FileError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(FileError::io("write", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-31T12:00:00Z";

    fn roles() -> Roles {
        let base_url = "http://127.0.0.1:3001/v1".to_owned();
        Roles { provider: Provider::LmStudio, base_url, model: "main".to_owned() }
    }

    fn put(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }

    #[test]
    fn a_new_project_sends_every_role_home_and_nothing_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let made = layout.init("greenhouse", &roles(), NOW).unwrap();
        assert!(made.iter().all(|made| made.is_new), "{made:?}");
        let read = |name: &str| -> serde_json::Value {
            serde_json::from_slice(&fs::read(layout.inner(name)).unwrap()).unwrap()
        };
        let config = read("config.json");
        assert_eq!(config["global"]["anonymousTelemetry"], false);
        for role in ["main", "research", "fallback"] {
            assert_eq!(config["models"][role]["provider"], "lmstudio");
            assert_eq!(config["models"][role]["baseURL"], "http://127.0.0.1:3001/v1");
        }
        assert_eq!(read("state.json")["currentTag"], "master");
        assert!(layout.inner("docs").is_dir());
    }

    #[test]
    fn a_second_init_leaves_everything_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), ".taskmaster/config.json");
        let layout = Layout::new(folder.path());
        layout.init("greenhouse", &roles(), NOW).unwrap();
        assert_eq!(fs::read_to_string(layout.inner("config.json")).unwrap(), ".taskmaster/config.json");
        assert!(layout.init("greenhouse", &roles(), NOW).unwrap().iter().all(|made| !made.is_new));
    }

    #[test]
    fn an_old_project_is_found_and_moved_without_overwriting() {
        let folder = tempfile::tempdir().unwrap();
        let old = [
            ".taskmasterconfig",
            "scripts/build.sh",
            "scripts/example_prd.txt",
            "scripts/prd.txt",
            "scripts/task-complexity-report.json",
            "tasks/task_001.txt",
            "tasks/tasks.json",
            "tasks/unrelated.yml",
        ];
        old.iter().for_each(|name| put(folder.path(), name));
        put(folder.path(), ".taskmaster/docs/prd.txt");
        let layout = Layout::new(folder.path());
        assert!(
            layout.tasks().ends_with("tasks/tasks.json") && !layout.tasks().ends_with(".taskmaster/tasks/tasks.json")
        );
        let moves = layout.moves().unwrap();
        let shown: Vec<_> = moves
            .iter()
            .map(|step| format!("{} -> {} {}", step.from.display(), step.to.display(), step.is_blocked))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        tasks/task_001.txt -> .taskmaster/tasks/task_001.txt false
        tasks/tasks.json -> .taskmaster/tasks/tasks.json false
        scripts/example_prd.txt -> .taskmaster/templates/example_prd.txt false
        scripts/prd.txt -> .taskmaster/docs/prd.txt true
        scripts/task-complexity-report.json -> .taskmaster/reports/task-complexity-report.json false
        .taskmasterconfig -> .taskmaster/config.json false
        ");
        layout.migrate(&moves).unwrap();
        assert!(layout.tasks().ends_with(".taskmaster/tasks/tasks.json"));
        assert_eq!(fs::read_to_string(layout.tasks()).unwrap(), "tasks/tasks.json");
        assert_eq!(fs::read_to_string(layout.inner("docs/prd.txt")).unwrap(), ".taskmaster/docs/prd.txt");
        for stays in ["scripts/prd.txt", "scripts/build.sh", "tasks/unrelated.yml"] {
            assert!(folder.path().join(stays).exists(), "{stays}");
        }
        assert!(layout.moves().unwrap().iter().all(|step| step.is_blocked));
    }
}
