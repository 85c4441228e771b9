//! Translations: what a client of one dialect sees of an engine of another, and requests there and back.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::prompt::Prompt;
use crate::wire::{answer, events};

const CONVERSATION: &str = r#"{"model":"m","stream":true,"temperature":0.5,"top_p":0.9,"max_tokens":50,"stop":["END"],
  "tools":[{"type":"function","function":{"name":"look","description":"looks","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}}],
  "response_format":{"type":"json_schema","json_schema":{"name":"answer","schema":{"type":"object"}}},
  "messages":[
    {"role":"system","content":"be brief"},
    {"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,/9j/4AAQ"}}]},
    {"role":"assistant","content":null,"tool_calls":[{"id":"call_0","type":"function","function":{"name":"look","arguments":"{\"at\":\"it\"}"}}]},
    {"role":"tool","tool_call_id":"call_0","name":"look","content":"a cat"},
    {"role":"assistant","content":"A cat."},
    {"role":"user","content":"sure?"}]}"#;

/// A prompt without what dialects may write differently though they mean the same.
fn normal(mut prompt: Prompt) -> Prompt {
    for turn in &mut prompt.turns {
        turn.parts.retain(|part| *part != crate::wire::prompt::Part::Text(String::new()));
        turn.tool_name.clear();
    }
    prompt
}

#[test]
fn a_conversation_keeps_its_meaning_through_every_dialect() {
    let chats = [Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::OllamaChat, Dialect::AnthropicMessages];
    let read = |dialect, body: &[u8]| Prompt::read(dialect, body, true).unwrap();
    let meant = normal(read(Dialect::OpenAiChat, CONVERSATION.as_bytes()));
    for first in chats {
        for second in chats {
            let one = read(Dialect::OpenAiChat, CONVERSATION.as_bytes()).write(first, "m").unwrap().to_string();
            let two = read(first, one.as_bytes()).write(second, "m").unwrap().to_string();
            let back = normal(read(second, two.as_bytes()));
            assert_eq!(back, meant, "{first} then {second}: {two}");
        }
    }
}

#[test]
fn anthropic_gets_its_own_shape() {
    let prompt = Prompt::read(Dialect::OpenAiChat, CONVERSATION.as_bytes(), true).unwrap();
    let made = prompt.write(Dialect::AnthropicMessages, "claude").unwrap();
    assert_eq!((&made["system"], &made["max_tokens"]), (&json!("be brief"), &json!(50)));
    let roles: Vec<&Value> = made["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user"]);
    assert_eq!(made["messages"][2]["content"][0]["tool_use_id"], "call_0");
    assert_eq!(made["tools"][0]["input_schema"]["type"], "object");
}

