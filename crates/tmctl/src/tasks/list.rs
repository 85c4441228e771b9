//! Tasks that pass a filter, single ones, and what to do next.

use base::{Code, Fault, Result};
use proto::planning::{
    Breach, CheckTasksRequest, CheckTasksResponse, Filter, ListTasksRequest, ListTasksResponse, NextTaskRequest,
    NextTaskResponse, WatchTagRequest,
};
use serde::Serialize;

use super::item::{self, HEADING, Item};
use super::tags;
use crate::client::{CALL_LIMIT, call, told};
use crate::place::At;
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::Table;
use crate::text::{self, List, counted, visible};

/// Which tasks.
#[derive(Debug, Default, clap::Args)]
pub struct Which {
    /// Only those that stand so; several with commas between
    #[arg(long, value_delimiter = ',')]
    status: Vec<String>,
    /// Only those of this priority
    #[arg(long, value_delimiter = ',')]
    priority: Vec<String>,
    /// Only those that can be begun
    #[arg(long)]
    ready: bool,
    /// Only those that others wait for
    #[arg(long)]
    blocking: bool,
    /// Only those with these words
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// Leave out what is below them, in JSON as well
    #[arg(long)]
    without_subtasks: bool,
    /// Show subtasks as well
    #[arg(long, conflicts_with = "without_subtasks")]
    with_subtasks: bool,
    /// Show them again whenever they change, until interrupted
    #[arg(long)]
    watch: bool,
    /// Those of every tag of the project
    #[arg(long, conflicts_with = "watch")]
    all_tags: bool,
}

impl Which {
    fn filter(self) -> Filter {
        Filter {
            statuses: self.status,
            priorities: self.priority,
            ready: self.ready,
            blocking: self.blocking,
            text: self.text.unwrap_or_default(),
            ids: Vec::new(),
            without_subtasks: self.without_subtasks,
        }
    }
}

/// All tasks that pass a filter, however many messages they need.
pub async fn all(at: &mut At, filter: Filter) -> Result<ListTasksResponse> {
    let mut whole: Option<ListTasksResponse> = None;
    loop {
        let offset = whole.as_ref().map_or(0, |whole| whole.tasks.len());
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let request = ListTasksRequest { place: at.place(), filter: Some(filter.clone()), offset, limit: 0 };
        let page = call(CALL_LIMIT, at.planning.list_tasks(request)).await?;
        let is_last = page.tasks.is_empty();
        let whole = match &mut whole {
            None => whole.insert(page),
            // Pages of two revisions are no list of anything: begun again from the front.
            Some(begun) if begun.revision != page.revision => {
                whole = None;
                continue;
            }
            Some(begun) => {
                begun.tasks.extend(page.tasks);
                begun
            }
        };
        if is_last || whole.tasks.len() >= whole.total as usize {
            return Ok(std::mem::take(whole));
        }
    }
}

/// Shows those that pass.
pub async fn list(at: &mut At, screen: &mut Screen, which: Which) -> Result<Verdict, Ended> {
    let Which { with_subtasks, watch: is_watched, all_tags, .. } = which;
    let filter = which.filter();
    match (is_watched, all_tags) {
        (true, _) => return watch(at, screen, &filter, with_subtasks).await,
        (_, true) => of_all_tags(at, screen, &filter, with_subtasks).await?,
        _ => drop(of_one_tag(at, screen, filter, with_subtasks).await?),
    }
    Ok(Verdict::Done)
}

/// Shows those of every tag, one tag after the other.
async fn of_all_tags(at: &mut At, screen: &mut Screen, filter: &Filter, with_subtasks: bool) -> Result<(), Ended> {
    let mut found = Vec::new();
    for tag in tags::list(at).await?.tags {
        at.place.tag = tag.name;
        found.push(all(at, filter.clone()).await?);
    }
    let shown = |style| {
        let one = |response: &ListTasksResponse| table(response, with_subtasks, style) + &sum(at, response) + "\n";
        found.iter().map(one).collect::<String>() + &text::told_by(&at.server)
    };
    let items = found.iter().map(|response| Tagged {
        project: &at.place.project,
        tag: &response.tag,
        revision: response.revision,
        draft_because: &response.draft_because,
        tasks: item::items(&response.tasks),
    });
    screen.show(shown, &List::of_now(&at.server, items.collect()))
}

