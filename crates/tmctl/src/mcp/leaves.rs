//! What the answer of a call leaves in the project's folder beside tasks.json: the layout, a file for each task, the
//! complexity report, the answer to a question.
//!
//! An agent names some of the places, so nothing is written outside of the folder: not by `..`, not by an absolute path,
//! not by a link.

use std::fs;
use std::path::{Component, Path, PathBuf};

use base::{Code, Fault, Result, time};
use planner::tasks_file::Layout;
use proto::planning::planning_client::PlanningClient;
use proto::planning::{Place, RenderRequest, Rendering};
use serde_json::{Value, json};

use super::folder::stays_inside;
use super::local::{Beside, INITIALIZE, JOB_STATUS, is_set, text};
use crate::client::{CALL_LIMIT, Keyed, Servers, call};
use crate::tasks::draw;
use crate::{file, folder};

/// Where files of tasks go when nobody says.
const FILES: &str = ".taskmaster/tasks";
/// Where answers to questions go.
const RESEARCH: &str = ".taskmaster/docs/research";
/// Of a question in the name of a file, in letters.
const MOST_SLUG: usize = 50;

/// What becomes of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Leaves {
    /// The layout of a project.
    Layout,
    /// A file for each task.
    Tasks {
        /// Into this folder.
        to: PathBuf,
    },
    /// The complexity report, once an analysis is done.
    Report {
        /// Into this file, instead of the tag's own.
        to: Option<PathBuf>,
    },
    /// The answer to a question.
    Research {
        /// What was asked.
        question: String,
    },
}

impl Leaves {
    /// What a tool leaves, by its arguments.
    pub(super) fn of(tool: &str, arguments: &Value) -> Option<Self> {
        let output = text(arguments, "output").map(PathBuf::from);
        match tool {
            INITIALIZE => Some(Self::Layout),
            "generate" => Some(Self::Tasks { to: output.unwrap_or_else(|| FILES.into()) }),
            "analyze_project_complexity" => Some(Self::Report { to: output }),
            JOB_STATUS => Some(Self::Report { to: None }),
            "research" if is_set(&arguments["saveToFile"]) => {
                Some(Self::Research { question: text(arguments, "query").unwrap_or_default() })
            }
            _ => None,
        }
    }
}

/// Writes what an answer leaves, and says in it where that is.
pub(super) async fn write(
    servers: &Servers,
    planning: &mut PlanningClient<Keyed>,
    beside: &Beside,
    answer: &mut Value,
) -> Result<()> {
    let (Some(root), Some(leaves)) = (&beside.root, &beside.leaves) else { return Ok(()) };
    let Some(said) = answer["result"].get_mut("structuredContent") else { return Ok(()) };
    match leaves {
        Leaves::Layout => {
            stays_inside(root)?;
            let made = folder::lay_out(servers, root, &beside.project)?;
            let new = made.iter().filter(|made| made.is_new).map(|made| &made.path);
            put(said, "made", new.map(|path| json!(path)).collect());
        }
        Leaves::Tasks { to } => write_tasks(root, to, said)?,
        Leaves::Report { to } => {
            if let Some(tag) = analysed(said, &beside.project) {
                let place = Some(Place { project: beside.project.clone(), tag: tag.clone() });
                let request = RenderRequest { place, rendering: Rendering::Complexity.into() };
                let files = call(CALL_LIMIT, planning.render(request)).await?.files;
                let report = files.first().map(|file| file.text.as_str()).unwrap_or_default();
                let named = to.clone().unwrap_or_else(|| Layout::new("").complexity_report(&tag));
                put(said, "report", json!(write_one(root, &named, report)?));
            }
        }
        Leaves::Research { question } => {
            let result = said["data"]["result"].as_str().unwrap_or_default();
            let (text, named) = (format!("# {question}\n\n{result}"), Path::new(RESEARCH).join(name_of(question)));
            put(said, "savedToFile", json!(write_one(root, &named, &text)?));
        }
    }
    Ok(())
}

/// The tag whose tasks a job has analysed, when it has done so for the folder's project.
fn analysed(said: &Value, project: &str) -> Option<String> {
    let data = &said["data"];
    let is_it = data["work"] == "analyze" && data["state"] == "done" && data["project"] == project;
    data["tag"].as_str().filter(|_| is_it).map(str::to_owned)
}

/// Writes the files of an answer, and says instead of their texts where they are.
fn write_tasks(root: &Path, to: &Path, said: &mut Value) -> Result<()> {
    let folder = within(root, to)?;
    let files = said["data"]["files"].as_array().cloned().unwrap_or_default();
    let mut written = Vec::new();
    for one in &files {
        let (name, text) = (one["name"].as_str().unwrap_or_default(), one["text"].as_str().unwrap_or_default());
        let path = draw::inside(&folder, name)?;
        file::write_drawn(&path, text)?;
        written.push(json!(path));
    }
    put(said, "files", json!(written));
    Ok(())
}

