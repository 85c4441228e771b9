//! Reads deliveries: an event's name and its payload become something that happened, or a reason to leave it alone.
//!
//! Only the fields that are used are looked at, and each is bounded and cleaned here, once.

use std::time::Duration;

use base::{Fault, Result, time};
use serde_json::Value;

use super::link::Link;
use super::text::{self, MOST_BODY, MOST_NAME};
use crate::Status;

/// Something that happened at GitHub.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Happening {
    Item(Item),
    Push(Push),
    Check(Check),
    /// Nothing that anybody here cares for.
    Nothing {
        why: String,
    },
}

/// What an issue, a pull request and a release have in common, and in what they differ.
#[derive(Debug, PartialEq)]
pub(super) struct ItemKind {
    /// In the link.
    pub word: &'static str,
    /// For people.
    pub shown: &'static str,
    /// What may be done with it, and where its task stands then unless the mapping says otherwise.
    pub actions: &'static [(&'static str, Option<Status>)],
    /// Actions that make a task unless the mapping says otherwise.
    pub makes: &'static [&'static str],
    /// Of its task's title, unless the mapping says otherwise.
    pub title: &'static str,
    /// What may stand in such a title.
    pub places: &'static [&'static str],
}

/// `closed` as not planned is the action `not_planned`.
pub(super) const ISSUE: &ItemKind = &ItemKind {
    word: "issue",
    shown: "issue",
    actions: &[
        ("opened", Some(Status::Pending)),
        ("edited", None),
        ("closed", Some(Status::Done)),
        ("not_planned", Some(Status::Cancelled)),
        ("reopened", Some(Status::Pending)),
        ("labeled", None),
        ("unlabeled", None),
        ("deleted", Some(Status::Cancelled)),
    ],
    makes: &["opened", "reopened"],
    title: "{title} (#{number})",
    places: &["title", "number", "repo", "author"],
};

/// `opened` as a draft is the action `draft`, `closed` after a merge `merged`.
pub(super) const PULL_REQUEST: &ItemKind = &ItemKind {
    word: "pull_request",
    shown: "pull request",
    actions: &[
        ("opened", Some(Status::Review)),
        ("draft", Some(Status::InProgress)),
        ("edited", None),
        ("ready_for_review", Some(Status::Review)),
        ("closed", Some(Status::Cancelled)),
        ("merged", Some(Status::Done)),
        ("reopened", Some(Status::Review)),
        ("labeled", None),
        ("unlabeled", None),
    ],
    makes: &["opened", "draft", "ready_for_review", "reopened"],
    title: "{title} (pull request #{number})",
    places: &["title", "number", "repo", "author"],
};

pub(super) const RELEASE: &ItemKind = &ItemKind {
    word: "release",
    shown: "release",
    actions: &[("published", Some(Status::Pending))],
    makes: &["published"],
    title: "Follow up on release {tag} of {repo}",
    places: &["title", "tag", "repo", "author"],
};

/// What may stand in the title of a check's task.
pub(super) const CHECK: &[&str] = &["check", "branch", "repo"];

/// The most commits of a push that are read.
const MOST_COMMITS: usize = 200;
const MOST_LABELS: usize = 100;

/// An issue, a pull request or a release, and what was done with it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub kind: &'static ItemKind,
    pub link: Link,
    /// One of the kind's.
    pub action: &'static str,
    pub title: String,
    /// Of a release.
    pub tag: String,
    pub body: String,
    pub url: String,
    pub author: String,
    pub labels: Vec<String>,
    /// The label that came or went.
    pub label: String,
    pub has_new_title: bool,
    pub has_new_body: bool,
    /// How old the object was then, where its times can be read.
    pub age: Option<Duration>,
    /// Whether nothing can have happened to the object before.
    pub is_first: bool,
}

/// Commits that came to a branch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Push {
    pub branch: String,
    pub default_branch: String,
    pub commits: Vec<Commit>,
}

