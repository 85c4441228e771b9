//! The mapping file: which of GitHub's events make and change tasks, and how. What it leaves out is as built in.

use std::collections::BTreeMap;

use base::config::{ConfigFault, ConfigFaults, Section, table};
use toml::Value;

use super::event::{CHECK, ISSUE, ItemKind, PULL_REQUEST, RELEASE};
use crate::{Priority, Status};

/// The longest template of a title.
const MOST_TEMPLATE: usize = 200;

/// What the file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    pub(super) issues: ItemRules,
    pub(super) pull_requests: ItemRules,
    pub(super) releases: ItemRules,
    pub(super) pushes: PushRules,
    pub(super) checks: CheckRules,
    /// By label in lower case.
    pub(super) priorities: BTreeMap<String, Priority>,
}

/// What issues, pull requests or releases do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ItemRules {
    pub enabled: bool,
    /// Actions that make a task where there is none.
    pub makes: Vec<String>,
    /// Where a task stands after an action; actions that are not here leave it.
    pub status: BTreeMap<String, Status>,
    /// Of the task's title.
    pub title: String,
    /// Of a new task without a label that says more.
    pub priority: Priority,
}

/// What commits do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PushRules {
    pub enabled: bool,
    /// Only these branches; the repository's default branch when empty, all by `*`.
    pub branches: Vec<String>,
    /// Where a task stands that a commit says is finished; `None` only notes it.
    pub fixes: Option<Status>,
    /// Where a task stands that a commit names; `None` only notes it.
    pub mentions: Option<Status>,
}

/// What checks and workflows do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckRules {
    pub enabled: bool,
    /// Only these branches; all when empty.
    pub branches: Vec<String>,
    pub title: String,
    pub priority: Priority,
    /// Where its task stands when it succeeds again.
    pub fixed: Status,
}

impl Default for Mapping {
    fn default() -> Self {
        let priorities = [
            ("critical", Priority::Critical),
            ("security", Priority::Critical),
            ("priority: critical", Priority::Critical),
            ("high", Priority::High),
            ("priority: high", Priority::High),
            ("bug", Priority::High),
            ("regression", Priority::High),
            ("enhancement", Priority::Medium),
            ("priority: medium", Priority::Medium),
            ("low", Priority::Low),
            ("priority: low", Priority::Low),
            ("documentation", Priority::Low),
        ];
        Self {
            issues: ItemRules::new(ISSUE),
            pull_requests: ItemRules::new(PULL_REQUEST),
            releases: ItemRules::new(RELEASE),
            pushes: PushRules { enabled: true, branches: Vec::new(), fixes: Some(Status::Done), mentions: None },
            checks: CheckRules {
                enabled: true,
                branches: Vec::new(),
                title: "Fix {check} on {branch}".to_owned(),
                priority: Priority::High,
                fixed: Status::Done,
            },
            priorities: priorities.map(|(label, priority)| (label.to_owned(), priority)).into(),
        }
    }
}

impl ItemRules {
    fn new(kind: &ItemKind) -> Self {
        let defaults = kind.actions.iter().filter_map(|(action, status)| Some((action.to_string(), (*status)?)));
        Self {
            enabled: true,
            makes: kind.makes.iter().map(ToString::to_string).collect(),
            status: defaults.collect(),
            title: kind.title.to_owned(),
            priority: Priority::Medium,
        }
    }
}

impl Mapping {
    /// Reads a mapping file; every fault is told. `name` is what the file is called in them.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigFaults> {
        let mut faults = Vec::new();
        let mut root = Section::new("", table("", text, &mut faults));
        let Self { pushes, checks, priorities, .. } = Self::default();
        let mapping = Self {
            issues: items(root.section("issues"), ISSUE, &mut faults),
            pull_requests: items(root.section("pull_request"), PULL_REQUEST, &mut faults),
            releases: items(root.section("release"), RELEASE, &mut faults),
            pushes: push(root.section("push"), pushes, &mut faults),
            checks: check(root.section("checks"), checks, &mut faults),
            priorities: priority_of_labels(root.section("priority"), priorities, &mut faults),
        };
        root.finish(&mut faults);
        if faults.is_empty() {
            return Ok(mapping);
        }
        let named = |fault: ConfigFault| {
            let field = if fault.field.is_empty() { name.to_owned() } else { format!("{name}: {}", fault.field) };
            ConfigFault { field, ..fault }
        };
        Err(ConfigFaults(faults.into_iter().map(named).collect()))
    }

    /// The highest priority that one of the labels means.
    pub(super) fn priority(&self, labels: &[String]) -> Option<Priority> {
        labels.iter().filter_map(|label| self.priorities.get(&label.to_lowercase())).max().copied()
    }

    pub(super) fn rules(&self, kind: &ItemKind) -> &ItemRules {
        match kind.word {
            word if word == PULL_REQUEST.word => &self.pull_requests,
            word if word == RELEASE.word => &self.releases,
            _ => &self.issues,
        }
    }
}

