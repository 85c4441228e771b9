//! What only the editor's machine can do for a call before it is sent: tell which folder and project it is about, and
//! read a document of the project.
//!
//! An agent names the folder and the path, so both are looked at: nothing outside of the folder is read, not by `..`, not
//! by an absolute path, not by a link.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};
use planner::projects::{name_of_folder, tag_of_branch};
use serde_json::{Value, json};

use super::folder;
use super::leaves::Leaves;
use crate::folder::home::Home;
use crate::git;
use crate::rules::{self, Action};

/// More than any document has that tasks are made of.
const MAX_PRD_BYTES: u64 = 16 << 20;
/// Concerns files of this machine alone.
pub(super) const RULES: &str = "rules";
/// Looks at what a job did in the meantime, which is a change for the folder.
pub(super) const JOB_STATUS: &str = "job_status";
/// Makes a project: one that is there already is not what is wanted.
pub(super) const INITIALIZE: &str = "initialize_project";

/// Which folders may be used.
pub(super) struct Roots {
    /// The only one, with what is in it.
    only: Option<PathBuf>,
}

/// What is to be done here beside the call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Beside {
    /// The folder that the call is about.
    pub(super) root: Option<PathBuf>,
    /// The project.
    pub(super) project: String,
    /// Whether the folder's tasks.json is kept in step with the project.
    pub(super) is_in_step: bool,
    /// Whether tasks may be others after the call.
    pub(super) is_change: bool,
    /// What becomes of the answer.
    pub(super) leaves: Option<Leaves>,
    /// The folder, where nothing but its name says that the project is its: it may be, if it is not there yet.
    pub(super) doubts: Option<Home>,
    /// What is to be told with the answer.
    pub(super) notes: Vec<String>,
}

impl Roots {
    pub(super) fn new(only: Option<PathBuf>) -> Result<Self> {
        Ok(Self { only: only.map(|dir| real(&dir)).transpose()? })
    }

    /// Puts into a call what only this machine has, and says what is to be done beside it.
    pub(super) fn prepare(&self, message: &mut Value, reads: &HashSet<String>) -> Result<Beside> {
        let name = message["params"]["name"].as_str().unwrap_or_default().to_owned();
        if !message["params"]["arguments"].is_object() {
            message["params"]["arguments"] = json!({});
        }
        let arguments = &mut message["params"]["arguments"];
        let Some(root) = self.root(text(arguments, "projectRoot"))? else { return Ok(Beside::default()) };
        arguments["projectRoot"] = json!(root);
        folder::stays_inside(&root)?;
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
        if name == "add_tag" && is_set(&arguments["fromBranch"]) {
            // Upstream's tool wants a name all the same, which says nothing then.
            arguments["name"] = json!(tag_of_branch(&git::branch(&root)?)?);
            arguments["fromBranch"] = json!(false);
        }
        let leaves = Leaves::of(&name, arguments);
        let is_change = name == JOB_STATUS || !reads.contains(&name);
        let is_in_step = !home.is_noted() || home.project.as_ref() == Some(&project);
        let mut beside = Beside { is_in_step, is_change, leaves, ..Beside::default() };
        if !home.is_sure() && !is_chosen {
            beside.doubts = Some(home);
        } else if home.has_tasks && is_in_step {
            // The agent chose the project; that the folder's own tasks go there is for its owner to say.
            beside.is_in_step = false;
            let fault = home.doubt(&project);
            let text = format!("tasks.json was left alone: {}; {}", fault.message, fault.hint.unwrap_or_default());
            beside.notes.extend(is_change.then_some(text));
        }
        Ok(Beside { root: Some(root), project, ..beside })
    }

    /// The tool `rules`, which needs no server.
    pub(super) fn rules(&self, arguments: &Value) -> Result<Value> {
        let action = match arguments["action"].as_str() {
            Some("add") => Action::Add,
            Some("remove") => Action::Remove,
            _ => return Err(Fault::invalid("argument `action` of `rules` is missing").hint("say `add` or `remove`")),
        };
        let names: Vec<String> = match &arguments["profiles"] {
            Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            names => names.as_str().unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect(),
        };
        let root = self.root(text(arguments, "projectRoot"))?.ok_or_else(|| {
            Fault::invalid("argument `projectRoot` of `rules` is missing").hint("give the whole path of the folder")
        })?;
        let changed = rules::apply_to(&root, &names, action)?;
        let files = changed.iter().map(|one| json!({ "file": one.file, "isChanged": one.is_changed }));
        Ok(json!({ "files": files.collect::<Vec<_>>() }))
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

/// An argument that is there and not empty.
pub(super) fn text(arguments: &Value, name: &str) -> Option<String> {
    arguments[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Whether a flag is set, as agents write that.
pub(super) fn is_set(flag: &Value) -> bool {
    *flag == true || *flag == "true"
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

/// Makes the text of a result say what its structure says.
pub(super) fn say_again(answer: &mut Value) {
    let text = answer["result"]["structuredContent"].to_string();
    answer["result"]["content"] = json!([{ "type": "text", "text": text }]);
}