#[test]
fn raw_prompts_and_single_turns_cross_over() {
    let made = |from, body: &str, to| Prompt::read(from, body.as_bytes(), false).unwrap().write(to, "m");
    let raw = made(Dialect::OpenAiCompletions, r#"{"prompt":"a","max_tokens":3}"#, Dialect::OllamaGenerate).unwrap();
    assert_eq!(raw, json!({"model": "m", "stream": false, "raw": true, "prompt": "a", "options": {"num_predict": 3}}));
    let back = made(Dialect::OllamaGenerate, &raw.to_string(), Dialect::OpenAiCompletions).unwrap();
    assert_eq!(back, json!({"model": "m", "stream": false, "prompt": "a", "max_tokens": 3}));
    let turn = made(Dialect::OllamaGenerate, r#"{"prompt":"a","system":"s"}"#, Dialect::OpenAiChat).unwrap();
    assert_eq!(turn["messages"], json!([{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]));
    let back = made(Dialect::OpenAiChat, &turn.to_string(), Dialect::OllamaGenerate).unwrap();
    assert_eq!((&back["prompt"], &back["system"]), (&json!("a"), &json!("s")));
    assert!(made(Dialect::OllamaGenerate, r#"{"prompt":"a"}"#, Dialect::OpenAiCompletions).is_err());
}

async fn translated(from: Dialect, to: Dialect, stream: bool, raw: Box<Script>) -> (Vec<u8>, Option<Fault>) {
    let ask = streaming(to);
    let mut spec = spec(&ask, from, None, false);
    spec.stream = stream;
    read(&mut answer(raw, spec)).await
}

fn engine_bytes(dialect: Dialect) -> Vec<u8> {
    engine_frames(dialect, "real", &["Grü", "ße", " 🌍"], 9).concat()
}

#[tokio::test]
async fn a_stream_reads_the_same_in_every_dialect() {
    for from in TEXT {
        for to in TEXT {
            for size in [1, 50, 10_000] {
                let (bytes, fault) = translated(from, to, true, Script::pieces(&engine_bytes(from), size)).await;
                assert!(fault.is_none(), "{from} to {to}: {fault:?}");
                let seen = seen(to, true, &bytes).unwrap();
                assert_eq!(
                    (seen.text.as_str(), &seen.finishes[..]),
                    ("Grüße 🌍", &[Finish::Stop][..]),
                    "{from} to {to}"
                );
                assert_eq!(
                    seen.usage,
                    Some(Usage { prompt_tokens: 9, completion_tokens: 3, cached_tokens: 0 }),
                    "{from} to {to}"
                );
                assert!(from == to || seen.model == "m" || seen.model == "real", "{from} to {to}");
            }
        }
    }
}

#[tokio::test]
async fn tool_calls_reach_every_client() {
    let openai = concat!(
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"look\",\"arguments\":\"\"}}]},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"at\\\":\"}}]},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"1}\"}}]},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"y\",\"function\":{\"name\":\"stop\",\"arguments\":\"{}\"}}]},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"c\",\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"
    );
    let chats = [Dialect::OllamaChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses, Dialect::OpenAiChat];
    for to in chats {
        let first = translated(Dialect::OpenAiChat, to, true, Script::one(openai)).await.0;
        for then in chats {
            let bytes = translated(to, then, true, Script::one(&first)).await.0;
            let seen = seen(then, true, &bytes).unwrap();
            let calls = [("look".to_owned(), "{\"at\":1}".to_owned()), ("stop".to_owned(), "{}".to_owned())];
            assert_eq!(
                (&seen.calls[..], &seen.finishes[..]),
                (&calls[..], &[Finish::ToolCalls][..]),
                "{to} then {then}"
            );
            assert_eq!(seen.thinking, "hm", "{to} then {then}");
        }
    }
}

#[tokio::test]
async fn a_whole_answer_reads_the_same_in_every_dialect() {
    for from in TEXT {
        let mut renderer = Renderer::new(Shown {
            dialect: from,
            stream: false,
            wants_usage_chunk: false,
            model: "real".into(),
            prompt_tokens: 2,
            started: Instant::now(),
            continuation: None,
        });
        let mut body = Vec::new();
        renderer.event(Event::Text("Grüße".into()), &mut body);
        renderer.event(Event::Usage(Usage { prompt_tokens: 2, completion_tokens: 1, cached_tokens: 0 }), &mut body);
        renderer.event(Event::Done(Finish::Length), &mut body);
        for to in TEXT {
            let (bytes, fault) = translated(from, to, false, Script::pieces(&body, 10)).await;
            assert!(fault.is_none(), "{from} to {to}: {fault:?}");
            let seen = seen(to, false, &bytes).unwrap();
            assert_eq!((seen.text.as_str(), &seen.finishes[..]), ("Grüße", &[Finish::Length][..]), "{from} to {to}");
            let (bytes, fault) = translated(from, to, false, Script::one(&body[..body.len() - 1])).await;
            assert!(bytes.is_empty() && fault.is_some(), "{from} to {to}: cut");
        }
    }
}

#[tokio::test]
async fn embeddings_are_answered_in_the_form_that_was_asked_for() {
    let ollama = r#"{"model":"real","embeddings":[[0.5,-1.0],[2.0,0.25]],"prompt_eval_count":4}"#;
    let openai = |format: &str| ask(Dialect::OpenAiEmbeddings, &format!(r#"{{"model":"m","input":"a"{format}}}"#));
    let get = async |ask: &Ask, from, raw: &str| -> Value {
        let (bytes, fault) = read(&mut answer(Script::one(raw), spec(ask, from, None, false))).await;
        assert!(fault.is_none(), "{fault:?}");
        serde_json::from_slice(&bytes).unwrap()
    };
    let plain = get(&openai(""), Dialect::OllamaEmbed, ollama).await;
    assert_eq!((&plain["data"][1]["embedding"], &plain["usage"]["prompt_tokens"]), (&json!([2.0, 0.25]), &json!(4)));
    let packed = get(&openai(r#","encoding_format":"base64""#), Dialect::OllamaEmbed, ollama).await;
    assert_eq!(packed["data"][0]["embedding"], "AAAAPwAAgL8=");
    let back =
        get(&ask(Dialect::OllamaEmbed, r#"{"model":"m","input":"a"}"#), Dialect::OpenAiEmbeddings, &packed.to_string())
            .await;
    assert_eq!((&back["embeddings"][0], &back["model"]), (&json!([0.5, -1.0]), &json!("m")));
    let legacy = ask(Dialect::OllamaEmbeddings, r#"{"model":"m","prompt":"a"}"#);
    assert_eq!(get(&legacy, Dialect::OpenAiEmbeddings, &plain.to_string()).await, json!({"embedding": [0.5, -1.0]}));
}

#[tokio::test]
async fn events_end_with_done_or_with_a_fault() {
    let read = async |raw: Box<Script>| {
        let head = base::AnswerHead {
            content_type: "",
            content_length: None,
            worker: None,
            model: String::new(),
            fallback: None,
        };
        let mut answer = events(base::Answer { head, frames: raw }, Dialect::OllamaChat, true);
        let (mut seen, mut last) = (Vec::new(), None);
        while let Some(event) = std::future::poll_fn(|cx| answer.events.poll_event(cx)).await {
            match event {
                Ok(event) => seen.push(event),
                Err(fault) => last = Some(fault.code),
            }
        }
        (summed(seen), last)
    };
    let bytes = engine_bytes(Dialect::OllamaChat);
    let (whole, fault) = read(Script::pieces(&bytes, 7)).await;
    assert_eq!((whole.text.as_str(), whole.finishes.len(), fault), ("Grüße 🌍", 1, None));
    let (cut, fault) = read(Script::one(&bytes[..bytes.len() / 2])).await;
    assert_eq!((cut.text.is_empty(), cut.finishes.len(), fault), (false, 0, Some(base::Code::EngineCut)));
}

proptest! {
    #[test]
    fn reading_junk_as_a_request_never_panics(text in "[\\[\\]{}\":,a-z0-9]{0,60}", value in ".{0,10}") {
        for dialect in TEXT {
            let _ = Prompt::read(dialect, text.as_bytes(), true);
            for field in ["messages", "input", "text", "tools", "prompt", "options", "format", "response_format", "tool_choice", "system"] {
                for shape in [json!({ field: value }), json!({ field: [value] }), json!({ field: [{"role": "user", "content": [value], "tool_calls": [value]}] })] {
                    let _ = Prompt::read(dialect, shape.to_string().as_bytes(), true);
                }
            }
        }
    }
}

#[tokio::test]
async fn whole_answer_over_its_limit_is_refused_in_any_dialect() {
    let long = "word ".repeat(100);
    let body = json!({"model": "m", "created_at": "", "message": {"role": "assistant", "content": long}, "done": true});
    for dialect in [Dialect::OllamaChat, Dialect::OpenAiChat] {
        let ask = ask(dialect, r#"{"model":"m","stream":false,"messages":[{"role":"user","content":"hi"}]}"#);
        let frames = |most_whole| {
            let spec = AnswerSpec { most_whole, ..spec(&ask, Dialect::OllamaChat, None, false) };
            answer(Script::pieces(body.to_string().as_bytes(), 50), spec)
        };
        let (bytes, fault) = read(&mut frames(500)).await;
        let fault = fault.unwrap();
        assert!(bytes.is_empty() && fault.message.contains("limit of 500 bytes"), "{dialect}: {fault:?}");
        assert!(read(&mut frames(1000)).await.1.is_none(), "{dialect}");
    }
}

#[tokio::test]
async fn the_text_of_an_answer_that_must_be_a_call_is_one() {
    let body = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
    for (to, stream) in [(Dialect::AnthropicMessages, true), (Dialect::AnthropicMessages, false)] {
        let mut ask = ask(to, body);
        ask.head.stream = stream;
        let raw = engine_frames(Dialect::OllamaChat, "real", &["{\"a\":", "1}"], 5).concat();
        let whole = r#"{"message":{"content":"{\"a\":1}"},"done":true,"done_reason":"stop","eval_count":2,"prompt_eval_count":5}"#;
        let raw = if stream { Script::one(&raw) } else { Script::one(whole) };
        let spec = AnswerSpec { calls: Some("add".into()), ..spec(&ask, Dialect::OllamaChat, None, false) };
        let (bytes, fault) = read(&mut answer(raw, spec)).await;
        assert!(fault.is_none(), "{fault:?}");
        let seen = seen(to, stream, &bytes).unwrap();
        assert_eq!(seen.calls, [("add".to_owned(), "{\"a\":1}".to_owned())]);
        assert_eq!((seen.text.as_str(), &seen.finishes[..]), ("", &[Finish::ToolCalls][..]));
    }
}
