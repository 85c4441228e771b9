//! What a section is for, told by the words of its heading or of those above it.

use crate::prd::Prd;
use crate::words::{self, Class};

use super::{Strength, label};

/// A longer heading is a sentence, and names no role.
const LONGEST: usize = 120;

/// What the lists and sentences of a section are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Requirements, whatever words they use.
    Wanted,
    Acceptance,
    /// Things that nobody shall make.
    Unwanted,
    /// Background, dates, questions: a requirement only by a word such as must.
    Context,
    /// Not said.
    Plain,
}

/// The roles of every section, with the section above each.
pub(super) struct Roles {
    pub roles: Vec<Role>,
    pub parents: Vec<Option<usize>>,
    /// Whether the role is that of a section above.
    pub is_inherited: Vec<bool>,
    /// How binding a section's items are when they do not say it themselves.
    pub strengths: Vec<Strength>,
}

impl Roles {
    pub fn of(prd: &Prd) -> Self {
        let mut all = Self { roles: vec![], parents: vec![], is_inherited: vec![], strengths: vec![] };
        let mut above: Vec<usize> = Vec::new();
        for (index, section) in prd.sections.iter().enumerate() {
            above.retain(|&upper| prd.sections.get(upper).is_some_and(|upper| upper.level < section.level));
            let parent = above.last().copied();
            above.push(index);
            // The title of the document names its subject, not the use of its sections.
            let is_title = section.level <= 1 && section.heading == prd.title && prd.sections.len() > 2;
            let own = if is_title { None } else { of_heading(&section.heading) };
            let of_parent = parent.and_then(|parent| all.roles.get(parent)).copied();
            all.roles.push(own.or(of_parent).unwrap_or(Role::Plain));
            all.is_inherited.push(own.is_none() && of_parent.is_some());
            let given = parent.and_then(|parent| all.strengths.get(parent)).copied();
            all.strengths.push(strength_of_heading(&section.heading).or(given).unwrap_or(Strength::Must));
            all.parents.push(parent);
        }
        all
    }

    pub fn role(&self, section: usize) -> Role {
        self.roles.get(section).copied().unwrap_or(Role::Plain)
    }

    pub fn strength(&self, section: usize) -> Strength {
        self.strengths.get(section).copied().unwrap_or(Strength::Must)
    }

    /// Whether a section's numbers are an order: it says that it lists steps.
    pub fn is_sequence(prd: &Prd, section: usize) -> bool {
        let heading = prd.sections.get(section).map_or("", |section| section.heading.as_str());
        heading.len() <= LONGEST && words::has(&words::scan(label::unnumbered(heading)), Class::Steps)
    }

    pub fn parent(&self, section: usize) -> Option<usize> {
        self.parents.get(section).copied().flatten()
    }

    /// Whether a heading below a list of features is a feature by itself.
    pub fn is_feature(&self, prd: &Prd, section: usize) -> bool {
        let Some(here) = prd.sections.get(section) else { return false };
        let is_leaf = prd.sections.get(section + 1).is_none_or(|next| next.level <= here.level);
        is_leaf && self.is_feature_above(prd, section)
    }

    /// The same for a heading that has others below it, such as its acceptance criteria.
    pub fn is_feature_above(&self, prd: &Prd, section: usize) -> bool {
        let Some(here) = prd.sections.get(section) else { return false };
        let heading = label::unnumbered(&here.heading);
        let has_words = heading.chars().filter(|c| c.is_alphabetic()).count() >= 2;
        let is_below = self.role(section) == Role::Wanted && self.is_inherited.get(section) == Some(&true);
        has_words && (is_below || label::leading(&here.heading).is_some())
    }
}

/// The role that a heading or a lead-in gives; of several the most telling one.
pub(super) fn of_heading(heading: &str) -> Option<Role> {
    if heading.len() > LONGEST {
        return None;
    }
    let hits = words::scan(label::unnumbered(heading));
    let order = [
        (Class::Unwanted, Role::Unwanted),
        (Class::Acceptance, Role::Acceptance),
        (Class::Wanted, Role::Wanted),
        (Class::Context, Role::Context),
    ];
    order.into_iter().find(|(class, _)| words::has(&hits, *class)).map(|(_, role)| role)
}

fn strength_of_heading(heading: &str) -> Option<Strength> {
    strength(&words::scan(heading))
}

/// How binding the words are; nothing when they do not say.
pub(super) fn strength(hits: &[words::Hit]) -> Option<Strength> {
    // What nobody may do must not be.
    let nobody = hits.iter().find(|hit| hit.class == Class::Nobody);
    if nobody.is_some_and(|nobody| hits.iter().any(|hit| hit.class == Class::May && hit.start > nobody.start)) {
        return Some(Strength::Must);
    }
    let order = [(Class::Must, Strength::Must), (Class::Should, Strength::Should), (Class::May, Strength::May)];
    order.into_iter().find(|(class, _)| words::has(hits, *class)).map(|(_, strength)| strength)
}
