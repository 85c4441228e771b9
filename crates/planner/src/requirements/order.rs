//! What must be met before what, where the document says so: by a name, by a section's number or by its heading.

use std::collections::{HashMap, HashSet};

use crate::circles;
use crate::edit::MAX_DEPENDENCIES;
use crate::prd::{Oddity, Prd};
use crate::words::{self, Class, Hit};

use super::{Requirement, label};

/// So many requirements on both sides of a statement about sections are each tied to each; of more, one to one.
const MOST_PAIRS: usize = 400;
/// So many broken statements are named one by one.
const MOST_NAMED: usize = 20;

/// So many statements are read in one piece of text, each within so many bytes around its words.
const MOST_STATEMENTS: usize = 16;
const NEAR: usize = 400;

/// A statement such as `depends on REQ-2`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub subject: Subject,
    /// What stands in front of the statement, if it is a name: `REQ-3` in `REQ-3 depends on REQ-2`.
    pub named: Option<String>,
    pub targets: Vec<String>,
    pub waits: bool,
    /// Whether its words can mean nothing else, so that a name that nothing has is worth a word.
    pub is_plain: bool,
    pub line: u32,
}

/// What a statement is about, if it names nothing itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Requirement(usize),
    Section(usize),
}

/// Whether a text says what comes before what, and nothing else.
pub(super) fn is_only(text: &str, hits: &[Hit]) -> bool {
    let first = hits.iter().filter(|hit| is_order(hit)).map(|hit| hit.start).min();
    let Some(before) = first.and_then(|start| text.get(..start)) else { return false };
    let words = words::split(before);
    // A sentence of its own in front says something else.
    let is_other = !words.is_empty() && before.trim_end().ends_with(['.', '!', '?']);
    !is_other && words.len() <= 3 && (words.is_empty() || names_something(before))
}

/// [`is_only`] for a text that was not scanned yet.
pub(super) fn is_statement(text: &str) -> bool {
    is_only(text, &words::scan(text))
}

/// Reads every statement in a text.
pub(super) fn read(text: &str, hits: &[Hit], line: u32, subject: Subject) -> Vec<Order> {
    let mut found = Vec::new();
    let may_order = |hit: &&Hit| is_order(hit) || matches!(hit.class, Class::After | Class::Ahead);
    let statements: Vec<&Hit> = hits.iter().filter(may_order).take(MOST_STATEMENTS).collect();
    for (place, hit) in statements.iter().enumerate() {
        let before = last_part(text.get(..hit.start).unwrap_or_default());
        let clause = before.rsplit(['.', ',', ';']).next().unwrap_or_default();
        let clause = match clause.trim() {
            // Behind a whole sentence the statement is about what that was.
            "" if before.trim_end().ends_with('.') => "",
            "" => before,
            _ if clause.starts_with(char::is_alphanumeric) => before,
            _ => clause,
        };
        let behind = match statements.get(place + 1).and_then(|next| text.get(hit.end..next.start)) {
            // The last name in front of the next statement is that one's subject.
            Some(between) => first_part(between.rsplit_once([',', ';', '.']).map_or(between, |(own, _)| own)),
            None => first_part(text.get(hit.end..).unwrap_or_default()),
        };
        let is_plain = is_order(hit);
        let mut targets = targets(behind);
        targets.retain(|target| is_plain || label::is_one(target));
        if !targets.is_empty() {
            // `It` is the subject that is known anyway.
            let is_named =
                is_plain && names_something(clause) && !clause.split_whitespace().last().is_some_and(is_pronoun);
            let named = is_named.then(|| name_of(clause)).filter(|name| !name.is_empty());
            let waits = matches!(hit.class, Class::Waits | Class::After);
            found.push(Order { subject, named, targets, waits, is_plain, line });
        }
    }
    found
}