/// A commit that was not there before.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Commit {
    pub sha: String,
    pub message: String,
    pub author: String,
    pub url: String,
}

/// A check or a workflow that ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Check {
    pub link: Link,
    pub has_failed: bool,
    pub sha: String,
    pub url: String,
}

/// Whether somebody here cares for the event at all.
pub(super) fn is_known(event: &str) -> bool {
    matches!(event, "issues" | "pull_request" | "push" | "release" | "check_run" | "workflow_run")
}

/// What the payload of an event tells.
pub(super) fn read(event: &str, payload: &Value) -> Result<Happening> {
    match event {
        "issues" => item(payload, ISSUE, "issue"),
        "pull_request" => item(payload, PULL_REQUEST, "pull_request"),
        "release" => item(payload, RELEASE, "release"),
        "push" => push(payload),
        "check_run" | "workflow_run" => check(payload, event),
        other => Ok(nothing(format!("event `{}` is not handled", text::line(other, MOST_NAME)))),
    }
}

fn nothing(why: String) -> Happening {
    Happening::Nothing { why }
}

fn item(payload: &Value, kind: &'static ItemKind, at: &str) -> Result<Happening> {
    let object = Object { value: payload.get(at).unwrap_or(&Value::Null), path: at };
    let given = raw(payload, "/action");
    let is_release = kind.word == RELEASE.word;
    let meant = match (given, kind.word) {
        ("closed", "issue") if matches!(raw(object.value, "/state_reason"), "not_planned" | "duplicate") => {
            "not_planned"
        }
        ("closed", "pull_request") if flag(object.value, "/merged") => "merged",
        ("opened" | "reopened", "pull_request") if flag(object.value, "/draft") => "draft",
        ("converted_to_draft", "pull_request") => "draft",
        (given, _) => given,
    };
    let Some((action, _)) = kind.actions.iter().find(|(action, _)| *action == meant) else {
        return Ok(nothing(format!("action `{}` of {} is not handled", text::line(given, MOST_NAME), kind.shown)));
    };
    let number = object.number(if is_release { "/id" } else { "/number" })?;
    let at = if is_release { "/published_at" } else { "/updated_at" };
    let link = Link {
        repo: repo(payload)?,
        kind: kind.word.to_owned(),
        number: Some(number),
        at: object.line(at),
        ..Link::default()
    };
    let (born_s, at_s) = (time::unix_s(raw(object.value, "/created_at")), time::unix_s(&link.at));
    let age = born_s.zip(at_s).and_then(|(born_s, at_s)| u64::try_from(at_s - born_s).ok()).map(Duration::from_secs);
    let tag = object.line("/tag_name");
    let title = object.line(if is_release { "/name" } else { "/title" });
    let changes = payload.get("changes").filter(|changes| changes.is_object());
    let has_new = |field: &str| *action == "edited" && changes.is_none_or(|changes| changes.get(field).is_some());
    let labels = object.value.get("labels").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(Happening::Item(Item {
        kind,
        link,
        action,
        title: if title.is_empty() { tag.clone() } else { title },
        tag,
        body: text::lines(raw(object.value, "/body"), MOST_BODY),
        url: text::url(raw(object.value, "/html_url")),
        author: object.line(if is_release { "/author/login" } else { "/user/login" }),
        labels: labels.iter().take(MOST_LABELS).map(|label| text::line(raw(label, "/name"), MOST_NAME)).collect(),
        label: text::line(raw(payload, "/label/name"), MOST_NAME),
        has_new_title: has_new("title"),
        has_new_body: has_new("body"),
        age,
        is_first: given == "opened",
    }))
}

