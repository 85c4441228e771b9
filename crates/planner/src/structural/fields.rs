//! The texts of a task, made of the document's words.

use std::collections::HashSet;

use crate::edit::{clip, counted};
use crate::gates::normal;
use crate::prd::{Mark, Prd, Section, lines_named};
use crate::requirements::{Requirement, Strength};
use crate::words::{self, Class};
use crate::{Complexity, Priority, Task};

use super::NAME;

/// The longest title, in characters.
pub const LONGEST_TITLE: usize = 80;

/// So many requirements are told in one task; the sources name all of them.
const MOST_TOLD: usize = 50;
/// Characters of a text that stands in the middle of another one.
const MOST_SAID: usize = 240;

/// The first clause of a text as a title: at most 80 characters, cut between words.
pub fn title(text: &str) -> String {
    // What is cut away is never looked at: a text may be a whole document.
    let plain = words::seen(text.chars().take(LONGEST_TITLE * 8));
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = words.join(" ").replace("**", "");
    let line = line.trim_start_matches(['-', '*', '#', '>', ' ']);
    let sentence =
        line.find(". ").and_then(|end| line.get(..end)).filter(|first| first.chars().count() >= 12).unwrap_or(line);
    let whole = sentence.trim_end_matches(['.', ';', ':', ',', ' ']);
    let titled = cut(whole, LONGEST_TITLE);
    let mut chars = titled.chars();
    match chars.next() {
        Some(first) if first.is_lowercase() => first.to_uppercase().chain(chars).collect::<String>(),
        Some(_) => titled,
        None => "Untitled".to_owned(),
    }
}

/// A text of at most `most` characters, cut between words and marked where it was.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let room: String = text.chars().take(most - 1).collect();
    let words = room.rsplit_once(' ').map_or(room.as_str(), |(words, _)| words);
    // One word of that length has no boundary to be cut at.
    let kept = if words.chars().count() < most / 3 { room.as_str() } else { words };
    format!("{}…", kept.trim_end_matches([',', ';', ':', '(', ' ', '-', '…']))
}

/// Makes titles differ where long or repeated texts gave the same one, by the requirement's name, line or number.
pub(super) fn distinguish(tasks: &mut [Task]) {
    let mut seen = HashSet::new();
    for task in tasks {
        if seen.insert(normal(&task.title)) {
            continue;
        }
        let suffix = match task.sources.first() {
            Some(source) if !source.requirement.is_empty() => format!("({})", source.requirement),
            Some(source) => format!("(line {})", source.first_line),
            None => format!("({})", task.number),
        };
        let room = LONGEST_TITLE.saturating_sub(suffix.len() + 1);
        task.title = format!("{} {suffix}", cut(&task.title, room.max(1)));
        seen.insert(normal(&task.title));
    }
}

/// A wish in a user's words becomes a task that claims no more than was said.
pub fn one(prompt: &str) -> Task {
    let text = prompt.trim();
    Task {
        title: title(text),
        description: text.to_owned(),
        details: "Nothing more was said. Find out what it touches before beginning.".to_owned(),
        test_strategy: "Derived, none was named: show that what was asked for works, and that nothing else broke."
            .to_owned(),
        priority: by_words(text).unwrap_or_default(),
        made_by: NAME.to_owned(),
        ..Task::default()
    }
}

/// How hard a task looks by its size: its words, its requirements and what it waits for. A guess, and it says so.
pub fn complexity(task: &Task) -> Complexity {
    let words = [&task.title, &task.description, &task.details]
        .iter()
        .map(|text| text.split_whitespace().count())
        .sum::<usize>();
    let (parts, waits) = (task.subtasks.len().max(task.sources.len()), task.dependencies.len());
    let hard = ["migration", "security", "encrypt", "distributed", "concurren", "real time", "protocol", "performance"];
    let text = words::normal(&format!("{} {}", task.title, task.description));
    let topics: Vec<&str> = hard.into_iter().filter(|topic| text.contains(topic)).collect();
    let points = 1 + (words / 40).min(3) + parts.saturating_sub(1).min(4) + (waits / 2).min(2) + topics.len().min(2);
    let score = u8::try_from(points.clamp(1, 10)).unwrap_or(10);
    let subtasks = if score <= 2 { 0 } else { u32::from(score).div_ceil(2) + u32::from(score > 6) };
    let told = if topics.is_empty() { String::new() } else { format!(", words such as {}", topics.join(", ")) };
    Complexity {
        score,
        recommended_subtasks: subtasks,
        expansion_prompt: match parts {
            0 | 1 => format!("Split “{}” along what it names; add no new scope.", task.title),
            parts => format!("Split “{}” along its {parts} stated parts; add no new scope.", task.title),
        },
        reasoning: format!(
            "{}, {}, {}{told}; estimated from form only.",
            counted(words, "word"),
            counted(parts, "stated part"),
            if waits == 1 { "1 dependency".to_owned() } else { format!("{waits} dependencies") },
        ),
    }
}

