//! `tmctl rules`: tells the agents of editors, in the files that they read, how to work with a project's tasks.
//!
//! Our text stands between two marks. Whatever else is in such a file is its owner's, and stays.

mod profile;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use crate::editor;
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::section::Marks;
use crate::table::Table;
use crate::text::visible;
use profile::Profile;

const MARKS: Marks = Marks { begin: "<!-- taskmaster: begin -->", end: "<!-- taskmaster: end -->" };
const TEXT: &str = include_str!("rules/text.md");

/// The folder and the verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project's folder
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What can be done with rules.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows the agents that are known, their files, and which of these have rules
    List,
    /// Writes them, or brings them up to date
    Add {
        /// For which agents
        #[arg(required = true, value_delimiter = ',', value_enum)]
        agents: Vec<Profile>,
    },
    /// Takes them out again
    Remove {
        /// For which agents; others may read the same file
        #[arg(required = true, value_delimiter = ',', value_enum)]
        agents: Vec<Profile>,
    },
}

/// What becomes of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Rules are in them.
    Add,
    /// None are.
    Remove,
}

/// A file, and whether it is another one now.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Below the project's folder.
    pub file: &'static str,
    /// Whether anything in it is different.
    pub is_changed: bool,
}

/// Runs the verb.
pub fn run(screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    let (action, agents) = match args.verb.unwrap_or(Verb::List) {
        Verb::List => {
            let known = known(&args.dir)?;
            screen.show(|style| table(&known, style), &Listed { items: &known })?;
            return Ok(Verdict::Done);
        }
        Verb::Add { agents } => (Action::Add, agents),
        Verb::Remove { agents } => (Action::Remove, agents),
    };
    let changed = apply(&args.dir, &agents, action)?;
    screen.show(|_| told(&changed, action), &Listed { items: &changed })?;
    Ok(Verdict::Done)
}

/// The same for agents that go by names; a name that nobody has is refused before anything is done.
pub fn apply_to(folder: &Path, names: &[String], action: Action) -> Result<Vec<Changed>> {
    let profile = |name: &String| {
        Profile::from_str(name, true).map_err(|_| {
            let known: Vec<_> = Profile::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect();
            let known: Vec<&str> = known.iter().map(clap::builder::PossibleValue::get_name).collect();
            Fault::invalid(format!("the file of `{}` is not known", name.escape_debug()))
                .hint(format!("known are {}", known.join(", ")))
        })
    };
    apply(folder, &names.iter().map(profile).collect::<Result<Vec<_>>>()?, action)
}

fn apply(folder: &Path, agents: &[Profile], action: Action) -> Result<Vec<Changed>> {
    let mut seen = BTreeSet::new();
    let mut changed = Vec::new();
    for agent in agents {
        let file = agent.file(folder);
        let path = place(folder, file)?;
        if !seen.insert(path.clone()) {
            continue;
        }
        let before = editor::read(&path)?;
        let after = match action {
            Action::Add => Some(with(before.as_deref().unwrap_or_default(), agent.head())),
            Action::Remove => before.as_deref().map(|text| without(text, agent.head())),
        };
        let is_changed = after != before;
        match after {
            Some(text) if is_changed && text.is_empty() => remove(&path)?,
            Some(text) if is_changed => editor::write(&path, &text)?,
            _ => {}
        }
        changed.push(Changed { file, is_changed });
    }
    Ok(changed)
}

/// Where a file of the folder really lies: behind links, which stay, and nowhere else than in the folder.
fn place(folder: &Path, file: &str) -> Result<PathBuf> {
    let could_not = |error| {
        let what = format!("could not use the folder `{}`", folder.display());
        Fault::invalid(what).because(error).hint("name the project's folder with --dir")
    };
    let root = fs::canonicalize(folder).map_err(could_not)?;
    let path = root.join(file);
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(&root);
    let real = fs::canonicalize(there).map_err(could_not)?;
    if !real.starts_with(&root) {
        let what = format!("`{}` leads out of `{}`", there.display(), root.display());
        return Err(Fault::new(Code::PermissionDenied, what).hint("replace the link by a file or folder"));
    }
    Ok(if there == path { real } else { path })
}

/// The text with our rules as they are today, in their old place or at its end.
fn with(before: &str, head: &str) -> String {
    let block = format!("{}\n{TEXT}{}\n", MARKS.begin, MARKS.end);
    match MARKS.replaced(before, &block) {
        Some(text) => text,
        None if before.trim().is_empty() => format!("{head}{block}"),
        None => format!("{}\n\n{block}", before.trim_end()),
    }
}

/// The text without our rules; nothing where there was nothing else.
fn without(before: &str, head: &str) -> String {
    match MARKS.without(before) {
        Some(rest) if rest.trim() == head.trim() => String::new(),
        Some(rest) => rest,
        None => before.to_owned(),
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| {
        let what = format!("could not remove `{}`", path.display());
        Fault::invalid(what).because(error).hint("look at the file and its rights")
    })
}

fn told(changed: &[Changed], action: Action) -> String {
    let done = if action == Action::Add { "rules are in" } else { "no rules are in" };
    let line = |Changed { file, is_changed }: &Changed| {
        format!("{done} {file}{}\n", if *is_changed { "" } else { ", as before" })
    };
    visible(&changed.iter().map(line).collect::<String>())
}

/// An agent and its file.
#[derive(Debug, Serialize)]
struct Known {
    agent: String,
    file: &'static str,
    has_rules: bool,
}

fn known(folder: &Path) -> Result<Vec<Known>> {
    let one = |agent: &Profile| {
        let file = agent.file(folder);
        let text = editor::read(&folder.join(file))?.unwrap_or_default();
        let name = agent.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        Ok(Known { agent: name, file, has_rules: MARKS.without(&text).is_some() })
    };
    Profile::value_variants().iter().map(one).collect()
}

fn table(known: &[Known], style: Style) -> String {
    let mut table = Table::new(["AGENT", "FILE", "RULES"]);
    for Known { agent, file, has_rules } in known {
        table.row([agent.as_str().into(), (*file).into(), if *has_rules { "yes" } else { "-" }.into()]);
    }
    table.render(style, "no agents")
}

#[derive(Serialize)]
struct Listed<'a, T> {
    items: &'a [T],
}

#[cfg(test)]
mod tests;