fn push(payload: &Value) -> Result<Happening> {
    let object = Object { value: payload, path: "payload" };
    let reference = object.required("/ref")?;
    let Some(branch) = reference.strip_prefix("refs/heads/") else {
        return Ok(nothing("a push of something else than a branch is not handled".to_owned()));
    };
    let commits = payload.get("commits").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_new = |commit: &&Value| commit.get("distinct").and_then(Value::as_bool).unwrap_or(true);
    let commit = |value: &Value| {
        let commit = Object { value, path: "commit" };
        Commit {
            sha: sha(raw(value, "/id")),
            message: text::lines(raw(value, "/message"), MOST_BODY),
            author: commit.line("/author/name"),
            url: text::url(raw(value, "/url")),
        }
    };
    let commits = commits.iter().take(MOST_COMMITS).filter(is_new).map(commit);
    Ok(Happening::Push(Push {
        branch: text::line(branch, MOST_NAME),
        default_branch: text::line(raw(payload, "/repository/default_branch"), MOST_NAME),
        commits: commits.filter(|commit| !commit.sha.is_empty()).collect(),
    }))
}

fn check(payload: &Value, event: &str) -> Result<Happening> {
    let object = Object { value: payload.get(event).unwrap_or(&Value::Null), path: event };
    if raw(payload, "/action") != "completed" {
        return Ok(nothing("only the end of a check is handled".to_owned()));
    }
    let conclusion = object.required("/conclusion")?;
    let has_failed = match conclusion {
        "failure" | "timed_out" | "startup_failure" => true,
        "success" => false,
        other => {
            let other = text::line(other, MOST_NAME);
            return Ok(nothing(format!("a check that ends as `{other}` has neither failed nor succeeded")));
        }
    };
    let is_workflow = event == "workflow_run";
    let branch = object.line(if is_workflow { "/head_branch" } else { "/check_suite/head_branch" });
    let repo = repo(payload)?;
    // A branch of a fork is another one, whatever its name.
    let owner = raw(object.value, "/head_repository/full_name");
    let is_fork = is_workflow && !owner.is_empty() && !owner.eq_ignore_ascii_case(&repo);
    let branch = if is_fork { text::line(&format!("{owner}:{branch}"), MOST_NAME) } else { branch };
    let name = text::line(object.required("/name")?, MOST_NAME);
    let at = object.line(if is_workflow { "/updated_at" } else { "/completed_at" });
    Ok(Happening::Check(Check {
        link: Link { repo, kind: event.to_owned(), name, branch, at, ..Link::default() },
        has_failed,
        sha: sha(raw(object.value, "/head_sha")),
        url: text::url(raw(object.value, "/html_url")),
    }))
}

fn repo(payload: &Value) -> Result<String> {
    Object { value: payload, path: "payload" }.required("/repository/full_name").map(|name| text::line(name, MOST_NAME))
}

/// The beginning of a commit's name, as people write it.
fn sha(text: &str) -> String {
    text.chars().take_while(char::is_ascii_hexdigit).take(10).collect()
}

/// The text at a place; empty when there is none.
fn raw<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

/// A part of the payload that knows where it stands.
struct Object<'a> {
    value: &'a Value,
    path: &'a str,
}

impl<'a> Object<'a> {
    fn line(&self, pointer: &str) -> String {
        text::line(raw(self.value, pointer), MOST_NAME * 2)
    }

    fn required(&self, pointer: &str) -> Result<&'a str> {
        let found = raw(self.value, pointer);
        if found.trim().is_empty() { Err(self.missing(pointer, "text")) } else { Ok(found) }
    }

    fn number(&self, pointer: &str) -> Result<u64> {
        self.value.pointer(pointer).and_then(Value::as_u64).ok_or_else(|| self.missing(pointer, "number"))
    }

    fn missing(&self, pointer: &str, what: &str) -> Fault {
        let field = pointer.trim_start_matches('/').replace('/', ".");
        Fault::invalid(format!("the delivery has no {what} `{}.{field}`", self.path))
            .hint("send GitHub's own payload; `Recent Deliveries` in the webhook's settings shows it")
    }
}
