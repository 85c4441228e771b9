//! The tasks of a tag as texts for people and other programs.

use base::{Fault, Result};

use crate::projects::Snapshot;
use crate::tasks_file::{Analysis, ReportFacts, complexity_report};
use crate::{Complexity, graph, report};

/// What tasks can become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tree for a terminal.
    Tree,
    /// The dependencies as a picture.
    Svg,
    /// A report on progress, in Markdown.
    Report,
    /// A Markdown file for each task.
    Files,
    /// The list for a README.
    Readme,
    /// The complexity report, as JSON.
    Complexity,
}

/// The files of it, each with a name.
pub fn render(snapshot: &Snapshot, kind: Kind) -> Result<Vec<(String, String)>> {
    let tasks = &snapshot.tasks;
    let one = |name: &str, text: String| vec![(name.to_owned(), text)];
    Ok(match kind {
        Kind::Tree => one("tasks.txt", graph::tree(tasks)),
        Kind::Svg => one("tasks.svg", graph::svg(tasks)),
        Kind::Report => one("report.md", report::progress(&snapshot.project, tasks, &snapshot.about.draft_because)),
        Kind::Files => report::files(tasks),
        Kind::Readme => one("README.md", report::readme_block(tasks)),
        Kind::Complexity => one("task-complexity-report.json", complexity(snapshot)?),
    })
}

fn complexity(snapshot: &Snapshot) -> Result<String> {
    let analysis = |(task, found): (crate::TaskId, &crate::Task)| {
        let complexity = found.complexity.clone()?;
        Some(Analysis { task, title: found.title.clone(), complexity })
    };
    let facts = ReportFacts {
        generated_at: &base::time::rfc3339(snapshot.about.updated_ms),
        total_tasks: snapshot.tasks.top().len(),
        threshold: Complexity::HARD,
        project: &snapshot.project,
        used_research: false,
    };
    let mut analyses: Vec<Analysis> = snapshot.tasks.walk().filter_map(analysis).collect();
    analyses.sort_by(|one, other| one.task.cmp(&other.task));
    complexity_report(&analyses, &facts)
        .map_err(|error| Fault::internal("could not write the complexity report").because(error))
}
