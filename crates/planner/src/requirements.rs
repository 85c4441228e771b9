//! What a document asks for, found by its form and its words and never by a model: the same text gives the same list.
//!
//! Requirements are list items, table rows and sentences that say that something must be so, in sections that list
//! requirements or by the words themselves. What is said not to be wanted is listed apart.

mod blocks;
mod finder;
mod keep;
mod label;
mod order;
mod roles;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::prd::{Oddity, Prd, in_order};

pub(crate) use label::unnumbered;

/// So many sections are named whose lists ask for nothing.
const MOST_UNASKED: usize = 20;

/// One thing that a document asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    /// `R1`, `R2` and so on, in the order of the document.
    pub name: String,
    /// The document's own name for it, such as `REQ-12`; empty when it has none.
    pub label: String,
    /// What it says, without Markdown's marks.
    pub text: String,
    /// How binding it is.
    pub strength: Strength,
    /// The first line that it stands on, from 1.
    pub first_line: u32,
    /// The last line.
    pub last_line: u32,
    /// Its section's place in [`Prd::sections`].
    pub section: usize,
    /// How the document says that one sees that it is met, each with its line.
    pub acceptance: Vec<(u32, String)>,
    /// The names of those that must be met before, as far as the document says so.
    pub depends_on: Vec<String>,
}

/// How binding a requirement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// It has to be met; also what a list of requirements says without any such word.
    Must,
    /// It is expected.
    Should,
    /// It would be good.
    May,
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
        })
    }
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// In the order of the document.
    pub requirements: Vec<Requirement>,
    /// Repeated, contradicting or circular statements. Those of the document itself are in [`Prd::oddities`].
    pub oddities: Vec<Oddity>,
    /// What the document says is not to be made; no task may come from these.
    pub not_wanted: Vec<String>,
}

/// Finds every requirement of a document.
pub fn extract(prd: &Prd) -> Extracted {
    let roles = roles::Roles::of(prd);
    let mut finder = finder::Finder::new(prd, &roles);
    finder.run();
    if finder.found.is_empty() && finder.has_lists {
        // No section says that it lists requirements and no sentence has such a word: lists are all there is to go by.
        finder = finder::Finder::new(prd, &roles);
        finder.takes_any_list = true;
        finder.run();
    }
    let finder::Finder { mut found, mut oddities, not_wanted, passed_over, orders, numbered, sequence, .. } = finder;
    oddities.extend(passed_over.chunk_by(|(one, _), (other, _)| one == other).filter_map(unasked).take(MOST_UNASKED));
    for (number, requirement) in (1..).zip(found.iter_mut()) {
        requirement.name = format!("R{number}");
    }
    order::apply(prd, &mut found, (&orders, numbered), sequence, &mut oddities);
    Extracted { requirements: found, oddities: in_order(oddities), not_wanted }
}

/// What is said of items of lists in one section that no word makes requirements of.
fn unasked(items: &[(usize, u32)]) -> Option<Oddity> {
    let (first, last) = (items.first()?.1, items.last()?.1);
    let what = match items.len() {
        1 => "an item of a list asks for nothing by its words; it is not planned".to_owned(),
        more => format!("{more} items of lists ask for nothing by their words; they are not planned"),
    };
    Some(Oddity::new(first, last, what))
}

#[cfg(test)]
mod tests;