/// Writes what the statements say into the requirements. Statements that go in a circle are left out and named.
///
/// Edges are a requirement, the one that it waits for, and the line that says so.
pub(super) fn apply(
    prd: &Prd,
    found: &mut [Requirement],
    (orders, numbered): (&[Order], HashMap<(usize, u32), usize>),
    mut edges: Vec<(usize, usize, u32)>,
    oddities: &mut Vec<Oddity>,
) {
    let names = Names::of(prd, found, numbered);
    let mut unknown = Vec::new();
    for order in orders {
        let subject = match &order.named {
            Some(name) => names.get(name),
            None => Some(names.of_subject(order.subject)),
        };
        for target in &order.targets {
            match (subject, names.get(target).or_else(|| names.beside(order.subject, target))) {
                // A part of the document that asks for nothing has no place in an order.
                (Some([]), Some(_)) | (Some(_), Some([])) if order.is_plain => {
                    let what = format!(
                        "an order that has to do with `{target}` ties nothing together, for one of its sides asks for nothing"
                    );
                    unknown.push((order.line, what));
                }
                (Some(subject), Some(target)) if order.waits => tie(subject, target, order.line, &mut edges),
                (Some(subject), Some(target)) => tie(target, subject, order.line, &mut edges),
                _ if order.is_plain => {
                    let missing = if subject.is_none() { order.named.as_ref().unwrap_or(target) } else { target };
                    let what = format!("an order that names `{missing}`, which is not in the document; it is not used");
                    unknown.push((order.line, what));
                }
                _ => {}
            }
        }
    }
    unknown.dedup();
    for (line, what) in unknown.into_iter().take(MOST_NAMED) {
        oddities.push(Oddity::new(line, line, what));
    }
    let mut seen = HashSet::new();
    edges.retain(|&(from, to, _)| seen.insert((from, to)));
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); found.len()];
    for &(from, to, _) in &edges {
        if let Some(list) = next.get_mut(from) {
            list.push(to);
        }
    }
    let circular: HashSet<(usize, usize)> = circles::closing(&next).into_iter().collect();
    for &(from, to, line) in edges.iter().filter(|(from, to, _)| circular.contains(&(*from, *to))).take(MOST_NAMED) {
        let named = |index: usize| found.get(index).map_or_else(String::new, shown);
        let what = if from == to {
            format!("{} is said to wait for itself; that is not used", named(from))
        } else {
            format!("{} is said to wait for {}, which waits for it in turn; that is not used", named(from), named(to))
        };
        oddities.push(Oddity::new(line, line, what));
    }
    let mut too_many: Vec<(u32, usize)> = Vec::new();
    for (from, to, line) in edges.into_iter().filter(|(from, to, _)| !circular.contains(&(*from, *to))) {
        let Some(name) = found.get(to).map(|target| target.name.clone()) else { continue };
        let Some(requirement) = found.get_mut(from) else { continue };
        match requirement.depends_on.len() < MAX_DEPENDENCIES {
            true => requirement.depends_on.push(name),
            false => too_many.push((line, from)),
        }
    }
    for same in too_many.chunk_by(|(_, one), (_, other)| one == other).take(MOST_NAMED) {
        let Some(&(line, from)) = same.first() else { continue };
        let name = found.get(from).map_or_else(String::new, shown);
        let what =
            format!("{name} is said to wait for {} more than {MAX_DEPENDENCIES}; those are not used", same.len());
        oddities.push(Oddity::new(line, line, what));
    }
}

fn shown(requirement: &Requirement) -> String {
    if requirement.label.is_empty() { requirement.name.clone() } else { requirement.label.clone() }
}

fn is_order(hit: &Hit) -> bool {
    matches!(hit.class, Class::Waits | Class::Before)
}

/// Ties each of `from` to each of `to`, or one to one where that would be very many.
fn tie(from: &[usize], to: &[usize], line: u32, edges: &mut Vec<(usize, usize, u32)>) {
    if from.len() * to.len() <= MOST_PAIRS {
        edges.extend(from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to, line))));
    } else if let (Some(&first), Some(&last)) = (from.first(), to.last()) {
        edges.push((first, last, line));
    }
}

/// The things named behind `depends on`, up to the end of the sentence.
fn targets(behind: &str) -> Vec<String> {
    const MOST: usize = 32;
    let end = sentence_end(behind);
    let said = behind.get(..end).unwrap_or(behind).trim_start_matches([':', ' ']);
    let mut found = Vec::new();
    for part in said.split([',', ';', '&', '/']).flat_map(split_and).take(MOST) {
        let name = name_of(part);
        if name.is_empty() {
            continue;
        }
        found.push(name);
    }
    found
}

fn first_part(text: &str) -> &str {
    text.get(..text.floor_char_boundary(NEAR)).unwrap_or_default()
}

fn last_part(text: &str) -> &str {
    text.get(text.ceil_char_boundary(text.len().saturating_sub(NEAR))..).unwrap_or_default()
}

fn sentence_end(text: &str) -> usize {
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        let next = text.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
        let is_end = matches!(c, '.' | '!' | '?') && next.is_none_or(char::is_whitespace) && previous != ' ';
        if is_end || matches!(c, '(' | '—') {
            return at;
        }
        previous = c;
    }
    text.len()
}

fn split_and(text: &str) -> Vec<&str> {
    let mut parts = vec![text];
    for and in [" and ", " und ", " y ", " et "] {
        parts = parts.into_iter().flat_map(|part| part.split(and)).collect();
    }
    parts
}

