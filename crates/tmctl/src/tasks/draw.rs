//! Tasks as a server draws them: a tree, a picture, a report, files, a README's list; and how hard they are.

use std::path::{Path, PathBuf};

use base::{Fault, Result};
use planner::report;
use proto::planning::{Filter, RenderRequest, RenderedFile, Rendering};
use serde::Serialize;
use serde_json::Value;

use super::{item, list};
use crate::client::{CALL_LIMIT, call};
use crate::file;
use crate::place::At;
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::section::Marks;
use crate::table::{Table, fitting_lines};
use crate::text::{counted, visible};

/// All files of a rendering.
pub async fn render(at: &mut At, rendering: Rendering) -> Result<Vec<RenderedFile>> {
    let request = RenderRequest { place: at.place(), rendering: rendering.into() };
    Ok(call(CALL_LIMIT, at.planning.render(request)).await?.files)
}

/// The one file of a rendering.
pub async fn one(at: &mut At, rendering: Rendering) -> Result<RenderedFile> {
    let mut files = render(at, rendering).await?;
    files.pop().ok_or_else(|| Fault::internal("the server drew nothing").hint("the server's log says more"))
}

#[derive(Serialize)]
struct Written<'a> {
    files: &'a [String],
}

fn tell_written(screen: &mut Screen, folder: &Path, paths: &[PathBuf]) -> Result<Verdict, Ended> {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let text = match names.as_slice() {
        [] => "wrote no file: there are no tasks\n".to_owned(),
        [one] => format!("wrote {one}\n"),
        all => format!("wrote {} into {}\n", counted(all.len(), "file"), folder.display()),
    };
    screen.show(|_| visible(&text), &Written { files: &names })?;
    Ok(Verdict::Done)
}

/// A document to stdout, or into a file.
async fn document(at: &mut At, screen: &mut Screen, what: Rendering, to: Option<PathBuf>) -> Result<Verdict, Ended> {
    let drawn = one(at, what).await?;
    match to {
        Some(path) => {
            file::write(&path, drawn.text.as_bytes())?;
            return tell_written(screen, Path::new("."), &[path]);
        }
        None if screen.style.json => screen.json(&Document { name: &drawn.name, text: &drawn.text })?,
        None if what == Rendering::Tree => screen.data(&fitting_lines(&visible(&drawn.text), screen.style))?,
        None => screen.model_text(&drawn.text)?,
    }
    Ok(Verdict::Done)
}

#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    text: &'a str,
}

/// The report on progress.
pub async fn report(at: &mut At, screen: &mut Screen, to: Option<PathBuf>) -> Result<Verdict, Ended> {
    document(at, screen, Rendering::Report, to).await
}

/// What waits for what: a picture where a file is named, else a tree.
pub async fn graph(at: &mut At, screen: &mut Screen, svg: Option<PathBuf>) -> Result<Verdict, Ended> {
    let what = if svg.is_some() { Rendering::Svg } else { Rendering::Tree };
    document(at, screen, what, svg).await
}

/// A Markdown file for each task.
pub async fn generate(at: &mut At, screen: &mut Screen, out: &Path) -> Result<Verdict, Ended> {
    let files = render(at, Rendering::Files).await?;
    let could_not = |error| {
        let fault = Fault::invalid(format!("could not make `{}`", out.display())).because(error);
        fault.hint("name another folder with --out")
    };
    std::fs::create_dir_all(out).map_err(could_not)?;
    let mut written = Vec::new();
    for RenderedFile { name, text } in &files {
        let path = inside(out, name)?;
        file::write_drawn(&path, text)?;
        written.push(path);
    }
    tell_written(screen, out, &written)
}

/// A server names files, and must not lead out of the folder by that.
pub fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
    if !is_plain {
        let fault = Fault::invalid(format!("the server calls a file `{}`", name.escape_debug()));
        return Err(fault.hint("nothing was written under that name; look whether it is your server"));
    }
    Ok(folder.join(name))
}

/// The list in a README.
pub async fn readme(at: &mut At, screen: &mut Screen, path: &Path) -> Result<Verdict, Ended> {
    let old = if path.exists() { file::read_text(path)? } else { String::new() };
    let list = one(at, Rendering::Readme).await?.text;
    file::write(path, into_readme(&old, &list).as_bytes())?;
    tell_written(screen, Path::new("."), &[path.to_owned()])
}

/// A README with its list of tasks brought up to date; added at its end where it has none.
fn into_readme(readme: &str, list: &str) -> String {
    let marks = Marks { begin: report::BEGIN, end: report::END };
    match marks.replaced(readme, list) {
        Some(readme) => readme,
        None if readme.trim().is_empty() => list.to_owned(),
        None => format!("{}\n\n## Tasks\n\n{list}", readme.trim_end()),
    }
}

/// How hard tasks are; for programs, the report as Task Master clients know it.
pub async fn complexity(at: &mut At, screen: &mut Screen) -> Result<Verdict, Ended> {
    if screen.style.json {
        let report = one(at, Rendering::Complexity).await?.text;
        let report: Value = serde_json::from_str(&report).map_err(|error| {
            Fault::internal("could not read the complexity report").because(error).hint("the server's log says more")
        })?;
        screen.json(&report)?;
        return Ok(Verdict::Done);
    }
    let response = list::all(at, Filter::default()).await?;
    let table = complexities(&response.tasks, screen.style);
    screen.data(&table)?;
    Ok(Verdict::Done)
}

fn complexities(tasks: &[proto::planning::Task], style: Style) -> String {
    let mut table = Table::new(["ID", "COMPLEXITY", "SUBTASKS", "TITLE", "WHY"]);
    let mut known: Vec<_> =
        item::flat(tasks).into_iter().filter_map(|task| Some((task, task.complexity.as_ref()?))).collect();
    known.sort_by_key(|(_, complexity)| std::cmp::Reverse(complexity.score));
    for (task, complexity) in known {
        table.row([
            task.id.as_str().into(),
            format!("{} of 10", complexity.score).into(),
            complexity.recommended_subtasks.to_string().into(),
            task.title.as_str().into(),
            complexity.reasoning.as_str().into(),
        ]);
    }
    table.render(style, "nobody has looked how hard the tasks are; `tmctl tasks analyze` does")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_server_cannot_write_outside_the_folder() {
        assert_eq!(inside(Path::new("out"), "task_001.md").unwrap(), Path::new("out/task_001.md"));
        for name in ["", "..", "../x", "/etc/passwd", ".bashrc", "a\\b"] {
            assert!(inside(Path::new("out"), name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_readme_keeps_everything_but_its_old_list() {
        let list = |task: &str| format!("{}\n- [ ] {task}\n{}\n", report::BEGIN, report::END);
        assert_eq!(into_readme("", &list("1 Dig")), list("1 Dig"));
        let first = into_readme("# Garden\n", &list("1 Dig"));
        assert_eq!(first, format!("# Garden\n\n## Tasks\n\n{}", list("1 Dig")));
        let again = into_readme(&format!("before\n{first}after\n"), &list("2 Plant"));
        assert_eq!(again, format!("before\n# Garden\n\n## Tasks\n\n{}after\n", list("2 Plant")));
    }

    #[test]
    fn the_hardest_comes_first() {
        let tasks = samples::planning::tasks();
        let text = complexities(&tasks, Style::default()) + &complexities(&[], Style::default());
        insta::assert_snapshot!("tasks_complexity", text);
    }
}