#[derive(Serialize)]
struct Tagged<'a> {
    project: &'a str,
    tag: &'a str,
    revision: u64,
    draft_because: &'a [String],
    tasks: Vec<Item<'a>>,
}

/// Shows those of the tag that is meant, and gives the revision that they were shown at.
async fn of_one_tag(at: &mut At, screen: &mut Screen, filter: Filter, with_subtasks: bool) -> Result<u64, Ended> {
    let response = all(at, filter).await?;
    let list = Listed {
        list: List::of_now(&at.server, item::items(&response.tasks)),
        project: &at.place.project,
        tag: &response.tag,
        revision: response.revision,
        draft_because: &response.draft_because,
    };
    let told_by = text::told_by(&at.server);
    screen.show(|style| table(&response, with_subtasks, style) + &sum(at, &response) + &told_by, &list)?;
    Ok(response.revision)
}

/// Shows them with every change. What comes faster than it can be shown is shown at once.
async fn watch(at: &mut At, screen: &mut Screen, filter: &Filter, with_subtasks: bool) -> Result<Verdict, Ended> {
    let watched = at.planning.watch_tag(WatchTagRequest { place: at.place() });
    let mut changes = call(CALL_LIMIT, watched).await?;
    let mut shown = None;
    // No limit on the wait between changes; the connection's own probes notice a server that is gone.
    while let Some(change) = changes.message().await.map_err(|status| told(&status))? {
        if shown >= Some(change.revision) {
            continue;
        }
        // The one that was meant at first, whichever the project uses later.
        at.place.tag = change.tag;
        screen.begin_again()?;
        shown = Some(of_one_tag(at, screen, filter.clone(), with_subtasks).await?);
    }
    Err(Fault::new(Code::Unreachable, format!("`{}` stopped telling of changes", at.server))
        .hint("it was probably stopped; name several servers and start again")
        .into())
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    list: List<Item<'a>>,
    project: &'a str,
    tag: &'a str,
    revision: u64,
    draft_because: &'a [String],
}

fn table(response: &ListTasksResponse, with_subtasks: bool, style: Style) -> String {
    let mut table = Table::new(HEADING);
    let shown = if with_subtasks { item::flat(&response.tasks) } else { response.tasks.iter().collect() };
    shown.into_iter().for_each(|task| table.row(item::row(task)));
    table.render(style, "no tasks; `tmctl plan parse FILE` makes them from a PRD, `tmctl tasks add` one by one")
}

fn sum(at: &At, response: &ListTasksResponse) -> String {
    let mut counts: Vec<_> = response.by_status.iter().collect();
    counts.sort();
    let counts: Vec<String> = counts.into_iter().map(|(status, count)| format!("{count} {status}")).collect();
    let drafts: String =
        response.draft_because.iter().map(|why| format!("the plan is only a draft: {why}\n")).collect();
    let place = format!("{}/{}, revision {}", at.place.project, response.tag, response.revision);
    let counts = if counts.is_empty() { String::new() } else { format!("; in all: {}", counts.join(", ")) };
    visible(&format!("{drafts}{place}{counts}\n"))
}

/// Shows single ones; one that is not there is an error.
pub async fn show(at: &mut At, screen: &mut Screen, ids: Vec<String>) -> Result<Verdict, Ended> {
    // The server gives them in this order, and refuses an id that nobody has.
    let found = all(at, Filter { ids: ids.clone(), ..Filter::default() }).await?.tasks;
    let pages = || found.iter().map(item::page).collect::<Vec<_>>().join("\n");
    match (found.as_slice(), ids.as_slice()) {
        ([one], [_]) => screen.show(|_| pages(), &Item::new(one))?,
        _ => {
            let items = found.iter().map(Item::new).collect();
            screen.show(|_| pages(), &List::of_now(&at.server, items))?;
        }
    }
    Ok(Verdict::Done)
}

