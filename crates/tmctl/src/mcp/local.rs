//! What only the editor's machine can do for a call: read a document of the project, write files into its folder.
//!
//! An agent names the folder and the path, so both are looked at: nothing outside of the folder is read or written, not
//! by `..`, not by an absolute path, not by a link.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use base::{Code, Fault, Result};
use planner::projects::name_of_folder;
use serde_json::{Value, json};

use crate::file;
use crate::folder::home::Home;
use crate::tasks::draw;

/// More than any document has that tasks are made of.
const MAX_PRD_BYTES: u64 = 16 << 20;
/// Where files go when nobody says.
const FILES: &str = ".taskmaster/tasks";
/// Looks at what a job did in the meantime, which is a change for the folder.
const JOB_STATUS: &str = "job_status";
/// Makes a project: one that is there already is not what is wanted.
const INITIALIZE: &str = "initialize_project";

/// Which folders may be used.
pub(super) struct Roots {
    /// The only one, with what is in it.
    only: Option<PathBuf>,
}

/// What is to be done here once a call has worked.
#[derive(Debug, Default, PartialEq)]
pub(super) struct After {
    /// The folder whose tasks.json is kept in step.
    pub(super) syncs: Option<PathBuf>,
    /// With which project.
    pub(super) project: String,
    /// Where the files of the answer go.
    pub(super) writes: Option<Target>,
    /// The folder, where nothing but its name says that the project is its: it may be, if it is not there yet.
    pub(super) doubts: Option<Home>,
    /// What else the agent is told.
    pub(super) note: Option<String>,
}

/// A folder below a project's.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    root: PathBuf,
    path: PathBuf,
}

impl Roots {
    pub(super) fn new(only: Option<PathBuf>) -> Result<Self> {
        Ok(Self { only: only.map(|dir| real(&dir)).transpose()? })
    }

