//! What a model says beside its answer: reasoning in `<think>`, and calls of tools.
//!
//! The built-in engine gives text as it comes. Models write calls in one of two ways: each as JSON in `<tool_call>`
//! (Hermes, Qwen), or the whole answer is the JSON of one call or of a list of them (Llama, Mistral). Only an ask with
//! tools is looked at for calls, and only the beginning of an answer for reasoning.

use base::{Event, Finish};
use serde_json::Value;

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";

/// Takes the text of an answer apart.
#[derive(Debug)]
pub struct Spoken {
    place: Place,
    has_tools: bool,
    /// Text that is not understood yet.
    held: String,
    calls: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing but space has come.
    Begin,
    /// Behind `<think>`: space there belongs to no thought.
    Pondering,
    Thinking,
    /// Between reasoning and answer: space there belongs to neither.
    Thought,
    Text,
    /// Within `<tool_call>`.
    Call,
    /// The answer began as JSON, and there are tools.
    Json,
}

impl Spoken {
    /// Of an ask with or without tools; a continued answer is in its text already.
    pub fn new(has_tools: bool, is_continued: bool) -> Self {
        let place = if is_continued { Place::Text } else { Place::Begin };
        Self { place, has_tools, held: String::new(), calls: 0 }
    }

    /// Takes more text; gives what it is.
    pub fn text(&mut self, text: &str) -> Vec<Event> {
        self.held.push_str(text);
        let mut events = Vec::new();
        while self.step(&mut events) {}
        events
    }

    /// The answer has ended.
    pub fn end(&mut self, finish: Finish) -> Vec<Event> {
        let mut events = Vec::new();
        let rest = std::mem::take(&mut self.held);
        match self.place {
            Place::Thinking => push(&mut events, Event::Thinking(rest)),
            Place::Json | Place::Call => self.calls_or_text(&rest, &mut events),
            _ => push(&mut events, Event::Text(rest)),
        }
        let is_call = finish == Finish::Stop && self.calls > 0;
        events.push(Event::Done(if is_call { Finish::ToolCalls } else { finish }));
        events
    }

    /// One step of understanding; `false` when more text is needed for the next.
    fn step(&mut self, events: &mut Vec<Event>) -> bool {
        match self.place {
            Place::Begin | Place::Thought => self.begin(),
            Place::Pondering => {
                self.held = self.held.trim_start().to_owned();
                self.place = if self.held.is_empty() { Place::Pondering } else { Place::Thinking };
                self.place == Place::Thinking
            }
            Place::Thinking => self.until(THINK_END, Place::Thought, Event::Thinking, events),
            Place::Text if self.has_tools => self.until(CALL, Place::Call, Event::Text, events),
            Place::Text => {
                push(events, Event::Text(std::mem::take(&mut self.held)));
                false
            }
            Place::Call => match self.held.split_once(CALL_END) {
                Some((call, rest)) => {
                    let (call, rest) = (call.to_owned(), rest.trim_start().to_owned());
                    self.held = rest;
                    self.place = Place::Text;
                    self.calls_or_text(&call, events);
                    true
                }
                None => false,
            },
            Place::Json => false,
        }
    }

    fn begin(&mut self) -> bool {
        let said = self.held.trim_start();
        if said.is_empty() {
            return false;
        }
        if self.place == Place::Begin {
            if let Some(thought) = said.strip_prefix(THINK) {
                self.held = thought.to_owned();
                self.place = Place::Pondering;
                return true;
            }
            if THINK.starts_with(said) {
                return false;
            }
        } else {
            self.held = said.to_owned();
        }
        let is_json = self.has_tools && self.held.trim_start().starts_with(['{', '[']);
        self.place = if is_json { Place::Json } else { Place::Text };
        true
    }

    /// Everything before `mark` is `what`; behind it comes `next`.
    fn until(&mut self, mark: &str, next: Place, what: fn(String) -> Event, events: &mut Vec<Event>) -> bool {
        if let Some((before, behind)) = self.held.split_once(mark) {
            push(events, what(before.trim_end().to_owned()));
            self.held = behind.to_owned();
            self.place = next;
            return true;
        }
        // The end may be the beginning of the mark, or space that belongs to it.
        let kept = (0..=self.held.len()).rev().filter(|at| self.held.is_char_boundary(*at));
        let mut sure = self.held.len();
        for at in kept {
            let rest = self.held.get(at..).unwrap_or_default().trim_start();
            if rest.len() >= mark.len() {
                break;
            }
            if mark.starts_with(rest) {
                sure = at;
            }
        }
        let rest = self.held.split_off(sure);
        push(events, what(std::mem::replace(&mut self.held, rest)));
        false
    }

