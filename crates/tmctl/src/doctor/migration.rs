//! `tmctl doctor --migration`: keys of clouds and addresses of clouds that a project, the environment and the files of
//! editors and shells still hold, and what to put there instead. A key is never shown whole.
//!
//! What a text holds is decided by `migration/rules.rs`, a function of values; which files are looked at is here.

mod rules;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base::Result;
use ignore::WalkBuilder;
use serde::Serialize;

use crate::file;
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::List;

pub use rules::{Finding, cloud_of};

/// Larger ones are data, not settings.
const MOST_BYTES: u64 = 1 << 20;
/// A project has no more files that people write.
const MOST_FILES: usize = 20_000;
const DEEPEST: usize = 16;
/// More than a person reads at once; the rest is counted.
const MOST_SHOWN: usize = 500;
/// What others wrote, or programs made.
const IGNORED: [&str; 16] = [
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    "target",
    ".venv",
    "venv",
    "__pycache__",
    ".tox",
    ".mypy_cache",
    ".cache",
    ".next",
    "dist",
    "vendor",
    ".direnv",
    ".terraform",
];
/// Of a person, below the home folder.
const OF_PERSON: [&str; 18] = [
    ".bashrc",
    ".bash_profile",
    ".profile",
    ".zshrc",
    ".zprofile",
    ".zshenv",
    ".config/fish/config.fish",
    ".config/environment.d",
    ".continue",
    ".config/zed/settings.json",
    ".cursor/mcp.json",
    ".config/Code/User/settings.json",
    ".config/Code/User/mcp.json",
    ".claude.json",
    ".claude/settings.json",
    ".codex/config.toml",
    ".aider.conf.yml",
    ".config/io.datasette.llm/keys.json",
];

/// Everything that was found, and what was not looked at.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// In the order of their places.
    pub findings: Vec<Finding>,
    /// Files that were read.
    pub files: usize,
    /// What was not, and why.
    pub left_out: Vec<String>,
}

/// Looks and tells; not well when something was found.
pub fn run(
    screen: &mut Screen,
    folder: &Path,
    home: Option<&Path>,
    variables: &[(String, String)],
) -> Result<Verdict, Ended> {
    let found = look(folder, home, variables)?;
    let is_clean = found.findings.is_empty();
    let (files, left_out) = (found.files, found.left_out);
    let list = List::of_now("this machine", found.findings);
    screen.show(|style| page(&list.items, files, &left_out, style), &list)?;
    Ok(if is_clean { Verdict::Done } else { Verdict::NotWell })
}

/// The folder, what a person's editors and shells read, and the environment.
pub fn look(folder: &Path, home: Option<&Path>, variables: &[(String, String)]) -> Result<Found> {
    std::fs::metadata(folder).map_err(|error| file::could_not("read", &folder.display().to_string(), error))?;
    let mut found = Found::default();
    found.findings.extend(rules::of_environment(variables));
    let of_person = home.into_iter().flat_map(|home| OF_PERSON.iter().map(|name| home.join(name)));
    for place in of_person.filter(|place| place.exists() && !place.starts_with(folder)) {
        walk(&place, &mut found);
    }
    walk(folder, &mut found);
    Ok(found)
}

/// A file, or what is in a folder. What git ignores is looked at too: keys lie there on purpose.
fn walk(place: &Path, found: &mut Found) {
    let mut walk = WalkBuilder::new(place);
    walk.standard_filters(false).follow_links(false).max_depth(Some(DEEPEST)).sort_by_file_name(Ord::cmp);
    walk.filter_entry(|entry| {
        let is_ignored = IGNORED.iter().any(|name| entry.file_name() == *name);
        entry.depth() == 0 || !(is_ignored && entry.file_type().is_some_and(|kind| kind.is_dir()))
    });
    for entry in walk.build() {
        match entry {
            Ok(entry) if !entry.file_type().is_some_and(|kind| kind.is_file()) => {}
            Ok(_) if found.files >= MOST_FILES => {
                found.left_out.push(format!("what comes after {MOST_FILES} files in {}", place.display()));
                return;
            }
            Ok(entry) => read(&entry.into_path(), found),
            Err(error) => found.left_out.push(error.to_string()),
        }
    }
}

fn read(path: &Path, found: &mut Found) {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => found.left_out.push(format!("{}: {error}", path.display())),
        Ok(_) if bytes.len() as u64 > MOST_BYTES => {
            found.left_out.push(format!("{}: larger than {} KiB", path.display(), MOST_BYTES >> 10));
        }
        // No text.
        Ok(_) if bytes.contains(&0) => {}
        Ok(_) => {
            found.files += 1;
            found.findings.extend(rules::of_text(path, &String::from_utf8_lossy(&bytes)));
        }
    }
}

fn page(findings: &[Finding], files: usize, left_out: &[String], style: Style) -> String {
    let mut table = Table::new(["PLACE", "WHAT", "FOUND"]);
    for finding in findings.iter().take(MOST_SHOWN) {
        table.row([finding.place().into(), Cell::new(finding.what.clone(), Tone::Odd), finding.shown.as_str().into()]);
        table.row(["".into(), "".into(), format!("instead: {}", finding.instead).into()]);
    }
    let mut text = table.render(style, "no key of a cloud and no address of one");
    if findings.len() > MOST_SHOWN {
        text.push_str(&format!("and {} more; --json lists them all\n", findings.len() - MOST_SHOWN));
    }
    for left in left_out {
        text.push_str(&format!("not looked at: {left}\n"));
    }
    text + &format!("looked through {files} files of this machine and its environment: {} to change\n", findings.len())
}

/// Where a person's settings are.
pub fn home(variables: &[(String, String)]) -> Option<PathBuf> {
    variables.iter().find(|(name, value)| name == "HOME" && !value.is_empty()).map(|(_, value)| PathBuf::from(value))
}

#[cfg(test)]
#[path = "migration/tests.rs"]
mod tests;
