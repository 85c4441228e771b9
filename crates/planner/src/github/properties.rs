//! Whatever arrives, reading and deciding end, within bounds, in edits that can be made.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Mapping, decide, event, text};
use crate::edit::{Stamp, apply_all};
use crate::{Task, Tasks};

const EVENTS: &[&str] = &["issues", "pull_request", "push", "release", "check_run", "workflow_run", "star"];

/// Words that are looked at, so that arbitrary payloads come near to real ones.
const KEYS: &[&str] = &[
    "action",
    "issue",
    "pull_request",
    "release",
    "check_run",
    "workflow_run",
    "repository",
    "full_name",
    "number",
    "id",
    "title",
    "body",
    "html_url",
    "user",
    "login",
    "labels",
    "label",
    "name",
    "state_reason",
    "merged",
    "draft",
    "ref",
    "commits",
    "message",
    "distinct",
    "default_branch",
    "conclusion",
    "head_branch",
    "check_suite",
    "head_sha",
    "changes",
    "tag_name",
    "updated_at",
    "completed_at",
    "author",
    "url",
];
const WORDS: &[&str] = &[
    "opened",
    "closed",
    "edited",
    "labeled",
    "completed",
    "published",
    "failure",
    "success",
    "refs/heads/main",
    "main",
    "fixes 3.1",
    "TM-1",
    "not_planned",
    "o/r",
    "bug",
    "2024-05-01T10:00:00Z",
    "abc1234567",
    "{title}",
    "",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        proptest::sample::select(WORDS).prop_map(Value::from),
    ]
}

fn payload() -> impl Strategy<Value = Value> {
    let key = prop_oneof![4 => proptest::sample::select(KEYS).prop_map(str::to_owned), 1 => ".{0,10}"];
    leaf().prop_recursive(4, 64, 12, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            4 => proptest::collection::vec((key.clone(), inner), 0..12)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A payload that is whole, with texts of anyone's making.
fn plausible() -> impl Strategy<Value = Value> {
    let word = || proptest::sample::select(WORDS);
    (word(), word(), ".{0,300}", ".{0,300}", any::<u64>(), word()).prop_map(|(action, other, title, body, number, at)| {
        let object = json!({
            "number": number, "id": number, "title": title, "name": title, "body": body, "state_reason": other,
            "tag_name": other, "updated_at": at, "completed_at": at, "published_at": at, "conclusion": other,
            "head_branch": body, "check_suite": {"head_branch": body}, "head_sha": title, "user": {"login": body},
            "labels": [{"name": other}, {"name": title}],
        });
        json!({
            "action": action, "issue": object, "pull_request": object, "release": object, "check_run": object,
            "workflow_run": object, "repository": {"full_name": "o/r", "default_branch": "main"},
            "label": {"name": other}, "ref": "refs/heads/main",
            "commits": [{"id": "abc1234567", "message": format!("{body} fixes 1.1 {title}"), "author": {"name": title}}],
        })
    })
}

fn tasks() -> Tasks {
    let mut first = Task::titled(1, "one");
    first.subtasks = vec![Task::titled(1, "sub")];
    Tasks::new([first, Task::titled(3, "three")])
}

/// The tasks by a delivery; twice, as it may meet what an earlier one made.
fn check(event: &str, payload: &Value) {
    let mapping = Mapping::default();
    let mut tasks = tasks();
    for version in 1..=2 {
        let Ok(happening) = event::read(event, payload) else { return };
        if decide::unwanted(&happening, &mapping).is_some() {
            return;
        }
        let decided = decide::decide(&happening, &mapping, &tasks);
        let stamp = Stamp { updated_at: "2024-05-01T10:00:00Z".to_owned(), version };
        let applied = apply_all(&tasks, &decided.edits, &stamp);
        tasks = applied.unwrap_or_else(|error| panic!("{event}: {error}: {:?}", decided.edits)).tasks;
        for (_, task) in tasks.walk() {
            assert!(!task.title.chars().any(char::is_control), "{:?}", task.title);
            assert!(task.details.len() <= 2 * text::MOST_BODY, "{}", task.details.len());
        }
    }
    assert!(tasks.top().len() <= 3, "one object makes one task");
}

proptest! {
    #[test]
    fn no_payload_breaks_anything(event in proptest::sample::select(EVENTS), payload in payload()) {
        check(event, &payload);
    }

    #[test]
    fn a_whole_payload_with_any_text_makes_edits_that_can_be_made(
        event in proptest::sample::select(EVENTS),
        payload in plausible(),
    ) {
        check(event, &payload);
    }

    #[test]
    fn any_commit_message_and_any_mapping_file_are_read_to_their_end(text in "(fixes|tasks?|TM-|[0-9., ]|and|.){0,60}") {
        super::commits::named(&text);
        let _ = Mapping::parse("m", &text);
    }
}
