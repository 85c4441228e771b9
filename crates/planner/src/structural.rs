//! Plans without a model: what a document asks for becomes tasks, word for word.
//!
//! Nothing is invented. A title is made of the requirement's words, an order comes from a statement of the document, and
//! a test that the document does not describe is called derived.

mod fields;
mod groups;
mod split;

use std::collections::{BTreeSet, HashMap};

use crate::circles;
use crate::edit::MAX_DEPENDENCIES;
use crate::prd::{Oddity, Prd, Section, in_order};
use crate::requirements::{Requirement, unnumbered};
use crate::{Source, Task, TaskId, Tasks};

pub use fields::{complexity, one, title};
pub use split::expand;

use groups::Group;

/// So many tasks are the most that a plan is given, and so many at its top where that would be too few to hold it.
const MOST_TASKS: usize = 5_000;
const MOST_AT_TOP: u32 = 500;

/// Who made these tasks, as [`Task::made_by`] has it.
pub const NAME: &str = "structural";

/// What the caller wants a plan to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How many top-level tasks; as many as the document suggests when it is not said.
    pub tasks: Option<u32>,
    /// How deep subtasks may nest; 1 is a flat list.
    pub max_depth: u8,
}

impl Default for Wish {
    fn default() -> Self {
        Self { tasks: None, max_depth: 2 }
    }
}

/// A plan and what had to be left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Every requirement is a source of one of them.
    pub tasks: Tasks,
    /// Why the plan is not as it was wished, and which orders it could not keep.
    pub oddities: Vec<Oddity>,
}

/// Plans a document from its requirements; from its sections when there are none.
pub fn plan(prd: &Prd, found: &[Requirement], wish: &Wish) -> Planned {
    let mut oddities = Vec::new();
    let last_line = u32::try_from(prd.lines.len()).unwrap_or(u32::MAX);
    let mut groups = groups::of(prd, found);
    let Wish { mut tasks, mut max_depth } = *wish;
    let with_parts = |group: &Group| if group.members.len() > 1 { group.members.len() + 1 } else { 1 };
    if groups.iter().map(with_parts).sum::<usize>() > MOST_TASKS {
        tasks = Some(tasks.unwrap_or(MOST_AT_TOP).min(MOST_AT_TOP));
        max_depth = 1;
        let what = format!("{} requirements are more than a plan has tasks for; neighbours share one", found.len());
        oddities.push(Oddity::new(1, last_line, what));
    }
    if let Some(wanted) = tasks {
        groups = groups::fit(groups, wanted.max(1) as usize);
        let made = groups.len();
        if made < wanted as usize && !found.is_empty() {
            let what = format!("{wanted} tasks were wished, but there is matter for {made} only");
            oddities.push(Oddity::new(1, last_line, what));
        }
    }
    if found.is_empty() {
        let most = tasks.unwrap_or(MOST_AT_TOP).clamp(1, MOST_AT_TOP);
        let (mut tasks, sections) = of_sections(prd, most);
        if sections > tasks.len() {
            let made = tasks.len();
            let what = format!(
                "no requirement was found; {sections} sections are more than {made} tasks, neighbours share one"
            );
            oddities.push(Oddity::new(1, last_line, what));
        }
        fields::distinguish(&mut tasks);
        return Planned { tasks: Tasks::new(tasks), oddities: in_order(oddities) };
    }
    let mut tasks: Vec<Task> =
        (1..).zip(&groups).map(|(number, group)| task(prd, found, group, number, max_depth)).collect();
    tie(found, &groups, &mut tasks, &mut oddities);
    fields::distinguish(&mut tasks);
    Planned { tasks: Tasks::new(tasks), oddities: in_order(oddities) }
}

/// Tasks for a part of the requirements, numbered from 1, at most `most` of them; every one of the part is covered.
pub fn section(prd: &Prd, found: &[Requirement], most: u32) -> Vec<Task> {
    let groups = groups::of(prd, found);
    let most = most.max(1) as usize;
    let groups = if groups.len() > most { groups::fit(groups, most) } else { groups };
    let mut tasks: Vec<Task> = (1..).zip(&groups).map(|(number, group)| task(prd, found, group, number, 2)).collect();
    tie(found, &groups, &mut tasks, &mut Vec::new());
    fields::distinguish(&mut tasks);
    tasks
}

fn task(prd: &Prd, found: &[Requirement], group: &Group, number: u32, max_depth: u8) -> Task {
    let members: Vec<&Requirement> = group.members.iter().filter_map(|&index| found.get(index)).collect();
    let [only] = members.as_slice() else { return parent(prd, &members, group, number, max_depth) };
    of_requirement(prd, only, number)
}

/// A task for one requirement.
fn of_requirement(prd: &Prd, requirement: &Requirement, number: u32) -> Task {
    Task {
        number,
        title: title(&requirement.text),
        description: requirement.text.clone(),
        details: fields::details(prd, requirement),
        test_strategy: fields::test_strategy(&[requirement]),
        priority: fields::priority(requirement),
        sources: vec![source(requirement)],
        made_by: NAME.to_owned(),
        ..Task::default()
    }
}

