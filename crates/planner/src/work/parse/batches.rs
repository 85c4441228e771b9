//! The parts of a document that a model is asked about one at a time: sections that belong together and fit its context.

use crate::prd::Prd;
use crate::requirements::Requirement;

/// A small model keeps so many requirements apart.
const MOST_REQUIREMENTS: usize = 8;
/// Characters of material; about 2,000 tokens.
const MOST_CHARS: usize = 7000;
/// Lines around a requirement that go with it where its section is too long to be shown whole.
const AROUND: usize = 2;

/// A part of a document for one question.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Counted from 1.
    pub number: usize,
    /// Its first heading, for people who watch.
    pub name: String,
    /// What was found in it.
    pub requirements: Vec<Requirement>,
    /// Its lines, numbered.
    pub material: String,
    /// The fewest tasks that are wanted of it.
    pub least: u32,
    /// The most.
    pub most: u32,
}

/// Splits a document, with so many tasks wanted from all of it (0: as many as it needs).
///
/// Each requirement is in exactly one batch. A wish for fewer tasks than there would be batches makes fewer of them.
pub(super) fn of(prd: &Prd, found: &[Requirement], wish: u32) -> Vec<Batch> {
    let per_batch = match wish {
        0 => MOST_REQUIREMENTS,
        wish => MOST_REQUIREMENTS.max(found.len().div_ceil(wish as usize)),
    };
    let mut groups: Vec<Vec<Requirement>> = Vec::new();
    for requirement in found {
        let fits = |group: &&mut Vec<Requirement>| {
            let is_same = group.last().is_some_and(|last| last.section == requirement.section);
            // A new section begins a new batch, unless the one before is small.
            group.len() < per_batch && (is_same || group.len() < per_batch / 2)
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(requirement.clone()),
            None => groups.push(vec![requirement.clone()]),
        }
    }
    if groups.is_empty() {
        return vec![whole(prd, wish)];
    }
    let shares = shares(&groups.iter().map(Vec::len).collect::<Vec<_>>(), wish);
    let numbered = groups.into_iter().zip(shares).enumerate();
    numbered.map(|(index, (requirements, share))| batch(prd, index + 1, requirements, share)).collect()
}

/// A document without requirements that anybody can see: the model judges by itself.
fn whole(prd: &Prd, wish: u32) -> Batch {
    let shown: Vec<bool> = {
        let mut chars = 0;
        prd.lines
            .iter()
            .map(|line| {
                chars += line.len() + 1;
                chars <= MOST_CHARS
            })
            .collect()
    };
    let (least, most) = if wish == 0 { (1, 10) } else { (wish, wish) };
    Batch { number: 1, name: "the document".into(), requirements: Vec::new(), material: show(prd, &shown), least, most }
}

fn batch(prd: &Prd, number: usize, requirements: Vec<Requirement>, (least, most): (u32, u32)) -> Batch {
    let sections: Vec<_> = requirements.iter().filter_map(|found| prd.sections.get(found.section)).collect();
    let mut shown = vec![false; prd.lines.len()];
    let mut show_lines = |first: usize, last: usize| {
        for line in shown.iter_mut().take(last).skip(first.saturating_sub(1)) {
            *line = true;
        }
    };
    sections.iter().for_each(|section| show_lines(section.first_line as usize, section.last_line as usize));
    let chars = |shown: &[bool]| -> usize {
        prd.lines.iter().zip(shown).filter(|(_, shown)| **shown).map(|(line, _)| line.len() + 1).sum()
    };
    if chars(&shown) > MOST_CHARS {
        shown.fill(false);
        for section in &sections {
            if let Some(line) = shown.get_mut((section.first_line as usize).saturating_sub(1)) {
                *line = true;
            }
        }
        for found in &requirements {
            let first = (found.first_line as usize).saturating_sub(AROUND).max(1);
            let last = (found.last_line as usize + AROUND).min(prd.lines.len());
            for line in shown.iter_mut().take(last).skip(first - 1) {
                *line = true;
            }
        }
    }
    let name = sections.first().map_or_else(|| format!("part {number}"), |section| section.heading.clone());
    Batch { number, name, material: show(prd, &shown), requirements, least, most }
}

/// The lines that are shown, behind their numbers; gaps are named.
fn show(prd: &Prd, shown: &[bool]) -> String {
    let mut text = String::new();
    let mut left_out = 0;
    for (index, (line, &is_shown)) in prd.lines.iter().zip(shown).enumerate() {
        if !is_shown {
            left_out += 1;
            continue;
        }
        if left_out > 0 && !text.is_empty() {
            text.push_str(&format!("({left_out} lines are left out)\n"));
        }
        left_out = 0;
        text.push_str(&crate::model::material(index + 1, [line.as_str()]));
    }
    text
}

/// How many tasks each group gives: in proportion to its requirements where a number is wished for, else by need.
fn shares(sizes: &[usize], wish: u32) -> Vec<(u32, u32)> {
    if wish == 0 {
        return sizes.iter().map(|&size| (1, (size as u32).max(2))).collect();
    }
    let all: usize = sizes.iter().sum();
    let mut given = 0;
    let mut seen = 0;
    let exact = sizes.iter().enumerate().map(|(index, &size)| {
        seen += size;
        let behind = (sizes.len() - index - 1) as u32;
        let up_to = (u64::from(wish) * seen as u64 / all.max(1) as u64) as u32;
        let share = up_to.saturating_sub(given).max(1).min(wish.saturating_sub(given + behind).max(1));
        given += share;
        (share, share)
    });
    exact.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_wish_and_nobody_is_left_out() {
        for (sizes, wish) in [(vec![8, 8, 3], 10), (vec![1, 1, 1], 3), (vec![7, 1], 2), (vec![5], 9), (vec![8; 6], 50)]
        {
            let shares = shares(&sizes, wish);
            assert_eq!(shares.iter().map(|(least, _)| least).sum::<u32>(), wish, "{sizes:?}");
            assert!(shares.iter().all(|&(least, most)| least == most && least > 0), "{shares:?}");
        }
    }
}