/// The name in a part of a statement: `section 4.3 starts` is `4.3`, `“Search”` is `search`.
fn name_of(part: &str) -> String {
    let quotes = ['"', '“', '”', '„', '«', '»', '`', '\''];
    if let Some(quoted) = part.split(quotes).nth(1).filter(|quoted| !quoted.trim().is_empty()) {
        return key(quoted);
    }
    let words: Vec<&str> = part.split_whitespace().collect();
    let places = words.iter().take_while(|word| is_place(word)).count();
    let words = words.get(places.min(words.len().saturating_sub(1))..).unwrap_or_default();
    let first = words.first().copied().unwrap_or_default().trim_matches(['.', ':', '[', ']', '(', ')']);
    if is_reference(first) { key(first) } else { key(&words.join(" ")) }
}

/// Whether a text in front of a statement names its subject.
fn names_something(before: &str) -> bool {
    let words: Vec<&str> = before.split_whitespace().collect();
    let last = words.last().map_or("", |word| word.trim_matches([':', '.', '*', '[', ']', '(', ')', '`']));
    let is_quoted = before.contains(['"', '“', '„', '«']);
    is_reference(last) || is_quoted || words.last().is_some_and(|word| is_pronoun(word))
}

fn is_pronoun(word: &str) -> bool {
    matches!(words::normal(word).as_str(), "this" | "it" | "es" | "dies" | "esto" | "ceci" | "and" | "und" | "y" | "et")
}

fn is_place(word: &str) -> bool {
    words::has(&words::scan(word), Class::Place)
}

fn is_reference(word: &str) -> bool {
    let number = word.trim_end_matches('.');
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let is_letter = word.len() == 1 && word.chars().all(|c| c.is_ascii_uppercase());
    is_number || is_letter || label::is_one(word)
}

/// How names are compared: numbers keep their dots.
fn key(name: &str) -> String {
    let name = name.trim().trim_end_matches('.');
    if is_reference(name) { name.to_owned() } else { words::normal(name) }
}

/// Everything that a statement can name.
struct Names {
    requirements: HashMap<String, usize>,
    /// `0`, `1`, `2` and so on, to name one requirement as a list of one.
    each: Vec<usize>,
    sections: HashMap<String, usize>,
    /// The requirements of each section and those below it.
    of_section: Vec<Vec<usize>>,
    /// By section and number in a list.
    numbered: HashMap<(usize, u32), usize>,
    section_of: Vec<usize>,
}

impl Names {
    fn of(prd: &Prd, found: &[Requirement], numbered: HashMap<(usize, u32), usize>) -> Self {
        let mut names = Self {
            requirements: HashMap::new(),
            each: (0..found.len()).collect(),
            sections: HashMap::new(),
            of_section: Vec::new(),
            numbered,
            section_of: found.iter().map(|requirement| requirement.section).collect(),
        };
        for (index, section) in prd.sections.iter().enumerate() {
            let heading = &section.heading;
            let (number, rest) = label::number(heading).map_or(("", heading.as_str()), |split| split);
            let label = label::leading(heading).map_or("", |(label, _)| label);
            for name in [number, label, rest, heading.as_str()] {
                if !name.is_empty() {
                    names.sections.entry(key(name)).or_insert(index);
                }
            }
        }
        // `Part 3` is also what a statement calls 3, if nothing else is.
        for (index, section) in prd.sections.iter().enumerate() {
            names.sections.entry(name_of(&section.heading)).or_insert(index);
        }
        names.of_section = vec![Vec::new(); prd.sections.len()];
        let mut above: Vec<usize> = Vec::new();
        let mut by_section = found.iter().enumerate().peekable();
        for (index, section) in prd.sections.iter().enumerate() {
            above.retain(|&upper| prd.sections.get(upper).is_some_and(|upper| upper.level < section.level));
            above.push(index);
            while let Some((place, _)) = by_section.next_if(|(_, requirement)| requirement.section <= index) {
                for &upper in &above {
                    if let Some(list) = names.of_section.get_mut(upper) {
                        list.push(place);
                    }
                }
            }
        }
        for (index, requirement) in found.iter().enumerate().filter(|(_, requirement)| !requirement.label.is_empty()) {
            names.requirements.entry(key(&requirement.label)).or_insert(index);
        }
        names
    }

    fn get(&self, name: &str) -> Option<&[usize]> {
        if let Some(&index) = self.requirements.get(name) {
            return self.each.get(index..=index);
        }
        let section = self.sections.get(name)?;
        self.of_section.get(*section).map(Vec::as_slice)
    }

    /// What a number in a list of the subject's own section stands before.
    fn beside(&self, subject: Subject, name: &str) -> Option<&[usize]> {
        let section = match subject {
            Subject::Requirement(index) => *self.section_of.get(index)?,
            Subject::Section(index) => index,
        };
        let &index = self.numbered.get(&(section, name.parse().ok()?))?;
        self.each.get(index..=index)
    }

    fn of_subject(&self, subject: Subject) -> &[usize] {
        let list = match subject {
            Subject::Requirement(index) => self.each.get(index..=index),
            Subject::Section(index) => self.of_section.get(index).map(Vec::as_slice),
        };
        list.unwrap_or_default()
    }
}