/// A task for several requirements: with one subtask for each, or in one piece where nesting is not wished.
fn parent(prd: &Prd, members: &[&Requirement], group: &Group, number: u32, max_depth: u8) -> Task {
    let heading = group.section.and_then(|section| prd.sections.get(section)).map_or("", Section::title);
    let titled = if heading.is_empty() { fields::joined_title(members) } else { title(heading) };
    let mut task = Task {
        number,
        title: titled,
        description: fields::summary(heading, members),
        details: fields::list(members),
        test_strategy: fields::test_strategy(members),
        priority: members.iter().map(|requirement| fields::priority(requirement)).max().unwrap_or_default(),
        sources: members.iter().map(|requirement| source(requirement)).collect(),
        made_by: NAME.to_owned(),
        ..Task::default()
    };
    if max_depth >= 2 {
        task.subtasks = (1..).zip(members).map(|(number, member)| of_requirement(prd, member, number)).collect();
        tie_inside(members, &mut task);
        fields::distinguish(&mut task.subtasks);
    }
    task
}

pub(crate) fn source(requirement: &Requirement) -> Source {
    Source {
        requirement: requirement.name.clone(),
        first_line: requirement.first_line,
        last_line: requirement.last_line,
    }
}

/// A task for each section with text in it, else for each heading, for documents that ask for nothing in so many words; and
/// how many of these there are.
fn of_sections(prd: &Prd, most: u32) -> (Vec<Task>, usize) {
    let mut with_text: Vec<&Section> = prd.sections.iter().filter(|section| fields::has_text(prd, section)).collect();
    if with_text.is_empty() {
        // A list of headings is all that was written.
        with_text.extend(prd.sections.iter().filter(|section| section.heading.contains(char::is_alphanumeric)));
    }
    let size = with_text.len().div_ceil(most as usize).max(1);
    let tasks = with_text.chunks(size).filter_map(|chunk| {
        let (first, last) = (chunk.first()?, chunk.last()?);
        let place = Source { requirement: String::new(), first_line: first.first_line, last_line: last.last_line };
        let headings: Vec<&str> =
            chunk.iter().map(|section| section.title()).filter(|title| !title.is_empty()).collect();
        let named = if headings.is_empty() { fields::first_words(prd, first) } else { headings.join("; ") };
        Some(Task {
            title: title(&named),
            description: fields::first_words(prd, first),
            details: format!(
                "Lines {} to {} of the document. It states no requirement there; read them first.",
                place.first_line, place.last_line
            ),
            test_strategy: "Derived, the document names none: agree on acceptance before beginning.".to_owned(),
            sources: vec![place],
            made_by: NAME.to_owned(),
            ..Task::default()
        })
    });
    let tasks = (1..).zip(tasks).map(|(number, task)| Task { number, ..task }).collect();
    (tasks, with_text.len())
}

/// Makes tasks wait for each other as their requirements do. What would close a circle is left out and named.
fn tie(found: &[Requirement], groups: &[Group], tasks: &mut [Task], oddities: &mut Vec<Oddity>) {
    let mut task_of: HashMap<&str, usize> = HashMap::new();
    for (place, group) in groups.iter().enumerate() {
        let names =
            group.members.iter().filter_map(|&index| found.get(index)).map(|requirement| requirement.name.as_str());
        task_of.extend(names.map(|name| (name, place)));
    }
    let mut edges: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); groups.len()];
    for requirement in found {
        let Some(&from) = task_of.get(requirement.name.as_str()) else { continue };
        let targets = requirement.depends_on.iter().filter_map(|name| task_of.get(name.as_str()));
        if let Some(edges) = edges.get_mut(from) {
            edges.extend(targets.filter(|&&to| to != from));
        }
    }
    let line = |place: usize| {
        groups.get(place).and_then(|group| found.get(*group.members.first()?)).map_or(1, |first| first.first_line)
    };
    let next: Vec<Vec<usize>> = edges.iter().map(|edges| edges.iter().copied().collect()).collect();
    for (from, to) in circles::closing(&next) {
        if let Some(edges) = edges.get_mut(from) {
            edges.remove(&to);
        }
        let what = format!("tasks {} and {} wait for each other once grouped; one order is not kept", from + 1, to + 1);
        oddities.push(Oddity::new(line(from.min(to)), line(from.max(to)), what));
    }
    for (place, edges) in edges.iter_mut().enumerate() {
        let rest = edges.len().saturating_sub(MAX_DEPENDENCIES);
        if rest > 0 {
            // The nearest ones wait for most of the others.
            *edges = edges.iter().rev().take(MAX_DEPENDENCIES).copied().collect();
            let what = format!("task {} would wait for {rest} more than a task can", place + 1);
            oddities.push(Oddity::new(line(place), line(place), what));
        }
    }
    let numbers: Vec<u32> = tasks.iter().map(|task| task.number).collect();
    for (task, edges) in tasks.iter_mut().zip(&edges) {
        task.dependencies = edges.iter().filter_map(|&to| numbers.get(to)).map(|&number| TaskId::top(number)).collect();
    }
}

fn tie_inside(members: &[&Requirement], task: &mut Task) {
    let place: HashMap<&str, u32> = (1..).zip(members).map(|(number, member)| (member.name.as_str(), number)).collect();
    let above = TaskId::top(task.number);
    for (member, subtask) in members.iter().zip(&mut task.subtasks) {
        let siblings = member.depends_on.iter().filter_map(|name| place.get(name.as_str()));
        subtask.dependencies = siblings.map(|&number| above.child(number)).collect();
    }
}

impl Section {
    /// The heading without the number in front of it.
    pub(crate) fn title(&self) -> &str {
        unnumbered(&self.heading)
    }
}

#[cfg(test)]
mod tests;