/// Shows what to do next, and why.
pub async fn next(at: &mut At, screen: &mut Screen) -> Result<Verdict, Ended> {
    let response = call(CALL_LIMIT, at.planning.next_task(NextTaskRequest { place: at.place() })).await?;
    let json = Next {
        task: response.task.as_ref().map(Item::new),
        reasons: &response.reasons,
        others: item::items(&response.others),
    };
    screen.show(|_| next_text(&response), &json)?;
    Ok(Verdict::Done)
}

#[derive(Serialize)]
struct Next<'a> {
    task: Option<Item<'a>>,
    reasons: &'a [String],
    others: Vec<Item<'a>>,
}

fn next_text(response: &NextTaskResponse) -> String {
    let lines = |lines: Vec<String>| lines.iter().map(|line| visible(&format!("- {line}\n"))).collect::<String>();
    let Some(task) = &response.task else {
        return format!("nothing can be begun\n{}", lines(response.reasons.clone()));
    };
    let mut text = item::page(task) + "\nit comes next because\n" + &lines(response.reasons.clone());
    if !response.others.is_empty() {
        let others = response.others.iter().map(|task| format!("{} {}", task.id, task.title).replace('\n', " "));
        text.push_str(&format!("\nthese could be begun as well\n{}", lines(others.collect())));
    }
    text
}

/// Shows what is wrong with dependencies; anything is not well.
pub async fn validate(at: &mut At, screen: &mut Screen) -> Result<Verdict, Ended> {
    let response = call(CALL_LIMIT, at.planning.check_tasks(CheckTasksRequest { place: at.place() })).await?;
    let json = Checked {
        list: List::of_now(&at.server, response.breaches.iter().map(breach_item).collect()),
        fixes: &response.fixes,
        tasks: response.tasks,
    };
    screen.show(|style| checked(&response, style), &json)?;
    Ok(if response.breaches.is_empty() { Verdict::Done } else { Verdict::NotWell })
}

#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    list: List<BreachItem<'a>>,
    fixes: &'a [String],
    tasks: u32,
}

#[derive(Serialize)]
struct BreachItem<'a> {
    id: &'a str,
    kind: &'a str,
    text: &'a str,
}

fn breach_item(Breach { id, kind, text }: &Breach) -> BreachItem<'_> {
    BreachItem { id, kind, text }
}

fn checked(response: &CheckTasksResponse, style: Style) -> String {
    let tasks = counted(response.tasks as usize, "task");
    let mut table = Table::new(["ID", "WHAT", "MORE"]);
    for breach in &response.breaches {
        table.row([breach.id.as_str().into(), breach.kind.as_str().into(), breach.text.as_str().into()]);
    }
    let fixes: String = response.fixes.iter().map(|fix| visible(&format!("- {fix}\n"))).collect();
    let fixes = if fixes.is_empty() { fixes } else { format!("\n`tmctl tasks fix` would do this:\n{fixes}") };
    table.render(style, &format!("the dependencies of {tasks} are well")) + &fixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn tasks_stand_in_a_table_with_or_without_their_subtasks() {
        let response = ListTasksResponse { tasks: samples::planning::tasks(), ..ListTasksResponse::default() };
        let text = [false, true].map(|with_subtasks| table(&response, with_subtasks, Style::default())).concat();
        insta::assert_snapshot!("tasks_list", text + &table(&ListTasksResponse::default(), false, Style::default()));
    }

    #[test]
    fn the_next_task_comes_with_its_reasons() {
        let mut others = samples::planning::tasks();
        let task = others.pop();
        let reasons = vec!["its priority is high".to_owned()];
        let some = NextTaskResponse { task, reasons: reasons.clone(), others };
        let none = NextTaskResponse { reasons, ..NextTaskResponse::default() };
        insta::assert_snapshot!("tasks_next", next_text(&some) + "\n" + &next_text(&none));
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_mend_it() {
        let breach = Breach { id: "2".into(), kind: "missing".into(), text: "waits for 9".into() };
        let fixes = vec!["2 does not wait for 9 any more".to_owned()];
        let response = CheckTasksResponse { breaches: vec![breach], fixes, tasks: 3 };
        let well = CheckTasksResponse { tasks: 1, ..CheckTasksResponse::default() };
        let text = checked(&response, Style::default()) + &checked(&well, Style::default());
        insta::assert_snapshot!("tasks_validate", text);
    }
}