fn items(mut s: Section, kind: &ItemKind, faults: &mut Vec<ConfigFault>) -> ItemRules {
    let default = ItemRules::new(kind);
    let actions: Vec<&str> = kind.actions.iter().map(|(action, _)| *action).collect();
    let expected = format!("a list of {}", actions.join(", "));
    let makes = s
        .get("make", &expected, |v| texts(v).filter(|words| words.iter().all(|word| actions.contains(&word.as_str()))));
    let mut status = s.section("status");
    let mut by_action = default.status;
    for action in status.keys() {
        let Some(value) = status.take_named(&action) else { continue };
        match (actions.contains(&action.as_str()), status_or(&value, "keep")) {
            (true, Some(Some(to))) => drop(by_action.insert(action, to)),
            (true, Some(None)) => drop(by_action.remove(&action)),
            (true, None) => {
                status.fault(&action, &value.to_string(), "is no status", &format!("give keep, {}", statuses()))
            }
            (false, _) => status.fault(
                &action,
                &value.to_string(),
                "is no action",
                &format!("known here: {}", actions.join(", ")),
            ),
        }
    }
    status.finish(faults);
    let rules = ItemRules {
        enabled: s.get("enabled", "true or false", Value::as_bool).unwrap_or(true),
        makes: makes.unwrap_or(default.makes),
        status: by_action,
        title: template(&mut s, kind.places).unwrap_or(default.title),
        priority: priority(&mut s).unwrap_or(default.priority),
    };
    s.finish(faults);
    rules
}

fn push(mut s: Section, default: PushRules, faults: &mut Vec<ConfigFault>) -> PushRules {
    let expected = format!("one of note, {}", statuses());
    let rules = PushRules {
        enabled: s.get("enabled", "true or false", Value::as_bool).unwrap_or(default.enabled),
        branches: s.get("branches", BRANCHES, texts).unwrap_or(default.branches),
        fixes: s.get("fixes", &expected, |v| status_or(v, "note")).unwrap_or(default.fixes),
        mentions: s.get("mentions", &expected, |v| status_or(v, "note")).unwrap_or(default.mentions),
    };
    s.finish(faults);
    rules
}

fn check(mut s: Section, default: CheckRules, faults: &mut Vec<ConfigFault>) -> CheckRules {
    let rules = CheckRules {
        enabled: s.get("enabled", "true or false", Value::as_bool).unwrap_or(default.enabled),
        branches: s.get("branches", BRANCHES, texts).unwrap_or(default.branches),
        title: template(&mut s, CHECK).unwrap_or(default.title),
        priority: priority(&mut s).unwrap_or(default.priority),
        fixed: s
            .get("fixed", &format!("one of {}", statuses()), |v| Status::parse(v.as_str()?))
            .unwrap_or(default.fixed),
    };
    s.finish(faults);
    rules
}

/// Labels of the file are added to those that are built in; `none` takes one away.
fn priority_of_labels(
    mut s: Section,
    mut known: BTreeMap<String, Priority>,
    faults: &mut Vec<ConfigFault>,
) -> BTreeMap<String, Priority> {
    for label in s.keys() {
        let Some(value) = s.take_named(&label) else { continue };
        let plain = label.to_lowercase();
        match value.as_str().map(|word| (word, Priority::parse(word))) {
            Some((_, Some(priority))) => drop(known.insert(plain, priority)),
            Some(("none", None)) => drop(known.remove(&plain)),
            _ => {
                s.fault(&label, &value.to_string(), "is no priority", &format!("give none, {}", all(Priority::ALL)));
            }
        }
    }
    s.finish(faults);
    known
}

const BRANCHES: &str = "a list of branches, such as [\"main\"], or [\"*\"]";