/// Adds to the data of an answer, or replaces what is there.
fn put(said: &mut Value, name: &str, value: Value) {
    if let Some(data) = said.get_mut("data").and_then(Value::as_object_mut) {
        data.insert(name.to_owned(), value);
    }
}

/// Writes a file, given by its path from the project's folder on.
fn write_one(root: &Path, named: &Path, text: &str) -> Result<PathBuf> {
    let name = named.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let path = draw::inside(&within(root, named.parent().unwrap_or(Path::new("")))?, name)?;
    file::write(&path, text.as_bytes())?;
    Ok(path)
}

/// A question as the name of a file, with the day before it.
fn name_of(question: &str) -> String {
    let letters =
        question.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect::<String>().to_lowercase();
    let slug: String = letters.split_whitespace().collect::<Vec<_>>().join("-").chars().take(MOST_SLUG).collect();
    let now = time::rfc3339(time::unix_ms());
    let day = now.get(..10).unwrap_or_default();
    format!("{day}_{}.md", if slug.is_empty() { "question" } else { slug.trim_end_matches('-') })
}

/// A folder below the project's, made where it is missing.
fn within(root: &Path, path: &Path) -> Result<PathBuf> {
    let out = || {
        let what = format!("`{}` leads out of the project's folder `{}`", path.display(), root.display());
        Fault::new(Code::PermissionDenied, what).hint("name a folder in it")
    };
    let inside = if path.is_absolute() { path.strip_prefix(root).map_err(|_| out())? } else { path };
    if !inside.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(out());
    }
    let mut folder = root.to_owned();
    for part in inside.components() {
        folder.push(part);
        let could_not = |error| {
            Fault::invalid(format!("could not make `{}`", folder.display())).because(error).hint("look at its rights")
        };
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(could_not(error)),
            _ => {}
        }
        if !fs::canonicalize(&folder).map_err(could_not)?.starts_with(root) {
            return Err(out());
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A project's folder beside which nothing may be written, with a link that leads there.
    fn garden() -> (tempfile::TempDir, PathBuf) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().canonicalize().unwrap().join("garden");
        fs::create_dir(&root).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        (outside, root)
    }

    #[test]
    fn files_of_tasks_are_written_into_the_project_and_nowhere_else() {
        let (outside, root) = garden();
        let write = |output: &str, name: &str| {
            let mut said = json!({ "data": { "files": [{ "name": name, "text": "dig" }] } });
            let Some(Leaves::Tasks { to }) = Leaves::of("generate", &json!({ "output": output })) else { panic!() };
            write_tasks(&root, &to, &mut said).map(|()| said)
        };
        let written = write("notes/tasks", "task_001.md").unwrap();
        assert_eq!(fs::read_to_string(root.join("notes/tasks/task_001.md")).unwrap(), "dig");
        assert_eq!(written["data"]["files"], json!([root.join("notes/tasks/task_001.md")]));
        write("", "task_001.md").unwrap();
        assert!(root.join(".taskmaster/tasks/task_001.md").is_file());
        for (output, name) in
            [("..", "a.md"), ("out", "a.md"), ("/etc", "a.md"), ("notes", "../a.md"), ("notes", ".bashrc")]
        {
            assert!(write(output, name).is_err(), "{output} {name}");
        }
        assert!(!outside.path().join("a.md").exists());
    }

    #[test]
    fn a_single_file_is_written_into_the_project_and_nowhere_else() {
        let (outside, root) = garden();
        let written = write_one(&root, &Layout::new("").complexity_report("next"), "{}").unwrap();
        assert_eq!(written, root.join(".taskmaster/reports/task-complexity-report_next.json"));
        let inside = root.join("report.json");
        assert_eq!(write_one(&root, &inside, "{}").unwrap(), inside);
        for named in ["../report.json", "/etc/report.json", "out/report.json", "..", ""] {
            assert!(write_one(&root, Path::new(named), "{}").is_err(), "{named}");
        }
        assert!(!outside.path().join("report.json").exists());
    }

    #[test]
    fn a_report_is_that_of_a_finished_analysis_of_the_folders_project() {
        let job = |work: &str, state: &str, project: &str| json!({ "data": { "work": work, "state": state, "project": project, "tag": "next" } });
        assert_eq!(analysed(&job("analyze", "done", "garden"), "garden").as_deref(), Some("next"));
        for other in
            [job("expand", "done", "garden"), job("analyze", "running", "garden"), job("analyze", "done", "shed")]
        {
            assert_eq!(analysed(&other, "garden"), None, "{other}");
        }
    }

    #[test]
    fn a_question_becomes_a_name_that_any_disk_takes() {
        let named = |question: &str| name_of(question).split_once('_').unwrap().1.to_owned();
        assert_eq!(named("Which storage fits, and why?"), "which-storage-fits-and-why.md");
        assert_eq!(named("../../etc/passwd\0"), "etc-passwd.md");
        assert_eq!(named("?!"), "question.md");
        assert!(named(&"long ".repeat(100)).len() <= 60);
        assert!(Leaves::of("research", &json!({ "query": "why", "saveToFile": false })).is_none());
    }
}