    /// Puts into a call what only this machine has, and says what is to be done after it.
    pub(super) fn prepare(&self, message: &mut Value, reads: &HashSet<String>) -> Result<After> {
        let name = message["params"]["name"].as_str().unwrap_or_default().to_owned();
        if !message["params"]["arguments"].is_object() {
            message["params"]["arguments"] = json!({});
        }
        let arguments = &mut message["params"]["arguments"];
        let text =
            |arguments: &Value, name: &str| arguments[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let Some(root) = self.root(text(arguments, "projectRoot"))? else { return Ok(After::default()) };
        arguments["projectRoot"] = json!(root);
        let home = Home::of(&root)?;
        let is_first = name == INITIALIZE;
        let first =
            text(arguments, "projectName").filter(|_| is_first).map(|named| name_of_folder(&named)).transpose()?;
        let named = first.or_else(|| text(arguments, "project"));
        let is_chosen = named.is_some() && !is_first;
        let project = named.map_or_else(|| home.name(), Ok)?;
        arguments["project"] = json!(project);
        if name == "parse_prd"
            && text(arguments, "prdText").is_none()
            && let Some(input) = text(arguments, "input")
        {
            arguments["prdText"] = json!(read_prd(&root, &input)?);
        }
        let mut after = After { project, ..After::default() };
        if name == "generate" {
            let path = PathBuf::from(text(arguments, "output").unwrap_or_else(|| FILES.to_owned()));
            after.writes = Some(Target { root: root.clone(), path });
        }
        let is_own = !home.is_noted() || home.project.as_ref() == Some(&after.project);
        after.syncs = (is_own && (name == JOB_STATUS || !reads.contains(&name))).then_some(root);
        if !home.is_sure() && !is_chosen {
            after.doubts = Some(home);
        } else if home.has_tasks && after.syncs.take().is_some() {
            // The agent chose the project; that the folder's own tasks go there is for its owner to say.
            let fault = home.doubt(&after.project);
            after.note =
                Some(format!("tasks.json was left alone: {}; {}", fault.message, fault.hint.unwrap_or_default()));
        }
        Ok(after)
    }

    /// The folder of a call: the one that it names, if it may, else the only one there is.
    fn root(&self, named: Option<String>) -> Result<Option<PathBuf>> {
        let Some(named) = named else { return Ok(self.only.clone()) };
        let root = real(Path::new(named.strip_prefix("file://").unwrap_or(&named)))?;
        match &self.only {
            Some(only) if !root.starts_with(only) => {
                let what = format!("`{}` is outside of `{}`", root.display(), only.display());
                Err(Fault::new(Code::PermissionDenied, what).hint("this bridge was started for that folder (--dir)"))
            }
            _ => Ok(Some(root)),
        }
    }
}

/// The folder itself, behind any links.
fn real(dir: &Path) -> Result<PathBuf> {
    let real = fs::canonicalize(dir).and_then(|real| match real.is_dir() {
        true => Ok(real),
        false => Err(std::io::ErrorKind::NotADirectory.into()),
    });
    real.map_err(|error| {
        let what = format!("could not use the folder `{}`", dir.display());
        Fault::new(Code::NotFound, what).because(error).hint("give the whole path of the project's folder")
    })
}

fn read_prd(root: &Path, input: &str) -> Result<String> {
    let named = root.join(input);
    let could_not = |error| {
        let what = format!("could not read `{}`", named.display());
        Fault::new(Code::NotFound, what).because(error).hint("give the path of a document in the project's folder")
    };
    let path = fs::canonicalize(&named).map_err(could_not)?;
    if !path.starts_with(root) {
        let what = format!("`{}` leads out of the project's folder `{}`", input.escape_debug(), root.display());
        return Err(Fault::new(Code::PermissionDenied, what).hint("copy the document into the project's folder"));
    }
    // Asked before it is opened: opening a pipe would wait for its other end.
    if !fs::metadata(&path).map_err(could_not)?.is_file() {
        return Err(Fault::invalid(format!("`{}` is no plain file", path.display())).hint("name a document"));
    }
    let mut bytes = Vec::new();
    fs::File::open(&path).and_then(|file| file.take(MAX_PRD_BYTES + 1).read_to_end(&mut bytes)).map_err(could_not)?;
    if bytes.len() as u64 > MAX_PRD_BYTES {
        let what = format!("`{}` is larger than 16 MiB", path.display());
        return Err(Fault::new(Code::TooLarge, what).hint("split it into several documents"));
    }
    planner::prd::decode(&bytes).map_err(|error| {
        let what = format!("could not read `{}`", path.display());
        Fault::invalid(what).because(error).hint("give a text, such as Markdown")
    })
}

/// Writes the files of an answer, and says instead of their texts where they are.
pub(super) fn write_files(target: &Target, answer: &mut Value) -> Result<()> {
    let Target { root, path } = target;
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let inside =
        if path.is_absolute() { path.strip_prefix(root).ok() } else { Some(path.as_path()).filter(|_| is_plain) };
    let out = || {
        let what = format!("`{}` leads out of the project's folder `{}`", path.display(), root.display());
        Fault::new(Code::PermissionDenied, what).hint("name a folder in it")
    };
    let inside = inside.filter(|path| !path.components().any(|part| part == Component::ParentDir)).ok_or_else(out)?;
    let folder = made(root, inside)?.ok_or_else(out)?;
    let files = answer["result"]["structuredContent"]["data"]["files"].as_array().cloned().unwrap_or_default();
    let mut written = Vec::new();
    for one in &files {
        let (name, text) = (one["name"].as_str().unwrap_or_default(), one["text"].as_str().unwrap_or_default());
        let path = draw::inside(&folder, name)?;
        file::write_drawn(&path, text)?;
        written.push(json!(path));
    }
    answer["result"]["structuredContent"]["data"] = json!({ "files": written });
    say_again(answer);
    Ok(())
}

/// The folder, made where it is missing; `None` when a link on the way leads out.
fn made(root: &Path, inside: &Path) -> Result<Option<PathBuf>> {
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
            return Ok(None);
        }
    }
    Ok(Some(folder))
}

/// Makes the text of a result say what its structure says.
pub(super) fn say_again(answer: &mut Value) {
    let text = answer["result"]["structuredContent"].to_string();
    answer["result"]["content"] = json!([{ "type": "text", "text": text }]);
}
