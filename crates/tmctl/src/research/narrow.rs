//! Which documents a question is about, and what it is asked for: the options that search, ask and loop have in common.

use std::path::PathBuf;

use base::{Code, Fault, Result, time};
use proto::planning::{Filter as TaskFilter, ListTasksRequest, Place, Task};
use proto::research::Filter;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::file;

/// Which documents; what is left out lets all pass.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Narrow {
    /// Only with this category; several times for any of several
    #[arg(long, value_name = "WORD")]
    pub category: Vec<String>,
    /// Only with this tag; several times for all of several
    #[arg(long, value_name = "WORD")]
    pub tag: Vec<String>,
    /// Only whose source holds this, such as a part of a path
    #[arg(long, value_name = "PART")]
    pub path: Option<String>,
    /// Only in this language, such as en; several times for any of several
    #[arg(long, value_name = "CODE")]
    pub language: Vec<String>,
    /// Only written on or after this day, as 2026-01-31 or with a time as RFC 3339 has it
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub from: Option<u64>,
    /// Only written before this day
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub until: Option<u64>,
}

impl Narrow {
    /// As a request has it.
    pub fn filter(self, collections: Vec<String>) -> Filter {
        Filter {
            collections,
            categories: self.category,
            tags: self.tag,
            path: self.path.unwrap_or_default(),
            languages: self.language,
            from_ms: self.from,
            until_ms: self.until,
            documents: Vec::new(),
        }
    }
}

/// Where a question looks.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Where {
    /// Only in this collection; several times for several, all when left out
    #[arg(long, value_name = "NAME")]
    collection: Vec<String>,
    #[command(flatten)]
    narrow: Narrow,
}

impl Where {
    /// As a request has it.
    pub fn filter(self) -> Option<Filter> {
        Some(self.narrow.filter(self.collection))
    }
}

/// What a question is asked for; it helps to find, and is never cited.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Context {
    /// What it is asked for, in words
    #[arg(long, value_name = "TEXT")]
    context: Option<String>,
    /// The same out of a file; - is stdin
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,
    /// The same out of a task, with its details and notes
    #[arg(long, value_name = "PROJECT/ID")]
    task: Option<String>,
}

impl Context {
    /// All of it as one text.
    pub async fn text(self, servers: &Servers) -> Result<String> {
        let mut parts: Vec<String> = self.context.into_iter().collect();
        if let Some(path) = &self.context_file {
            parts.push(file::read_text(path)?);
        }
        if let Some(named) = &self.task {
            parts.push(markdown(&task(servers, named).await?));
        }
        Ok(parts.join("\n\n"))
    }
}

/// Reads a day, or a point in time, as Unix milliseconds.
fn day(text: &str) -> Result<u64, String> {
    let seconds = || u64::try_from(time::unix_s(text)?).ok();
    let read = time::day_ms(text).or_else(|| seconds()?.checked_mul(1000));
    read.ok_or_else(|| "write it as 2026-01-31, or as 2026-01-31T12:00:00Z".to_owned())
}

/// The task that `PROJECT/ID` names, or `PROJECT/TAG/ID`.
pub async fn task(servers: &Servers, named: &str) -> Result<Task> {
    let wrong = || {
        Fault::invalid(format!("`{named}` names no task"))
            .hint("write it with its project, as PROJECT/ID, such as garden/3.1")
    };
    let parts: Vec<&str> = named.split('/').collect();
    let (project, tag, id) = match parts.as_slice() {
        [project, id] => (*project, "", *id),
        [project, tag, id] => (*project, *tag, *id),
        _ => return Err(wrong()),
    };
    let place = Place { project: project.to_owned(), tag: tag.to_owned() };
    let filter = TaskFilter { ids: vec![id.to_owned()], ..TaskFilter::default() };
    let request = ListTasksRequest { place: Some(place), filter: Some(filter), ..ListTasksRequest::default() };
    let found = call(CALL_LIMIT, servers.connect().await?.planning().list_tasks(request)).await?;
    let missing = || Fault::new(Code::NotFound, format!("there is no task `{named}`")).hint("`tmctl tasks` lists them");
    let mut open: Vec<Task> = found.tasks;
    while let Some(task) = open.pop() {
        if task.id == id {
            return Ok(task);
        }
        open.extend(task.subtasks);
    }
    Err(missing())
}

/// A task as a document.
pub fn markdown(task: &Task) -> String {
    let mut text = format!("# {}\n\n{}\n", task.title, task.description);
    for (heading, part) in [("Details", &task.details), ("Test strategy", &task.test_strategy)] {
        if !part.trim().is_empty() {
            text.push_str(&format!("\n## {heading}\n\n{part}\n"));
        }
    }
    for sub in &task.subtasks {
        text.push_str(&format!("\n## {} {}\n\n{}\n{}\n", sub.id, sub.title, sub.description, sub.details));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_and_a_day_that_does_not_exist_is_not() {
        assert_eq!(day("2026-11-20").unwrap(), 1_795_132_800_000);
        assert_eq!(day("2026-11-20T01:00:00+01:00").unwrap(), 1_795_132_800_000);
        for wrong in ["", "yesterday", "2026-04-31", "2026-13-01", "1969-12-31", "20.11.2026"] {
            assert!(day(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_task_becomes_a_document_with_what_was_noted_in_it() {
        let sub = Task { id: "3.1".into(), title: "mulch".into(), description: "two bags".into(), ..Task::default() };
        let task = Task {
            title: "plant".into(),
            description: "the beds".into(),
            details: "<info added on Monday>frost</info>".into(),
            subtasks: vec![sub],
            ..Task::default()
        };
        insta::assert_snapshot!("task_as_document", markdown(&task));
    }
}