/// Whether a list of branches has this one.
pub(super) fn has_branch(branches: &[String], branch: &str) -> bool {
    branches.iter().any(|known| known == "*" || known == branch)
}

fn priority(s: &mut Section) -> Option<Priority> {
    s.get("priority", &format!("one of {}", all(Priority::ALL)), |v| Priority::parse(v.as_str()?))
}

fn statuses() -> String {
    all(Status::ALL)
}

fn all<T: ToString>(words: &[T]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A status, or `None` for the other word.
fn status_or(value: &Value, other: &str) -> Option<Option<Status>> {
    let word = value.as_str()?;
    if word == other { Some(None) } else { Status::parse(word).map(Some) }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// A text with places such as `{title}` in it, of which only `places` are known.
fn template(s: &mut Section, places: &[&str]) -> Option<String> {
    let shown: Vec<String> = places.iter().map(|place| format!("{{{place}}}")).collect();
    let expected = format!("a text of at most {MOST_TEMPLATE} characters in which {} may stand", shown.join(", "));
    s.get("title", &expected, |v| {
        let text = v.as_str().filter(|text| !text.trim().is_empty() && text.chars().count() <= MOST_TEMPLATE)?;
        filled(text, |place| places.contains(&place).then(String::new)).map(|_| text.to_owned())
    })
}

/// A template with its places filled in, once: what is filled in is no template. `None` when a place is not known.
pub(super) fn filled(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        let (place, after) = behind.split_once('}')?;
        text.push_str(before);
        text.push_str(&value(place)?);
        rest = after;
    }
    (!rest.contains('}')).then(|| text + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_built_in_mapping() {
        assert_eq!(Mapping::parse("m", "").unwrap(), Mapping::default());
    }

    #[test]
    fn the_example_file_says_what_is_built_in() {
        let example = include_str!("../../../../deploy/github.toml");
        assert_eq!(Mapping::parse("deploy/github.toml", example).unwrap(), Mapping::default());
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let text = r#"
            [priority]
            "P0" = "critical"
            bug = "none"
            [issues]
            make = ["opened", "labeled"]
            title = "{repo}#{number}: {title}"
            status = { closed = "review", reopened = "keep" }
            [pull_request]
            enabled = false
            [push]
            branches = ["main", "next"]
            mentions = "in-progress"
            fixes = "note"
            [checks]
            branches = ["main"]
            fixed = "review"
        "#;
        let mapping = Mapping::parse("m", text).unwrap();
        assert_eq!(mapping.priority(&["p0".into()]), Some(Priority::Critical));
        assert_eq!(mapping.priority(&["Bug".into()]), None);
        assert_eq!(mapping.issues.status.get("closed"), Some(&Status::Review));
        assert_eq!(mapping.issues.status.get("reopened"), None);
        assert_eq!(mapping.issues.status.get("not_planned"), Some(&Status::Cancelled));
        assert!(!mapping.pull_requests.enabled);
        assert_eq!((mapping.pushes.fixes, mapping.pushes.mentions), (None, Some(Status::InProgress)));
        assert_eq!((mapping.releases, mapping.checks.fixed), (Mapping::default().releases, Status::Review));
    }

    #[test]
    fn the_highest_label_decides() {
        let labels = ["documentation", "Bug", "help wanted"].map(str::to_owned);
        assert_eq!(Mapping::default().priority(&labels), Some(Priority::High));
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let wrong = r#"
            [issue]
            [issues]
            make = ["opened", "starred"]
            title = "{titel}"
            priority = "urgent"
            status = { closed = "finished", merged = "done" }
            [pull_request]
            title = "{title"
            enabled = "yes"
            [push]
            fixes = "keep"
            branch = ["main"]
            [checks]
            fixed = 1
            title = ""
            [priority]
            bug = "very"
        "#;
        insta::assert_snapshot!(Mapping::parse("github.toml", wrong).unwrap_err());
        let faults = Mapping::parse("github.toml", "[issues\n").unwrap_err().to_string();
        assert_eq!(faults, "github.toml: is not TOML: unclosed table, expected `]`\n  hint: look at line 1");
    }

    #[test]
    fn what_is_filled_in_is_no_template() {
        let value = |place: &str| (place == "title").then(|| "{number} {title}".to_owned());
        assert_eq!(filled("a {title} b", value).as_deref(), Some("a {number} {title} b"));
        assert_eq!(filled("{title}} b", value), None);
    }
}
