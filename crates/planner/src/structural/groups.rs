//! Which requirements belong in one task.

use crate::prd::Prd;
use crate::requirements::Requirement;
use crate::words::{self, Class};

/// A section with more requirements than this is a list of tasks and not one task.
const MOST_TOGETHER: usize = 8;

/// Requirements, by their places in the list, that one top-level task covers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub members: Vec<usize>,
    /// The section that all of them are in, when it names the task.
    pub section: Option<usize>,
}

/// Groups as the document suggests: a section about one thing is a task, a mere list is a task per item.
pub(super) fn of(prd: &Prd, found: &[Requirement]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut start = 0;
    for run in found.chunk_by(|a, b| a.section == b.section) {
        let members = start..start + run.len();
        start = members.end;
        let section = run.first().map(|requirement| requirement.section);
        let is_one_thing =
            run.len() > 1 && run.len() <= MOST_TOGETHER && section.is_some_and(|at| names_a_thing(prd, at));
        if is_one_thing {
            groups.push(Group { members: members.collect(), section });
        } else {
            groups.extend(members.map(|index| Group { members: vec![index], section: None }));
        }
    }
    groups
}

/// Brings groups to a number: neighbours are joined, or sections fall into their requirements.
pub(super) fn fit(groups: Vec<Group>, wanted: usize) -> Vec<Group> {
    let mut missing = wanted.saturating_sub(groups.len());
    let mut split: Vec<Group> = Vec::with_capacity(groups.len());
    for group in groups {
        let more = group.members.len().saturating_sub(1).min(missing);
        missing -= more;
        split.extend(fall_apart(group, more + 1));
    }
    if split.len() <= wanted {
        return split;
    }
    let count = split.len();
    let mut joined: Vec<(usize, Group)> = Vec::with_capacity(wanted);
    for (index, group) in split.into_iter().enumerate() {
        let place = index * wanted / count;
        match joined.last_mut().filter(|(last, _)| *last == place) {
            Some((_, last)) => {
                last.members.extend(group.members);
                last.section = last.section.filter(|_| last.section == group.section);
            }
            None => joined.push((place, group)),
        }
    }
    joined.into_iter().map(|(_, group)| group).collect()
}

/// Cuts a group into `parts` even parts; it stays whole, with its name, when that is one.
fn fall_apart(group: Group, parts: usize) -> Vec<Group> {
    if parts <= 1 {
        return vec![group];
    }
    let count = group.members.len();
    let bound = |part: usize| part * count / parts;
    let cut = (0..parts).filter_map(|part| group.members.get(bound(part)..bound(part + 1)));
    cut.filter(|members| !members.is_empty())
        .map(|members| Group { members: members.to_vec(), section: None })
        .collect()
}

/// Whether a section is about one thing, and its heading not only says that requirements follow.
fn names_a_thing(prd: &Prd, section: usize) -> bool {
    let Some(section) = prd.sections.get(section) else { return false };
    let title = section.title();
    let is_title = section.level <= 1;
    let hits = words::scan(title);
    let lists = [Class::Wanted, Class::Acceptance, Class::Context].iter().any(|&class| words::has(&hits, class));
    !title.is_empty() && !is_title && !lists
}