    /// JSON that is a call, or a list of calls, is that; anything else is what the model wanted to say.
    fn calls_or_text(&mut self, said: &str, events: &mut Vec<Event>) {
        let read = serde_json::from_str::<Value>(said.trim()).ok();
        let list = match read {
            Some(Value::Array(list)) if !list.is_empty() => list,
            Some(one @ Value::Object(_)) => vec![one],
            _ => return push(events, Event::Text(said.to_owned())),
        };
        let calls: Option<Vec<(String, String)>> = list.iter().map(call).collect();
        let Some(calls) = calls else { return push(events, Event::Text(said.to_owned())) };
        for (name, arguments) in calls {
            events.push(Event::ToolCall { index: self.calls, id: None, name: Some(name), arguments });
            self.calls += 1;
        }
    }
}

/// Name and arguments of a call in JSON.
fn call(value: &Value) -> Option<(String, String)> {
    let name = value.get("name")?.as_str()?.to_owned();
    let arguments = match value.get("arguments").or_else(|| value.get("parameters"))? {
        Value::String(text) => text.clone(),
        object @ Value::Object(_) => object.to_string(),
        _ => return None,
    };
    Some((name, arguments))
}

fn push(events: &mut Vec<Event>, event: Event) {
    let is_empty = matches!(&event, Event::Text(text) | Event::Thinking(text) if text.is_empty());
    if !is_empty {
        events.push(event);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that `text` comes to when it arrives in pieces of `size` bytes: text, reasoning, calls.
    fn told(has_tools: bool, text: &str, size: usize) -> (String, String, Vec<String>, Finish) {
        let mut spoken = Spoken::new(has_tools, false);
        let mut events = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(size) {
            events.extend(spoken.text(&piece.iter().collect::<String>()));
        }
        events.extend(spoken.end(Finish::Stop));
        let (mut said, mut thought, mut calls, mut finish) = (String::new(), String::new(), Vec::new(), Finish::Length);
        for event in events {
            match event {
                Event::Text(text) => said.push_str(&text),
                Event::Thinking(text) => thought.push_str(&text),
                Event::ToolCall { name, arguments, .. } => calls.push(format!("{}{arguments}", name.unwrap())),
                Event::Done(how) => finish = how,
                other => panic!("{other:?}"),
            }
        }
        (said, thought, calls, finish)
    }

    #[test]
    fn answers_are_the_same_in_whatever_pieces_they_come() {
        let call = r#"{"name": "look", "arguments": {"at": "<x>"}}"#;
        let cases = [
            (false, "plain <text> & <tool_call>", "plain <text> & <tool_call>", "", vec![]),
            (false, "<think>\nhm\n</think>\n\nWell.", "Well.", "hm", vec![]),
            (false, "<thin ice", "<thin ice", "", vec![]),
            (false, "a <think>b</think>", "a <think>b</think>", "", vec![]),
            (true, &format!("I look.\n<tool_call>\n{call}\n</tool_call>"), "I look.", "", vec![r#"look{"at":"<x>"}"#]),
            (true, r#"{"name":"f","parameters":{}}"#, "", "", vec!["f{}"]),
            (
                true,
                r#"[{"name":"f","arguments":"{}"},{"name":"g","arguments":{"a":1}}]"#,
                "",
                "",
                vec!["f{}", r#"g{"a":1}"#],
            ),
            (true, r#"{"answer": 1}"#, r#"{"answer": 1}"#, "", vec![]),
            (true, "<tool_call>no json</tool_call>", "no json", "", vec![]),
            (true, "<think>a</think><tool_call>{\"name\":\"f\",\"arguments\":{}}", "", "a", vec!["f{}"]),
        ];
        for (has_tools, text, said, thought, calls) in cases {
            for size in [1, 2, 3, 7, 1000] {
                let told = told(has_tools, text, size);
                let finish = if calls.is_empty() { Finish::Stop } else { Finish::ToolCalls };
                let calls: Vec<String> = calls.iter().map(|call| (*call).to_owned()).collect();
                assert_eq!(told, (said.to_owned(), thought.to_owned(), calls, finish), "{text} by {size}");
            }
        }
    }

    #[test]
    fn a_thought_that_was_not_ended_is_a_thought() {
        assert_eq!(told(false, "<think>hm", 3).1, "hm");
    }

    proptest! {
        #[test]
        fn text_without_marks_goes_through_as_it_is(text in "[a-z<>/_ \n]{0,60}", size in 1usize..9) {
            prop_assume!(!text.contains(CALL) && !text.trim_start().starts_with(THINK));
            prop_assert_eq!(told(true, &text, size).0, text);
        }
    }
}