/// By words such as critical, else by how binding it is.
pub(super) fn priority(requirement: &Requirement) -> Priority {
    let told = by_words(&requirement.text);
    match requirement.strength {
        _ if told == Some(Priority::Critical) => Priority::Critical,
        Strength::May => Priority::Low,
        Strength::Must if words::has(&words::scan(&requirement.text), Class::Must) => told.unwrap_or(Priority::High),
        Strength::Must | Strength::Should => told.unwrap_or(Priority::Medium),
    }
}

fn by_words(text: &str) -> Option<Priority> {
    let hits = words::scan(text);
    if words::has(&hits, Class::High) {
        Some(Priority::Critical)
    } else if words::has(&hits, Class::Low) {
        Some(Priority::Low)
    } else {
        None
    }
}

/// Where a requirement stands and what the document calls it.
pub(super) fn details(prd: &Prd, requirement: &Requirement) -> String {
    let mut told = format!("From {}", place(requirement));
    if let Some(section) = prd.sections.get(requirement.section).filter(|section| !section.heading.is_empty()) {
        let path: Vec<String> = section.path.iter().map(|heading| title(heading)).collect();
        told.push_str(&format!(", under “{}”", path.join(" › ")));
    }
    told.push_str(&format!(". Binding: {}.", requirement.strength));
    if !requirement.depends_on.is_empty() {
        let names: Vec<&str> = requirement.depends_on.iter().take(MOST_TOLD).map(String::as_str).collect();
        told.push_str(&format!(" The document puts it after {}.", names.join(", ")));
    }
    told
}

/// The requirements of a task, one per line.
pub(super) fn list(members: &[&Requirement]) -> String {
    let mut told: Vec<String> =
        members.iter().take(MOST_TOLD).map(|member| format!("- {} ({})", member.text, place(member))).collect();
    if members.len() > MOST_TOLD {
        told.push(format!("- and {} more; see the sources", members.len() - MOST_TOLD));
    }
    told.join("\n")
}

fn place(requirement: &Requirement) -> String {
    let name = if requirement.label.is_empty() {
        requirement.name.clone()
    } else {
        format!("{} ({})", requirement.name, requirement.label)
    };
    format!("{name}, {}", lines_named(requirement.first_line, requirement.last_line))
}

/// What the document says about acceptance; a sentence that is called derived where it says nothing.
pub(super) fn test_strategy(members: &[&Requirement]) -> String {
    let accepted: Vec<String> = members
        .iter()
        .flat_map(|member| &member.acceptance)
        .take(MOST_TOLD)
        .map(|(line, text)| format!("- {text} (line {line})"))
        .collect();
    if !accepted.is_empty() {
        return accepted.join("\n");
    }
    match members {
        [one] => {
            format!("Derived, the document names no acceptance: show that this holds: {}", clip(&one.text, MOST_SAID))
        }
        _ => format!(
            "Derived, the document names no acceptance: show each of the {} requirements to hold.",
            members.len()
        ),
    }
}

/// A task's description: how much the document wants, and where. What it wants stands in the details, word for word.
pub(super) fn summary(heading: &str, members: &[&Requirement]) -> String {
    let first = members.iter().map(|member| member.first_line).min().unwrap_or(0);
    let last = members.iter().map(|member| member.last_line).max().unwrap_or(0);
    let under = if heading.is_empty() { String::new() } else { format!(", under “{}”", title(heading)) };
    let lines = lines_named(first, last);
    format!("{} of the document, {lines}{under}.", counted(members.len(), "requirement"))
}

/// The title of a task whose requirements have no heading in common.
pub(super) fn joined_title(members: &[&Requirement]) -> String {
    let first = members.first().map_or("", |member| member.text.as_str());
    let more = members.len().saturating_sub(1);
    let first: String = title(first).chars().take(LONGEST_TITLE - 14).collect();
    format!("{} (and {more} more)", first.trim_end_matches(['…', ' ', ',']))
}

/// Whether a section has lines that a person would read.
pub(super) fn has_text(prd: &Prd, section: &Section) -> bool {
    (section.first_line..=section.last_line).any(|line| {
        let is_read = matches!(prd.mark_at(line), Mark::Text | Mark::Table | Mark::Code);
        is_read && prd.line(line).chars().any(char::is_alphanumeric)
    })
}

/// The first line of a section's text.
pub(super) fn first_words(prd: &Prd, section: &Section) -> String {
    let mut lines =
        (section.first_line..=section.last_line).filter(|&line| matches!(prd.mark_at(line), Mark::Text | Mark::Table));
    let line = lines.find(|&line| prd.line(line).chars().any(char::is_alphanumeric));
    clip(line.map_or(section.title(), |line| prd.line(line).trim()), MOST_SAID)
}
