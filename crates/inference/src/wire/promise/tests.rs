//! Answers as engines without a grammar give them.

use std::task::{Context, Poll, Waker};

use base::RunSummary;
use serde_json::json;

use super::*;
use crate::wire::tests::{ask, seen};

const SCHEMA: &str = r#"{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}}"#;

fn promise(limit: &str) -> Promise {
    let format = format!(r#"{{"type":"json_schema","json_schema":{{"name":"x","schema":{SCHEMA}}}}}"#);
    Promise::of(&ask(
        Dialect::OpenAiChat,
        &format!(r#"{{"model":"m","messages":[],"response_format":{format}{limit}}}"#),
    ))
    .unwrap()
}

fn answer(text: &str, finish: &str) -> Bytes {
    let body = json!({"id": "c", "object": "chat.completion", "model": "m", "created": 5, "choices": [{"index": 0,
        "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
    body.to_string().into()
}

#[test]
fn what_is_good_leaves_as_it_came() {
    let body = answer(r#" {"a": 1} "#, "stop");
    assert_eq!(promise("").keep(body.clone()).unwrap(), body);
}

#[test]
fn what_stands_around_the_json_is_taken_off() {
    for text in [
        "```json\n{\"a\": 1}\n```",
        "Sure! {not this} Here: {\"a\": 1}\nLet me know.",
        "<think>\n{\"a\": \"no\"}\n</think>\n\n{\"a\": 1}",
    ] {
        let kept = promise("").keep(answer(text, "stop")).unwrap();
        let seen = seen(Dialect::OpenAiChat, false, &kept).unwrap();
        assert_eq!((seen.text.as_str(), seen.id.as_str(), seen.finishes.len()), (r#"{"a": 1}"#, "c", 1), "{text}");
        assert_eq!(seen.usage.map(|usage| usage.completion_tokens), Some(4));
    }
}

#[test]
fn what_is_cut_or_of_another_shape_does_not_leave() {
    let fault = promise("").keep(answer(r#"{"a": 1"#, "length")).unwrap_err();
    assert_eq!(fault.code, Code::ContextExceeded);
    let clamped = promise(",\"max_tokens\":5").keep(answer(r#"{"a": 1"#, "length")).unwrap_err();
    assert!(clamped.code == Code::ContextExceeded && clamped.message.contains("4 of 5 tokens"), "{clamped:?}");
    for text in [r#"{"a": 1"#, "no JSON", r#"{"a": "x"}"#, "{}", "[1]"] {
        let fault = promise("").keep(answer(text, "stop")).unwrap_err();
        assert!(fault.code == Code::EngineFailed && fault.hint.is_some(), "{text}: {fault:?}");
    }
}

#[test]
fn what_the_client_itself_cuts_is_told_as_cut() {
    let cut = answer(r#"{"a": 1"#, "length");
    assert_eq!(promise(",\"max_tokens\":4").keep(cut.clone()).unwrap(), cut);
}

#[test]
fn the_inside_of_a_stump_is_no_answer() {
    for text in [
        r#"{"x": {"a": 1}, "c":"#,
        r#"[{"a": 1}, {"a":"#,
        r#"Here: {"x": [{"a": 1}"#,
        r#"Here: [{"a": 1}, 2] as a list"#,
    ] {
        let fault = promise("").keep(answer(text, "stop")).unwrap_err();
        assert_eq!(fault.code, Code::EngineFailed, "{text}: {fault:?}");
    }
    let behind = promise("").keep(answer(r#"As of [1] and [odd]: {"a": 1}"#, "stop")).unwrap();
    assert_eq!(seen(Dialect::OpenAiChat, false, &behind).unwrap().text, r#"{"a": 1}"#);
}

#[test]
fn nothing_is_promised_to_who_asks_for_text_or_for_several_answers() {
    let plain = r#"{"model":"m","messages":[]}"#;
    assert!(Promise::of(&ask(Dialect::OpenAiChat, plain)).is_none());
    let several = r#"{"model":"m","messages":[],"n":2,"response_format":{"type":"json_object"}}"#;
    assert!(Promise::of(&ask(Dialect::OpenAiChat, several)).is_none());
    let any = Promise::of(&ask(Dialect::OllamaChat, r#"{"model":"m","messages":[],"format":"json","stream":false}"#));
    assert!(any.unwrap().keep(Bytes::from(r#"{"message":{"content":"{}"},"done":true,"done_reason":"stop"}"#)).is_ok());
}

/// Frames that are all there.
struct Frames(std::vec::IntoIter<Bytes>);

impl base::Frames for Frames {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn summary(&self) -> Option<RunSummary> {
        Some(RunSummary::default())
    }
}

/// What leaves of a stream that says `text` word by word, its frames apart, and whether it counts as an answer.
fn streamed(text: &str, finish: &str, most: usize) -> (Vec<String>, bool) {
    let event = |delta: Value, finish: Value| {
        let event = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        Bytes::from(format!("data: {event}\n\n"))
    };
    let said = text.split_inclusive(' ').map(|word| event(json!({"content": word}), Value::Null));
    let end = [event(json!({}), finish.into()), Bytes::from("data: [DONE]\n\n")];
    let frames: Vec<Bytes> = said.chain(end).collect();
    let mut streamed = Streamed::new(Box::new(Frames(frames.into_iter())), promise(""), most);
    let mut cx = Context::from_waker(Waker::noop());
    let mut left = Vec::new();
    while let Poll::Ready(Some(frame)) = base::Frames::poll_frame(&mut streamed, &mut cx) {
        left.push(String::from_utf8(frame.unwrap().to_vec()).unwrap());
    }
    (left, base::Frames::summary(&streamed).is_some())
}

#[test]
fn a_stream_of_other_json_ends_with_an_error_and_not_cleanly() {
    let [good, fenced, cut] = [r#"{"a": 1}"#, "Sure: {\"a\": 1} ", r#"{"a": "#];
    for (text, finish) in [(good, "stop"), (fenced, "stop"), (cut, "length"), ("no JSON", "content_filter")] {
        let (left, is_answer) = streamed(text, finish, 100);
        let end = left.last().unwrap();
        assert!(is_answer && end.contains(finish) && end.ends_with("data: [DONE]\n\n"), "{text}: {left:?}");
    }
    for text in [cut, "no JSON", r#"{"a": "x"}"#, r#"{"b": 1}"#] {
        let (left, is_answer) = streamed(text, "stop", 100);
        let (end, before) = left.split_last().unwrap();
        assert_eq!(before.len(), text.split_inclusive(' ').count(), "what is said leaves as it comes: {left:?}");
        assert!(!is_answer && end.contains("engine_failed") && !left.concat().contains("DONE"), "{text}: {left:?}");
    }
    let (left, is_answer) = streamed("longer than what is looked at", "stop", 5);
    assert!(is_answer && left.last().unwrap().contains("DONE"), "{left:?}");
}
